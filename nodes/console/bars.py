"""The bar that long work shows on a terminal: how much of it is done, since when, and what it is at."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def bar_on(console: Console) -> Progress:
    """A bar that goes when it is done; none where `console` is no terminal."""
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


__all__ = ["bar_on"]
