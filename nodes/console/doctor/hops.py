"""The hops of a topology, and what is to be said of each by what was found there. Pure.

Each role looks at the hop that begins with it, since only its machine can:

    device -> target             or, where there is a channel, device -> channel -> target, end to end
    channel -> target
    target -> controller
    each of them -> observer    where there is one

What fails is told by the first thing that did: the name, the connection, the keys, the answer.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.figures import Rate
from draftwire.nodes.console.doctor.probing import Measured
from draftwire.runtime.config import Topology
from draftwire.runtime.connections import Connection, connections_of
from draftwire.runtime.security import Role, Service

CLOCKS_AGREE_S: Final = 1.0
"""Two clocks on the wall closer than this make records that line up to the eye."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """From a node of this machine to the one that it connects to, or to the one behind that."""

    origin: Role
    destination: Role
    "that answers"
    address: str
    "connected to"
    through: Role | None = None
    "the channel, where it stands between the two"

    @property
    def near(self) -> Role:
        """Who is bound at the address."""
        return self.destination if self.through is None else self.through

    @property
    def service(self) -> Service:
        """What is bound there."""
        return Service(self.near.value)

    @property
    def name(self) -> str:
        """All of it: `device -> channel -> target`."""
        return " -> ".join(role.value for role in (self.origin, self.through, self.destination) if role)

    @property
    def first_leg(self) -> str:
        """`device -> channel`."""
        return f"{self.origin.value} -> {self.near.value}"

    @property
    def last_leg(self) -> str:
        """`channel -> target`; the same as the first where there is no channel."""
        return f"{(self.through or self.origin).value} -> {self.destination.value}"


def hops_of(topology: Topology, roles: Collection[Role]) -> tuple[Hop, ...]:
    """Those that begin at one of these roles, from the device on."""
    return tuple(_hop(one) for one in connections_of(topology) if one.origin in roles)


def _hop(connection: Connection) -> Hop:
    """What comes back through a channel comes from the target."""
    through = connection.holder if connection.service is Service.CHANNEL else None
    return Hop(
        origin=connection.origin,
        destination=connection.holder if through is None else Role.TARGET,
        address=connection.address,
        through=through,
    )


class Stage(Enum):
    """How far a hop was found to stand when it failed."""

    KEYS = auto()
    "our own are missing, so nothing was tried"
    NAME = auto()
    "the host's name has no address"
    REFUSED = auto()
    "nobody listens"
    UNANSWERED = auto()
    "the host does not answer at all"
    NO_WAY = auto()
    "no way leads there"
    STRANGER = auto()
    "another program listens"
    HANDSHAKE = auto()
    "the connection does not come to stand"
    IDENTITY = auto()
    "it stands, and the other end does not take us for who we say we are"
    TURNED_AWAY = auto()
    "it stands, and the other end refuses us for another reason"
    VERSION = auto()
    "the other end refuses our version"
    SILENCE = auto()
    "it stands, for all that is known, and nobody answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a hop does not stand."""

    stage: Stage
    text: str
    "what was seen, one line"
    remedy: str = ""
    "where whoever saw it knows one; else by the stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found at a hop."""

    hop: Hop
    secured: bool
    "with keys"
    connected_s: float | None = None
    "time of the connection; None: there is none, or it is inside this process"
    failure: Failure | None = None
    measured: Measured | None = None
    answer: Welcome | Refused | None = None
    "to our Hello"
    hello: Hello | None = None
    "that we said; None: none, since another node than the BS answers there, or our vocabulary is not known"


def judge_hop(found: Found, *, config: str) -> list[Check]:
    """A line for each leg, the clocks and the vocabulary. `config` is the option that names the file."""
    checks = list[Check]()
    hop, failure = found.hop, found.failure
    if failure is not None and failure.stage not in _BEHIND_THE_CHANNEL:
        checks.append(_broken(hop.first_leg, hop.near, found, failure, config))
        if hop.through is not None:
            seen = f"nothing gets there while {hop.first_leg} fails"
            checks.append(Check(name="hop", subject=hop.name, status=Status.SKIP, seen=seen))
        return checks
    if hop.through is not None:
        seen = f"{hop.address}: {_standing(found)}"
        checks.append(Check(name="hop", subject=hop.first_leg, status=Status.OK, seen=seen))
    if failure is not None:
        checks.append(
            _broken(hop.last_leg, hop.destination, found, failure, config)
            if hop.through is None
            else _broken_behind(found, failure, config)
        )
    elif found.measured is not None:
        checks += [_measured(found, found.measured), _clock(hop.destination, found.measured)]
    if found.hello is not None and (failure is None or found.answer is not None):
        checks.append(_agreement(found, found.hello, config))
    return checks


_BEHIND_THE_CHANNEL: Final = frozenset({Stage.SILENCE, Stage.IDENTITY, Stage.TURNED_AWAY, Stage.VERSION})
"""What fails at whoever answers, which is never the channel."""


def start_command(role: Role, config: str) -> str:
    """What starts a node, quoted."""
    return f"`draftwire {role.value}{config}`"


def _standing(found: Found) -> str:
    keys = ", with keys" if found.secured else ""
    time = "" if found.connected_s is None else f" in {time_words(found.connected_s)}"
    return f"connected{time}{keys}"


def _measured(found: Found, measured: Measured) -> Check:
    hop, rtt = found.hop, measured.rtt
    parts = [
        f"round trip {time_words(rtt.median_s)} ({time_words(rtt.low_s)} to {time_words(rtt.high_s)}",
        f"{rtt.count} probes)",
        f"up {rate_words(measured.uplink)}",
        f"down {rate_words(measured.downlink)}",
    ]
    if hop.through is None:
        parts.insert(0, f"{hop.address}: {_standing(found)}")
    return Check(name="hop", subject=hop.name, status=Status.OK, seen=", ".join(parts))


def _clock(role: Role, measured: Measured) -> Check:
    ahead_s = measured.clock_ahead_s
    subject = role.value
    if abs(ahead_s) <= CLOCKS_AGREE_S + measured.clock_error_s:
        seen = f"within {time_words(abs(ahead_s) + measured.clock_error_s)} of this machine's"
        return Check(name="clock", subject=subject, status=Status.OK, seen=seen)
    seen = (
        f"differs by {abs(ahead_s):.0f} s, it is {'ahead' if ahead_s > 0 else 'behind'}: harmless, but "
        "records of the two machines won't line up"
    )
    return Check(
        name="clock",
        subject=subject,
        status=Status.WARN,
        seen=seen,
        remedy="let both machines keep network time (timedatectl set-ntp true)",
    )


def _agreement(found: Found, hello: Hello, config: str) -> Check:
    subject = f"{found.hop.origin.value} and {found.hop.destination.value}"
    answer = found.answer
    if isinstance(answer, Welcome):
        seen = (
            f"agree: protocol {hello.protocol_version}, noise {hello.noise_version}, {hello.vocab_size} ids, "
            f"fingerprint {hello.fingerprint.hex()}"
        )
        return Check(name="agreement", subject=subject, status=Status.OK, seen=seen)
    if answer is None:
        return Check(
            name="agreement",
            subject=subject,
            status=Status.FAIL,
            seen="the target answers probes, but not our Hello",
            remedy=f"look at its log, and start it anew: {start_command(Role.TARGET, config)}",
        )
    return Check(
        name="agreement",
        subject=subject,
        status=Status.FAIL,
        seen=answer.detail,
        remedy=_REFUSALS.get(answer.reason, "look at the target's log"),
    )


_REFUSALS: Final = {
    Reason.PROTOCOL_VERSION: "install the same version of draftwire on both machines",
    Reason.NOISE_VERSION: "install the same version of draftwire on both machines",
    Reason.VOCABULARY: "give both machines the same [pair], of two models with one tokenizer",
}


def _broken(leg: str, role: Role, found: Found, failure: Failure, config: str) -> Check:
    """The leg to `role` does not stand."""
    return Check(
        name="hop",
        subject=leg,
        status=Status.SKIP if failure.stage is Stage.KEYS else Status.FAIL,
        seen=failure.text,
        remedy=_remedy(role, found, failure, config),
    )


def _remedy(role: Role, found: Found, failure: Failure, config: str) -> str:
    start = start_command(role, config)
    where = f"[{role.value}] address"
    match failure.stage:
        case Stage.KEYS:
            return ""
        case Stage.NAME:
            return f"write the {role.value}'s IP address in {where}, or make the name known to this machine"
        case Stage.REFUSED:
            return f"start {start} on its machine; if it runs there, compare {where} with its `ready` line"
        case Stage.UNANSWERED:
            return f"open {_port(found.hop)} in the firewall of the {role.value}'s machine, and check {where}"
        case Stage.NO_WAY:
            return f"check {where}, and that both machines are in one network"
        case Stage.STRANGER:
            doctor = f"`draftwire doctor{config} --role {role.value}`"
            return f"check {where}; {doctor} on the {role.value}'s machine says which program it is"
        case Stage.HANDSHAKE:
            told = failure.remedy or f"look at the {role.value}'s log"
            up = "a node of `draftwire up` has throw-away keys, and talks to no other"
            return told if found.secured else f"{told}; {up}"
        case Stage.IDENTITY:
            return "give [device] name the name of this machine's key, see `draftwire keys list`"
        case Stage.TURNED_AWAY:
            return f"look at the {role.value}'s log"
        case Stage.VERSION:
            return "install the same version of draftwire on both machines"
        case Stage.SILENCE:
            return (
                f"is that port the {role.value}'s, and is its draftwire as new as this one (protocol "
                f"{PROTOCOL_VERSION})? If so, look at its log and start it anew: {start}"
            )


def _broken_behind(found: Found, failure: Failure, config: str) -> Check:
    hop = found.hop
    if failure.stage is not Stage.SILENCE:
        return Check(
            name="hop",
            subject=hop.name,
            status=Status.FAIL,
            seen=failure.text,
            remedy=_remedy(hop.destination, found, failure, config),
        )
    return Check(
        name="hop",
        subject=hop.last_leg,
        status=Status.FAIL,
        seen="the channel takes messages, but nothing comes back from the target behind it",
        remedy=(
            f"start {start_command(Role.TARGET, config)}; if it runs, ask on the channel's machine: "
            f"`draftwire doctor{config} --role channel` and, for an outage, `draftwire link show{config}`"
        ),
    )


def _port(hop: Hop) -> str:
    scheme, _, rest = hop.address.partition("://")
    return f"port {rest.rpartition(':')[2]}/tcp" if scheme == "tcp" else hop.address


def time_words(time_s: float) -> str:
    """A time for people: `0.31 ms`, `41 ms`, `2.1 s`."""
    value, unit = (1e3 * time_s, "ms") if time_s < 1 else (time_s, "s")
    return f"{digits(value)} {unit}"


def rate_words(found: Rate | None) -> str:
    """A rate for people: `1.0 Mbit/s`, `at least 800 Mbit/s`."""
    if found is None:
        return "unknown (long probes got lost)"
    value, unit = next(
        (found.bps / size, unit)
        for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s"))
        if found.bps >= size or size == 1.0
    )
    return f"{'at least ' if found.at_least else ''}{digits(value)} {unit}"


def digits(value: float) -> str:
    """Three that count: `0.314`, `41.2`, `1240`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


__all__ = [
    "Failure",
    "Found",
    "Hop",
    "Stage",
    "hops_of",
    "judge_hop",
    "rate_words",
    "start_command",
    "time_words",
]
