"""Which nodes of a topology run on this machine, where nobody says it."""

from collections.abc import Callable
from typing import Final

from draftwire.nodes.console.doctor.reach import NAME_S, is_here, names_a_host
from draftwire.nodes.console.doctor.threads import in_a_thread
from draftwire.runtime.config import (
    ChannelSettings,
    ControllerSettings,
    ObserverSettings,
    TargetSettings,
    Topology,
    is_local,
)
from draftwire.runtime.connections import connections_of
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, Role

SAY_IT: Final = (
    "say what runs here: --role device, or those of --role channel, target, controller and observer that do"
)


async def roles_of(topology: Topology) -> tuple[Role, ...]:
    """The nodes of this machine, by the keys that it has of its own; without keys by the addresses it has.

    None, where it needs keys and has none. Raises ConfigurationError where the addresses don't tell.
    """
    if topology.secured:
        own = {pair.public.role for pair in Keyring(topology.keys_folder).own()}
        return tuple(role for role in Role if role in own)
    try:
        return await in_a_thread(lambda: roles_by_address(topology, is_here), within_s=NAME_S)
    except TimeoutError:
        raise _not_told(f"a host's name in it is not answered for within {NAME_S:g} s") from None


def roles_by_address(topology: Topology, is_here: Callable[[str], bool | None]) -> tuple[Role, ...]:
    """The nodes that bind an address of this machine, and those that can only be beside one of them.

    `is_here` tells whether an interface of this machine has an address; None: its host is not known. Raises
    ConfigurationError where that leaves it open.
    """
    connections = connections_of(topology)
    servers = {one.holder for one in connections}
    elsewhere = set[Role]()
    here = set[Role]()
    for role in servers:
        found = _runs_here(_section(topology, role), is_here)
        if found is not None:
            (here if found else elsewhere).add(role)
    if not here:
        here.add(Role.DEVICE)  # what is left: it binds nothing
    for one in connections:
        if one.origin in here and one.holder not in elsewhere and is_local(one.address):
            here.add(one.holder)
    return tuple(role for role in Role if role in here)


_Server = TargetSettings | ChannelSettings | ControllerSettings | ObserverSettings


def _section(topology: Topology, role: Role) -> _Server:
    if role is Role.CHANNEL and topology.channel is not None:
        return topology.channel
    if role is Role.OBSERVER and topology.observer is not None:
        return topology.observer
    return topology.controller if role is Role.CONTROLLER else topology.target


def _runs_here(server: _Server, is_here: Callable[[str], bool | None]) -> bool | None:
    """By the address that it binds; None: that is of any machine, the one of whoever connects to it.

    Raises ConfigurationError where it binds all interfaces, whose addresses the file does not say.
    """
    if is_local(server.address):
        return None
    bind = server.bind
    exact = bind is None or (names_a_host(bind) and not is_local(bind))
    address = bind if bind is not None and exact else server.address
    found = is_here(address)
    if found is None:
        raise _not_told(f"no address is known for the host of {address}")
    if not found and not exact:
        raise _not_told(f"a node that binds {bind} may be on any machine that {address} leads to")
    return found


def _not_told(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"which of this topology's nodes run on this machine can't be told without keys: {why}",
        key="--role",
        remedy=SAY_IT,
    )


__all__ = ["SAY_IT", "roles_by_address", "roles_of"]
