"""When a device stops drafting before its plan ends: once the next token is not worth what it costs.

A drafted token is worth something only if all those before it stand. How likely that is, is learnt from what
became of earlier ones by how sure the draft was of them: the chance q(x) of each token x that was drawn, in
ten bins. Only where drafts are hints: under rejection a length that hangs on drawn tokens would bend the
text's distribution (docs/theory.md, early stop).
"""

from collections.abc import Sequence

BINS = 10
"Of equal width over the chances 0 to 1."

DECAY = 0.999
"What an older observation counts beside the next one: a memory of about a thousand."

PRIOR_COUNT = 4.0
"Observations that the first guess of a bin is worth."

PRIOR_MEAN, PRIOR_MEAN_COUNT = 0.65, 8.0
"The mean acceptance before anything is known, and the observations that it is worth."


class _Rate:
    """Hits of observations, older ones fading."""

    def __init__(self, guess: float, worth: float) -> None:
        self.hits, self.seen = guess * worth, worth

    def observe(self, hit: bool) -> None:
        self.hits = DECAY * self.hits + hit
        self.seen = DECAY * self.seen + 1

    @property
    def value(self) -> float:
        return self.hits / self.seen


class EarlyStop:
    """Of one draft model at one temperature. The first guess of a bin is its centre."""

    def __init__(self) -> None:
        self._rates = [_Rate((i + 0.5) / BINS, PRIOR_COUNT) for i in range(BINS)]
        self._mean = _Rate(PRIOR_MEAN, PRIOR_MEAN_COUNT)

    def observe(self, chance: float, hit: bool) -> None:
        """A token drawn with `chance`, 0 to 1, was tested behind ones that stand: whether it stands too."""
        self._rates[_bin(chance)].observe(hit)
        self._mean.observe(hit)

    def rate(self, chance: float) -> float:
        """How often a token that was drawn with `chance` stands behind ones that do, 0 to 1."""
        return self._rates[_bin(chance)].value

    def stops(self, chances: Sequence[float], *, tokens_per_s: float, token_s: float) -> bool:
        """Whether to draw no further token behind the outstanding ones, which were drawn with `chances`.

        `token_s`: what one more costs, in seconds, at the device, on the link and in the target's pass. It is
        worth that while it brings more tokens than so many seconds bring anyhow, at the `tokens_per_s` of
        late. The first token is always drawn: whether to draft at all is the plan's.
        """
        survives = 1.0
        for chance in chances:
            survives *= self.rate(chance)
        return bool(chances) and survives * self._mean.value < tokens_per_s * token_s


def _bin(chance: float) -> int:
    return min(BINS - 1, max(0, int(chance * BINS)))


__all__ = ["BINS", "DECAY", "EarlyStop"]
