"""What nodes tell an observer, read: the fields of an event as typed values, or OddEvent.

Events come from the network, so nothing is taken for granted: what is missing, of another type or out of any
sensible range makes the whole event odd. Names that nobody asks for here are no fault. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_LADDER,
    MAX_LINK_LENGTH,
    MAX_NAME_LENGTH,
    MAX_UINT32,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
)
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
DIRECTIONS: Final = ("uplink", "downlink")
ORIGINS: Final = ("accepted", "corrected", "bonus", "alone")

MAX_PROMPT: Final = 500
"""Characters of a prompt that are kept."""

MAX_DETAIL: Final = 500
"""Of an error, the same."""

MAX_PIECES: Final = 8192
"""In one event: more than any frame has room for."""

MAX_LINKS: Final = 4096
"""In one event, the same."""

MAX_SUMMARY: Final = 64
"""Values of an answer's summary that are kept."""

ALMOST: Final = 1e-6
"""Above 1, what sums of chances may be off by."""

MAX_SECONDS: Final = 1e7
MAX_RATE: Final = 1e15
"""Beyond any time and rate there is: what is above was not measured."""


class OddEvent(ValueError):
    """Raised for an event that is not what its name says; never leaves the observer."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Pieces of an answer."""

    device: str
    request: str
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
    return None if reader is None else reader(_Fields(event))


class _Fields:
    """An event's values, one by one; each raises OddEvent with the field's name."""

    def __init__(self, values: Mapping[str, Json]) -> None:
        self._values = values

    def number(self, name: str, low: float = 0.0, high: float = MAX_SECONDS) -> float:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise OddEvent(name)
        return float(value)

    def number_or_none(self, name: str, low: float = 0.0, high: float = MAX_SECONDS) -> float | None:
        return None if self._values.get(name) is None else self.number(name, low, high)

    def whole(self, name: str, high: int = MAX_UINT32) -> int:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
            raise OddEvent(name)
        return value

    def truth(self, name: str) -> bool:
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise OddEvent(name)
        return value

    def text(self, name: str, most: int) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise OddEvent(name)
        return _clean(value[:most])

    def one_of(self, name: str, known: tuple[str, ...]) -> str:
        value = self._values.get(name)
        if not isinstance(value, str) or value not in known:
            raise OddEvent(name)
        return value

    def name(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_LENGTH:
            raise OddEvent(name)
        return _clean(value)

    def request(self) -> str:
        """A text, or a number for who counts."""
        value = self._values.get("request")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_UINT64:
            return str(value)
        return self.name("request")

    def several(self, name: str, most: int) -> list[Json]:
        value = self._values.get(name)
        if not isinstance(value, list | tuple) or len(value) > most:
            raise OddEvent(name)
        return list(value)

    def inner(self, name: str) -> Mapping[str, Json]:
        return _mapping(self._values.get(name), name)

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def summary(self) -> dict[str, Json]:
        """Plain values that stand beside what the event is named by; its whole text is told in pieces."""
        kept = ((name, value) for name, value in self._values.items() if name not in _NO_SUMMARY)
        plain = ((name, value) for name, value in kept if len(name) <= MAX_NAME_LENGTH and _is_plain(value))
        return {_clean(name): _shown(value) for name, value in islice(plain, MAX_SUMMARY)}


def _mapping(value: Json, name: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise OddEvent(name)
    return value


_NO_SUMMARY: Final = frozenset({"event", "node", "device", "request", "text", "prompt", "error", "finish"})


def _is_plain(value: Json) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value <= MAX_UINT64
    return value is None or (isinstance(value, str) and len(value) <= MAX_DETAIL)


def _shown(value: Json) -> Json:
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    """Without lone surrogates, which no JSON can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _alive(fields: _Fields) -> Alive:
    return Alive(role=fields.one_of("role", ROLES))


def _step(fields: _Fields) -> Step:
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


def _decision(fields: _Fields) -> Decision:
    return Decision(
        device=fields.name("device"),
        request=fields.whole("request"),
        k=fields.whole("k", MAX_VOCAB_SIZE),
        gamma=fields.whole("gamma", MAX_GAMMA),
        min_draft=fields.whole("min_draft", MAX_GAMMA),
        belief=_estimates(fields.inner("belief")) if fields.has("belief") else None,
    )


def _estimates(belief: Mapping[str, Json]) -> Estimates:
    fields = _Fields(belief)
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
    fields, found = _Fields(told), dict[int, float]()
    for key in islice(told, MAX_LADDER):
        if not (key.isascii() and key.isdigit()) or not 1 <= int(key[:9]) <= MAX_VOCAB_SIZE:
            raise OddEvent("alphas")
        found[int(key[:9])] = fields.number(key, 0.0, 1 + ALMOST)
    if not found:
        raise OddEvent("alphas")
    return found


def _link(fields: _Fields) -> LinkTold:
    return LinkTold(
        direction=fields.one_of("direction", DIRECTIONS),
        device=fields.name("device") if fields.has("device") else None,
        ordered=fields.truth("ordered"),
        words=fields.text("link", MAX_LINK_LENGTH),
    )


def _traffic(fields: _Fields) -> Traffic:
    links = (_Fields(_mapping(one, "links")) for one in fields.several("links", MAX_LINKS))
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


def _asked(fields: _Fields) -> Asked:
    return Asked(
        device=fields.name("device"), request=fields.request(), prompt=fields.text("prompt", MAX_PROMPT)
    )


def _tokens(fields: _Fields) -> Tokens:
    pieces = list[tuple[str, str]]()
    for piece in fields.several("pieces", MAX_PIECES):
        match piece:
            case [str(text), str(origin)] if origin in ORIGINS:
                pieces.append((_clean(text), origin))
            case _:
                raise OddEvent("pieces")
    return Tokens(device=fields.name("device"), request=fields.request(), pieces=tuple(pieces))


def _ended(fields: _Fields) -> Ended:
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


_READERS: Final[Mapping[str, Callable[[_Fields], Heard]]] = {
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
