"""One examination of this machine, from the file to the last hop; each check is told as soon as it is made.

Connections are tried all at once, since most of the time there is waiting for those that fail. What answers
is measured one hop after the other, so that no hop is measured while another is loaded.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.codecs.probes import Echo
from draftwire.nodes.console.doctor.checks import Check, Status, healthy
from draftwire.nodes.console.doctor.hops import Failure, Found, Hop, Stage, hops_of, judge_hop
from draftwire.nodes.console.doctor.machine import available_bytes, judge_memory, look_at_versions
from draftwire.nodes.console.doctor.pair import ENDS, EndFound, judge_models, look_at_model
from draftwire.nodes.console.doctor.ports import Holder, Port, judge_port, ports_of
from draftwire.nodes.console.doctor.probing import Prober
from draftwire.nodes.console.doctor.reach import (
    NAME_S,
    Bindable,
    Binding,
    connect_time,
    holder_of,
    try_to_bind,
)
from draftwire.nodes.console.doctor.spelling import TablesFound, judge_tables, look_at_tables
from draftwire.nodes.console.doctor.threads import in_a_thread
from draftwire.nodes.console.doctor.trust import look_at_keys
from draftwire.nodes.console.keys import node_keys, transport_with
from draftwire.nodes.models.catalogue import End
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import AddressError, ConfigurationError
from draftwire.runtime.security import NAME_SEPARATOR, Role, Service
from draftwire.runtime.transport import Transport, Trouble, TroubleKind
from draftwire.runtime.transport.base import is_name

MODELS_S: Final = 8.0
"""How long the models may take to be found: a local one is in a second, so beyond this a hub is slow."""

OURS: Final = f"{NAME_SEPARATOR}doctor"
"""Behind a node's name: its doctor's connections, which have links of their own in an emulated channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was found."""

    checks: Sequence[Check]
    hops: Sequence[Found]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return healthy(self.checks)


async def examine(
    topology: Topology,
    roles: Sequence[Role],
    *,
    config: str,
    tell: Callable[[Check], None],
    progress: Callable[[str], None],
) -> Report:
    """Look at this machine as the place of nodes of these roles; takes about 10 s where everything hangs.

    `config` is the option that names the topology's file, for commands to be shown.
    """
    checks, hops = list[Check](), list[Found]()

    def told(made: Sequence[Check]) -> None:
        for check in made:
            checks.append(check)
            tell(check)

    told(describe(topology, roles))
    told(look_at_versions())
    told(look_at_keys(topology, roles))
    progress("looking at models, ports and connections")
    async with AsyncExitStack() as stack:
        lines = _Lines(topology, stack)
        ports = asyncio.create_task(_look_at_ports(ports_of(topology, roles), lines))
        contacts = asyncio.create_task(_contact_all(hops_of(topology, roles), lines))
        stack.callback(ports.cancel)  # where something ends this before they have: they use the lines
        stack.callback(contacts.cancel)
        models, about_models = await _look_at_models(topology, roles)
        told(about_models)
        port_checks, running = await ports
        told([judge_memory(_still_to_load(models, running), available_bytes())])
        told(port_checks)
        tables = await _look_at_tables(topology, models)
        device_end = models.get("draft")
        hello = None if device_end is None else device_end.hello(() if tables is None else tables.hashes)
        for found, prober in await contacts:
            if prober is not None:
                progress(f"measuring {found.hop.name}")
                found = await _measure(found, prober, hello if _takes_hello(found.hop) else None)
            hops.append(found)
            told([check for check in judge_hop(found, config=config) if not _known(check, checks)])
        answer = next((found.answer for found in hops if found.hello is not None), None)
        told(judge_tables(tables, draft=topology.pair.draft.model, hello=hello, answer=answer))
        progress("")
    return Report(checks=checks, hops=hops)


def describe(topology: Topology, roles: Sequence[Role]) -> list[Check]:
    """What the file makes of this machine: a line for each node, with what it opens and connects to."""
    if not roles:
        return [
            _configured(
                "", "the file can be read; it is not known yet which of its nodes run on this machine"
            )
        ]
    lines = list[Check]()
    for role in roles:
        opens = [port.bind for port in ports_of(topology, [role])]
        seen = f"opens {' and '.join(opens)}" if opens else "opens no port"
        reached = [hop.address for hop in hops_of(topology, [role])]
        seen += f", connects to {' and '.join(reached) or 'nothing'}"
        lines.append(_configured(topology.device.name if role is Role.DEVICE else role.value, seen))
    return lines


def _takes_hello(hop: Hop) -> bool:
    """Whether a device greets the BS there."""
    return hop.origin is Role.DEVICE and hop.destination is Role.TARGET


def _known(check: Check, checks: Sequence[Check]) -> bool:
    """Whether it tells again of a clock that another hop has told of."""
    return check.name == "clock" and any(
        (one.name, one.subject) == ("clock", check.subject) for one in checks
    )


def _configured(subject: str, seen: str) -> Check:
    return Check(name="configuration", subject=subject, status=Status.OK, seen=seen)


# ------------------------------------------------------------------------------------------------- models


async def _look_at_models(
    topology: Topology, roles: Sequence[Role]
) -> tuple[dict[End, EndFound], list[Check]]:
    """Those of this machine's nodes, and a line or more of them."""
    settings = {"draft": topology.pair.draft, "target": topology.pair.target}
    ends = [end for role, end in ENDS.items() if role in roles]
    try:
        models = await in_a_thread(
            lambda: {end: look_at_model(settings[end], end) for end in ends}, within_s=MODELS_S
        )
    except TimeoutError:
        seen = f"not found within {MODELS_S:g} s: being fetched, or the hub does not answer"
        remedy = "name a local folder in [pair], or run the doctor again"
        return {}, [Check(name="model", subject="", status=Status.WARN, seen=seen, remedy=remedy)]
    return models, judge_models(models)


async def _look_at_tables(topology: Topology, models: Mapping[End, EndFound]) -> TablesFound | None:
    """Those for the vocabulary of this machine's nodes; None where it has none, or it is not known."""
    known = next((one for one in models.values() if one.fingerprint), None)
    if known is None:
        return None
    return await asyncio.to_thread(
        look_at_tables,
        topology.pair.tables,
        vocab_size=known.vocab_size,
        fingerprint=known.fingerprint,
    )


def _still_to_load(models: Mapping[End, EndFound], running: set[Role]) -> dict[str, int | None]:
    ends = {ENDS[role] for role in running if role in ENDS}
    return {
        f"{end}": one.weights_bytes
        for end, one in models.items()
        if end not in ends and one.fingerprint and one.weights_bytes != 0 and not one.on_accelerator
    }


# ---------------------------------------------------------------------------------------------- connections


class _Lines:
    """Connections from the nodes of this machine, under their names and with their keys."""

    def __init__(self, topology: Topology, stack: AsyncExitStack) -> None:
        self.secured = topology.secured
        self._topology, self._stack = topology, stack
        self._transports: dict[Role, tuple[Transport, str]] = {}

    async def prober(self, role: Role, address: str, service: Service) -> Prober:
        """Raises ConfigurationError where keys are missing, AddressError for what can't be connected to."""
        if role not in self._transports:
            keys = node_keys(self._topology, role)
            name = role.value if keys is None else keys.own.public.name
            if role is Role.DEVICE:
                name = self._topology.device.name
            transport: Transport = transport_with(keys, self._topology)
            self._stack.push_async_callback(transport.close)
            self._transports[role] = transport, name + OURS if is_name(name + OURS) else name
        transport, name = self._transports[role]
        endpoint = await transport.connect(address, service=service, name=name)
        return Prober(endpoint, clock=LoopClock(), wall_s=time.time)


async def _look_at_ports(ports: Sequence[Port], lines: _Lines) -> tuple[list[Check], set[Role]]:
    """A line for each, and the nodes that run here."""
    found = [await _try(port.bind) for port in ports]
    asked = await asyncio.gather(*(_holder(port, one, lines) for port, one in zip(ports, found, strict=True)))
    checks = list[Check]()
    for port, one, (holder, why) in zip(ports, found, asked, strict=True):
        unknown = one.binding is Binding.HELD and holder is not Holder.NODE
        process = holder_of(port.bind) if unknown else ""
        checks.append(judge_port(port, one, holder=holder, process=process, why=why))
    running = {port.role for port, (holder, _) in zip(ports, asked, strict=True) if holder is Holder.NODE}
    return checks, running


async def _try(address: str) -> Bindable:
    try:
        return await in_a_thread(lambda: try_to_bind(address), within_s=NAME_S)
    except TimeoutError:
        return Bindable(
            binding=Binding.IMPOSSIBLE,
            problem=f"its host's name is not answered for within {NAME_S:g} s",
            remedy="write an IP address of this machine",
        )


async def _holder(port: Port, found: Bindable, lines: _Lines) -> tuple[Holder, str]:
    """Who holds that port, where somebody does; of one with whom no connection comes to stand, why."""
    if found.binding is not Binding.HELD or isinstance(await connect_time(port.ask), Failure):
        return Holder.STRANGER, ""
    try:
        prober = await lines.prober(port.role, port.ask, port.ask_service)
    except ConfigurationError:
        return Holder.LOCKED, f"not asked without the {port.role.value}'s keys, see above"
    except AddressError:
        return Holder.STRANGER, ""
    match await prober.contact():
        case Echo() | Refused():
            return Holder.NODE, ""
        case Trouble(kind=kind, text=text) if kind in _LOCKS:
            return Holder.LOCKED, text
        case _:
            return Holder.STRANGER, ""


_LOCKS: Final = (TroubleKind.CLOSED, TroubleKind.DENIED, TroubleKind.MISMATCH)
"""Who is behind these speaks as nodes do, for it greets; a key or a file is wrong."""


async def _contact_all(hops: Sequence[Hop], lines: _Lines) -> list[tuple[Found, Prober | None]]:
    return await asyncio.gather(*(_contact(hop, lines) for hop in hops))


async def _contact(hop: Hop, lines: _Lines) -> tuple[Found, Prober | None]:
    """Whether a hop stands; with the means to measure it, where something does."""
    found = Found(hop=hop, secured=lines.secured)
    reached = await connect_time(hop.address)
    if isinstance(reached, Failure):
        return replace(found, failure=reached), None
    found = replace(found, connected_s=reached)
    try:
        prober = await lines.prober(hop.origin, hop.address, hop.service)
    except ConfigurationError:
        failure = Failure(
            stage=Stage.KEYS, text=f"not tried without the {hop.origin.value}'s keys: see above"
        )
        return replace(found, failure=failure), None
    match await prober.contact():
        case Echo():
            return found, prober
        case Refused() as refused:
            return replace(found, failure=refusal_of(hop, refused)), None
        case Trouble(text=text):
            seen, _, remedy = text.partition("; ")
            failure = Failure(stage=Stage.HANDSHAKE, text=seen, remedy=remedy)
            return replace(found, failure=failure), None
        case None:
            text = f"{hop.address}: connected, but nobody answers as a {hop.destination.value}"
            return replace(found, failure=Failure(stage=Stage.SILENCE, text=text)), prober


def refusal_of(hop: Hop, refused: Refused) -> Failure:
    """What a node's refusal of a first question means for a hop."""
    match refused.reason:
        case Reason.IDENTITY:
            return Failure(stage=Stage.IDENTITY, text=refused.detail)
        case Reason.PROTOCOL_VERSION:
            return Failure(stage=Stage.VERSION, text=refused.detail)
        case reason:
            name = reason.name.lower().replace("_", " ")
            text = f"{hop.address}: refuses us, {name}: {refused.detail}"
            return Failure(stage=Stage.TURNED_AWAY, text=text)


async def _measure(found: Found, prober: Prober, hello: Hello | None) -> Found:
    """What the hop is like, and whether the BS agrees with our Hello."""
    if found.failure is None:
        measured = await prober.measure()
        if measured is None:
            text = f"{found.hop.address}: answered once, and then no more"
            return replace(found, failure=Failure(stage=Stage.SILENCE, text=text))
        found = replace(found, measured=measured)
    if hello is None:
        return found
    answer = await prober.agree(hello, tries=1 if found.failure is not None else 2)
    if found.failure is not None and isinstance(answer, Refused | Welcome):
        # A BS that knows no probes: it is there, and of another version.
        failure = replace(found.failure, stage=Stage.VERSION, text=_of_another_version(found.hop, answer))
        return replace(found, failure=failure, answer=answer, hello=hello)
    return replace(found, answer=answer, hello=hello)


def _of_another_version(hop: Hop, answer: Refused | Welcome) -> str:
    told = isinstance(answer, Refused) and answer.reason is Reason.PROTOCOL_VERSION
    why = "" if told else ", so it is of an older version"
    return f"{hop.address}: the {hop.destination.value} answers a Hello, and no probe{why}"


__all__ = ["Report", "describe", "examine", "refusal_of"]
