"""What a page's sliders ask of the channel: checked, put into words, ordered, and what holds then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from draftwire.codecs.control import LinkState
from draftwire.codecs.control_fields import Json
from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.nodes.observer.heard import DIRECTIONS
from draftwire.nodes.observer.links import Moved, constant, link_fields
from draftwire.runtime.errors import ConfigurationError, PeerError, nearest
from draftwire.runtime.link.spec import MAX_DELAY_S, MAX_RATE_BPS

MAX_BODY: Final = 4096
"""Bytes of an order: many times what one takes."""

BOTH: Final = "both"
_SLIDERS: Final = ("rate_bps", "delay_s", "loss")
_KNOWN: Final = (*_SLIDERS, "direction", "device")
_REMEDY: Final = f"write one of {', '.join(_SLIDERS)} at least"


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

    moved: Moved
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
    return Wish(
        moved=_moved(fields),
        directions=DIRECTIONS if direction == BOTH else (str(direction),),
        device=device,
    )


def _moved(fields: Mapping[str, Json]) -> Moved:
    moved = Moved()
    if "rate_bps" in fields:
        limit = fields["rate_bps"] is not None
        moved["rate_bps"] = _number(fields, "rate_bps", MAX_RATE_BPS, "bits a second") if limit else None
    if "delay_s" in fields:
        moved["delay_s"] = _number(fields, "delay_s", MAX_DELAY_S, "seconds")
    if "loss" in fields:
        moved["loss"] = _number(fields, "loss", 1.0, "messages of each that is sent")
    return moved


async def carry_out(wish: Wish, order: Order, *, now: Mapping[str, str | None]) -> dict[str, Json]:
    """Ask what holds, order what is to hold, and give that as a feed has it.

    `now`: by direction, what the link does at this moment, as its channel told last.

    Raises ConfigurationError for what no link can be, LinkRefusedError where the channel refuses, and what
    `order` raises.
    """
    held = _obeyed(await order(uplink=None, downlink=None, device=wish.device))
    words = {
        direction: constant(playing, wish.moved, now=now[direction]) if direction in wish.directions else None
        for direction, playing in (("uplink", held.uplink), ("downlink", held.downlink))
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
        raise ConfigurationError("the body is no JSON object", remedy=_REMEDY)
    for name in fields:
        if name not in _KNOWN:
            raise ConfigurationError("is no field of a link", key=name[:99], remedy=nearest(name, _KNOWN))
    if not any(name in fields for name in _SLIDERS):
        raise ConfigurationError("the body changes nothing of the link", remedy=_REMEDY)
    return fields


def _number(fields: Mapping[str, Json], name: str, most: float, unit: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _wrong(name, value, f"write a number from 0 to {most:g}, in {unit}")
    return float(value)


def _wrong(name: str, value: Json, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{str(value)[:99]!r} can't be", key=name, remedy=remedy)


__all__ = ["LinkRefusedError", "Order", "Wish", "carry_out", "wish_of"]
