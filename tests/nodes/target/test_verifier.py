"""What a pass comes to, by the acceptance of its request and the plan of its block."""

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from draftwire.codecs.messages import Acceptance, Plan, Sampling
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import BlockRejection, Drafted, sample_target, target_distribution
from draftwire.nodes.target.verifier import correct, verify, verify_block
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.target import Step

V, NOISE = 12, PhiloxNoise()
PROMPT = (1, 2, 3)
REJECTION, COUPLED = Acceptance.REJECTION, Acceptance.COUPLED


def a_request(acceptance: Acceptance = REJECTION, *, temperature: float = 1.0, seed: int = 5) -> Request:
    return Request(
        prompt=PROMPT,
        sampling=Sampling(temperature=temperature, top_k=8),
        seed=seed,
        max_new_tokens=20,
        acceptance=acceptance,
    )


def some_logits(seed: int, n: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1.5, (n, V)).astype(np.float32)


def some_rows(seed: int, n: int) -> tuple[Row, ...]:
    rng = np.random.default_rng(seed)
    return tuple(quantize(np.arange(V), rng.normal(0, 1.5, V), vocab_size=V) for _ in range(n))


def a_step(ids: Sequence[int], rows: Sequence[Row] = (), *, blockwise: bool = False) -> Step:
    return Step(
        tokens=list(PROMPT),
        ids=tuple(ids),
        weights=tuple(row.weight_of(x) for row, x in zip(rows, ids, strict=True)) if rows else (),
        draft_epoch=4 if ids else 0,
        plan=Plan(number=1, k=V, gamma=4, min_draft=4, blockwise=blockwise),
    )


def p_of(logits: NDArray[np.float32], wanted: Request) -> list[NDArray[np.float64]]:
    return [target_distribution(row, wanted.sampling) for row in logits]


def alone(logits: NDArray[np.float32], wanted: Request, i: int) -> int:
    """What the target would have written at position i behind the log."""
    return sample_target(p_of(logits, wanted)[i], wanted.seed, len(PROMPT) + i, NOISE)


@pytest.mark.parametrize("acceptance", [REJECTION, COUPLED])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("blockwise", [False, True])
def test_a_pass_without_drafts_is_the_targets_own(
    acceptance: Acceptance, temperature: float, blockwise: bool
) -> None:
    """The same token under every rule, and no row is waited for: the same text whoever drafts."""
    wanted = a_request(acceptance, temperature=temperature)
    logits = some_logits(3, 1)
    verdict = verify(a_step((), blockwise=blockwise), logits, wanted, NOISE)
    assert (verdict.accepted, verdict.token) == (0, alone(logits, wanted, 0))
    assert (verdict.tested, verdict.wanted) == ((), range(0))


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, V - 1), max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_hints_never_change_the_text(seed: int, guesses: list[int], temperature: float) -> None:
    """Right guesses first, then any: what is committed at once is what the target writes alone."""
    wanted = a_request(COUPLED, temperature=temperature, seed=seed)
    logits = some_logits(seed, 7)
    ids = [alone(logits, wanted, i) for i in range(seed % 3)] + guesses
    verdict = verify(a_step(ids), logits[: len(ids) + 1], wanted, NOISE)
    text = [*ids[: verdict.accepted], verdict.token]
    assert text == [alone(logits, wanted, i) for i in range(len(text))]
    assert verdict.accepted >= seed % 3
    assert verdict.wanted == range(0)


def test_p_of_every_seen_position_is_kept_where_rows_may_tell_something() -> None:
    """Coupled: up to the first wrong guess, that one included; nothing at temperature 0."""
    wanted, logits = a_request(COUPLED), some_logits(8, 5)
    right = [alone(logits, wanted, i) for i in range(4)]
    wrong = [*right[:2], (right[2] + 1) % V, right[3]]
    for ids, seen in ((right, 4), (wrong, 3)):
        verdict = verify(a_step(ids), logits, wanted, NOISE)
        assert len(verdict.tested) == seen
        for p, expected in zip(verdict.tested, p_of(logits, wanted), strict=False):
            assert p.tolist() == expected.tolist()
        assert verdict.p.tolist() == p_of(logits, wanted)[verdict.accepted].tolist()
    assert verify(a_step(right), logits, a_request(COUPLED, temperature=0.0), NOISE).tested == ()


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_rejection_waits_for_one_row_at_most(seed: int, n: int) -> None:
    """That of the rejected draft; its correction is the residual's draw with the target's own key."""
    wanted, logits, rows = a_request(seed=seed), some_logits(seed, n + 1), some_rows(seed + 1, n)
    step = a_step([int(row.weights.argmax()) for row in rows], rows)
    verdict = verify(step, logits, wanted, NOISE)
    assert len(verdict.tested) == min(verdict.accepted + 1, n)
    if verdict.accepted == n:
        assert (verdict.token, verdict.wanted) == (alone(logits, wanted, n), range(0))
        return
    i = verdict.accepted
    assert (verdict.token, verdict.wanted) == (None, range(i, i + 1))
    token = correct(verdict, rows[i], wanted, NOISE)
    masses = np.maximum(0.0, p_of(logits, wanted)[i] - rows[i].weights / 2**24)
    assert token == NOISE.draw_masses(Key(seed, 0, len(PROMPT) + i, Purpose.TARGET), masses)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_block_waits_for_all_its_rows(seed: int, n: int) -> None:
    """Nothing is known before; then the rule's outcome, and p of the positions that stand or fall with it."""
    wanted, logits, rows = a_request(seed=seed), some_logits(seed, n + 1), some_rows(seed + 1, n)
    step = a_step([int(row.weights.argmax()) for row in rows], rows, blockwise=True)
    open_ = verify(step, logits, wanted, NOISE)
    assert (open_.accepted, open_.token, open_.wanted) == (0, None, range(n))
    verdict = verify_block(open_, rows, wanted, NOISE)
    p = p_of(logits, wanted)
    block = Drafted(ids=step.ids, weights=step.weights, seed=seed, draft_epoch=4, start=len(PROMPT))
    expected = BlockRejection().outcome(p, block, rows, NOISE)
    assert (verdict.accepted, verdict.token, verdict.wanted) == (expected.accepted, expected.token, range(0))
    assert [one.tolist() for one in verdict.tested] == [
        one.tolist() for one in p[: min(verdict.accepted + 1, n)]
    ]
    assert verdict.p.tolist() == p[verdict.accepted].tolist()


def test_plans_are_blockwise_under_rejection_only() -> None:
    """Hints have no rows to wait for, whatever their plan says."""
    logits = some_logits(1, 2)
    for wanted in (a_request(COUPLED), a_request(temperature=0.0)):
        verdict = verify(a_step([3], blockwise=True), logits, wanted, NOISE)
        assert verdict.token is not None and verdict.wanted == range(0)
