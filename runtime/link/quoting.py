"""Words and pieces of a text, as in a shell: a name may stand in quotes, `trace 'my drive.csv'`, and a note
behind `#`.
"""

import re
import shlex
from typing import Final

from draftwire.runtime.errors import ConfigurationError

_PART: Final = re.compile(r"""'([^']*)'|"([^"]*)"|(\s+|(?<!\S)\\(?!\S))|([^\s'"]+)""")
"""In quotes, between words (where a line goes on behind a backslash), or neither."""

_QUOTED_OR_NOTE: Final = re.compile(
    r"""'[^']*'|"[^"]*"|(?<![^\s;])\#(?!\s*(?:sudo\s+)?(?:ip\s+netns|(?:\S*/)?tc|qdisc)\s)[^\n]*""",
    re.VERBOSE,
)
"""In front of a command `#` is root's prompt."""


def split_words(text: str) -> list[str]:
    """Its words, quotes and notes taken off; a backslash at the end of a line is none. Raises
    ConfigurationError.
    """
    text = _without_notes(text)
    words, word, at = list[str](), None, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            problem = f"the quote in {text[at : at + 20]!r} has no end"
            raise ConfigurationError(problem, key="link", remedy="end it, or leave it out")
        at = part.end()
        if part[3] is None:
            word = (word or "") + next(one for one in part.groups() if one is not None)
        elif word is not None:
            words.append(word)
            word = None
    return words if word is None else [*words, word]


def split_pieces(text: str) -> list[str]:
    """What stands between semicolons; one within quotes or a note divides nothing."""
    text = _without_notes(text)
    pieces, at = list[str](), 0
    while True:
        end = _piece_end(text, at)
        pieces.append(text[at:end])
        if end == len(text):
            return pieces
        at = end + 1


def _piece_end(text: str, at: int) -> int:
    quote = ""
    for place in range(at, len(text)):
        char = text[place]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == ";":
            return place
    return len(text)


def _without_notes(text: str) -> str:
    return _QUOTED_OR_NOTE.sub(lambda found: "" if found[0].startswith("#") else found[0], text)


def quoted(name: str) -> str:
    """The name as one word that split_words and split_pieces leave whole."""
    return shlex.quote(name)


def tidied(text: str) -> str:
    """The same words and pieces, a space between them. Raises ConfigurationError for what has none."""
    return "; ".join(" ".join(map(quoted, split_words(piece))) for piece in split_pieces(text))


__all__ = ["quoted", "split_pieces", "split_words", "tidied"]
