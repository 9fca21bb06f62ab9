"""How much a node says in answer to probes: a Probe of 26 bytes may ask for an Echo of 64 KiB.

Each connection has a budget of bytes beyond what it sent itself; a Probe above it is not answered. Pure: the
time is an argument.
"""

from typing import Final

from draftwire.codecs.probes import Probe
from draftwire.runtime.memory import remember

BYTES_A_S: Final = 1_000_000
"""As much as a link of 8 Mbit/s carries."""

BURST_BYTES: Final = 2**20
"""At once: `draftwire doctor` asks for ten of the longest, 0.66 MB, to tell a direction's rate."""

MOST_PEERS: Final = 1024
"""Whose budgets are remembered; the oldest is full again."""


class Echoes:
    """The budgets of all connections, each kept as the time by which its echoes would have left."""

    def __init__(self) -> None:
        self._until_s: dict[bytes, float] = {}

    def may(self, peer: bytes, probe: Probe, now_s: float) -> bool:
        """Whether this probe, which came now, is answered."""
        beyond = probe.reply_padding - probe.padding
        if beyond <= 0:
            return True
        until_s = max(self._until_s.get(peer, now_s), now_s) + beyond / BYTES_A_S
        if until_s > now_s + BURST_BYTES / BYTES_A_S:
            return False
        remember(self._until_s, peer, until_s, most=MOST_PEERS)
        return True


__all__ = ["BURST_BYTES", "BYTES_A_S", "MOST_PEERS", "Echoes"]
