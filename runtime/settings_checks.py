"""Checks of what people write in a topology; each raises ConfigurationError with the key and the remedy."""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.runtime.errors import AddressError, ConfigurationError, nearest
from draftwire.runtime.security import NAME_SEPARATOR, is_key_name, key_of
from draftwire.runtime.transport.addresses import ANY_HOST, host_of
from draftwire.runtime.transport.base import check_address as parse_address
from draftwire.runtime.transport.base import is_name

T = TypeVar("T")

MIN_WEIGHT: Final = 0.01
MAX_WEIGHT: Final = 100.0
"""Of a device beside others, whose weight is 1."""


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


def check_one_of_many(place: str, said: Iterable[str], names: Sequence[str]) -> None:
    """Of the devices of one process, called `names`, nothing is said under a name that none of them has."""
    name_of_all = names[0].rpartition(NAME_SEPARATOR)[0]
    for name in said:
        of_all, _, number = name.rpartition(NAME_SEPARATOR)
        if name.startswith(name_of_all + NAME_SEPARATOR) and name not in names:
            near = f"{of_all}{NAME_SEPARATOR}{number.lstrip('0').zfill(len(names[0]) - len(name_of_all) - 1)}"
            problem = f"no device is called {shown(name)}: they are {names[0]} to {names[-1]}"
            remedy = nearest(near, names if near in names else (names[0], names[-1]))
            raise ConfigurationError(problem, key=f"{place}.{name}", remedy=remedy)


def checked_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Of devices by name, under the key `weights`; a copy that nobody changes."""
    for name, weight in weights.items():
        check_device_name(f"weights.{name}", name)
        between(f"weights.{name}", weight, MIN_WEIGHT, MAX_WEIGHT)
    return MappingProxyType(dict(weights))


def of_device(by_name: Mapping[str, T], device: str, default: T) -> T:
    """What is said of a device: by its name, else by its key's, else of all."""
    return by_name.get(device, by_name.get(key_of(device), default))


__all__ = [
    "MAX_WEIGHT",
    "MIN_WEIGHT",
    "between",
    "check_address",
    "check_device_name",
    "check_one_of_many",
    "check_place",
    "checked_weights",
    "need",
    "of_device",
    "shown",
]
