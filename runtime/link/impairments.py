"""What befalls a message on a link: drawn once for each, from a stream for each impairment.

Every message takes the same count of numbers from each stream, whatever the link is then, so two links with
the same streams differ in what they were told to differ in, message by message.

Correlation is a Gaussian copula. Behind the uniform number of each message stands a normal score, and the
score of the next is  correlation x score + sqrt(1 - correlation^2) x a fresh one. So however strong it is,
every number is still uniform: shares and distributions are as written, where netem's filter shrinks them.

Loss with `arq` repeats a lost message until it arrives. The tries go on from the state (BurstLoss) or the
number (RandomLoss) that the first one met, but what the next message meets is the same as without `arq`.

The distributions of jitter are the shapes of netem's tables, by their inverse:

    uniform       2 u - 1
    normal        the normal quantile of u, cut off at 4 either way
    pareto        alpha 3: 4/3 ((1-u)^(-1/3) - 3/2), cut off at 4, where 1.1 % of messages are
    paretonormal  1/4 of normal plus 3/4 of pareto, of one u

They are cut off at 4, as the tables are. The last two are then shifted and scaled to mean 0 and standard
deviation 1, so that a link's jitter is what it says; the tables have means of -0.03 and -0.02, deviations of
0.82 and 0.83.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from draftwire.runtime.link.spec import BurstLoss, Distribution, LinkSpec, RandomLoss
from draftwire.runtime.link.streams import Streams, spread

MAX_TRIES: Final = 1000
"""Of one message with `arq`; then it is lost."""

CUT: Final = 4.0
"""Where jitter is cut off, in units of netem's tables."""

PARETO_MEAN: Final = -0.03292181069958859
PARETO_DEVIATION: Final = 0.8208612999294242
PARETONORMAL_MEAN: Final = -0.02469135802469345
PARETONORMAL_DEVIATION: Final = 0.8349408245289475
"""Of the shapes as they are cut off."""


@dataclass(slots=True)
class Fate:
    """Of one message. One is made for each, so it isn't frozen: that would take twice as long."""

    jitter: float
    "in units of the link's jitter, by its distribution"
    losses: int = 0
    "times that it is lost on the way, each of which takes its sending time"
    lost: bool = False
    "for ever, behind the last of them"
    overtakes: bool = False
    "whether it skips the delay"
    flipped_bit: int | None = None
    copied: bool = False
    "whether it arrives twice"
    copy_jitter: float = 0.0
    "of its second arrival"


class Draws:
    """Draws fates; keeps what correlated impairments remember of the message before."""

    def __init__(self, streams: Streams) -> None:
        self._jitter = streams.jitter.random
        self._loss = streams.loss.random
        self._retransmission = streams.retransmission.random
        self._duplicate = streams.duplicate.random
        self._corrupt = streams.corrupt.random
        self._reorder = streams.reorder.random
        self._before: _Numbers | None = None
        self._is_bad = False
        self._since_overtaking = 0

    def next(self, spec: LinkSpec, size_bytes: int) -> Fate:
        """Of the next message."""
        # Every number is drawn, wanted or not.
        jitter, of_copy = self._jitter(), self._jitter()
        state, lost = self._loss(), self._loss()
        tries = self._retransmission()
        corrupt, bit = self._corrupt(), self._corrupt()
        numbers = (jitter, lost, self._duplicate(), corrupt, self._reorder())
        if spec.is_correlated and self._before is not None:
            numbers = _all_beside(self._before, numbers, spec)
        self._before = numbers
        jitter, lost, duplicate, corrupt, reorder = numbers

        fate = Fate(_jitter_of(spec.distribution, jitter))
        if spec.loss is not None:
            self._lose(fate, spec, state, lost, tries)
        if duplicate < spec.duplicate:
            if spec.jitter_correlation:
                of_copy = beside(jitter, of_copy, spec.jitter_correlation)
            fate.copied = True
            fate.copy_jitter = _jitter_of(spec.distribution, of_copy)
        if corrupt < spec.corrupt and size_bytes:
            fate.flipped_bit = min(int(bit * 8 * size_bytes), 8 * size_bytes - 1)
        if reorder < spec.reorder and self._since_overtaking >= spec.reorder_gap - 1:
            fate.overtakes = True
            self._since_overtaking = 0
        else:
            self._since_overtaking += 1
        return fate

    def _lose(self, fate: Fate, spec: LinkSpec, state: float, number: float, tries: float) -> None:
        """Its tries beyond the first go on from the number or the state of the first, and leave the next
        message's alone.
        """
        loss = spec.loss
        if isinstance(loss, RandomLoss):
            fate.lost = number < loss.share
        elif loss is not None:
            fate.lost, self._is_bad = _met(loss, self._is_bad, state, number)
        if not fate.lost or spec.arq_s is None:
            return
        is_bad, fresh = self._is_bad, spread(tries)
        while fate.lost and fate.losses < MAX_TRIES - 1:
            fate.losses += 1
            if isinstance(loss, RandomLoss):
                number = beside(number, next(fresh), loss.correlation)
                fate.lost = number < loss.share
            elif loss is not None:
                fate.lost, is_bad = _met(loss, is_bad, next(fresh), next(fresh))


_Numbers = tuple[float, float, float, float, float]
"""Of one message: jitter, loss, duplicate, corrupt, reorder."""


def _all_beside(before: _Numbers, fresh: _Numbers, spec: LinkSpec) -> _Numbers:
    of_loss = spec.loss.correlation if isinstance(spec.loss, RandomLoss) else 0.0
    return (
        beside(before[0], fresh[0], spec.jitter_correlation),
        beside(before[1], fresh[1], of_loss),
        beside(before[2], fresh[2], spec.duplicate_correlation),
        beside(before[3], fresh[3], spec.corrupt_correlation),
        beside(before[4], fresh[4], spec.reorder_correlation),
    )


def beside(before: float, fresh: float, correlation: float) -> float:
    """The number of a message, from that of the one before and a fresh one, all uniform in [0, 1)."""
    if not correlation:
        return fresh
    score = correlation * _score(max(before, _LEAST))
    score += math.sqrt(1 - correlation * correlation) * _score(max(fresh, _LEAST))
    return min(0.5 * math.erfc(-score * _SQRT_HALF), _MOST)


def _met(loss: BurstLoss, is_bad: bool, state: float, number: float) -> tuple[bool, bool]:
    """Whether a try is lost, and the state of the next one; netem's order: it is lost by the state that it
    finds, and the state moves on.
    """
    if is_bad:
        return number < loss.bad_loss, state >= loss.to_good
    return number < loss.good_loss, state < loss.to_bad


def _jitter_of(distribution: Distribution, number: float) -> float:
    """The jitter that belongs to a uniform number: mean 0, and the range or deviation 1."""
    if distribution is _UNIFORM:
        return 2.0 * number - 1.0
    normal = max(-CUT, min(CUT, _score(max(number, _LEAST))))
    if distribution is _NORMAL:
        return normal
    pareto = min(CUT, (math.pow(1.0 - number, -1 / 3) - 1.5) * (4 / 3))
    if distribution is _PARETO:
        return (pareto - PARETO_MEAN) / PARETO_DEVIATION
    return (0.25 * normal + 0.75 * pareto - PARETONORMAL_MEAN) / PARETONORMAL_DEVIATION


_UNIFORM: Final = Distribution.UNIFORM
_NORMAL: Final = Distribution.NORMAL
_PARETO: Final = Distribution.PARETO
_SQRT_HALF: Final = math.sqrt(0.5)
_score: Final = NormalDist().inv_cdf
_LEAST: Final = 2.0**-54
_MOST: Final = 1 - 2.0**-53

__all__ = ["MAX_TRIES", "Draws", "Fate", "beside"]
