"""The maths of a step: the target's distribution, the draft's row, the test, the residual."""

from collections.abc import Sequence
from math import exp, log2

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from numpy.typing import NDArray

from draftwire.codecs.errors import LocalError
from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import (
    BlockRejection,
    Coupled,
    Drafted,
    Greedy,
    Needs,
    Outcome,
    Rejection,
    TargetRows,
    accept_rule,
    draw,
    residual,
    sample_target,
    sparsify,
    target_distribution,
)

KEY = Key(1, 2, 3, Purpose.ACCEPT)
# On a grid: two logits are equal, or far enough apart that every exp() tells them apart.
LOGITS = st.lists(
    st.integers(-12288, 12288).map(lambda n: n / 1024) | st.sampled_from([0.0, 1.0, float("-inf")]),
    min_size=2,
    max_size=20,
).filter(lambda logits: max(logits) > float("-inf"))


class ScriptedNoise:
    """Answers from a list, and remembers what it was asked."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.keys: list[Key] = []

    def _next(self, key: Key) -> int:
        self.keys.append(key)
        return self.answers.pop(0)

    def draw_weights(self, key: Key, weights: NDArray[np.int64]) -> int:
        """As Noise."""
        return self._next(key)

    def accepts(self, key: Key, p: float, weight: int) -> bool:
        """As Noise."""
        return bool(self._next(key))

    def draw_masses(
        self, key: Key, masses: NDArray[np.float64], ids: NDArray[np.int64] | None = None
    ) -> int:
        """As Noise."""
        return self._next(key)


# ------------------------------------------------------------------------------------------------ p


def plainly(logits: Sequence[float], sampling: Sampling) -> list[float]:
    """p in plain Python: top-k with its ties, temperature, then the fewest ids that reach top-p."""
    kept = list(range(len(logits)))
    if 0 < sampling.top_k < len(logits):
        least = sorted(logits, reverse=True)[sampling.top_k - 1]
        kept = [i for i in kept if logits[i] >= least]
    most = max(logits)
    masses = {i: exp((logits[i] - most) / sampling.temperature) for i in kept}
    total = sum(masses.values())
    reached = 0.0
    chosen: dict[int, float] = {}
    for i in sorted(kept, key=lambda i: (-masses[i], i)):
        assume(abs(reached - sampling.top_p) > 1e-9)  # an edge that rounding may decide either way
        if reached < sampling.top_p:
            chosen[i] = masses[i]
        reached += masses[i] / total
    return [chosen.get(i, 0.0) / sum(chosen.values()) for i in range(len(logits))]


@given(LOGITS, st.floats(0.1, 5), st.integers(0, 20), st.sampled_from([0.05, 0.3, 0.62, 0.9, 1.0]))
def test_target_distribution_is_the_plain_one(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    """Temperature, top-k and top-p in any combination."""
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    p = target_distribution(np.array(logits, np.float32), sampling)
    assert np.allclose(p, plainly(logits, sampling), rtol=1e-9, atol=1e-12)
    assert abs(p.sum() - 1) < 1e-12


def test_top_k_keeps_ties_and_top_p_the_first_of_them() -> None:
    """Equal scores at the k-th place all stay; at top-p's edge the lower id comes first."""
    logits = np.zeros(4, np.float32)
    assert target_distribution(logits, Sampling(temperature=1, top_k=2)).tolist() == [0.25] * 4
    assert target_distribution(logits, Sampling(temperature=1, top_p=0.5)).tolist() == [0.5, 0.5, 0, 0]


@given(LOGITS)
def test_temperature_0_is_one_hot_at_the_first_maximum(logits: list[float]) -> None:
    """Whatever top-k and top-p say."""
    p = target_distribution(np.array(logits, np.float32), Sampling(temperature=0, top_k=1, top_p=0.1))
    assert p.tolist() == [float(i == logits.index(max(logits))) for i in range(len(logits))]


def test_target_rows_are_worked_out_once_and_only_when_read() -> None:
    """A test that stops at a rejection leaves the rows behind it alone."""
    logits = np.array([[0.0, 1.0], [np.nan, np.nan]], np.float32)
    rows = TargetRows(logits, Sampling(temperature=1.0))
    assert rows[0] is rows[0]
    assert np.allclose(rows[0], [1 / (1 + exp(1)), exp(1) / (1 + exp(1))])


# ------------------------------------------------------------------------------------------------ q


@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.integers(1, 400), st.floats(0.3, 3))
def test_sparsify_keeps_the_k_largest(seed: int, columns: int, k: int, temperature: float) -> None:
    """K entries or all there are, of the largest logits, close to their softmax at the temperature."""
    logits = np.random.default_rng(seed).normal(0, 2.5, columns).astype(np.float32)
    row = sparsify(logits, None, k=k, temperature=temperature, vocab_size=columns)
    k = min(k, columns)
    assert len(row) == k
    assert np.sort(logits[row.ids]).tolist() == np.sort(logits)[-k:].tolist()
    z = logits[row.ids].astype(np.float64) / temperature
    softmax = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    assert row.weights.sum() == WEIGHT_SUM
    assert np.abs(row.weights / WEIGHT_SUM - softmax).sum() / 2 < 0.12


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 400), st.integers(1, 400), st.floats(0.3, 3), st.floats(0.1, 12)
)
def test_sparsify_tells_the_mass_that_it_leaves_out(
    seed: int, columns: int, k: int, temperature: float, spread: float
) -> None:
    """The tail is the nearest step to the softmax of all columns at the temperature; a whole row has none."""
    logits = np.random.default_rng(seed).normal(0, spread, columns).astype(np.float32)
    row = sparsify(logits, None, k=k, temperature=temperature, vocab_size=columns)
    z = logits.astype(np.float64) / temperature
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    left_out = float(np.delete(p, row.ids).sum())
    exact = 63.0 if left_out < 2**-15.75 else -4 * log2(left_out)
    assert abs(row.tail - exact) <= 0.501
    if k >= columns:
        assert row.tail == 63


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1.0, 1e30, 1e308])
def test_a_tail_is_told_at_any_temperature(temperature: float) -> None:
    """Towards 0 all mass is kept unless the largest are equal; towards infinity all that have mass are."""
    with np.errstate(all="raise"):
        row = sparsify(
            np.array([3.0, 1.0, -np.inf, 2.0], np.float32), None, k=1, temperature=temperature, vocab_size=4
        )
        even = sparsify(np.zeros(4, np.float32), None, k=1, temperature=temperature, vocab_size=4)
    assert abs(even.kept_mass - 0.25) < 0.05
    if temperature < 1:
        assert row.kept_mass == 1.0
    if temperature > 1:
        assert abs(row.kept_mass - 1 / 3) < 0.06


def test_the_tail_of_a_draft_of_a_part_of_the_vocabulary() -> None:
    """Ids that the draft does not have lie outside its row and have no mass."""
    logits, support = np.zeros(4, np.float32), np.array([90, 17, 5, 40])
    tails = [sparsify(logits, support, k=k, temperature=1.0, vocab_size=100).tail for k in (1, 2, 4)]
    assert tails == [2, 4, 63]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_have_no_row(wrong: float) -> None:
    """The error names the logarithms, whatever becomes of the tail."""
    with np.errstate(invalid="ignore"), pytest.raises(LocalError, match="log_weights"):
        logits = np.array([0.0, wrong, 1.0], np.float32)
        sparsify(logits, None, k=2, temperature=1.0, vocab_size=3)


def test_columns_of_a_draft_stand_for_the_ids_of_its_support() -> None:
    """A draft of a part of the vocabulary, in whatever order its columns are."""
    logits = np.array([0.0, 3.0, -1.0, 2.0], np.float32)
    row = sparsify(logits, np.array([90, 17, 5, 40]), k=2, temperature=1.0, vocab_size=100)
    assert row.ids.tolist() == [17, 40]
    assert row.weight_of(17) > row.weight_of(40)


def test_a_draft_is_an_id_of_its_row() -> None:
    """Noise names an entry; the token is the id there."""
    row = quantize([5, 17, 90], [0.0, 1.0, 2.0], vocab_size=100)
    noise = ScriptedNoise(0, 1, 2)
    assert [draw(row, KEY, noise) for _ in range(3)] == [5, 17, 90]
    assert noise.keys == [KEY] * 3


# -------------------------------------------------------------------------- the test and the residual


def a_case(seed: int, v: int, k: int) -> tuple[NDArray[np.float64], Row]:
    """Some p over V ids, and a row of K of them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(v, 0.5))
    ids = np.sort(rng.choice(v, k, replace=False))
    return p, quantize(ids, rng.normal(0, 2, k), vocab_size=v)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.data())
def test_accepted_and_corrected_tokens_follow_p(seed: int, v: int, data: st.DataObject) -> None:
    """q min(1, p / q) and the residual for the rest sum to p: TK-SLT's identity, in the integers sent."""
    p, row = a_case(seed, v, data.draw(st.integers(1, v)))
    q = np.array([row.weight_of(x) / WEIGHT_SUM for x in range(v)])
    masses = residual(p, row)
    assert masses.tolist() == np.maximum(0.0, p - q).tolist()
    kept = np.minimum(p, q)
    if masses.any():
        kept += (1 - kept.sum()) * masses / masses.sum()
    assert np.allclose(kept, p, rtol=0, atol=1e-12)


def test_rejection_stops_at_the_first_draft_that_falls() -> None:
    """Left to right, each with its own key; what lies behind a rejection is not tested."""
    p = [np.full(8, 0.125)] * 3
    keys = [Key(1, 2, i, Purpose.ACCEPT) for i in range(3)]
    for answers in ((0,), (1, 0), (1, 1, 0), (1, 1, 1)):
        noise = ScriptedNoise(*answers)
        assert Rejection().accepted(p, (4, 5, 6), (9, 9, 9), keys, noise) == sum(answers)
        assert noise.keys == keys[: len(answers)]


@given(st.integers(0, 2**32 - 1))
def test_a_correction_is_a_draw_from_the_residual(seed: int) -> None:
    """With its own key; an id that q has more of than p can't come out."""
    p, row = a_case(seed, 12, 5)
    masses = residual(p, row)
    assume(masses.any())
    token = Rejection().correction(p, int(row.ids[0]), row, KEY, PhiloxNoise())
    assert masses[token] > 0
    assert token == PhiloxNoise().draw_masses(KEY, masses)


def test_no_mass_left_lets_the_draft_stand() -> None:
    """p equals q up to rounding: nothing is drawn."""
    row = quantize([1, 3], [0.0, 0.0], vocab_size=5)
    p = np.array([row.weight_of(x) / WEIGHT_SUM for x in range(5)])
    assert Rejection().correction(p, 3, row, KEY, ScriptedNoise()) == 3


def drafted(*ids: int) -> Drafted:
    """Hints behind five tokens."""
    return Drafted(ids=ids, weights=(), seed=77, draft_epoch=9, start=5)


def outcome(accepted: int, token: int | None) -> Outcome:
    """What a rule says."""
    return Outcome(accepted=accepted, token=token)


def test_greedy_keeps_what_the_target_would_write() -> None:
    """The agreeing prefix, then the target's own token; neither row nor noise is needed."""
    p = [np.eye(4)[i] for i in (2, 0, 3, 1)]
    for ids, expected in (
        ((1, 0, 3), outcome(0, 2)),
        ((2, 1, 3), outcome(1, 0)),
        ((2, 0, 0), outcome(2, 3)),
        ((2, 0, 3), outcome(3, 1)),
        ((), outcome(0, 2)),
    ):
        assert Greedy().outcome(p, drafted(*ids), (), ScriptedNoise()) == expected


def test_coupled_keeps_what_the_target_picks() -> None:
    """One pick a position, keyed as the target's own, up to the first that is not the draft."""
    p = [np.full(8, 0.125)] * 4
    for ids, picks, expected in (
        ((1, 2, 3), (4,), outcome(0, 4)),
        ((1, 2, 3), (1, 0), outcome(1, 0)),
        ((1, 2, 3), (1, 2, 3, 7), outcome(3, 7)),
        ((), (6,), outcome(0, 6)),
    ):
        noise = ScriptedNoise(*picks)
        assert Coupled().outcome(p, drafted(*ids), (), noise) == expected
        assert noise.keys == [Key(77, 0, 5 + i, Purpose.TARGET) for i in range(len(picks))]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5), max_size=4))
def test_coupled_text_does_not_depend_on_the_hints(seed: int, ids: list[int]) -> None:
    """Whatever is guessed, the tokens that come out are those that the target would have written alone."""
    p = np.random.default_rng(seed).dirichlet(np.full(6, 0.5), size=5)
    found = Coupled().outcome(p, drafted(*ids), (), PhiloxNoise())
    assert found.token is not None
    text = [*ids[: found.accepted], found.token]
    assert text == [sample_target(p[i], 77, 5 + i, PhiloxNoise()) for i in range(len(text))]


def test_rejection_knows_its_token_only_if_all_stand() -> None:
    """The bonus, drawn as the target's own; a correction waits for its row."""
    p = [np.full(8, 0.125)] * 3
    block = Drafted(ids=(4, 5), weights=(9, 9), seed=77, draft_epoch=9, start=5)
    noise = ScriptedNoise(1, 1, 6)
    assert Rejection().outcome(p, block, (), noise) == outcome(2, 6)
    keys = [Key(77, 9, 5, Purpose.ACCEPT), Key(77, 9, 6, Purpose.ACCEPT), Key(77, 0, 7, Purpose.TARGET)]
    assert noise.keys == keys
    assert Rejection().outcome(p, block, (), ScriptedNoise(1, 0)) == outcome(1, None)


def test_the_rule_follows_temperature_acceptance_and_plan() -> None:
    """Greedy at 0 whatever else; blockwise is a way of rejection; an acceptance has to be settled."""
    cold, warm = Sampling(temperature=0), Sampling(temperature=0.01)
    for acceptance in Acceptance:
        assert isinstance(accept_rule(cold, acceptance, blockwise=True), Greedy)
    assert isinstance(accept_rule(warm), Rejection)
    assert isinstance(accept_rule(warm, Acceptance.REJECTION, blockwise=True), BlockRejection)
    for blockwise in (False, True):
        assert isinstance(accept_rule(warm, Acceptance.COUPLED, blockwise=blockwise), Coupled)
    with pytest.raises(ValueError, match="AUTO"):
        accept_rule(warm, Acceptance.AUTO)
    needs = [Greedy.needs, Coupled.needs, Rejection.needs, BlockRejection.needs]
    assert needs == [Needs.NONE, Needs.NONE, Needs.ONE, Needs.ALL]


def test_the_targets_own_draws_are_keyed_by_seed_and_position() -> None:
    """Not by an epoch: at most one draw of a position enters a log."""
    noise = ScriptedNoise(4)
    assert sample_target(np.full(8, 0.125), 77, 5, noise) == 4
    assert noise.keys == [Key(77, 0, 5, Purpose.TARGET)]
