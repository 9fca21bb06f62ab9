"""Devices in one cell, at one base station, in virtual time: what they reach, planned for in several ways."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Final

from draftwire.codecs.control import StepReport
from draftwire.nodes.console.bench.controller import trace_of
from draftwire.nodes.console.fairness import jain_fairness
from draftwire.nodes.console.simulate.outcomes import DeviceOutcome, Simulation
from draftwire.nodes.console.simulate.pairs import Pair, recorded_pair
from draftwire.nodes.console.simulate.run import simulate
from draftwire.nodes.models.pacing import StepTimes
from draftwire.runtime.channel_settings import CellSettings
from draftwire.runtime.config import ChannelSettings, ControllerSettings, Topology
from draftwire.runtime.link import parse_link

CELL: Final = "rate 20mbit delay 5ms 1ms"
"""Each way."""

ANSWER: Final = 200
"""Tokens of a request."""

WARM_S: Final = 4.0
"""From the start, left out: devices come one by one, and estimates are priors."""

TOGETHER, ALONE, SELFISH, COLOCATED = "together", "target_only", "selfish", "colocated"
FIXED, TIMED = "fixed", "timed"
FIXED_K: Final = 75

POLICIES: Final = {
    TOGETHER: ControllerSettings(),
    ALONE: ControllerSettings(gamma=0),
    SELFISH: ControllerSettings(policy="draftwire.nodes.console.bench.cell_selfish:SelfishPolicy"),
    FIXED: ControllerSettings(k=FIXED_K),
    TIMED: ControllerSettings(policy="draftwire.nodes.console.bench.cell_plans:TimedPolicy"),
}
"""The controller as shipped, which plans for all sessions of its BS; no drafts at all; one that plans for
each device as if it had the BS for itself; K and gamma fixed for all; and the first with its plans timed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One simulation."""

    pair: str
    "of bench/controller.py's pairs"
    devices: int
    way: str
    "of POLICIES; or `colocated`"
    times: StepTimes
    seconds: float
    "virtual, the first WARM_S included"
    seed: int
    gamma: int | None = None
    "fixed; None: as the way has it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came of it, behind WARM_S."""

    speeds: tuple[float, ...]
    "tokens a second of each device"
    gaps_s: tuple[float, ...]
    "from one showing of tokens to the next at the same device, within a request"
    sessions_a_pass: float
    rows_a_pass: float
    passes_a_s: float
    gammas: Counter[int]
    "gamma -> steps"
    ks: Counter[int]
    "K -> steps with a block"
    alpha: float | None

    @property
    def total(self) -> float:
        """Tokens a second of all devices."""
        return sum(self.speeds)

    @property
    def jain(self) -> float:
        """Jain's fairness of their tokens a second: 1 if all have the same, 1/n if one has everything."""
        fairness = jain_fairness(self.speeds)
        return 1.0 if fairness is None else fairness


def play(case: Case) -> Came:
    """Run it. Pure in the case."""
    watched = Watched()
    came = simulate(
        topology_of(case),
        devices=case.devices,
        per_bs=case.devices,
        seconds=case.seconds,
        seed=case.seed,
        pair=pair_named(case.pair),
        times=case.times,
        keep_texts=True,
        on_step=watched.take,
        colocated=case.way == COLOCATED,
    )
    return _came(came, watched, case.seconds)


class Watched:
    """Sums over the steps that the BS reports, behind WARM_S. A pass over n sessions is reported n times."""

    def __init__(self) -> None:
        self.steps, self.passes, self.rows = 0, 0.0, 0.0
        self.seen = self.accepted = 0
        self.gammas, self.ks = Counter[int](), Counter[int]()

    def take(self, report: StepReport) -> None:
        """A step."""
        if report.ended_at_s < WARM_S:
            return
        self.steps += 1
        self.passes += 1 / report.pass_sessions
        self.rows += report.pass_rows / report.pass_sessions
        self.seen, self.accepted = self.seen + report.seen, self.accepted + report.accepted
        self.gammas[report.drafted] += 1
        if report.drafted:
            self.ks[report.plan.k] += 1


def _came(came: Simulation, watched: Watched, seconds: float) -> Came:
    measured_s, passes = seconds - WARM_S, max(watched.passes, 1.0)
    return Came(
        speeds=tuple(_taken(one) / measured_s for one in came.devices),
        gaps_s=tuple(gap for one in came.devices for gap in _gaps(one)),
        sessions_a_pass=watched.steps / passes,
        rows_a_pass=watched.rows / passes,
        passes_a_s=watched.passes / measured_s,
        gammas=watched.gammas,
        ks=watched.ks,
        alpha=watched.accepted / watched.seen if watched.seen else None,
    )


def _taken(device: DeviceOutcome) -> int:
    return sum(at_s >= WARM_S for request in device.requests for at_s in request.taken_s)


def _gaps(device: DeviceOutcome) -> list[float]:
    """Tokens of one Commit are shown together."""
    gaps = list[float]()
    for request in device.requests:
        shown_s = sorted({at_s for at_s in request.taken_s if at_s >= WARM_S})
        gaps += [later - before for before, later in pairwise(shown_s)]
    return gaps


def topology_of(case: Case) -> Topology:
    """The default one, with the cell in front of the BS."""
    topology = Topology.default()
    settings = POLICIES[TOGETHER if case.way == COLOCATED else case.way]
    if case.gamma is not None:
        settings = replace(settings, gamma=case.gamma)
    trace = trace_of(case.pair)
    link = parse_link(CELL)
    channel = topology.channel or ChannelSettings()
    channel = replace(channel, uplink=link, downlink=link, cell=CellSettings(), max_devices=1024)
    return replace(
        topology,
        controller=settings,
        channel=None if case.way == COLOCATED else channel,
        sampling=replace(topology.sampling, max_new_tokens=ANSWER, temperature=trace.temperature),
        target=replace(topology.target, max_sessions=4 * case.devices),
    )


@lru_cache(maxsize=2)
def pair_named(name: str) -> Pair:
    """A pair that accepts as that trace."""
    return recorded_pair(trace_of(name))
