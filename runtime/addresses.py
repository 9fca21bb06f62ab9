"""What an address says about who can reach it."""

import ipaddress
from typing import Final

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


__all__ = ["ANY_HOST", "host_of", "is_local"]
