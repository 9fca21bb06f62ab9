"""The proof by enumeration: through the real session code, the text's law is the target's, to 1e-12.

Every draw, every acceptance and every event of the link is a branch with its exact probability
(tests/harness/enumerate.py). Small worlds, so that the set of paths is finite and complete.
"""

from collections.abc import Callable, Sequence

import pytest
from tests.harness import worlds
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.links import behind_its_rows, behind_the_last_block, late, lossy, without
from tests.harness.pair import Direction, SessionPair, World, as_plan
from tests.harness.spelling import FIRST, SECOND, SpellingPair
from tests.harness.worlds import EXACT, Scenario, Text, law_of_target, request, world

from draftwire.codecs.messages import Commit, Draft, Message, Open, Plan, Reason, SparseLogits
from draftwire.runtime.session.request import Timing


def assert_exact(within: World, tokens: int, scenario: Scenario) -> None:
    """The text's law equals the target's."""
    worlds.assert_exact(within, request(tokens), scenario)


@pytest.mark.parametrize("gamma", [0, 1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_law_is_the_targets_for_every_k_and_gamma(k: int, gamma: int) -> None:
    """Three tokens over a vocabulary of 3: K and gamma change the speed, never the law."""
    within = world(3, seed=10 * k + gamma)
    assert_exact(
        within, 3, lambda noise: SessionPair(within, request(3), noise, plan=(k, gamma))
    )


@pytest.mark.parametrize(("vocab_size", "k", "gamma"), [(8, 2, 2), (5, 4, 2), (4, 4, 3)])
def test_law_is_the_targets_over_larger_vocabularies(vocab_size: int, k: int, gamma: int) -> None:
    """Two tokens over vocabularies up to 8."""
    within = world(vocab_size, seed=vocab_size)
    assert_exact(within, 2, lambda noise: SessionPair(within, request(2), noise, plan=(k, gamma)))


def _by_acceptance(pair: SessionPair) -> tuple[int, int]:
    target = pair.target
    assert target is not None
    accepted = sum(origin.name == "ACCEPTED" for origin in target.log.origins)
    return (1 + accepted % 3, (2, 0, 1, 3)[(accepted + target.log.produced) % 4])


def _by_tokens(pair: SessionPair) -> tuple[int, int]:
    target = pair.target
    assert target is not None
    return (1 + target.log.tokens[-1] % 3, (1, 2, 0)[target.log.tokens[-1] % 3])


@pytest.mark.parametrize("policy", [_by_acceptance, _by_tokens])
def test_law_holds_when_plans_learn_from_the_past(policy: Callable[[SessionPair], tuple[int, int]]) -> None:
    """A plan may depend on accepted counts and on committed ids: K, gamma and target-only in turn."""
    within = world(3, seed=77)
    assert_exact(
        within, 3, lambda noise: SessionPair(within, request(3), noise, plan=(2, 2), policy=policy)
    )


# ------------------------------------------------------------------------------------------ a bad link


@pytest.mark.parametrize("kind", [Draft, SparseLogits, Commit, Open])
@pytest.mark.parametrize("patience_s", [0.5, 5.0])
def test_law_holds_when_messages_are_lost(kind: type, patience_s: float) -> None:
    """Lost drafts are sent again, or the BS goes on alone; lost rows are asked for; Commits heal."""
    within = world(3, seed=3)
    timing = Timing(patience_s=patience_s)
    assert_exact(
        within,
        2,
        lambda noise: SessionPair(
            within,
            request(2),
            noise,
            plan=(2, 2),
            timing=timing,
            link=lossy(noise, of=kind, probability=0.3),
        ),
    )


@pytest.mark.parametrize("by_s", [0.7, 1.5])
def test_law_holds_when_blocks_come_after_the_bs_gave_up(by_s: float) -> None:
    """A block that comes late is used as far as it continues the log: three tokens, patience 0.5 s."""
    within = world(3, seed=4)
    assert_exact(
        within,
        3,
        lambda noise: SessionPair(
            within,
            request(3),
            noise,
            plan=(2, 3),
            timing=Timing(patience_s=0.5),
            link=late(noise, of=Draft, by_s=by_s),
        ),
    )


def test_law_holds_when_rows_are_late_depending_on_ids() -> None:
    """A row's size depends on its ids, so its lateness does: rows never decide whether a block is used."""
    within = world(3, seed=5)

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        if isinstance(message, SparseLogits):
            return (0.1 + 3.0 * (int(message.rows[-1].ids[0]) % 2),)
        return (0.05,)

    assert_exact(
        within,
        3,
        lambda noise: SessionPair(
            within, request(3), noise, plan=(2, 2), link=link, timing=Timing(patience_s=0.5)
        ),
    )


def test_law_holds_when_the_next_block_is_late_by_what_the_last_one_drew() -> None:
    """Rows queue before the next Draft, so a discarded tail can delay it: fresh keys make that harmless."""
    within = world(3, seed=6)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        link = behind_the_last_block()
        return SessionPair(
            within, request(3), noise, plan=(2, 2), link=link, timing=Timing(patience_s=0.5)
        )

    assert_exact(within, 3, scenario)


def test_law_holds_when_everything_is_repeated_and_overtaken() -> None:
    """Each message arrives twice, rows before their Draft."""
    within = world(3, seed=8)

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        return (0.0, 0.3) if isinstance(message, SparseLogits) else (0.1, 0.25)

    assert_exact(
        within, 3, lambda noise: SessionPair(within, request(3), noise, plan=(2, 2), link=link)
    )


def test_law_holds_when_drafts_arrive_during_a_pass() -> None:
    """The BS decodes alone while the block is on its way, and tests what still continues its log."""
    within = world(3, seed=9)
    assert_exact(
        within,
        3,
        lambda noise: SessionPair(
            within,
            request(3),
            noise,
            plan=(2, 3),
            timing=Timing(patience_s=0.2),
            target_s=0.3,
            link=late(noise, of=Draft, by_s=0.35),
        ),
    )


# ------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("at_s", [0.25, 0.45, 0.55])
@pytest.mark.parametrize("sets", [((FIRST,), ()), ((FIRST,), (SECOND,))])
def test_law_holds_when_the_bs_comes_back_with_other_tables(
    sets: Sequence[Sequence[bytes]], at_s: float
) -> None:
    """Rows under way can't be read by the new one and come again otherwise spelt, as what they were."""
    within = world(3, seed=11)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = SpellingPair(
            within,
            request(2),
            noise,
            plan=(2, 2),
            link=lambda direction, message, index: (0.1,),
            target_s=0.1,
            timing=Timing(patience_s=1.0, resend_s=0.5),
            sets_of=lambda boot: sets[boot - 1],
        )
        pair.at(at_s, pair.restart_target)
        return pair

    assert_exact(within, 2, scenario)


@pytest.mark.parametrize("at_s", [0.05, 0.15, 0.25, 0.45, 0.55, 0.75])
@pytest.mark.parametrize("who", ["target", "device", "both"])
def test_law_holds_when_an_end_restarts(who: str, at_s: float) -> None:
    """Before, during and after a test, before and after its Commit arrives; either end, and both."""
    within = world(3, seed=11)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        pair = SessionPair(
            within,
            request(2),
            noise,
            plan=(2, 2),
            link=lambda direction, message, index: (0.1,),
            target_s=0.1,
            timing=Timing(patience_s=1.0, resend_s=0.5),
        )
        if who in ("target", "both"):
            pair.at(at_s, pair.restart_target)
        if who in ("device", "both"):
            pair.at(at_s + 0.02, pair.restart_device)
        return pair

    assert_exact(within, 2, scenario)


@pytest.mark.parametrize("at_s", [0.3, 0.6])
def test_law_holds_when_the_device_restarts_while_a_row_is_wanted(at_s: float) -> None:
    """The pending block is drawn again with its own keys, proved equal, and its row sent."""
    within = world(3, seed=12)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        lost = lossy(noise, of=SparseLogits, probability=1.0, first=1)
        pair = SessionPair(
            within, request(2), noise, plan=(2, 2), link=lost, timing=Timing(row_s=0.5, resend_s=0.4)
        )
        pair.at(at_s, pair.restart_device)
        return pair

    assert_exact(within, 2, scenario)


def test_law_holds_when_old_commits_arrive_after_a_reopen() -> None:
    """The BS dies after a Commit that is slow; its Commit belongs to another life and is ignored."""
    within = world(3, seed=13)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        commits = 0

        def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
            nonlocal commits
            if isinstance(message, Commit):
                commits += 1
                return (2.5, 4.5) if commits <= 2 else (0.0,)
            return (0.0,)

        pair = SessionPair(
            within,
            request(3),
            noise,
            plan=(2, 1),
            link=link,
            timing=Timing(patience_s=0.4, resend_s=0.5, ping_s=0.5, reopen_after=1),
        )
        pair.at(0.3, pair.restart_target)
        return pair

    assert_exact(within, 3, scenario)

# -------------------------------------------------------------- a rejection that somebody forgets


@pytest.mark.parametrize("lost", [(), (2, 3), (3, 4), tuple(range(2, 9))])
@pytest.mark.parametrize("patience_s", [0.5, 5.0])
def test_law_holds_when_the_bs_forgets_a_rejection(lost: Sequence[int], patience_s: float) -> None:
    """It restarts while a correction waits for its row, and the block is long in coming again."""
    within = world(3, seed=12)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(patience_s=patience_s, row_s=0.6, resend_s=0.4)
        pair = SessionPair(within, request(2), noise, plan=(2, 2), link=without(1, lost), timing=timing)
        pair.at(0.2, pair.restart_target)
        return pair

    assert_exact(within, 2, scenario)


def test_law_holds_when_the_bs_forgets_a_rejection_and_comes_back_target_only() -> None:
    """The new life's plan wants no drafts, and still the block that is out has to come first."""
    within = world(3, seed=12)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(row_s=0.6, resend_s=0.4)
        pair = SessionPair(within, request(2), noise, plan=(2, 2), link=without(1, ()), timing=timing)

        def restart() -> None:
            pair.restart_target()
            pair.plan = Plan(number=1, k=2, gamma=0, min_draft=0)

        pair.at(0.2, restart)
        return pair

    assert_exact(within, 2, scenario)


@pytest.mark.parametrize("at_s", [0.1, 0.3, 0.5])
def test_law_holds_when_both_ends_forget_a_rejection(at_s: float) -> None:
    """The device's record says that a block is out, so it is drawn again and tested again."""
    within = world(3, seed=12)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(row_s=0.6, resend_s=0.4)
        pair = SessionPair(within, request(2), noise, plan=(2, 2), link=without(1, ()), timing=timing)
        pair.at(at_s, pair.restart_target)
        pair.at(at_s + 0.01, pair.restart_device)
        return pair

    assert_exact(within, 2, scenario)


@pytest.mark.parametrize("seed", [5, 7, 9])
@pytest.mark.parametrize("to_target_only", [False, True])
def test_law_holds_when_a_repeated_draft_waits_behind_its_own_rows(seed: int, to_target_only: bool) -> None:
    """The first copy is lost; the second is late by what the rows' ids say. No plan may pass it by."""
    within = world(3, seed=seed)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(patience_s=2.0)
        link = behind_its_rows()
        pair = SessionPair(within, request(3), noise, plan=(2, 2), link=link, timing=timing)

        def replan() -> None:
            assert pair.target is not None
            pair.target.replan(as_plan((2, 0)))

        if to_target_only:
            pair.at(1.5, replan)
        return pair

    assert_exact(within, 3, scenario)


def test_a_block_that_cannot_be_redrawn_ends_the_request() -> None:
    """Another draft model after a restart: the end is DRAFT_STATE_LOST, and what was taken is p's."""
    within, other = world(3, seed=14), world(3, seed=15)
    wanted = request(3)
    lost: list[float] = []

    def run(noise: EnumeratingNoise) -> tuple[Text, bool]:
        pair = SessionPair(
            within,
            wanted,
            noise,
            plan=(2, 2),
            link=lossy(noise, of=SparseLogits, probability=1.0, first=2),
            timing=Timing(row_s=0.5, resend_s=0.4),
        )

        def restart() -> None:
            pair.world = World(3, within.target, other.draft)
            pair.restart_device()

        pair.at(0.2, restart)
        pair.run()
        assert pair.over()
        failed = pair.device.refusal is not None
        if failed:
            assert pair.device.refusal is not None
            assert pair.device.refusal[0] is Reason.DRAFT_STATE_LOST
            lost.append(1.0)
        return pair.output, failed

    law = explore(run)
    assert lost, "no path met a lost block"
    whole = law_of_target(within, wanted)
    finished: dict[Text, float] = {text: mass for (text, failed), mass in law.items() if not failed}
    for text, mass in finished.items():
        assert mass <= whole[text] + EXACT, text
