"""A channel whose links change by schedules: exactly when they say, and for what waits as well."""

import asyncio
import random
from math import inf
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.channels import SEED, Traffic, arrivals, channel

from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.playing import PlayedLink, Programme
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkSpec, parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport

FAST = parse_link("rate 8mbit delay 10ms")


def _size_of(on_link_bytes: int) -> int:
    """Of a message that takes so many bytes on a link."""
    size = on_link_bytes
    while LinkSpec().bytes_on_link(size) > on_link_bytes:
        size -= 1
    return size


def _traffic(seed: int, *, count: int = 300, begin_s: float = 0.0) -> Traffic:
    """Messages at irregular times; some of them together, and some at whole seconds, where links change."""
    rng, now_s, messages = random.Random(seed), begin_s, Traffic()
    for _ in range(count):
        now_s += rng.choice([0.0, 0.001, rng.random() * 0.05])
        if rng.random() < 0.1:
            now_s = float(int(now_s) + 1)
        messages.append((now_s, rng.randbytes(rng.randrange(3000))))
    return messages


@pytest.mark.parametrize(
    "words",
    [
        "rate 4mbit delay 10ms 5ms; 1s rate 400kbit; 3s rate 8mbit delay 30ms",
        "rate 4mbit delay 10ms 5ms; 1s rate 400kbit; 2s delay 0; repeat 3s",
        "rate 1mbit delay 5ms; 1s rate 0; 2s rate 20mbit; repeat 4s",
        "rate 1mbit; 1s rate 2mbit",
        "trace lte-like delay 3ms; 2s rate 300kbit; repeat 5s",
        "rayleigh 15db 1mhz 50ms delay 3ms 1ms distribution normal; 3s rate 1mbit",
    ],
)
def test_a_schedule_changes_delivery_times_exactly_when_it_says(words: str) -> None:
    """Every message arrives at the very float that the model gives which changes at those times."""
    schedule = parse_schedule(words)
    up, down = _traffic(1), _traffic(2, begin_s=0.5)
    expected_up = arrivals(schedule, up)
    expected_down = arrivals(schedule, down, direction=Direction.DOWNLINK)
    assert expected_up != arrivals(schedule.steps[0].link, up)

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=schedule, downlink=schedule),
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")

            async def send(end: Any, peer: bytes, messages: Traffic) -> None:
                for at_s, data in messages:
                    await clock.sleep_until(at_s)
                    assert end.send(peer, data)

            async with asyncio.TaskGroup() as group:
                group.create_task(send(device, b"", up))
                heard_up = [await target.receive()]
                assert heard_up[0].name == "a"
                group.create_task(send(target, heard_up[0].peer, down))
                heard_up += [await target.receive() for _ in expected_up[1:]]
                heard_down = [await device.receive() for _ in expected_down]
            assert [(one.at_s, one.data) for one in heard_up] == expected_up
            assert [(one.at_s, one.data) for one in heard_down] == expected_down

    assert up[0][0] == 0.0  # so the schedule's time is the loop's
    run_virtual(main())


def test_a_configured_schedule_begins_with_the_first_message() -> None:
    """However long the models load: time 0 is the first message of any device, for every device."""
    schedule = parse_schedule("delay 10ms; 5s delay 1s")

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=schedule, downlink=schedule),
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            first = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            second = await transport.connect("memory://channel", service=Service.TARGET, name="b")
            arrivals = []
            sent = ((first, 100.0), (second, 104.0), (first, 104.75), (second, 105.0), (first, 107.0))
            for end, at_s in sent:
                await clock.sleep_until(at_s)
                end.send(b"", b"x")
                arrivals.append((await target.receive()).at_s - at_s)
            assert arrivals == pytest.approx([0.01, 0.01, 0.01, 1.0, 1.0])

    run_virtual(main())


def test_a_fading_is_the_same_for_who_joins_late() -> None:
    """A device that comes in the third fade meets what it would have met had it been there all the time."""
    words = "rate 200kbit; 1s rayleigh 10db 100khz 50ms; 2s rate 300kbit; repeat 3s"

    async def arrival_s(*, joins: bool) -> float:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_schedule(words)),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            late = await transport.connect("memory://channel", service=Service.CHANNEL, name="late")
            first = await transport.connect("memory://channel", service=Service.CHANNEL, name="first")
            for end in (first,) if joins else (first, late):
                end.send(b"", b"x")
                await target.receive()
            await LoopClock().sleep_until(7.125)
            late.send(b"", bytes(3000))
            return (await target.receive()).at_s

    late_s = run_virtual(arrival_s(joins=True))
    assert 7.125 < late_s < 8 and late_s == run_virtual(arrival_s(joins=False))


def test_a_played_link_catches_up() -> None:
    """Called late, it makes one change after the other, each at its time; called at a change, it is there."""
    schedule = parse_schedule("rate 1mbit; 1s rate 2mbit; 2s rate 2mbit; 3s rate 4mbit; repeat 4s")
    played = PlayedLink(schedule, direction=Direction.UPLINK)
    assert (played.due_s, list(played.advances(100.0))) == (inf, [])
    for now_s in (0.1, 50.0):  # the second does nothing
        played.start(now_s)
    assert (played.began_s, played.due_s, list(played.advances(1.0))) == (0.1, 1.1, [])
    for _ in range(3000):  # at times that are sums of floats
        due_s = played.due_s
        assert list(played.advances(due_s)) == [due_s]
    assert (played.spec, played.due_s) == (parse_link("rate 1mbit"), 4001.1)
    seen = [(at_s, str(played.spec)) for at_s in played.advances(4004.5)]
    times = [4001.1, 4003.1, 4004.1]
    assert [at_s for at_s, _ in seen] == pytest.approx(times)
    assert [words for _, words in seen] == ["rate 2mbit", "rate 4mbit", "rate 1mbit"]
    assert played.began_s == pytest.approx(4004.1)
    assert played.rates_before == 3003


def test_a_rate_goes_on_through_pieces_and_orders_that_leave_it() -> None:
    """A trace begins with the piece that brings it, for devices that come later as well."""
    words = "rate 1mbit; 1s trace lte-like; 2s loss 1%; 3s loss 0% delay 1ms; repeat 9s"
    played = PlayedLink(parse_schedule(words), direction=Direction.UPLINK)
    played.start(10.0)
    assert [(at_s, played.began_s) for at_s in played.advances(19.0)] == [
        (11.0, 11.0),
        (12.0, 11.0),
        (13.0, 11.0),
        (19.0, 19.0),
    ]
    constant = parse_schedule("trace lte-like")
    programme = Programme(uplink=constant, downlink=constant)
    programme.start(5.0)
    for at_s, words, began_s in ((6.0, "trace lte-like loss 1%", 5.0), (7.0, "trace nr-like", 7.0)):
        ordered = programme.order(Direction.UPLINK, parse_schedule(words), at_s, device=None)
        assert (ordered.began_s, programme.of("a", Direction.UPLINK)) == (began_s, ordered)
    assert ordered.rates_before == 1
    again = parse_schedule("trace nr-like; 1s loss 1%; 2s rate 1mbit")
    ordered = programme.order(Direction.UPLINK, again, 10.0, device=None)
    told = [(at_s, ordered.began_s, ordered.rates_before) for at_s in ordered.advances(20.0)]
    assert told == [(11.0, 7.0, 1), (12.0, 12.0, 2)]


def test_a_device_that_comes_late_meets_the_trace_where_it_is() -> None:
    """Two devices send alike and meet alike, though only the first was there at the change."""
    schedule = parse_schedule("rate 1mbit; 1s trace lte-like; 2s delay 5ms")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=schedule):
            target = await transport.bind("memory://target", service=Service.TARGET)
            first, second = [
                await transport.connect("memory://channel", service=Service.CHANNEL, name=name)
                for name in ("a", "b")
            ]
            first.send(b"", b"x")
            await target.receive()
            await LoopClock().sleep_until(4.321)
            for end in (first, second):
                end.send(b"", bytes(3000))
            heard = [await target.receive() for _ in range(2)]
            assert {one.name for one in heard} == {"a", "b"}
            assert heard[0].at_s == heard[1].at_s

    run_virtual(main())


def test_what_waits_goes_by_the_new_rate_and_what_has_left_keeps_its_times() -> None:
    """Bits not yet sent go by the curve of their own time, the rest of a message half sent among them."""
    schedule = parse_schedule("rate 100kbit delay 2s; 0.75s rate 1mbit delay 1s; 1s rate 10kbit")

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=schedule):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for number in range(3):
                device.send(b"", bytes([number]) * _size_of(6250))  # 0.5 s each on the first link
            heard = [await target.receive() for _ in range(3)]
            assert [one.data[0] for one in heard] == [0, 1, 2]
            # The first is away at 0.5 s, and keeps the delay of its time; nobody overtakes it. The second is
            # half sent when the rate rises, the third behind it at 10 times its speed.
            assert [one.at_s for one in heard] == pytest.approx([2.5, 2.5, 2.5])
            for _ in range(2):
                device.send(b"", bytes(_size_of(1250)))  # 1 s each on the last link
            assert [(await target.receive()).at_s for _ in range(2)] == pytest.approx([4.5, 5.5])

    run_virtual(main())


def test_a_message_put_off_and_brought_forward_arrives_once_at_its_last_time() -> None:
    """However often the link changes under it."""

    async def main() -> None:
        clock = LoopClock()
        slow = parse_link("rate 8kbit")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=slow) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            device.send(b"", bytes(_size_of(4000)))  # due at 4 s
            for at_s, rate in ((1.0, "80kbit"), (1.1, "0"), (2.1, "8kbit"), (2.6, "0"), (5.0, "8kbit")):
                await clock.sleep_until(at_s)
                node.set_link(Direction.UPLINK, parse_link(f"rate {rate}"))
            # 1000 bytes until 1 s, 1000 until 1.1 s, 500 until 2.6 s: the other 1500 take 1.5 s.
            assert (await target.receive()).at_s == pytest.approx(6.5)
            await clock.sleep_until(1000.0)
            assert target.statistics().received == 1

    run_virtual(main())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_orders_at_any_time_move_messages_as_the_model_says(seed: int) -> None:
    """A channel that is ordered about arrives at the model's own times, and loses and repeats nothing."""
    rng = random.Random(seed)
    rates = ("rate 20kbit delay 5ms", "rate 0", "rate 1mbit delay 30ms", "delay 2ms", "rate 100kbit")
    times = sorted(rng.sample(range(1, 3000), k=6))
    pieces = "; ".join(f"{ms}ms {rng.choice(rates)}" for ms in times)
    schedule = parse_schedule(f"rate 50kbit delay 10ms; {pieces}; 4s rate 1mbit delay 0")
    traffic = [(0.0, b"first"), *_traffic(seed, count=60)]
    expected = arrivals(schedule, traffic)

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=schedule.steps[0].link) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")

            async def order() -> None:
                for step in schedule.steps[1:]:
                    await clock.sleep_until(step.at_s)
                    node.set_link(Direction.UPLINK, step.link)

            async def send() -> None:
                for at_s, data in traffic:
                    await clock.sleep_until(at_s)
                    assert device.send(b"", data)

            async with asyncio.TaskGroup() as group:
                group.create_task(order())
                group.create_task(send())
                heard = [await target.receive() for _ in expected]
            assert [(one.at_s, one.data) for one in heard] == expected

    run_virtual(main())


def test_every_change_is_told_and_the_beginning_too() -> None:
    """A `link` event a direction at the start, and one at each change that is one, with the time it began."""

    async def main() -> list[Any]:
        words = "rate 8mbit delay 10ms 5ms; 1s rate 0; 2s rate 0; 3s rate unlimited; repeat 4s"
        schedule = parse_schedule(words)
        with structlog.testing.capture_logs() as logs:
            async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, uplink=schedule):
                await transport.bind("memory://target", service=Service.TARGET)
                device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
                await LoopClock().sleep_until(50.0)
                device.send(b"", b"x")
                await LoopClock().sleep_until(56.5)
        return [log for log in logs if log["event"] == "link"]

    logs = run_virtual(main())
    assert logs[0] == {
        "event": "link",
        "log_level": "info",
        "node": "channel",
        "direction": "uplink",
        "device": None,
        "ordered": False,
        "link": "rate 8mbit delay 10ms 5ms",
        "rate_bps": 8e6,
        "mean_rate_bps": 8e6,
        "delay_s": 0.01,
        "jitter_s": 0.005,
        "seed": SEED,
        "began_s": 0.0,
        "rates_before": 0,
        "left_out": 0,
        "started_s": 0.0,
        "at_s": 0.0,
    }
    assert [log["rates_before"] for log in logs[2:]] == [1, 2, 3, 4]
    assert [(log["direction"], log["rate_bps"], log["at_s"]) for log in logs[1:]] == [
        ("downlink", 8e6, 0.0),
        ("uplink", 0.0, 51.0),
        ("uplink", None, 53.0),
        ("uplink", 8e6, 54.0),
        ("uplink", 0.0, 55.0),
    ]
