"""What a page's sliders ask of the channel: checked, put into words, ordered, and what holds then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from draftwire.codecs.control import LinkState
from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.nodes.observer.heard import DIRECTIONS
from draftwire.nodes.observer.links import Sliders, constant, link_fields
from draftwire.runtime.errors import ConfigurationError, PeerError, nearest
from draftwire.runtime.link.spec import MAX_DELAY_S, MAX_RATE_BPS

MAX_BODY: Final = 4096
"""Bytes of an order: many times what one takes."""

BOTH: Final = "both"
_NEEDED: Final = ("rate_bps", "delay_s", "loss")
_KNOWN: Final = (*_NEEDED, "direction", "device")


class Order(Protocol):
    """Orders a channel, as `order_link` of the channel node does; with neither direction it only asks."""

    async def __call__(self, *, uplink: str | None, downlink: str | None, device: str | None) -> LinkState:
        """What holds then. Raises DraftwireError where no channel takes the order."""
        ...


class LinkRefusedError(PeerError):
    """Raised when a channel changes nothing, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a page asks for."""

    sliders: Sliders
    directions: tuple[str, ...]
    device: str | None
    "whose; None: of all devices"


def wish_of(body: bytes) -> Wish:
    """Raises ConfigurationError, which names the field and the remedy, for what asks for nothing."""
    fields = _fields_of(body)
    direction = fields.get("direction", BOTH)
    if direction not in (BOTH, *DIRECTIONS):
        raise _wrong("direction", direction, f"write {BOTH!r}, {' or '.join(map(repr, DIRECTIONS))}")
    device = fields.get("device")
    if device is not None and not (isinstance(device, str) and 1 <= len(device) <= MAX_NAME_LENGTH):
        raise _wrong("device", device, "write the name of a device, or null for all of them")
    rate = fields["rate_bps"]
    return Wish(
        sliders=Sliders(
            rate_bps=None if rate is None else _number(fields, "rate_bps", MAX_RATE_BPS, "bits a second"),
            delay_s=_number(fields, "delay_s", MAX_DELAY_S, "seconds"),
            loss=_number(fields, "loss", 1.0, "messages of each that is sent"),
        ),
        directions=DIRECTIONS if direction == BOTH else (str(direction),),
        device=device,
    )


async def carry_out(wish: Wish, order: Order) -> dict[str, Json]:
    """Ask what holds, order what is to hold, and give that as a feed has it.

    Raises ConfigurationError for what no link can be, LinkRefusedError where the channel refuses, and what
    `order` raises.
    """
    held = _obeyed(await order(uplink=None, downlink=None, device=wish.device))
    words = {
        direction: constant(getattr(held, direction), wish.sliders) if direction in wish.directions else None
        for direction in DIRECTIONS
    }
    state = _obeyed(await order(uplink=words["uplink"], downlink=words["downlink"], device=wish.device))
    return link_fields(state.uplink, state.downlink, controllable=True)


def _obeyed(state: LinkState) -> LinkState:
    if state.refused is not None:
        raise LinkRefusedError(f"the channel changed nothing: {state.refused}")
    return state


def _fields_of(body: bytes) -> Mapping[str, Json]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"the body is no JSON: {error.msg}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError("the body is no JSON object", remedy=f"write {', '.join(_NEEDED)}")
    for name in fields:
        if name not in _KNOWN:
            raise ConfigurationError("is no field of a link", key=name[:99], remedy=nearest(name, _KNOWN))
    for name in _NEEDED:
        if name not in fields:
            raise ConfigurationError("is missing", key=name, remedy=f"write {', '.join(_NEEDED)}")
    return fields


def _number(fields: Mapping[str, Json], name: str, most: float, unit: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _wrong(name, value, f"write a number from 0 to {most:g}, in {unit}")
    return float(value)


def _wrong(name: str, value: Json, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{str(value)[:99]!r} can't be", key=name, remedy=remedy)


__all__ = ["LinkRefusedError", "Order", "Wish", "carry_out", "wish_of"]
