"""The picture of a simulation: speeds over devices, and what the median device met and did over time."""

from collections.abc import Sequence
from math import ceil, floor, isnan, log2
from typing import TYPE_CHECKING, Final

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.link_rates import rates_over
from draftwire.nodes.console.plots import BLUE, GREY, ORANGE, WIDTH_IN, in_style
from draftwire.nodes.console.simulate.fleet import channel_seed, schedules_of
from draftwire.nodes.console.simulate.outcomes import BINS, Simulation
from draftwire.nodes.console.simulate.report import many
from draftwire.runtime.config import ChannelSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

HEIGHTS_IN: Final = (1.9, 1.2, 0.9, 0.9, 1.2)
BLACK: Final = "#000000"
MOST_BARS: Final = 40


@in_style
def simulation_figure(came: Simulation, *, rate_bps: Points) -> "Figure":
    """`rate_bps`: (from when on, bits a second) of the median device's uplink; empty: it has no rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, sum(HEIGHTS_IN) + 0.35 * len(HEIGHTS_IN)), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.add_gridspec(len(HEIGHTS_IN), 1, height_ratios=list(HEIGHTS_IN))
    devices, rate, k, gamma, speed = (figure.add_subplot(places[row, 0]) for row in range(len(HEIGHTS_IN)))
    median = came.median_device
    _devices_panel(devices, came)
    who = many(len(came.devices), "device")
    devices.set_title(f"{who}, {came.seconds:g} s of virtual time; {came.pair}")
    rate.set_title(f"{median.device}, the median: {median.tokens_per_s:.1f} tok/s")
    _steps(rate, [(at_s, bps / 1e6) for at_s, bps in rate_bps], came.seconds, "uplink,\nMbit/s")
    _k_panel(k, median.series.k())
    _line(gamma, median.series.gamma(), "gamma")
    gamma.set_ylim(bottom=-0.3, top=max(1.3, gamma.get_ylim()[1]))
    _line(speed, median.series.tokens_per_s(), "tokens/s")
    speed.axhline(median.alone_tokens_per_s, color=ORANGE, linestyle=":", linewidth=1.0)
    speed.set_ylim(bottom=0)
    speed.set_xlabel("virtual time, s")
    for axes in (rate, k, gamma, speed):
        axes.set_xlim(0, came.seconds)
        axes.tick_params(labelbottom=axes is speed)
    figure.align_ylabels([devices, rate, k, gamma, speed])
    return figure


def uplink_rates(channel: ChannelSettings | None, came: Simulation) -> Points:
    """Of the median device's uplink over the run; empty: it has no rate. Time 0 of its schedule is the first
    message of any device of its BS, and a fraction of a second is no matter here.
    """
    if channel is None:
        return []
    device = came.median_device
    streams = streams_of(channel_seed(came.seed, device.bs, channel), device.device, Direction.UPLINK)
    schedule = schedules_of(channel, device.device)[Direction.UPLINK]
    points = rates_over(schedule, came.seconds, bins=BINS, streams=streams)
    return [] if any(bps == float("inf") for _, bps in points) else points


def _devices_panel(axes: "Axes", came: Simulation) -> None:
    """A bar for each band of speeds, as high as devices are in it."""
    from matplotlib.ticker import MaxNLocator

    axes.hist(came.speeds, bins=min(MOST_BARS, max(5, len(came.speeds) // 3)), color=BLUE, alpha=0.8)
    alone = sorted({round(one.alone_tokens_per_s, 1) for one in came.devices})
    of_which = "" if len(alone) == 1 else f",\nof the median device\n(all: {alone[0]:g} to {alone[-1]:g})"
    axes.axvline(
        came.median_device.alone_tokens_per_s,
        color=ORANGE,
        linestyle=":",
        label=f"target alone,\nmodelled{of_which}",
    )
    axes.axvline(came.median_device.tokens_per_s, color=BLACK, linestyle="--", linewidth=1.0, label="median")
    axes.set_xlabel("tokens a second")
    axes.set_ylabel("devices")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), borderaxespad=0.3)


def _line(axes: "Axes", points: Points, label: str) -> None:
    axes.plot([x for x, _ in points], [y for _, y in points], color=BLUE, marker=".", markersize=3)
    axes.set_ylabel(label)


def _k_panel(axes: "Axes", points: Points) -> None:
    drawn = [value for _, value in points if not isnan(value)]
    if not drawn:
        axes.set_ylabel("K")
        axes.text(0.5, 0.5, "no rows: the target alone", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    _line(axes, points, "K")
    _powers_of_two(axes, drawn)


def _powers_of_two(axes: "Axes", values: Sequence[float]) -> None:
    """An axis that doubles from tick to tick, or from every second or third to the next."""
    axes.set_yscale("log", base=2)
    low, high = floor(log2(min(values, default=1))), ceil(log2(max(values, default=2)))
    every = max(1, (high - low + 2) // 4)
    axes.set_ylim(2.0 ** (low - 0.3), 2.0 ** (high + 0.3))
    ticks = [2**power for power in range(low, high + 1, every)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _steps(axes: "Axes", points: Points, ends_s: float, label: str) -> None:
    axes.set_ylabel(label)
    if not points:
        axes.text(0.5, 0.5, "no rate: sending takes no time", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    held = [*points, (ends_s, points[-1][1])]
    axes.plot([x for x, _ in held], [y for _, y in held], color=BLACK, drawstyle="steps-post")
    axes.set_ylim(bottom=0)
    axes.axhline(0, color=GREY, linewidth=0.6)


__all__ = ["simulation_figure", "uplink_rates"]
