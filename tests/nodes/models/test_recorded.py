"""A recorded pair: two true distributions a position, which accept as the recording says at every K."""

from typing import Any

import numpy as np
import pytest

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.bench.traces import AcceptanceTrace, recorded
from draftwire.nodes.models import recorded as module
from draftwire.nodes.models.base import TopContext
from draftwire.nodes.models.recorded import RecordedPair, solved
from draftwire.nodes.speculation.acceptance import acceptance
from draftwire.nodes.speculation.coupling import equal_probability
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.nodes.speculation.topk import left_out_mass, top_k

LADDER = (1, 2, 3, 5, 8, 16)
SHIPPED = ("smollm2", "smollm2-0.7")


def pair_of(trace: AcceptanceTrace, *, every: int = 1) -> RecordedPair:
    kept = 1 - (trace.high - trace.low)[::every]
    return RecordedPair(trace.alpha[::every], trace.ladder, temperature=trace.temperature, kept=kept)


def small(**changes: Any) -> RecordedPair:
    """Of 40 positions."""
    alpha = np.sort(np.random.default_rng(3).random((40, len(LADDER))), axis=1)
    fields: dict[str, Any] = {"temperature": 1.0, "vocab_size": 128}
    return RecordedPair(alpha, LADDER, **(fields | changes))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recordings_are_met_at_every_k(name: str) -> None:
    """The masses' own alphas are the recording's: by K in the mean, and position by position."""
    trace = recorded(name)
    off = pair_of(trace, every=3).masses.alphas() - trace.alpha[::3]
    assert np.abs(off.mean(axis=0)).max() < 0.0015
    assert np.abs(off).mean() < 0.002
    assert (np.abs(off) < 0.05).all(axis=1).mean() > 0.98


@pytest.mark.parametrize("name", SHIPPED)
def test_rows_of_the_codec_accept_as_recorded(name: str) -> None:
    """Rows that are cut to K, quantised and held against p tell the recorded alpha, up to quantisation."""
    trace = recorded(name)
    pair, sampling = pair_of(trace, every=60), Sampling(temperature=trace.temperature)
    told = np.empty((len(pair), len(trace.ladder)))
    for position in range(len(pair)):
        q, p = (logits for logits in pair.rows_at(position))
        for rung, k in enumerate(trace.ladder):
            row = sparsify(q, None, k=k, temperature=trace.temperature, vocab_size=pair.vocab_size)
            told[position, rung] = acceptance(target_distribution(p, sampling), row).alphas[-1]
    off = told - trace.alpha[::60]
    assert np.abs(off.mean(axis=0)).max() < 0.015
    assert np.abs(off).mean() < 0.01


@pytest.mark.parametrize("name", SHIPPED)
def test_coupled_picks_are_equal_as_often_as_recorded(name: str) -> None:
    """Within 0.01 in the mean, and where the recorded ones are: hard positions stay hard, easy ones easy."""
    trace = recorded(name)
    pair, sampling = pair_of(trace, every=12), Sampling(temperature=trace.temperature)
    ends = [[target_distribution(end, sampling) for end in pair.rows_at(i)] for i in range(len(pair))]
    found = np.array([equal_probability(p, q) for q, p in ends])
    wanted = trace.coupled[::12]
    assert found.mean() == pytest.approx(wanted.mean(), abs=0.01)
    assert np.abs(found - wanted).mean() < 0.03
    assert np.corrcoef(found, wanted)[0, 1] > 0.98


def test_what_the_masses_promise_the_logits_keep() -> None:
    """sum_x min(p, q cut to its K largest and renormalised) is the masses' alpha, whatever was recorded."""
    trace = recorded("smollm2")
    pair = pair_of(trace, every=100)
    promised = pair.masses.alphas()
    for position in range(len(pair)):
        q, p = (np.exp(logits.astype(np.float64)) for logits in pair.rows_at(position))
        q, p = q / q.sum(), p / p.sum()
        order = np.argsort(-q, kind="stable")
        for rung, k in enumerate(pair.ladder):
            top = order[:k]
            alpha = np.minimum(p[top], q[top] / q[top].sum()).sum()
            assert alpha == pytest.approx(promised[position, rung], abs=4e-3), (position, k)


def test_alpha_that_rises_ever_more_slowly_is_met_exactly() -> None:
    """The case with a closed form: each group brings less an id than the one before."""
    alpha = np.array([[0.2, 0.3, 0.38, 0.5, 0.6, 0.7], [0.05, 0.09, 0.12, 0.16, 0.2, 0.25]])
    assert solved(alpha, LADDER).alphas() == pytest.approx(alpha, abs=1e-3)


def test_alpha_that_falls_is_met_too() -> None:
    """A larger row may accept less: the likeliest id of the draft is the target's, the others are not."""
    alpha = np.array([[0.9, 0.7, 0.6, 0.55, 0.5, 0.45]])
    assert solved(alpha, LADDER).alphas() == pytest.approx(alpha, abs=2e-3)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_pairs_that_never_or_always_agree(level: float) -> None:
    """Acceptance 0 and 1 are met at both ends."""
    masses = solved(np.full((3, len(LADDER)), level), LADDER)
    assert masses.alphas() == pytest.approx(level, abs=1e-3)
    assert (masses.p.sum(axis=1) <= 1 + 1e-9).all()


def test_logits_are_at_the_temperature_of_the_recording() -> None:
    """The same masses at another temperature: logits times it, so that p read at it is the same."""
    warm, cold = small(), small(temperature=0.5)
    p = target_distribution(warm.rows_at(5)[1], Sampling(temperature=1.0))
    same = target_distribution(cold.rows_at(5)[1], Sampling(temperature=0.5))
    assert same == pytest.approx(p, abs=1e-6)


def test_both_ends_read_one_position() -> None:
    """The first token says where a text begins; then one position a token, and from the end to the front."""
    pair = small()
    tokens = [7, *range(60)]
    begins = pair.begins_at(7)
    for length in (1, 2, 39, 40, 61):
        drawn = pair.draft.open().logits(tokens[:length], 1)
        assert (drawn[0] == pair.rows_at((begins + length - 1) % 40)[0]).all()
    tested = pair.target.open().logits(tokens, 3)
    assert (tested[0] == pair.rows_at((begins + 58) % 40)[1]).all()
    assert (tested[2] == pair.rows_at((begins + 60) % 40)[1]).all()


@pytest.mark.parametrize("vocab_size", [128, 70_000])
def test_the_order_that_is_known_is_the_order_of_the_logits(vocab_size: int) -> None:
    """What the draft's context says of the K largest is what would be found, at any K, ties included."""
    pair = small(vocab_size=vocab_size)
    context = pair.draft.open()
    assert isinstance(context, TopContext)
    for k in (1, 2, 7, 16, 17, 100, vocab_size):
        top = context.top([3, 1, 4], k=k, columns=vocab_size, temperature=1.0)
        logits = context.logits([3, 1, 4], 1)[0]
        found = top_k(logits, k)
        assert (top.columns == found).all() and (top.logits == logits[found]).all()
        assert top.left_out == pytest.approx(left_out_mass(logits, found, 1.0), abs=1e-6)


def test_texts_begin_all_over_the_recording() -> None:
    """First tokens are spread over the positions, by the seed."""
    pair = small()
    assert len({pair.begins_at(token) for token in range(128)}) > 35
    assert [small(seed=1).begins_at(token) for token in range(9)] != [pair.begins_at(t) for t in range(9)]


def test_a_pair_made_again_is_the_same_function() -> None:
    """Nothing hangs on what was asked before."""
    one, other = small(), small()
    one.rows_at(3)
    for position in (9, 3):
        for mine, its in zip(one.rows_at(position), other.rows_at(position), strict=True):
            assert (mine == its).all()


def test_rows_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and come back as they were."""
    monkeypatch.setattr(module, "KEPT_POSITIONS", 4)
    pair = small()
    first = pair.rows_at(0)[0].copy()
    for position in range(10):
        pair.rows_at(position)
    assert len(pair._rows) == 4
    assert (pair.rows_at(0)[0] == first).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 16}, "vocab_size is 16"),
        ({"temperature": 0.0}, "temperature is 0"),
    ],
)
def test_fields_that_can_not_be(changes: dict[str, Any], said: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match=said):
        small(**changes)


@pytest.mark.parametrize(
    ("alpha", "ladder", "said"),
    [
        (np.zeros((2, 3)), (1, 2), "shape"),
        (np.full((2, 2), 1.5), (1, 2), "outside"),
        (np.zeros((2, 2)), (2, 1), "ladder"),
    ],
)
def test_recordings_that_can_not_be(alpha: np.ndarray, ladder: tuple[int, ...], said: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match=said):
        RecordedPair(alpha, ladder, temperature=1.0)
