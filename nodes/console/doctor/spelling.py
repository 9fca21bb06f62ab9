"""What rows are spelt with: the sets of tables that this machine has, and what the BS says to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draftwire.codecs.messages import Hello, Refused, Welcome
from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.hops import digits
from draftwire.nodes.console.escape import safe
from draftwire.nodes.models.tables import find_files, load_tables, shipped_tables
from draftwire.nodes.speculation.frames import row_bits
from draftwire.runtime.errors import ConfigurationError

K: Final = 320
"""What a usual link makes worth sending; figures are for rows of so many entries."""

SHOWN: Final = 8
"""Hexadecimal digits of a set's hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesFound:
    """What this machine has for one vocabulary."""

    vocab_size: int
    chosen: bool
    "[pair] names them, or says that there are none"
    files: Sequence[tuple[Path, TableSet]] = ()
    "the best first"
    skipped: Sequence[tuple[Path, str]] = ()
    "files that can't be used, and why"
    problem: ConfigurationError | None = None
    "why a node would not start with what [pair] names"
    shipped: TableSet | None = None
    "of the shipped pair, for figures"

    @property
    def sets(self) -> tuple[TableSet, ...]:
        """Those in the files."""
        return tuple(one for _, one in self.files)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """As a device offers them."""
        return tuple(one.hash for one in self.sets)


def look_at_tables(named: Sequence[str] | None, *, vocab_size: int, fingerprint: bytes) -> TablesFound:
    """Find the sets for a vocabulary, as a node does. Blocks: files are read."""
    skipped = list[tuple[Path, str]]()
    files: Sequence[tuple[Path, TableSet]] = ()
    problem = None
    try:
        files = find_files(
            named,
            vocab_size=vocab_size,
            fingerprint=fingerprint,
            skipped=lambda path, why: skipped.append((path, why)),
        )
    except ConfigurationError as error:
        problem = error
    return TablesFound(
        vocab_size=vocab_size,
        chosen=named is not None,
        files=files,
        skipped=skipped,
        problem=problem,
        shipped=_shipped(),
    )


def _shipped() -> TableSet | None:
    try:
        return load_tables(shipped_tables())
    except ConfigurationError:
        return None


def judge_tables(
    found: TablesFound | None, *, draft: str, hello: Hello | None, answer: Welcome | Refused | None
) -> list[Check]:
    """A line, and one more for each file that can't be used.

    `found`: None where this machine's vocabulary is not known, or none of its nodes reads or writes rows;
    `hello` is what was said to the BS in a device's place, and `answer` what it answered.
    """
    if found is None:
        return [_check(Status.SKIP, "no node of this machine has a model whose vocabulary is known")]
    checks = [
        _check(Status.WARN, why, "copy it again, or delete the file", subject=str(path))
        for path, why in found.skipped
    ]
    if found.problem is not None:
        return [*checks, _check(Status.FAIL, found.problem.problem, found.problem.remedy)]
    if not found.sets:
        return [*checks, _plain(found, draft)]
    seen = _named(found.sets)
    if hello is None or not isinstance(answer, Welcome):
        return [*checks, _check(Status.OK, f"{seen}; {_sizes(found.sets[0])}")]
    return [*checks, _agreement(found, seen, answer)]


def _named(sets: Sequence[TableSet]) -> str:
    first = f"{sets[0].hash.hex()[:SHOWN]} ({safe(sets[0].label)})"
    if len(sets) == 1:
        return f"one set for this vocabulary, {first}"
    return f"{len(sets)} sets for this vocabulary, {first} and {len(sets) - 1} more"


def _agreement(found: TablesFound, seen: str, answer: Welcome) -> Check:
    """What both ends agree on, and what is lost where that is not what this machine likes best."""
    path, best = found.files[0]
    agreed = next((one for one in found.sets if one.hash == answer.tables), None)
    copy = f"copy {safe(str(path))} to the folder that `draftwire tables list` prints on the base station"
    if agreed is None:
        k = min(K, best.vocab_size)
        plain, short = _an_entry(k, best.vocab_size), _an_entry(k, best.vocab_size, best)
        lost = f"rows are plain, about {plain} bits an entry at K = {k} in place of {short}"
        remedy = f"{copy} and start it again, unless plain rows were chosen there"
        return _check(Status.OK, f"{seen}; the target has none of them, or wants none: {lost}", remedy)
    how = f"both ends agree on {agreed.hash.hex()[:SHOWN]}: {_sizes(agreed)}"
    if agreed == best:
        return _check(Status.OK, f"{seen}; {how}")
    lacks = f"the target lacks {best.hash.hex()[:SHOWN]}, which is tried first"
    return _check(Status.OK, f"{seen}; {how}; {lacks}", f"{copy} and start it again, if it is to be used")


def _plain(found: TablesFound, draft: str) -> Check:
    shipped = found.shipped
    k = min(K, found.vocab_size) if shipped is None else min(K, found.vocab_size, shipped.vocab_size)
    seen = f"plain rows, about {_an_entry(k, found.vocab_size)} bits an entry at K = {k}"
    if found.chosen:
        return _check(Status.OK, f"{seen}, as [pair] tables or --tables has it")
    if shipped is not None:
        plain, short = _an_entry(k, shipped.vocab_size), _an_entry(k, shipped.vocab_size, shipped)
        seen += f"; there tables bring those of the shipped pair from {plain} to {short}"
    learn = f"draftwire tables learn --draft {draft} --text FILE"
    return _check(Status.OK, seen, f"`{learn}` makes tables for this draft; both machines need the file")


def _sizes(one: TableSet) -> str:
    k = min(K, one.vocab_size)
    plain, short = _an_entry(k, one.vocab_size), _an_entry(k, one.vocab_size, one)
    return f"about {short} bits an entry at K = {k}, plain {plain}"


def _an_entry(k: int, vocab_size: int, tables: TableSet | None = None) -> str:
    return digits(row_bits(k=k, vocab_size=vocab_size, tables=tables) / k)


def _check(status: Status, seen: str, remedy: str = "", *, subject: str = "") -> Check:
    return Check(name="tables", subject=subject, status=status, seen=seen, remedy=remedy)


__all__ = ["TablesFound", "judge_tables", "look_at_tables"]
