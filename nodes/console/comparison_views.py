"""How a comparison looks: its table, the words below it, its picture, and a record of it read back."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.comparison import PAPER_NAME, Compared, Comparison, Conditions, compare
from draftwire.nodes.console.outcome import ALONE, COUPLED, PIPELINED, Setting
from draftwire.nodes.console.plots import Bar, comparison_figure
from draftwire.nodes.console.record import Record, RecordError
from draftwire.nodes.console.timeline import Traces, runs_of, traces_of
from draftwire.runtime.config import AcceptanceRule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER_EVENT: Final = "compare"
"""The line of a record that says under what conditions its outcomes came."""


def comparison_in(record: Record) -> Comparison:
    """The comparison that a record holds. Raises RecordError for a record of something else."""
    header = record.headers.get(HEADER_EVENT)
    if header is None or not any(one.repeat >= 0 and one.tokens for one in record.outcomes):
        raise RecordError(
            "holds no comparison", source=str(record.path), remedy="make one: draftwire compare --record FILE"
        )
    try:
        conditions = Conditions.from_fields(header)
    except (KeyError, TypeError) as error:
        raise RecordError(f"line 'compare' lacks {error}", source=str(record.path)) from None
    return compare(record.outcomes, conditions)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """The table, and a line for each thing that it does not say by itself."""
    console.print(table_of(comparison))
    for line in words_of(comparison):
        console.print(line, highlight=False, soft_wrap=True)


def table_of(comparison: Comparison) -> Table:
    """A row a setting; `*` marks the best fixed one."""
    table = Table(
        title=_title(comparison.conditions),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("setting", no_wrap=True)
    for heading in ("tok /s", "least- most", "x", "alpha", "B/tok up", "pass /tok", "waste /tok", "L"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    best = comparison.best_fixed
    for row in comparison.rows:
        table.add_row(*_cells(row, star=row is best), style="bold" if row.setting.rivals else "")
    together, alone = comparison.colocated, comparison.row(ALONE)
    if together is not None:
        ratio = f"{together.tokens_per_s / alone.tokens_per_s:.2f}" if alone else "-"
        cells = (_speed(together.tokens_per_s), "modelled", ratio, f"{together.alpha:.2f}", "0")
        table.add_row(f"colocated, gamma {together.gamma}", *cells, "-", "-", "-", style="dim")
    return table


def words_of(comparison: Comparison) -> list[str]:
    """What the table does not say by itself."""
    lines = list[str]()
    best, auto = comparison.best_fixed, comparison.auto
    if best and auto:
        over = auto.tokens_per_s / best.tokens_per_s
        lines.append(f"* the best fixed setting, known afterwards only: auto has {over:.2f} x its speed.")
    named = [("the best fixed setting", best), ("auto", auto)]
    named += [(one.name, comparison.row(one)) for one in (COUPLED, PIPELINED)]
    ratios = {name: row.ratio for name, row in named if row is not None and row.ratio is not None}
    if "auto" in ratios:
        verdict = "pays" if max(ratios.values()) > 1 else "does not pay"
        each = ", ".join(f"{ratio:.2f} x with {name}" for name, ratio in ratios.items())
        lines.append(f"x: speed over the target alone. Speculation {verdict} on this link: {each}.")
    lines.append(
        "paper: K = 320 (or V), gamma by Theorem 2 from the alpha measured at that K, the link's true rate "
        "and the paper's count of bytes; sent with our frames. L is by that count too."
    )
    if any(row.passes_a_token is not None for row in comparison.rows):
        lines.append("pass: of the target; waste: drafted tokens thrown away; both for each token.")
    lines += _about_acceptance(comparison)
    if comparison.conditions.temperature == 0:
        lines.append("Temperature 0: only ids travel, K makes no difference.")
    together = comparison.colocated
    if together is not None:
        draft_ms, pass_ms = 1e3 * together.draft_step_s, 1e3 * together.target_step_s
        lines.append(
            f"colocated: both models on the BS, modelled from the steps measured here ({draft_ms:.1f} ms a "
            f"drafted token, {pass_ms:.1f} ms a pass), without prompt and overhead. Why split them: freed of "
            f"the drafting, a BS has time for up to {together.users:.2f} times as many users, and "
            "the devices' cycles are free."
        )
    return lines


def _about_acceptance(comparison: Comparison) -> list[str]:
    """What rows of ids only are, and what auto took."""
    lines = list[str]()
    if any(row.setting in (COUPLED, PIPELINED) for row in comparison.rows):
        lines.append(
            "coupled, pipelined: both ends pick with one noise, so only ids travel, 3 bytes for a drafted "
            "token in place of a row; they give up some acceptance for that (alpha). coupled: both ends take "
            "turns; pipelined: the target never waits, and the device drafts on, some of it in vain. Neither "
            "is a fixed setting: the controller chooses their gamma."
        )
    auto = comparison.auto
    if auto is not None and auto.acceptances and auto.acceptances != (AcceptanceRule.REJECTION.value,):
        lines.append(f"auto took acceptance by: {', '.join(auto.acceptances)}.")
    return lines


def picture(comparison: Comparison, record: Record) -> "Figure":
    """Speeds by setting; below, the adaptive request of median speed over its time."""
    bars = [
        Bar(
            name=row.setting.name + (" *" if row is comparison.best_fixed else ""),
            speeds=row.speeds,
            kind=_kind(row.setting),
        )
        for row in comparison.rows
    ]
    together = comparison.colocated
    if together is not None:
        bars.append(Bar(name="colocated, modelled", speeds=(together.tokens_per_s,), kind="modelled"))
    return comparison_figure(bars, title=_title(comparison.conditions), traces=traces_of_auto(record))


def _kind(setting: Setting) -> str:
    if setting == ALONE or setting.rivals:
        return "alone" if setting == ALONE else "auto"
    if setting in (COUPLED, PIPELINED):
        return "ids"
    return "paper" if setting.name.startswith(PAPER_NAME) else "fixed"


def traces_of_auto(record: Record) -> Traces | None:
    """Of the adaptive request whose speed is the median; None: its steps were not recorded."""
    outcomes = sorted(
        (one for one in record.outcomes if one.setting.rivals), key=lambda one: one.tokens_per_s
    )
    if not outcomes:
        return None
    chosen = outcomes[len(outcomes) // 2]
    ends_s = chosen.started_at_s + chosen.seconds
    runs = [run for run in runs_of(record) if chosen.started_at_s <= run.ends_s <= ends_s + 1]
    return traces_of([replace(runs[0], offset_s=0.0)], record.links) if runs else None


def _title(conditions: Conditions) -> str:
    paced = ", paced to the paper's hardware" if conditions.profile == "paper" else ""
    draft, target = conditions.draft, conditions.target
    pair = draft if draft == target else f"{draft} for {target}"
    return (
        f"{conditions.link or 'no link'} each way; {pair}{paced}\n"
        f"{conditions.tokens} tokens, temperature {conditions.temperature:g}, "
        f"{conditions.repeats} repeats in turns, seeds from {conditions.seed}"
    )


def _speed(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.1f}" if tokens_per_s < 100 else f"{tokens_per_s:.0f}"


def _cells(row: Compared, *, star: bool) -> tuple[str, ...]:
    return (
        row.setting.name + (" *" if star else ""),
        _speed(row.tokens_per_s),
        f"{_speed(row.least)}-{_speed(row.most)}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        "-" if row.alpha is None else f"{row.alpha:.2f}",
        f"{row.bytes_up_a_token:.0f}",
        "-" if row.passes_a_token is None else f"{row.passes_a_token:.2f}",
        "-" if row.wasted_a_token is None else f"{row.wasted_a_token:.2f}",
        "-" if row.paper_l is None else f"{row.paper_l:.2f}",
    )


__all__ = [
    "HEADER_EVENT",
    "comparison_in",
    "picture",
    "print_comparison",
    "table_of",
    "traces_of_auto",
    "words_of",
]
