"""Lines of a list: what does not fit goes on below, behind the same margin, and is not broken in quotes."""

import re
from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_ATOM: Final = re.compile(r'(?:"(?:\\.|[^"\\])*"|\S)+')
"""What stays on a line: words, and what is quoted with what it touches."""

_WORD: Final = re.compile(r"\S+")

_LEAST: Final = 20
"""Columns for the text, however narrow the terminal is."""


def say_behind(console: Console, head: Text, body: Text) -> None:
    """A line; on a terminal `body` wraps behind `head`."""
    if not console.is_terminal:
        line = head.copy().append(" ").append_text(body)
        line.rstrip()
        console.print(line, soft_wrap=True)
        return
    margin = cell_len(head.plain)
    for i, part in enumerate(wrapped(body, max(_LEAST, console.width - margin - 1))):
        line = (Text(" " * margin) if i else head.copy()).append(" ").append_text(part)
        line.rstrip()
        console.print(line, soft_wrap=True)


def wrapped(text: Text, width: int) -> list[Text]:
    """Lines of at most `width` columns, at least one; quotes and words are broken only where one is wider."""
    lines, start, end = list[Text](), 0, 0
    for first, last in _pieces(text.plain, width):
        if end > start and cell_len(text.plain[start:last]) > width:
            lines.append(text[start:end])
            start = first
        end = last
    return [*lines, text[start:end]]


def _pieces(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where those begin and end that a line may be broken between, none wider than a line."""
    for atom in _ATOM.finditer(text):
        if cell_len(atom[0]) <= width:
            yield atom.span()
            continue
        for word in _WORD.finditer(text, *atom.span()):
            start, end = word.span()
            while cell_len(text[start:end]) > width:
                cut = start + 1
                while cell_len(text[start : cut + 1]) <= width:
                    cut += 1
                yield start, cut
                start = cut
            yield start, end


__all__ = ["say_behind", "wrapped"]
