"""What a device says of a connection that does not stand: each kind of trouble once, and when it is over."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.runtime.transport.base import Trouble, TroubleKind

TELL_AFTER_S: Final = 3.0
"""A node that restarts is back sooner; who has waited for so long wants to know what for."""

SURE_AFTER_S: Final = 0.5
"""A node that is just being started or ended may look once as if it used other keys; twice it does not."""

LOOK_EVERY_S: Final = 0.5
"""While there is trouble, and while it is not known yet whether there is."""


class TroubleWatch:
    """Of one endpoint, over all its requests; `look` is called while one of them waits."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self.now: Trouble | None = None
        "when last looked"
        self._log = logger
        self._since_s = 0.0
        self._told = set[TroubleKind]()

    def look(self, trouble: Trouble | None, now_s: float) -> None:
        """Say what a person has to hear of it."""
        if self.now is None:
            self._since_s = now_s
        self.now = trouble
        if trouble is None:
            if self._told:
                self._told.clear()
                self._log.info("device.back", after_s=round(now_s - self._since_s, 3))
        elif now_s >= self._since_s + TELL_AFTER_S and trouble.kind not in self._told:
            self._told.add(trouble.kind)
            self._log.warning("device.trouble", kind=trouble.kind.value, text=trouble.text)

    def final(self, now_s: float) -> Trouble | None:
        """The trouble, if trying again is no use until somebody has changed a key or a file."""
        sure = self.now is not None and self.now.final and now_s >= self._since_s + SURE_AFTER_S
        return self.now if sure else None


__all__ = ["LOOK_EVERY_S", "SURE_AFTER_S", "TELL_AFTER_S", "TroubleWatch"]
