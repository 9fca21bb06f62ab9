"""Addresses: who can reach them, how sockets want them, and what can be wrong with one on this host."""

import asyncio
import errno
import ipaddress
import os
import socket as sockets
from typing import Final

import zmq

from draftwire.runtime.errors import AddressError, AddressInUseError

ANY_HOST: Final = ("*", "0.0.0.0", "::")
"""All interfaces of a machine: something to bind, and nothing to connect to."""


def is_local(address: str) -> bool:
    """Whether only processes of this host can reach what is bound there: ipc, and the loopback interface.

    A name is looked up by whoever uses it, so none but `localhost` is taken for local.
    """
    if address.startswith("ipc://"):
        return True
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(address: str) -> str:
    """Of tcp://HOST:PORT, an IPv6 address without its brackets."""
    return address.partition("://")[2].rpartition(":")[0].strip("[]")


def is_ipv6(address: str) -> bool:
    """Whether a socket has to speak IPv6 there: tcp://[...]:PORT."""
    return address.startswith("tcp://[")


def path_of(address: str) -> str | None:
    """The path of an ipc address; None where ZeroMQ makes the file itself, or there is none."""
    path = address.removeprefix("ipc://")
    return None if path == address or path == "*" or path.startswith("@") else path


def file_at(path: str | None) -> tuple[int, int] | None:
    """Which file stands there: somebody else may have put another in its place."""
    try:
        status = None if path is None else os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def refuse_taken_path(address: str, path: str) -> None:
    """Raise AddressInUseError where somebody listens: ZeroMQ takes an ipc path away from whoever is bound."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return  # nobody there, or no such path, which bind itself explains
    raise AddressInUseError(address)


async def with_numeric_host(address: str) -> str:
    """Peers connect to a host's name; bind wants a number or an interface, so look the name up.

    Raises AddressError for a host that nobody knows.
    """
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    interfaces = {name for _, name in sockets.if_nameindex()}
    if scheme != "tcp" or not host or host in {"*", *interfaces} or _is_ip(host.strip("[]")):
        return address
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, family=sockets.AF_INET)
    except OSError:
        raise AddressError(address, f"unknown host {host!r}", remedy="write its IP address") from None
    return f"tcp://{found[0][4][0]}:{port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def address_error(address: str, error: zmq.ZMQError | OSError) -> AddressError:
    """What ZeroMQ or the system says about an address, for a person."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(address)
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        problem, remedy = "no interface of this host has that address", "bind on the host it belongs to"
    elif error.errno == errno.EACCES:
        problem, remedy = "not permitted", "choose a port above 1023, or a path that this user may write"
    elif error.errno == errno.ENOENT:
        problem, remedy = "no such folder", "create the folder, or choose another path"
    elif error.errno == errno.ENAMETOOLONG:
        problem, remedy = "the path is longer than a socket's may be", "choose a shorter one"
    elif error.errno == errno.EMFILE:
        problem = "this process has as many files or sockets open as it may"
        remedy = "raise the limit (ulimit -n), or let it serve fewer devices"
    elif error.errno == errno.ENFILE:
        problem = "this machine has as many files open as it may"
        remedy = "raise the limit (sysctl fs.file-max), or stop something else"
    elif error.errno == errno.EAFNOSUPPORT:
        problem, remedy = "this host has no IPv6", "write an address of IPv4"
    else:
        problem, remedy = f"not an address ({error.strerror})", "write tcp://HOST:PORT or ipc://PATH"
    return AddressError(address, problem, remedy=remedy)


__all__ = [
    "ANY_HOST",
    "address_error",
    "file_at",
    "host_of",
    "is_ipv6",
    "is_local",
    "path_of",
    "refuse_taken_path",
    "with_numeric_host",
]
