"""What nodes tell an observer: which events, how large they are, and that nobody waits for it."""

import asyncio
import io
from collections.abc import Iterator
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from tests.harness.observers import OBSERVER, Ear, listening
from tests.harness.sockets import run

from draftwire.codecs.control import Event
from draftwire.codecs.frame import decode_frame
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.reporting import ALIVE_S, CUT, MOST_LINKS, MOST_TEXT, SLOW, Reporter
from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.telemetry import get_logger, set_up_logging
from draftwire.runtime.transport import (
    Endpoint,
    MemoryNetwork,
    MemoryTransport,
    Transport,
    Trouble,
    TroubleKind,
    ZmqTransport,
)
from draftwire.runtime.transport.base import PEER_QUEUE_MESSAGES


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _reporter(**changes: Any) -> Reporter:
    values: dict[str, Any] = {"name": "target", "role": Role.TARGET, "address": OBSERVER, "events": ["step"]}
    return Reporter(**values | changes, clock=LoopClock(), logger=get_logger("target"))


async def _after(delay_s: float) -> None:
    await LoopClock().sleep_until(LoopClock().now_s() + delay_s)


class _Away:
    """A transport whose connections say that they have the trouble that somebody sets."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.trouble: Trouble | None = None

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        endpoint = await self._transport.connect(address, service=service, name=name)
        endpoint.trouble = lambda: self.trouble  # type: ignore[method-assign]
        return endpoint

    async def bind(self, address: str, *, service: Service) -> Endpoint:
        return await self._transport.bind(address, service=service)

    async def close(self) -> None:
        await self._transport.close()


NOBODY = Trouble(kind=TroubleKind.UNREACHABLE, text="nobody listens there")


def test_chosen_events_of_the_log_travel_and_the_log_stays_as_it_is() -> None:
    """Those that a node tells, without what is the log's own; the stream has all events as before."""
    stream, ear, reporter = io.StringIO(), Ear(), _reporter()

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, listening(transport, sinks=[ear]):
            set_up_logging(stream=stream, json=True, reporter=reporter)
            get_logger("target").info("step", k=1)  # before it is connected: told to nobody
            async with reporter.telling(transport):
                get_logger("target").info("step", k=2, device="phone-1")
                get_logger("target").info("target.ready", address="x")
                get_logger("target").debug("step", k=3)
                await _after(0.1)
            get_logger("target").info("step", k=4)

    run_virtual(main())
    assert ear.of("step") == [{"event": "step", "k": 2, "device": "phone-1"}]
    assert {node for node, _, _ in ear.all} == {"target"}
    assert [line.count('"event":"step"') for line in stream.getvalue().splitlines()].count(1) == 3
    assert reporter.lost == 0


def test_each_node_says_that_it_is_there() -> None:
    """Once every ALIVE_S, in its role; several in one process take turns."""
    ear, names = Ear(), [f"phone/{number:02}" for number in range(25)]

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, listening(transport, sinks=[ear]):
            async with _reporter(name="phone", role=Role.DEVICE, names=names).telling(transport):
                await _after(2 * ALIVE_S - 0.1)

    run_virtual(main())
    assert {node: len(ear.of("alive", node)) for node in names} == dict.fromkeys(names, 2)
    assert all(event == {"event": "alive", "role": "device"} for _, event, _ in ear.all)
    times = [at_s for node, _, at_s in ear.all if node == "phone/07"]
    assert times[1] - times[0] == pytest.approx(ALIVE_S)


def test_any_value_of_a_log_travels() -> None:
    """Enums, tuples and keys that are numbers as JSON has them; what is no number there is null."""
    ear, reporter = Ear(), _reporter()

    class Colour(StrEnum):
        RED = "red"

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, listening(transport, sinks=[ear]):
            async with reporter.telling(transport):
                reporter.tell("step", colour=Colour.RED, pair=(1, 2), none=inf, counts={3: 4}, path=object)
                await _after(0.1)

    run_virtual(main())
    (told,) = ear.of("step")
    assert told["colour"] == "red" and told["pair"] == [1, 2] and told["none"] is None
    assert told["counts"] == {"3": 4} and isinstance(told["path"], str)


@pytest.mark.parametrize("character", ["a", "é", "\0", "\U0001f600"])
def test_long_texts_are_cut(character: str) -> None:
    """So that an event fits into a frame, whatever its characters take; what can't is dropped and told."""
    ear, reporter = Ear(), _reporter()

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport, listening(transport, sinks=[ear]):
            async with reporter.telling(transport):
                reporter.tell("step", text=character * 10**6, prompt=character * MOST_TEXT)
                reporter.tell("step", deep=[character * 2**17])
                reporter.tell("step", broken="\ud800")
                await _after(0.1)

    with capture_logs() as logs:
        run_virtual(main())
    (told,) = ear.of("step")
    assert told["text"] == character * MOST_TEXT + CUT and told["prompt"] == character * MOST_TEXT
    assert reporter.lost == 2
    (failed,) = [log for log in logs if log["event"] == "report.failed"]
    assert "an event step can't travel" in failed["detail"]


def test_what_is_told_before_the_observer_is_there_waits_for_it() -> None:
    """As when all nodes of a file start at once: nothing is lost, in order, and nobody says a word."""
    ear, reporter = Ear(), _reporter()

    async def main() -> None:
        transport = _Away(MemoryTransport(MemoryNetwork()))
        transport.trouble = NOBODY
        async with reporter.telling(transport):
            for number in range(40):
                reporter.tell("step", number=number)
                await _after(0.1)
            async with listening(transport, sinks=[ear]):
                transport.trouble = None
                await _after(0.1)
                reporter.tell("step", number=40)
                await _after(1.1)

    with capture_logs() as logs:
        run_virtual(main())
    assert [one["number"] for one in ear.of("step")] == [*range(41)] and reporter.lost == 0
    assert not [log for log in logs if "report." in log["event"]]


def test_an_observer_that_is_away_is_said_once_and_what_is_lost_is_counted() -> None:
    """After 5 s, with why: until then events wait for it, then they are lost; when it is back, how many."""
    ear, reporter, began_s, said_at_s = Ear(), _reporter(), 0.0, list[float]()

    async def main() -> None:
        nonlocal began_s
        began_s, now_s = LoopClock().now_s(), LoopClock().now_s
        transport = _Away(MemoryTransport(MemoryNetwork()))
        transport.trouble = NOBODY
        async with reporter.telling(transport):
            await _after(0.05)
            while now_s() - began_s < 20.0:
                reporter.tell("step", told_s=now_s() - began_s)
                if logs and not said_at_s:
                    said_at_s.append(now_s() - began_s)
                await _after(0.1)
            async with listening(transport, sinks=[ear]):
                transport.trouble = None
                await _after(1.1)
                reporter.tell("step", back=True)
                await _after(1.1)

    with capture_logs() as logs:
        run_virtual(main())
    *waited, last = ear.of("step")
    told_s: list[Any] = [one["told_s"] for one in waited]
    assert last == {"event": "step", "back": True} and told_s == sorted(told_s)
    assert 4.9 < told_s[-1] < 5.1 and 5.0 <= said_at_s[0] < 5.2, "PATIENCE_S, which operations.md tells"
    failed, goes_on = (log for log in logs if "report." in log["event"])
    assert (failed["event"], failed["detail"]) == ("report.failed", NOBODY.text)
    assert (goes_on["event"], goes_on["lost"]) == ("report.goes_on", reporter.lost)
    assert reporter.lost >= 200 - len(waited), "with what each node says of itself"


def test_a_queue_that_is_full_before_patience_ends_is_told_with_any_return() -> None:
    """More events than wait for one peer: said at once, with why, and how many as soon as it is there."""
    reporter = _reporter()

    async def main() -> None:
        transport = _Away(MemoryTransport(MemoryNetwork()))
        transport.trouble = NOBODY
        async with reporter.telling(transport):
            await _after(0.1)
            for number in range(PEER_QUEUE_MESSAGES + 10):
                reporter.tell("step", number=number)
            async with listening(transport, sinks=[]):
                transport.trouble = None
                await _after(1.1)

    with capture_logs() as logs:
        run_virtual(main())
    failed, goes_on = (log for log in logs if "report." in log["event"])
    assert (failed["event"], failed["detail"]) == ("report.failed", NOBODY.text)
    assert (goes_on["event"], goes_on["lost"]) == ("report.goes_on", reporter.lost)
    assert reporter.lost == 11, "the first alive waits too"


def test_a_node_whose_observer_has_no_key_here_does_without(tmp_path: Path) -> None:
    """It says so once, with the command that mends it, and goes on; what it would tell costs nothing."""
    keyring = Keyring(tmp_path)
    keys = NodeKeys(keyring=keyring, own=keyring.new("target", role=Role.TARGET))
    reporter = _reporter(address="tcp://127.0.0.1:9")
    went_on = False

    async def main() -> None:
        nonlocal went_on
        async with ZmqTransport(keys) as transport, reporter.telling(transport):
            reporter.tell("step")
            went_on = True

    with capture_logs() as logs:
        run(main)
    (said,) = [log for log in logs if "report." in log["event"]]
    assert went_on and (said["event"], said["log_level"]) == ("report.keyless", "warning")
    assert "draftwire keys allow observer.key" in said["detail"] and reporter.lost == 0


def test_a_short_absence_is_not_worth_a_word() -> None:
    """Below 5 s, as when the observer is started anew."""
    reporter = _reporter()

    async def main() -> None:
        transport = _Away(MemoryTransport(MemoryNetwork()))
        async with reporter.telling(transport):
            for trouble in (NOBODY, None) * 3:
                transport.trouble = trouble
                reporter.tell("step")
                await _after(4.0)

    with capture_logs() as logs:
        run_virtual(main())
    assert not [log for log in logs if "report." in log["event"]]


def test_an_observer_that_comes_back_is_told_the_links_that_hold() -> None:
    """The last event of each; what an order says of all takes the place of what was said of single ones."""
    ear, reporter = Ear(), _reporter(name="channel", role=Role.CHANNEL, events=["link"])

    def link(device: str | None, words: str, *, ordered: bool, direction: str = "uplink") -> dict[str, Any]:
        return {"event": "link", "direction": direction, "device": device, "ordered": ordered, "link": words}

    async def main() -> None:
        transport = _Away(MemoryTransport(MemoryNetwork()))
        async with listening(transport, sinks=[ear]), reporter.telling(transport):
            reporter(None, "info", link("a", "gone", ordered=True))
            reporter(None, "info", link("b", "stays", ordered=False, direction="downlink"))
            reporter(None, "info", link(None, "changed", ordered=True))
            reporter(None, "info", link("c", "first", ordered=True))
            reporter(None, "info", link("c", "last", ordered=True))
            transport.trouble = NOBODY
            await _after(6.0)
            ear.all.clear()
            reporter(None, "info", link("d", "while away", ordered=True))
            transport.trouble = None
            await _after(1.0)
            for number in range(2 * MOST_LINKS):
                reporter(None, "info", link(f"many/{number}", "x", ordered=True))
            assert len(reporter._links) == MOST_LINKS

    run_virtual(main())
    told = [(one["device"], one["link"]) for one in ear.of("link")[:4]]
    assert told == [("b", "stays"), (None, "changed"), ("c", "last"), ("d", "while away")]


def test_an_observer_that_takes_nothing_costs_no_wait() -> None:
    """What is beyond the queue is dropped at once and counted, and told as the observer's slowness."""
    reporter = _reporter()

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport:
            bound = await transport.bind(OBSERVER, service=Service.OBSERVER)
            async with reporter.telling(transport):
                for number in range(3 * PEER_QUEUE_MESSAGES):
                    reporter.tell("step", number=number)
                assert reporter.lost == 2 * PEER_QUEUE_MESSAGES
                for _ in range(PEER_QUEUE_MESSAGES):
                    message = decode_frame((await bound.receive()).data).message
                    assert isinstance(message, Event)
                await _after(2.0)
            reporter.tell("step")  # nobody is told of it any more, nor of its loss
            assert reporter.lost == 2 * PEER_QUEUE_MESSAGES

    with capture_logs() as logs:
        run_virtual(main())
    said = [log for log in logs if "report." in log["event"]]
    assert [log["event"] for log in said] == ["report.failed", "report.goes_on"]
    assert said[0]["detail"] == SLOW and said[1]["lost"] == reporter.lost


def test_real_sockets_with_nobody_there_at_first() -> None:
    """A node that starts before its observer tells it once it comes, without anybody's doing: all of it, in
    order, what it has told meanwhile too.
    """
    ear = Ear()

    async def main() -> None:
        async with ZmqTransport() as there:
            probe = await there.bind("tcp://127.0.0.1:*", service=Service.OBSERVER)
            address = probe.address
            await probe.close()
            reporter = _reporter(address=address)
            async with ZmqTransport() as here, reporter.telling(here):
                while not reporter._absence.lasts:
                    await asyncio.sleep(0.02)
                for number in range(100):
                    reporter.tell("step", number=number)
                async with listening(there, address=address, sinks=[ear]):
                    while len(ear.of("step")) < 100:
                        await asyncio.sleep(0.02)
        assert reporter.lost == 0

    run(main)
    assert [one["number"] for one in ear.of("step")] == [*range(100)]
    assert ear.of("alive") == [{"event": "alive", "role": "target"}] * len(ear.of("alive"))


def test_a_transport_that_closes_first_is_no_failure() -> None:
    """A node closes it at its end, and its log may say more: that is dropped without a word."""
    reporter = _reporter()

    async def main() -> None:
        transport = MemoryTransport(MemoryNetwork())
        async with reporter.telling(transport):
            await transport.close()
            reporter.tell("step")
            await _after(20.0)

    with capture_logs() as logs:
        run_virtual(main())
    assert not [log for log in logs if "report." in log["event"]] and reporter.lost == 0
