"""What an observer knows, folded out of the events that it hears, and what of it a page has not seen yet.

    observation = Observation()
    observation.hear("target", {"event": "step", ...}, at_s)
    message, cursor = observation.feed(None, None, now_s)      # all of it
    message, cursor = observation.feed(None, cursor, now_s)    # what is new

Everything is bounded, and the oldest is forgotten. Events come from the network, in any order: one that is
not what its name says changes nothing, and is counted. Pure: time is an argument, of the observer's clock.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import (
    Alive,
    Asked,
    Decision,
    Ended,
    LinkTold,
    OddEvent,
    Step,
    Tokens,
    Traffic,
    read,
)
from draftwire.nodes.observer.links import Links
from draftwire.nodes.observer.presence import SILENT_S, Presence
from draftwire.nodes.observer.views import View, Way

MAX_DEVICES: Final = 256
MAX_PIECES: Final = 200_000
"""Of all answers together: about 50 MB."""


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

    def __init__(self) -> None:
        self._views = dict[str, View]()
        "the one last that was heard of last"
        self._views_made = 0
        self._presence, self._links = Presence(), Links()
        self._pieces = 0
        self._bad = 0

    @property
    def bad_events(self) -> int:
        """Those that were not what their name says."""
        return self._bad

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        """A node tells this."""
        try:
            told = read(event)
        except OddEvent:
            self._bad += 1
            return
        match told:
            case Alive():
                self._presence.hear(told.role, node, at_s)
            case Step():
                self._presence.hear("target", node, at_s)
                self._view(told.device, at_s).step(told, at_s)
            case Decision():
                self._presence.hear("controller", node, at_s)
                self._view(told.device, at_s).decision(told, at_s)
            case LinkTold():
                self._presence.hear("channel", node, at_s)
                self._links.hear(told)
            case Traffic():
                self._presence.hear("channel", node, at_s)
                for carried in told.links:
                    view = self._view(carried.device, at_s)
                    view.carried(carried, counted_s=told.at_s, at_s=at_s)
            case Asked() | Tokens() | Ended():
                self._presence.hear("device", node, at_s)
                self._answered(told, at_s)

    def feed(self, device: str | None, cursor: Cursor | None, now_s: float) -> tuple[dict[str, Json], Cursor]:
        """What is to be told now of a device, None: of one that was heard of lately; and the cursor for the
        next call. All of it without a cursor, with that of another device, or where what has been forgotten
        since was not seen.
        """
        view = self._shown(device, cursor, now_s)
        if view is not None:
            view.pass_time(now_s)
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
        view.told_s = at_s
        before = view.pieces
        if isinstance(told, Asked):
            view.asked(told, at_s)
        elif isinstance(told, Tokens):
            view.tokens(told, at_s)
        else:
            view.ended(told, at_s)
        self._pieces += view.pieces - before
        if self._pieces > MAX_PIECES:
            self._make_room()

    def _make_room(self) -> None:
        """Forget answers of those devices first that were heard of longest ago."""
        for view in list(self._views.values()):
            while self._pieces > MAX_PIECES and (gone := view.forget_oldest()):
                self._pieces -= gone

    def _view(self, device: str, at_s: float) -> View:
        view = self._views.pop(device, None)
        if view is None:
            self._views_made += 1
            view = View(device, number=self._views_made)
        self._views[device] = view
        view.heard_s = at_s
        while len(self._views) > MAX_DEVICES:
            self._pieces -= self._views.pop(next(iter(self._views))).pieces
        return view

    def _shown(self, device: str | None, cursor: Cursor | None, now_s: float) -> View | None:
        """The device that was asked for; else the one shown before as long as it is heard of, or no other
        was heard of since, else the one that was heard of last.
        """
        if device is not None:
            return self._views.get(device)
        last = next(reversed(self._views.values()), None)
        if last is None or cursor is None:
            return last
        shown = next((one for one in self._views.values() if one.number == cursor.view), last)
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
