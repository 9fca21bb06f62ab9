"""Whom an endpoint connects to and can't reach: what a log should say of it, and when it is over."""

from collections.abc import Callable
from typing import Final

from draftwire.runtime.transport.base import Trouble, TroubleKind

LOOK_S: Final = 0.5
"""How often to look: shorter than any restart of a process takes."""

PATIENCE_S: Final = 5.0
"""An absence for so long is worth a word; shorter is a restart."""


class Absence:
    """Of one peer; `look` is told what the endpoint says, every LOOK_S."""

    def __init__(
        self,
        *,
        away: Callable[[Trouble], None],
        back: Callable[[float], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`away` says a kind of trouble, once, after `patience_s`; `back` its end, after so many s."""
        self._away, self._back, self._patience_s = away, back, patience_s
        self._since_s: float | None = None
        self._said = set[TroubleKind]()

    @property
    def lasts(self) -> bool:
        """Whether the peer was away when last looked."""
        return self._since_s is not None

    def look(self, trouble: Trouble | None, now_s: float) -> bool:
        """Say what is to be said. True: the peer has just come back."""
        if trouble is None:
            since_s, self._since_s = self._since_s, None
            if since_s is not None and self._said:
                self._back(round(now_s - since_s, 3))
            self._said.clear()
            return since_s is not None
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s >= self._patience_s and trouble.kind not in self._said:
            self._said.add(trouble.kind)
            self._away(trouble)
        return False


__all__ = ["LOOK_S", "PATIENCE_S", "Absence"]
