"""The figure of the codec benchmark: bits an entry against K.

matplotlib is imported when a figure is drawn, and never before: it takes half a second.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from draftwire.nodes.console.plots import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    WIDTH_IN,
    _in_style,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES: Final = (
    ("paper_bits_per_entry", "paper: index + FP16", "^:", ORANGE),
    ("deflate_bits_per_entry", "the same, deflated", "v:", PURPLE),
    ("plain_bits_per_entry", "ours, plain", "D--", GREEN),
    ("one_table_bits_per_entry", "ours, one table", "s--", SKY),
    ("bits_per_entry", "ours, several tables", "o-", BLUE),
    ("source_model_bits", "source model", "x:", BLACK),
)
"""Figure of a K, its name in the legend, marker and dash, colour; from the most bits to the fewest."""


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figure of the benchmark's JSON object; the ending of the file's name is its format."""
    save(bits_figure(found), path)


@_in_style
def bits_figure(found: Mapping[str, Any]) -> "Figure":
    """A line for each way of spelling rows; those that were not measured are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    by_k = {int(name[2:]): figures for name, figures in found.items() if name.startswith("K.")}
    for name, label, look, colour in LINES:
        points = [(k, figures[name]) for k, figures in by_k.items() if figures[name] is not None]
        if points:
            axes.semilogx(
                [k for k, _ in points], [bits for _, bits in points], look, color=colour, label=label
            )
    for k, figures in by_k.items():
        bits, bound = figures["bits_per_entry"], figures["source_model_bits"]
        if bits is not None:
            axes.annotate(
                f"{bits:.1f}",
                (k, bits if bound is None else min(bits, bound)),
                xytext=(0, -14),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=BLUE,
            )
    axes.set_xticks(list(by_k), [str(k) for k in by_k])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("K, entries of a row")
    axes.set_ylabel("bits an entry")
    axes.set_title(f"{found['target']}, V = {found['vocab_size']}: {found['rows']} held-out rows")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), borderaxespad=0.3)
    return figure


__all__ = ["LINES", "bits_figure", "draw"]
