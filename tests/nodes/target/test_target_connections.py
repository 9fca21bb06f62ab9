"""Names and connections at the BS: where answers go, who is refused, probes, a controller that is away."""

import asyncio

import pytest
import structlog
from tests.harness.cell import CONTROLLER, Peer, cell, greedy, hello, open_for, request, run, text
from tests.harness.policies import Scripted
from tests.harness.spoilt import NOT_THE_KEYS, SpoiltTransport

from draftwire.codecs.control import ANY_REQUEST, PlanOrder, Register, RowsReport, StepReport
from draftwire.codecs.limits import MAX_PROBE_BYTES
from draftwire.codecs.messages import Close, Commit, Incarnation, Opened, Ping, Pong, Reason, Refused
from draftwire.codecs.probes import Echo, Probe
from draftwire.runtime.absence import LOOK_S, PATIENCE_S
from draftwire.runtime.transport import MemoryNetwork, Trouble, TroubleKind


async def _nothing_came(peer: Peer, *, within_s: float) -> bool:
    await asyncio.sleep(within_s)
    return peer.endpoint.statistics().waiting == 0


def test_answers_go_to_the_connection_last_heard_by() -> None:
    """A device that has connected anew is answered there from its first message of this life on."""

    async def main() -> None:
        async with cell(gamma=0, ahead=8) as bs:
            first, second = await bs.greeted("dev"), await bs.peer("dev")
            first.say(open_for(request(max_new_tokens=300)))
            life = (await first.hear_of(Opened)).incarnation
            await asyncio.sleep(5)
    
            while first.endpoint.statistics().waiting:
                await first.hear()
            second.say(Ping(incarnation=life, known=5, stamp=1))
            assert (await second.hear_of(Pong)).stamp == 1
            assert (await second.hear_of(Commit)).position == 5
            assert await _nothing_came(first, within_s=5)
            assert len(bs.sessions()) == 1

    run(main())


def test_what_does_not_fit_moves_no_answers() -> None:
    """Messages of another life, of another device, and an older Open leave the answers where they go."""

    async def main() -> None:
        async with cell(gamma=0, ahead=300) as bs:
            honest, other, namesake = [await bs.greeted(name) for name in ("dev", "other", "dev")]
            honest.say(open_for(request(max_new_tokens=300), device_try=2))
            life = (await honest.hear_of(Opened)).incarnation
            namesake.say(Ping(incarnation=Incarnation(boot=life.boot, counter=99), known=3, stamp=1))
            namesake.say(open_for(request(max_new_tokens=300), device_try=1))
            refused = await namesake.hear_of(Refused)
            assert (refused.reason, refused.device_try) == (Reason.SUPERSEDED, 1)
            other.say(Ping(incarnation=life, known=3, stamp=1))
            assert (await other.hear_of(Refused)).reason is Reason.UNKNOWN_REQUEST
            while honest.endpoint.statistics().waiting:
                await honest.hear()
            assert await _nothing_came(namesake, within_s=2)
            assert isinstance(await honest.hear(), Commit)

    run(main())


@pytest.mark.parametrize("closed", [False, True])
def test_of_two_processes_with_one_record_the_first_is_served(closed: bool) -> None:
    """The same try of another life is refused where it asked, also when the first has been answered; a repeat
    of the first is none."""

    async def main() -> None:
        async with cell(gamma=0, ahead=300) as bs:
            first, twin = await bs.greeted("dev"), await bs.greeted("dev")
            first.say(open_for(request(max_new_tokens=300), life=1))
            opened = await first.hear_of(Opened)
            if closed:
                first.say(Close(incarnation=opened.incarnation, known=3))
                await asyncio.sleep(1)
            twin.say(open_for(request(max_new_tokens=300), life=2))
            assert (await twin.hear_of(Refused)).reason is Reason.SUPERSEDED
            first.say(open_for(request(max_new_tokens=300), life=1))
            if not closed:
                assert await first.hear_of(Opened) == opened
            assert await _nothing_came(twin, within_s=2)

    run(main())


def test_an_impostor_is_refused_by_its_reason() -> None:
    """Whatever it sends, it is told that its key may not go by that name, and nothing is done for it."""

    async def main() -> None:
        def transport(network: MemoryNetwork) -> SpoiltTransport:
            return SpoiltTransport(network, impostors=frozenset({"phone-1"}))

        async with cell(transport=transport) as bs:
            device, impostor = await bs.device(), await bs.peer("phone-1")
            for message in (hello(), open_for(request()), Probe(stamp=1)):
                impostor.say(message)
                heard = await impostor.hear()
                assert isinstance(heard, Refused)
                assert (heard.reason, heard.detail) == (Reason.IDENTITY, NOT_THE_KEYS)
            assert bs.target.refused == {Reason.IDENTITY: 3}
            assert bs.sessions() == []
            assert len(await text(device, request())) == 40

    run(main())


def test_a_probe_is_answered_at_once_to_anybody() -> None:
    """Without Hello, also during an answer: an Echo with the clock on the wall, of the size asked for."""

    async def main() -> None:
        async with cell() as bs:
            device, doctor = await bs.device(), await bs.peer("dev/doctor")
            asking = asyncio.create_task(text(device, request(temperature=0.0)))
            for stamp, padding in enumerate((0, 1000, MAX_PROBE_BYTES)):
                await asyncio.sleep(0.3)
                doctor.say(Probe(stamp=stamp, padding=7, reply_padding=padding), number=0)
                sent_s = bs.clock.now_s()
                assert await doctor.hear() == Echo(stamp=stamp, clock_s=sent_s, padding=padding)
                assert bs.clock.now_s() == sent_s
            assert await asking == greedy(bs.pair.target, (1, 2, 3), 40)
            assert not bs.target.refused

    run(main())


AWAY = Trouble(kind=TroubleKind.UNREACHABLE, text="tcp://c:1: nobody listens there")
DENIED = Trouble(kind=TroubleKind.DENIED, text="tcp://c:1: the controller does not allow this key")


def test_a_controller_that_is_away_is_said_once_by_kind() -> None:
    """After some seconds, in the transport's words, and anew after a return; a short absence is no news."""

    async def main() -> None:
        transports = list[SpoiltTransport]()

        def transport(network: MemoryNetwork) -> SpoiltTransport:
            transports.append(SpoiltTransport(network))
            return transports[-1]

        with structlog.testing.capture_logs() as logs:
            async with cell(k=None, gamma=None, transport=transport):
                long_s = 60
                for trouble, for_s in (
                    *((AWAY, PATIENCE_S - 1), (None, long_s), (AWAY, long_s)),
                    *((DENIED, long_s), (AWAY, long_s)),
                ):
                    transports[0].trouble = trouble
                    await asyncio.sleep(for_s)
                transports[0].trouble = None
                await asyncio.sleep(1)
                transports[0].trouble = AWAY
                await asyncio.sleep(long_s)
        said = [log for log in logs if log["event"].startswith("target.") and "controller" in log["event"]]
        assert [(log["event"], log.get("text")) for log in said] == [
            ("target.no_controller", AWAY.text),
            ("target.no_controller", DENIED.text),
            ("target.controller_back", None),
            ("target.no_controller", AWAY.text),
        ]
        assert said[0]["kind"] == "unreachable" and said[2]["after_s"] == pytest.approx(180, abs=1)

    run(main())


def test_a_controller_that_is_back_hears_who_reports_first() -> None:
    """No report waits for it meanwhile; then Register comes without a new request, and before any report."""

    async def main() -> None:
        transports = list[SpoiltTransport]()

        def transport(network: MemoryNetwork) -> SpoiltTransport:
            transports.append(SpoiltTransport(network))
            return transports[-1]

        async with cell(k=None, gamma=None, transport=transport) as bs:
            controller = await bs.impostor("target", address=CONTROLLER)
            assert isinstance(await controller.hear(), Register)
            asking = asyncio.create_task(text(await bs.device(), request(max_new_tokens=400)))
            assert isinstance(await controller.hear_of(StepReport), StepReport)
            transports[0].trouble = AWAY
            await asyncio.sleep(2)
            while controller.endpoint.statistics().waiting:
                await controller.hear()
            assert await _nothing_came(controller, within_s=2)
            transports[0].trouble = None
            assert isinstance(await controller.hear(), Register)
            assert isinstance(await controller.hear(), StepReport | RowsReport)
            await asking
            transports[0].trouble = AWAY
            await asyncio.sleep(LOOK_S)
            transports[0].trouble = None
            while controller.endpoint.statistics().waiting:
                await controller.hear()
            assert isinstance(await controller.hear(), Register)  # nothing else has happened meanwhile

    run(main())


def test_a_restarted_bs_is_a_new_connection_to_its_controller() -> None:
    """It goes by the same name: the controller tells it the plan to begin with, as it told the last life."""

    async def main() -> None:
        policy = Scripted(((5, 3),))
        async with cell(policy=policy) as bs:
            device = await bs.device()
            await text(device, request())
            await bs.serve()
            await asyncio.sleep(0.1)
            bs.reports.clear()
            await text(device, request(seed=6))
            assert (bs.reports[0].plan.k, bs.reports[0].plan.gamma) == (5, 3)

    run(main())


def test_an_order_for_any_request_needs_no_request() -> None:
    """An order whose device the BS has never heard of is kept for it and harms nobody."""

    async def main() -> None:
        async with cell(k=None, gamma=None) as bs:
            controller = await bs.impostor("target", address=CONTROLLER)
            controller.say(PlanOrder(device="dev", request=ANY_REQUEST, k=7, gamma=1, min_draft=1))
            await asyncio.sleep(0.01)
            await text(await bs.device("dev"), request())
            assert (bs.reports[0].plan.k, bs.reports[0].plan.gamma) == (7, 1)

    run(main())
