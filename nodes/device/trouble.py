"""What a device makes of a connection that does not stand: when to say so, and when to wait no longer."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.runtime.absence import Absence
from draftwire.runtime.transport.base import Trouble

TELL_AFTER_S: Final = 3.0
"""A node that restarts is back sooner; who has waited for so long wants to know what for."""

SURE_AFTER_S: Final = 0.5
"""A node that is just being started or ended may look for a moment as if it used other keys."""


class TroubleWatch:
    """Of one endpoint, over all its requests; `look` is called while one of them waits."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self.now: Trouble | None = None
        "when last looked"
        self._log = logger
        self.forget()

    def forget(self) -> None:
        """Before a request that has none beside it: nobody has looked for a while, and all is old news."""
        self.now = None
        self._final_since_s: float | None = None
        self._absence = Absence(away=self._log_away, back=self._log_back, patience_s=TELL_AFTER_S)

    def look(self, trouble: Trouble | None, now_s: float) -> None:
        """Say what a person has to hear of it."""
        self.now = trouble
        self._absence.look(trouble, now_s)
        if trouble is None or not trouble.final:
            self._final_since_s = None
        elif self._final_since_s is None:
            self._final_since_s = now_s

    def final(self, now_s: float, *, began_s: float) -> Trouble | None:
        """The trouble, if trying again is no use until somebody has changed a key or a file.

        `began_s`: of the request that asks. What a try before it has shown may have been mended since.
        """
        if self.now is None or self._final_since_s is None:
            return None
        sure = now_s >= self._final_since_s + SURE_AFTER_S and self.now.shown_at_s >= began_s
        return self.now if sure else None

    def _log_away(self, trouble: Trouble) -> None:
        self._log.warning("device.trouble", kind=trouble.kind.value, text=trouble.text)

    def _log_back(self, after_s: float) -> None:
        self._log.info("device.back", after_s=after_s)


__all__ = ["SURE_AFTER_S", "TELL_AFTER_S", "TroubleWatch"]
