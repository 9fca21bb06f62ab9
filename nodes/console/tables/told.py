"""What `draftwire tables learn` says of a set: figures, also beside those of what would be used otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.escape import safe
from draftwire.nodes.console.tables.report import Worth

NOTICED: Final = 1.005
"""Times the bits of another set; less is chance."""

FEW_HELD_OUT: Final = 500
"""Rows; figures of fewer vary by some percent."""

SHOWN: Final = 8
"""Hexadecimal digits of a set's hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherwise:
    """The set that commands would use if the new one were not there."""

    tables: TableSet
    bits: tuple[float, ...]
    "an entry of the same held-out rows, for each rung of the new set"

    @property
    def name(self) -> str:
        """For people."""
        return f"set {self.tables.hash.hex()[:SHOWN]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A set, and all there is to say of it."""

    tables: TableSet
    path: Path
    worth: Sequence[Worth]
    learnt_rows: int
    held_out_rows: int
    otherwise: Otherwise | None
    "None: plain rows"
    used: bool
    "commands find it, and use it before all others"


def warnings(learnt: Learnt) -> list[str]:
    """A line for each thing that speaks against the set, or against its figures."""
    other, found = learnt.otherwise, list[str]()
    beside = [one.plain for one in learnt.worth] if other is None else other.bits
    name = "plain rows" if other is None else f"{other.name} ({safe(other.tables.label)})"
    worse = [
        f"{one.k} ({one.bits:.2f}, not {bits:.2f})"
        for one, bits in zip(learnt.worth, beside, strict=True)
        if one.bits > NOTICED * bits
    ]
    if worse:
        found.append(f"the new set takes more bits an entry than {name} at K = {', '.join(worse)}")
    if other is not None:
        own = {rung.k for rung in learnt.tables.rungs}
        lacking = [str(rung.k) for rung in other.tables.rungs if rung.k not in own]
        if lacking:
            found.append(
                f"the new set has no tables for K = {', '.join(lacking)}, which {other.name} has: "
                "rows are longer there"
            )
    if learnt.held_out_rows < FEW_HELD_OUT:
        found.append(
            f"{learnt.held_out_rows} held-out rows are few: the figures may be off by some percent; "
            "take more text, or a larger --held-out"
        )
    return found


def as_json(learnt: Learnt, *, learning_s: float, took_s: float) -> dict[str, Any]:
    """For programs; what is called bits is bits an entry."""
    tables, other = learnt.tables, learnt.otherwise
    return {
        "file": str(learnt.path),
        "hash": tables.hash.hex(),
        "label": tables.label,
        "vocab_size": tables.vocab_size,
        "fingerprint": tables.fingerprint.hex(),
        "file_bytes": learnt.path.stat().st_size,
        "learnt_rows": learnt.learnt_rows,
        "held_out_rows": learnt.held_out_rows,
        "learning_s": round(learning_s, 2),
        "took_s": round(took_s, 2),
        "used": learnt.used,
        "otherwise": "" if other is None else other.tables.hash.hex(),
        "warnings": warnings(learnt),
        "rungs": [
            {
                "k": one.k,
                "tables": one.tables,
                "front": one.front,
                "bits_per_entry": round(one.bits, 4),
                "ids_bits_per_entry": round(one.ids, 4),
                "levels_bits_per_entry": round(one.levels, 4),
                "plain_bits_per_entry": round(one.plain, 4),
                "otherwise_bits_per_entry": round(one.plain if other is None else other.bits[at], 4),
                "source_model_bits": round(one.source, 4),
                "over_source_model": round(one.over_source, 4),
            }
            for at, one in enumerate(learnt.worth)
        ],
    }


def print_learnt(console: Console, learnt: Learnt) -> None:
    """For people: the report, and whether the set is used."""
    total = learnt.learnt_rows + learnt.held_out_rows
    console.print(
        f"{learnt.learnt_rows} rows learnt from, {learnt.held_out_rows} held out "
        f"({learnt.held_out_rows / total:.1%})",
        highlight=False,
    )
    print_report(console, learnt.tables, learnt.path, learnt.worth, otherwise=learnt.otherwise)
    if learnt.used:
        said = "Commands of this pair use it from now on, where both ends have it and none is named."
    else:
        before = "" if learnt.otherwise is None else f" before {learnt.otherwise.name}"
        said = (
            f"It is used{before} where it is named: --tables {learnt.path}, or [pair] tables, at the device; "
            "the base station needs the file too, in its tables folder or named."
        )
    console.print(safe(said), soft_wrap=True, highlight=False, markup=False)


def print_report(
    console: Console,
    tables: TableSet,
    path: Path,
    found: Sequence[Worth],
    *,
    otherwise: Otherwise | None = None,
) -> None:
    """What each rung is worth, and where the set is."""
    shown = Table(
        box=SIMPLE_HEAD,
        title="bits an entry of held-out rows, in blocks of 4",
        title_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    other = [] if otherwise is None else [otherwise.tables.hash.hex()[:SHOWN]]
    parts = ("ids", "levels", "source model", "over it")
    for name in ("K", "tables", "front", "plain", *other, "with tables", *parts):
        shown.add_column(name, justify="right", no_wrap=name in other)
    for at, one in enumerate(found):
        beside = [] if otherwise is None else [otherwise.bits[at]]
        numbers = (one.plain, *beside, one.bits, one.ids, one.levels, one.source, one.over_source)
        shown.add_row(*map(str, (one.k, one.tables, one.front)), *(f"{number:.2f}" for number in numbers))
    console.print(shown)
    if otherwise is not None:
        console.print(
            f"{otherwise.name}: what would be used otherwise, {safe(otherwise.tables.label)}.",
            highlight=False,
            markup=False,
        )
    console.print(
        "With tables: ids with the table's number, levels, tails, padding; no headers. Source model: the "
        "best of as many Bernoulli models and its number, order-0 entropy of levels, low bits."
    )
    size = size_words(path.stat().st_size)
    console.print(
        f"{safe(str(path))}: set {tables.hash.hex()}, {size}", soft_wrap=True, highlight=False, markup=False
    )


def size_words(size_bytes: int) -> str:
    """In the unit that leaves figures to see."""
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


__all__ = [
    "FEW_HELD_OUT",
    "Learnt",
    "Otherwise",
    "as_json",
    "print_learnt",
    "print_report",
    "size_words",
    "warnings",
]
