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
from draftwire.nodes.models.tables import USUAL_FOLDER, find_tables, load_tables, shipped_tables
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
    sets: Sequence[TableSet] = ()
    skipped: Sequence[tuple[Path, str]] = ()
    "files that can't be used, and why"
    problem: ConfigurationError | None = None
    "why a node would not start with what [pair] names"
    shipped: TableSet | None = None
    "of the shipped pair, for figures"

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """As a device offers them."""
        return tuple(one.hash for one in self.sets)


def look_at_tables(named: Sequence[str] | None, *, vocab_size: int, fingerprint: bytes) -> TablesFound:
    """Find the sets for a vocabulary, as a node does. Blocks: files are read."""
    skipped = list[tuple[Path, str]]()
    sets: Sequence[TableSet] = ()
    problem = None
    try:
        sets = find_tables(
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
        sets=sets,
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
        _check(Status.WARN, why, "learn it anew, or delete the file", subject=str(path))
        for path, why in found.skipped
    ]
    if found.problem is not None:
        return [*checks, _check(Status.FAIL, found.problem.problem, found.problem.remedy)]
    if not found.sets:
        return [*checks, _plain(found, draft)]
    named = ", ".join(f"{one.hash.hex()[:SHOWN]} ({safe(one.label)})" for one in found.sets)
    count = "one set" if len(found.sets) == 1 else f"{len(found.sets)} sets"
    seen = f"{count} for this vocabulary, {named}"
    if hello is None or not isinstance(answer, Welcome):
        return [*checks, _check(Status.OK, f"{seen}; {_sizes(found.sets[0])}")]
    agreed = next((one for one in found.sets if one.hash == answer.tables), None)
    if agreed is not None:
        how = f"both ends agree on {agreed.hash.hex()[:SHOWN]}: {_sizes(agreed)}"
        return [*checks, _check(Status.OK, f"{seen}; {how}")]
    remedy = f"copy the file to the base station's {USUAL_FOLDER}, or name it in [pair] tables there"
    return [*checks, _check(Status.OK, f"{seen}; the target has none of them: rows are plain", remedy)]


def _plain(found: TablesFound, draft: str) -> Check:
    k = min(K, found.vocab_size)
    seen = f"plain rows, about {_an_entry(k, found.vocab_size)} bits an entry at K = {k}"
    if found.chosen:
        return _check(Status.OK, f"{seen}, as [pair] tables has it")
    if found.shipped is not None:
        one = found.shipped
        plain, short = _an_entry(K, one.vocab_size), _an_entry(K, one.vocab_size, one)
        seen += f"; tables bring those of the shipped pair from {plain} to {short}"
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
