"""A schedule of faults for every seed.

Swarm testing: a run in which everything goes wrong a little finds less than many runs in which a few things
go wrong much, since some faults hide what others would show. So each seed first draws which kinds, nodes and
moments there are at all, then faults of these alone.

| drawn | how |
|---|---|
| devices | 1 (55 %), 2 (30 %), 3 (15 %), of 1 (65 %) or 2 requests of 8 to 24 tokens, rather few |
| acceptance | rejection at T = 1 (45 %), coupled at T = 1 (25 %) or 0.7 (5 %), T = 0 (25 %) |
| K, gamma | the controller's (20 % each), else 1 to 16 and 0 to 6 |
| link | none (20 %), steady ones from 100 kbit/s to 20 Mbit/s, a third of them with loss, copies and so on |
| journal | 80 % |
| memory of the base station | no bound (75 %), else for one request and at most for all |
| kinds | one (20 %), all (20 %), else each with 35 %; likewise nodes and legs, moments of death |
| faults | none in 2 % of runs, else 1 to 10, in clusters: half of them begin as the one before is over |
| crashes | where they are enabled, four times as often as another kind |
| how long | most 0.02 to 4 s, some up to 25 s, which parks sessions, 1 % up to 150 s, which ends requests |
| meetings | 15 % of seeds have, instead of all that, what is late meeting deaths: see `_meeting` |
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.places import (
    MEMORY_BESIDE,
    OF_LEGS,
    OF_LINK,
    TARGET,
    devices_of,
    moments_of,
    nodes_of,
)
from draftwire.nodes.console.simulate.seeds import stream_of

T = TypeVar("T")

STEADY: Final = (
    "rate 20mbit delay 2ms",
    "rate 1mbit delay 20ms",
    "rate 1mbit delay 20ms 5ms",
    "rate 100kbit delay 50ms",
    "rate 5mbit delay 100ms 20ms distribution normal",
)
"""Links that a device meets on a good day, and on a far one."""

TROUBLES: Final = (
    "loss 5%",
    "loss gemodel 2% 30%",
    "loss 10% arq 40ms",
    "duplicate 10%",
    "reorder 10%",
    "corrupt 3%",
    "limit 20",
)
"""What a link may do besides; of losses at most one."""

MOST_FAULTS: Final = 10

CRASHES: Final = 4
"""How many times as often as another kind, where they are enabled: they have six moments and every node."""

TOKEN_S: Final = 0.06
"""About what a token takes where nothing happens: faults are to fall into the time of the requests."""

MEETINGS: Final = 0.15
"""Of seeds: faults drawn one by one hardly ever have a message of one life arrive in the next."""


def schedule_of(seed: int) -> Schedule:
    """The schedule of this seed; the same in every process."""
    scenario, meeting = _scenario(stream_of(seed, "scenario")), stream_of(seed, "meeting")
    meets = meeting.random() < MEETINGS
    faults = _meeting(meeting, scenario) if meets else _faults(stream_of(seed, "faults"), scenario)
    return Schedule(seed=seed, scenario=scenario, faults=faults)


def _scenario(draw: Random) -> Scenario:
    acceptance, temperature = draw.choices(
        [
            (Acceptance.REJECTION, 1.0),
            (Acceptance.COUPLED, 1.0),
            (Acceptance.COUPLED, 0.7),
            (Acceptance.REJECTION, 0.0),
        ],
        weights=[45, 25, 5, 25],
    )[0]
    devices = draw.choices([1, 2, 3], weights=[55, 30, 15])[0]
    tokens = round(draw.triangular(8, 24, 8))
    memory = tokens + MEMORY_BESIDE
    return Scenario(
        devices=devices,
        requests=draw.choices([1, 2], weights=[65, 35])[0],
        tokens=tokens,
        acceptance=acceptance,
        temperature=temperature,
        k=None if draw.random() < 0.2 else draw.randint(1, 16),
        gamma=None if draw.random() < 0.2 else draw.randint(0, 6),
        link="" if draw.random() < 0.2 else _link(draw),
        journal=draw.random() < 0.8,
        kv_tokens=None if draw.random() < 0.75 else draw.randint(memory, memory * devices),
        draft_is_target=draw.random() < 0.15,
    )


def _link(draw: Random) -> str:
    steady = draw.choice(STEADY)
    if draw.random() < 0.65:
        return steady
    chosen = {words.split()[0]: words for words in _some(draw, TROUBLES, each=0.3)}
    return " ".join([steady, *chosen.values()])


def _faults(draw: Random, scenario: Scenario) -> tuple[Fault, ...]:
    kinds = [kind for kind in _subset(draw, list(Kind)) if _possible(kind, scenario)]
    nodes = _subset(draw, nodes_of(scenario))
    legs = _subset(draw, [Leg.UP, Leg.DOWN, Leg.UP, Leg.DOWN, Leg.REPORTS, Leg.PLANS])
    moments = _subset(draw, list(Moment))
    if not kinds or draw.random() < 0.02:
        return ()
    weights = [CRASHES if kind is Kind.CRASH else 1 for kind in kinds]
    wanted = min(MOST_FAULTS, 1 + int(draw.expovariate(1 / 3)))
    busy_s = TOKEN_S * scenario.requests * scenario.tokens
    faults = list[Fault]()
    while len(faults) < wanted:
        at_s = _moment_s(draw, faults[-1] if faults else None, busy_s)
        kind = draw.choices(kinds, weights)[0]
        faults.append(_fault(draw, scenario, kind, at_s, nodes=nodes, legs=legs, moments=moments))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _meeting(draw: Random, scenario: Scenario) -> tuple[Fault, ...]:
    """Messages that come late, or again and late, while both ends die and come back at once: what was said
    in one life is heard in the next.
    """
    busy_s = TOKEN_S * scenario.requests * scenario.tokens
    late = [
        Fault(
            kind=draw.choice([Kind.REORDER, Kind.DUPLICATE]),
            at_s=_rounded(draw.uniform(0.0, busy_s / 2)),
            for_s=_rounded(draw.uniform(0.3, 4.0)),
            leg=leg,
            amount=draw.choice([0.2, 0.5, 0.9]),
        )
        for leg in _subset(draw, [Leg.UP, Leg.DOWN])
    ]
    begin_s = min(fault.at_s for fault in late)
    end_s = max(fault.over_s for fault in late)
    ends = [TARGET, *devices_of(scenario)] if scenario.journal else [TARGET]
    deaths = list[Fault]()
    for node in draw.choices(ends, k=draw.randint(1, 4)):
        at_s = _rounded(draw.uniform(begin_s + 0.05, end_s + 0.5))
        moment = draw.choice(moments_of(node, scenario)) if draw.random() < 0.5 else Moment.NOW
        for_s = _rounded(draw.uniform(0.02, 0.4))
        deaths.append(Fault(kind=Kind.CRASH, at_s=at_s, for_s=for_s, node=node, moment=moment))
    return tuple(sorted([*late, *deaths], key=lambda fault: fault.at_s))


def _moment_s(draw: Random, last: Fault | None, busy_s: float) -> float:
    """While requests are under way; or around the end of the fault before, where its recovery is."""
    if last is not None and draw.random() < 0.5:
        return _rounded(max(0.0, last.over_s + draw.uniform(-0.2, 0.8)))
    begin_s = 0.0 if last is None or draw.random() < 0.7 else last.over_s
    return _rounded(begin_s + draw.uniform(0.0, busy_s))


def _fault(
    draw: Random,
    scenario: Scenario,
    kind: Kind,
    at_s: float,
    *,
    nodes: Sequence[str],
    legs: Sequence[Leg],
    moments: Sequence[Moment],
) -> Fault:
    for_s = 0.0 if kind is Kind.CLOCK else _duration_s(draw)
    amount = _amount(draw, kind)
    if kind in OF_LEGS:
        return Fault(kind=kind, at_s=at_s, for_s=for_s, leg=draw.choice(legs), amount=amount)
    if kind in OF_LINK:
        return Fault(kind=kind, at_s=at_s, for_s=for_s, amount=amount)
    node = draw.choice(_among(nodes, nodes_of(scenario, kind)))
    moment = draw.choice(_among(moments, moments_of(node, scenario))) if kind is Kind.CRASH else Moment.NOW
    return Fault(kind=kind, at_s=at_s, for_s=for_s, node=node, moment=moment, amount=amount)


def _possible(kind: Kind, scenario: Scenario) -> bool:
    if kind in OF_LEGS:
        return True
    return bool(scenario.link) if kind in OF_LINK else bool(nodes_of(scenario, kind))


def _duration_s(draw: Random) -> float:
    """Log-uniform: short ones are the many, long ones outlast what the nodes wait for."""
    low_s, high_s = draw.choices([(0.02, 4.0), (4.0, 25.0), (25.0, 150.0)], weights=[90, 9, 1])[0]
    return _rounded(math.exp(draw.uniform(math.log(low_s), math.log(high_s))))


def _amount(draw: Random, kind: Kind) -> float:
    match kind:
        case Kind.DROP | Kind.DUPLICATE | Kind.REORDER | Kind.CORRUPT:
            return draw.choice([0.05, 0.2, 0.5, 0.9, 1.0])
        case Kind.COLLAPSE:
            return draw.choice([0.0, 2e3, 1e4, 5e4])
        case Kind.SLOW:
            return draw.choice([2.0, 5.0, 20.0, 60.0])
        case Kind.CLOCK:
            return draw.choice([0.1, 1.0, 10.0, 60.0, 600.0, 3600.0])
        case _:
            return 0.0


def _subset(draw: Random, among: Sequence[T]) -> list[T]:
    """One, all, or each with some chance: at least one."""
    way = draw.random()
    if way < 0.2:
        return [draw.choice(among)]
    if way < 0.4:
        return list(among)
    return _some(draw, among, each=0.35) or [draw.choice(among)]


def _some(draw: Random, among: Sequence[T], *, each: float) -> list[T]:
    return [one for one in among if draw.random() < each]


def _among(enabled: Sequence[T], possible: Sequence[T]) -> list[T]:
    """Those enabled that are possible here; all that are possible where none is."""
    return [one for one in enabled if one in possible] or list(possible)


def _rounded(seconds: float) -> float:
    """So that a schedule is read with ease."""
    return round(seconds, 3)


__all__ = ["MOST_FAULTS", "STEADY", "TROUBLES", "schedule_of"]
