"""What a device makes of a connection that does not stand, of a refusal at the door, and of its own sleep."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import structlog
from structlog.testing import LogCapture
from tests.harness.cell import BS, CHANNEL, Cell, cell, checked, hello, request, run, text

from draftwire.codecs.control import ANY_REQUEST
from draftwire.codecs.messages import Hello, Open, Reason, Refused
from draftwire.nodes.device.node import DeviceNode, RequestRefusedError
from draftwire.nodes.models.pacing import PAPER, ModelledCompute
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Taken, Timing
from draftwire.runtime.transport import Endpoint, MemoryTransport
from draftwire.runtime.transport.base import Trouble, TroubleKind

UNREACHABLE = Trouble(kind=TroubleKind.UNREACHABLE, text="tcp://bs:5701: nobody listens there")
LOST = Trouble(kind=TroubleKind.LOST, text="tcp://bs:5701: the connection broke")
DENIED = Trouble(kind=TroubleKind.DENIED, text="tcp://bs:5701 does not allow our key dev")


class TroubledTransport(MemoryTransport):
    """Its connections say by a script why they do not stand: from a time on, until the next."""

    script: Sequence[tuple[float, Trouble | None]] = ()

    async def connect(self, address: str, *, service: Service, name: str) -> Endpoint:
        endpoint = await super().connect(address, service=service, name=name)

        def trouble() -> Trouble | None:
            now_s = asyncio.get_running_loop().time()
            return ([None] + [what for from_s, what in self.script if from_s <= now_s])[-1]

        endpoint.trouble = trouble  # type: ignore[method-assign]
        return endpoint


class SleepyClock(LoopClock):
    """A clock of a machine that sleeps now and then: nothing runs meanwhile, and time goes on."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.slept_s


async def device(
    bs: Cell,
    *,
    script: Sequence[tuple[float, Trouble | None]] = (),
    clock: LoopClock | None = None,
    timing: Timing | None = None,
    service: Service = Service.TARGET,
    address: str = BS,
) -> tuple[DeviceNode, LogCapture]:
    """A device, and what it logs."""
    transport, captured = TroubledTransport(bs.network), LogCapture()
    transport.script = script
    node = DeviceNode(
        name="dev",
        address=address,
        service=service,
        transport=transport,
        clock=clock or bs.clock,
        compute=ModelledCompute(bs.clock, PAPER),
        model=bs.pair.draft,
        hello=hello(),
        logger=structlog.wrap_logger(None, processors=[captured]),
        numbers=random.Random(4),
        timing=timing,
    )
    await bs.start(node.run)
    return node, captured


def _said(captured: LogCapture) -> list[tuple[str, str]]:
    """Level and kind of each trouble; `back` for its end."""
    events = [one for one in captured.entries if one["event"] in ("device.trouble", "device.back")]
    return [(one["log_level"], one.get("kind", "back")) for one in events]


def test_trouble_is_said_once_a_kind_and_its_end_too() -> None:
    """A request that waits says after 3 s why, each kind once, and that it is over; then it goes on."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            script = [(0.0, UNREACHABLE), (8.0, LOST), (9.0, UNREACHABLE), (11.0, None)]
            node, captured = await device(bs, script=script)
            asking = asyncio.create_task(text(node, request()))
            await asyncio.sleep(2.9)
            assert _said(captured) == []
            await asyncio.sleep(1.0)
            assert _said(captured) == [("warning", "unreachable")]
            assert captured.entries[-1]["text"] == UNREACHABLE.text
            await asyncio.sleep(6.6)
            assert _said(captured)[1:] == [("warning", "lost")]
            await bs.serve()
            assert len(await asking) == 40
            assert _said(captured)[2:] == [("info", "back")]

    run(main())


def test_a_short_trouble_is_not_worth_a_word() -> None:
    """A node that is back within 3 s was never missed."""

    async def main() -> None:
        async with cell() as bs:
            node, captured = await device(bs, script=[(0.0, UNREACHABLE), (2.0, None)])
            await text(node, request())
            assert _said(captured) == []

    run(main())


def test_an_unreachable_bs_ends_a_new_request_with_its_trouble() -> None:
    """After reach_s the error is what is wrong with the connection, and where."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, _ = await device(bs, script=[(0.0, UNREACHABLE)], timing=Timing(reach_s=5.0))
            with pytest.raises(RequestRefusedError) as caught:
                await text(node, request())
            assert str(caught.value) == f"absent: {UNREACHABLE.text} (no word from the base station for 5 s)"
            assert (caught.value.exit_code, 5.0 <= bs.clock.now_s() <= 5.5) == (3, True)

    run(main())


def test_a_refused_key_ends_a_new_request_at_once() -> None:
    """No waiting for reach_s where only a person can help; a look that is not confirmed ends nothing."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, _ = await device(bs, script=[(0.0, DENIED), (0.4, None), (3.0, DENIED)])
            with pytest.raises(RequestRefusedError) as caught:
                await text(node, request())
            assert (caught.value.reason, str(caught.value)) == ("DENIED", f"denied: {DENIED.text}")
            assert caught.value.exit_code == 3
            assert 3.0 < bs.clock.now_s() <= 4.5

    run(main())


MISMATCH = Trouble(kind=TroubleKind.MISMATCH, text="tcp://bs:5701 uses keys, and we don't")


def test_a_single_look_is_not_sure_behind_another_trouble() -> None:
    """What has been wrong before is no witness: final trouble has to last by itself; of any final kind."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            script = [(0.0, UNREACHABLE), (2.4, DENIED), (2.6, UNREACHABLE), (4.4, DENIED), (4.8, MISMATCH)]
            node, _ = await device(bs, script=script)
            with pytest.raises(RequestRefusedError, match=f"mismatch: {MISMATCH.text}"):
                await text(node, request())
            assert 4.9 <= bs.clock.now_s() <= 5.5

    run(main())


def test_trouble_of_an_earlier_request_is_old_news() -> None:
    """A new request says anew what is wrong, after 3 s of its own, and ends by a refused key only once a try
    since its beginning has shown it: somebody may have allowed the key meanwhile.
    """

    async def main() -> None:
        async with cell(serve=False) as bs:
            shown_before = replace(DENIED, shown_at_s=1.0)
            script = [(0.0, shown_before), (110.0, UNREACHABLE), (113.5, replace(DENIED, shown_at_s=113.5))]
            node, captured = await device(bs, script=script)
            await asyncio.sleep(0.9)
            with pytest.raises(RequestRefusedError, match="denied"):
                await text(node, request())
            assert bs.clock.now_s() < 2
            await asyncio.sleep(100.0)
            began_s = bs.clock.now_s()
            asking = asyncio.create_task(text(node, request()))
            await asyncio.sleep(2.9)
            assert _said(captured) == [] and not asking.done()
            await asyncio.sleep(1.0)
            assert _said(captured) == [("warning", "denied")] and not asking.done()
            with pytest.raises(RequestRefusedError, match="denied"):
                await asking
            assert 113.9 <= bs.clock.now_s() <= 114.6
            assert _said(captured)[1:] == [("warning", "unreachable")]
            assert began_s < 110
            again = asyncio.create_task(text(node, request()))
            await asyncio.sleep(3.9)
            assert _said(captured)[2:] == [("warning", "denied")], "each request is told anew"
            again.cancel()

    run(main())


def test_a_key_allowed_since_the_last_request() -> None:
    """What an old try has shown does not keep a new request from being answered."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, _ = await device(bs, script=[(0.0, replace(DENIED, shown_at_s=-1.0)), (5.0, None)])
            asking = asyncio.create_task(text(node, request()))
            await asyncio.sleep(5.0)
            await bs.serve()
            assert len(await asking) == 40

    run(main())


def test_a_key_that_is_refused_later_does_not_end_what_has_begun() -> None:
    """A request that has begun waits absent_s for a connection, whatever is wrong with it."""

    async def main() -> None:
        async with cell() as bs:
            script: list[tuple[float, Trouble | None]] = [(0.5, DENIED), (60.0, None)]
            node, captured = await device(bs, script=script)
            wanted, taken = request(), list[Taken]()
            async for one in node.answer(wanted):
                taken.append(one)
                if len(taken) == 3:
                    assert bs.serving is not None
                    bs.serving.cancel()
                    asyncio.get_running_loop().call_later(60, lambda: asyncio.ensure_future(bs.serve()))
            assert len(checked(taken, wanted)) == 40
            assert _said(captured)[0] == ("warning", "denied")

    run(main())


def test_a_refusal_of_the_connection_ends_all_requests() -> None:
    """An impostor is told so on session 0: each of its requests ends with that sentence and the address."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, _ = await device(bs)
            asking = [asyncio.create_task(text(node, request(seed=seed))) for seed in range(3)]
            await asyncio.sleep(0.1)
            door = await bs.impostor("dev")
            door.say(Refused(reason=Reason.IDENTITY, detail="phone-2 can't speak for dev"), ANY_REQUEST)
            for one in asking:
                with pytest.raises(RequestRefusedError) as caught:
                    await one
                assert str(caught.value) == f"identity: {BS}: phone-2 can't speak for dev"

    run(main())


@pytest.mark.parametrize(
    ("service", "where"),
    [
        (Service.TARGET, f"busy: {BS}: all taken"),
        (Service.CHANNEL, f"busy: the target behind the channel at {BS}: all taken"),
    ],
)
def test_a_refusal_names_the_hop(service: Service, where: str) -> None:
    """Whoever refused is named by its address, or as what stands behind the channel."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            node, _ = await device(bs, service=service)
            asking = asyncio.create_task(text(node, request()))
            await asyncio.sleep(0.1)
            other = await bs.impostor("dev")
            assert isinstance(await other.hear(), Hello)
            received = await other.endpoint.receive()
            number = int.from_bytes(received.data[2:6], "big")
            other.say(Refused(reason=Reason.BUSY, detail="all taken", device_try=1), number)
            with pytest.raises(RequestRefusedError) as caught:
                await asking
            assert str(caught.value) == where

    run(main())


def test_a_target_that_is_missing_behind_its_channel() -> None:
    """Where the channel is there and the target is not, the error says so."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            await bs.channel("rate 1mbit")
            node, _ = await device(bs, address=CHANNEL, service=Service.CHANNEL, timing=Timing(reach_s=2.0))
            words = f"no word .*, though the channel at {CHANNEL} is connected: .*doctor --role channel"
            with pytest.raises(RequestRefusedError, match=words):
                await text(node, request())

    run(main())


@pytest.mark.parametrize("slept_s", [600.0, 86400.0])
@pytest.mark.parametrize("bs_forgets", [False, True])
def test_its_own_sleep_is_not_the_silence_of_the_bs(slept_s: float, bs_forgets: bool) -> None:
    """A device that was stopped for longer than absent_s goes on; the text is the one without the sleep."""

    async def answer(*, sleeps: bool) -> tuple[int, ...]:
        async with cell() as bs:
            clock = SleepyClock()
            node, _ = await device(bs, clock=clock, timing=Timing(absent_s=20.0))
            wanted, taken = request(), list[Taken]()
            async for one in node.answer(wanted):
                taken.append(one)
                if sleeps and len(taken) in (1, 17):
                    clock.slept_s += slept_s
                    if bs_forgets:
                        await bs.serve()
            return checked(taken, wanted)

    assert run(answer(sleeps=True)) == run(answer(sleeps=False))


def test_a_bs_that_is_gone_when_the_device_wakes() -> None:
    """After the sleep the BS's own silence counts as ever: absent_s of it end the request."""

    async def main() -> None:
        async with cell() as bs:
            clock, timing = SleepyClock(), Timing(absent_s=20.0)
            node, _ = await device(bs, clock=clock, timing=timing)
            with pytest.raises(RequestRefusedError, match="absent"):
                async for one in node.answer(request()):
                    if one.position == 9:
                        clock.slept_s += 600
                        assert bs.serving is not None
                        bs.serving.cancel()
            assert 20.0 <= bs.clock.now_s() <= 60.0

    run(main())


def test_every_life_of_a_device_has_a_name_of_its_own() -> None:
    """Each Open names the process that asks; two processes of one device differ."""

    async def life(seed: int) -> set[int]:
        async with cell(serve=False) as bs:
            node = DeviceNode(
                name="dev",
                address=BS,
                transport=MemoryTransport(bs.network),
                clock=bs.clock,
                compute=ModelledCompute(bs.clock, PAPER),
                model=bs.pair.draft,
                hello=hello(),
                logger=structlog.get_logger(),
                numbers=random.Random(seed),
            )
            await bs.start(node.run)
            asking = [asyncio.create_task(text(node, request(seed=one))) for one in range(2)]
            await asyncio.sleep(0.1)
            other = await bs.impostor("dev")
            lives = {(await other.hear_of(Open)).life for _ in asking}
            for one in asking:
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one
            return lives

    (one,), (other,) = run(life(1)), run(life(2))
    assert one != other and max(one, other) > 2**16
