"""Devices and links that go silent, and a BS that is told to stop; virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, checked, greedy, open_for, request, run, text
from tests.harness.policies import Scripted

from draftwire.codecs.messages import Cancel, Close, Commit, Finish, Opened, Ping, Reason, Refused
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.device.node import RequestRefusedError
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.pacing import PAPER
from draftwire.nodes.models.synthetic import SyntheticModel
from draftwire.runtime.link import parse_link
from draftwire.runtime.session.request import Taken, Timing
from draftwire.runtime.session.states import Target

LINK = "rate 1mbit delay 20ms"
PASS_S = PAPER.target_s
PATIENT = Timing(absent_s=900.0)


@dataclass
class Counting:
    """The synthetic target; it counts its open contexts, and refuses to compute in one that is closed."""

    vocab_size: int = VOCAB_SIZE
    context_length: int = 2000
    support: None = None
    opened: set[object] = field(default_factory=set)

    def open(self) -> Context:
        """A context that is counted until it is closed."""
        inner, held = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1).open(), self.opened

        class _Counted:
            def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
                assert self in held, "closed"
                return inner.logits(tokens, rows)

            def close(self) -> None:
                held.discard(self)

        context = _Counted()
        held.add(context)
        return context


def _forgotten(logs: Sequence[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == "target.forgot"]


@pytest.mark.parametrize(("gamma", "min_draft", "held"), [(0, 0, 10), (4, 0, 10), (4, 4, 3)])
def test_a_device_that_vanishes_costs_memory_for_a_while_only(gamma: int, min_draft: int, held: int) -> None:
    """The BS stops `ahead` tokens later, sends nothing once it is parked, and frees all after forget_s.

    One that waits for drafts decodes a token every patience_s, till it parks.
    """
    model = Counting()

    async def main() -> None:
        async with cell(gamma=gamma, model=model, ahead=10, forget_s=60) as bs:
            peer = await bs.greeted("gone")
            peer.say(open_for(request(max_new_tokens=300, temperature=0.0, min_draft=min_draft)))
            await peer.hear_of(Opened)
            await asyncio.sleep(Timing().parked_s + 5)
            (session,) = bs.sessions()
            assert session.log.produced == held
            assert session.parked(bs.clock.now_s()) and len(model.opened) == 1
            while peer.endpoint.statistics().waiting:
                await peer.hear()
            await asyncio.sleep(60 - bs.clock.now_s() - 0.001)
            assert len(bs.sessions()) == len(model.opened) == 1
            await asyncio.sleep(0.002)
            assert bs.sessions() == [] and not model.opened
            assert peer.endpoint.statistics().waiting == 0
            peer.say(Ping(incarnation=session.incarnation, known=3, stamp=1))
            assert (await peer.hear_of(Refused)).reason is Reason.UNKNOWN_REQUEST

    with structlog.testing.capture_logs() as logs:
        run(main())
    (event,) = _forgotten(logs)
    assert (event["device"], event["request"], event["silent_s"]) == ("gone", 9, 60.0)
    assert event["known_tokens"] == 3 and event["log_tokens"] > 3
    assert "from its own log" in event["detail"]


def test_a_word_now_and_then_is_enough() -> None:
    """A device that speaks once in forget_s is not forgotten, however long that goes on."""

    async def main() -> None:
        async with cell(gamma=0, ahead=10, forget_s=60) as bs:
            peer = await bs.greeted("slow")
            peer.say(open_for(request(max_new_tokens=300)))
            life = (await peer.hear_of(Opened)).incarnation
            for _ in range(10):
                await asyncio.sleep(59)
                peer.say(Ping(incarnation=life, known=3, stamp=1))
            await asyncio.sleep(59)
            assert len(bs.sessions()) == 1

    run(main())


def test_tombstones_go_in_time() -> None:
    """What has been closed holds no context; it is remembered against late copies for forget_s only."""
    model = Counting()

    async def main() -> None:
        async with cell(model=model, forget_s=60) as bs:
            peer = await bs.greeted("dev")
            for number in range(5):
                peer.say(open_for(request()), number)
                peer.say(Close(incarnation=(await peer.hear_of(Opened)).incarnation, known=3), number)
            await asyncio.sleep(59)
            assert [session.state for session in bs.sessions()] == [Target.CLOSED] * 5
            assert not model.opened
            await asyncio.sleep(2)
            assert bs.sessions() == []

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert _forgotten(logs) == []


def test_a_request_that_is_let_go_for_another_is_said_too() -> None:
    """All places taken: the longest parked one goes at once, and the log tells whose it was."""
    model = Counting()

    async def main() -> None:
        async with cell(gamma=0, model=model, max_sessions=1, forget_s=600) as bs:
            gone, other = await bs.greeted("gone"), await bs.greeted("other")
            gone.say(open_for(request()))
            await gone.hear_of(Opened)
            await asyncio.sleep(30)
            other.say(open_for(request()))
            await other.hear_of(Opened)
            assert len(model.opened) == 1

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert [(event["device"], event["silent_s"]) for event in _forgotten(logs)] == [("gone", 30.0)]


def test_a_tombstone_goes_before_a_request_that_lives() -> None:
    """All places taken: what has been closed makes room, though a parked device was heard of before it."""

    async def main() -> None:
        async with cell(gamma=0, max_sessions=2) as bs:
            parked, closed, third = [await bs.greeted(name) for name in ("parked", "closed", "third")]
            parked.say(open_for(request(max_new_tokens=300)))
            await parked.hear_of(Opened)
            await asyncio.sleep(Timing().parked_s + 1)
            closed.say(open_for(request()))
            closed.say(Close(incarnation=(await closed.hear_of(Opened)).incarnation, known=3))
            await asyncio.sleep(1)
            third.say(open_for(request()))
            await third.hear_of(Opened)
            assert [served.name for served in bs.target._requests] == ["parked", "third"]

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert _forgotten(logs) == []


def test_no_two_tries_share_an_incarnation_also_not_over_forgetting() -> None:
    """A request that was let go and comes back is another life of its log than every one before."""

    async def main() -> None:
        async with cell(gamma=0, max_sessions=1) as bs:
            peer, other = await bs.greeted("dev"), await bs.greeted("other")
            lives = []
            for device_try in (1, 2, 3, 4):
                if device_try == 4:
                    await asyncio.sleep(Timing().parked_s + 5)
                    other.say(open_for(request()))
                    lives.append((await other.hear_of(Opened)).incarnation)
                    other.say(Close(incarnation=lives[-1], known=3))
                    await asyncio.sleep(1)
                peer.say(open_for(request(max_new_tokens=300), device_try=device_try))
                opened = await peer.hear_of(Opened)
                assert opened.device_try == device_try
                lives.append(opened.incarnation)
            assert len(set(lives)) == 5

    run(main())


@pytest.mark.parametrize("own", [True, False])
def test_a_request_reopened_behind_its_tombstone_leaks_nothing(own: bool) -> None:
    """A newer try takes the place of a closed one while the model is at work on it, or on another."""
    model = Counting()

    async def main() -> None:
        async with cell(gamma=None, k=None, model=model, ahead=300) as bs:
            peer, other = await bs.greeted("dev"), await bs.greeted("other")
            if not own:
                other.say(open_for(request(max_new_tokens=300, gamma=0)))
            for attempt in range(1, 6):
                asked = request(max_new_tokens=300, gamma=0 if own else 4)
                peer.say(open_for(asked, device_try=attempt))
                life = (await peer.hear_of(Opened)).incarnation
                await asyncio.sleep(PASS_S * 3.5)  # in the middle of a pass
                peer.say(Close(incarnation=life, known=3))
            await asyncio.sleep(1)
            assert len(model.opened) == (0 if own else 1)

    run(main())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [0, 4])
@pytest.mark.parametrize("away_s", [60.0, 300.0])
def test_a_link_that_was_away_costs_time_only(temperature: float, gamma: int, away_s: float) -> None:
    """Shorter than absent_s, longer than parking or than forgetting: the text is what it would have been."""
    wanted = request(max_new_tokens=60, temperature=temperature)

    async def undisturbed() -> tuple[int, ...]:
        async with cell(gamma=gamma) as bs:
            await bs.channel(LINK)
            return await text(await bs.device(address=CHANNEL), wanted)

    async def main() -> None:
        async with cell(gamma=gamma, forget_s=120) as bs:
            channel = await bs.channel(LINK)
            device = await bs.device(address=CHANNEL, timing=PATIENT)
            taken = list[Taken]()

            async def ask() -> None:
                async for one in device.answer(wanted):
                    taken.append(one)

            asking = asyncio.create_task(ask())
            while len(taken) < 20:
                await asyncio.sleep(0.01)
            for direction in Direction:
                channel.set_link(direction, parse_link("loss 100%"))
            before = len(taken)
            await asyncio.sleep(away_s)
            assert len(taken) <= before + 8  # what was on its way
            for direction in Direction:
                channel.set_link(direction, parse_link(LINK))
            began_s = bs.clock.now_s()
            await asking
            assert bs.clock.now_s() - began_s < 60
            assert checked(taken, wanted) == undisturbed_text

    undisturbed_text = run(undisturbed())
    assert len(undisturbed_text) == 60
    with structlog.testing.capture_logs() as logs:
        run(main())
    forgotten = away_s > 120
    assert len(_forgotten(logs)) == forgotten
    begun = [log["known_tokens"] > 3 for log in logs if log["event"] == "target.request"]
    assert begun == [False, True][: 1 + forgotten]  # from the device's own log


def test_a_dead_controller_leaves_its_last_plan_through_an_outage() -> None:
    """Link and controller away at once: the request goes on by the last plan that was ordered."""

    async def main() -> None:
        policy = Scripted([(3 + number, 1 + number % 3) for number in range(60)])
        async with cell(policy=policy) as bs:
            (controlling, *_) = bs.running
            channel = await bs.channel(LINK)
            device = await bs.device(address=CHANNEL, timing=PATIENT)
            asking = asyncio.create_task(text(device, request(max_new_tokens=60)))
            while len(bs.reports) < 5:
                await asyncio.sleep(0.01)
            controlling.cancel()
            channel.set_link(Direction.UPLINK, parse_link("loss 100%"))
            await asyncio.sleep(60)
            channel.set_link(Direction.UPLINK, parse_link(LINK))
            assert len(await asking) == 60
            plans = {(step.plan.k, step.plan.gamma) for step in bs.reports[len(policy.steps) + 1 :]}
            assert plans == {policy.plans[len(policy.steps)]}

    run(main())


# -- told to stop ------------------------------------------------------------------------------------------


def test_a_bs_told_to_stop_brings_answers_to_their_end() -> None:
    """New requests are refused as BUSY, naming why; one under way is answered whole, and then it is done."""

    async def main() -> None:
        async with cell() as bs:
            device, late, returning = await bs.device(), await bs.device("late"), await bs.greeted("back")
            asking = asyncio.create_task(text(device, request(temperature=0.0)))
            await asyncio.sleep(0.3)
            draining = asyncio.create_task(bs.target.drain(5.0))
            await asyncio.sleep(0)
            with pytest.raises(RequestRefusedError, match="stopping") as caught:
                await text(late, request())
            assert caught.value.reason == "BUSY"
            returning.say(open_for(request(), tokens=(1, 2, 3, 4), draft_epoch=2))
            assert await asking == greedy(bs.pair.target, (1, 2, 3), 40)
            await draining
            assert bs.clock.now_s() < 2
            assert returning.endpoint.statistics().waiting == 0  # it asks again until a BS is back

    run(main())


@pytest.mark.parametrize("within_s", [0.0, 2.0, 2.0 + PASS_S, 2.0 + 2 * PASS_S])
def test_draining_is_bounded_and_ends_with_a_whole_step(within_s: float) -> None:
    """What has not ended in time stops behind the pass under way, whose Commit leaves; no other begins."""

    async def main() -> None:
        async with cell(gamma=0, ahead=300) as bs:
            peer, *others = [await bs.greeted(name) for name in ("dev", "other", "third")]
            for one in (peer, *others):
                one.say(open_for(request(max_new_tokens=300)))
            life = (await peer.hear_of(Opened)).incarnation
            await asyncio.sleep(0.1)
            began_s = bs.clock.now_s()
            await bs.target.drain(within_s)
            assert within_s <= bs.clock.now_s() - began_s <= within_s + PASS_S
            session = bs.sessions()[0]
            length, ended = len(session.log), Finish.RUNNING
            assert length >= 3 + 10 or within_s < 2
            newest = 3
            while peer.endpoint.statistics().waiting:
                commit = await peer.hear()
                assert isinstance(commit, Commit)
                newest, ended = max(newest, commit.position + len(commit.ids)), commit.finish
            assert (newest, ended) == (length, Finish.RUNNING)
            peer.say(Ping(incarnation=life, known=length, stamp=1))
            await asyncio.sleep(5)
            assert len(session.log) == length

    run(main())


def test_nobody_waits_for_a_device_that_is_gone() -> None:
    """Requests that are closed, cancelled or parked keep a BS that is told to stop no longer."""

    async def main() -> None:
        async with cell(gamma=0) as bs:
            peer = await bs.greeted("dev")
            peer.say(open_for(request(max_new_tokens=300)))
            await peer.hear_of(Opened)
            await asyncio.sleep(Timing().parked_s)
            endings: tuple[type[Cancel] | type[Close], ...] = (Cancel, Close)
            for number, ended in enumerate(endings):
                peer.say(open_for(request(max_new_tokens=300)), number)
                peer.say(ended(incarnation=(await peer.hear_of(Opened)).incarnation, known=3), number)
            await asyncio.sleep(0.2)
            began_s = bs.clock.now_s()
            await bs.target.drain(5.0)
            assert bs.clock.now_s() == began_s

    run(main())


def test_a_block_that_does_not_come_is_not_waited_for_beyond_the_bound() -> None:
    """A request whose device is alive and has nothing to say keeps a BS that is told to stop so long only."""

    async def main() -> None:
        async with cell(gamma=4) as bs:
            peer = await bs.greeted("dev")
            peer.say(open_for(request(max_new_tokens=300)))
            await peer.hear_of(Opened)
            await asyncio.sleep(1)
            began_s = bs.clock.now_s()
            await bs.target.drain(5.0)
            assert bs.clock.now_s() == began_s + 5.0

    run(main())
