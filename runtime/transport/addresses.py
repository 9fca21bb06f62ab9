"""Addresses as sockets want them, and what can be wrong with one on this host."""

import asyncio
import errno
import ipaddress
import os
import socket as sockets

import zmq

from draftwire.runtime.errors import AddressError, AddressInUseError


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


def address_error(address: str, error: zmq.ZMQError) -> AddressError:
    """What ZeroMQ says about an address, for a person."""
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
    else:
        problem, remedy = f"not an address ({error.strerror})", "write tcp://HOST:PORT or ipc://PATH"
    return AddressError(address, problem, remedy=remedy)


__all__ = ["address_error", "file_at", "path_of", "refuse_taken_path", "with_numeric_host"]
