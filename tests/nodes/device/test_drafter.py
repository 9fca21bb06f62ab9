"""What a device draws: from the row that travels, by the target's noise, or the largest."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from draftwire.codecs.messages import Acceptance, Plan, Sampling
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.models.base import Top, UnsupportedModelError
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import draw, sample_target, sparsify, target_distribution
from draftwire.nodes.speculation.topk import left_out_mass, top_k
from draftwire.runtime.session.request import Block, DraftWork, Request

V, NOISE = 40, PhiloxNoise()
SUPPORT = np.array([3, 4, 9, 11, 17, 30, 31, 39])
PLAN = Plan(number=1, k=5, gamma=4, min_draft=2)
WORK = DraftWork(tokens=[1, 2, 3], draft_epoch=6, length=4, plan=PLAN)


@dataclass
class Draft:
    """A model with a row of its own for each context."""

    columns: int = V
    asked: list[int] = field(default_factory=list)
    "lengths of the contexts asked about"

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Shape [1, columns], and some columns more, as models with a padded vocabulary have."""
        self.asked.append(len(tokens))
        drawn = np.random.default_rng([9, *tokens]).normal(0, 2, self.columns)
        return np.append(drawn, [99.0, 99.0]).astype(np.float32)[None]


class Accelerated(Draft):
    """One that finds the largest itself."""

    def close(self) -> None:
        """Nothing."""

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """As TopContext."""
        logits = super().logits(tokens, 1)[0, :columns]
        found = top_k(logits, k)
        left_out = left_out_mass(logits, found, temperature) if temperature else 0.0
        return Top(columns=found, logits=logits[found], left_out=left_out)


def a_request(acceptance: Acceptance, *, temperature: float = 0.8, top_k: int = 0, seed: int = 3) -> Request:
    sampling = Sampling(temperature=temperature, top_k=top_k)
    return Request(prompt=(1,), sampling=sampling, seed=seed, max_new_tokens=50, acceptance=acceptance)


def drawn(
    wanted: Request,
    work: DraftWork = WORK,
    *,
    context: Draft | None = None,
    support: NDArray[np.int64] | None = None,
) -> Block:
    columns = V if support is None else len(support)
    context = context or Draft(columns)
    return draw_block(work, wanted, context, support=support, vocab_size=V, noise=NOISE)


def own_logits(block: Block, i: int, columns: int = V) -> NDArray[np.float32]:
    """Behind the work's tokens and i of the block's."""
    return Draft(columns).logits([*WORK.tokens, *block.ids[:i]], 1)[0, :columns]


COUPLED, GREEDY = a_request(Acceptance.COUPLED), a_request(Acceptance.REJECTION, temperature=0.0)


@given(st.integers(0, 2**64 - 1), st.sampled_from([0, 3, 12]), st.sampled_from([0.3, 1.0, 2.0]))
def test_coupled_drafts_are_what_the_draft_would_write_as_a_target(
    seed: int, top_k: int, temperature: float
) -> None:
    """Its whole row under the request's sampling, by the noise of the target's own picks; with q of each."""
    wanted = a_request(Acceptance.COUPLED, temperature=temperature, top_k=top_k, seed=seed)
    block = drawn(wanted)
    for i, (x, chance) in enumerate(zip(block.ids, block.chances, strict=True)):
        q = target_distribution(own_logits(block, i), wanted.sampling)
        assert x == sample_target(q, seed, len(WORK.tokens) + i, NOISE)
        assert chance == q[x]
    assert (block.rows, block.row_at) == ((), None)


def test_columns_of_a_part_of_the_vocabulary_race_as_the_ids_they_stand_for() -> None:
    """Not as their places: a target with the same distribution picks the same ids."""
    block = drawn(COUPLED, support=SUPPORT)
    for i, x in enumerate(block.ids):
        p = np.zeros(V)
        p[SUPPORT] = target_distribution(own_logits(block, i, len(SUPPORT)), COUPLED.sampling)
        assert x == sample_target(p, COUPLED.seed, len(WORK.tokens) + i, NOISE)


def test_coupled_drafts_do_not_depend_on_the_epoch() -> None:
    """Nor on where a path is cut: what has been drawn once is drawn again."""
    whole = drawn(COUPLED)
    again = drawn(COUPLED, replace(WORK, draft_epoch=70))
    rest = drawn(COUPLED, replace(WORK, tokens=[*WORK.tokens, *whole.ids[:2]], length=2))
    assert again.ids == whole.ids
    assert rest.ids == whole.ids[2:]


@pytest.mark.parametrize("support", [None, SUPPORT])
@pytest.mark.parametrize("row_of", [0, 2, 3])
def test_one_coupled_draft_comes_with_its_sparse_row(support: NDArray[np.int64] | None, row_of: int) -> None:
    """The K largest at the request's temperature, as a rejection's; ids and chances are as without it."""
    block = drawn(COUPLED, replace(WORK, row_of=row_of), support=support)
    plain = drawn(COUPLED, support=support)
    columns = V if support is None else len(support)
    row = sparsify(own_logits(block, row_of, columns), support, k=5, temperature=0.8, vocab_size=V)
    assert (block.rows, block.row_at) == ((row,), row_of)
    assert (block.ids, block.chances) == (plain.ids, plain.chances)


@pytest.mark.parametrize("acceptance", [Acceptance.REJECTION, Acceptance.COUPLED])
@pytest.mark.parametrize("context", [Draft, Accelerated])
def test_greedy_drafts_are_the_largest_and_their_chance(
    acceptance: Acceptance, context: type[Draft]
) -> None:
    """At temperature 1, wherever the logits lie; no row, whoever asks for one."""
    wanted = a_request(acceptance, temperature=0.0)
    block = drawn(wanted, replace(WORK, row_of=1), context=context())
    for i, (x, chance) in enumerate(zip(block.ids, block.chances, strict=True)):
        logits = own_logits(block, i).astype(np.float64)
        assert x == int(logits.argmax())
        assert chance == pytest.approx(1 / np.exp(logits - logits.max()).sum(), rel=1e-5)
    assert (block.rows, block.row_at) == ((), None)


@pytest.mark.parametrize("context", [Draft, Accelerated])
def test_rejection_draws_each_token_from_the_row_that_travels(context: type[Draft]) -> None:
    """With a key of the device's own, by epoch; chances are for hints."""
    wanted = a_request(Acceptance.REJECTION)
    block = drawn(wanted, context=context())
    for i, (x, row) in enumerate(zip(block.ids, block.rows, strict=True)):
        assert row == sparsify(own_logits(block, i), None, k=5, temperature=0.8, vocab_size=V)
        assert x == draw(row, Key(3, 6, len(WORK.tokens) + i, Purpose.DRAFT), NOISE)
    assert (block.chances, block.row_at) == ((), None)


def test_coupled_drafts_need_every_logit() -> None:
    """A context that finds the largest itself is asked for all: its picks are those of one that does not."""
    assert drawn(COUPLED, context=Accelerated()).ids == drawn(COUPLED).ids


@pytest.mark.parametrize("wanted", [COUPLED, GREEDY, a_request(Acceptance.REJECTION)])
def test_a_context_is_asked_once_a_token(wanted: Request) -> None:
    """Whatever the acceptance: the draft model is what drafting costs."""
    context = Draft()
    drawn(wanted, replace(WORK, row_of=1), context=context)
    assert context.asked == [3, 4, 5, 6]


@pytest.mark.parametrize("wanted", [COUPLED, GREEDY, a_request(Acceptance.REJECTION)])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_are_refused(wanted: Request, wrong: float) -> None:
    """By position, with what to try."""

    class Broken(Draft):
        def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
            return np.full((1, V), wrong, np.float32)

    with np.errstate(invalid="ignore"), pytest.raises(UnsupportedModelError, match=r"token 3.*float32"):
        drawn(wanted, context=Broken())
