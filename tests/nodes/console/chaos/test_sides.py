"""A history with both ends side by side: every event is there, in order, in as many columns as asked for."""

from collections.abc import Sequence

import pytest

from draftwire.nodes.console.chaos.outcome import Event
from draftwire.nodes.console.chaos.sides import lines


def shown(events: Sequence[Event], *, width: int = 100) -> list[str]:
    """Its lines."""
    return list(lines(events, width=width))


def events(*told: tuple[float, str, str]) -> list[Event]:
    """Of (seconds, node, text)."""
    return [Event(at_s=at_s, node=node, text=text) for at_s, node, text in told]


def test_devices_are_left_and_the_base_station_is_right() -> None:
    """One device needs no name; the controller, which shares the right side, does; the channel is across."""
    device, target, controller, channel = shown(
        events(
            (0.5, "device-1", "Draft at 4"),
            (0.6, "target", "heard Draft"),
            (0.7, "controller", "plan 3"),
            (0.8, "channel", "lost one"),
        )
    )
    assert device.startswith("    0.5000  Draft at 4 ")
    middle = device.index("|")
    assert target.index("|") == middle
    assert target.endswith("| heard Draft")
    assert controller.endswith("| controller: plan 3")
    assert "|" not in channel
    assert channel.endswith("0.8000  channel: lost one")


def test_two_devices_are_named() -> None:
    """Else nobody knows whose message it was."""
    first, second = shown(events((0.5, "device-1", "a"), (0.6, "device-2", "b")))
    assert "device-1: a" in first
    assert "device-2: b" in second


def test_a_fault_goes_across() -> None:
    """From margin to margin, with its time."""
    (line,) = shown(events((1.25, "", "target dies")), width=80)
    assert line.startswith("--  1.2500  target dies ---")
    assert len(line) == 80


@pytest.mark.parametrize("width", [40, 69, 70, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long texts go on in the next line, in their own column; nothing of them is lost."""
    words = [f"word{number}" for number in range(40)]
    found = shown(events((0.1, "device-1", " ".join(words)), (0.2, "target", " ".join(words))), width=width)
    assert max(map(len, found)) <= width
    assert sum(line.count(word) for word in ("word39",) for line in found) == 2


def test_a_quiet_stretch_is_one_line() -> None:
    """Seconds without an event are told as such."""
    found = shown(events((1.0, "device-1", "a"), (1.5, "target", "b"), (33.9, "device-1", "c")))
    assert len(found) == 4
    assert found[2].split() == ["......", "32.4", "s", "in", "which", "nothing", "happens"]


def test_what_is_repeated_is_shown_once() -> None:
    """Ping and its answer forty times are two lines and a count; what differs is never folded."""
    pings = [
        one
        for number in range(40)
        for one in events((2.0 * number, "device-1", "Ping"), (2.0 * number + 0.1, "target", "heard Ping"))
    ]
    found = shown([*pings, *events((79.5, "device-1", "Close"))])
    assert len(found) == 4
    assert found[2].split() == ["......", "the", "same", "39", "times", "more,", "until", "78.1000", "s"]
    different = events(*((0.1 * number, "device-1", f"token {number}") for number in range(40)))
    assert len(shown(different)) == 40


def test_a_fault_between_repeats_is_shown() -> None:
    """However alike the events around it are."""
    repeats = events(*((0.1 * number, "device-1", "Open") for number in range(10)))
    found = shown([*repeats, *events((1.0, "", "target dies")), *repeats])
    assert sum("target dies" in line for line in found) == 1
