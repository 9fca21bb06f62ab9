"""What the BS reports of drafts that are hints: each token once, rows as they come; and a device's pace."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, checked, open_for, request, run, text
from tests.harness.losing import LosingTransport
from tests.harness.policies import Steady

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.frame import Frame
from draftwire.codecs.hashes import ids_hash, log_hash
from draftwire.codecs.messages import Acceptance, Draft, Opened, Plan, Sampling, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.device.account import Account
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.runtime.session.ahead import ROW_EVERY
from draftwire.runtime.session.request import Timing

COUPLED: dict[str, Any] = {"acceptance": Acceptance.COUPLED}
GREEDY: dict[str, Any] = {"temperature": 0.0}
PLANS = (
    PlanValues(k=8, gamma=4, min_draft=4),
    PlanValues(k=8, gamma=6, min_draft=0),
    PlanValues(k=8, gamma=12, min_draft=3),
)


@pytest.mark.parametrize("how", [GREEDY, COUPLED])
@pytest.mark.parametrize("values", PLANS)
def test_steps_count_every_drafted_token_once(values: PlanValues, how: dict[str, Any]) -> None:
    """Over an answer: tokens, drafts held against the log and hits; the device's own count is the same.

    It knows of drafts, too, that were on their way when the log ended.
    """

    async def main() -> tuple[Account, list[StepReport], tuple[int, int]]:
        account, policy = Account(vocab_size=VOCAB_SIZE), Steady(values)
        async with cell(policy=policy) as bs:
            await bs.channel("rate 1mbit delay 10ms")
            device = await bs.device(address=CHANNEL)
            await text(device, request(max_new_tokens=120, min_draft=values.min_draft, **how), account)
            (session,) = bs.sessions()
            assert session.judged is not None
            return account, bs.reports, session.judged

    account, steps, judged = run(main())
    assert sum(step.tokens for step in steps) == account.tokens == 120
    assert (sum(step.seen for step in steps), sum(step.accepted for step in steps)) == judged
    assert 0 <= account.seen - judged[0] <= values.gamma
    assert 0 <= account.accepted - judged[1] <= values.gamma
    assert [step.position for step in steps] == [
        3 + sum(step.tokens for step in steps[:i]) for i in range(len(steps))
    ]
    expected = "coupled" if how == COUPLED else "rejection"
    for step in steps:
        assert (step.acceptance, step.pinned_min_draft) == (expected, values.min_draft)
        assert (step.computed, step.alone) == (step.drafted + 1, step.drafted == 0)
        assert 1 <= step.tokens <= step.drafted + 1
        assert step.asked_at_s is not None or step.asked_drafted == 0
    # The last pass may end within what it accepted; every other adds a token of its own.
    assert 0 <= account.used - sum(step.tokens - 1 for step in steps) <= 1
    assert account.used > 20
    assert account.passes == len(steps)
    assert account.drafted == account.used + account.wasted


SAMPLING = Sampling(temperature=0.8, top_k=30)


@pytest.mark.parametrize("link", ["rate 1mbit delay 10ms", "rate 20kbit delay 60ms"])
@pytest.mark.parametrize("values", PLANS)
def test_rows_at_multiples_of_8_are_reported_as_the_models_say(values: PlanValues, link: str) -> None:
    """p and the draft's row at the position, worked out again from the models; each position at most once.

    Each row is told of twice at most: when it comes, which is what it tells of the link, and when the log has
    its position. On a slow link that is before it comes.
    """

    async def main() -> None:
        policy = Steady(values)
        async with cell(policy=policy) as bs:
            await bs.channel(link)
            account = Account(vocab_size=VOCAB_SIZE)
            wanted = replace(request(max_new_tokens=160, **COUPLED), sampling=SAMPLING)
            log = [*wanted.prompt, *await text(await bs.device(address=CHANNEL), wanted, account)]
            reports = [one for one in policy.reports if isinstance(one, RowsReport)]
            on_link, rows = ([one for one in reports if bool(one.low) == told] for told in (False, True))
            assert 1 < len(rows) <= len(on_link) <= account.sparse_frames
            assert len(rows) <= len(log) // ROW_EVERY
            came = {(one.draft_at_s, one.rows_at_s, one.rows_bytes) for one in on_link}
            assert len(came) == len(on_link)
            draft, target = bs.pair.draft.open(), bs.pair.target.open()
            expected = {}
            for position in range(ROW_EVERY, len(log), ROW_EVERY):
                logits = draft.logits(log[:position], 1)[0]
                row = sparsify(logits, None, k=8, temperature=0.8, vocab_size=VOCAB_SIZE)
                p = target_distribution(target.logits(log[:position], 1)[0], SAMPLING)
                expected[position] = acceptance(p, row)
            told_of = []
            for told in rows:
                assert (told.draft_at_s, told.rows_at_s, told.rows_bytes) in came
                assert told.draft_at_s < told.rows_at_s
                told_of += [
                    position
                    for position, one in expected.items()
                    if told.coupled == pytest.approx((one.coupled,), abs=1e-9)
                    and told.alphas[0] == pytest.approx(one.alphas, abs=1e-9)
                ]
            assert told_of == sorted(set(told_of)) and len(told_of) == len(rows)

    run(main())


def test_drafts_that_come_while_a_pass_is_under_way_are_the_next_ones() -> None:
    """A step has held its drafts for its whole pass, whatever comes meanwhile."""

    async def main() -> None:
        async with cell(policy=Steady(PlanValues(k=8, gamma=12, min_draft=3))) as bs:
            await bs.channel("rate 1mbit delay 10ms")
            await text(await bs.device(address=CHANNEL), request(max_new_tokens=100, **COUPLED))
        tested = [step for step in bs.reports if step.drafted]
        assert len(tested) > 10
        assert all(step.hold_s > step.step_s - 1e-9 > 0 for step in tested)

    run(main())


def test_rows_of_positions_decoded_before_they_came_are_reported() -> None:
    """Drafts come late behind a miss: what only drafts in time told would be that of easy text."""

    async def main() -> None:
        policy = Steady(PlanValues(k=8, gamma=16, min_draft=0))
        async with cell(policy=policy) as bs:
            await bs.channel("delay 80ms")
            wanted = replace(request(max_new_tokens=200, **COUPLED), sampling=SAMPLING)
            await text(await bs.device(address=CHANNEL), wanted)
        ended_s = {step.step: step.ended_at_s for step in bs.reports}
        rows = [one for one in policy.reports if isinstance(one, RowsReport) and one.low]
        late = [one for one in rows if one.rows_at_s > ended_s[one.step]]
        assert len(late) > 3

    run(main())


class _RowLosses:
    """Of each third row the Draft it belongs to comes not at all; every second row comes twice."""

    def __init__(self) -> None:
        self.rows = self.lost = 0

    def copies_of(self, frame: Frame) -> int:
        """By number, so that no chance decides whether anything is lost."""
        message = frame.message
        if isinstance(message, Draft) and any(
            position % (3 * ROW_EVERY) == 0
            for position in range(message.start, message.start + len(message.ids))
        ):
            self.lost += 1
            return 0 if self.lost % 2 else 1
        if isinstance(message, SparseLogits):
            self.rows += 1
            return 1 + self.rows % 2
        return 1


def test_lost_drafts_and_repeated_rows_cost_reports_and_nothing_else() -> None:
    """Each row is told of once on the link, and each position once at most."""

    async def main() -> None:
        policy, losses = Steady(PLANS[1]), _RowLosses()
        async with cell(policy=policy, transport=lambda net: LosingTransport(net, losses.copies_of)) as bs:
            await bs.channel("rate 1mbit delay 10ms")
            wanted = request(max_new_tokens=160, **COUPLED)
            answer = await text(await bs.device(address=CHANNEL), wanted)
        async with cell(k=None, gamma=None) as bs:
            assert await text(await bs.device(), request(max_new_tokens=160, gamma=0, **COUPLED)) == answer
        reports = [one for one in policy.reports if isinstance(one, RowsReport)]
        on_link, rows = ([one for one in reports if bool(one.low) == told] for told in (False, True))
        assert len({one.rows_at_s for one in on_link}) == len(on_link) < losses.rows
        assert losses.lost > 3 and 2 < len(rows) <= len(on_link)

    run(main())


def test_no_row_is_sent_at_temperature_0() -> None:
    """Ids are all it takes."""

    async def main() -> int:
        account = Account(vocab_size=VOCAB_SIZE)
        async with cell(k=None, gamma=None) as bs:
            await text(await bs.device(), request(max_new_tokens=60, **GREEDY), account)
        return account.sparse_frames

    assert run(main()) == 0


# ----------------------------------------------------------------------------------------------- its pace


@pytest.mark.parametrize(("uplink_bps", "shared"), [(0, False), (20_000_000, False), (30_000, True)])
def test_ids_that_find_the_uplink_busy_share_a_message(uplink_bps: int, shared: bool) -> None:
    """A device sends each id when it is drawn, unless what has left still takes the link, by its plan."""
    seen: Counter[str] = Counter()

    def copies_of(frame: Frame) -> int:
        if isinstance(frame.message, Draft):
            seen["drafts"] += 1
            seen["ids"] += len(frame.message.ids)
            seen["most"] = max(seen["most"], len(frame.message.ids))
        return 1

    async def main() -> Account:
        account = Account(vocab_size=VOCAB_SIZE)
        values = PlanValues(k=8, gamma=16, min_draft=0, uplink_bps=uplink_bps)
        async with cell(policy=Steady(values), transport=lambda net: LosingTransport(net, copies_of)) as bs:
            await text(await bs.device(), request(max_new_tokens=80, **COUPLED), account)
        return account

    account = run(main())
    assert seen["ids"] <= account.drafted
    if shared:
        assert seen["drafts"] < 0.4 * seen["ids"] and seen["most"] > 4
    else:
        assert seen["drafts"] >= 0.9 * seen["ids"]


# ------------------------------------------------------------------------------------------- run-ahead


@pytest.mark.parametrize("how", [GREEDY, COUPLED])
@pytest.mark.parametrize("away_s", [5.0, 25.0, 70.0])
def test_a_device_that_vanishes_in_mid_answer_finds_its_text(away_s: float, how: dict[str, Any]) -> None:
    """The BS stops `ahead` tokens beyond what the device knows; parks; forgets; the text stays as it was."""

    async def whole() -> tuple[int, ...]:
        async with cell(k=None, gamma=None) as bs:
            return await text(await bs.device(), request(max_new_tokens=200, gamma=0, **how))

    async def main() -> tuple[int, ...]:
        async with cell(k=None, gamma=None, ahead=10, forget_s=60) as bs:
            device = await bs.device(timing=Timing())
            wanted = request(max_new_tokens=200, gamma=8, min_draft=0, **how)
            answer = device.answer(wanted)
            taken = [await anext(answer) for _ in range(30)]
            await bs.clock.sleep_until(bs.clock.now_s() + away_s)  # nobody reads, so nothing is driven
            sessions = bs.sessions()
            assert len(sessions) == (away_s < 60)
            for session in sessions:
                assert session.known <= len(session.log) <= session.known + 10 + 8
                assert session.parked(bs.clock.now_s()) == (away_s > 20)
            taken += [one async for one in answer]
            return checked(taken, wanted)

    assert run(main()) == run(whole())


def test_rows_of_a_path_are_single() -> None:
    """However many drafts a message has, one row goes behind it."""
    seen: list[int] = []

    def copies_of(frame: Frame) -> int:
        if isinstance(frame.message, SparseLogits):
            seen.append(len(frame.message.rows))
        return 1

    async def main() -> None:
        async with cell(k=None, gamma=None, transport=lambda net: LosingTransport(net, copies_of)) as bs:
            for min_draft in (0, 6):
                wanted = request(max_new_tokens=60, gamma=6, min_draft=min_draft, **COUPLED)
                await text(await bs.device(f"dev-{min_draft}"), wanted)

    run(main())
    assert set(seen) == {1}


@pytest.mark.parametrize("reopened", [False, True])
def test_rows_of_a_life_that_is_over_tell_nothing(reopened: bool) -> None:
    """A device opens anew: a Draft of before, and a row of before, belong to nothing that comes now."""

    async def main() -> list[RowsReport]:
        policy = Steady(PlanValues(k=8, gamma=4, min_draft=4))
        async with cell(policy=policy, patience_s=0.3) as bs:
            peer = await bs.greeted("dev")
            wanted = replace(request((1, 2, 3, 4, 5, 6, 7), max_new_tokens=3, **COUPLED), sampling=SAMPLING)
            peer.say(open_for(wanted))
            before = now = (await peer.hear_of(Opened)).incarnation
            await bs.clock.sleep_until(bs.clock.now_s() + 0.1)
            row = quantize(range(8), [0.0] * 8, vocab_size=VOCAB_SIZE)
            path = Draft(
                incarnation=before,
                draft_epoch=1,
                known=7,
                start=7,
                path_hash=log_hash(wanted.prompt),
                plan=Plan(number=1, k=8, gamma=4, min_draft=4),
                ids=(9, 9),
                weights=(),
                rows_hash=ids_hash((9, 9)),
            )
            told = SparseLogits(incarnation=before, draft_epoch=1, start=8, rows=(row,))
            if reopened:
                peer.say(open_for(wanted, device_try=2, draft_epoch=1))
                now = (await peer.hear_of(Opened)).incarnation
            for message in (path, replace(told, incarnation=now)):
                await bs.clock.sleep_until(bs.clock.now_s() + 0.01)
                peer.say(message)
            await bs.clock.sleep_until(bs.clock.now_s() + 5)
        return [one for one in policy.reports if isinstance(one, RowsReport)]

    assert len(run(main())) == (0 if reopened else 1)
