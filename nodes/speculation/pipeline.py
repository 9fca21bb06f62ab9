"""Tokens a second of a BS that never waits: the renewal model of pipelined drafts. Our own; docs/theory.md.

Where drafts are hints the device drafts on while Commits are under way, and a free BS starts with whatever ids
continue its log. A *renewal* runs from the Commit that ends a path, as its last token is another than the device
had drafted, to the next such Commit. survives[k] is the probability that the first k ids of a fresh path are
the log's. Every token of the log but the last one of a renewal was guessed, so a renewal has survives[0] +
survives[1] + ... tokens whatever gamma and min_draft are: what they change is how long it takes.

That is reckoned along the one timeline on which the path stays right. Pass k starts at s_k behind a_k tokens,
with d_k drafts of the path, and ends at

    e_k = s_k + T_target(d_k),    a_{k+1} = a_k + d_k + 1.

The renewal gets to it with probability survives[a_k], so it takes sum_k survives[a_k] (e_k - e_{k-1}) seconds.
Three things are different from one pass to the next:

    ids     the Commit has to come down and the first ids have to go up before the BS has any: a round trip, a
            draft step and both messages' bits (`loop`) after the renewal began; then one a draft step. Where a
            message takes longer than that, ids share it, and come in the middle of its time on average.
    window  beyond a_k + gamma none is drawn before the Commit that ended pass k - 1 was heard.
    start   at once, with min_draft 0: the first passes are the target's own then. Else when min_draft ids
            are there; a fresh path's first min_draft ids come in one message.

After some passes nothing changes any more: then A = 1 / (1 - h) tokens and B = P / (1 - h^n) seconds are to come
for each renewal that gets there, with h the last hazard, P the time from one pass to the next, and n what a pass
adds to the log. A geometric survives and a window that never binds give the closed form with D = T_target / T_draft
- 1 drafts a pass.

A path that the log has overtaken, since a pass had all gamma ids and nobody drafted the bonus behind them, begins
anew without an error: its tokens count, and nothing is tested there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.speculation.cost import Compute, Frames, LinkEstimate
from draftwire.runtime.session.ahead import ROW_EVERY

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PATIENCE_MARGIN_S: Final = 4e-3
"""What a BS waits beyond the time at which ids should be there: several times a link's usual jitter."""

PASSES: Final = 6
"""Followed one by one, beside those that fit into the round trip; then the last ones repeat."""

MOST_PASSES: Final = 14

STEADY: Final = 3
"""The last of them, whose mean is what repeats: where the window binds, long and short passes alternate."""

MOST_HAZARD: Final = 1 - 1e-6
"""Of what repeats: a path that is never wrong has no renewals."""

LEAST_DRAFT_SHARE: Final = 1e-3
"""Of a target step: a draft step is not taken for shorter, so that ids can be counted."""

MESSAGE_IDS: Final = 2
"""Tokens beside the first one in a Commit: it repeats what the device has not acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Means of a renewal."""

    tokens: float
    "that the log grows by"
    seconds: float
    drafted: float
    "tokens that the device draws"
    passes: float
    "of the target"

    @property
    def tokens_per_s(self) -> float:
        """Tokens of the log a second."""
        return self.tokens / self.seconds

    @property
    def drafted_per_token(self) -> float:
        """Drafted tokens for each one of the log."""
        return self.drafted / self.tokens

    @property
    def passes_per_token(self) -> float:
        """Passes of the target for each token of the log; 1 alone."""
        return self.passes / self.tokens


class Flows(NamedTuple):
    """The same of many plans, in their order; shape [plans] each."""

    tokens: Floats
    seconds: Floats
    drafted: Floats
    passes: Floats

    @property
    def tokens_per_s(self) -> Floats:
        """Tokens of the log a second."""
        rates: Floats = self.tokens / self.seconds
        return rates


Plans = tuple[tuple[int, int], ...]
"Pairs of gamma and min_draft."


@lru_cache(maxsize=64)
def pipelined_plans(most_gamma: int) -> Plans:
    """Every (gamma, min_draft) with gamma from 1 to so many and min_draft below it."""
    return tuple((gamma, wait) for gamma in range(1, most_gamma + 1) for wait in range(gamma))


def flow(
    *,
    gamma: int,
    min_draft: int,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flow:
    """What one plan is expected to bring; see `flows`. min_draft = gamma: `synchronous`."""
    if min_draft >= gamma:
        return synchronous(
            gamma=gamma, survives=survives, compute=compute, link=link, frames=frames, row_bits=row_bits
        )
    found = flows(
        plans=((gamma, min_draft),),
        survives=survives,
        compute=compute,
        link=link,
        frames=frames,
        row_bits=row_bits,
    )
    return Flow(**{name: float(values[0]) for name, values in found._asdict().items()})


def flows(
    *,
    plans: Plans,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flows:
    """What pipelined plans, min_draft < gamma, are expected to bring.

    survives: see above, survives[0] = 1; behind its end the last hazard goes on. frames: of hints, whose Drafts
    have no weights. row_bits: on the link, of the row behind every 8th drafted token; 0: none is sent.
    Raises ValueError for a plan out of range, or survives that are no such probabilities.
    """
    _check(plans, survives)
    timeline = _timeline(plans, _pace(compute, link, frames, row_bits))
    chances, sums, hazard = _extended(tuple(survives), timeline.most)
    begins, ends = timeline.begins, timeline.ends
    reach: Floats = chances[begins]  # [passes + 1, plans]
    gains = sums[ends] - sums[begins[:-1]]
    again = hazard**timeline.tested  # of the pass that repeats
    left = reach[-1] / (1 - again)
    target_s = compute.target_step_s
    tokens = gains.sum(axis=0) + left * (1 - hazard ** (timeline.drafts + 1)) / (1 - hazard)
    seconds = target_s * ((reach[:-1] * timeline.spans).sum(axis=0) + left * timeline.span)
    passes = reach[:-1].sum(axis=0) + left
    wrong = reach[:-1] - reach[1:]
    drafted = (wrong * timeline.drawn).sum(axis=0) + reach[-1] * timeline.drawn_behind
    drafted += left * again * timeline.advance
    least_s = passes * frames.commit_bits(0) / link.downlink_bps
    return Flows(tokens, np.maximum(seconds, least_s), drafted, passes)


def synchronous(
    *,
    gamma: int,
    survives: Sequence[float],
    compute: Compute,
    link: LinkEstimate,
    frames: Frames,
    row_bits: float = 0.0,
) -> Flow:
    """What blocks of gamma bring where only ids travel and the BS waits for each: one step is a renewal.

    As `cost.forecast` has it, with survives[j] in place of alpha^j. gamma = 0 is the target alone.
    Raises ValueError as `flows`.
    """
    _check(((gamma, 0),) if gamma else (), survives)
    if not gamma:
        step_s = compute.target_step_s if compute.alone_step_s is None else compute.alone_step_s
        seconds = max(step_s, frames.commit_bits(0) / link.downlink_bps)
        return Flow(tokens=1.0, seconds=seconds, drafted=0.0, passes=1.0)
    _, sums, _ = _extended(tuple(survives), gamma + 1)
    up_bits, down_bits = frames.draft_bits(1, gamma), frames.commit_bits(gamma)
    seconds = (
        gamma * compute.draft_step_s
        + up_bits / link.uplink_bps
        + link.rtt_s
        + compute.target_step_s
        + gamma * compute.target_per_token_s
        + down_bits / link.downlink_bps
        + compute.overhead_s
    )
    least_s = (up_bits + gamma / ROW_EVERY * row_bits) / link.uplink_bps
    return Flow(
        tokens=float(sums[gamma + 1]), seconds=max(seconds, least_s), drafted=float(gamma), passes=1.0
    )


def patience_s(
    *, min_draft: int, compute: Compute, link: LinkEstimate, frames: Frames
) -> float:
    """How long a free BS should wait for min_draft ids, in seconds, before it starts with what it has.

    A round trip, drafting, the bits of both messages, and PATIENCE_MARGIN_S: when they should have come.
    """
    up_s = frames.draft_bits(1, max(1, min_draft)) / link.uplink_bps
    down_s = frames.commit_bits(MESSAGE_IDS) / link.downlink_bps
    return link.rtt_s + min_draft * compute.draft_step_s + up_s + down_s + PATIENCE_MARGIN_S


# The timeline -----------------------------------------------------------------------------------------------


class _Pace(NamedTuple):
    """All that a timeline hangs on, in target steps."""

    alone: float
    "a pass without drafts"
    drafted: float
    "a pass with drafts, beside them"
    per_draft: float
    token: float
    "a draft step"
    loop: float
    "an empty round trip, with the Commit's bits"
    first: float
    "sending a Draft without ids"
    per_id: float
    "sending an id, with its share of a row"
    margin: float
    "PATIENCE_MARGIN_S"


class _Timeline(NamedTuple):
    """Of every plan, while its path stays right; times in target steps."""

    begins: Integers
    "[passes + 1, plans]: ids of the path that were tested before each pass, and behind the last"
    ends: Integers
    "[passes, plans]: index behind the tokens that a pass can add"
    spans: Floats
    "[passes, plans]: from the end of the pass before to the end of this one"
    drawn: Floats
    "[passes, plans]: ids that the device has drawn when it hears of this pass"
    drawn_behind: Floats
    "[plans]: the same of the first pass that repeats"
    span: Floats
    "[plans], and below: of the pass that repeats"
    drafts: Floats
    tested: Floats
    "by which `begins` grows"
    advance: Floats
    "by which the log grows"
    most: int
    "of `ends`"


def _pace(compute: Compute, link: LinkEstimate, frames: Frames, row_bits: float) -> _Pace:
    """Rounded, so that estimates that hardly move find the same timeline again."""
    unit = compute.target_step_s
    alone = unit if compute.alone_step_s is None else compute.alone_step_s
    first, second = frames.draft_bits(1, 1), frames.draft_bits(1, 2)
    per_id = second - first
    down_s = frames.commit_bits(MESSAGE_IDS) / link.downlink_bps
    return _Pace(
        alone=round(alone / unit, 2),
        drafted=round(1 + compute.overhead_s / unit, 2),
        per_draft=round(compute.target_per_token_s / unit, 3),
        token=_rounded(max(compute.draft_step_s / unit, LEAST_DRAFT_SHARE)),
        loop=round((link.rtt_s + down_s) / unit, 2),
        first=_rounded((first - per_id) / link.uplink_bps / unit),
        per_id=_rounded((per_id + row_bits / ROW_EVERY) / link.uplink_bps / unit),
        margin=_rounded(PATIENCE_MARGIN_S / unit),
    )


def _rounded(value: float) -> float:
    """To 2 %, and to 0.0005."""
    if value < 0.02:
        return round(value * 2000) / 2000
    return math.exp(round(math.log(value) * 50) / 50)


@lru_cache(maxsize=256)
def _timeline(plans: Plans, pace: _Pace) -> _Timeline:
    """Follow the passes of all plans together; every line is one operation on all of them."""
    gamma, wait = np.array(plans, np.float64).T
    token = pace.token
    passes = min(MOST_PASSES, PASSES + int((pace.loop + token) / pace.alone))
    batch = _batch(pace, gamma)
    # What bounds the ids that are there: how far they had come, and from when on they go on, a draft step each.
    bases = np.zeros((passes + 1, len(plans)))
    froms = np.zeros_like(bases)
    lag = pace.loop + pace.first + pace.per_id + np.maximum(batch - token, 0) / 2
    froms[0] = pace.loop + pace.first + pace.per_id * np.maximum(wait, 1)
    late = np.maximum(batch - token, 0) / 2  # of ids that don't travel in a path's first message
    together = np.maximum(wait, 1)
    patience = pace.loop + pace.first + (token + pace.per_id) * wait + pace.margin
    ended, log, tested = np.zeros((3, len(plans)))
    begins = np.zeros((passes + 1, len(plans)))
    counts, spans, drawn = np.zeros((3, passes, len(plans)))
    window = gamma
    for k in range(passes):
        base, since = bases[: k + 1], froms[: k + 1]
        wanted = log + wait - base
        when = np.where(wanted > 0, since + wanted * token, 0.0)
        when[0] += np.where(wanted[0] > together, late, 0.0)
        there = np.minimum(np.maximum.reduce(when), ended + patience)
        start = np.where(wait > 0, np.maximum(ended, there), ended)
        ids = (start - since) / token + 1e-6
        ids[0] = np.where(ids[0] < together, 0.0, np.maximum(ids[0] - late / token, together))
        drafts = np.floor(np.minimum.reduce(base + np.maximum(ids, 0.0))) - log
        drafts = np.minimum(np.maximum(drafts, 0.0), gamma)
        span = np.where(drafts > 0, pace.drafted + drafts * pace.per_draft, pace.alone)
        end = start + span
        counts[k], spans[k] = drafts, end - ended
        drawn[k] = np.minimum(end / token, window)
        bases[k + 1], froms[k + 1] = window, end + lag
        log = log + drafts + 1
        window = log + gamma
        tested = tested + drafts + (drafts < gamma)
        begins[k + 1], ended = tested, end
    steady = slice(passes - STEADY, passes)
    advance = counts[steady].mean(axis=0) + 1
    begun = begins.astype(np.int64)
    ends = begun[:-1] + counts.astype(np.int64) + 1
    return _Timeline(
        begins=begun,
        ends=ends,
        spans=spans,
        drawn=drawn,
        drawn_behind=drawn[-1] + advance,
        span=spans[steady].mean(axis=0),
        drafts=advance - 1,
        tested=(begins[-1] - begins[-1 - STEADY]) / STEADY,
        advance=advance,
        most=int(ends.max()) + 1,
    )


def _batch(pace: _Pace, gamma: Floats) -> Floats:
    """How long a message with the ids that were drawn during the one before it takes, in target steps."""
    share = min(pace.per_id / pace.token, 0.9)
    batch: Floats = np.minimum(pace.first / (1 - share), pace.first + gamma * pace.per_id)
    return batch


@lru_cache(maxsize=64)
def _extended(survives: tuple[float, ...], most: int) -> tuple[Floats, Floats, float]:
    """survives up to index `most`, the sums of all before each index, and the hazard that goes on."""
    before, last = survives[-2:] if len(survives) > 1 else (1.0, 0.0)
    hazard = min(last / before if before > 0 else 0.0, MOST_HAZARD)
    more = max(0, most + 1 - len(survives))
    chances = np.concatenate([survives, last * hazard ** np.arange(1, more + 1)])
    sums = np.zeros(len(chances) + 1)
    np.cumsum(chances, out=sums[1:])
    return chances, sums, hazard


# Checks -----------------------------------------------------------------------------------------------------


def _check(plans: Plans, survives: Sequence[float]) -> None:
    _check_plans(plans)
    if not survives or survives[0] != 1:
        raise ValueError(f"survives begins with {list(survives[:1])}: the first is of no id at all, give 1")
    if any(not 0 <= after <= before for before, after in zip(survives, survives[1:], strict=False)):
        raise ValueError("survives rises or leaves [0, 1]: give the chance that the first k ids are all right")


@lru_cache(maxsize=256)
def _check_plans(plans: Plans) -> None:
    for gamma, min_draft in plans:
        if not (1 <= gamma <= MAX_GAMMA and 0 <= min_draft < gamma):
            raise ValueError(
                f"gamma is {gamma} and min_draft {min_draft}: give gamma from 1 to {MAX_GAMMA}, min_draft below"
            )


__all__ = [
    "PATIENCE_MARGIN_S",
    "Flow",
    "Flows",
    "Plans",
    "flow",
    "flows",
    "patience_s",
    "pipelined_plans",
    "synchronous",
]
