"""Which sets of rank tables an end has for its vocabulary: shipped, learnt on this machine, or named.

Both ends look for themselves, and agree on one in Hello and Welcome; where they have none in common, rows are
plain. So nothing here has to be the same at both ends.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from draftwire.codecs.errors import WireError
from draftwire.codecs.limits import MAX_TABLE_SET_BYTES, MAX_TABLE_SETS
from draftwire.codecs.tables import TableSet, table_set_from, vocabulary_of
from draftwire.nodes.models.pairs import shipped
from draftwire.runtime.errors import ConfigurationError

SUFFIX: Final = ".tables"
"""Of a file that is looked for; one that is named may be called anything."""

MAX_HERE: Final = 32
"""Sets that a controller reads: some MB each."""

PLAIN: Final = "plain"
"""What people read in place of a set's hash."""

Skipped = Callable[[Path, str], None]
"""Told of a file that is left out, and why."""


def tables_folder() -> Path:
    """Where sets that are learnt here are kept: XDG_DATA_HOME, else ~/.local/share. May not exist yet."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "draftwire" / "tables"


def shipped_tables() -> Path:
    """The file of the shipped pair's set."""
    return shipped.draft_folder() / "rows.tables"


def find_tables(
    named: Sequence[str] | None,
    *,
    vocab_size: int,
    fingerprint: bytes,
    skipped: Skipped = lambda path, why: None,
) -> tuple[TableSet, ...]:
    """The sets that this end has for a vocabulary, the best first; at most MAX_TABLE_SETS.

    `named`: the files to take, none for plain rows. None: all that fit in `tables_folder()`, the newest
    first, then the shipped pair's; a file there that can't be used is told to `skipped` and left out. Raises
    ConfigurationError for a named one that can't be.
    """
    if named is None:
        return _found((vocab_size, fingerprint), skipped, most=MAX_TABLE_SETS)
    if len(named) > MAX_TABLE_SETS:
        problem = f"{len(named)} files"
        raise ConfigurationError(
            problem, key="pair.tables", remedy=f"name {MAX_TABLE_SETS} at most, the best first"
        )
    sets = dict[bytes, TableSet]()
    for name in named:
        one = load_tables(Path(name))
        if (one.vocab_size, one.fingerprint) != (vocab_size, fingerprint):
            raise ConfigurationError(
                f"{name!r} is for a vocabulary of {one.vocab_size} ids with fingerprint "
                f"{one.fingerprint.hex()}; the model has {vocab_size}, {fingerprint.hex()}",
                key="pair.tables",
                remedy="take a set that was learnt with this tokenizer, or none for plain rows",
            )
        if sets.setdefault(one.tag, one) != one:
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

    `named` and `skipped` as for `find_tables`. Raises ConfigurationError for a named file that is no set.
    """
    if named is None:
        return _found(None, skipped, most=MAX_HERE)
    sets = dict[bytes, TableSet]()
    for one in map(load_tables, map(Path, named)):
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
    raise ConfigurationError(f"{str(path)!r}: {problem}", key="pair.tables", remedy=remedy)


def tables_name(agreed: bytes | None) -> str:
    """What the rows are spelt with, for people and logs: a set's hash in hex, or PLAIN."""
    return PLAIN if agreed is None else agreed.hex()


def _found(vocabulary: tuple[int, bytes] | None, skipped: Skipped, *, most: int) -> tuple[TableSet, ...]:
    """Of the files that need no name; `vocabulary`: size and fingerprint, None for any."""
    sets = dict[bytes, TableSet]()
    for path in [*_newest_first(tables_folder()), shipped_tables()]:
        if len(sets) == most:
            break
        try:
            with path.open("rb") as file:
                theirs = vocabulary_of(file.read(64))
            if vocabulary not in (None, theirs):
                continue  # of another pair
            one = _read(path)
        except FileNotFoundError:
            continue
        except (OSError, WireError) as error:
            skipped(path, str(getattr(error, "strerror", None) or error))
            continue
        sets.setdefault(one.tag, one)
    return tuple(sets.values())


def _newest_first(folder: Path) -> list[Path]:
    """The files of sets in it; of equal age by name, so that two looks find the same order."""
    dated = list[tuple[float, str, Path]]()
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            dated.append((-path.stat().st_mtime, path.name, path))
        except OSError:
            continue  # gone meanwhile
    return [path for _, _, path in sorted(dated)]


def _read(path: Path) -> TableSet:
    with path.open("rb") as file:
        return table_set_from(file.read(MAX_TABLE_SET_BYTES + 1))


__all__ = [
    "PLAIN",
    "SUFFIX",
    "Skipped",
    "find_tables",
    "load_tables",
    "shipped_tables",
    "tables_folder",
    "tables_here",
    "tables_name",
]
