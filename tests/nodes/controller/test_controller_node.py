"""The controller: answers with plans, logs reports, and survives whatever it is sent."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.policies import Scripted
from tests.harness.reports import REPORT, ROWS, a_belief
from tests.harness.spoilt import NOT_THE_KEYS, SpoiltTransport
from tests.harness.tables import usual_set

from draftwire.codecs.control import (
    ANY_DEVICE,
    ANY_REQUEST,
    COUPLED,
    REJECTION,
    PlanOrder,
    Register,
    RowsReport,
    StepReport,
)
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.messages import Plan
from draftwire.codecs.probes import Echo, Probe
from draftwire.codecs.tables import NO_TABLES, TableSets, by_tag
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.choice import make_policy
from draftwire.nodes.controller.node import IMPOSTOR, POLICY_FAILED, UNEXPECTED, ControllerNode
from draftwire.nodes.controller.policy import (
    FixedPolicy,
    PlanValues,
    Policy,
    Report,
    TablesAware,
    VocabularyAware,
)
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Endpoint, MemoryNetwork

WALL_S = 1.7e9

WANTED = PlanValues(k=32, gamma=3, min_draft=3)


def _run(
    body: Callable[[ControllerNode, Endpoint], Awaitable[None]],
    policy: Policy | None = None,
    *,
    impostors: frozenset[str] = frozenset(),
    table_sets: TableSets = NO_TABLES,
) -> None:
    """Run a body with a started controller and a BS's end of its connection."""

    async def main() -> None:
        async with SpoiltTransport(MemoryNetwork(), impostors=impostors) as transport:
            node = ControllerNode(
                transport=transport,
                address="memory://controller",
                policy=policy or FixedPolicy(WANTED),
                wall_s=lambda: WALL_S,
                logger=get_logger("controller"),
                table_sets=table_sets,
            )
            started = asyncio.Event()
            running = asyncio.create_task(node.run(started.set))
            await started.wait()
            bs = await transport.connect("memory://controller", service=Service.CONTROLLER, name="bs")
            await body(node, bs)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(main())


async def _ordered(bs: Endpoint) -> PlanOrder:
    message = decode_frame((await bs.receive()).data).message
    assert isinstance(message, PlanOrder)
    return message


async def _ordered_within_1s(bs: Endpoint) -> list[PlanOrder]:
    """All orders that came; none other may."""
    await LoopClock().sleep_until(LoopClock().now_s() + 1.0)
    return [await _ordered(bs) for _ in range(bs.statistics().waiting)]


def _say(bs: Endpoint, *messages: StepReport | RowsReport | Register) -> None:
    for message in messages:
        bs.send(b"", encode_frame(message, session=getattr(message, "request", 0), sequence=0))


def _order(k: int, gamma: int, *, request: int, device: str = "device-1") -> PlanOrder:
    return PlanOrder(device=device, request=request, k=k, gamma=gamma, min_draft=gamma)


def test_every_report_of_a_step_is_answered() -> None:
    """Also one whose plan agrees: it names the plan its block was drawn with, not the one in force."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        agreed = Plan(number=2, k=32, gamma=3, min_draft=3)
        plans = [agreed, replace(agreed, k=16), replace(agreed, gamma=4), replace(agreed, number=9)]
        _say(bs, *(replace(REPORT, request=10 + i, plan=one) for i, one in enumerate(plans)))
        orders = await _ordered_within_1s(bs)
        assert [one for one in orders if one.request] == [_order(32, 3, request=10 + i) for i in range(4)]

    _run(body)


def test_the_next_request_is_planned_for_where_that_has_changed() -> None:
    """The plan of a device's next request goes out with its first report, and again when it is another; with
    the first report of a further device also that of devices that have not been heard of.
    """

    class Growing:
        k = 4

        def observe(self, report: Report) -> None:
            self.k += isinstance(report, StepReport) and report.step == 5

        def plan(self, device: str, request: int) -> PlanValues:
            return PlanValues(self.k if request == ANY_REQUEST else 9, 1, 1)

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        for device in ("a", "b"):
            _say(bs, *(replace(REPORT, device=device, step=step) for step in range(8)))
        orders = await _ordered_within_1s(bs)
        later = [(one.device, one.k) for one in orders if one.request == ANY_REQUEST]
        assert later == [("a", 4), ("a", 5), (ANY_DEVICE, 5), ("b", 5), ("b", 6)]
        assert len(orders) - len(later) == 16

    _run(body, Growing())


class Opening:
    """Opens both ways; `plans` may be changed meanwhile."""

    plans = (PlanValues(8, 2, 2), PlanValues(9, 4, 0, acceptance=COUPLED, preferred=True, uplink_bps=5))

    def observe(self, report: Report) -> None:
        """Nothing to learn."""

    def plan(self, device: str, request: int) -> PlanValues:
        assert request != ANY_REQUEST
        return PlanValues(10, 3, 1, early_stop=True, uplink_bps=6, patience_s=0.5)

    def openings(self, device: str) -> tuple[PlanValues, ...]:
        return self.plans


def test_a_policy_that_opens_both_ways_orders_both() -> None:
    """With each its acceptance and all that a plan says; later only what has changed, in any field."""
    policy = Opening()

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, Register(role="target", name="bs-1", vocab_size=64), REPORT, REPORT)
        orders = await _ordered_within_1s(bs)
        opening = [one for one in orders if one.request == ANY_REQUEST]
        assert [(one.device, one.acceptance, one.preferred, one.k, one.uplink_bps) for one in opening] == [
            ("", REJECTION, False, 8, 0),
            ("", COUPLED, True, 9, 5),
            ("device-1", REJECTION, False, 8, 0),
            ("device-1", COUPLED, True, 9, 5),
        ]
        told = next(one for one in orders if one.request)
        assert (told.early_stop, told.uplink_bps, told.patience_s) == (True, 6, 0.5)
        rejection, coupled = policy.plans
        policy.plans = rejection, coupled._replace(patience_s=0.1)
        _say(bs, REPORT)
        orders = await _ordered_within_1s(bs)
        assert [(one.acceptance, one.patience_s) for one in orders if not one.request] == [(COUPLED, 0.1)]

    _run(body, policy)


@pytest.mark.parametrize("preferred", [(False, False), (True, True)])
def test_openings_that_leave_the_choice_open_are_refused(preferred: tuple[bool, bool]) -> None:
    """None preferred, or two: counted as the policy's failure, and the last word stays in force."""
    policy = Opening()
    policy.plans = tuple(  # type: ignore[assignment]
        plan._replace(preferred=one) for plan, one in zip(Opening.plans, preferred, strict=True)
    )

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, REPORT)
        assert [one.request for one in await _ordered_within_1s(bs)] == [7]
        assert node.refused() == {POLICY_FAILED: 1}

    _run(body, policy)


def test_a_bs_that_registers_again_is_told_the_next_plan_again() -> None:
    """It may have been restarted and have forgotten: an unchanged plan for the next request is said again."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        register = Register(role="target", name="bs-1", vocab_size=64)
        _say(bs, register, REPORT, REPORT, register, REPORT)
        orders = await _ordered_within_1s(bs)
        next_ones = [one for one in orders if (one.device, one.request) == ("device-1", ANY_REQUEST)]
        assert next_ones == [_order(32, 3, request=ANY_REQUEST)] * 2

    _run(body)


def test_rows_are_observed_and_not_answered() -> None:
    """A policy hears of both kinds of report, in the order they came, and plans on steps alone."""
    policy = Scripted(((8, 4),))

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            _say(bs, ROWS, REPORT, ROWS)
            assert len(await _ordered_within_1s(bs)) == 2
        assert policy.reports == [ROWS, REPORT, ROWS]
        told = [log for log in logs if log["event"] == "rows"]
        assert len(told) == 2 and told[0]["alphas"] == ROWS.alphas and told[0]["step"] == ROWS.step

    _run(body, policy)


def test_a_decision_is_logged_with_the_belief_it_rests_on() -> None:
    """One `decision` a step where the policy believes something; the belief reads back from the event."""
    belief = a_belief()

    class Believing:
        def observe(self, report: Report) -> None:
            pass

        def plan(self, device: str, request: int) -> PlanValues:
            return PlanValues(16, 5, 5, belief, uplink_bps=144_000, patience_s=0.035)

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            _say(bs, REPORT)
            await _ordered_within_1s(bs)
        (event,) = [log for log in logs if log["event"] == "decision"]
        assert Belief.from_fields(orjson.loads(orjson.dumps(event["belief"]))) == belief
        assert (event["uplink_bps"], event["patience_s"]) == (144_000, 0.035)
        values = {name: event[name] for name in ("device", "request", "step", "at_s", "k", "gamma")}
        assert values == {
            "device": "device-1", "request": 7, "step": 3, "at_s": REPORT.ended_at_s, "k": 16, "gamma": 5,
        }  # fmt: skip

    _run(body, Believing())


@pytest.mark.parametrize(
    ("wanted", "vocab_size", "k"),
    [(64, 64, 64), (320, 64, 64), (320, 49_152, 320), (5000, 49_152, 4096), (60_000, 49_152, 49_152)],
)
def test_k_fits_the_vocabulary(wanted: int, vocab_size: int, k: int) -> None:
    """A policy need not know V: what the BS said of it when it registered bounds every K."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, Register(role="target", name="bs-1", vocab_size=vocab_size), REPORT)
        assert {one.k for one in await _ordered_within_1s(bs)} == {k}

    _run(body, FixedPolicy(PlanValues(k=wanted, gamma=3, min_draft=3)))


def test_a_policy_that_wants_the_vocabulary_is_told() -> None:
    """One with an attribute `vocab_size` has it set when the BS registers, before it plans."""

    class Aware(Scripted):
        vocab_size = 0

        def plan(self, device: str, request: int) -> PlanValues:
            return PlanValues(k=self.vocab_size // 2, gamma=1, min_draft=1)

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            _say(bs, *[Register(role="target", name="bs-1", vocab_size=100)] * 3)
            assert {one.k for one in await _ordered_within_1s(bs)} == {50}
        assert [log["event"] for log in logs] == ["controller.registered"]

    _run(body, Aware(()))
    assert make_policy("adaptive").plan("d", 1).k >= 1
    assert isinstance(make_policy("adaptive"), VocabularyAware)


def test_a_policy_that_wants_the_tables_is_told() -> None:
    """One with an attribute `table_sets` has it before it is asked for anything; others are left alone."""
    sets, seen = by_tag([usual_set(100), usual_set(200)]), list[TableSets]()

    class Aware:
        table_sets = NO_TABLES

        def observe(self, report: Report) -> None:
            """Nothing to learn."""

        def plan(self, device: str, request: int) -> PlanValues:
            seen.append(self.table_sets)
            return WANTED

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, Register(role="target", name="bs-1", vocab_size=100))
        assert await _ordered(bs) == _order(32, 3, request=ANY_REQUEST, device=ANY_DEVICE)
        assert not node.refused()

    _run(body, Aware(), table_sets=sets)
    assert seen == [sets]
    _run(body, table_sets=sets)  # FixedPolicy has no use for them
    assert isinstance(make_policy("adaptive"), TablesAware)
    assert not isinstance(FixedPolicy(WANTED), VocabularyAware)


BAD_PLANS = {
    "no plan": None,
    "a tuple": (1, 2, 3),
    "k": PlanValues(0, 1, 1),
    "gamma": PlanValues(8, 33, 33),
    "min_draft": PlanValues(8, 2, 3),
    "no number": PlanValues("many", 1, 1),  # type: ignore[arg-type]
    "belief": PlanValues(8, 2, 2, "a feeling"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("bad", BAD_PLANS)
def test_plans_that_cannot_be_do_not_stop_the_controller(bad: str) -> None:
    """A policy's mistakes are counted, logged once, and order nothing; the next good plan goes out."""

    class Recovering:
        steps = 0

        def observe(self, report: Report) -> None:
            self.steps += 1

        def plan(self, device: str, request: int) -> PlanValues:
            return BAD_PLANS[bad] if self.steps < 3 else WANTED  # type: ignore[return-value]

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            _say(bs, Register(role="target", name="bs-1", vocab_size=64), REPORT, REPORT, REPORT)
            orders = await _ordered_within_1s(bs)
        assert orders[-2:] == [_order(32, 3, request=7), _order(32, 3, request=ANY_REQUEST)]
        assert len(orders) == 2 or bad == "belief"
        assert node.refused()[POLICY_FAILED] >= 2
        assert len([log for log in logs if log["event"] == "controller.policy_failed"]) == 1

    _run(body, Recovering())


def test_an_observer_that_raises_still_plans() -> None:
    """What a policy can't take in it can't learn from; its plans go out all the same."""

    class Blind(FixedPolicy):
        def observe(self, report: Report) -> None:
            raise KeyError("rows")

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, ROWS, REPORT)
        assert len(await _ordered_within_1s(bs)) == 2
        assert node.refused() == {POLICY_FAILED: 2}

    _run(body, Blind(WANTED))


def test_a_register_is_answered_with_the_plan_to_begin_with() -> None:
    """Whoever registers learns the plan for requests that are yet to come."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        _say(bs, Register(role="target", name="bs-1", vocab_size=64))
        order = await _ordered(bs)
        assert order == PlanOrder(device=ANY_DEVICE, request=ANY_REQUEST, k=32, gamma=3, min_draft=3)

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
            _say(bs, Register(role="target", name="bs-1", vocab_size=64))
            await _ordered(bs)
        assert node.refused() == {Refusal.TRUNCATED: 6, Refusal.CHECKSUM: 6, UNEXPECTED: 3}
        assert [log["reason"] for log in logs if log["event"] == "controller.refused"] == [
            "truncated",
            "checksum",
            "unexpected",
        ]

    _run(body)


def test_an_impostor_is_counted_and_dropped() -> None:
    """A BS by a name that its key does not have plans for nobody; why is logged once."""

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        with structlog.testing.capture_logs() as logs:
            _say(bs, Register(role="target", name="bs-1", vocab_size=64), REPORT, REPORT)
            assert await _ordered_within_1s(bs) == []
        assert node.refused() == {IMPOSTOR: 3}
        (event,) = logs
        assert (event["event"], event["peer"], event["detail"]) == ("controller.refused", "bs", NOT_THE_KEYS)

    _run(body, impostors=frozenset({"bs"}))


def test_a_probe_is_answered() -> None:
    """An Echo with the clock on the wall, of the size asked for; the policy hears nothing of it."""
    policy = Scripted(((8, 4),))

    async def body(node: ControllerNode, bs: Endpoint) -> None:
        bs.send(b"", encode_frame(Probe(stamp=5, reply_padding=300), session=0, sequence=0))
        frame = decode_frame((await bs.receive()).data)
        assert (frame.session, frame.message) == (0, Echo(stamp=5, clock_s=WALL_S, padding=300))
        assert node.refused() == {} and policy.reports == []

    _run(body, policy)


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
        _say(bs, Register(role="target", name="bs-1", vocab_size=64))
        while (await _ordered(bs)).request != ANY_REQUEST:
            pass

    _run(body)
