"""What a request came to: the estimate of the target alone, with and without what is known of the link."""

from dataclasses import replace

import pytest
from tests.harness.cell import BS, CHANNEL, cell, request, run

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import Acceptance, Commit, Finish, Incarnation, Origin, Plan, StepTimes
from draftwire.nodes.device.account import Account
from draftwire.runtime.link import ONE_PACKET_OVERHEAD_BYTES, LinkSpec, parse_link

STEP_S = 0.01


def _commit(ids: int) -> Commit:
    return Commit(
        incarnation=Incarnation(boot=1, counter=1),
        position=5,
        log_hash=bytes(8),
        ids=(3,) * ids,
        origins=(Origin.ACCEPTED,) * ids,
        tested_epoch=1,
        accepted=ids - 1,
        seen=ids,
        plan=Plan(number=0, k=8, gamma=4, min_draft=4),
        times=StepTimes(hold_s=STEP_S, step_s=STEP_S, wait_s=0.0),
    )


def _account(downlink: LinkSpec | None) -> Account:
    account = Account(vocab_size=64, downlink=downlink)
    account.committed(_commit(4), 4, 1.0)
    return account


def test_a_slow_link_bounds_the_target_alone() -> None:
    """At 20 kbit/s no more one-token Commits come down than the rate has room for, overhead included."""
    link = parse_link("rate 20kbit delay 20ms overhead 50b")
    account = _account(link)
    bits = 8 * (len(encode_frame(_commit(1), session=0, sequence=0)) + 50)
    assert account.target_only_tokens_per_s == pytest.approx(20_000 / bits)
    assert account.target_only_may_be_lower


@pytest.mark.parametrize("link", [None, LinkSpec(), parse_link("rate 100mbit delay 20ms")])
def test_a_fast_link_leaves_it_to_the_target(link: LinkSpec | None) -> None:
    """Unknown, unlimited or fast: a token a pass."""
    account = _account(link)
    assert account.target_only_tokens_per_s == pytest.approx(1 / STEP_S)
    assert not account.target_only_may_be_lower


def test_a_link_that_is_half_full_is_told() -> None:
    """The target bounds the estimate, but repeated tokens may fill the link: it may be lower."""
    bits = 8 * (len(encode_frame(_commit(1), session=0, sequence=0)) + ONE_PACKET_OVERHEAD_BYTES)
    account = _account(LinkSpec(rate_bps=1.5 * bits / STEP_S))
    assert account.target_only_tokens_per_s == pytest.approx(1 / STEP_S)
    assert account.target_only_may_be_lower


def test_steps_are_counted_by_the_plan_that_their_block_was_drawn_with() -> None:
    """The plan in a Commit is that of the next block; steps without drafts count as gamma 0 and have no K."""
    account = Account(vocab_size=64)
    for number, (k, gamma) in enumerate([(32, 2), (32, 2), (320, 5)]):
        plan = Plan(number=number, k=k, gamma=gamma, min_draft=gamma)
        account.drew(gamma, 0.01, plan)
        account.committed(_commit(2), 2, 1.0)
        account.committed(_commit(2), 0, 1.0)  # a repeat
    account.committed(replace(_commit(1), seen=0, accepted=0), 1, 1.0)
    assert account.k_used == {32: 2, 320: 1}
    assert account.gamma_used == {2: 2, 5: 1, 0: 1}
    assert account.steps == sum(account.gamma_used.values())


@pytest.mark.parametrize("link", [None, "rate 100kbit delay 20ms"])
@pytest.mark.parametrize(
    ("gamma", "min_draft", "temperature"), [(8, 0, 1.0), (8, 2, 1.0), (4, 32, 1.0), (4, 32, 0.0)]
)
def test_drafts_that_are_hints_are_used_or_wasted(
    link: str | None, gamma: int, min_draft: int, temperature: float
) -> None:
    """At the end nothing is open; each pass has given one token of its own, and each used draft one more.

    But for the last: that may end within the drafts that it accepts.
    """

    async def main() -> tuple[Account, int]:
        async with cell() as bs:
            if link is not None:
                await bs.channel(link)
            device = await bs.device(address=BS if link is None else CHANNEL)
            account = Account(vocab_size=64)
            asked = request(
                gamma=gamma, min_draft=min_draft, acceptance=Acceptance.COUPLED, temperature=temperature
            )
            async for _ in device.answer(asked, account=account):
                pass
            return account, len(bs.reports)

    account, passes = run(main())
    assert account.hints and account.acceptance is Acceptance.COUPLED
    assert account.finish is Finish.LENGTH and account.outstanding == 0
    assert account.tokens == 40 and account.passes == passes
    assert account.passes + account.used - 40 in (0, 1)
    assert account.drafted == account.used + account.wasted > 0
    assert account.passes_per_token == account.passes / 40
    synchronous = min_draft >= gamma
    assert account.gamma_used == {gamma: account.steps}
    assert account.synchronous == (account.steps if synchronous else 0)
    assert account.min_draft_used == ({} if synchronous else {min_draft: account.steps})


def test_rejection_has_passes_too() -> None:
    """A block of which 3 were accepted is one pass of 4 tokens; none of its drafts is open."""
    account = Account(vocab_size=64)
    account.drew(4, 0.01, Plan(number=0, k=8, gamma=4, min_draft=4))
    origins = (*[Origin.ACCEPTED] * 3, Origin.CORRECTED)
    account.committed(replace(_commit(4), origins=origins), 4, 1.0)
    assert (account.passes, account.used, account.wasted, account.hints) == (1, 3, 1, False)
    assert account.passes_per_token == 1 / 4


@pytest.mark.parametrize("news", [5, 2])
def test_a_pass_that_ends_the_log_within_its_drafts_counts(news: int) -> None:
    """It has no token of its own, whichever Commit tells of it, and however many tokens are news in that."""
    account = Account(vocab_size=64)
    origins = (Origin.ALONE, Origin.CORRECTED, *[Origin.ACCEPTED] * 3)
    account.committed(replace(_commit(5), origins=origins, finish=Finish.EOS), news, 1.0)
    assert (account.passes, account.used) == ((3, 3) if news == 5 else (1, 2))


def test_nothing_is_estimated_before_a_commit() -> None:
    """No pass seen, no estimate, whatever the link is."""
    account = Account(vocab_size=64, downlink=parse_link("rate 20kbit"))
    assert account.target_only_tokens_per_s is None
    assert not account.target_only_may_be_lower
