"""What links do, as the channel told: whose holds for which device, and what a page's sliders make of it.

The emulated link has many words, a page has three sliders: rate, delay and loss. `constant` puts those that
were moved into words, and leaves the rest as it is where it can be. Pure.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypedDict

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
    """What they show of a link."""

    rate_bps: float | None
    "None: no limit; 0: an outage"
    delay_s: float
    loss: float
    "share of messages, 0 to 1"


class Moved(TypedDict, total=False):
    """What a person sets, of the same; what is absent stays as it is, in each direction."""

    rate_bps: float | None
    delay_s: float
    loss: float


class Links:
    """By direction and device."""

    def __init__(self) -> None:
        self._told = dict[tuple[str, str | None], str]()
        self._started_s: float | None = None
        "when the channel began whose links these are"

    def hear(self, told: LinkTold) -> None:
        """An order for all takes the place of what single devices had, one for a device that of its names; a
        channel that was started anew has nothing of what was ordered before.
        """
        if told.started_s != self._started_s:
            self._told.clear()
            self._started_s = told.started_s
        if told.ordered:
            gone = [key for key in self._told if key[0] == told.direction and _below(key[1], told.device)]
            for key in gone:
                del self._told[key]
        remember(self._told, (told.direction, told.device), told.words, most=MAX_TOLD)

    def fields(self, device: str | None) -> dict[str, Json] | None:
        """As a feed tells them; None: nothing was told."""
        words = self.words(device)
        untold = [direction for direction in DIRECTIONS if words[direction] is None]
        if len(untold) == len(DIRECTIONS):
            return None
        fields = link_fields(words["uplink"] or "", words["downlink"] or "")
        return {**fields, **dict.fromkeys(untold, NOT_TOLD)}

    def words(self, device: str | None) -> dict[str, str | None]:
        """By direction, what was told last of a device's link, None: of those without their own."""
        return {direction: self._words(direction, device) for direction in DIRECTIONS}

    def _words(self, direction: str, device: str | None) -> str | None:
        names = [None] if device is None else [device, key_of(device), None]
        found = (self._told.get((direction, name)) for name in names)
        return next((words for words in found if words is not None), None)


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


def constant(words: str, moved: Moved, *, now: str | None = None) -> str:
    """The words of a link that is as the sliders say, and else as before; it changes no more by itself, but
    for a rate of a trace, or of fading, that nobody has moved.

    `words`: of what plays there, whose step in force is the one that `now` names, as told last; the first
    where it names none. What can't be beside a slider gives way: a jitter above the delay, a repeated sending
    where nothing is lost. Raises ConfigurationError for what no link can be.
    """
    link = _in_force(words, now)
    if "rate_bps" in moved:
        reorder = link.reorder if link.delay_s else 0.0  # that of a trace goes with it
        link = replace(link, rate_bps=moved["rate_bps"], trace=None, fading=None, reorder=reorder)
    if "delay_s" in moved:
        link = _delayed(link, moved["delay_s"])
    if "loss" in moved:
        loss = moved["loss"]
        link = replace(link, loss=_loss(link.loss, loss), arq_s=link.arq_s if loss else None)
    return str(LinkSchedule.constant(link)) or "delay 0"


def _in_force(words: str, now: str | None) -> LinkSpec:
    schedule = _schedule(words)
    if schedule is None:  # it may name what its channel alone knows, and do what it does not
        schedule = _schedule(now or "")
    if schedule is None:
        return LinkSpec()
    links = [step.link for step in schedule.steps]
    return next((link for link in links if str(link) == now), links[0])


def _delayed(link: LinkSpec, delay_s: float) -> LinkSpec:
    uniform = link.distribution is Distribution.UNIFORM
    jitter_s = max(0.0, min(link.jitter_s, delay_s)) if uniform else link.jitter_s
    return replace(link, delay_s=delay_s, jitter_s=jitter_s, reorder=link.reorder if delay_s else 0.0)


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


__all__ = ["Links", "Moved", "Sliders", "constant", "link_fields"]
