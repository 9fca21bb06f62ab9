"""Who may talk to whom: roles, services, and the keys that prove a role.

Every node has a key of its own; what others must know of it is its public half, a small file that is copied
to them and allowed there. A key has a name and a role. A device's name is how the whole system knows it, so
it can't be taken: a connection may call itself by its key's name, or by a name below it (`phone-1/doctor`).
The role `channel` may vouch for devices: its connections carry the names of the devices behind it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What a key's owner is."""

    DEVICE = "device"
    CHANNEL = "channel"
    TARGET = "target"
    CONTROLLER = "controller"
    OBSERVER = "observer"


class Service(StrEnum):
    """What is bound at an address."""

    TARGET = "target"
    "the BS, for devices"
    CHANNEL = "channel"
    "the channel, in the BS's place"
    LINKS = "links"
    "the channel, for orders to change its links"
    CONTROLLER = "controller"
    "the controller, for the BS"
    OBSERVER = "observer"
    "the observer, for what all nodes tell"


HELD_BY: Final[Mapping[Service, Role]] = MappingProxyType(
    {
        Service.TARGET: Role.TARGET,
        Service.CHANNEL: Role.CHANNEL,
        Service.LINKS: Role.CHANNEL,
        Service.CONTROLLER: Role.CONTROLLER,
        Service.OBSERVER: Role.OBSERVER,
    }
)
"""Whose key a service proves itself with."""

ADMITS: Final[Mapping[Service, frozenset[Role]]] = MappingProxyType(
    {
        Service.TARGET: frozenset({Role.DEVICE, Role.CHANNEL, Role.TARGET}),
        Service.CHANNEL: frozenset({Role.DEVICE, Role.CHANNEL}),
        Service.LINKS: frozenset({Role.CHANNEL, Role.CONTROLLER, Role.OBSERVER}),
        Service.CONTROLLER: frozenset({Role.TARGET, Role.CONTROLLER}),
        Service.OBSERVER: frozenset(Role),
    }
)
"""Which roles may connect to a service; its own key may, which is how `draftwire doctor` asks beside it."""

PERMITS: Final[Mapping[Role, str]] = MappingProxyType(
    {
        Role.DEVICE: "send requests under its own name",
        Role.CHANNEL: "speak for any device, be the target for devices, and change links",
        Role.TARGET: "be the target for devices, and report to the controller",
        Role.CONTROLLER: "plan for the target, and change links",
        Role.OBSERVER: "be told prompts, texts and figures of all nodes, and change links",
    }
)
"""What a key lets its owner do where it is allowed, in the words of an error."""

NAME_SEPARATOR: Final = "/"
"""Behind a key's name: whoever holds the key may connect under several names."""


def key_of(name: str) -> str:
    """The name of the key that goes by this name: of `phone-1/doctor` it is phone-1."""
    return name.partition(NAME_SEPARATOR)[0]


def may_call_itself(name: str, *, key_name: str, role: Role) -> bool:
    """Whether a connection proved by that key may go by this name."""
    return role is Role.CHANNEL or key_of(name) == key_name


def role_is_plain(role: Role, *, key_name: str) -> bool:
    """Whether whoever allows a key by its name knows its role: a device's, or a name that is the role."""
    return role is Role.DEVICE or key_name == role


__all__ = [
    "ADMITS",
    "HELD_BY",
    "NAME_SEPARATOR",
    "PERMITS",
    "Role",
    "Service",
    "key_of",
    "may_call_itself",
    "role_is_plain",
]
