"""When a device stops drafting before its plan ends: once the next token is not worth what it costs.

A drafted token is worth something only if all those before it stand. How likely that is, is learnt from what
became of earlier ones: by how sure the draft was of them, the chance q(x) of each token x that was drawn, in
ten bins; and by how many stood in a row before them, as easy stretches of text are easy for longer. Only
where drafts are hints: under rejection a length that hangs on drawn tokens would bend the text's distribution
(docs/theory.md, early stop).
"""

from bisect import bisect
from collections.abc import Sequence

BINS = 10
"Of equal width over the chances 0 to 1."

DECAY = 0.999
"What an older observation counts beside the next one: a memory of about a thousand."

PRIOR_COUNT = 6.0
"Observations that the mean is worth, where a bin or a group of runs has few of its own."

RUNS = (1, 2, 3, 5, 9, 17)
"Tokens in a row that stand: where the next group begins."

PRIOR_MEAN, PRIOR_MEAN_COUNT = 0.65, 8.0
"The mean acceptance before anything is known, and the observations that it is worth."


class _Rate:
    """Hits of observations, older ones fading."""

    def __init__(self) -> None:
        self._hits = self._seen = 0.0

    def observe(self, hit: bool) -> None:
        self._hits = DECAY * self._hits + hit
        self._seen = DECAY * self._seen + 1

    def value(self, guess: float, worth: float = PRIOR_COUNT) -> float:
        """`guess` is worth so many observations."""
        return (self._hits + guess * worth) / (self._seen + worth)


class Hits:
    """What became of tokens: of one draft model at one temperature, its requests together."""

    def __init__(self) -> None:
        self._rates = [_Rate() for _ in range(BINS)]
        self._behind = [_Rate() for _ in range(len(RUNS) + 1)]
        "by how many stood in a row before"
        self._all = _Rate()

    def observe(self, chance: float, hit: bool, *, run: int) -> None:
        """A token drawn with `chance`, 0 to 1, was tested behind `run` that stand: whether it stands too."""
        self._rates[_bin(chance)].observe(hit)
        self._behind[bisect(RUNS, run)].observe(hit)
        self._all.observe(hit)

    def rate(self, chance: float) -> float:
        """How often a token that was drawn with `chance` stands behind ones that do, 0 to 1."""
        return self._rates[_bin(chance)].value(self.mean)

    @property
    def mean(self) -> float:
        """How often one does that is drawn with any chance."""
        return self._all.value(PRIOR_MEAN, PRIOR_MEAN_COUNT)

    def ease(self, run: int) -> float:
        """By how much more likely than usual a token stands behind so many in a row that do."""
        return self._behind[bisect(RUNS, run)].value(self.mean) / self.mean


class EarlyStop:
    """Of one request. Runs are its own, as another's text has other easy stretches."""

    def __init__(self, hits: Hits | None = None) -> None:
        """`hits`: shared with other requests; None: it learns by itself."""
        self._hits = Hits() if hits is None else hits
        self._run = 0
        "that have stood in a row until now"

    def observe(self, chance: float, hit: bool) -> None:
        """A token drawn with `chance`, 0 to 1, was tested behind ones that stand: whether it stands too."""
        self._hits.observe(chance, hit, run=self._run)
        self._run = self._run + 1 if hit else 0

    def rate(self, chance: float) -> float:
        """As of Hits."""
        return self._hits.rate(chance)

    @property
    def mean(self) -> float:
        """As of Hits."""
        return self._hits.mean

    def stops(self, chances: Sequence[float], *, tokens_per_s: float, token_s: float) -> bool:
        """Whether to draw no further token behind the outstanding ones, which were drawn with `chances`.

        `token_s`: what one more costs, in seconds, at the device, on the link and in the target's pass. It is
        worth that while it brings more tokens than so many seconds bring anyhow, at the `tokens_per_s` of
        late. The first token is always drawn: whether to draft at all is the plan's.
        """
        survives = 1.0
        for i, chance in enumerate(chances):
            survives *= min(1.0, self.rate(chance) * self._hits.ease(self._run + i))
        next_one = min(1.0, self.mean * self._hits.ease(self._run + len(chances)))
        return bool(chances) and survives * next_one < tokens_per_s * token_s


def _bin(chance: float) -> int:
    return min(BINS - 1, max(0, int(chance * BINS)))


__all__ = ["BINS", "DECAY", "EarlyStop", "Hits"]
