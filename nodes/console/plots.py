"""Pictures: plain values in, a matplotlib Figure out, one style for all.

Made to be read in print: thin lines, no frame but two axes, colours of Okabe and Ito that colour-blind people
can tell apart, and another dash or marker for each line. matplotlib is imported when a picture is drawn, so
that commands without one start fast. Figures are drawn by Agg: no display is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from draftwire.nodes.console.options import check_writable
from draftwire.nodes.console.timeline import Points, Traces
from draftwire.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

SUFFIXES: Final = (".png", ".svg", ".pdf")
WIDTH_IN: Final = 6.5
"""A page between its margins."""

BLACK: Final = "#000000"
GREY: Final = "#767676"
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
GOLD: Final = "#E69F00"
SERIES: Final = (BLUE, ORANGE, GREEN, PURPLE, GOLD, SKY, BLACK)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")

STYLE: Final[Any] = {  # matplotlib types each key by itself
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "draftwire",  # the same picture gives the same file
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One setting's speeds in a comparison."""

    name: str
    speeds: tuple[float, ...]
    "tokens a second, by repeat; one of them for what was modelled"
    kind: str
    "alone, paper, fixed, ids (only these travel), auto or modelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of the sweep."""

    name: str
    measured: Points
    predicted: Points = ()
    "drawn without markers, dashed, in the same colour"


def check_picture(path: Path | None, *, key: str = "--plot") -> None:
    """Raise ConfigurationError now, before anything runs, for a file that no picture can be saved to."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(
            f"{str(path)!r}: no picture has the suffix {path.suffix!r}",
            key=key,
            remedy=f"name a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
        )
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(
            f"{str(path)!r}: there is no such folder", key=key, remedy="make the folder, or name another file"
        )
    check_writable(path, key=key)


def save(figure: "Figure", path: Path) -> None:
    """Write the picture, by the file's suffix. Raises ConfigurationError where it can't be written."""
    from matplotlib import rc_context

    check_picture(path)
    try:
        with rc_context(STYLE):
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key="--plot", remedy="name a file that can be written"
        ) from None


def in_style(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """A figure's function that finds STYLE in force, and leaves the program's own settings as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


# The pictures -----------------------------------------------------------------------------------------------


@in_style
def comparison_figure(bars: Sequence[Bar], *, title: str, traces: Traces | None) -> "Figure":
    """Speeds by setting, one dot a repeat and a line from the least to the most; the median by its number.

    With `traces`, of an adaptive request: rate, K and gamma over its time below.
    """
    colours = {"alone": BLACK, "paper": ORANGE, "fixed": GREY, "ids": PURPLE, "auto": BLUE, "modelled": GREEN}
    heights = [0.22 * len(bars) + 0.7, *((1.25, 0.8, 0.8) if traces is not None else ())]
    figure, axes = _figure(heights, share_time_from=1)
    top = axes[0]
    for place, bar in enumerate(reversed(bars)):
        colour = colours[bar.kind]
        middle = median(bar.speeds)
        top.plot([min(bar.speeds), max(bar.speeds)], [place, place], color=colour, linewidth=2, alpha=0.6)
        top.plot(
            bar.speeds,
            [place] * len(bar.speeds),
            linestyle="",
            marker="D" if bar.kind == "modelled" else "o",
            color=colour,
            fillstyle="none" if bar.kind == "modelled" else "full",
        )
        top.annotate(
            f"{middle:.3g}" if middle >= 100 else f"{middle:.1f}",
            (max(bar.speeds), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
        )
    top.set_yticks(range(len(bars)), [bar.name for bar in reversed(bars)])
    top.set_ylim(-0.7, len(bars) - 0.3)
    most = max(max(bar.speeds) for bar in bars)
    top.set_xlim(0, most * 1.12)
    top.set_xlabel("tokens a second (dots: repeats; number: median)")
    top.grid(axis="y", visible=False)
    top.set_title(title)
    if traces is not None:
        _rate_panel(axes[1], traces)
        axes[1].set_title("one adaptive request over its time")
        _choice_panels(axes[2], axes[3], traces)
        axes[3].set_xlabel("time, s")
    return figure


@in_style
def explanation_figure(traces: Traces, *, title: str) -> "Figure":
    """Over one time: the rate, true and believed; K and gamma; speeds, predicted and measured."""
    figure, axes = _figure([1.5, 0.9, 0.9, 1.7], share_time_from=0)
    axes[0].set_title(title)
    _rate_panel(axes[0], traces)
    _choice_panels(axes[1], axes[2], traces)
    speeds = axes[3]
    _line(speeds, traces.measured, color=BLACK, label="measured, over 8 steps")
    _line(speeds, traces.predicted, color=BLUE, linestyle="--", drawstyle="steps-post", label="predicted")
    _line(speeds, traces.alone, color=ORANGE, linestyle=":", label="target alone,\npredicted")
    speeds.set_ylim(bottom=0)
    speeds.set_ylabel("tokens/s")
    speeds.set_xlabel("time, s")
    _legend(speeds)
    _borders(speeds, traces)
    return figure


@in_style
def sweep_figure(
    alphas: Sequence[Curve],
    speeds: Mapping[str, Sequence[Curve]],
    *,
    alone: Sequence[float],
    title: str,
) -> "Figure":
    """alpha over K, one line a temperature; then a panel a temperature: speed over gamma, one line a K.

    speeds: the panel's title -> its lines. alone: the target's own tokens a second, by panel.
    """
    heights = [1.7] * bool(alphas) + [2.1] * len(speeds)
    figure, axes = _figure(heights, share_time_from=None)
    panels = axes
    if alphas:
        top, *panels = axes
        for number, curve in enumerate(alphas):
            _curve(top, curve, number)
        top.set_xscale("log")
        ks = sorted({x for curve in alphas for x, _ in curve.measured})
        top.set_xticks(ks, [f"{k:g}" for k in ks])
        top.minorticks_off()
        top.set_ylim(0, 1)
        top.set_xlabel("K, entries of a row")
        top.set_ylabel("alpha")
        _legend(top)
    axes[0].set_title(title)
    for panel, (name, curves), speed in zip(panels, speeds.items(), alone, strict=True):
        for number, curve in enumerate(curves):
            _curve(panel, curve, number)
        panel.axhline(speed, color=BLACK, linewidth=1.0, linestyle=":", label="target alone")
        panel.set_ylim(bottom=0)
        panel.set_xticks(sorted({x for curve in curves for x, _ in curve.measured}))
        panel.set_xlabel("gamma, drafted tokens a step")
        panel.set_ylabel("tokens/s")
        if panel is not axes[0]:
            panel.set_title(name)
        _legend(panel)
    return figure


# Panels -----------------------------------------------------------------------------------------------------


def _figure(heights: Sequence[float], *, share_time_from: int | None) -> "tuple[Figure, list[Axes]]":
    """Panels one above the other, heights in inches; from one of them on, one time axis for all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.35 * len(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.add_gridspec(len(heights), 1, height_ratios=list(heights))
    axes = list["Axes"]()
    for number in range(len(heights)):
        shared = None if share_time_from is None or number <= share_time_from else axes[share_time_from]
        axes.append(figure.add_subplot(places[number], sharex=shared))
        if shared is not None:
            axes[number - 1].tick_params(labelbottom=False)
    return figure, axes


def _rate_panel(axes: "Axes", traces: Traces) -> None:
    true = [(at, bps / 1e6) for at, bps in traces.true_bps]
    believed = [(at, bps / 1e6) for at, bps in traces.believed_bps]
    _line(axes, true, color=BLACK, drawstyle="steps-post", label="true")
    _line(axes, believed, color=BLUE, linestyle="--", drawstyle="steps-post", label="believed")
    values = [rate for _, rate in (*true, *believed) if 0 < rate < float("inf")]  # NaN: a break
    if values and max(values) > 4 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel("uplink,\nMbit/s")
    axes.set_xlim(0, traces.seconds)
    _legend(axes)
    _borders(axes, traces)


def _choice_panels(top: "Axes", bottom: "Axes", traces: Traces) -> None:
    from matplotlib.ticker import MaxNLocator

    _line(top, traces.k, color=BLUE, drawstyle="steps-pre")
    ks = sorted({value for _, value in traces.k if value == value})
    top.set_yscale("log", base=2)
    shown = _spread(ks)
    if ks:
        top.set_ylim(ks[0] / 1.5, ks[-1] * 1.5)
    elif any(value == value for _, value in traces.drafted):
        top.text(0.5, 0.5, "only ids travel: no K", transform=top.transAxes, ha="center", va="center")
    top.set_yticks(shown, [f"{k:g}" for k in shown])
    top.minorticks_off()
    top.set_ylabel("K")
    _line(bottom, traces.gamma, color=BLUE, drawstyle="steps-pre", label="gamma")
    if any(value == value for _, value in traces.drafted):
        _line(bottom, traces.min_draft, color=ORANGE, drawstyle="steps-pre", linestyle=":", label="waits for")
        _line(bottom, traces.drafted, color=GREY, linestyle="", marker=".", label="ids in a pass")
        _legend(bottom)
    most = max((value for _, value in traces.gamma if value == value), default=1)
    bottom.set_ylim(-0.5, max(4, most) + 0.5)
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    bottom.set_ylabel("gamma")
    for axes in (top, bottom):
        _borders(axes, traces)


def _spread(ks: Sequence[float]) -> list[float]:
    """Of the values on a logarithmic axis those whose labels don't touch."""
    shown = list[float]()
    for k in ks:
        if not shown or k >= 1.9 * shown[-1]:
            shown.append(k)
    return shown


def _curve(axes: "Axes", curve: Curve, number: int) -> None:
    colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
    dashed = bool(curve.predicted)
    _line(
        axes,
        curve.measured,
        color=colour,
        marker=marker,
        linestyle="" if dashed else "-",
        label=curve.name,
    )
    if dashed:
        _line(axes, curve.predicted, color=colour, linestyle="--", linewidth=1.0)


def _line(axes: "Axes", points: Sequence[tuple[float, float]], **how: Any) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], **how)


def _legend(axes: "Axes") -> None:
    """To the right of the panel: there it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), borderaxespad=0.3)


def _borders(axes: "Axes", traces: Traces) -> None:
    for at in traces.borders:
        axes.axvline(at, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))


__all__ = [
    "BLUE",
    "GOLD",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "SUFFIXES",
    "WIDTH_IN",
    "Bar",
    "Curve",
    "check_picture",
    "comparison_figure",
    "explanation_figure",
    "in_style",
    "save",
    "sweep_figure",
]
