"""The figures of `draftwire bench codec` for people: tables on a screen, and in Markdown for a document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.codec_goals import ENOUGH_ROWS, GOALS

BITS: Final = (
    ("tables", "bits_per_entry", ".2f"),
    ("one table", "one_table_bits_per_entry", ".2f"),
    ("plain", "plain_bits_per_entry", ".2f"),
    ("paper", "paper_bits_per_entry", ".0f"),
    ("48-bit", "fork_bits_per_entry", ".0f"),
    ("deflate", "deflate_bits_per_entry", ".1f"),
    ("zstd", "zstd_bits_per_entry", ".1f"),
    ("source", "source_model_bits", ".2f"),
)
RATIOS: Final = (
    ("x source", "over_source_model", ".3f"),
    ("without tails", "over_source_model_without_tails", ".3f"),
    ("x plain", "over_plain", ".3f"),
    ("x paper", "over_paper", ".3f"),
    ("x 48-bit", "over_fork", ".3f"),
)
ACCEPTANCE: Final = (
    ("alpha", "alpha_exact", ".4f"),
    ("on the wire", "alpha_wire", ".4f"),
    ("loss", "alpha_loss", ".2%"),
)
TIMES: Final = (
    ("quantise", "quantize_us", ""),
    ("encode", "encode_us", ""),
    ("decode", "decode_us", ""),
    ("plain: encode", "plain_encode_us", ""),
    ("plain: decode", "plain_decode_us", ""),
)
GOALS_COLUMNS: Final = (
    ("figure", "says", ""),
    ("measured", "value", ""),
    ("at most", "at_most", ""),
    ("goal", "verdict", ""),
)
"""Heading, figure, format."""

DOCUMENT_ROWS: Final = (
    ("the shipped set, up to 16 tables a rung", "bits_per_entry", ".1f"),
    ("a set of one table a rung", "one_table_bits_per_entry", ".1f"),
    ("plain", "plain_bits_per_entry", ".1f"),
    ("the paper: 16 bits of index, FP16", "paper_bits_per_entry", ".0f"),
    ("the same through zlib, level 9", "deflate_bits_per_entry", ".1f"),
    ("the same through zstd, level 19", "zstd_bits_per_entry", ".1f"),
    ("source model", "source_model_bits", ".1f"),
    ("the shipped set over the source model", "over_source_model", ".3f"),
    ("the same, tails left out", "over_source_model_without_tails", ".3f"),
    ("acceptance lost by quantising", "alpha_loss", ".2%"),
)
"""What docs/operations.md calls it, figure, format."""


def show(console: Console, found: Mapping[str, Any]) -> None:
    """Tables, and what was measured on what."""
    by_k = _by_k(found)
    _table(console, "Bits an entry", BITS, by_k.items())
    _table(console, "Bits with tables, over other ways", RATIOS, by_k.items())
    _table(console, "Acceptance", ACCEPTANCE, by_k.items())
    rows = found["rows_in_a_block"]
    _table(
        console,
        f"Microseconds a block of {rows} rows, medians (p10-p90)",
        TIMES,
        ((k, _times(figures["spreads"])) for k, figures in by_k.items()),
    )
    goals = found["goals"]
    _table(
        console,
        "Goals",
        GOALS_COLUMNS,
        _goals(found),
    )
    if any(goal["trend"] for goal in goals.values()):
        console.print("A trend: times depend on the machine, and on who shares it.")
    if any(goal["met"] is None for goal in goals.values()):
        console.print(
            f"Bits and acceptance are judged from {ENOUGH_ROWS} rows on; these are {found['rows']}."
        )
    spelt = "no tables" if found["tables"] is None else f"{found['tables_label']}, {found['tables']}"
    console.print(f"{found['draft']} -> {found['target']}, V = {found['vocab_size']}; {spelt}", markup=False)
    console.print(f"{found['rows']} rows of {found['text']}", markup=False)
    versions = f"Python {found['python']}, numpy {found['numpy']}"
    console.print(f"{found['machine']}; {versions}", markup=False)


def markdown(found: Mapping[str, Any]) -> str:
    """The three tables of docs/operations.md, "What rows cost": bits, goals, times."""
    by_k = _by_k(found)
    bits = [
        (says, *(_cell(figures.get(name), spec) for figures in by_k.values()))
        for says, name, spec in DOCUMENT_ROWS
    ]
    goals = [(goal["says"], k, *(goal[key] for _, key, _ in GOALS_COLUMNS[1:])) for k, goal in _goals(found)]
    times = [
        (k, *(_cell(_times(figures["spreads"]).get(name), spec) for _, name, spec in TIMES))
        for k, figures in by_k.items()
    ]
    headings = [heading.replace("decode", "decode, weights included", 1) for heading, *_ in TIMES[:3]]
    return "\n\n".join(
        (
            _markdown(("bits an entry at K =", *by_k), bits),
            _markdown(("figure", "K", *(heading for heading, *_ in GOALS_COLUMNS[1:])), goals),
            _markdown(("K", *headings, *(heading for heading, *_ in TIMES[3:])), times),
        )
    )


def _by_k(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name[2:]: figures for name, figures in found.items() if name.startswith("K.")}


def _goals(found: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """K, and its goal in words and in numbers as they are written."""
    return [
        (
            name.split(".")[1],
            {
                "says": goal["says"],
                "value": format(goal["value"], GOALS[name].spec),
                "at_most": format(goal["at_most"], GOALS[name].spec),
                "verdict": goal["verdict"],
            },
        )
        for name, goal in found["goals"].items()
    ]


def _times(spreads: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Medians and quantiles in whole microseconds; of quantising the median alone."""
    spelt = {
        name: f"{one['median']:.0f} ({one['p10']:.0f}-{one['p90']:.0f})" for name, one in spreads.items()
    }
    return spelt | {"quantize_us": f"{spreads['quantize_us']['median']:.0f}"}


def _cell(value: Any, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _table(
    console: Console,
    title: str,
    columns: Sequence[tuple[str, str, str]],
    rows: Iterable[tuple[str, Mapping[str, Any]]],
) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("K", *(heading for heading, _, _ in columns)):
        table.add_column(heading, justify="left" if heading == "figure" else "right", no_wrap=True)
    for k, figures in rows:
        table.add_row(k, *(_cell(figures.get(name), spec) for _, name, spec in columns))
    if table.row_count:
        console.print(table)


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (headings, ("---",) * len(headings), *rows)
    return "\n".join(
        "|" + "|".join(cells) + "|" if cells[0] == "---" else f"| {' | '.join(cells)} |" for cells in lines
    )


__all__ = ["DOCUMENT_ROWS", "markdown", "show"]
