"""The device node, whole, against whole nodes and against peers that say what they like; virtual time."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from tests.harness.cell import BS, CHANNEL, VOCAB_SIZE, cell, checked, greedy, request, run, text
from tests.harness.reference import reference_text

from draftwire.codecs.control import ANY_REQUEST, StepReport
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Report
from draftwire.nodes.device.account import Account
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.errors import EndpointClosedError
from draftwire.runtime.session.states import Target

LINKS = ("rate 20mbit delay 2ms", "rate 1mbit delay 20ms 3ms", "rate 200kbit delay 40ms")


@pytest.mark.parametrize("gamma", [0, 1, 4, 32])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answer_is_complete(gamma: int, temperature: float) -> None:
    """An answer has as many tokens as were asked for, each position once, and the account agrees."""

    async def main() -> None:
        async with cell(gamma=gamma) as bs:
            account = Account(vocab_size=VOCAB_SIZE)
            wanted = request(temperature=temperature, max_new_tokens=50)
            assert len(await text(await bs.device(), wanted, account)) == account.tokens == 50
            assert account.seen <= account.drafted
            assert account.accepted == sum(report.accepted for report in bs.reports)
            assert account.steps == len(bs.reports)

    run(main())


@pytest.mark.parametrize("link", [None, *LINKS])
@pytest.mark.parametrize("gamma", [0, 4])
def test_greedy_is_the_targets_own(link: str | None, gamma: int) -> None:
    """At temperature 0 the text is the target's argmax decoding, over any link and any gamma."""

    async def main() -> None:
        async with cell(gamma=gamma, noise=1.0) as bs:
            if link is not None:
                await bs.channel(link)
            device = await bs.device(address=BS if link is None else CHANNEL)
            wanted = request(temperature=0.0, max_new_tokens=60)
            assert await text(device, wanted) == greedy(bs.pair.target, wanted.prompt, 60)

    run(main())


def test_text_does_not_depend_on_the_link() -> None:
    """At temperature 1 seed, K and gamma fix the text: no channel, fast, jittery and slow agree."""

    async def over(link: str | None) -> tuple[int, ...]:
        async with cell() as bs:
            if link is None:
                return await text(await bs.device(), request(max_new_tokens=60))
            channel = await bs.channel(link)
            answer = await text(await bs.device(address=CHANNEL), request(max_new_tokens=60))
            links = channel.statistics().links.values()
            assert sum(sum(one.dropped.values()) for one in links) == 0
            return answer

    texts = {run(over(link)) for link in (None, *LINKS)}
    assert len(texts) == 1


@pytest.mark.parametrize(("k", "gamma"), [(1, 1), (8, 4), (64, 7)])
def test_text_is_the_references(k: int, gamma: int) -> None:
    """At temperature 1 four nodes write what plain speculative decoding with the same keys writes."""

    async def main() -> None:
        async with cell(k=k, gamma=gamma) as bs:
            await bs.channel(LINKS[1])
            wanted = request(max_new_tokens=60)
            assert await text(await bs.device(address=CHANNEL), wanted) == reference_text(
                wanted,
                bs.pair.draft.open(),
                bs.pair.target.open(),
                k=k,
                gamma=gamma,
                vocab_size=VOCAB_SIZE,
                noise=PhiloxNoise(),
            )

    run(main())


def test_other_seeds_give_other_texts() -> None:
    """The seed matters, and the same one gives the same text again on the same node."""

    async def main() -> None:
        async with cell() as bs:
            device = await bs.device()
            texts = [await text(device, request(seed=seed)) for seed in (1, 2, 1)]
            assert texts[0] == texts[2] != texts[1]

    run(main())


def test_lossy_link_changes_nothing() -> None:
    """A link whose queue drops messages costs time; where drafts are hints a seed's text stays as it was."""

    async def over(link: str, **how: Any) -> tuple[tuple[int, ...], int]:
        async with cell() as bs:
            channel = await bs.channel(link)
            device = await bs.device(address=CHANNEL)
            wanted = [request(max_new_tokens=25, seed=seed, **how) for seed in range(4)]
            answers = await asyncio.gather(*(text(device, one) for one in wanted))
            links = channel.statistics().links.values()
            return sum(answers, ()), sum(sum(one.dropped.values()) for one in links)

    coupled, whole_paths = Acceptance.COUPLED, {"min_draft": MAX_GAMMA}
    cases: tuple[tuple[int, dict[str, Any]], ...] = (
        (2, {"temperature": 1.0}),
        (2, {"temperature": 0.0, **whole_paths}),
        (2, {"acceptance": coupled, **whole_paths}),
        (4, {"temperature": 0.0}),  # ids one by one, four requests at once: 2 would let no Open through
        (4, {"acceptance": coupled}),
    )
    for queue, how in cases:
        whole, none = run(over("rate 1mbit delay 10ms", **how))
        lossy, dropped = run(over(f"rate 60kbit delay 10ms limit {queue}", **how))
        assert none == 0
        assert dropped > 10, how
        if len(how) > 1 or queue == 4:
            assert lossy == whole, how  # else a lost block may let the BS decode alone: another exact draw
        assert len(lossy) == len(whole)


def test_many_devices_and_requests_at_once() -> None:
    """Four devices with three requests each get what each would have got alone."""

    async def alone(name: str, seed: int) -> tuple[int, ...]:
        async with cell() as bs:
            return await text(await bs.device(name), request(seed=seed))

    async def main() -> None:
        async with cell() as bs:
            devices = [await bs.device(f"dev-{number}") for number in range(4)]
            answers = await asyncio.gather(
                *(text(device, request(seed=seed)) for device in devices for seed in range(3))
            )
            assert answers == expected * 4

    expected = [run(alone("dev-0", seed)) for seed in range(3)]
    run(main())


def test_first_plan_of_the_controller_holds() -> None:
    """The controller's plan for every request replaces the BS's own before the first one begins."""

    async def main() -> None:
        async with cell(policy=FixedPolicy(PlanValues(k=5, gamma=2, min_draft=2))) as bs:
            await asyncio.sleep(0.01)
            await text(await bs.device(), request())
            assert {(one.plan.k, one.plan.gamma) for one in bs.reports} == {(5, 2)}
            assert max(one.drafted for one in bs.reports) == 2

    run(main())


def test_a_plan_reaches_the_device_in_mid_answer() -> None:
    """An order for a running request rides on the next Commit, and the device's next block obeys it."""

    class Switching:
        """Another plan once a few tokens are out."""

        position = 0

        def observe(self, report: Report) -> None:
            if isinstance(report, StepReport):
                self.position = report.position

        def plan(self, device: str, number: int) -> PlanValues:
            later = number != ANY_REQUEST and self.position > 20
            return PlanValues(k=12, gamma=6, min_draft=6) if later else PlanValues(k=8, gamma=4, min_draft=4)

    async def main() -> None:
        async with cell(policy=Switching()) as bs:
            await bs.channel("rate 1mbit delay 20ms")
            await text(await bs.device(address=CHANNEL), request(max_new_tokens=80))
            plans = [(one.plan.k, one.plan.gamma, one.plan.number) for one in bs.reports]
            assert plans[0] == (8, 4, 1)
            assert plans[-1] == (12, 6, 2)
            assert max(one.drafted for one in bs.reports) == 6

    run(main())


def test_leaving_early_cancels_at_the_bs() -> None:
    """Closing the iterator ends the request at the BS, which may forget it; nothing more is computed."""

    async def main() -> None:
        async with cell() as bs:
            await bs.channel("rate 1mbit delay 20ms")
            device = await bs.device(address=CHANNEL)
            async with aclosing(device.answer(request(max_new_tokens=5000))) as tokens:
                async for taken in tokens:
                    if taken.position == 30:
                        break
            await asyncio.sleep(1)
            (session,) = bs.sessions()
            assert session.state is Target.CLOSED
            steps = len(bs.reports)
            await asyncio.sleep(60)
            assert len(bs.reports) == steps

    run(main())


def test_leaving_before_the_bs_has_answered() -> None:
    """A request given up before Opened came is closed at the BS once it speaks."""

    async def main() -> None:
        async with cell() as bs:
            await bs.channel("rate 1mbit delay 200ms")
            device = await bs.device(address=CHANNEL)
            asking = asyncio.create_task(text(device, request()))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.sleep(5)
            (session,) = bs.sessions()
            assert session.state is Target.CLOSED
            assert len(bs.reports) <= 1

    run(main())


def test_a_stopped_node_ends_its_answers() -> None:
    """When the node ends, requests under way raise at once and are cancelled at the BS."""

    async def main() -> None:
        async with cell() as bs:
            device = await bs.device()
            asking = asyncio.create_task(text(device, request(max_new_tokens=5000)))
            await asyncio.sleep(2)
            bs.running[-1].cancel()
            with pytest.raises(EndpointClosedError, match=BS):
                await asking
            await asyncio.sleep(1)
            (session,) = bs.sessions()
            assert session.state is Target.FINISHED

    run(main())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("after", [0, 1, 17])
def test_a_bs_that_restarts_in_mid_answer(temperature: float, after: int) -> None:
    """A new BS at the same address goes on where the old one ended; the text stays the same."""

    async def answer(*, restart: bool) -> tuple[int, ...]:
        async with cell() as bs:
            await bs.channel("rate 1mbit delay 20ms")
            device = await bs.device(address=CHANNEL)
            wanted = request(temperature=temperature)
            taken = []
            async for one in device.answer(wanted):
                taken.append(one)
                if restart and len(taken) == after + 1:
                    await bs.serve()
            return checked(taken, wanted)

    assert run(answer(restart=True)) == run(answer(restart=False))
