"""Of a record of several devices: what the controller chose for each of them, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from draftwire.nodes.console.choices import Moment, few_digits
from draftwire.nodes.console.explanation import Explanation, explain
from draftwire.nodes.console.record import Record, RecordError, of_device
from draftwire.nodes.console.timeline import runs_of

SHARED: Final = "Mbit/s: what others leave of the cell / its own, with nobody else"
"""What a title says where devices share a radio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceExplained:
    """One device of a record."""

    device: str
    explanation: Explanation
    "of its requests alone"
    moment: Moment
    "the last decision for the choice made most often of those with drafts; without any, for the target alone"
    drafted_share: float
    "of its steps: those with drafts"


def each_device(record: Record, devices: Sequence[str]) -> tuple[DeviceExplained, ...]:
    """Those of them for which the controller chose something, in this order."""
    return tuple(one for device in devices if (one := _explained(record, device)) is not None)


def _explained(record: Record, device: str) -> DeviceExplained | None:
    try:
        own = of_device(record, device)
        explanation = explain(own)
    except RecordError:  # its orders came too late, or rest on no belief
        return None
    # The target alone is one choice, drafts are a hundred: it would nearly always be the one made most often.
    drafts = [one for one in explanation.moments if one.choice.gamma] or explanation.moments
    (choice, _), *_ = Counter(one.choice for one in drafts).most_common(1)
    moment = next(one for one in reversed(drafts) if one.choice == choice)
    steps = [step for run in runs_of(own) for step in run.steps]
    drafted = sum(step.drafted > 0 for step in steps) / len(steps)
    return DeviceExplained(device=device, explanation=explanation, moment=moment, drafted_share=drafted)


def devices_table(explained: Sequence[DeviceExplained]) -> Table:
    """A row a device: how often it drafted and how, by what belief, what that promised, and what came."""
    title = "believed / true; predicted / measured, over the time of its requests\n"
    title += "drafts: % of steps; K and g: chosen most often for them"
    if any(one.explanation.shared for one in explained):
        title += f"\n{SHARED}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("device", no_wrap=True)
    for heading in ("req.", "steps", "drafts", "K", "g", "Mbit/s", "RTT ms", "alpha", "tok/s", "alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in explained:
        table.add_row(one.device, *_cells(one))
    return table


def _cells(one: DeviceExplained) -> tuple[str, ...]:
    explanation, belief, choice = one.explanation, one.moment.belief, one.moment.choice
    rates = (belief.uplink_bps, one.moment.true_bps)
    alpha = belief.alphas.get(choice.k) if belief.rows else next(iter(belief.alphas.values()))
    measured = explanation.measured
    return (
        str(explanation.requests),
        str(explanation.steps),
        f"{100 * one.drafted_share:.0f}",
        str(choice.k) if choice.gamma and belief.rows else "-",
        str(choice.gamma),
        "/".join("-" if rate is None else few_digits(rate / 1e6) for rate in rates),
        f"{1e3 * belief.rtt_s:.0f}",
        "-" if alpha is None or not choice.gamma else f"{alpha:.2f}",
        f"{explanation.predicted:.1f}/{'-' if measured is None else f'{measured:.1f}'}",
        f"{explanation.alone:.1f}",
    )


def device_fields(one: DeviceExplained) -> dict[str, Any]:
    """The same as plain values; units in the names."""
    explanation, choice = one.explanation, one.moment.choice
    return {
        "device": one.device,
        "requests": explanation.requests,
        "steps": explanation.steps,
        "drafted_share": one.drafted_share,
        "k": choice.k or None,
        "gamma": choice.gamma,
        "min_draft": choice.min_draft,
        "uplink_bps": one.moment.belief.uplink_bps,
        "true_uplink_bps": one.moment.true_bps,
        "rtt_s": one.moment.belief.rtt_s,
        "tokens_per_s": explanation.measured,
        "predicted_tokens_per_s": explanation.predicted,
        "alone_tokens_per_s_predicted": explanation.alone,
    }


__all__ = ["SHARED", "DeviceExplained", "device_fields", "devices_table", "each_device"]
