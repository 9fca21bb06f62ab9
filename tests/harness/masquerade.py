"""`python -P -m tests.harness.masquerade`: this namespace becomes a router that hides who is behind it.

It is `nft add rule ip nat post masquerade`, with the table and the chain, said to the kernel directly: where
the kernel can do it, the command to ask for it is often missing.
"""

import os
import socket
import struct
import sys
from typing import Final

_NFTABLES: Final = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = (_NFTABLES << 8 | number for number in (0, 3, 6))
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED: Final = 0x8000
_IPV4, _POSTROUTING, _SOURCE_NAT = 2, 4, 100
_NETFILTER: Final = 12
"""The protocol of its netlink socket."""


def masquerade() -> None:
    """Give what leaves through any interface that interface's address. Raises OSError if the kernel can't."""
    hook = _attribute(1, struct.pack(">I", _POSTROUTING)) + _attribute(2, struct.pack(">i", _SOURCE_NAT))
    expression = _attribute(1, b"masq\0") + _attribute(2 | _NESTED, b"")
    messages = [
        _message(_BATCH_BEGIN, 0, family=0, resource=_NFTABLES),
        _message(_NEW_TABLE, 1, _attribute(1, b"nat\0"), flags=_CREATE | _ACK),
        _message(
            _NEW_CHAIN,
            2,
            _attribute(1, b"nat\0") + _attribute(3, b"post\0") + _attribute(4 | _NESTED, hook)
            + _attribute(7, b"nat\0"),
            flags=_CREATE | _ACK,
        ),
        _message(
            _NEW_RULE,
            3,
            _attribute(1, b"nat\0") + _attribute(2, b"post\0")
            + _attribute(4 | _NESTED, _attribute(1 | _NESTED, expression)),
            flags=_CREATE | _APPEND | _ACK,
        ),
        _message(_BATCH_END, 4, family=0, resource=_NFTABLES),
    ]  # fmt: skip
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.settimeout(10)
        kernel.bind((0, 0))
        kernel.send(b"".join(messages))
        answered = 0
        while answered < 3:
            answers = kernel.recv(65536)
            while answers:
                length, _, _, _, _, error = struct.unpack_from("=IHHIIi", answers)
                if error:
                    raise OSError(-error, os.strerror(-error))
                answered += 1
                answers = answers[(length + 3) & ~3 :]


def _message(
    kind: int, number: int, body: bytes = b"", *, flags: int = 0, family: int = _IPV4, resource: int = 0
) -> bytes:
    payload = struct.pack(">BBH", family, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(payload), kind, flags | _REQUEST, number, 0) + payload


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


if __name__ == "__main__":
    try:
        masquerade()
    except OSError as error:
        sys.exit(f"the kernel refused to masquerade: {error}")

__all__ = ["masquerade"]
