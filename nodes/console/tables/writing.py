"""Where a set that was learnt goes: a file that is named, or the folder in which commands look for sets."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from draftwire.codecs.tables import TableSet, table_set_bytes
from draftwire.nodes.models.tables import SUFFIX, tables_folder
from draftwire.runtime.errors import ConfigurationError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def check_folder() -> None:
    """Raise ConfigurationError now, before anything is computed, where no set can go to the tables folder.

    Nothing is made: what is missing of the folder is made when there is a set.
    """
    folder = tables_folder()
    try:
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise _no_room(folder, f"{str(there)!r} is no folder", named=False)
        if not os.access(there, os.W_OK | os.X_OK):
            raise _no_room(folder, f"nothing can be written to {str(there)!r}", named=False)
    except OSError as error:
        raise _no_room(folder, error.strerror or str(error), named=False) from None


def write(tables: TableSet, path: Path | None) -> Path:
    """Write a set, whole or not at all; returns where.

    Raises ConfigurationError. What was learnt is kept then among temporary files, if it can be: the error
    says where.
    """
    named = path is not None
    path = tables_folder() / f"{tables.hash.hex()}{SUFFIX}" if path is None else path
    try:
        _write(tables, path)
    except OSError as error:
        raise _no_room(
            path, error.strerror or str(error), named=named, full=error.errno in _FULL, kept=_kept(tables)
        ) from None
    return path


def _write(tables: TableSet, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(table_set_bytes(tables))
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error says what is wrong
            partial.unlink(missing_ok=True)
        raise


def _kept(tables: TableSet) -> Path | None:
    """A copy among temporary files; None where they can't be written either."""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{tables.hash.hex()}-", suffix=SUFFIX)
        with os.fdopen(handle, "wb") as file:
            file.write(table_set_bytes(tables))
    except OSError:
        return None
    return Path(name)


def _no_room(
    path: Path, reason: str, *, named: bool, full: bool = False, kept: Path | None = None
) -> ConfigurationError:
    if named:
        key, remedy = "--out", "name a file that can be written"
    else:
        key, remedy = "XDG_DATA_HOME", "set it to a folder that can be written, or name a file with --out"
    if full:
        remedy = "make room there, or name a file on another disk with --out"
    if kept is not None:
        remedy = f"what was learnt is kept in {kept}: move it, or {remedy}"
    return ConfigurationError(f"{str(path)!r}: {reason}", key=key, remedy=remedy)


__all__ = ["check_folder", "write"]
