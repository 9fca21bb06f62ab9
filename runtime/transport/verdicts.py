"""Says who is in quarantine, who no longer is, and whose connection was ended; of many, how many."""

from typing import Final

from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport.base import Offence
from draftwire.runtime.transport.lines import Line, far_end
from draftwire.runtime.transport.quarantine import Sender

TOLD_AT_ONCE: Final = 20
TOLD_EACH_S: Final = 5.0
"""Beyond those at once, one in this time: connections without a key come and go as they like."""


class Verdicts:
    """Of one endpoint."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._told_until_s = 0.0
        self._untold = 0

    def quarantined(self, sender: Sender, offence: Offence, *, lasts_s: float, now_s: float) -> None:
        """From now on, by this offence, the last of several."""
        if self._may_tell(now_s):
            get_logger("transport").warning(
                "transport.quarantined",
                address=self._address,
                peer=sender.name,
                reason=offence.value,
                lasts_s=lasts_s,
                untold=self._untold,
            )
            self._untold = 0

    def endless(self, name: str, line: Line, unfinished_bytes: int, *, now_s: float) -> None:
        """A connection, of `name` if it has said who it is, is ended."""
        if self._may_tell(now_s):
            get_logger("transport").warning(
                "transport.endless",
                address=self._address,
                peer=name,
                caller=far_end(line),
                unfinished_bytes=unfinished_bytes,
                untold=self._untold,
            )
            self._untold = 0

    def released(self, sender: Sender, *, now_s: float) -> None:
        """It is heard again for the first time."""
        dropped, sender.dropped = sender.dropped, 0
        if self._may_tell(now_s):
            get_logger("transport").info(
                "transport.released", address=self._address, peer=sender.name, dropped=dropped
            )

    def _may_tell(self, now_s: float) -> bool:
        """As with a budget: that much ahead is a burst."""
        told_s = max(self._told_until_s, now_s) + TOLD_EACH_S
        if told_s > now_s + TOLD_AT_ONCE * TOLD_EACH_S:
            self._untold += 1
            return False
        self._told_until_s = told_s
        return True


__all__ = ["Verdicts"]
