"""What the operating system says of an address: whether a connection leads there, whether it can be bound."""

import asyncio
import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from draftwire.nodes.console.doctor.hops import Failure, Stage
from draftwire.nodes.console.doctor.threads import in_a_thread
from draftwire.runtime.transport.addresses import ANY_HOST, host_of

NAME_S: Final = 3.0
"""How long a host's name may take to be looked up."""

CONNECT_S: Final = 3.0
"""How long a host has to take a connection: the first packet may be lost and sent again after 1 s."""

GREETING_S: Final = 2.0
"""How long whoever takes a connection has to say its first byte."""

GREETING: Final = b"\xff"
"""What ZeroMQ says first to anybody who connects, whatever its keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address in parts; `path` for ipc, `host` and `port` for tcp."""

    host: str = ""
    port: int = 0
    path: str = ""


def place_of(address: str) -> Place:
    """Of an address that check_address took; port 0 for `*`."""
    if address.startswith("ipc://"):
        return Place(path=address.removeprefix("ipc://"))
    port = address.rpartition(":")[2]
    return Place(host=host_of(address), port=0 if port == "*" else int(port))


def names_a_host(address: str) -> bool:
    """Whether it leads to one host, whoever reads it: to no interface by its name, and not to all of them."""
    host = place_of(address).host
    return host not in ANY_HOST and ("." in host or ":" in host or host == "localhost")


def is_here(address: str) -> bool | None:
    """Whether an interface of this machine has a tcp address; None: its host is not known. Blocks."""
    host = place_of(address).host
    try:
        found = socket.getaddrinfo(host, 0, family=_family(host), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    with socket.socket(_family(host), socket.SOCK_STREAM) as one:
        try:
            one.bind(found[0][4])
        except OSError as error:
            return False if error.errno == errno.EADDRNOTAVAIL else None
    return True


def _family(host: str) -> socket.AddressFamily:
    """As our sockets look a host up: IPv6 is what is written as such."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def connect_time(address: str) -> float | Failure:
    """How long a bare connection takes to stand, in seconds, or why it does not; then it is closed.

    What listens there has to greet as ZeroMQ does: so another program is told from a silent node.
    """
    loop, place = asyncio.get_running_loop(), place_of(address)
    family: socket.AddressFamily
    where: str | tuple[str, int]
    if place.path:
        family, where = socket.AF_UNIX, _unix_path(place.path)
    else:
        found = await _look_up(place.host, place.port)
        if isinstance(found, Failure):
            return found
        family, where = found
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        began_s = loop.time()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(one, where)
        except TimeoutError:
            return Failure(
                stage=Stage.UNANSWERED, text=f"{address}: no answer to a connection in {CONNECT_S:g} s"
            )
        except OSError as error:
            return _failure(address, error)
        took_s = loop.time() - began_s
        return took_s if await _greets(one) else Failure(stage=Stage.STRANGER, text=f"{address}: {_NO_NODE}")


_NO_NODE: Final = "another program listens there, not a node of draftwire"


async def _greets(connected: socket.socket) -> bool:
    try:
        async with asyncio.timeout(GREETING_S):
            return await asyncio.get_running_loop().sock_recv(connected, 1) == GREETING
    except (TimeoutError, OSError):
        return False


async def _look_up(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]] | Failure:
    """The address of a host that sockets of ours connect to."""
    family = _family(host)
    try:
        found = await in_a_thread(
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM), within_s=NAME_S
        )
    except TimeoutError:
        text = f"the name {host!r} is not answered for within {NAME_S:g} s"
        return Failure(stage=Stage.NAME, text=text)
    except (OSError, UnicodeError):
        return Failure(stage=Stage.NAME, text=f"no address is known for the name {host!r}")
    ip, number = found[0][4][:2]
    return family, (str(ip), int(number))


def _failure(address: str, error: OSError) -> Failure:
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET):
        return Failure(stage=Stage.REFUSED, text=f"{address}: nobody listens there")
    if error.errno in (errno.ETIMEDOUT, errno.EHOSTDOWN):
        return Failure(stage=Stage.UNANSWERED, text=f"{address}: the host does not answer")
    return Failure(stage=Stage.NO_WAY, text=f"{address}: {os.strerror(error.errno or 0).lower()}")


# --------------------------------------------------------------------------------------------- binding


class Binding(Enum):
    """Whether an address can be bound on this machine."""

    FREE = auto()
    HELD = auto()
    "somebody listens there"
    IMPOSSIBLE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindable:
    """What a trial found."""

    binding: Binding
    problem: str = ""
    remedy: str = ""


def try_to_bind(address: str) -> Bindable:
    """Whether a node could bind there now. Nobody can connect meanwhile: the trial does not listen."""
    place = place_of(address)
    if place.path:
        return _try_path(place.path)
    every = place.host in ("*", *(name for _, name in socket.if_nameindex()))
    host = "0.0.0.0" if every else place.host
    try:
        found = socket.getaddrinfo(host, place.port, family=_family(host), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Bindable(
            binding=Binding.IMPOSSIBLE,
            problem=f"no address is known for the name {place.host!r}",
            remedy="write an IP address of this machine in `bind`",
        )
    with socket.socket(_family(host), socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ's own do
        try:
            one.bind(found[0][4])
        except OSError as error:
            return _unbindable(error, place.port)
    return Bindable(binding=Binding.FREE)


def _unbindable(error: OSError, port: int) -> Bindable:
    if error.errno == errno.EADDRINUSE:
        return Bindable(binding=Binding.HELD)
    if error.errno == errno.EADDRNOTAVAIL:
        return Bindable(
            binding=Binding.IMPOSSIBLE,
            problem="no interface of this machine has that address",
            remedy=f'run the node on the machine it belongs to; behind NAT write bind = "tcp://*:{port}" too',
        )
    if error.errno == errno.EACCES:
        remedy = "choose a port above 1023"
        return Bindable(binding=Binding.IMPOSSIBLE, problem="this user may not bind that port", remedy=remedy)
    problem = os.strerror(error.errno or 0).lower()
    return Bindable(binding=Binding.IMPOSSIBLE, problem=problem, remedy="choose another address")


def _try_path(path: str) -> Bindable:
    if path == "*":
        return Bindable(binding=Binding.FREE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(1.0)
        try:
            one.connect(_unix_path(path))
        except OSError:
            pass  # nobody there
        else:
            return Bindable(binding=Binding.HELD)
    folder = Path(path).parent
    if path.startswith("@") or (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return Bindable(binding=Binding.FREE)
    problem = f"{folder} is no folder that this user may write to"
    return Bindable(binding=Binding.IMPOSSIBLE, problem=problem, remedy="create it, or choose another path")


def _unix_path(path: str) -> str:
    """ZeroMQ writes `@` for the zero byte of an abstract name."""
    return "\0" + path[1:] if path.startswith("@") else path


def holder_of(address: str) -> str:
    """Who listens at a port of this machine, as `PID COMMAND`; empty where that can't be told."""
    port = place_of(address).port
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        if _open_sockets(process) & inodes:
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:  # it has just ended
                return ""
            return f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace').strip()[:80]}"
    return ""


def _open_sockets(process: Path) -> set[str]:
    """Of a process, by its folder in /proc; none of another user's can be seen."""
    found = set[str]()
    with suppress(OSError):
        for entry in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                found.add(os.readlink(entry))
    return found


def _listening(port: int) -> list[str]:
    """Inodes of the sockets that listen at a port."""
    found = list[str]()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        found += [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
    return found


__all__ = [
    "NAME_S",
    "Bindable",
    "Binding",
    "Place",
    "connect_time",
    "holder_of",
    "is_here",
    "names_a_host",
    "place_of",
    "try_to_bind",
]
