"""The picture of `draftwire link plot`: a column a direction; rate, delay and its distribution below."""

import math
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Final

from draftwire.nodes.console.link_playing import Played, Probe, Times, is_lost, is_waiting
from draftwire.nodes.console.plots import BLUE, GOLD, GREEN, GREY, ORANGE, PURPLE, SKY, WIDTH_IN, in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

HEIGHTS_IN: Final = (1.9, 2.1, 1.5)
WIDTH_OF_TWO_IN: Final = 11.0
PALE: Final = "#dddddd"
LOG_FROM: Final = 8
"""An axis of delays is logarithmic where the longest is so many times the shortest."""

LETTERS_AN_INCH: Final = 10.5
"""Of the title."""


@in_style
def link_figure(columns: Sequence[tuple[str, Played]]) -> "Figure":
    """What each direction did, under its name; an empty name: both do the same."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width_in = WIDTH_IN if len(columns) == 1 else WIDTH_OF_TWO_IN
    figure = Figure(figsize=(width_in, sum(HEIGHTS_IN) + 1.9), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.add_gridspec(len(HEIGHTS_IN), len(columns), height_ratios=list(HEIGHTS_IN))
    for number, (name, played) in enumerate(columns):
        top, middle, bottom = (figure.add_subplot(places[row, number]) for row in range(len(HEIGHTS_IN)))
        title = f"{name}: {played.words or 'delay 0'}" if name else played.words or "delay 0"
        letters = int(LETTERS_AN_INCH * width_in / len(columns))
        top.set_title(fill(title, letters), fontweight="bold", pad=22)
        logarithmic = _wide(played.delays)
        _rate_panel(top, played)
        _delay_panel(middle, played, logarithmic=logarithmic)
        middle.sharex(top)
        _share_panel(bottom, played, logarithmic=logarithmic)
        figure.align_ylabels([top, middle, bottom])
    return figure


def _rate_panel(axes: "Axes", played: Played) -> None:
    axes.set_ylabel("rate, Mbit/s")
    axes.set_xlim(0, played.seconds)
    if played.offered_mean_bps == math.inf:
        axes.text(0.5, 0.5, "no rate: sending takes no time", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    xs = [at_s for at_s, _ in played.offered_bps] + [played.seconds]
    ys = [bps / 1e6 for _, bps in played.offered_bps]
    label = f"the link: mean {_mbit(played.offered_mean_bps)}"
    axes.fill_between(xs, [*ys, ys[-1]], step="post", color=PALE, edgecolor=GREY, linewidth=0.6, label=label)
    if played.carried_bps:
        xs = [at_s for at_s, _ in played.carried_bps] + [played.seconds]
        carried = [bps / 1e6 for _, bps in played.carried_bps]
        label = f"through it when full: mean {_mbit(played.carried_mean_bps or 0.0)}"
        axes.plot(xs, [*carried, carried[-1]], color=BLUE, linewidth=0.9, drawstyle="steps-post", label=label)
    axes.set_ylim(bottom=0)
    _legend_above(axes)


def _delay_panel(axes: "Axes", played: Played, *, logarithmic: bool) -> None:
    came = [probe for probe in played.probes if probe.delay_s < math.inf]
    kinds: tuple[tuple[str, str, list[Probe]], ...] = (
        ("", BLUE, [one for one in came if not (one.overtook or one.is_copy or one.corrupted)]),
        ("overtook another", PURPLE, [one for one in came if one.overtook and not one.is_copy]),
        ("second arrival", GREEN, [one for one in came if one.is_copy]),
        ("a bit flipped", SKY, [one for one in came if one.corrupted and not one.overtook]),
    )
    _expected_band(axes, played)
    for name, colour, probes in kinds:
        if probes:
            xs, ys = [one.sent_s for one in probes], [1e3 * one.delay_s for one in probes]
            label = name or f"{played.message_bytes}-byte message: median {_ms(played.delay_s(0.5))}"
            axes.plot(xs, ys, linestyle="", marker=".", markersize=2.5, color=colour, label=label)
    _losses(axes, played)
    if logarithmic:
        axes.set_yscale("log")
        _in_whole_numbers(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel("one-way delay, ms")
    axes.set_xlabel("time, s")
    _legend_above(axes)


def _expected_band(axes: "Axes", played: Played) -> None:
    if not any(one.jitter_s for one in played.expected if one.delay_s < math.inf):
        return
    ends = [*(one.at_s for one in played.expected[1:]), played.seconds]
    xs, low, high, shown = list[float](), list[float](), list[float](), list[bool]()
    for one, end_s in zip(played.expected, ends, strict=True):
        xs += [one.at_s, end_s]
        low += 2 * [1e3 * max(0.0, one.delay_s - one.jitter_s)]
        high += 2 * [1e3 * (one.delay_s + one.jitter_s)]
        shown += 2 * [one.delay_s < math.inf]
    axes.fill_between(
        xs, low, high, where=shown, color=GOLD, alpha=0.3, zorder=3, lw=0, label="delay ± jitter"
    )


def _losses(axes: "Axes", played: Played) -> None:
    place = axes.get_xaxis_transform()
    kinds: tuple[tuple[str, Callable[[Probe], bool], str], ...] = (
        ("lost", is_lost, ORANGE),
        ("still waiting at the end", is_waiting, GREY),
    )
    for name, is_so, colour in kinds:
        xs = [one.sent_s for one in played.probes if is_so(one)]
        if xs:
            ys = [0.97] * len(xs)
            label = f"{name}: {100 * played.share(is_so):.3g} %"
            axes.plot(
                xs, ys, transform=place, linestyle="", marker="x", markersize=3.5, color=colour, label=label
            )


def _share_panel(axes: "Axes", played: Played, *, logarithmic: bool) -> None:
    delays = played.delays
    axes.set_xlabel("one-way delay, ms")
    axes.set_ylabel("share of messages\nthat took no longer")
    axes.set_ylim(0, 1.03)
    if not delays:
        axes.text(0.5, 0.5, "no message arrived", transform=axes.transAxes, ha="center")
        return
    delays_ms = [1e3 * delay_s for delay_s, _ in delays]
    shares = [share for _, share in delays]
    axes.plot([delays_ms[0], *delays_ms], [0.0, *shares], color=BLUE, drawstyle="steps-post")
    if logarithmic:
        axes.set_xscale("log")
        _in_whole_numbers(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    for share, style in ((0.5, "--"), (0.99, ":")):
        at_ms = 1e3 * (played.delay_s(share) or 0.0)
        name = "median" if share == 0.5 else "99th percentile"
        axes.axvline(at_ms, color=GREY, linewidth=0.9, linestyle=style, label=f"{name}: {_ms(at_ms / 1e3)}")
    _legend_above(axes)


def _wide(delays: Times) -> bool:
    return bool(delays) and delays[0][0] > 0 and delays[-1][0] > LOG_FROM * delays[0][0]


def _in_whole_numbers(axis: "Axis") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend_above(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=2,
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.2,
            borderpad=0.2,
        )


def _mbit(bps: float) -> str:
    return f"{bps / 1e6:.3g} Mbit/s"


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


__all__ = ["link_figure"]
