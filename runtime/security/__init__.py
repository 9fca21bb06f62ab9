"""Who may talk to whom, and the keys that prove who somebody is; start with roles.py."""

from draftwire.runtime.security.keyfile import KeyPair, PublicKey, allow_command, is_key_name
from draftwire.runtime.security.keyring import Keyring, NodeKeys
from draftwire.runtime.security.roles import (
    ADMITS,
    HELD_BY,
    NAME_SEPARATOR,
    Role,
    Service,
    key_of,
    may_call_itself,
)

__all__ = [
    "ADMITS",
    "HELD_BY",
    "NAME_SEPARATOR",
    "KeyPair",
    "Keyring",
    "NodeKeys",
    "PublicKey",
    "Role",
    "Service",
    "allow_command",
    "is_key_name",
    "key_of",
    "may_call_itself",
]
