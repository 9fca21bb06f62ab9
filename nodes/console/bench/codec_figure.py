"""The figure of the codec benchmark: bits an entry against K.

matplotlib is imported when a figure is drawn, and never before: it takes half a second.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from draftwire.nodes.console.plots import (
    BLACK,
    BLUE,
    GOLD,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    WIDTH_IN,
    in_style,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES: Final = (
    ("paper_bits_per_entry", "paper: index + FP16", "^:", ORANGE),
    ("deflate_bits_per_entry", "the same, zlib 9", "v:", PURPLE),
    ("zstd_bits_per_entry", "the same, zstd 19", "P:", GOLD),
    ("plain_bits_per_entry", "ours, plain", "D--", GREEN),
    ("one_table_bits_per_entry", "ours, one table", "s--", SKY),
    ("bits_per_entry", "ours, several tables", "o-", BLUE),
    ("source_model_bits", "source model", "x:", BLACK),
)
"""Figure of a K, its name in the legend, marker and dash, colour; from the most bits to the fewest."""

OURS: Final = tuple(line for line in LINES if line[0].split("_")[0] not in ("paper", "deflate", "zstd"))
"""Those of the second panel: they lie too close together for the scale of the first."""

LABELLED: Final = ("bits_per_entry", "source_model_bits")
"""Their values stand at their points in the second panel."""


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figure of the benchmark's JSON object; the ending of the file's name is its format."""
    save(bits_figure(found), path)


@in_style
def bits_figure(found: Mapping[str, Any]) -> "Figure":
    """All ways of spelling rows, and beside them ours alone; those that were not measured are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    everything, ours = figure.subplots(1, 2)
    by_k = {int(name[2:]): figures for name, figures in found.items() if name.startswith("K.")}
    _lines(everything, LINES, by_k)
    _lines(ours, OURS, by_k)
    _values(ours, by_k)
    everything.set_ylabel("bits an entry")
    everything.set_title(f"{found['target']}, V = {found['vocab_size']}: {found['rows']} held-out rows")
    ours.set_title("ours and the bound, enlarged")
    figure.legend(*everything.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _lines(
    axes: "Axes", lines: Sequence[tuple[str, str, str, str]], by_k: Mapping[int, Mapping[str, Any]]
) -> None:
    for name, label, look, colour in lines:
        points = [(k, figures[name]) for k, figures in by_k.items() if figures[name] is not None]
        if points:
            axes.semilogx(
                [k for k, _ in points], [bits for _, bits in points], look, color=colour, label=label
            )
    axes.set_xticks(list(by_k), [str(k) for k in by_k])
    axes.minorticks_off()
    axes.margins(x=0.14)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("K, entries of a row (logarithmic)")


def _values(axes: "Axes", by_k: Mapping[int, Mapping[str, Any]]) -> None:
    """Numbers at their points, in the colour of their line: the bound's below, ours where no line runs."""
    from matplotlib.patheffects import withStroke

    colours = {name: colour for name, _, _, colour in LINES}
    for name in LABELLED:
        for place, (k, figures) in enumerate(by_k.items()):
            if figures[name] is None:
                continue
            if name == "source_model_bits":
                at, side, edge = (0.0, -4.5), "center", "top"
            elif place == 0:
                at, side, edge = (-4.5, 0.0), "right", "center"
            else:
                at, side, edge = (1.0, 3.0), "left", "bottom"
            axes.annotate(
                f"{figures[name]:.1f}",
                (k, figures[name]),
                xytext=at,
                textcoords="offset points",
                ha=side,
                va=edge,
                fontsize=7,
                color=colours[name],
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
            )


__all__ = ["LABELLED", "LINES", "OURS", "bits_figure", "draw"]
