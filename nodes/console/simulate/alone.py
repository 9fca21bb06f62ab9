"""What the target alone would bring a device: modelled, for the same link and the same step times."""

from functools import lru_cache

from draftwire.nodes.console.outcome import Scene
from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.speculation.frames import true_frames
from draftwire.runtime.link import LinkSchedule


def alone_tokens_per_s(
    *, times: StepTimes, sharing: int, downlink: LinkSchedule | None, vocab_size: int
) -> float:
    """One token a pass, passes in turn for the `sharing` devices of a BS, and no more Commits than the
    downlink carries at its mean rate; None: no link.

    Where Commits fill the downlink it is less, since they repeat what is not acknowledged yet. A run with
    `[controller] gamma = 0` measures it.
    """
    pass_s = times.seconds("target", 1) * sharing
    carried_s = 0.0 if downlink is None else _commit_s(str(downlink), vocab_size)
    slowest_s = max(pass_s, carried_s)
    return 1 / slowest_s if slowest_s > 0 else float("inf")


@lru_cache(maxsize=4096)
def _commit_s(downlink: str, vocab_size: int) -> float:
    rate_bps = Scene.of(downlink).rate_bps
    if rate_bps is None:
        return 0.0
    return true_frames(vocab_size=vocab_size).commit_bits(0) / rate_bps if rate_bps else float("inf")


__all__ = ["alone_tokens_per_s"]
