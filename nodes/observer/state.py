"""What an observer knows, folded out of the events that it hears, and what of it a page has not seen yet.

    observation = Observation(presence)
    observation.take(read({"event": "step", ...}), at_s)
    message, cursor = observation.feed(None, None, now_s)      # all of it
    message, cursor = observation.feed(None, cursor, now_s)    # what is new

Everything is bounded, and the oldest is forgotten, of the key first that takes most room. Events come from
the network, in any order. Pure: time is an argument, of the observer's clock.
"""

from collections import Counter
from typing import Final, NamedTuple

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import (
    Alive,
    Asked,
    Decision,
    Ended,
    Heard,
    LinkTold,
    Step,
    Tokens,
    Traffic,
)
from draftwire.nodes.observer.links import Links
from draftwire.nodes.observer.names import Names
from draftwire.nodes.observer.presence import SILENT_S, Presence
from draftwire.nodes.observer.views import View, Way
from draftwire.runtime.security import key_of

MAX_DEVICES: Final = 256
MAX_BYTES: Final = 16 * 2**20
"""Of all answers together, their summaries included."""

LEFT: Final = 7 / 8
"""Of them, when there are more: so that room is not made for each token anew."""


class Cursor(NamedTuple):
    """How far a page has seen."""

    asked: str | None
    "the device that it asked for; None: any"
    view: int
    "number of the view that it was shown; 0: none"
    last: int
    "number of the newest in it"


class Observation:
    """Of all nodes of a topology."""

    def __init__(self, presence: Presence) -> None:
        """`presence`: of all nodes; who calls `take` tells it who speaks."""
        self._views = Names[View](MAX_DEVICES)
        "the one last that was heard of last"
        self._views_made = 0
        self._presence, self._links = presence, Links()
        self._size = 0
        "bytes of all answers, at most: those of devices that are gone count until room is made"

    def take(self, told: Heard, at_s: float) -> None:
        """A node tells this."""
        match told:
            case Alive():
                pass
            case Step():
                self._view(told.device, at_s).step(told, at_s)
            case Decision():
                self._view(told.device, at_s).decision(told, at_s)
            case LinkTold():
                self._links.hear(told)
            case Traffic():
                for carried in told.links:
                    view = self._view(carried.device, at_s)
                    view.carried(carried, counted_s=told.at_s, at_s=at_s)
            case Asked() | Tokens() | Ended():
                self._answered(told, at_s)

    def alpha(self, device: str) -> float | None:
        """Accepted over tested of late; None: nothing was tested."""
        view = self._views.get(device)
        return None if view is None else view.alpha

    def words(self, device: str | None) -> dict[str, str | None]:
        """By direction, what the link of a device was told last to do; None: nothing."""
        return self._links.words(device)

    def feed(self, device: str | None, cursor: Cursor | None, now_s: float) -> tuple[dict[str, Json], Cursor]:
        """What is to be told now of a device, None: of one that was heard of lately; and the cursor for the
        next call. All of it without a cursor, with that of another device, or where what has been forgotten
        since was not seen.
        """
        view = self._shown(device, cursor, now_s)
        if view is not None:
            view.pass_time(now_s, silent_s=self._presence.silent_s("device", view.name, now_s))
        same = cursor is not None and cursor.asked == device and cursor.view == (view.number if view else 0)
        full = cursor is None or not same or (view is not None and view.lost > cursor.last)
        since = 0 if full or cursor is None else cursor.last
        name = device if view is None else view.name
        message: dict[str, Json] = {
            "full": full,
            "at_s": round(now_s, 3),
            "device": name,
            "devices": list[Json](sorted(self._views)),
            "asks": None,
            "nodes": self._nodes(name, view, now_s),
            "link": self._links.fields(name),
            "flow": _NO_FLOW if view is None else view.flow(now_s),
            "plan": None if view is None else view.plan(),
            "now": _NOTHING_NOW if view is None else view.now(now_s),
            "points": [] if view is None else view.points(since),
            "answers": [] if view is None else view.answers(since),
            "decisions": [] if view is None else view.decisions(since),
        }
        return message, Cursor(device, view.number if view else 0, view.last if view else 0)

    def link(self, device: str | None) -> dict[str, Json] | None:
        """What the links of a device do, None: of those that have none of their own; as in `feed`."""
        return self._links.fields(device)

    def _answered(self, told: Asked | Tokens | Ended, at_s: float) -> None:
        view = self._view(told.device, at_s)
        before = view.size
        view.pass_time(at_s, silent_s=0.0)
        if isinstance(told, Asked):
            view.asked(told, at_s)
        elif isinstance(told, Tokens):
            view.tokens(told, at_s)
        else:
            view.ended(told, at_s)
        self._size += view.size - before
        if self._size > MAX_BYTES:
            self._make_room()

    def _make_room(self) -> None:
        """Forget answers of the key that has most of them, over and over."""
        sizes = self._sizes()
        while sizes.total() > LEFT * MAX_BYTES:
            key = max(sizes, key=sizes.__getitem__)
            sizes[key] -= self._forget_of(key)
        self._size = sizes.total()

    def _forget_of(self, key: str) -> int:
        """The oldest answer, of those devices first that were heard of longest ago; a last one only when
        there is no other. How many bytes that were.
        """
        views = [view for name, view in self._views.values.items() if key_of(name) == key]
        for but in (1, 0):
            for view in views:
                before = view.size
                if view.forget_oldest(but=but):
                    return before - view.size
        raise AssertionError(f"{key} has answers")

    def _sizes(self) -> Counter[str]:
        """Bytes of answers, by key."""
        sizes = Counter[str]()
        for name, view in self._views.values.items():
            sizes[key_of(name)] += view.size
        return sizes

    def _view(self, device: str, at_s: float) -> View:
        view = self._views.get(device)
        if view is None:
            self._views_made += 1
            view = View(device, number=self._views_made)
        self._views.put(device, view)
        view.heard_s = at_s
        return view

    def _shown(self, device: str | None, cursor: Cursor | None, now_s: float) -> View | None:
        """The device that was asked for; else the one shown before as long as it is heard of, or no other
        was heard of since, else the one that was heard of last.
        """
        if device is not None:
            return self._views.get(device)
        last = None if (newest := self._views.newest()) is None else self._views.get(newest)
        if last is None or cursor is None:
            return last
        shown = next((one for one in self._views.values.values() if one.number == cursor.view), last)
        return shown if now_s - shown.heard_s < SILENT_S else last

    def _nodes(self, device: str | None, view: View | None, now_s: float) -> dict[str, Json]:
        details = {
            "device": _device_detail(device, view),
            "channel": "",
            "target": _target_detail(view),
            "controller": "",
        }
        return {
            role: self._presence.fields(role, device=device, detail=detail, now_s=now_s)
            for role, detail in details.items()
        }


def _device_detail(device: str | None, view: View | None) -> str:
    running = 0 if view is None else view.running()
    if not running:
        return device or ""
    return f"{device}: {running} answer{'s' * (running != 1)} under way"


def _target_detail(view: View | None) -> str:
    pass_s = None if view is None else view.pass_s
    return "" if pass_s is None else f"{1e3 * pass_s:.0f} ms a pass"


_NO_FLOW: Final[dict[str, Json]] = {direction: Way().fields(0.0) for direction in ("uplink", "downlink")}
_NOTHING_NOW: Final[dict[str, Json]] = dict.fromkeys(
    ("alpha", "tokens_per_s", "target_only_tokens_per_s", "estimated_bps")
)

__all__ = ["Cursor", "Observation"]
