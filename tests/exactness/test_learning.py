"""No controller bends the text: its law is the target's whatever plans are made of what is known of the past.

The controller is a worst case (tests/harness/learner.py): each plan is a hash of all that the BS has seen of
tested blocks: ids, rejected and discarded ones too, rows with weights and tails, sizes, counts, plans.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.harness.enumerate import EnumeratingNoise
from tests.harness.learner import PLANS, SMALL_PLANS, LearnedPair, forgetful
from tests.harness.links import behind_its_rows, lossy, rows_first
from tests.harness.pair import Direction, SessionPair
from tests.harness.worlds import assert_exact, request, world

from draftwire.codecs.messages import Commit, Draft, Message, Plan, SparseLogits
from draftwire.runtime.session.request import Timing

WITHIN = world(3, seed=77)
SMALL = world(2, seed=77)
DELAYS_S = (0.0, 0.05, 0.15, 0.25, 0.45)
"Before, during and behind the next block on a link of 0.1 s each way, and behind the order after it."


def slow(direction: Direction, message: Message, index: int) -> Sequence[float]:
    """A tenth of a second each way."""
    return (0.1,)


@pytest.mark.parametrize("salt", range(3))
@pytest.mark.parametrize(("vocab_size", "tokens"), [(3, 3), (2, 4)])
def test_law_holds_under_any_function_of_the_past(vocab_size: int, tokens: int, salt: int) -> None:
    """Each plan is in force one step behind the report that it answers."""
    within, plans = (SMALL, SMALL_PLANS) if vocab_size == 2 else (WITHIN, PLANS)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(within, request(tokens), noise, plans=plans, salt=salt)

    assert_exact(within, request(tokens), scenario)


@pytest.mark.parametrize("salt", range(3))
@pytest.mark.parametrize("target_s", [0.0, 0.2])
def test_law_holds_when_orders_are_late_or_overtaken(target_s: float, salt: int) -> None:
    """An order may come while the next block is out or in a test, or behind the order after it."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            WITHIN, request(3), noise, salt=salt, link=slow, delays_s=DELAYS_S, target_s=target_s
        )

    assert_exact(WITHIN, request(3), scenario)


@pytest.mark.parametrize("salt", range(3))
def test_law_holds_even_if_orders_know_the_block_that_is_out(salt: int) -> None:
    """Its rows have come, its Draft has not: a plan made of them is in force once it has been tested."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            WITHIN,
            request(3),
            noise,
            plans=((2, 2), (2, 0)),
            salt=salt,
            link=rows_first,
            knows_untested=True,
            delays_s=(0.0, 0.3, 1.2),
        )

    assert_exact(WITHIN, request(3), scenario)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_law_holds_when_a_larger_k_is_explored(every: int) -> None:
    """Each n-th plan draws from the largest K."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(WITHIN, request(3), noise, plan=(1, 2), explore_every=every)

    assert_exact(WITHIN, request(3), scenario)


@pytest.mark.parametrize("salt", range(2))
@pytest.mark.parametrize("first", [(2, 0), (2, 2)])
@pytest.mark.parametrize("target_s", [0.0, 0.15])
def test_law_holds_when_drafting_is_turned_off_and_on(
    first: tuple[int, int], target_s: float, salt: int
) -> None:
    """The target alone, then blocks, then alone again, in the middle of a request of four tokens."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            SMALL,
            request(4),
            noise,
            plan=first,
            plans=((1, 0), (1, 2), (2, 0)),
            salt=salt,
            link=slow,
            delays_s=DELAYS_S,
            target_s=target_s,
        )

    assert_exact(SMALL, request(4), scenario)


@pytest.mark.parametrize(("k", "gamma"), [(None, None), (2, None), (None, 2), (None, 0), (1, 3)])
def test_law_holds_with_what_the_user_fixed(k: int | None, gamma: int | None) -> None:
    """And no block is drawn with anything else."""
    wanted = replace(request(3), k=k, gamma=gamma)
    plans: set[Plan] = set()

    class Watched(LearnedPair):
        def _deliver_up(self, message: Message) -> None:
            if isinstance(message, Draft):
                plans.add(message.plan)
            super()._deliver_up(message)

    assert_exact(WITHIN, wanted, lambda noise: Watched(WITHIN, wanted, noise, link=slow, delays_s=DELAYS_S))
    assert bool(plans) == (gamma != 0)
    assert k is None or {plan.k for plan in plans} == {k}
    assert gamma is None or {plan.gamma for plan in plans} <= {gamma}
    if k is None and gamma is None:
        assert len({plan.k for plan in plans}) > 1 < len({plan.gamma for plan in plans})


@pytest.mark.parametrize("kind", [SparseLogits, Draft, Commit])
@pytest.mark.parametrize("salt", range(2))
def test_law_holds_when_messages_are_lost_while_the_plan_changes(kind: type, salt: int) -> None:
    """Rows that are asked for again, repeated Drafts, Commits that heal: with orders coming in between."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            WITHIN,
            request(2),
            noise,
            salt=salt,
            link=lossy(noise, of=kind, probability=0.3),
            timing=Timing(row_s=0.5, resend_s=0.4),
            delays_s=(0.0, 0.2, 0.7),
        )

    assert_exact(WITHIN, request(2), scenario)


@pytest.mark.parametrize("salt", range(2))
def test_law_holds_when_a_draft_is_late_by_its_rows_and_the_plan_changes(salt: int) -> None:
    """Orders come before and behind the block that waits for its own rows to pass."""

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        return LearnedPair(
            WITHIN,
            request(3),
            noise,
            plans=((2, 2), (2, 0)),
            salt=salt,
            link=behind_its_rows(),
            knows_untested=True,
            delays_s=(0.0, 0.5, 2.0),
        )

    assert_exact(WITHIN, request(3), scenario)


@pytest.mark.parametrize("first", [(2, 0), (2, 2)])
@pytest.mark.parametrize("at_s", [0.35, 0.55, 0.75])
def test_law_holds_when_the_bs_forgets_and_the_controller_does_not(
    at_s: float, first: tuple[int, int]
) -> None:
    """No Commit has come when the BS restarts; what a report told of the tokens that are lost stays known.

    A report tells no id that the target decoded by itself, and a lost test comes out as it did: so nothing
    is known of what another plan would draw anew.
    """
    assert_exact(SMALL, request(3), lambda noise: forgetful(SMALL, noise, first, at_s, knows_alone=False))
