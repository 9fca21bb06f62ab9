"""Who gets a place at the channel: by key, and whatever keeps a device from the BS is its own affair."""

import asyncio
import resource

import pytest
import structlog
from tests.harness.cell import run
from tests.harness.channels import channel
from tests.harness.spoilt import SpoiltTransport

from draftwire.nodes.channel.node import ChannelRefusal
from draftwire.nodes.channel.places import FILES_A_CONNECTION, IDLE_S, MAX_CONNECTIONS
from draftwire.runtime.absence import PATIENCE_S
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.errors import AddressError, ConfigurationError, LocalError
from draftwire.runtime.security import Service
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport, Trouble, TroubleKind

NO_KEY = ConfigurationError("no key of the target is allowed here", remedy="allow it")
NO_FILES = AddressError("memory://target", "too many open files", remedy="raise ulimit -n")


class _Failing(MemoryTransport):
    """Connects nobody to the BS while an error is set; knows what is connected to it."""

    error: LocalError | None = None

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        if self.error is not None and service is Service.TARGET:
            raise self.error
        return await super().connect(address, service=service, name=name)


async def _device(transport: MemoryTransport, name: str) -> Endpoint:
    return await transport.connect("memory://channel", service=Service.CHANNEL, name=name)


def test_a_device_that_cannot_be_joined_to_the_bs_ends_nothing() -> None:
    """Whatever keeps a connection from being made is counted and said once a kind; its later messages try
    again, and the other devices go on meanwhile."""

    async def main() -> None:
        async with _Failing(MemoryNetwork()) as transport, channel(transport) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            joined, late = await _device(transport, "joined"), await _device(transport, "late")
            joined.send(b"", b"hello")
            assert (await target.receive()).name == "joined"
            for transport.error in (NO_KEY, NO_FILES, NO_KEY, NO_FILES):
                late.send(b"", b"lost")
                await asyncio.sleep(1)
            joined.send(b"", b"still here")
            assert (await target.receive()).data == b"still here"
            assert node.statistics().refused == {ChannelRefusal.NO_UPSTREAM: 4}
            assert (node.statistics().devices, node.statistics().connections) == (1, 1)
            transport.error = None
            late.send(b"", b"hello")
            received = await target.receive()
            assert (received.name, received.data) == ("late", b"hello")

    with structlog.testing.capture_logs() as logs:
        run(main())
    said = [log for log in logs if log["event"] == "channel.refused"]
    assert [(log["reason"], log["peer"], log["detail"]) for log in said] == [
        ("no_upstream", "late", str(NO_KEY)),
        ("no_upstream", "late", str(NO_FILES)),
    ]


def test_what_no_device_could_be_joined_without_is_an_error_at_the_start() -> None:
    """A key of the target that is missing ends the channel before any device comes."""

    async def main() -> None:
        async with _Failing(MemoryNetwork()) as transport:
            transport.error = NO_KEY
            with pytest.raises(ConfigurationError, match="no key of the target"):
                async with channel(transport):
                    pass

    run(main())


def test_the_names_of_one_key_take_one_place() -> None:
    """However many names a device has, another finds room at once; links of names that are gone go too."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, max_devices=2) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            for name in [f"phone-1/{number}" for number in range(20)] + ["phone-1", "phone-2"]:
                (await _device(transport, name)).send(b"", b"hello")
                assert (await target.receive()).name == name
            counts = node.statistics()
            assert (counts.devices, counts.connections) == (MAX_CONNECTIONS + 1, MAX_CONNECTIONS + 1)
            (await _device(transport, "phone-3")).send(b"", b"hello")
            await asyncio.sleep(1)
            assert node.statistics().refused == {ChannelRefusal.TOO_MANY_DEVICES: 1}

    run(main())


def test_a_place_is_given_up_with_all_its_names() -> None:
    """A key that is idle under every name makes room; one that was heard by any of them does not."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport, max_devices=1) as node:
            target = await transport.bind("memory://target", service=Service.TARGET)
            one, other = await _device(transport, "phone-1"), await _device(transport, "phone-1/doctor")
            rival = await _device(transport, "phone-2")
            for end, pause_s in ((one, IDLE_S / 2), (other, IDLE_S / 2 + 1), (rival, 1.0)):
                end.send(b"", b"hello")
                await asyncio.sleep(pause_s)
            assert [(await target.receive()).name for _ in range(2)] == ["phone-1", "phone-1/doctor"]
            assert node.statistics().refused == {ChannelRefusal.TOO_MANY_DEVICES: 1}
            await asyncio.sleep(IDLE_S)
            rival.send(b"", b"hello")
            assert (await target.receive()).name == "phone-2"
            assert (node.statistics().devices, node.statistics().connections) == (1, 1)

    run(main())


def test_what_a_process_has_left_behind_is_let_go() -> None:
    """A connection unheard of for IDLE_S goes when its device makes a new one; its link stays as it is."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, channel(transport) as node:
            await transport.bind("memory://target", service=Service.TARGET)
            for _ in range(3):
                (await _device(transport, "phone-1")).send(b"", b"hello")
                await asyncio.sleep(IDLE_S)
            statistics = node.statistics()
            assert statistics.connections == 1
            assert sum(link.delivered for link in statistics.links.values()) == 3

    run(main())


def test_a_bs_is_back_only_when_it_is() -> None:
    """A connection in trouble that gives way to a new one, of which no trouble is known yet, is no return."""
    trouble = Trouble(kind=TroubleKind.UNREACHABLE, text="nobody listens there")

    class _Hopeful(SpoiltTransport):
        """Its new endpoints know of no trouble until they are asked after some seconds."""

        async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
            endpoint, made_s = await super().connect(address, service=service, name=name), clock.now_s()
            told = endpoint.trouble
            endpoint.trouble = lambda: told() if clock.now_s() > made_s + 3 else None  # type: ignore[method-assign]
            return endpoint

    clock: LoopClock

    async def main() -> None:
        nonlocal clock
        clock = LoopClock()
        async with _Hopeful(MemoryNetwork()) as transport, channel(transport):
            (await _device(transport, "phone-1")).send(b"", b"hello")
            await asyncio.sleep(10)
            transport.trouble = trouble
            await asyncio.sleep(2 * PATIENCE_S)
            for _ in range(MAX_CONNECTIONS):
                (await _device(transport, "phone-1")).send(b"", b"hello")
            await asyncio.sleep(2 * PATIENCE_S)
            transport.trouble = None
            await asyncio.sleep(1)

    with structlog.testing.capture_logs() as logs:
        run(main())
    said = [log for log in logs if "target" in log["event"]]
    assert [log["event"] for log in said] == ["channel.no_target", "channel.target_back"]
    assert said[1]["after_s"] == pytest.approx(4 * PATIENCE_S, abs=1)


def test_a_channel_without_devices_misses_no_bs() -> None:
    """It may be started long before the BS has loaded its model."""

    async def main() -> None:
        async with SpoiltTransport(MemoryNetwork()) as transport, channel(transport):
            transport.trouble = Trouble(kind=TroubleKind.UNREACHABLE, text="nobody listens there")
            await asyncio.sleep(60)

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert not [log for log in logs if "target" in log["event"]]


@pytest.mark.parametrize(("open_files", "warned"), [(1024, False), (256, True), (-1, False)])
def test_too_few_files_for_its_devices_are_said_once(
    open_files: int, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of open files that max_devices does not fit into is one warning, at the start."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files, -1))

    async def main() -> None:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, max_devices=256 // FILES_A_CONNECTION),
        ):
            pass

    with structlog.testing.capture_logs() as logs:
        run(main())
    said = [log for log in logs if log["event"] == "channel.few_files"]
    assert [(log["open_files"], log["log_level"]) for log in said] == [(256, "warning")] * warned
    assert all(log["needed_files"] > 256 and "ulimit" in log["detail"] for log in said)
