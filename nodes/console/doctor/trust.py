"""The keys of this machine: its own for each node it runs, and those of the nodes that talk to these."""

from collections.abc import Sequence
from pathlib import Path

from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.keys import node_keys
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import HELD_BY, Keyring, NodeKeys, Role, Service


def roles_of(topology: Topology) -> tuple[Role, ...]:
    """The nodes that this machine runs, by the keys that it has of its own; all where keys play no part."""
    if not topology.secured:
        return tuple(role for role in Role if role is not Role.CHANNEL or topology.channel is not None)
    try:
        own = {pair.public.role for pair in Keyring(topology.keys_folder).own()}
    except ConfigurationError:
        return ()  # a file can't be used: look_at_keys says which
    return tuple(role for role in Role if role in own)


def look_at_keys(topology: Topology, roles: Sequence[Role]) -> list[Check]:
    """A line for each file that can't be used, and one for each node that this machine runs."""
    if not topology.secured:
        return [_unsecured(topology)]
    folder = topology.keys_folder
    keyring = Keyring(folder)
    broken = [
        _check(Status.FAIL, Path(problem.source).name, problem.problem, problem.remedy)
        for problem in keyring.problems()
    ]
    if broken:
        return broken
    if not roles:
        there = (
            f"{folder} has no key of this machine's own"
            if folder.is_dir()
            else f"there is no folder {folder}"
        )
        seen = f"other machines can reach this topology, so its nodes need keys, and {there}"
        remedy = (
            f"on the device: draftwire keys new {topology.device.name} --folder {folder}; elsewhere the "
            "node's role in place of the name; or say what runs here: --role device"
        )
        return [_check(Status.FAIL, "", seen, remedy)]
    return [_of_a_node(topology, role) for role in roles]


def peers_of(topology: Topology, role: Role) -> Role | None:
    """Whose keys a node of that role must allow; None: nobody connects to it."""
    match role:
        case Role.TARGET:
            return Role.DEVICE if topology.channel is None else Role.CHANNEL
        case Role.CHANNEL:
            return Role.DEVICE
        case Role.CONTROLLER:
            return Role.TARGET
        case Role.DEVICE:
            return None


def server_of(topology: Topology, role: Role) -> Service | None:
    """What a node of that role connects to; None: nothing."""
    match role:
        case Role.DEVICE:
            return Service.TARGET if topology.channel is None else Service.CHANNEL
        case Role.CHANNEL:
            return Service.TARGET
        case Role.TARGET:
            return Service.CONTROLLER
        case Role.CONTROLLER:
            return None


def _of_a_node(topology: Topology, role: Role) -> Check:
    try:
        keys = node_keys(topology, role)
        assert keys is not None, "asked for a topology with keys only"
        words = [f"has the key {keys.own.public.name}", *_server_words(topology, role, keys)]
    except ConfigurationError as error:
        return _check(Status.FAIL, role.value, error.problem, error.remedy)
    peer = peers_of(topology, role)
    if peer is not None:
        known = (*keys.keyring.allowed(), *(pair.public for pair in keys.keyring.own()))
        names = sorted({key.name for key in known if key.role is peer})
        if not names:
            return _check(
                Status.FAIL,
                role.value,
                f"no {peer.value}'s key is allowed here, so none can connect to this {role.value}",
                f"copy the {peer.value}'s public key here, and: draftwire keys allow FILE "
                f"--folder {topology.keys_folder}",
            )
        words.append(f"lets {peer.value} {', '.join(names)} in")
    return _check(Status.OK, role.value, ", ".join(words))


def _server_words(topology: Topology, role: Role, keys: NodeKeys) -> list[str]:
    """Raises ConfigurationError where the server's key is not known."""
    service = server_of(topology, role)
    if service is None:
        return []
    holder = HELD_BY[service]
    server = keys.keyring.server_key(holder, keys.server_names.get(holder))
    return [f"knows the {holder.value} by the key {server.name}"]


def _unsecured(topology: Topology) -> Check:
    if topology.security.plain:
        return _check(
            Status.WARN,
            "",
            "switched off by [security] plain = true: whoever reaches a port may use it, and can read along",
            "remove that line, and `draftwire keys new` on each machine, unless the network is one you trust",
        )
    return _check(Status.OK, "", "none needed: every address is on this host alone")


def _check(status: Status, subject: str, seen: str, remedy: str = "") -> Check:
    return Check(name="keys", subject=subject, status=status, seen=seen, remedy=remedy)


__all__ = ["look_at_keys", "peers_of", "roles_of", "server_of"]
