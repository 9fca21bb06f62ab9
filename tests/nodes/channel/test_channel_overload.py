"""A channel that is asked for more than it has time, room or lines for goes on with its other work."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from tests.harness.channels import SEED, channel

from draftwire.nodes.channel.cpu_share import AHEAD_S
from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.links import Links
from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.playing import PlayedLink, Programme
from draftwire.nodes.channel.telling import EVERY_S, MOST_AT_ONCE, LinkTelling
from draftwire.nodes.channel.way import MESSAGE_BYTES, MOST_UNDER_WAY_BYTES, Way
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkDrop, parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

CHANGE_S = 0.003
"""What a change takes of a link that much waits on."""


class _Working:
    """A clock that goes on while work is done, and the loop's stands still."""

    def __init__(self) -> None:
        self.worked_s = 0.0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() + self.worked_s

    async def sleep_until(self, deadline_s: float) -> None:
        raise AssertionError("whoever plays links has a timer of its own")


@pytest.mark.parametrize("devices", [1, 5])
def test_no_schedule_takes_more_than_half_of_a_channels_time(
    devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each of its changes takes longer than it lasts, other work has its turns and its time; messages
    that come meanwhile bring no change about; the last link of all that was due holds.
    """
    clock, changes = _Working(), 0
    changed = Way.change

    def change(self: Way, at_s: float) -> None:
        nonlocal changes
        changes += 1
        assert changes < 10_000, "it is busy with nothing else"
        clock.worked_s += CHANGE_S
        changed(self, at_s)

    async def main() -> None:
        monkeypatch.setattr(Way, "change", change)
        schedule = parse_schedule("rate 1kbit; 1ms rate 2kbit; repeat 2ms")
        links = Links(
            Programme(uplink=schedule, downlink=parse_schedule("rate 1kbit")),
            seed=SEED,
            most_own=4,
            deliveries=Deliveries(clock),
            clock=clock,
            logger=get_logger("channel"),
        )
        links.start(0.0)
        ways = [links.of(f"{number}")[Direction.UPLINK] for number in range(devices)]
        playing = asyncio.create_task(links.play())
        for _ in range(1000):
            await asyncio.sleep(0.001)
            ways[0].take(clock.now_s(), lambda *_: None, b"", b"x")
        most_s = 1.0 + 2 * AHEAD_S + devices * CHANGE_S
        assert 0.5 < clock.worked_s < most_s
        assert abs(ways[0].played.due_s - clock.now_s()) < 0.1
        playing.cancel()

    with structlog.testing.capture_logs():
        run_virtual(main())


def test_a_channel_holds_so_much_and_no_more() -> None:
    """Above it messages of any device are dropped, and counted apart; what is delivered makes room again."""
    size = 2**20 - MESSAGE_BYTES
    fit = MOST_UNDER_WAY_BYTES // 2**20

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("delay 5s duplicate 100%")) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            one, other = [
                await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in "ab"
            ]
            data = bytes(size)
            for _ in range(fit // 2):  # each has a copy
                one.send(b"", data)
                await asyncio.sleep(0)
            for end in (one, other):
                end.send(b"", data)
            await asyncio.sleep(1.0)
            links = node.statistics().links
            assert links["a", Direction.UPLINK].dropped == {LinkDrop.CHANNEL_FULL: 1}
            assert links["b", Direction.UPLINK].dropped == {LinkDrop.CHANNEL_FULL: 1}
            for _ in range(fit):
                await target.receive()
            other.send(b"", data)
            assert (await target.receive()).name == "b"
            await target.receive()
            assert node._links._room.left_bytes == MOST_UNDER_WAY_BYTES

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    said = [log for log in logs if log["event"] == "channel.drops"]
    assert [(log["direction"], log["cause"]) for log in said] == [("uplink", "channel_full")]


def _told(words: str, seconds: float, *, then: str | None = None) -> Sequence[Any]:
    """The `link` events of an uplink's changes, and of an order that comes `then`."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_schedule(words)) as node,
        ):
            await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            device.send(b"", b"x")
            await asyncio.sleep(seconds)
            if then is not None:
                node.set_link(Direction.UPLINK, parse_schedule(then))
                await asyncio.sleep(10.0)

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = [log for log in logs if log["event"] == "link" and log["direction"] == "uplink"]
    return told[1:]


def test_changes_in_quick_succession_are_told_some_times_a_second() -> None:
    """The first ones all, then one now and then, which says how many were left out: their sum is right."""
    told = _told("rate 1mbit; 1ms rate 2mbit; repeat 2ms", 10.0)
    assert len(told) == pytest.approx(MOST_AT_ONCE + 10 / EVERY_S, abs=2)
    assert [log["left_out"] for log in told[:MOST_AT_ONCE]] == [0] * MOST_AT_ONCE
    assert sum(1 + log["left_out"] for log in told) == pytest.approx(1e4, abs=1e3 * EVERY_S + 1)
    assert told[-1]["rates_before"] == round(1e3 * told[-1]["at_s"])


def test_the_last_of_many_changes_is_told_in_any_case() -> None:
    """A schedule that comes to rest is told as it rests, with the time of that change."""
    steps = "; ".join(f"{at}ms rate {at}mbit" for at in range(1, 41))
    told = _told(f"rate 50mbit; {steps}", 60.0)
    assert (told[-1]["link"], told[-1]["at_s"]) == ("rate 40mbit", 0.04)
    assert len(told) < MOST_AT_ONCE + 3 and sum(1 + log["left_out"] for log in told) == 40


def test_what_an_order_replaces_is_told_no_more() -> None:
    """Also where a change of it was held back as the order came."""
    told = _told("rate 1mbit; 1ms rate 2mbit; repeat 2ms", 0.0301, then="rate 5mbit")
    assert (told[-1]["ordered"], told[-1]["link"]) == (True, "rate 5mbit")


def test_an_order_is_always_told_and_what_it_replaces_no_more() -> None:
    """However much was told just before; a change that was held back goes with its schedule."""
    played = PlayedLink(parse_schedule("rate 1mbit"), direction=Direction.UPLINK)
    with structlog.testing.capture_logs() as logs:
        telling = LinkTelling(seed=SEED, logger=get_logger("channel"))
        for _ in range(MOST_AT_ONCE + 3):
            telling.tell_change(played, 1.0)
        assert telling.due_s == pytest.approx(1.0 + EVERY_S / 2)
        telling.tell_held(1.0)
        assert len(logs) == MOST_AT_ONCE
        telling.tell(played, 1.0, ordered=True)
        assert (logs[-1]["ordered"], logs[-1]["left_out"]) == (True, 3)
        telling.tell_change(played, 1.0)
        telling.forget(played)
        telling.tell_held(1e9)
    assert len(logs) == MOST_AT_ONCE + 1
    assert telling.due_s == float("inf")


def test_in_virtual_time_no_change_is_put_off() -> None:
    """Work takes no time there, so the model's own times hold however many changes come."""

    async def main() -> None:
        words = "rate 80kbit; 1ms rate 160kbit; repeat 2ms"
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_schedule(words)),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for _ in range(100):
                device.send(b"", bytes(1448 - 22))  # 1500 on the link: 100 ms
            heard = [await target.receive() for _ in range(100)]
            assert heard[-1].at_s == pytest.approx(10.0)
            assert LoopClock().now_s() == heard[-1].at_s

    run_virtual(main())
