"""What the BS tells its controller, worked out again from the models: acceptance of rows, times."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, Cell, cell, request, run, text
from tests.harness.losing import LosingTransport
from tests.harness.policies import Scripted

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.frame import Frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance, Draft, Sampling, SparseLogits
from draftwire.nodes.models.pacing import PAPER
from draftwire.nodes.speculation.acceptance import rungs
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.runtime.link import ONE_PACKET_OVERHEAD_BYTES
from draftwire.runtime.session.request import Request

FAST, SLOW = "rate 20mbit delay 2ms", "rate 20kbit delay 2ms"
PLANS = ((8, 4), (16, 3), (3, 6), (64, 2), (1, 1))


async def _told(bs: Cell, policy: Scripted, link: str, wanted: Request) -> list[int]:
    """The log of an answer over a link, once all reports about it have come."""
    await bs.channel(link)
    tokens = await text(await bs.device(address=CHANNEL), wanted)
    await asyncio.sleep(5)
    assert policy.steps == bs.reports
    return [*wanted.prompt, *tokens]


def _check(told: RowsReport, step: StepReport, bs: Cell, log: Sequence[int], wanted: Request) -> None:
    """Each figure of a report, id by id, from the models' rows behind the log's own prefixes."""
    draft, target = bs.pair.draft.open(), bs.pair.target.open()
    assert (told.device, told.request, told.k) == (step.device, step.request, step.plan.k)
    assert told.ladder == rungs(told.k)
    assert len(told.alphas) == step.seen
    assert told.draft_at_s == step.draft_at_s
    for i in range(step.seen):
        before = log[: step.position + i]
        p = target_distribution(target.logits(before, 1)[0], wanted.sampling)
        row = sparsify(
            draft.logits(before, 1)[0],
            None,
            k=step.plan.k,
            temperature=wanted.sampling.temperature,
            vocab_size=VOCAB_SIZE,
        )
        q = dict(zip(row.ids.tolist(), (row.weights / 2**24).tolist(), strict=True))
        largest = sorted(q, key=lambda x: (-q[x], x))
        for k, alpha in zip(told.ladder, told.alphas[i], strict=True):
            total = sum(q[x] for x in largest[:k])
            assert alpha == pytest.approx(sum(min(p[x], q[x] / total) for x in largest[:k]), abs=1e-9)
        mass = row.kept_mass
        low = sum(min(p[x], mass * q[x]) for x in q)
        assert told.low[i] == pytest.approx(low, abs=1e-9)
        assert told.high[i] == pytest.approx(low + min(1 - sum(p[x] for x in q), 1 - mass), abs=1e-9)


@pytest.mark.parametrize("link", [FAST, SLOW])
def test_rows_reports_are_what_the_models_say(link: str) -> None:
    """Every tested block is reported once, whether its rows came before its test ended or long after."""

    async def main() -> None:
        policy = Scripted(PLANS)
        async with cell(policy=policy) as bs:
            wanted = replace(request(), sampling=Sampling(temperature=0.8, top_k=40))
            log = await _told(bs, policy, link, wanted)
            drafted = {step.step: step for step in policy.steps if step.drafted}
            assert sorted(one.step for one in policy.rows) == sorted(drafted)
            for told in policy.rows:
                _check(told, drafted[told.step], bs, log, wanted)
            order = [one.step for one in policy.reports]
            first = {type(policy.reports[order.index(number)]) for number in drafted}
            assert (StepReport in first) == (link == SLOW)
            assert RowsReport in first

    run(main())


class _Losses:
    """Everything comes twice, but of each third block its rows are lost, of each fourth the first Draft."""

    def __init__(self) -> None:
        self.without_rows: set[tuple[int, int]] = set()
        "(request, epoch) of blocks whose rows were lost when they came all together"
        self._late: set[tuple[int, int]] = set()

    def copies_of(self, frame: Frame) -> int:
        """By epoch, so that no chance decides whether anything is lost."""
        message = frame.message
        if isinstance(message, SparseLogits) and message.draft_epoch % 3 == 0 and len(message.rows) > 1:
            self.without_rows.add((frame.session, message.draft_epoch))
            return 0
        if isinstance(message, Draft) and message.draft_epoch % 4 == 0:
            first = (frame.session, message.draft_epoch) not in self._late
            self._late.add((frame.session, message.draft_epoch))
            return 0 if first else 2
        return 2


def test_a_lossy_link_costs_reports_and_nothing_else() -> None:
    """With messages lost and repeated each block is reported once and rightly, unless its rows were lost."""

    async def main() -> None:
        policy, losses = Scripted(PLANS), _Losses()
        async with cell(
            policy=policy, transport=lambda network: LosingTransport(network, losses.copies_of)
        ) as bs:
            await bs.channel("rate 60kbit delay 10ms")
            device = await bs.device(address=CHANNEL)
            wanted = [request(seed=seed, max_new_tokens=25) for seed in range(4)]
            answers = await asyncio.gather(*(text(device, one) for one in wanted))
            await asyncio.sleep(5)
            seeds = {one.number: one.session.request.seed for one in bs.target._requests}
            blocks = {(step.request, step.step): step for step in policy.steps if step.drafted}
            told = [(one.request, one.step) for one in policy.rows]
            assert 0 < len(losses.without_rows) < len(blocks)
            assert len(told) == len(set(told)) == len(blocks) - len(losses.without_rows)
            for key, one in zip(told, policy.rows, strict=True):
                seed = seeds[one.request]
                _check(one, blocks[key], bs, [1, 2, 3, *answers[seed]], wanted[seed])

    run(main())


def test_temperature_0_has_no_rows_to_report() -> None:
    """Greedy blocks carry ids alone, so the controller hears of steps only."""

    async def main() -> None:
        policy = Scripted(PLANS)
        async with cell(policy=policy) as bs:
            await _told(bs, policy, FAST, request(temperature=0.0))
            assert policy.rows == []
            assert any(step.drafted for step in policy.steps)

    run(main())


def _turnaround_s(step: StepReport, *, rate_bps: float, delay_s: float) -> float:
    """From the message that asked for a block to its Draft, on an idle link."""
    on_link = step.asked_bytes + step.draft_bytes + 2 * ONE_PACKET_OVERHEAD_BYTES  # of one packet each
    return 2 * delay_s + 8 * on_link / rate_bps + step.drafted * PAPER.draft_position_s


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_block_is_timed_from_the_message_that_asked_for_it(temperature: float) -> None:
    """asked_at_s and asked_bytes are those of the Opened or Commit that the device drew the block upon."""

    async def main() -> None:
        policy = Scripted(((8, 4), (16, 0), (16, 2)))
        async with cell(policy=policy) as bs:
            await _told(bs, policy, "rate 1mbit delay 20ms", request(temperature=temperature))
            assert {step.alone for step in policy.steps} == {True, False}
            for step in policy.steps:
                if step.alone:
                    assert (step.asked_at_s, step.asked_bytes) == (None, 0)
                    assert (step.draft_bytes, step.rows_bytes) == (0, 0)
                    continue
                assert step.asked_at_s is not None
                turnaround_s = _turnaround_s(step, rate_bps=1e6, delay_s=0.02)
                assert step.draft_at_s - step.asked_at_s == pytest.approx(turnaround_s, abs=1e-5)
                assert step.ended_at_s == pytest.approx(step.draft_at_s + step.hold_s)

    run(main())


@pytest.mark.parametrize("min_draft", [0, 2, MAX_GAMMA])
@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"acceptance": Acceptance.COUPLED}])
def test_a_path_tells_its_round_trip_once(how: dict[str, Any], min_draft: int) -> None:
    """Of its first Draft, by the Commit that it was begun upon, however far the BS has gone on meanwhile.

    Also by a step that had no ids of it, as a path may never catch up with a BS that does not wait.
    """

    async def main() -> list[StepReport]:
        async with cell(gamma=8, patience_s=0.05) as bs:
            await bs.channel("delay 20ms")
            wanted = request(max_new_tokens=100, min_draft=min_draft, **how)
            await text(await bs.device(address=CHANNEL), wanted)
            return bs.reports

    steps = run(main())
    asked = [step for step in steps if step.asked_at_s is not None]
    assert len({step.asked_at_s for step in asked}) == len(asked) > 3
    assert all(step.draft_bytes > 0 for step in asked)
    assert sum(step.asked_drafted > 0 for step in asked) > 3  # near the end a path may be without ids
    assert min_draft > 0 or any(step.drafted == 0 for step in asked)
    for step in asked:
        assert step.asked_at_s is not None
        drafting_s = step.draft_at_s - step.asked_at_s - 0.04
        first_s, busy_s = step.asked_drafted * PAPER.draft_position_s, 8 * PAPER.draft_position_s
        assert first_s - 1e-6 <= drafting_s <= first_s + busy_s + 1e-6  # a path just left may have to end


def test_a_block_that_nothing_here_asked_for() -> None:
    """Drawn before the BS's restart, a block tells nothing of the round trip."""

    async def restarted() -> list[StepReport]:
        async with cell() as bs:
            await bs.channel("delay 100ms")
            answering = asyncio.create_task(text(await bs.device(address=CHANNEL), request()))
            while not bs.reports:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.15)  # the second block has been drawn and is on its way
            await bs.serve()
            bs.reports.clear()
            await answering
            return bs.reports

    first, *others = run(restarted())
    assert first.drafted and first.asked_at_s is None
    assert all(step.asked_at_s is not None for step in others)
