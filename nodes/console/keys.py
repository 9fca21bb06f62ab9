"""`draftwire keys new|allow|list`, and the keys that a node of a topology has on this machine."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from draftwire.runtime.config import DEFAULT_KEYS_FOLDER, SecuritySettings, Topology, is_local
from draftwire.runtime.connections import connections_of
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import (
    ADMITS,
    Keyring,
    NodeKeys,
    PublicKey,
    Role,
    Service,
    allow_command,
    key_of,
)
from draftwire.runtime.security.keyfile import PUBLIC_SUFFIX, SECRET_SUFFIX
from draftwire.runtime.security.keyring import ALLOWED
from draftwire.runtime.transport import ZmqTransport

RECIPE = """\
three machines, in the folder of the topology file on each (the roles are told by the names):

  on the device          draftwire keys new phone-1
  on the channel's       draftwire keys new channel
  on the base station    draftwire keys new target
                         draftwire keys new controller       same machine: nothing to copy between the two

Copy the public halves, NAME.key, to whoever talks to their owner; never a NAME.secret. With scp, in the same
folders, `dw` being that folder there:

  from the device        scp keys/phone-1.key channel-host:dw/
  from the channel's     scp keys/channel.key device-host:dw/
                         scp keys/channel.key bs-host:dw/
  from the base station  scp keys/target.key channel-host:dw/

And allow them where they have arrived; nodes that run know it at once:

  on the device          draftwire keys allow channel.key
  on the channel's       draftwire keys allow phone-1.key target.key
  on the base station    draftwire keys allow channel.key

Without a channel the device and the base station exchange phone-1.key and target.key. Where there is an
observer ([observer] of the file), its machine makes a key observer, and exchanges public halves with every
other one. To revoke a key, delete
keys/allowed/NAME.key; what stands goes on until it breaks, at the latest when the node is restarted.
"""

_TAKEN_BY: Final = MappingProxyType(
    {
        Role.DEVICE: "to the base station (with a channel: to the channel's machine)",
        Role.CHANNEL: "to the base station and to each device",
        Role.TARGET: "to each device (with a channel: to its machine instead), and to the controller's "
        "machine if that is another one",
        Role.CONTROLLER: "to the base station, if that is another machine",
        Role.OBSERVER: "to the machines of all other nodes",
    }
)
"""Where the public half of a role's key has to be allowed."""

_Action = Callable[[argparse.Namespace], int]
"""Returns the exit code."""


# ------------------------------------------------------------------------------------------ the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire keys`."""
    parser.epilog = RECIPE
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, help="new, allow or list"
    )

    def action(name: str, act: _Action, summary: str) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name,
            help=summary,
            description=act.__doc__,
            epilog=RECIPE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument(
            "--folder",
            metavar="DIR",
            type=Path,
            default=Path(DEFAULT_KEYS_FOLDER),
            help="of this machine's keys, as [security] folder names it; default: keys, here",
        )
        made.set_defaults(act=act)
        return made

    new = action("new", _new, "make a key for a node of this machine")
    new.add_argument("name", metavar="NAME", help="of a device: [device] name; of another node: its role")
    new.add_argument(
        "--role",
        choices=[role.value for role in Role],
        help="left out: NAME where that is a role, else device",
    )
    allow = action("allow", _allow, "let the owner of a public key talk to this machine's nodes")
    allow.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a NAME.key of another machine")
    allow.add_argument(
        "--role",
        choices=[role.value for role in Role],
        help="what you take the keys' owners for; left out: devices, and whoever is called by its role",
    )
    action("list", _list, "the keys that are here")


def run(args: argparse.Namespace) -> int:
    """Keys, which nodes need as soon as other machines can reach them: make, allow and show them."""
    act: _Action = args.act
    return act(args)


def _new(args: argparse.Namespace) -> int:
    """Make a key: NAME.secret stays on this machine, NAME.key is copied to others, which allow it."""
    names_a_role = args.name in set(Role)
    role = Role(args.role or (args.name if names_a_role else Role.DEVICE))
    public = Keyring(args.folder).new(args.name, role=role).public
    secret, file = (args.folder / (public.name + suffix) for suffix in (SECRET_SUFFIX, PUBLIC_SUFFIX))
    print(f"{secret}: the key of {_who(public)}; it stays on this machine")
    print(f"{file}: its public half; copy it {_TAKEN_BY[role]}")
    print(f"and allow it there: {allow_command(public.name, role)}", flush=True)
    return 0


def _allow(args: argparse.Namespace) -> int:
    """Allow what public keys prove: their owners may talk to this machine's nodes, as their roles permit."""
    keyring = Keyring(args.folder)
    for file in args.files:
        public = keyring.allow(file, role=Role(args.role) if args.role else None)
        kept = args.folder / ALLOWED / (public.name + PUBLIC_SUFFIX)
        print(f"{kept}: {_who(public)} is allowed here", flush=True)
    return 0


def _list(args: argparse.Namespace) -> int:
    """The keys that are here: this machine's own, and those that it allows, with their public halves."""
    keyring = Keyring(args.folder)
    own = [pair.public for pair in keyring.own()]
    rows = [(key, "own") for key in own] + [(key, "allowed") for key in keyring.allowed()]
    problems = keyring.problems()
    if not rows and not problems:
        print(f"{args.folder}: no keys; make one with `draftwire keys new NAME{folder_option(args.folder)}`")
    width = max((len(key.name) for key, _ in rows), default=0)
    for key, whose in rows:
        print(f"{key.name:{width}}  {key.role:10}  {whose:7}  {key.public}", flush=True)
    for problem in problems:
        print(f"draftwire: {problem}", file=sys.stderr)
    return ConfigurationError.exit_code if problems else 0


def _who(key: PublicKey) -> str:
    """`device phone-1`, or one word where name and role are the same."""
    return key.name if key.name == key.role else f"{key.role} {key.name}"


# ----------------------------------------------------------------------------------------- of a topology


def node_keys(topology: Topology, role: Role, name: str | None = None) -> NodeKeys | None:
    """The keys of a node of this machine, by what the topology says; None where its nodes use none.

    `name`: what the node calls itself; None: of a device [device] name, of another what the section's `key`
    says, or the only key of that role. Raises ConfigurationError where keys are missing, with the commands
    that are to be run, and for a device under a name that no key here proves. Nobody needs the observer's:
    without it a node tells it nothing.
    """
    if not topology.secured:
        return None
    return _keys(topology, role, name, meets=_servers(topology, role))


def link_keys(topology: Topology) -> NodeKeys | None:
    """The keys with which this machine may order the channel: its channel's, controller's or observer's.

    None where the topology uses none, or the control address is this host's alone. Raises
    ConfigurationError where none of them is here.
    """
    if not topology.secured or topology.channel is None or Service.LINKS in topology.plain_services:
        return None
    keyring = Keyring(topology.keys_folder)
    own = {pair.public.role for pair in keyring.own()}
    if not own & ADMITS[Service.LINKS]:
        raise keyring.problem_of(Role.CHANNEL) or ConfigurationError(
            f"orders to that channel need its key, or the controller's or observer's, and {keyring.folder} "
            "has none",
            key="channel.control",
            remedy="run it on the channel's, the controller's or the observer's machine",
        )
    role = next(one for one in (Role.CHANNEL, Role.CONTROLLER, Role.OBSERVER) if one in own)
    return _keys(topology, role, None, meets={Role.CHANNEL: topology.channel.control})


def _keys(topology: Topology, role: Role, name: str | None, *, meets: Mapping[Role, str]) -> NodeKeys:
    """As node_keys; `meets`: the roles of those that it connects to, and where."""
    keyring = Keyring(topology.keys_folder)
    named = _named_keys(topology)
    if name is None:
        name = topology.device.name if role is Role.DEVICE else named.get(role)
    key_name = None if name is None else key_of(name)
    _need_all(topology, role, key_name, keyring, meets)
    for server in meets:
        keyring.server_key(server, named.get(server))  # one that can be told from others, before any socket
    return NodeKeys(keyring=keyring, own=keyring.own_key(role, key_name), server_names=named)


def node_transport(topology: Topology, role: Role, name: str | None = None) -> ZmqTransport:
    """Sockets for a node of this machine, with its keys where the topology uses them; see node_keys."""
    return transport_with(node_keys(topology, role, name), topology)


def transport_with(keys: NodeKeys | None, topology: Topology) -> ZmqTransport:
    """Sockets with these keys, but for what stays plain."""
    return ZmqTransport(keys=keys, plain=topology.plain_services)


def _named_keys(topology: Topology) -> dict[Role, str]:
    """The names of the servers' keys that the file says."""
    names = {
        Role.TARGET: topology.target.key,
        Role.CHANNEL: None if topology.channel is None else topology.channel.key,
        Role.CONTROLLER: topology.controller.key,
        Role.OBSERVER: None if topology.observer is None else topology.observer.key,
    }
    return {role: name for role, name in names.items() if name is not None}


def _servers(topology: Topology, role: Role) -> dict[Role, str]:
    """Who a node connects to and can't do without, and where."""
    found = [one for one in connections_of(topology) if one.origin is role]
    return {one.holder: one.address for one in found if one.holder is not Role.OBSERVER}


def _need_all(
    topology: Topology, role: Role, name: str | None, keyring: Keyring, meets: Mapping[Role, str]
) -> None:
    """Raise ConfigurationError unless a key of the node's own is here, and one of each role that it meets."""
    own = [pair.public for pair in keyring.own()]
    mine = [key for key in own if key.role is role]
    if role is Role.DEVICE and mine and name not in [key.name for key in mine]:
        others = ", ".join(key.name for key in mine)
        raise ConfigurationError(
            f"{name!r} has no key on this machine, and that of {others} can't speak for it",
            key="device.name",
            remedy=f"write name = {mine[0].name!r} or give --name {mine[0].name}; or make a key: "
            + _new_command(name or role, topology),
        )
    trusted = {key.role for key in keyring.trusted()}
    commands = [] if mine else [_new_command(name or role, topology, role=role)]
    absent = {one: at for one, at in meets.items() if one not in trusted and (mine or one is not role)}
    wanted = [] if mine else [name or role]
    for server, address in absent.items():
        called = _named_keys(topology).get(server, server)
        wanted.append(called)
        if is_local(address):
            commands.append(_new_command(called, topology, role=server))
        else:
            commands.append(allow_command(called, server, folder=_unusual(topology.keys_folder)))
    for problem in map(keyring.problem_of, wanted):
        if problem is not None:
            raise problem  # it is here, and can't be used
    if commands:
        raise ConfigurationError(
            f"{_why(topology)}, so its nodes need keys, and {topology.keys_folder} lacks "
            + " and ".join(_lacking(role, bool(mine), absent)),
            key="security",
            remedy="on this machine: " + "; ".join(commands),
        )


def _why(topology: Topology) -> str:
    unwritten = replace(topology, security=SecuritySettings())
    if unwritten.secured:
        return "other machines can reach an address of this topology"
    return "[security] names a folder"


def _lacking(role: Role, has_own: bool, absent: Mapping[Role, str]) -> Iterator[str]:
    if not has_own:
        yield f"a key for this {role}"
    for server, address in absent.items():
        if is_local(address):
            yield f"one for the {server}, which is on this machine too"
        else:
            yield f"the {server}'s public one, made on its machine and copied from there"


def _new_command(name: str, topology: Topology, *, role: Role | None = None) -> str:
    """One to type, here."""
    said = "" if role in (None, Role.DEVICE) or name == role else f" --role {role}"
    return f"draftwire keys new {shlex.quote(name)}{said}{folder_option(topology.keys_folder)}"


def folder_option(folder: Path) -> str:
    """Of the commands: nothing where the folder is the one that they take by themselves."""
    return "" if _unusual(folder) is None else f" --folder {shlex.quote(str(folder))}"


def _unusual(folder: Path) -> Path | None:
    """The folder, unless it is the one that the commands take by themselves."""
    return None if folder.absolute() == Path(DEFAULT_KEYS_FOLDER).absolute() else folder


__all__ = [
    "add_arguments",
    "folder_option",
    "link_keys",
    "node_keys",
    "node_transport",
    "run",
    "transport_with",
]
