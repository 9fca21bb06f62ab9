"""Whether plans deliver what they promise, by acceptance.

The model of cost knows means; on a link that fades within a step it promises for one acceptance more than comes.
Which of the two a request should have is therefore judged by promises times what came of them.
"""

DECAY = 0.99
"A step's, beside the next one of the same acceptance."

FADES = 0.998
"The same while the other acceptance is in use: what was once not kept must be tried again some day."

PRIOR_S = 1.0
"Of steps that took as long as was promised."


class Delivered:
    """Of one device at one temperature."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}
        "by acceptance: seconds that steps took, and that their tokens were promised to take"

    def observe(self, acceptance: str, *, seconds: float, promised_s: float) -> None:
        """A step took so long, and its tokens were promised to take so long."""
        for name, (took_s, were_s) in self._sums.items():
            fade = DECAY if name == acceptance else FADES
            self._sums[name] = fade * took_s, fade * were_s
        took_s, were_s = self._sums.get(acceptance, (0.0, 0.0))
        self._sums[acceptance] = took_s + seconds, were_s + promised_s

    def slower(self, acceptance: str) -> float:
        """How many times as long as promised its tokens took of late; 1: just so."""
        took_s, were_s = self._sums.get(acceptance, (0.0, 0.0))
        return (took_s + PRIOR_S) / (were_s + PRIOR_S)


__all__ = ["Delivered"]
