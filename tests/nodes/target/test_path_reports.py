"""What the BS reports of drafts that are hints: each token once, one row in eight; and a device's pace."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.cell import CHANNEL, VOCAB_SIZE, cell, checked, request, run, text
from tests.harness.losing import LosingTransport
from tests.harness.policies import Steady

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.frame import Frame
from draftwire.codecs.messages import Acceptance, Draft, Sampling, SparseLogits
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
        assert (step.asked_at_s is not None) == (step.asked_drafted > 0)
    # The last pass may end within what it accepted; every other adds a token of its own.
    assert 0 <= account.used - sum(step.tokens - 1 for step in steps) <= 1
    assert account.used > 20
    assert account.passes == account.tokens - account.used >= len(steps) - 1
    assert account.drafted == account.used + account.wasted


@pytest.mark.parametrize("values", PLANS)
def test_a_row_behind_every_8th_draft_is_reported_as_the_models_say(values: PlanValues) -> None:
    """p and the draft's row at one position of a pass, worked out again from the models."""
    sampling = Sampling(temperature=0.8, top_k=30)

    async def main() -> None:
        policy = Steady(values)
        async with cell(policy=policy) as bs:
            await bs.channel("rate 1mbit delay 10ms")
            account = Account(vocab_size=VOCAB_SIZE)
            wanted = replace(request(max_new_tokens=120, **COUPLED), sampling=sampling)
            log = [*wanted.prompt, *await text(await bs.device(address=CHANNEL), wanted, account)]
            rows = [one for one in policy.reports if isinstance(one, RowsReport)]
            assert 3 < len(rows) <= account.sparse_frames <= account.drafted // ROW_EVERY + 1
            steps = {step.step: step for step in bs.reports}
            draft, target = bs.pair.draft.open(), bs.pair.target.open()
            for told in rows:
                step, found = steps[told.step], []
                for position in range(step.position, step.position + step.tokens):
                    row = sparsify(
                        draft.logits(log[:position], 1)[0],
                        None,
                        k=8,
                        temperature=0.8,
                        vocab_size=VOCAB_SIZE,
                    )
                    p = target_distribution(target.logits(log[:position], 1)[0], sampling)
                    found.append(acceptance(p, row).coupled)
                assert any(told.coupled == pytest.approx((one,), abs=1e-9) for one in found)
                assert told.draft_at_s < told.rows_at_s
                assert told.rows_bytes > 0

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
