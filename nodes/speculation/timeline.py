"""The passes of a BS that never waits, along a path that stays right: what the renewal model rests on.

pipeline.py says what it is good for. Times are in target steps, and pass k starts at s_k behind a_k tokens,
with d_k drafts of the path:

    e_k = s_k + T_target(d_k),    a_{k+1} = a_k + d_k + 1.

Three things are different from one pass to the next:

    ids     the Commit has to come down and the first ids have to go up before the BS has any: a round trip, a
            draft step and both messages' bits after the renewal began; then one a draft step. Where a message
            takes longer than that, ids share it, and come in the middle of its time on average. A device that
            was still drafting finishes the token that it is at, half a draft step on average.
    window  beyond a_k + gamma none is drawn before the Commit that ended pass k - 1 was heard.
    start   at once, with min_draft 0: the first passes are the target's own then. Else when min_draft ids
            are there; a fresh path's first min_draft ids come in one message.

After some passes nothing changes any more, and the last ones repeat.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.speculation.cost import Compute, Frames, LinkEstimate
from draftwire.runtime.session.ahead import ROW_EVERY

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Plans = tuple[tuple[int, int], ...]
"Pairs of gamma and min_draft."

PASSES: Final = 6
"""Followed one by one, beside those that fit into the round trip; then the last ones repeat."""

MOST_PASSES: Final = 14

LEAST_ALONE_SHARE: Final = 0.01
"""Of a target step: a pass without drafts is not taken for shorter, so that passes can be counted."""

LEAST_DRAFT_SHARE: Final = 1e-3
"""Of a target step: a draft step is not taken for shorter, so that ids can be counted."""

MOST_SHARE: Final = 0.9
"""Of a draft step, for sending a token with its share of a row at most: above, messages grow for ever."""

MESSAGE_IDS: Final = 2
"""Tokens beside the first one in a Commit: it repeats what the device has not acknowledged."""

PATIENCE_MARGIN_S: Final = 4e-3
"""What a BS waits beyond the time at which ids should be there: several times a link's usual jitter."""


class Pace(NamedTuple):
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
    "sending an id"
    per_row: float
    "sending an id's share of the row behind every 8th"
    margin: float
    "PATIENCE_MARGIN_S"


class Timeline(NamedTuple):
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


def pace_of(compute: Compute, link: LinkEstimate, frames: Frames, row_bits: float) -> Pace:
    """Rounded, so that estimates that hardly move find the same timeline again."""
    unit = compute.target_step_s
    alone = unit if compute.alone_step_s is None else compute.alone_step_s
    first, second = frames.draft_bits(1, 1), frames.draft_bits(1, 2)
    per_id = second - first
    down_s = frames.commit_bits(MESSAGE_IDS) / link.downlink_bps
    return Pace(
        alone=max(round(alone / unit, 2), LEAST_ALONE_SHARE),
        drafted=round(1 + compute.overhead_s / unit, 2),
        per_draft=round(compute.target_per_token_s / unit, 3),
        token=_rounded(max(compute.draft_step_s / unit, LEAST_DRAFT_SHARE)),
        loop=round((link.rtt_s + down_s) / unit * 50) / 50,
        first=_rounded((first - per_id) / link.uplink_bps / unit),
        per_id=_rounded(per_id / link.uplink_bps / unit),
        per_row=_rounded(row_bits / ROW_EVERY / link.uplink_bps / unit),
        margin=_rounded(PATIENCE_MARGIN_S / unit),
    )


def _rounded(value: float) -> float:
    """To 2 %, and to 0.0005."""
    if value < 0.02:
        return round(value * 2000) / 2000
    return math.exp(round(math.log(value) * 50) / 50)


@lru_cache(maxsize=256)
def timeline_of(plans: Plans, pace: Pace) -> Timeline:
    """Follow the passes of all plans together; every line is one operation on all of them."""
    gamma, wait = np.array(plans, np.float64).T
    token = pace.token
    answering = int((pace.loop + token) / pace.alone)  # passes that end while the device answers a Commit
    passes = min(MOST_PASSES, PASSES + answering)
    batch = _batch(pace, gamma)
    # What bounds the ids that are there: how far they had come, and when they go on, a draft step each.
    bases = np.zeros((passes + 1, len(plans)))
    froms = np.zeros_like(bases)
    late = np.maximum(batch - token, 0) / 2  # of ids that find the link busy
    together = np.ones_like(bases)  # those of the first message, which does not
    together[0] = np.maximum(wait, 1)
    # A device whose window has room when it hears of the end is in the middle of a token of the old path.
    draws = np.where(gamma > wait + (pace.loop + pace.alone) / token, token / 2, 0.0)
    froms[0] = pace.loop + pace.first + pace.per_id * together[0] + draws
    lag = pace.loop + pace.first + pace.per_id
    patience = pace.loop + pace.first + pace.per_id * wait + token * (wait + 1) + pace.margin
    ended, log, tested = np.zeros((3, len(plans)))
    begins = np.zeros((passes + 1, len(plans)))
    counts, spans, drawn = np.zeros((3, passes, len(plans)))
    window = gamma
    for k in range(passes):
        base, since, at_once = bases[: k + 1], froms[: k + 1], together[: k + 1]
        wanted = log + wait - base
        when = np.where(wanted > 0, since + wanted * token + np.where(wanted > at_once, late, 0.0), 0.0)
        there = np.minimum(np.maximum.reduce(when), ended + patience)
        start = np.where(wait > 0, np.maximum(ended, there), ended)
        ids = (start - since) / token + 1e-6
        ids = np.where(ids < at_once, 0.0, np.maximum(ids - late / token, at_once))
        drafts = np.floor(np.minimum.reduce(base + ids)) - log
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
    # Where the window binds, long and short passes alternate: their drafts add up to the same each time that
    # those of a full answer, and one more, are taken together.
    turn = min(answering + 2, passes)
    steady = slice(passes - turn, passes)
    advance = counts[steady].mean(axis=0) + 1
    begun = begins.astype(np.int64)
    ends = begun[:-1] + counts.astype(np.int64) + 1
    return Timeline(
        begins=begun,
        ends=ends,
        spans=spans,
        drawn=drawn,
        drawn_behind=drawn[-1] + advance,
        span=spans[steady].mean(axis=0),
        drafts=advance - 1,
        tested=(begins[-1] - begins[-1 - turn]) / turn,
        advance=advance,
        most=int(ends.max()) + 1,
    )


def _batch(pace: Pace, gamma: Floats) -> Floats:
    """How long a message with the ids that were drawn during the one before it takes, in target steps."""
    per_id = pace.per_id + pace.per_row
    share = min(per_id / pace.token, MOST_SHARE)
    sending = np.minimum(pace.first / (1 - share), pace.first + gamma * per_id)
    batch: Floats = np.ceil(sending / pace.token - 1e-6) * pace.token  # a message leaves with its last token
    return batch


__all__ = ["MESSAGE_IDS", "PATIENCE_MARGIN_S", "Pace", "Plans", "Timeline", "pace_of", "timeline_of"]
