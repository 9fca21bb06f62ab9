"""What the nodes of a simulation tell: a record gets what a real run's would, people who warned of what."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from draftwire.runtime.telemetry import LATENESS_EVENT, RECORDED, Recorder

KEPT: Final = frozenset(RECORDED) - {LATENESS_EVENT}
"""Events of a record. In virtual time no message is late: that would be lines of zeros."""

WARNINGS: Final = ("warning", "error", "exception", "critical")


@dataclass(slots=True)
class Telling:
    """Makes the nodes' loggers. Without a record what is below a warning is dropped before it costs much."""

    record: Path | None = None
    "a file that gets the events of real records, each with `virtual_s`, when, and `bs`, whose node told it"
    warners: defaultdict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    "name of a warning's event -> (BS, node) of each that gave it: as a rule nodes say a thing once"
    first: dict[str, EventDict] = field(default_factory=dict)
    "and the first of each"
    _recorder: Recorder | None = None

    def __post_init__(self) -> None:
        if self.record is not None:
            self._recorder = Recorder(self.record)

    def logger(self, *, node: str, bs: str) -> FilteringBoundLogger:
        """Of one node."""
        logger: FilteringBoundLogger = structlog.wrap_logger(
            None,
            processors=[self._take],
            wrapper_class=structlog.make_filtering_bound_logger("warning" if self.record is None else "info"),
            cache_logger_on_first_use=True,
            node=node,
            bs=bs,
        )
        return logger.bind()

    def write(self, event: str, **fields: Any) -> None:
        """A line of a record, whatever its name; nothing without one."""
        if self._recorder is not None:
            self._recorder.write({"event": event, **fields})

    def warned(self) -> Mapping[str, int]:
        """Name of a warning's event -> how many nodes gave it."""
        return {name: len(nodes) for name, nodes in self.warners.items()}

    def words(self) -> dict[str, str]:
        """The first of each warning, as a line."""
        return {name: _words(event) for name, event in self.first.items()}

    def close(self) -> None:
        """Of the record; idempotent."""
        if self._recorder is not None:
            self._recorder.close()

    def _take(self, logger: object, method: str, event: EventDict) -> EventDict:
        name = str(event["event"])
        if self._recorder is not None and name in KEPT:
            self._recorder.write({"virtual_s": asyncio.get_running_loop().time(), **event})
        if method in WARNINGS:
            self.warners[name].add((event["bs"], event["node"]))
            if name not in self.first:
                if event.get("exc_info"):
                    event = structlog.processors.format_exc_info(logger, method, event)
                self.first[name] = event
        raise structlog.DropEvent


def _words(event: EventDict) -> str:
    shown = (f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info"))
    return " ".join(shown)


__all__ = ["Telling"]
