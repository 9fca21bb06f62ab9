"""Whether plans deliver what they promise, by acceptance.

The model of cost knows means; on a link that fades within a step it promises for one acceptance more than
comes. Which of the two a request should have is therefore judged by promises times what came of them.
"""

DECAY = 0.99
"A step's, beside the next one of the same acceptance."

FADES = 0.998
"The same while the other acceptance is in use: what was once not kept must be tried again some day."

PRIOR_S = 1.0
"Of steps that took as long as was promised."

LONGEST = 5.0
"""Times the promise, or what steps take of late if that is more: a step counts as no longer. An outage may
last for minutes, and says little of the thousands of steps that follow."""


class Delivered:
    """Of one device at one temperature."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float, float]] = {}
        "by acceptance: seconds that steps took, and that their tokens were promised to take; and the steps"

    def observe(self, acceptance: str, *, seconds: float, promised_s: float) -> None:
        """A step took so long, and its tokens were promised to take so long."""
        for name, (took_s, were_s, steps) in self._sums.items():
            fade = DECAY if name == acceptance else FADES
            self._sums[name] = fade * took_s, fade * were_s, fade * steps
        took_s, were_s, steps = self._sums.get(acceptance, (0.0, 0.0, 0.0))
        usual_s = took_s / steps if steps else 0.0  # promises are of tokens, and a step may have few
        counted_s = min(seconds, LONGEST * max(promised_s, usual_s))
        self._sums[acceptance] = took_s + counted_s, were_s + promised_s, steps + 1

    def slower(self, acceptance: str) -> float:
        """How many times as long as promised its tokens took of late; 1: just so."""
        took_s, were_s, _ = self._sums.get(acceptance, (0.0, 0.0, 0.0))
        return (took_s + PRIOR_S) / (were_s + PRIOR_S)


__all__ = ["Delivered"]
