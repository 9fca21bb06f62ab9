"""What the target alone would bring a device: modelled, for the same link and the same step times."""

from functools import lru_cache

from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.speculation.frames import true_frames
from draftwire.runtime.link import LinkSchedule


def alone_tokens_per_s(
    *,
    times: StepTimes,
    sharing: int,
    places: int,
    downlink: LinkSchedule | None,
    seconds: float,
    vocab_size: int,
) -> float:
    """One token a pass over all of the `sharing` devices of a BS, or as many as it has places for, which
    they have in turn; and no more Commits than the downlink carries, at the mean rate of each of its
    pieces, in the first `seconds`; None: no link.

    Where Commits fill the downlink it is less, since they repeat what is not acknowledged yet. A run
    with `[controller] gamma = 0` measures it.
    """
    together = min(sharing, places)
    pass_s = times.seconds("target", together, sessions=together) * sharing / together
    if downlink is None:
        return 1 / pass_s
    commit_bits = true_frames(vocab_size=vocab_size).commit_bits(0)
    return _tokens(downlink, seconds, pass_s, commit_bits) / seconds if seconds > 0 else 0.0


@lru_cache(maxsize=4096)
def _tokens(downlink: LinkSchedule, seconds: float, pass_s: float, commit_bits: float) -> float:
    """Whole rounds of a schedule that repeats are alike: they are not gone through one by one."""
    if downlink.repeat_s is None or seconds <= downlink.repeat_s:
        return _within(downlink, seconds, pass_s, commit_bits)
    rounds, rest_s = divmod(seconds, downlink.repeat_s)
    in_a_round = _within(downlink, downlink.repeat_s, pass_s, commit_bits)
    return rounds * in_a_round + _within(downlink, rest_s, pass_s, commit_bits)


def _within(downlink: LinkSchedule, seconds: float, pass_s: float, commit_bits: float) -> float:
    tokens, most = 0.0, 1 / pass_s
    for piece in downlink.pieces():
        if piece.from_s >= seconds:
            break
        rate_bps = piece.link.mean_rate_bps
        speed = most if rate_bps is None else min(most, rate_bps / commit_bits)
        tokens += speed * (min(piece.until_s, seconds) - piece.from_s)
    return tokens


__all__ = ["alone_tokens_per_s"]
