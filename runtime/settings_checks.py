"""Checks of what people write in a topology; each raises ConfigurationError with the key and the remedy."""

import json

from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.runtime.errors import AddressError, ConfigurationError
from draftwire.runtime.security import is_key_name, key_of
from draftwire.runtime.transport.addresses import ANY_HOST, host_of
from draftwire.runtime.transport.base import check_address as parse_address
from draftwire.runtime.transport.base import is_name


def shown(value: object) -> str:
    """As an error repeats it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def need(holds: bool, key: str, value: object, remedy: str) -> None:
    """Raise ConfigurationError for this value of this key, unless it holds."""
    if not holds:
        raise ConfigurationError(f"{shown(value)} will not do", key=key, remedy=remedy)


def between(key: str, value: float | None, low: float, high: float) -> None:
    """A number has these bounds, both included; None is none."""
    if value is not None:
        need(low <= value <= high, key, value, f"write a number from {low} to {high}")


def check_place(address: str, bind: str | None, key: str | None) -> None:
    """Where a node is, of a section that has these three."""
    check_address("address", address, met=True)
    if bind is not None:
        check_address("bind", bind, met=False)
    need(key is None or is_key_name(key), "key", key, "write the name that the node's key file says")


def check_address(key: str, address: str, *, met: bool) -> None:
    """`met`: others connect to this very address, so it has to name one."""
    try:
        parse_address(address, "tcp", "ipc")
    except AddressError as error:
        problem = f"{shown(address)}: {error.problem}"
        raise ConfigurationError(problem, key=key, remedy=error.remedy) from None
    if address.startswith("tcp"):
        free = address.rpartition(":")[2] in ("*", "0")
        need(not free, key, address, "name the port: others connect to it")
        instead = "; what the node binds may be another one: `bind`" if key == "address" else ""
        remedy = f"name the host that others connect to{instead}"
        need(not met or host_of(address) not in ANY_HOST, key, address, remedy)


def check_device_name(key: str, name: str) -> None:
    """What a device may be called: as its key, or below that."""
    remedy = f"write up to {MAX_NAME_LENGTH} letters, digits and . _ -, with a letter or digit first"
    need(is_name(name) and is_key_name(key_of(name)), key, name, remedy)


__all__ = ["between", "check_address", "check_device_name", "check_place", "need", "shown"]
