"""A simulation in 16 bytes: a hash over every message that any channel takes, and over every text, with its
times: without a channel these are what shows that a run was another.
"""

import hashlib
from collections.abc import Callable
from struct import Struct
from typing import Final

from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.link import LinkDrop

_HEAD: Final = Struct("<d?HI")
"""When it came to the channel, whether it goes up, the lengths of the device's name and of the message."""


class TraceHash:
    """Two runs whose hashes are equal have had the same messages and tokens at the same times."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._texts = False

    def message(self, *, at_s: float, up: bool, device: str, data: bytes) -> None:
        """Take one in, in the order in which the channels take them. Behind the texts there are none."""
        if not self._texts:
            name = device.encode()
            self._hash.update(_HEAD.pack(at_s, up, len(name), len(data)) + name + data)

    def text(self, device: str, digest: bytes) -> None:
        """What became final at a device, as a hash of its own."""
        self._texts = True
        self._hash.update(device.encode() + b"\0" + digest)

    def hex(self) -> str:
        """So far."""
        return self._hash.hexdigest()


class Tap:
    """What a channel takes for its capture: hashed, and told to whoever asks at the device that sent it."""

    def __init__(self, trace: TraceHash, heard: Callable[[str, float], None]) -> None:
        self._trace = trace
        self._heard = heard

    def take(
        self, *, at_s: float, direction: Direction, device: str, data: bytes, lost: LinkDrop | None
    ) -> None:
        """See nodes/channel/capture.py."""
        up = direction is Direction.UPLINK
        self._trace.message(at_s=at_s, up=up, device=device, data=data)
        if up:
            self._heard(device, at_s)

    def close(self) -> None:
        """Nothing to close."""


__all__ = ["Tap", "TraceHash"]
