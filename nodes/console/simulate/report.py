"""What a simulation came to, for people and for programs."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, Final

from draftwire.nodes.console.simulate.outcomes import DeviceOutcome, Simulation, Tally, percentile

SHARES: Final = {"p5": 0.05, "p50": 0.5, "p95": 0.95}


def lines(came: Simulation) -> list[str]:
    """The summary."""
    total, speeds = came.total, came.speeds
    spread = ", ".join(f"{name} {percentile(speeds, share):.1f}" for name, share in SHARES.items())
    stations = -(-len(came.devices) // came.per_bs)
    told = [
        f"{many(len(came.devices), 'device')} at {many(stations, 'base station')}, "
        f"{round(came.seconds, 3):g} s of virtual time in {came.wall_s:.1f} s "
        f"({came.seconds / max(came.wall_s, 1e-9):.2g} times as fast); seed {came.seed}",
        f"models: {came.pair}",
        f"requests: {total.answered} answered, {total.cut} under way at the end{_refused(total)}",
        f"tokens: {total.tokens} in {total.steps} steps{_given(', {:.2f} a step', total.tokens_a_step)}"
        f"{_given(', alpha {:.2f}', total.alpha)}{_given(', mean K {:.0f}', total.mean_k)}"
        f"{_given(', mean gamma {:.2f}', total.mean_gamma)}"
        f"{_given(', {:.0f} bytes up a token', total.bytes_up_a_token)}",
        *_hints(total),
        f"tok/s by device: mean {fmean(speeds):.1f}, {spread}; target alone, modelled, "
        f"{fmean(one.alone_tokens_per_s for one in came.devices):.1f}"
        f"{_given(': {:.2f} times (median)', came.over_alone)}",
    ]
    if came.steps:
        told.append(f"cost: {1e6 * came.wall_s / came.steps:.0f} us a step")
    for name, count in sorted(came.warned.items()):
        told.append(f"warned: {name}, by {many(count, 'node')}; the first: {came.warnings.get(name, '')}")
    told.append(f"trace hash: {came.trace_hash}")
    return told


def fields(came: Simulation) -> dict[str, Any]:
    """Plain values; units in the names."""
    speeds = came.speeds
    return {
        "devices": len(came.devices),
        "per_bs": came.per_bs,
        "seed": came.seed,
        "seconds": came.seconds,
        "wall_s": came.wall_s,
        "pair": came.pair,
        **_tally(came.total),
        "tokens_per_s": {
            "mean": fmean(speeds),
            **{name: percentile(speeds, share) for name, share in SHARES.items()},
        },
        "alone_tokens_per_s_modelled": fmean(one.alone_tokens_per_s for one in came.devices),
        "over_alone": came.over_alone,
        "warned": dict(came.warned),
        "trace_hash": came.trace_hash,
        "by_device": [_device(one) for one in came.devices],
    }


def _device(one: DeviceOutcome) -> dict[str, Any]:
    return {
        "device": one.device,
        "bs": one.bs,
        "tokens_per_s": one.tokens_per_s,
        "alone_tokens_per_s_modelled": one.alone_tokens_per_s,
        "over_alone": one.over_alone,
        **_tally(one.tally),
    }


def _tally(tally: Tally) -> Mapping[str, Any]:
    return {
        "requests_answered": tally.answered,
        "requests_cut": tally.cut,
        "refused": dict(tally.refused),
        "tokens": tally.tokens,
        "steps": tally.steps,
        "alpha": tally.alpha,
        "mean_k": tally.mean_k,
        "mean_gamma": tally.mean_gamma,
        "tokens_a_step": tally.tokens_a_step,
        "drafted": tally.drafted,
        "used": tally.used,
        "wasted": tally.wasted,
        "passes": tally.passes,
        "passes_a_token": tally.passes_a_token,
        "wasted_a_token": tally.wasted_a_token,
        "bytes_up": tally.bytes_up,
        "bytes_down": tally.bytes_down,
        "bytes_up_a_token": tally.bytes_up_a_token,
    }


def _hints(total: Tally) -> list[str]:
    """Where only ids travelled: what became of them."""
    if not total.passes_of_hints:
        return []
    return [
        f"ids only: {total.drafted} drafted, {total.used} used, {total.wasted} wasted"
        f"{_given(' ({:.2f} a token)', total.wasted_a_token)}"
        f"{_given('; {:.2f} passes a token', total.passes_a_token)}"
    ]


def _refused(total: Tally) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in total.refused.most_common())
    return f"; refused: {reasons}" if reasons else ""


def _given(text: str, value: float | None) -> str:
    return "" if value is None else text.format(value)


def many(count: int, what: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


__all__ = ["fields", "lines", "many"]
