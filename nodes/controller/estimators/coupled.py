"""How often coupled picks are equal, of one device at one temperature, by place in a run of equal ones.

Two things are known of it. What rows tell, those of requests under rejection too: alpha of whole rows, times
P(equal) over alpha as the rows themselves had it, times what hits have shown that product to be off by. And
hits and misses of drafts that were hints, by their place in the run since the last miss: text has easy
stretches, so a draft behind three hits is a better one than a draft behind a miss.

    survives(k) = chance(0) chance(1) .. chance(k - 1)

The chance at a place is drawn towards that of the place before, and the first one towards what rows tell, by
weights that fade as hits come: what is measured decides. While a device's requests are under rejection, hits
fade as well, as the text has moved on, and rows decide again, with the correction that hits have taught.
At temperature 0 there are no rows, and the prior stands in their place until hits do.
"""

from draftwire.codecs.control import RowsReport

PRIOR_RATIO = 0.94
"P(equal) over alpha of whole rows, as typical pairs have it."

PRIOR_POSITIONS = 8.0
"What priors weigh."

RATIO_DECAY = 0.98
BIAS_DECAY, BIAS_POSITIONS = 0.998, 60.0
"""Of the correction. Slow, as hits and rows are seldom of the same stretch of text: an easy one must not be
taken for a lasting difference between the two."""

HIT_DECAY = 0.997
"Of a place's hits, for each hit or miss."

ROWS_DECAY = 0.98
"Of all hits, for each position that rows of rejection have told of meanwhile."

PRIOR_DECAY = 0.97
"Of what rows weigh at the first place, for each hit or miss."

PLACES = 8
"Of a run: what follows is like the last of them."

NEIGHBOUR_WEIGHT = 12.0
"What the place before weighs, in hits and misses."

MAX_CHANCE = 0.985


class CoupledAcceptance:
    """See above. `whole`, in its methods, is alpha of whole rows as it is estimated now."""

    def __init__(self) -> None:
        self._alpha = PRIOR_POSITIONS
        self._equal = PRIOR_POSITIONS * PRIOR_RATIO
        self._expected = self._came = BIAS_POSITIONS
        self._hits = [0.0] * PLACES
        self._seen = [0.0] * PLACES
        self._prior = PRIOR_POSITIONS
        self._run = 0
        "equal ones since the last miss"
        self.seen = 0
        "hits and misses so far"

    def observe_rows(self, report: RowsReport, *, binding: bool) -> None:
        """Rows of tested positions; binding: of a request under rejection."""
        told = [(equal, row[-1]) for equal, row in zip(report.coupled, report.alphas, strict=False)]
        for equal, alpha in told:
            self._equal = RATIO_DECAY * self._equal + equal
            self._alpha = RATIO_DECAY * self._alpha + alpha
        if binding:
            fade = ROWS_DECAY ** len(report.low)
            self._hits = [fade * hits for hits in self._hits]
            self._seen = [fade * seen for seen in self._seen]
            self._prior = fade * self._prior + (1 - fade) * PRIOR_POSITIONS
            self._run = 0

    def observe_hits(self, *, accepted: int, seen: int, whole: float) -> None:
        """Drafts were held against the log: the hits came before the miss, if there was one.

        Of several paths that ended in one step, which is rare, the misses are taken to have come last.
        """
        self.seen += seen
        promised = whole * self._equal / self._alpha
        for hit in (True,) * accepted + (False,) * (seen - accepted):
            place = min(self._run, PLACES - 1)
            self._hits = [HIT_DECAY * hits for hits in self._hits]
            self._seen = [HIT_DECAY * count for count in self._seen]
            self._hits[place] += hit
            self._seen[place] += 1
            self._prior *= PRIOR_DECAY
            self._expected = BIAS_DECAY * self._expected + promised
            self._came = BIAS_DECAY * self._came + hit
            self._run = self._run + 1 if hit else 0

    def from_rows(self, whole: float) -> float:
        """P(equal) by what rows tell, corrected by hits."""
        chance = whole * self._equal / self._alpha * self._came / self._expected
        return min(chance, MAX_CHANCE)

    def chances(self, whole: float) -> list[float]:
        """By place in the run; all that follow are like the last."""
        found = list[float]()
        before, weight = self.from_rows(whole), self._prior
        for hits, seen in zip(self._hits, self._seen, strict=True):
            before = min((hits + weight * before) / (seen + weight), MAX_CHANCE) if weight + seen else before
            found.append(before)
            weight = NEIGHBOUR_WEIGHT
        return found

    def mean(self, whole: float) -> float:
        """Over the drafts that were held against the log: hits over all."""
        seen = sum(self._seen) + self._prior
        hits = sum(self._hits) + self._prior * self.from_rows(whole)
        return min(hits / seen, MAX_CHANCE)


def survives(chances: list[float], length: int) -> tuple[float, ...]:
    """The probability that the first k drafts of a path are right, for k = 0 .. length."""
    found = [1.0]
    for place in range(length):
        found.append(found[-1] * chances[min(place, len(chances) - 1)])
    return tuple(found)


__all__ = ["PLACES", "PRIOR_RATIO", "CoupledAcceptance", "survives"]
