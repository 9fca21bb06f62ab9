"""Changes of a link whose timers are late, and messages that come between the two times."""

import asyncio
from typing import Any

import pytest
from tests.harness.channels import SEED, channel

from draftwire.nodes.channel.deliveries import Deliveries
from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.playing import MOST_CAUGHT_UP, PlayedLink
from draftwire.nodes.channel.way import Room, Way
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import Link, LinkSpec, parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

KILOBYTE = bytes(1000 - LinkSpec().bytes_on_link(0))
"""On the link, overhead included."""


def test_a_late_timer_is_no_excuse() -> None:
    """A message meets the link of its own time also while the timer of a change has not gone off yet."""
    schedule = parse_schedule("delay 10ms; 5s delay 1s; 6s delay 2s; repeat 9s")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=schedule):
            (timer,) = [task for task in asyncio.all_tasks() if task.get_name() == "channel schedule"]
            timer.cancel()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            delays_s = []
            for at_s in (0.0, 4.5, 7.5, 10.0, 14.0):
                await LoopClock().sleep_until(at_s)
                device.send(b"", b"x")
                delays_s.append((await target.receive()).at_s - at_s)
            assert delays_s == pytest.approx([0.01, 0.01, 2.0, 0.01, 1.0])

    run_virtual(main())


def test_a_delivery_waits_for_a_change_that_comes_before_it() -> None:
    """Also while the timer of the change has not gone off: the message is put off by it, and comes by the
    next link.
    """
    schedule = parse_schedule("rate 8kbit; 500ms rate 0; 2s rate 8kbit")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=schedule):
            (timer,) = [task for task in asyncio.all_tasks() if task.get_name() == "channel schedule"]
            timer.cancel()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            device.send(b"", KILOBYTE)  # half of it is sent when the outage comes
            await LoopClock().sleep_until(2.25)
            assert target.statistics().received == 0
            device.send(b"", KILOBYTE)  # which makes the change at 2 s happen
            assert [(await target.receive()).at_s for _ in range(2)] == pytest.approx([2.5, 3.5])

    run_virtual(main())


def test_a_message_read_before_a_change_that_was_made_meanwhile_meets_the_new_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The link's own time never goes back: it is put in when the change was, and not before."""
    offered, offer = list[float](), Link.offer

    def told_offer(self: Link[Any], now_s: float, *args: Any, **options: Any) -> Any:
        offered.append(now_s)
        return offer(self, now_s, *args, **options)

    async def main() -> list[float]:
        monkeypatch.setattr(Link, "offer", told_offer)
        deliveries, arrivals = Deliveries(LoopClock()), list[float]()
        running = asyncio.create_task(deliveries.run())
        played = PlayedLink(parse_schedule("delay 1s"), direction=Direction.UPLINK)
        played.start(0.0)
        way = Way(
            "a",
            Direction.UPLINK,
            played=played,
            streams=streams_of(SEED, "a", Direction.UPLINK),
            deliveries=deliveries,
            room=Room(),
            advance=lambda *_: None,
        )
        await asyncio.sleep(2.0)
        way.change(2.0)
        assert way.take(1.5, lambda *_: arrivals.append(LoopClock().now_s()), b"", b"x") is None
        await asyncio.sleep(5.0)
        running.cancel()
        return arrivals

    assert run_virtual(main()) == [3.0]
    assert offered == [2.0]


def test_a_hurry_makes_one_change_of_all_that_is_due() -> None:
    """The last link, now; the rates that were passed over are counted, and it goes on as if they had been."""
    schedule = parse_schedule("rate 1mbit; 1s rate 2mbit; 2s rate 3mbit; 3s delay 1ms; repeat 4s")
    slow, fast = (PlayedLink(schedule, direction=Direction.UPLINK) for _ in range(2))
    for played in (slow, fast):
        played.start(0.0)
    assert list(slow.advances(43.5)) == [*range(1, 44)]
    answers = iter([False, True])
    assert list(fast.advances(43.5, in_a_hurry=lambda: next(answers))) == [1.0, 43.5]
    assert (fast.spec, fast.due_s, fast.began_s) == (slow.spec, slow.due_s, slow.began_s)
    assert fast.rates_before == slow.rates_before == 32


def test_a_channel_that_was_asleep_is_not_kept_busy_with_the_past() -> None:
    """Behind so many changes only the last counts; then the schedule goes on as if it had been awake."""
    schedule = parse_schedule("rate 1mbit; 1ms rate 2mbit; repeat 2ms")
    played = PlayedLink(schedule, direction=Direction.UPLINK)
    played.start(0.0)
    changes = list(played.advances(3600.0015))
    assert len(changes) == MOST_CAUGHT_UP + 1
    assert changes[0] == 0.001 and changes[-1] == 3600.0015
    assert played.spec == parse_link("rate 2mbit")
    assert played.due_s == pytest.approx(3600.002)
