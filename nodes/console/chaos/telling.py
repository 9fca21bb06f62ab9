"""Schedules in words, for people."""

from typing import Final

from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Moment, Scenario

LEGS: Final = {
    Leg.UP: "from devices to the base station",
    Leg.DOWN: "from the base station to devices",
    Leg.REPORTS: "from the base station to its controller",
    Leg.PLANS: "from the controller to the base station",
}

MOMENTS: Final = {
    Moment.NOW: "",
    Moment.AFTER_PASS: " when its model has next computed",
    Moment.BEFORE_SEND: " with its next message ready, which does not leave",
    Moment.AFTER_SEND: " when its next message has left",
    Moment.IN_RECOVERY: " while a request is next taken up again",
    Moment.WRITING: " while it next writes into its journal",
}


def told(fault: Fault) -> str:
    """What happens, in a line that begins with when."""
    return f"{fault.at_s:g} s: {what_happens(fault)}"


def what_happens(fault: Fault) -> str:
    """The same without when."""
    node, lasting = fault.node, f"for {fault.for_s:g} s"
    share = f"{100 * fault.amount:g} % of messages"
    where = "" if fault.leg is None else LEGS[fault.leg]
    match fault.kind:
        case Kind.DROP:
            return f"{share} {where} are lost {lasting}"
        case Kind.DUPLICATE:
            return f"{share} {where} come twice {lasting}"
        case Kind.REORDER:
            return f"{share} {where} are held back {lasting}"
        case Kind.CORRUPT:
            return f"{share} {where} are damaged {lasting}"
        case Kind.PARTITION:
            return f"nothing passes {where} {lasting}"
        case Kind.COLLAPSE:
            return f"the link has {fault.amount:g} bit/s {lasting}"
        case Kind.STALL:
            return f"{node} stands still {lasting}"
        case Kind.CRASH:
            return f"{node} dies{MOMENTS[fault.moment]}, and is started again {fault.for_s:g} s later"
        case Kind.SLOW:
            return f"{node}'s model takes {fault.amount:g} times as long {lasting}"
        case Kind.CLOCK:
            return f"{node}'s clock jumps {fault.amount:g} s ahead"
        case Kind.FULL:
            return f"{node}'s own queue drops what it says {lasting}"
        case Kind.DISK:
            return f"{node}'s journal can't be written {lasting}"


def told_scenario(scenario: Scenario) -> str:
    """What runs, in a line."""
    parts = [
        _count(scenario.devices, "device"),
        f"{_count(scenario.requests, 'request')} of {_count(scenario.tokens, 'token')}",
        f"{scenario.acceptance.name.lower()} at temperature {scenario.temperature:g}",
        f"K {_chosen(scenario.k)}, gamma {_chosen(scenario.gamma)}",
        f"link {scenario.link!r}" if scenario.link else "no channel",
        *([] if scenario.journal else ["no journal"]),
        *([] if scenario.kv_tokens is None else [f"memory for {scenario.kv_tokens} tokens"]),
        *(["the draft is the target"] if scenario.draft_is_target else []),
    ]
    return "; ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _chosen(value: int | None) -> str:
    return "by the controller" if value is None else str(value)


__all__ = ["told", "told_scenario", "what_happens"]
