"""Which fault can be where: the nodes, legs and moments that a kind needs, and schedules held to it."""

from collections.abc import Callable
from typing import Final

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Fault, Kind, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.models import VOCAB_SIZE
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSpec, parse_link

TARGET: Final = "target"
CHANNEL: Final = "channel"
CONTROLLER: Final = "controller"

OF_LEGS: Final = frozenset({Kind.DROP, Kind.DUPLICATE, Kind.REORDER, Kind.CORRUPT, Kind.PARTITION})
"""Faults of a leg, all of its connections."""

OF_LINK: Final = frozenset({Kind.COLLAPSE})
"""Faults of the radio link, so there has to be a channel."""

SHARES: Final = frozenset({Kind.DROP, Kind.DUPLICATE, Kind.REORDER, Kind.CORRUPT})
"""Kinds whose amount is a probability."""

MOST_DEVICES: Final = 16
MOST_REQUESTS: Final = 100
MOST_TOKENS: Final = 4096
"""Of a schedule that somebody writes: enough for anything that shows a fault."""

MOST_IN_ALL: Final = 20_000
"""Tokens of all requests of all devices: some minutes, played twice."""

MEMORY_BESIDE: Final = 16
"""Tokens of a request's memory beside its output: more than any prompt here."""

AT_ONCE: Final = frozenset({Kind.CRASH, Kind.CLOCK})
"""Kinds that have happened even if they last no time."""


def devices_of(scenario: Scenario) -> list[str]:
    """Their names."""
    return [f"device-{number}" for number in range(1, scenario.devices + 1)]


def nodes_of(scenario: Scenario, kind: Kind | None = None) -> list[str]:
    """The nodes that there are; with a kind, those that such a fault can happen to."""
    devices = devices_of(scenario)
    if kind is Kind.DISK:
        return devices if scenario.journal else []
    if kind is Kind.SLOW:
        return [TARGET, *devices]
    return [TARGET, *([CHANNEL] if scenario.link else []), CONTROLLER, *devices]


def moments_of(node: str, scenario: Scenario) -> list[Moment]:
    """When this node can die."""
    moments = [Moment.NOW, Moment.BEFORE_SEND, Moment.AFTER_SEND]
    if node not in (CHANNEL, CONTROLLER):
        moments += [Moment.AFTER_PASS, Moment.IN_RECOVERY]
    if node in devices_of(scenario) and scenario.journal:
        moments.append(Moment.WRITING)
    return moments


def check(schedule: Schedule) -> None:
    """Raises ConfigurationError, naming the field, where a schedule asks for what can't be."""
    _check_scenario(schedule.scenario)
    for place, fault in enumerate(schedule.faults):
        try:
            _check_fault(fault, schedule.scenario)
        except ConfigurationError as error:
            raise error.placed(key=f"faults[{place}].{error.key}") from None


def _check_scenario(scenario: Scenario) -> None:
    for name, most in (("devices", MOST_DEVICES), ("requests", MOST_REQUESTS), ("tokens", MOST_TOKENS)):
        value = getattr(scenario, name)
        _refuse(not 1 <= value <= most, value, f"scenario.{name}", f"choose 1 to {most}")
    requests, tokens = scenario.devices * scenario.requests, scenario.tokens
    _refuse(
        requests * tokens > MOST_IN_ALL,
        tokens,
        "scenario.tokens",
        f"{requests} requests may have {MOST_IN_ALL} in all: choose up to {MOST_IN_ALL // requests}",
    )
    bounds = (("k", 1, VOCAB_SIZE), ("gamma", 0, MAX_GAMMA), ("kv_tokens", tokens + MEMORY_BESIDE, 1 << 30))
    for name, least, most in bounds:
        value = getattr(scenario, name)
        _refuse(
            value is not None and not least <= value <= most,
            value,
            f"scenario.{name}",
            f"choose {least} to {most}, or leave it out",
        )
    _refuse(
        not 0 <= scenario.temperature <= 10, scenario.temperature, "scenario.temperature", "choose 0 to 10"
    )
    _refuse(
        scenario.acceptance is Acceptance.AUTO,
        "auto",
        "scenario.acceptance",
        "choose rejection or coupled, since what is promised of the text hangs on it",
    )
    if scenario.link:
        try:
            link = parse_link(scenario.link)
        except ConfigurationError as error:
            raise error.placed(key="scenario.link") from None
        remedy = "nothing passes it: choose one that lets messages through"
        _refuse(not _passes(link), scenario.link, "scenario.link", remedy)


def _passes(link: LinkSpec) -> bool:
    """Whether a message that is said again and again arrives whole at last."""
    lost = link.loss is not None and not link.loss.lets_through
    return link.mean_rate_bps != 0 and not lost and link.corrupt < 1


def _check_fault(fault: Fault, scenario: Scenario) -> None:
    _refuse(not fault.at_s >= 0, fault.at_s, "at_s", "choose 0 or more")
    _refuse(not 0 <= fault.for_s <= 3600, fault.for_s, "for_s", "choose 0 to 3600")
    nothing = fault.for_s == 0 and fault.kind not in AT_ONCE
    _refuse(nothing, fault.for_s, "for_s", f"{fault.kind} has to last: choose more than 0, to 3600")
    if fault.kind is not Kind.CRASH:
        named = fault.moment is not Moment.NOW
        _refuse(named, fault.moment.value, "moment", f"{fault.kind} has none: leave it out")
    _check_amount(fault)
    if fault.kind in OF_LEGS:
        _refuse(fault.leg is None, None, "leg", f"{fault.kind} needs one: up, down, reports or plans")
        _refuse(bool(fault.node), fault.node, "node", f"{fault.kind} is of a leg: leave it out")
        return
    _refuse(fault.leg is not None, fault.leg, "leg", f"{fault.kind} is of no leg: leave it out")
    if fault.kind in OF_LINK:
        _refuse(not scenario.link, fault.kind.value, "kind", "needs a link: give scenario.link words")
        _refuse(bool(fault.node), fault.node, "node", f"{fault.kind} is of the link: leave it out")
        return
    known = nodes_of(scenario, fault.kind)
    _refuse(fault.node not in known, fault.node, "node", f"known: {', '.join(known) or 'none here'}")
    moments = moments_of(fault.node, scenario)
    _refuse(fault.moment not in moments, fault.moment.value, "moment", f"of this node: {', '.join(moments)}")


def _check_amount(fault: Fault) -> None:
    allowed: dict[Kind, tuple[Callable[[float], bool], str]] = {
        **{kind: (lambda amount: 0 < amount <= 1, "a probability, more than 0, to 1") for kind in SHARES},
        Kind.COLLAPSE: (lambda amount: amount == 0 or 1 <= amount <= 1e12, "0, or 1 bit/s and more"),
        Kind.SLOW: (lambda amount: 1 <= amount <= 1e4, "1 to 10000"),
        Kind.CLOCK: (lambda amount: 0 < amount <= 1e6, "more than 0 s, at most 1e6"),
    }
    fits, words = allowed.get(fault.kind, (lambda amount: amount == 0, "none: leave it out"))
    _refuse(not fits(fault.amount), fault.amount, "amount", f"of {fault.kind}: {words}")


def _refuse(wrong: bool, value: object, key: str, remedy: str) -> None:
    if wrong:
        raise ConfigurationError(f"{value!r}", key=key, remedy=remedy)


__all__ = [
    "AT_ONCE",
    "CHANNEL",
    "CONTROLLER",
    "MEMORY_BESIDE",
    "MOST_IN_ALL",
    "OF_LEGS",
    "OF_LINK",
    "TARGET",
    "check",
    "devices_of",
    "moments_of",
    "nodes_of",
]
