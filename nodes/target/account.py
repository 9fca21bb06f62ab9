"""What a base station refuses, counted; and what it says of that, and of its end, in the log."""

from collections import Counter
from enum import StrEnum

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.errors import Refusal
from draftwire.codecs.messages import Reason
from draftwire.nodes.target.served import Served
from draftwire.runtime.transport import EndpointStatistics


class Unread(StrEnum):
    """Why a base station does not even decode what came."""

    UNTESTED_ROWS = "untested_rows"
    "rows come faster than the drafts that they belong to are tested"


Cause = Refusal | Reason | Unread


class Account:
    """Of one life."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self.refused: Counter[Cause] = Counter()
        self._log = logger

    def refuse(self, reason: Cause, peer: str, detail: str) -> None:
        """Every one counted, the first of a cause logged."""
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            self._log.warning("target.refused", reason=reason.name.lower(), peer=peer, detail=detail)

    def stopped(self, statistics: EndpointStatistics) -> None:
        """With its last counts."""
        self._log.info(
            "target.stopped",
            received=statistics.received,
            sent=statistics.sent,
            refused={reason.name.lower(): count for reason, count in self.refused.items()},
            dropped={reason.value: count for reason, count in statistics.dropped.items()},
        )

    def forgot(self, served: Served, now_s: float) -> None:
        """A request whose device has been silent for too long."""
        self._log.warning(
            "target.forgot",
            device=served.name,
            request=served.number,
            silent_s=round(now_s - served.session.heard_s, 3),
            log_tokens=len(served.session.log),
            known_tokens=served.session.known,
            detail="its memory is free; the device can go on with it from its own log only",
        )


__all__ = ["Account", "Cause", "Unread"]
