"""The table of `draftwire bench channel`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A figure of the table."""

    name: str
    what: str
    digits: int = 3
    goal: float | None = None
    at_least: bool = False
    "whether the goal is the least that will do; else it is the most"


LINES: Final = (
    Line(name="rate_error_pct", what="rate error, worst rate, %", digits=3, goal=1),
    Line(name="delay_error_ms_p50", what="delay error, median, ms", goal=0.2),
    Line(name="delay_error_ms_p99", what="  99th percentile", goal=0.5),
    Line(name="delay_error_ms_p50_busy", what="  median, beside the pair", goal=0.2),
    Line(name="delay_error_ms_p99_busy", what="  99th percentile, beside it", goal=2),
    Line(name="far_error_ms_p50", what="  receiver, median"),
    Line(name="far_error_ms_p99", what="  receiver, 99th percentile"),
    Line(name="far_error_ms_p50_busy", what="  receiver, median, beside it"),
    Line(name="far_error_ms_p99_busy", what="  receiver, 99th, beside it"),
    Line(name="cpu_us_per_msg", what="CPU a message, at capacity, us", digits=0, goal=50),
    Line(name="cpu_us_per_msg_paced", what="  at 2000/s, each by itself", digits=0),
    Line(name="capacity_msgs_per_s", what="messages a second, 100 bytes", digits=0, goal=5000, at_least=True),
    Line(name="added_rtt_ms", what="round trip added, ms", goal=0.6),
    Line(name="kernel_departure_error_ms_p50", what="against the kernel, median, ms", goal=0.3),
)


def show(found: Mapping[str, Any]) -> None:
    """Print what `result` found."""
    table = Table(
        title=f"medians of {found['repeats']} repeats, least and most of them",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("what")
    for heading in ("median", "spread", "goal", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in LINES:
        table.add_row(line.what, *_cells(line, found))
    console = Console(highlight=False)
    console.print(table)
    console.print("the pair: the shipped one, answering; receiver: as the far end sees it")
    rates = found["rate_error_by_mbit"].items()
    by_rate = ", ".join(f"{mbit}: {one['median']:+.3f} %" for mbit, one in rates)
    console.print(f"rate errors by Mbit/s: {by_rate}", markup=False)
    for reason in ("kernel_reason", "busy_reason"):
        if found[reason] is not None:
            console.print(f"not measured: {found[reason]}", markup=False)
    loads = found["load_average"]
    console.print(
        f"load average meanwhile {min(loads):.1f} to {max(loads):.1f}; "
        f"{found['cores']} cores, {found['cpu']}; "
        f"Python {found['python']}, pyzmq {found['pyzmq']}, libzmq {found['libzmq']}",
        markup=False,
    )


def _cells(line: Line, found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    value, spread = found[line.name], found["spreads"][line.name]
    goal = "" if line.goal is None else f"{'>=' if line.at_least else '<='} {line.goal:g}"
    if value is None:
        return "-", "", goal, ""
    met = line.goal is None or (value >= line.goal if line.at_least else value <= line.goal)
    range_ = f"{spread['least']:.{line.digits}f} to {spread['most']:.{line.digits}f}"
    return f"{value:.{line.digits}f}", range_, goal, "" if met else "missed"


__all__ = ["LINES", "Line", "show"]
