"""The controller: answers with plans, logs reports, and survives whatever it is sent."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.reports import REPORT

from draftwire.codecs.control import ANY_REQUEST, PlanOrder, Register
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.messages import Plan
from draftwire.nodes.controller.node import UNEXPECTED, ControllerNode
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Endpoint, MemoryNetwork, MemoryTransport

WANTED = PlanValues(k=32, gamma=3, min_draft=3)


def _run(body: Callable[[ControllerNode, Endpoint], Awaitable[None]]) -> None:
    """Run a body with a started controller and a BS's end of its connection."""

    async def main() -> None:
        async with MemoryTransport(MemoryNetwork()) as transport:
            node = ControllerNode(
                transport=transport,
                address="memory://controller",
                policy=FixedPolicy(WANTED),
                logger=get_logger("controller"),
            )
            started = asyncio.Event()
            running = asyncio.create_task(node.run(started.set))
            await started.wait()
            await body(node, await transport.connect("memory://controller", identity=b"bs"))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(main())


async def _ordered(bs: Endpoint) -> PlanOrder:
    message = decode_frame((await bs.receive()).data).message
    assert isinstance(message, PlanOrder)
    return message


def test_a_report_under_another_plan_is_answered() -> None:
    """A report whose plan differs in any value gets an order for its request; one that agrees gets none."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        agreed = Plan(number=2, k=32, gamma=3, min_draft=3)
        others = [replace(agreed, k=16), replace(agreed, gamma=4), replace(agreed, min_draft=2)]
        for request, plan in enumerate([agreed, *others, replace(agreed, number=9)], start=10):
            report = replace(REPORT, request=request, plan=plan)
            bs.send(b"", encode_frame(report, session=request, sequence=0))
        for request in (11, 12, 13):
            assert await _ordered(bs) == PlanOrder(
                device="device-1", request=request, k=32, gamma=3, min_draft=3
            )
        await LoopClock().sleep_until(1.0)
        assert bs.statistics().received == 3 and bs.statistics().waiting == 0

    _run(body)


def test_a_register_is_answered_with_the_plan_to_begin_with() -> None:
    """Whoever registers learns the plan for requests that are yet to come."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        bs.send(b"", encode_frame(Register(role="target", name="bs-1"), session=0, sequence=0))
        order = await _ordered(bs)
        assert order == PlanOrder(device="bs-1", request=ANY_REQUEST, k=32, gamma=3, min_draft=3)

    _run(body)


def test_a_report_is_logged_as_the_canonical_event() -> None:
    """Each report becomes one `step` event."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            bs.send(b"", encode_frame(REPORT, session=7, sequence=0))
            await LoopClock().sleep_until(1.0)
        (event,) = [log for log in logs if log["event"] == "step"]
        assert event["request"] == 7 and event["accepted"] == 2 and event["node"] == "controller"

    _run(body)


def test_refusals_are_counted_by_cause_and_logged_once() -> None:
    """Damaged, foreign and misdirected frames are counted by the codec's reason and logged once a cause."""
    good = encode_frame(REPORT, session=7, sequence=0)
    order = PlanOrder(device="d", request=1, k=1, gamma=1, min_draft=1)
    hostile = [b"", b"x", good[:-1], good[:-1] + b"?", encode_frame(order, session=0, sequence=0)]

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                for data in hostile:
                    bs.send(b"", data)
            bs.send(b"", encode_frame(Register(role="target", name="bs-1"), session=0, sequence=0))
            await _ordered(bs)
        assert node.refused() == {Refusal.TRUNCATED: 6, Refusal.CHECKSUM: 6, UNEXPECTED: 3}
        assert [log["reason"] for log in logs if log["event"] == "refused"] == [
            "truncated",
            "checksum",
            "unexpected",
        ]

    _run(body)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20), st.integers())
def test_no_bytes_stop_the_controller(garbage: list[bytes], seed: int) -> None:
    """After any garbage, and any damage to a true report, a Register is still answered."""
    rng = random.Random(seed)

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        report = bytearray(encode_frame(REPORT, session=7, sequence=0))
        for data in garbage:
            report[rng.randrange(len(report))] ^= 1 << rng.randrange(8)
            bs.send(b"", data)
            bs.send(b"", bytes(report))
        bs.send(b"", encode_frame(Register(role="target", name="bs-1"), session=0, sequence=0))
        while (await _ordered(bs)).request != ANY_REQUEST:
            pass

    _run(body)
