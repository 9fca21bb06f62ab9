"""Which sets of rank tables an end has for its vocabulary: shipped, learnt on this machine, or named.

Both ends look for themselves, and agree on one in Hello and Welcome; where they have none in common, rows are
plain. So nothing here has to be the same at both ends.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Final

from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.limits import MAX_TABLE_SET_BYTES, MAX_TABLE_SETS
from draftwire.codecs.tables import TableSet, table_set_from, vocabulary_of
from draftwire.nodes.models.pairs import shipped
from draftwire.runtime.errors import ConfigurationError

SUFFIX: Final = ".tables"
"""Of a file that is looked for; one that is named may be called anything."""

USUAL_FOLDER: Final = "~/.local/share/draftwire/tables"
"""`tables_folder()` of a user who has not said otherwise, for people."""

_BEGIN: Final = b"DWTABLE1"
"""Of every set's file."""

MAX_HERE: Final = 32
"""Sets that a BS or a controller reads: some MB each. A device offers no more than a Hello has room for."""

PLAIN: Final = "plain"
"""What people read in place of a set's hash."""

Skipped = Callable[[Path, str], None]
"""Told of a file, or of the whole folder, that is left out, and why."""


def tables_folder() -> Path:
    """Where sets that are learnt here are kept: XDG_DATA_HOME, else ~/.local/share. May not exist yet.

    Raises ConfigurationError where neither is known: for a user without a home.
    """
    base = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "share") / "draftwire" / "tables"
    except RuntimeError:
        raise ConfigurationError(
            "this user has no home folder",
            key="XDG_DATA_HOME",
            remedy="set it to a folder for data, or name files of tables",
        ) from None


def shipped_tables() -> Path:
    """The file of the shipped pair's set."""
    return shipped.draft_folder() / "rows.tables"


def find_tables(
    named: Sequence[str] | None,
    *,
    vocab_size: int,
    fingerprint: bytes,
    most: int = MAX_TABLE_SETS,
    skipped: Skipped = lambda path, why: None,
) -> tuple[TableSet, ...]:
    """The sets that this end has for a vocabulary, the best first; at most `most`.

    `named`: the files to take, none for plain rows. None: the shipped pair's where it fits, then all that fit
    in `tables_folder()`, the newest first; a file or folder that can't be used is told to `skipped` and left
    out. So what is learnt never takes the shipped set's place unless it is named. Raises ConfigurationError
    for a named one that can't be used.
    """
    found = find_files(named, vocab_size=vocab_size, fingerprint=fingerprint, most=most, skipped=skipped)
    return tuple(one for _, one in found)


def find_files(
    named: Sequence[str] | None,
    *,
    vocab_size: int,
    fingerprint: bytes,
    most: int = MAX_TABLE_SETS,
    skipped: Skipped = lambda path, why: None,
) -> tuple[tuple[Path, TableSet], ...]:
    """As `find_tables`, each set with the file that it is in. Raises what that raises."""
    if named is None:
        return _found((vocab_size, fingerprint), skipped, most=most)
    if len(named) > most:
        problem = f"{len(named)} files"
        raise ConfigurationError(problem, key="pair.tables", remedy=f"name {most} at most, the best first")
    sets = dict[bytes, tuple[Path, TableSet]]()
    for name in named:
        one = load_tables(Path(name))
        if (one.vocab_size, one.fingerprint) != (vocab_size, fingerprint):
            raise ConfigurationError(
                f"{name!r} is for a vocabulary of {one.vocab_size} ids with fingerprint "
                f"{one.fingerprint.hex()}; the model has {vocab_size}, {fingerprint.hex()}",
                key="pair.tables",
                remedy="take a set that was learnt with this tokenizer, or none for plain rows",
            )
        if sets.setdefault(one.tag, (Path(name), one))[1] != one:
            raise ConfigurationError(
                f"{name!r} has the tag {one.tag.hex()}, as another one has",
                key="pair.tables",
                remedy="leave one of the two out",
            )
    return tuple(sets.values())


def tables_here(
    named: Sequence[str] | None, *, skipped: Skipped = lambda path, why: None
) -> tuple[TableSet, ...]:
    """All sets that this end has, of any vocabulary, the best first: reports name one to a controller.

    `named` and `skipped` as for `find_tables`, but a named file that can't be used is left out as well: a
    controller on another machine than the pair's plans without it.
    """
    if named is None:
        return tuple(one for _, one in _found(None, skipped, most=MAX_HERE))
    sets = dict[bytes, TableSet]()
    for path in map(Path, named):
        one = _usable(path, None, skipped, absent=skipped)
        if one is not None and len(sets) < MAX_HERE:
            sets.setdefault(one.tag, one)
    return tuple(sets.values())


def load_tables(path: Path) -> TableSet:
    """The set in a file. Raises ConfigurationError, naming `pair.tables`, where there is none."""
    problem, remedy = "", "name a file that `draftwire tables learn` has written"
    try:
        return _read(path)
    except OSError as error:
        problem = error.strerror or str(error)
    except WireError as error:
        problem = f"no set of tables: {error}"
        if _is_cut_short(error):
            problem, remedy = f"a set of tables that is cut short: {error}", "copy it again, or learn it anew"
    raise ConfigurationError(f"{str(path)!r}: {problem}", key="pair.tables", remedy=remedy)


def tables_name(agreed: bytes | None) -> str:
    """What the rows are spelt with, for people and logs: a set's hash in hex, or PLAIN."""
    return PLAIN if agreed is None else agreed.hex()


def _found(
    vocabulary: tuple[int, bytes] | None, skipped: Skipped, *, most: int
) -> tuple[tuple[Path, TableSet], ...]:
    """Of the files that need no name; `vocabulary`: size and fingerprint, None for any."""
    sets = dict[bytes, tuple[Path, TableSet]]()
    for path in unnamed_files(skipped=skipped):
        if len(sets) >= most:
            break
        one = _usable(path, vocabulary, skipped)
        if one is not None:
            sets.setdefault(one.tag, (path, one))
    return tuple(sets.values())


def _usable(
    path: Path,
    vocabulary: tuple[int, bytes] | None,
    skipped: Skipped,
    *,
    absent: Skipped = lambda path, why: None,
) -> TableSet | None:
    """The set in a file, if it is for this vocabulary; what is odd about the file is told."""
    try:
        if vocabulary is not None:
            with path.open("rb") as file:
                if vocabulary_of(_checked(file.read(64))) != vocabulary:
                    return None
        return _read(path)
    except FileNotFoundError:
        absent(path, "no such file")
    except (OSError, WireError) as error:
        skipped(path, str(getattr(error, "strerror", None) or error))
    return None


def unnamed_files(*, skipped: Skipped = lambda path, why: None) -> list[Path]:
    """The files that are looked at where none are named, in order of use; `skipped` as for learnt ones."""
    return [shipped_tables(), *learnt_files(skipped=skipped)]


def learnt_files(*, skipped: Skipped = lambda path, why: None) -> list[Path]:
    """The files of sets in `tables_folder()`, the newest first; what else is there is told to `skipped`.

    A folder that can't be read has none, and is told: a node needs no home.
    """
    folder = Path(USUAL_FOLDER)
    try:
        folder = tables_folder()
        names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    except (OSError, ConfigurationError) as error:
        skipped(folder, str(getattr(error, "strerror", None) or error))
        return []
    dated = list[tuple[float, str, Path]]()
    for path in map(folder.joinpath, names):
        try:
            seen = path.stat()
        except OSError as error:
            skipped(path, error.strerror or str(error))
            continue
        if S_ISREG(seen.st_mode):
            dated.append((-seen.st_mtime, path.name, path))  # of equal age by name: always the same order
        else:
            skipped(path, "no regular file")  # to open a pipe would wait for who writes it
    return [path for _, _, path in sorted(dated)]


def _read(path: Path) -> TableSet:
    with path.open("rb") as file:
        return table_set_from(_checked(file.read(MAX_TABLE_SET_BYTES + 1)))


def _checked(data: bytes) -> bytes:
    """The bytes. Raises WireError for few or none that begin otherwise than a set: nothing was cut off."""
    if len(data) < len(_BEGIN) and not (data and _BEGIN.startswith(data)):
        raise WireError(reason=Refusal.VERSION, offset=0, detail=f"a set of tables begins with {_BEGIN!r}")
    return data


def _is_cut_short(error: WireError) -> bool:
    return error.reason is Refusal.TRUNCATED


__all__ = [
    "MAX_HERE",
    "PLAIN",
    "SUFFIX",
    "USUAL_FOLDER",
    "Skipped",
    "find_files",
    "find_tables",
    "learnt_files",
    "load_tables",
    "shipped_tables",
    "tables_folder",
    "tables_here",
    "tables_name",
    "unnamed_files",
]
