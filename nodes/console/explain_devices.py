"""Of a record of several devices: what the controller chose for each of them, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from draftwire.nodes.console.choices import Moment, few_digits
from draftwire.nodes.console.explanation import Explanation, explain
from draftwire.nodes.console.record import Record, RecordError, of_device


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceExplained:
    """One device of a record."""

    device: str
    explanation: Explanation
    "of its requests alone"
    moment: Moment
    "the last decision for the choice made most often"


def each_device(record: Record, devices: Sequence[str]) -> tuple[DeviceExplained, ...]:
    """Those of them for which the controller chose something, in this order."""
    return tuple(one for device in devices if (one := _explained(record, device)) is not None)


def _explained(record: Record, device: str) -> DeviceExplained | None:
    try:
        explanation = explain(of_device(record, device))
    except RecordError:  # its orders came too late, or rest on no belief
        return None
    (choice, _), *_ = Counter(one.choice for one in explanation.moments).most_common(1)
    moment = next(one for one in reversed(explanation.moments) if one.choice == choice)
    return DeviceExplained(device=device, explanation=explanation, moment=moment)


def devices_table(explained: Sequence[DeviceExplained]) -> Table:
    """A row a device: what was chosen most, by what belief, what it promised on average, and what came."""
    title = "believed / true; predicted / measured, over the time of its requests; K and g: chosen most"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("device", no_wrap=True)
    for heading in ("req.", "steps", "K", "g", "Mbit/s", "RTT ms", "alpha", "tok/s", "alone"):
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


__all__ = ["DeviceExplained", "device_fields", "devices_table", "each_device"]
