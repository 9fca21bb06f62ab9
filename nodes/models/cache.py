"""What is made once and kept between runs: converted weights, tiny pairs."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from draftwire.nodes.models.base import UnsupportedModelError


def cache_folder() -> Path:
    """DRAFTWIRE_CACHE, else draftwire in XDG_CACHE_HOME, else ~/.cache/draftwire. May not exist yet."""
    if chosen := os.environ.get("DRAFTWIRE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "draftwire"


def cached(name: str, write: Callable[[Path], object], *, cache: Path | None = None) -> Path:
    """The folder `name` of the cache (of `cache_folder()` by default), filled by `write` if it isn't there.

    Safe against other processes that do the same. An interrupted `write` leaves no folder behind that could
    be taken for a whole one. Raises UnsupportedModelError where the cache can't be written.
    """
    folder = (cache_folder() if cache is None else cache) / name
    try:
        if not folder.is_dir():
            _make(folder, write)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnsupportedModelError(
            f"cannot write {folder}: {reason}; set DRAFTWIRE_CACHE to a folder that can be written"
        ) from None
    return folder


def _make(folder: Path, write: Callable[[Path], object]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(partial)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and its folder is as good as ours
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


__all__ = ["cache_folder", "cached"]
