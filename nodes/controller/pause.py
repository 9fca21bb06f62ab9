"""When a target that decodes alone should try a draft again.

Alone, nothing is learnt of the link or of acceptance, so drafts are tried from time to time. Under rejection
two blocks in a row, since the link's estimate believes a jump when it has seen it twice; where drafts are
hints, as many passes as a path needs to come into being. A try costs what its steps took beyond what the
target would have needed for their tokens; it is due when the time alone makes that a share of PRICE. Sessions
that share passes share this price: the more they are, the less often each of them tries, as what makes drafts
pay or not is largely the same for all.
"""

PATIENCE = 0.03
"""Drafts that the target waits for go on until they are expected to be slower than the target alone by this
share: where both are about as fast, a stretch of hard text must not end drafts for all the seconds until the
next try."""

PRICE = 0.015
"Of the time, for tries."

MIN_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
"However much the last try lost: an outage that it met is over some day."

BLOCKS = 2
"Of a try under rejection."


class Pause:
    """Of one device at one temperature."""

    def __init__(self) -> None:
        self._alone_s = 0.0
        self._lost_s: float | None = None
        self._left = 0

    def alone(self, passed_s: float) -> None:
        """A step decoded alone took so long."""
        self._alone_s += passed_s

    def drafted(self, passed_s: float, *, tokens: int, alone_step_s: float) -> None:
        """A step with drafts took so long, and gave so many tokens."""
        self._lost_s = (self._lost_s or 0.0) + passed_s - tokens * alone_step_s

    def over(self) -> None:
        """Drafts pay: nothing has to be tried."""
        self._alone_s, self._lost_s, self._left = 0.0, None, 0

    def due(self, step_loss_s: float, *, steps: int = BLOCKS, sharing: int = 1) -> bool:
        """Whether the next plan should be a try, of so many steps that are each expected to lose step_loss_s.

        sharing: sessions that share passes, this one included. Asked once a plan, while the target alone is
        expected to be faster.
        """
        if self._left:
            self._left -= 1
            return True
        loss_s = max(steps * step_loss_s, self._lost_s or 0.0)
        if self._alone_s < min(sharing * max(loss_s / PRICE, MIN_PAUSE_S), MAX_PAUSE_S):
            return False
        self._alone_s, self._lost_s, self._left = 0.0, None, steps - 1
        return True


__all__ = ["PATIENCE", "Pause"]
