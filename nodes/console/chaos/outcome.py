"""What a run under a schedule comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A promise that did not hold."""

    promise: str
    "one of checks.PROMISES"
    at_s: float
    "virtual seconds from the first request on"
    what: str
    "a sentence with the values: who, which request, expected and found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of a run's history: for `--replay`, which shows both ends side by side."""

    at_s: float
    node: str
    "where it happened; empty: a fault, which is shown across"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a user was shown of one request, over all lives of the device."""

    device: str
    number: int
    "from 0 on, of this device"
    acceptance: Acceptance
    seed: int
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    ended: bool
    "False: see `reason`"
    reason: str = ""
    "why not, where that is what was promised: draft_state_lost, or a device without a journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one run."""

    answers: tuple[Answer, ...]
    broken: tuple[Broken, ...]
    "empty: every promise held"
    trace_hash: str
    virtual_s: float
    recovered_s: tuple[float, ...]
    "for each request that was under way at a fault's end, how long until its next token"
    met: Mapping[Kind, int] = field(default_factory=dict)
    "kind -> faults that have happened: one whose moment does not come has not"
    events: tuple[Event, ...] = field(default=(), repr=False)
    "where they were asked for"


__all__ = ["Answer", "Broken", "Event", "Outcome"]
