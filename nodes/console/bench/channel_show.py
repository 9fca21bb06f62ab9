"""The table of `draftwire bench channel`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.goals import verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A figure of the table."""

    name: str
    what: str
    digits: int = 3


LINES: Final = (
    Line(name="rate_error_pct", what="rate error, worst rate, %"),
    Line(name="delay_error_ms_p50", what="channel's lateness, median, ms"),
    Line(name="far_error_ms_p50", what="  at the receiver"),
    Line(name="delay_error_ms_p99", what="channel's lateness, p99, ms"),
    Line(name="far_error_ms_p99", what="  at the receiver"),
    Line(name="delay_error_ms_p50_busy", what="beside the pair, median, ms"),
    Line(name="far_error_ms_p50_busy", what="  at the receiver"),
    Line(name="delay_error_ms_p99_busy", what="beside the pair, p99, ms"),
    Line(name="far_error_ms_p99_busy", what="  at the receiver"),
    Line(name="cpu_us_per_msg", what="CPU a message, at capacity, us", digits=0),
    Line(name="cpu_us_per_msg_paced", what="  at 2000/s, each by itself", digits=0),
    Line(name="capacity_msgs_per_s", what="messages a second, 100 bytes", digits=0),
    Line(name="added_rtt_ms", what="round trip added, ms"),
    Line(name="kernel_departure_error_ms_p50", what="against the kernel, median, ms"),
)

AT_MOST: Final = {
    "rate_error_pct": 1.0,
    "delay_error_ms_p50": 0.2,
    "delay_error_ms_p99": 0.5,
    "delay_error_ms_p50_busy": 0.2,
    "delay_error_ms_p99_busy": 2.0,
    "cpu_us_per_msg": 50.0,
    "added_rtt_ms": 0.6,
    "kernel_departure_error_ms_p50": 0.3,
}
AT_LEAST: Final = {"capacity_msgs_per_s": 5000.0}
"""Goals, by figure."""


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
    console.print(
        "lateness: handed over minus planned, by the channel itself, and that has the goal; at the receiver: "
        "both hops between processes are in it; the pair: the shipped one, answering",
        soft_wrap=True,
    )
    console.print(
        "CPU: at capacity one wake-up serves many messages, and that has the goal; alone each has its own",
        soft_wrap=True,
    )
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
    goal, met = verdict(found["goals"].get(line.name))
    if value is None:
        return "-", "", goal, met
    range_ = f"{spread['least']:.{line.digits}f} to {spread['most']:.{line.digits}f}"
    return f"{value:.{line.digits}f}", range_, goal, met


__all__ = ["AT_LEAST", "AT_MOST", "LINES", "Line", "show"]
