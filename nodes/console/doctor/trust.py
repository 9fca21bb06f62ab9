"""The keys of this machine: its own for each node it runs, and those of the nodes that talk to these."""

from collections.abc import Sequence
from pathlib import Path

from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.whereabouts import SAY_IT
from draftwire.nodes.console.keys import folder_option, node_keys
from draftwire.runtime.config import Topology
from draftwire.runtime.connections import connections_of
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, NodeKeys, Role


def look_at_keys(topology: Topology, roles: Sequence[Role]) -> list[Check]:
    """A line for each file that can't be used, and one for each node that this machine runs."""
    if not topology.secured:
        return [_unsecured(topology)]
    keyring = Keyring(topology.keys_folder)
    broken = [
        _check(Status.FAIL, Path(problem.source).name, problem.problem, problem.remedy)
        for problem in keyring.problems()
    ]
    if not broken and not roles:
        return [_no_own_key(topology)]
    told = {check.remedy for check in broken}
    nodes = [_of_a_node(topology, role) for role in roles]
    return [*broken, *(check for check in nodes if check.status is Status.OK or check.remedy not in told)]


def _no_own_key(topology: Topology) -> Check:
    folder = topology.keys_folder
    there = (
        f"{folder} has no key of this machine's own" if folder.is_dir() else f"there is no folder {folder}"
    )
    return _check(
        Status.FAIL,
        "",
        f"other machines can reach this topology, so its nodes need keys, and {there}",
        f"on the device: draftwire keys new {topology.device.name}{folder_option(folder)}; elsewhere the "
        f"node's role in place of the name; or {SAY_IT}",
    )


def _of_a_node(topology: Topology, role: Role) -> Check:
    try:
        keys = node_keys(topology, role)
        assert keys is not None, "asked for a topology with keys only"
        words = [f"has the key {keys.own.public.name}", *_server_words(topology, role, keys)]
    except ConfigurationError as error:
        return _check(Status.FAIL, role.value, error.problem, error.remedy)
    for peer in [one.origin for one in connections_of(topology) if one.holder is role]:
        names = sorted({key.name for key in keys.keyring.trusted() if key.role is peer})
        if not names:
            file = "FILE" if peer is Role.DEVICE else f"{peer}.key"
            return _check(
                Status.FAIL,
                role.value,
                f"no {peer.value}'s key is allowed here, so none can connect to this {role.value}",
                f"copy the {peer.value}'s public key here, and: draftwire keys allow {file}"
                f"{folder_option(topology.keys_folder)}",
            )
        words.append(f"lets {peer.value} {', '.join(names)} in")
    return _check(Status.OK, role.value, ", ".join(words))


def _server_words(topology: Topology, role: Role, keys: NodeKeys) -> list[str]:
    """Raises ConfigurationError where the server's key is not known."""
    servers = [one.holder for one in connections_of(topology) if one.origin is role]
    known = [(server, keys.keyring.server_key(server, keys.server_names.get(server))) for server in servers]
    return [f"knows the {server.value} by the key {key.name}" for server, key in known]


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


__all__ = ["look_at_keys"]
