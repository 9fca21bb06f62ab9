"""How much a node says in answer to probes: a Probe of 26 bytes may ask for an Echo of 64 KiB.

Each connection has a budget of bytes beyond what it sent itself; a Probe above it is not answered. Pure: the
time is an argument.
"""

from typing import Final

from draftwire.codecs.probes import Probe
from draftwire.runtime.budgets import Budgets

BYTES_A_S: Final = 1_000_000
"""As much as a link of 8 Mbit/s carries."""

BURST_BYTES: Final = 2**20
"""At once: `draftwire doctor` asks for ten of the longest, 0.66 MB, to tell a direction's rate."""

MOST_PEERS: Final = 1024
"""Whose budgets are remembered; the oldest is full again."""


class EchoBudgets:
    """Of all connections."""

    def __init__(self) -> None:
        self._budgets = Budgets(rate=BYTES_A_S, burst=BURST_BYTES, most=MOST_PEERS)

    def may(self, peer: bytes, probe: Probe, now_s: float) -> bool:
        """Whether this probe, which came now, is answered."""
        beyond = probe.reply_padding - probe.padding
        if beyond <= 0:
            return True
        if beyond > self._budgets.left(peer, now_s):
            return False
        self._budgets.spend(peer, beyond, now_s)
        return True


__all__ = ["BURST_BYTES", "BYTES_A_S", "MOST_PEERS", "EchoBudgets"]
