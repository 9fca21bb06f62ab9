"""The addresses that this machine's nodes bind: free, held by the right node, or by somebody else."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.reach import Bindable, Binding, names_a_host, place_of
from draftwire.runtime.config import Topology
from draftwire.runtime.security import Role, Service
from draftwire.runtime.transport.addresses import ANY_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One address to bind."""

    role: Role
    service: Service
    place: str
    "where the file says it: `[target] address`"
    bind: str
    "the address bound"
    ask: str
    "where the node itself can be asked from here: a channel passes on what comes to its `address`"
    ask_service: Service


def ports_of(topology: Topology, roles: Collection[Role]) -> tuple[Port, ...]:
    """Those that nodes of these roles bind."""
    target, channel, controller = topology.target, topology.channel, topology.controller
    observer = topology.observer
    ports = [_port(Role.TARGET, Service.TARGET, target.address, target.bind)]
    if channel is not None:
        control = Port(
            role=Role.CHANNEL,
            service=Service.LINKS,
            place="[channel] control",
            bind=channel.control,
            ask=_askable(channel.control, channel.control),
            ask_service=Service.LINKS,
        )
        ports += [_port(Role.CHANNEL, Service.CHANNEL, channel.address, channel.bind, control), control]
    ports.append(_port(Role.CONTROLLER, Service.CONTROLLER, controller.address, controller.bind))
    if observer is not None:
        ports.append(_port(Role.OBSERVER, Service.OBSERVER, observer.address, observer.bind))
    return tuple(port for port in ports if port.role in roles)


def _port(role: Role, service: Service, address: str, bind: str | None, asked: Port | None = None) -> Port:
    return Port(
        role=role,
        service=service,
        place=f"[{role.value}] {'address' if bind is None else 'bind'}",
        bind=bind or address,
        ask=_askable(bind or address, address) if asked is None else asked.ask,
        ask_service=service if asked is None else asked.ask_service,
    )


def _askable(bind: str, address: str) -> str:
    """What is bound, as an address to connect to on this machine."""
    place = place_of(bind)
    if place.path:
        return bind
    if place.host in ANY_HOST:
        return f"tcp://127.0.0.1:{place.port}"
    return bind if names_a_host(bind) else address


class Holder(Enum):
    """Who holds an address."""

    NODE = auto()
    "the node it belongs to, which answers"
    LOCKED = auto()
    "somebody who speaks as nodes do, and with whom no connection comes to stand"
    STRANGER = auto()
    "anybody else"


def judge_port(
    port: Port, found: Bindable, *, holder: Holder = Holder.STRANGER, process: str = "", why: str = ""
) -> Check:
    """One line. `holder` and `process`, where that can be told: who holds it, if somebody does.

    `why`: what keeps a LOCKED one's connection from standing, and behind `; ` what to do about it.
    """

    def check(status: Status, seen: str, remedy: str = "") -> Check:
        subject = f"{port.place} {port.bind}"
        return Check(name="port", subject=subject, status=status, seen=seen, remedy=remedy)

    if found.binding is Binding.FREE:
        return check(Status.OK, f"free: the {port.role.value} does not run here yet")
    if found.binding is Binding.IMPOSSIBLE:
        return check(Status.FAIL, found.problem, found.remedy)
    if holder is Holder.NODE:
        return check(Status.OK, f"the {port.role.value} runs here, and answers")
    number = place_of(port.bind).port
    who = f": process {process}" if process else ""
    tell = "" if process or not number else f"`sudo ss -ltnp 'sport = :{number}'` tells who; "
    if holder is Holder.LOCKED:
        seen, _, remedy = why.removeprefix(f"{port.ask}: ").partition("; ")
        up = "or it is a node of `draftwire up`, with throw-away keys: end it to start this file's"
        return check(
            Status.FAIL,
            f"held by somebody with whom no connection comes to stand{who}: {seen}",
            f"{remedy}; {tell}{up}" if remedy else f"{tell}{up}",
        )
    return check(
        Status.FAIL,
        f"held by another program{who}",
        f"{tell}end it, or write another {'port' if number else 'path'} in {port.place}, on all machines",
    )


__all__ = ["Holder", "Port", "judge_port", "ports_of"]
