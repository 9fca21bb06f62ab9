"""Devices with links of their own: by the file, by orders, and by names below a key's."""

from typing import Any

import pytest
import structlog
from tests.harness.cell import CHANNEL, cell, request, run, text
from tests.harness.channels import channel

from draftwire.nodes.channel.control import order_link
from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.playing import OwnSchedules
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import parse_link, parse_schedule
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Transport

CONTROL = "memory://control"
COMMON = parse_link("delay 10ms")


def _own(**words: str) -> OwnSchedules:
    """By name, `__` for a slash: the same both ways."""
    return {
        name.replace("__", "/"): dict.fromkeys(Direction, parse_schedule(text))
        for name, text in words.items()
    }


class _Devices:
    """Ends at a channel between memory addresses, and the delays that their messages meet."""

    def __init__(self, transport: Transport, target: Endpoint) -> None:
        self._transport, self._target = transport, target
        self._ends = dict[str, Endpoint]()

    async def delay_s(self, name: str) -> float:
        """One way up."""
        if name not in self._ends:
            self._ends[name] = await self._transport.connect(
                "memory://channel", service=Service.CHANNEL, name=name
            )
        sent_s = LoopClock().now_s()
        self._ends[name].send(b"", b"x")
        received = await self._target.receive()
        assert received.name == name
        return received.at_s - sent_s

    async def delays_s(self, *names: str) -> list[float]:
        """Of each."""
        return [await self.delay_s(name) for name in names]


async def _order(transport: Transport, words: str | None = None, device: str | None = None) -> Any:
    return await order_link(
        transport, CONTROL, uplink=words, downlink=words, device=device, clock=LoopClock()
    )


def test_each_device_has_the_link_of_its_name_or_its_keys() -> None:
    """An exact name goes before its key's, a key's holds for the names below it, the rest have the common."""

    async def main() -> None:
        own = _own(a="delay 20ms", b="delay 30ms", b__x="delay 40ms")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=COMMON, downlink=COMMON, own_links=own, max_devices=9),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            devices = _Devices(transport, target)
            delays = await devices.delays_s("a", "b", "b/x", "b/y", "c", "a/b/c", "bb")
            assert delays == pytest.approx([0.02, 0.03, 0.04, 0.03, 0.01, 0.02, 0.01])

    run_virtual(main())


def test_all_schedules_begin_with_the_first_message_of_any_device() -> None:
    """Time 0 of a device's own schedule is that of the common one, whoever comes first."""

    async def main() -> None:
        own = _own(a="delay 20ms; 5s delay 200ms")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_schedule("delay 10ms; 6s delay 1s"), own_links=own),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            devices = _Devices(transport, target)
            await LoopClock().sleep_until(100.0)
            assert await devices.delay_s("b") == pytest.approx(0.01)
            await LoopClock().sleep_until(104.9)
            assert await devices.delays_s("a") == pytest.approx([0.02])
            await LoopClock().sleep_until(105.1)
            assert await devices.delays_s("a", "b") == pytest.approx([0.2, 0.01])
            await LoopClock().sleep_until(106.1)
            assert await devices.delays_s("a", "b") == pytest.approx([0.2, 1.0])

    run_virtual(main())


def test_the_last_order_for_a_device_or_for_all_holds() -> None:
    """One device's order leaves the others alone; one for all takes the place of every device's own."""

    async def main() -> None:
        own = _own(a="delay 20ms", b__x="delay 40ms")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(
                transport,
                uplink=COMMON,
                downlink=COMMON,
                own_links=own,
                control_address=CONTROL,
                max_devices=9,
            ),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            devices = _Devices(transport, target)
            names = ("a", "b", "b/x", "c")
            assert await devices.delays_s(*names) == pytest.approx([0.02, 0.01, 0.04, 0.01])
            state = await _order(transport)
            assert (state.uplink, state.devices) == ("delay 10ms", ("a", "b/x"))

            state = await _order(transport, "delay 1s", "c")
            assert (state.uplink, state.refused, state.devices) == ("delay 1s", None, ("a", "b/x", "c"))
            assert await devices.delays_s(*names) == pytest.approx([0.02, 0.01, 0.04, 1.0])
            await _order(transport, "delay 2s", "b/x")
            assert await devices.delays_s(*names) == pytest.approx([0.02, 0.01, 2.0, 1.0])
            await _order(transport, "delay 3s", "b")  # of a key: of the names below it, too
            assert await devices.delays_s(*names) == pytest.approx([0.02, 3.0, 3.0, 1.0])
            state = await _order(transport, "delay 5ms")
            assert (state.uplink, state.devices) == ("delay 5ms", ())
            assert await devices.delays_s(*names, "d") == pytest.approx([0.005] * 5)
            await _order(transport, "delay 6ms", "a")
            assert await devices.delays_s(*names) == pytest.approx([0.006, 0.005, 0.005, 0.005])
            assert (await _order(transport, None, "a")).uplink == "delay 6ms"
            await devices.delay_s("a/below")
            assert (await _order(transport, None, "a/below")).uplink == "delay 6ms"

    run_virtual(main())


def test_one_direction_of_one_device() -> None:
    """An order for a device's uplink leaves its downlink as all have it."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=COMMON, downlink=COMMON, control_address=CONTROL) as node,
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            await _Devices(transport, target).delay_s("a")
            clock = LoopClock()
            await order_link(transport, CONTROL, uplink="delay 1s", device="a", clock=clock)
            state = await order_link(transport, CONTROL, device="a", clock=clock)
            assert (state.uplink, state.downlink) == ("delay 1s", "delay 10ms")
            node.set_link(Direction.DOWNLINK, parse_link("delay 2s"))
            state = await order_link(transport, CONTROL, device="a", clock=clock)
            assert (state.uplink, state.downlink) == ("delay 1s", "delay 2s")

    run_virtual(main())


def test_an_order_for_a_device_that_is_not_there_is_refused_by_name() -> None:
    """It changes nothing and lists who is there; a name in the file is there before it connects."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(
                transport,
                uplink=COMMON,
                downlink=COMMON,
                own_links=_own(c="delay 30ms"),
                control_address=CONTROL,
                max_devices=2,
            ),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            devices = _Devices(transport, target)
            await devices.delays_s("a/x", "b")
            state = await _order(transport, "delay 1s", "nobody")
            assert state.refused == (
                "device 'nobody' is not connected, and has no link of its own; there are a/x, b, c"
            )
            assert (state.uplink, state.devices) == ("delay 10ms", ("c",))
            assert (await _order(transport, None, "nobody")).refused is not None
            await _order(transport, "delay 10ms", None)  # takes what `c` had of its own, not its name
            assert await devices.delays_s("a/x", "b") == pytest.approx([0.01, 0.01])
            for name in ("c", "a"):
                assert (await _order(transport, "delay 1s", name)).refused is None
            assert await devices.delays_s("a/x", "b") == pytest.approx([1.0, 0.01])
            state = await _order(transport, "delay 1s", "b")
            assert state.refused is not None
            assert state.refused.startswith("2 devices have links of their own already; raise [channel] max")
            state = await _order(transport, "delay what", "a")
            assert state.refused is not None and state.refused.startswith("uplink: 'what'")
            assert state.uplink == "delay 1s"

    run_virtual(main())


def test_links_of_devices_are_told() -> None:
    """A `link` event names its device, null for all; at the start only those that differ are told."""

    async def main() -> None:
        own = _own(a="delay 20ms", same="delay 10ms")
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(
                transport, uplink=COMMON, downlink=COMMON, own_links=own, control_address=CONTROL
            ) as node,
        ):
            node.set_link(Direction.UPLINK, parse_link("delay 1s"), device="a")
            node.set_link(Direction.UPLINK, parse_link("delay 2s"))

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = [log for log in logs if log["event"] == "link"]
    assert [(log["direction"], log["device"], log["ordered"], log["link"]) for log in told] == [
        ("uplink", None, False, "delay 10ms"),
        ("downlink", None, False, "delay 10ms"),
        ("uplink", "a", False, "delay 20ms"),
        ("downlink", "a", False, "delay 20ms"),
        ("uplink", "a", True, "delay 1s"),
        ("uplink", None, True, "delay 2s"),
    ]


def test_when_a_moving_rate_began_is_told() -> None:
    """A trace begins with the first message, and a record tells when that was; a still rate does not."""

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link("trace lte-like"), downlink=COMMON),
        ):
            target = await transport.bind("memory://target", service=Service.TARGET)
            await LoopClock().sleep_until(5.0)
            await _Devices(transport, target).delay_s("a")

    with structlog.testing.capture_logs() as logs:
        run_virtual(main())
    told = [log for log in logs if log["event"] == "link"]
    assert [(log["direction"], log["at_s"]) for log in told] == [
        ("uplink", 0.0),
        ("downlink", 0.0),
        ("uplink", 5.0),
    ]
    assert told[0]["rate_bps"] is None and told[0]["mean_rate_bps"] > 1e6


def test_a_slow_device_slows_no_other() -> None:
    """Whole answers over one channel: each device's takes as long as its own link alone would make it."""

    async def took_s(own_links: dict[str, str], *names: str) -> dict[str, float]:
        seconds = dict[str, float]()
        async with cell() as bs:
            await bs.channel("rate 20mbit delay 2ms", own_links=own_links)
            for name in names:
                device = await bs.device(name, address=CHANNEL)
                began_s = bs.clock.now_s()
                await text(device, request())
                seconds[name] = bs.clock.now_s() - began_s
        return seconds

    both = run(took_s({"slow": "rate 100kbit delay 200ms"}, "fast", "slow"))
    alone = run(took_s({}, "fast"))
    assert both["fast"] == pytest.approx(alone["fast"])
    assert both["slow"] > 3 * both["fast"]
