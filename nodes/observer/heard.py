"""What nodes tell an observer, read: the fields of an event as typed values, or OddEvent.

Events come from the network, so nothing is taken for granted: what is missing, of another type or out of any
sensible range makes the whole event odd. Names that nobody asks for here are no fault. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from sys import intern
from types import MappingProxyType
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_LADDER,
    MAX_LINK_LENGTH,
    MAX_NAME_LENGTH,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
)
from draftwire.nodes.observer.event_fields import MAX_DETAIL, Fields, OddEvent, clean, mapping
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import (
    ALIVE_EVENT,
    ANSWER_EVENT,
    ASKED_EVENT,
    DECISION_EVENT,
    LINK_EVENT,
    STEP_EVENT,
    TOKENS_EVENT,
    TRAFFIC_EVENT,
)

ROLES: Final = ("device", "channel", "target", "controller")
TOLD_BY: Final[Mapping[str, Role | None]] = MappingProxyType(
    {
        STEP_EVENT: Role.TARGET,
        DECISION_EVENT: Role.CONTROLLER,
        LINK_EVENT: Role.CHANNEL,
        TRAFFIC_EVENT: Role.CHANNEL,
        ASKED_EVENT: Role.DEVICE,
        TOKENS_EVENT: Role.DEVICE,
        ANSWER_EVENT: Role.DEVICE,
        ALIVE_EVENT: None,
    }
)
"""Which role tells an event; None: each of its own."""

DIRECTIONS: Final = ("uplink", "downlink")
ORIGINS: Final = ("accepted", "corrected", "bonus", "alone")

MAX_PROMPT: Final = 500
"""Characters of a prompt that are kept."""

MAX_KEPT: Final = 65_536
"""Of what a journal had of an answer, the same."""

MAX_PIECES: Final = 8192
"""In one event: more than any frame has room for."""

MAX_LINKS: Final = 4096
"""In one event, the same."""

ALMOST: Final = 1e-6
"""Above 1, what sums of chances may be off by."""

MAX_RATE: Final = 1e15
"""Bits a second, beyond any that there is: what is above was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A node runs."""

    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A verification step; fields as in StepFields."""

    device: str
    request: int
    k: int
    gamma: int
    drafted: int
    seen: int
    accepted: int
    tokens: int
    step_s: float
    wait_s: float
    draft_bytes: int
    rows_bytes: int
    acceptance: str
    pass_sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What is read here of a controller's belief."""

    uplink_bps: float | None
    "None: no limit that a number could tell"
    rtt_s: float
    alphas: Mapping[int, float]
    "K -> alpha, one at least"
    draft_step_s: float
    target_step_s: float
    alone_tokens_per_s: float
    "expected of the target alone"
    rows: bool
    "False: only ids travel, and K means nothing"
    acceptance: str
    reason: str
    fields: Mapping[str, Json]
    "all of it, as it came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan of the controller."""

    device: str
    request: int
    k: int
    gamma: int
    "0: the target alone"
    min_draft: int
    belief: Estimates | None
    "None: it rests on none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTold:
    """What one direction of a link does from now on."""

    direction: str
    device: str | None
    "whose, and of the names below it; None: of all that have none of their own"
    ordered: bool
    "whether it takes the place of what devices had of their own"
    started_s: float | None
    "when its channel began, by its own clock: another one knows nothing of what this one did; None: not told"
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What one direction of a device's link has carried in its channel's life."""

    device: str
    direction: str
    rate_bps: float | None
    "the true rate now; None: no limit"
    delivered_bytes: int
    dropped: int
    "messages"
    queued_bytes: int
    "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The same of all links on which anything moved."""

    at_s: float
    "the channel's clock"
    links: tuple[Carried, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A device begins an answer."""

    device: str
    request: str
    prompt: str
    kept: str = ""
    "text that a journal had of it already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Pieces of an answer; tokens without a text of their own have none."""

    device: str
    request: str
    number: int | None
    "of the events with tokens of this answer, from 0; None: they are not counted"
    pieces: tuple[tuple[str, str], ...]
    "(text, one of ORIGINS)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An answer's end."""

    device: str
    request: str
    failed: bool
    detail: str
    "how it ended, or the error"
    first_token_s: float | None
    tokens_per_s: float | None
    summary: dict[str, Json]
    "its plain values"


Heard = Alive | Step | Decision | LinkTold | Traffic | Asked | Tokens | Ended


def read(event: Mapping[str, Json]) -> Heard | None:
    """The event as a value; None: its name means nothing here. Raises OddEvent for what it can't be."""
    name = event.get("event")
    if not isinstance(name, str):
        raise OddEvent("event: no name")
    reader = _READERS.get(name)
    return None if reader is None else reader(Fields(event))


def _alive(fields: Fields) -> Alive:
    return Alive(role=fields.one_of("role", ROLES))


def _step(fields: Fields) -> Step:
    return Step(
        device=fields.name("device"),
        request=fields.whole("request"),
        k=fields.whole("k", MAX_VOCAB_SIZE),
        gamma=fields.whole("gamma", MAX_GAMMA),
        drafted=fields.whole("drafted"),
        seen=fields.whole("seen"),
        accepted=fields.whole("accepted"),
        tokens=fields.whole("tokens"),
        step_s=fields.number("step_s"),
        wait_s=fields.number("wait_s"),
        draft_bytes=fields.whole("draft_bytes"),
        rows_bytes=fields.whole("rows_bytes"),
        acceptance=fields.text("acceptance", MAX_NAME_LENGTH),
        pass_sessions=fields.whole("pass_sessions"),
    )


def _decision(fields: Fields) -> Decision:
    return Decision(
        device=fields.name("device"),
        request=fields.whole("request"),
        k=fields.whole("k", MAX_VOCAB_SIZE),
        gamma=fields.whole("gamma", MAX_GAMMA),
        min_draft=fields.whole("min_draft", MAX_GAMMA),
        belief=_estimates(fields.inner("belief")) if fields.has("belief") else None,
    )


def _estimates(belief: Mapping[str, Json]) -> Estimates:
    fields = Fields(belief)
    return Estimates(
        uplink_bps=fields.number_or_none("uplink_bps", 0.0, MAX_RATE),
        rtt_s=fields.number("rtt_s"),
        alphas=_alphas(fields.inner("alphas")),
        draft_step_s=fields.number("draft_step_s"),
        target_step_s=fields.number("target_step_s"),
        alone_tokens_per_s=fields.number("alone_tokens_per_s"),
        rows=fields.truth("rows"),
        acceptance=fields.text("acceptance", MAX_NAME_LENGTH) if fields.has("acceptance") else "rejection",
        reason=fields.text("reason", MAX_NAME_LENGTH),
        fields=belief,
    )


def _alphas(told: Mapping[str, Json]) -> Mapping[int, float]:
    fields, found = Fields(told), dict[int, float]()
    for key in islice(told, MAX_LADDER):
        if not (key.isascii() and key.isdigit()) or not 1 <= int(key[:9]) <= MAX_VOCAB_SIZE:
            raise OddEvent("alphas")
        found[int(key[:9])] = fields.number(key, 0.0, 1 + ALMOST)
    if not found:
        raise OddEvent("alphas")
    return found


def _link(fields: Fields) -> LinkTold:
    return LinkTold(
        direction=fields.one_of("direction", DIRECTIONS),
        device=fields.name("device") if fields.has("device") else None,
        ordered=fields.truth("ordered"),
        started_s=fields.number_or_none("started_s", -1e12, 1e12),
        words=fields.text("link", MAX_LINK_LENGTH),
    )


def _traffic(fields: Fields) -> Traffic:
    links = (Fields(mapping(one, "links")) for one in fields.several("links", MAX_LINKS))
    return Traffic(
        at_s=fields.number("at_s", -1e12, 1e12),
        links=tuple(
            Carried(
                device=one.name("device"),
                direction=one.one_of("direction", DIRECTIONS),
                rate_bps=one.number_or_none("rate_bps", 0.0, MAX_RATE),
                delivered_bytes=one.whole("delivered_bytes", MAX_UINT64),
                dropped=one.whole("dropped", MAX_UINT64),
                queued_bytes=one.whole("queued_bytes", MAX_UINT64),
            )
            for one in links
        ),
    )


def _asked(fields: Fields) -> Asked:
    return Asked(
        device=fields.name("device"),
        request=fields.request(),
        prompt=fields.text("prompt", MAX_PROMPT),
        kept=fields.text("kept", MAX_KEPT) if fields.has("kept") else "",
    )


def _tokens(fields: Fields) -> Tokens:
    pieces = list[tuple[str, str]]()
    for piece in fields.several("pieces", MAX_PIECES):
        match piece:
            case [str(text), str(origin)] if origin in ORIGINS:
                pieces.append((clean(text), intern(origin)))
            case _:
                raise OddEvent("pieces")
    return Tokens(
        device=fields.name("device"),
        request=fields.request(),
        number=fields.whole("number") if fields.has("number") else None,
        pieces=tuple(pieces),
    )


def _ended(fields: Fields) -> Ended:
    failed = fields.has("error")
    return Ended(
        device=fields.name("device"),
        request=fields.request(),
        failed=failed,
        detail=fields.text("error" if failed else "finish", MAX_DETAIL),
        first_token_s=fields.number_or_none("first_token_s"),
        tokens_per_s=fields.number_or_none("tokens_per_s"),
        summary=fields.summary(),
    )


_READERS: Final[Mapping[str, Callable[[Fields], Heard]]] = {
    ALIVE_EVENT: _alive,
    STEP_EVENT: _step,
    DECISION_EVENT: _decision,
    LINK_EVENT: _link,
    TRAFFIC_EVENT: _traffic,
    ASKED_EVENT: _asked,
    TOKENS_EVENT: _tokens,
    ANSWER_EVENT: _ended,
}

__all__ = [
    "DIRECTIONS",
    "ORIGINS",
    "ROLES",
    "TOLD_BY",
    "Alive",
    "Asked",
    "Carried",
    "Decision",
    "Ended",
    "Estimates",
    "Heard",
    "LinkTold",
    "OddEvent",
    "Step",
    "Tokens",
    "Traffic",
    "read",
]
