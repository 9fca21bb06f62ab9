"""What drafts would bring by a belief that chose the target alone: the model of cost, run once more. Pure."""

from collections.abc import Mapping
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import MAX_GAMMA, MAX_PLAIN_K, MAX_ROW_BITS, MAX_RUNGS, MAX_VOCAB_SIZE
from draftwire.nodes.observer.heard import Estimates
from draftwire.nodes.speculation.cost import Compute, LinkEstimate, forecast_grid
from draftwire.nodes.speculation.frames import RungBits, frames_of

GAMMAS: Final = tuple(range(1, MAX_GAMMA + 1))

MAX_ROUNDINGS: Final = 64
"""Estimates of how far the rate may be off that are taken: a belief has fewer."""


def drafts_tokens_per_s(belief: Estimates) -> float | None:
    """Of the best plan with rows, as if nobody else shared the target; None: it can't be said."""
    alphas = {k: min(alpha, 1.0) for k, alpha in belief.alphas.items() if k <= MAX_PLAIN_K}
    if not belief.rows or not alphas or not belief.uplink_bps:
        return None
    told = belief.fields
    try:
        tokens, seconds = forecast_grid(
            alphas=alphas,
            gammas=GAMMAS,
            compute=Compute(
                draft_step_s=belief.draft_step_s,
                target_step_s=belief.target_step_s,
                target_per_token_s=_number(told, "target_per_token_s"),
                overhead_s=_number(told, "overhead_s"),
                alone_step_s=_number(told, "alone_step_s"),
            ),
            link=LinkEstimate(
                uplink_bps=belief.uplink_bps,
                downlink_bps=belief.uplink_bps,
                rtt_s=belief.rtt_s,
                off_s_per_bit=_numbers(told, "off_s_per_bit"),
            ),
            frames=frames_of(
                vocab_size=_vocabulary(told, alphas),
                row_scale=_number(told, "row_scale"),
                plain_scale=_number(told, "plain_scale"),
                rungs=_rungs(told),
            ),
        )
        speed = float((tokens / seconds).max())
    except (ValueError, TypeError, ArithmeticError):
        return None
    return speed if 0 < speed < 1e9 else None


def _number(told: Mapping[str, Json], name: str) -> float:
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise ValueError(name)
    return float(value)


def _numbers(told: Mapping[str, Json], name: str) -> tuple[float, ...]:
    values = told.get(name)
    if not isinstance(values, list) or len(values) > MAX_ROUNDINGS:
        raise ValueError(name)
    found = tuple(value for value in values if isinstance(value, float | int) and abs(value) < 1)
    if len(found) != len(values):
        raise ValueError(name)
    return found


def _vocabulary(told: Mapping[str, Json], alphas: Mapping[int, float]) -> int:
    value = told.get("vocab_size")
    if not isinstance(value, int) or not max(alphas) <= value <= MAX_VOCAB_SIZE:
        raise ValueError("vocab_size")
    return value


def _rungs(told: Mapping[str, Json]) -> RungBits:
    pairs = told.get("rung_bits")
    if not isinstance(pairs, list) or len(pairs) > MAX_RUNGS:
        raise ValueError("rung_bits")
    found, last = list[tuple[int, int]](), 0
    for pair in pairs:
        match pair:
            case [int(k), int(bits)] if last < k <= MAX_PLAIN_K and 0 < bits <= MAX_ROW_BITS:
                found.append((k, bits))
                last = k
            case _:
                raise ValueError("rung_bits")
    return tuple(found)


__all__ = ["drafts_tokens_per_s"]
