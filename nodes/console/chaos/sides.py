"""A run's history with both ends side by side: `draftwire chaos --replay`.

        0.1425  says Draft epoch 2 from 8: 16 2    |
        0.1638                                     | hears Draft epoch 2 from 8: 16 2
    --  0.2083  target dies, and is started again 30 s later ----------------------
        0.2083                                     | life 0 is over
        ......  29.1 s in which nothing happens
"""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from draftwire.nodes.console.chaos.outcome import Event
from draftwire.nodes.console.chaos.places import CHANNEL, CONTROLLER, TARGET

NARROW: Final = 70
"Columns below which both ends share one, each line with its node's name."

QUIET_S: Final = 2.0
"A stretch without an event that is longer is told as such."

LONGEST_CYCLE: Final = 8
"Events that come again and again, as a repeat and its answer: shown once if there are no more of them."

TIME_WIDTH: Final = 12


def lines(events: Sequence[Event], *, width: int) -> Iterator[str]:
    """The history, a line or more an event; devices on the left, the base station's side on the right."""
    devices = {one.node for one in events if one.node not in ("", TARGET, CONTROLLER, CHANNEL)}
    last_s, place = None, 0
    while place < len(events):
        event = events[place]
        if last_s is not None and event.at_s - last_s > QUIET_S:
            yield f"{'......':>{TIME_WIDTH - 2}}  {event.at_s - last_s:.1f} s in which nothing happens"
        length, times = _cycle(events, place)
        for one in events[place : place + length]:
            yield from _shown(one, width=width, named=len(devices) > 1)
        place += length * times
        last_s = events[place - 1].at_s
        if times > 1:
            yield f"{'......':>{TIME_WIDTH - 2}}  the same {times - 1} times more, until {last_s:.4f} s"


def _cycle(events: Sequence[Event], place: int) -> tuple[int, int]:
    """How many events from here on are repeated, and how often they are there; (1, 1): not at all."""
    for length in range(1, LONGEST_CYCLE + 1):
        if not all(one.node for one in events[place : place + length]):
            break  # a fault is never left out
        times = 1
        while _same(events, place, place + times * length, length):
            times += 1
        if times > 2:
            return length, times
    return 1, 1


def _same(events: Sequence[Event], first: int, second: int, length: int) -> bool:
    """Whether so many events from `second` on say what those from `first` on say."""
    if second + length > len(events):
        return False
    pairs = zip(events[first : first + length], events[second : second + length], strict=True)
    return all((a.node, a.text) == (b.node, b.text) for a, b in pairs)


def _shown(event: Event, *, width: int, named: bool) -> Iterator[str]:
    if not event.node:
        line = f"-- {event.at_s:>{TIME_WIDTH - 5}.4f}  {event.text} "
        yield line.ljust(width, "-")
        return
    at = f"{event.at_s:>{TIME_WIDTH - 2}.4f}  "
    if event.node == CHANNEL or width < NARROW:
        yield from _wrapped(f"{event.node}: {event.text}", at=at, width=width - TIME_WIDTH)
        return
    half = (width - TIME_WIDTH - 3) // 2
    if event.node in (TARGET, CONTROLLER):
        text = event.text if event.node == TARGET else f"{event.node}: {event.text}"
        yield from _wrapped(text, at=at, width=half, before=" " * half + " | ")
    else:
        text = f"{event.node}: {event.text}" if named else event.text
        for line in _wrapped(text, at=at, width=half):
            yield f"{line:{TIME_WIDTH + half}} |"


def _wrapped(text: str, *, at: str, width: int, before: str = "") -> Iterator[str]:
    for number, line in enumerate(wrap(text, max(width, 20), subsequent_indent="  ") or [""]):
        yield f"{at if number == 0 else ' ' * len(at)}{before}{line}".rstrip()


__all__ = ["lines"]
