"""Texts that end an answer and are not part of it. Pure."""

from collections.abc import Sequence


class Cut:
    """Lets a text through piece by piece, up to the first of some texts.

    What may be the beginning of one of them is held back until it is known not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False
        "one of the texts has come: nothing is let through any more"

    def push(self, piece: str) -> str:
        """What of the text so far can be shown now; may be empty."""
        if self.found:
            return ""
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The text has ended: what was held back is part of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How much of the text's end is the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


__all__ = ["Cut"]
