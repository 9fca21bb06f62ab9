"""What links do, as the channel told: whose holds for which device, and what a page's sliders make of it.

The emulated link has many words, a page has three sliders: rate, delay and loss. `constant` puts those three
into words, and leaves the others as they are where they can be. Pure.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import DIRECTIONS, LinkTold
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import (
    BurstLoss,
    Distribution,
    LinkSchedule,
    LinkSpec,
    RandomLoss,
    parse_schedule,
)
from draftwire.runtime.memory import remember
from draftwire.runtime.security import key_of

MAX_TOLD: Final = 1024
"""Links that are kept, of two directions; beyond it those are forgotten that were told longest ago."""

UNLIMITED: Final = "no limit"
"""In place of the words of a link that does nothing, of which there are none."""


NOT_TOLD: Final = "not told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliders:
    """What a person sets."""

    rate_bps: float | None
    "None: no limit; 0: an outage"
    delay_s: float
    loss: float
    "share of messages, 0 to 1"


class Links:
    """By direction and device."""

    def __init__(self) -> None:
        self._told = dict[tuple[str, str | None], str]()

    def hear(self, told: LinkTold) -> None:
        """An order for all takes the place of what single devices had, one for a device that of its names."""
        if told.ordered:
            gone = [key for key in self._told if key[0] == told.direction and _below(key[1], told.device)]
            for key in gone:
                del self._told[key]
        remember(self._told, (told.direction, told.device), told.words, most=MAX_TOLD)

    def fields(self, device: str | None) -> dict[str, Json] | None:
        """As a feed tells them; None: nothing was told."""
        up, down = (self._words(direction, device) for direction in DIRECTIONS)
        if up is None and down is None:
            return None
        return {**link_fields(up or "", down or ""), **dict.fromkeys(_untold(up, down), NOT_TOLD)}

    def _words(self, direction: str, device: str | None) -> str | None:
        names = [None] if device is None else [device, key_of(device), None]
        found = (self._told.get((direction, name)) for name in names)
        return next((words for words in found if words is not None), None)


def _untold(up: str | None, down: str | None) -> list[str]:
    told = zip(DIRECTIONS, (up, down), strict=True)
    return [direction for direction, words in told if words is None]


def link_fields(uplink: str, downlink: str, *, controllable: bool = False) -> dict[str, Json]:
    """Both directions in words, and the uplink as the sliders show it."""
    sliders = _sliders(uplink)
    return {
        "uplink": uplink or UNLIMITED,
        "downlink": downlink or UNLIMITED,
        "controllable": controllable,
        "rate_bps": sliders.rate_bps,
        "delay_s": sliders.delay_s,
        "loss": sliders.loss,
    }


def constant(words: str, sliders: Sliders) -> str:
    """The words of a link that is as the sliders say, and else as before; it changes no more by itself.

    What can't be beside it gives way: a jitter above the delay, a repeated sending where nothing is lost.
    Raises ConfigurationError for what no link can be.
    """
    before = LinkSpec() if (schedule := _schedule(words)) is None else schedule.steps[0].link
    uniform = before.distribution is Distribution.UNIFORM
    link = replace(
        before,
        rate_bps=sliders.rate_bps,
        trace=None,
        fading=None,
        delay_s=sliders.delay_s,
        jitter_s=max(0.0, min(before.jitter_s, sliders.delay_s)) if uniform else before.jitter_s,
        reorder=before.reorder if sliders.delay_s else 0.0,
        loss=_loss(before.loss, sliders.loss),
        arq_s=before.arq_s if sliders.loss else None,
    )
    return str(LinkSchedule.constant(link)) or "delay 0"


def _loss(before: RandomLoss | BurstLoss | None, share: float) -> RandomLoss | BurstLoss | None:
    """Bursts stay while nobody touches them."""
    if not share:
        return None
    if isinstance(before, BurstLoss) and abs(_share(before) - share) < 1e-9:
        return before
    correlation = before.correlation if isinstance(before, RandomLoss) else 0.0
    return RandomLoss(share=share, correlation=correlation)


@lru_cache(maxsize=256)
def _sliders(words: str) -> Sliders:
    schedule = _schedule(words)
    if schedule is None:
        return Sliders(rate_bps=None, delay_s=0.0, loss=0.0)
    link = schedule.steps[0].link
    return Sliders(rate_bps=link.mean_rate_bps, delay_s=link.delay_s, loss=_share(link.loss))


def _schedule(words: str) -> LinkSchedule | None:
    """None: it names what is known to its channel alone, as the trace of a file."""
    try:
        return parse_schedule(words) if words and words != UNLIMITED else None
    except ConfigurationError:
        return None


def _share(loss: RandomLoss | BurstLoss | None) -> float:
    """Of messages, in the long run."""
    if loss is None:
        return 0.0
    if isinstance(loss, RandomLoss):
        return loss.share
    moves = loss.to_bad + loss.to_good
    bad = loss.to_bad / moves if moves else 0.0
    return bad * loss.bad_loss + (1 - bad) * loss.good_loss


def _below(name: str | None, device: str | None) -> bool:
    """Whether an order for a device is for this name; None: for all."""
    return device is None or (name is not None and (name == device or key_of(name) == device))


__all__ = ["Links", "Sliders", "constant", "link_fields"]
