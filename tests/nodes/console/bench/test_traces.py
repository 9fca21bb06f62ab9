"""Acceptance traces: recorded, kept, made up."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.tables import usual_set

from draftwire.codecs.blocks import HEADER_BITS, encode_rows
from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.bench.acceptance_trace import (
    BY_POSITION,
    MEASURES,
    SAMPLES,
    block_over_token,
    coupled_alpha_over_rejection_alpha,
    data_path,
    load,
    recorded,
    save,
)
from draftwire.nodes.console.bench.traces import SYNTHETIC, plain_bits, record, spelt_bits, synthetic
from draftwire.nodes.models.tables import load_tables, shipped_tables
from draftwire.nodes.speculation.acceptance import LADDER, acceptance
from draftwire.nodes.speculation.coupling import equal_probability
from draftwire.nodes.speculation.frames import row_bits
from draftwire.nodes.speculation.noise import Key, PhiloxNoise, Purpose
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.runtime.errors import ConfigurationError

SHORT = replace(SYNTHETIC[1], positions=40)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_trace_holds_what_the_nodes_would_find(temperature: float) -> None:
    """Each value is that of the row that the device would make, and of the report that the BS would send."""
    rng = np.random.default_rng(5)
    support = np.sort(rng.permutation(900)[:400])
    target = rng.normal(scale=3, size=(6, 900)).astype(np.float32)
    draft = rng.normal(scale=3, size=(6, 400)).astype(np.float32)
    trace = record(
        zip(target, draft, strict=True), name="x", vocab_size=900, temperature=temperature, support=support
    )
    assert trace.ladder == tuple(k for k in LADDER if k <= 400)
    for i in range(6):
        p = target_distribution(target[i], Sampling(temperature=temperature))
        for rung, k in enumerate(trace.ladder):
            row = sparsify(draft[i], support, k=k, temperature=temperature, vocab_size=900)
            told = acceptance(p, row)
            found = trace.told(rung)[i]
            assert found.alphas[-1] == pytest.approx(told.alphas[-1], abs=1e-9)
            assert found.alphas == pytest.approx(told.alphas, abs=0.02)  # its own rows, not cut from this one
            values = (told.low, told.high, told.gap, told.filled, told.coupled)
            assert found[1:] == pytest.approx(values, abs=1e-9)


def test_picks_are_those_of_the_ends() -> None:
    """The device's pick of its whole row and the target's, by the shared noise; and the chance of a match."""
    rng, noise = np.random.default_rng(9), PhiloxNoise()
    support = np.sort(rng.permutation(900)[:400])
    target = rng.normal(scale=3, size=(40, 900)).astype(np.float32)
    draft = (target[:, support] + rng.normal(size=(40, 400))).astype(np.float32)
    trace = record(
        zip(target, draft, strict=True), name="x", vocab_size=900, temperature=0.7, support=support
    )
    sampling = Sampling(temperature=0.7)
    for place in range(40):
        p, q = (target_distribution(logits[place], sampling) for logits in (target, draft))
        assert trace.coupled[place] == pytest.approx(equal_probability(p, q, support), abs=1e-9)
        for seed in (0, SAMPLES - 1):
            key = Key(seed, 0, place, Purpose.TARGET)
            column = noise.draw_masses(key, q, support)
            assert trace.hits[place, seed] == (noise.draw_masses(key, p) == support[column])
            assert trace.chances[place, seed] == pytest.approx(q[column], rel=1e-3)
    assert trace.hits.mean() == pytest.approx(trace.coupled.mean(), abs=0.05)
    assert 0.2 < trace.hits.mean() < 0.8


def test_row_bits_are_those_of_the_encoder() -> None:
    """The sum over a block's rows is the length of the encoded block, up to its last byte."""
    rng = np.random.default_rng(6)
    for k in (1, 3, 40, 320):
        logits = rng.normal(scale=3, size=(5, 2000)).astype(np.float32)
        rows = [sparsify(row, None, k=k, temperature=1.0, vocab_size=2000) for row in logits]
        whole = 8 * len(encode_rows(rows)) - HEADER_BITS
        assert 0 <= whole - plain_bits(rows).sum() < 8


def test_row_bits_with_a_set_are_those_of_the_encoder() -> None:
    """As with plain rows. Below the first rung they are plain ones."""
    rng, tables = np.random.default_rng(7), usual_set(2000, first=3)
    for k in (1, 3, 40, 320):
        logits = rng.normal(scale=3, size=(5, 2000)).astype(np.float32)
        logits[:, tables.order[:300]] += 9  # ids that the tables put in front
        rows = [sparsify(row, None, k=k, temperature=1.0, vocab_size=2000) for row in logits]
        whole = 8 * len(encode_rows(rows, tables=tables)) - HEADER_BITS
        found = spelt_bits(rows, tables)
        assert 0 <= whole - found.sum() < 8
        assert (found == plain_bits(rows)).all() if k == 1 else (found <= plain_bits(rows)).all()
        assert k < 40 or (found < plain_bits(rows)).all()


def test_a_trace_with_a_set_differs_in_the_size_of_rows_alone() -> None:
    """Acceptance knows nothing of spelling; the trace says which set it was."""
    rng, tables = np.random.default_rng(8), usual_set(900)
    target, draft = rng.normal(scale=3, size=(2, 40, 900)).astype(np.float32)
    draft[:, tables.order[:200]] += 9  # ids that the tables put in front
    positions = list(zip(target, draft, strict=True))
    plain = record(positions, name="x", vocab_size=900, temperature=1.0)
    spelt = record(positions, name="x", vocab_size=900, temperature=1.0, tables=tables)
    assert (plain.tables, spelt.tables) == ("", tables.hash.hex())
    for name in BY_POSITION:
        assert np.array_equal(getattr(plain, name), getattr(spelt, name)) == (name != "row_bits")


def test_a_file_gives_the_trace_back(tmp_path: Path) -> None:
    """Half precision: probabilities to 0.001, bits to 0.1 %."""
    trace = replace(synthetic(SHORT), tables="0a" * 8)
    save(trace, tmp_path / "x.npz")
    again = load(tmp_path / "x.npz")
    for name in ("name", "ladder", "vocab_size", "tables"):
        assert getattr(again, name) == getattr(trace, name)
    for name in (*MEASURES, "coupled", "chances", "token_tokens", "block_tokens"):
        assert getattr(again, name) == pytest.approx(getattr(trace, name), rel=1e-3, abs=1e-3)
    assert np.array_equal(again.hits, trace.hits) and again.hits.dtype == np.bool_


@pytest.mark.parametrize("lacking", ["coupled", "hits", "block_tokens"])
def test_a_file_of_an_older_version_says_what_to_do(tmp_path: Path, lacking: str) -> None:
    """It lacks what is recorded now; the error names the file, the field and the remedy."""
    save(synthetic(SHORT), tmp_path / "whole.npz")
    with np.load(tmp_path / "whole.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file.files if name != lacking})
    with pytest.raises(ConfigurationError, match=f"old.npz.*older version: {lacking}.*record the pair again"):
        load(tmp_path / "old.npz")


def test_a_part_of_a_trace() -> None:
    """Its positions, whatever is known of each; blocks belong to the whole."""
    trace = synthetic(SHORT)
    part = trace.part(slice(5, 25))
    assert all(np.array_equal(getattr(part, name), getattr(trace, name)[5:25]) for name in BY_POSITION)
    assert part.told(3) == trace.told(3)[5:25]
    assert np.array_equal(part.block_tokens, trace.block_tokens)


def test_ratios_of_a_trace() -> None:
    """By hand, of means and not of positions; a trace without blocks has no second one."""
    trace = synthetic(SHORT)
    rung = trace.ladder.index(32)
    coupled, alphas = trace.coupled.mean(), trace.alpha.mean(axis=0)
    assert coupled_alpha_over_rejection_alpha(trace) == pytest.approx(coupled / alphas[-1])
    assert coupled_alpha_over_rejection_alpha(trace, k=32) == pytest.approx(coupled / alphas[rung])
    assert block_over_token(trace) == trace.block_tokens.mean() / trace.token_tokens.mean()
    with pytest.raises(ValueError, match="no drafted blocks"):
        block_over_token(replace(trace, block_tokens=np.empty(0), token_tokens=np.empty(0)))


@pytest.mark.parametrize("name", ["smollm2", "smollm2-0.7"])
def test_the_shipped_pair_s_picks_and_blocks(name: str) -> None:
    """Real picks are equal as often as p and q say; less often than rows accept, by the bounds of TV."""
    trace = recorded(name)
    deviation = np.sqrt((trace.coupled * (1 - trace.coupled)).sum() / SAMPLES) / len(trace.coupled)
    assert trace.hits.mean() == pytest.approx(trace.coupled.mean(), abs=4 * deviation)
    alpha = trace.alpha[:, -1]  # of 1280 entries: nearly all of q
    assert (trace.coupled < alpha + 0.03).all() and (trace.coupled > alpha / (2 - alpha) - 0.03).all()
    assert 0.8 < coupled_alpha_over_rejection_alpha(trace) < 1
    assert len(trace.block_tokens) >= 400 and block_over_token(trace) > 1
    # A pick of a sure draft is right more often: what early stop learns from.
    sure = trace.chances > 0.3
    assert trace.hits[sure].mean() > trace.hits[~sure].mean() + 0.2


@pytest.mark.parametrize(
    ("name", "temperature", "alpha"), [("smollm2", 1.0, 0.39), ("smollm2-0.7", 0.7, 0.42)]
)
def test_the_shipped_pair_s_traces(name: str, temperature: float, alpha: float) -> None:
    """They are in the package, small, of the right temperature, and alpha at K = 320 is near the card's."""
    trace = recorded(name)
    assert data_path(name).stat().st_size < 600_000
    assert trace.temperature == temperature
    assert trace.vocab_size == 49152
    assert len(trace.alpha) >= 1500
    assert trace.mean_alphas()[320] == pytest.approx(alpha, abs=0.03)


@pytest.mark.parametrize(("name", "within"), [("smollm2", 0.08), ("smollm2-0.7", 0.2)])
def test_the_shipped_pair_s_traces_are_spelt_with_its_tables(name: str, within: float) -> None:
    """By the set that ships, else record them again (scripts/record_acceptance.py); as large as it says.

    It was learnt from answers of both temperatures; the levels of a cooler draft take more bits.
    """
    trace, tables = recorded(name), load_tables(shipped_tables())
    assert trace.tables == tables.hash.hex()
    for k, bits in zip(trace.ladder, trace.row_bits.mean(axis=0), strict=True):
        said = row_bits(k=k, vocab_size=trace.vocab_size, tables=tables)
        assert bits == pytest.approx(said, rel=within), k


def test_synthetic_pairs_are_the_same_every_time() -> None:
    """A recipe is all there is to a pair; another seed is another text."""
    first, again = synthetic(SHORT), synthetic.__wrapped__(SHORT)
    names = (*BY_POSITION, "block_tokens")
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in names)
    assert not np.array_equal(first.alpha, synthetic(replace(SHORT, seed=99)).alpha)


def test_synthetic_pairs_are_unlike_each_other() -> None:
    """alpha at K = 1280 runs from about .4 to .9; with the sharper target a small K is best."""
    means = [synthetic(replace(recipe, positions=80)).mean_alphas() for recipe in SYNTHETIC]
    whole = [mean[1280] for mean in means]
    assert min(whole) < 0.5 and max(whole) > 0.85
    sharp = means[-1]
    assert max(sharp, key=lambda k: sharp[k]) <= 16


def test_a_trace_goes_to_another_process() -> None:
    """What a trace has worked out from its fields stays behind, and is worked out again there."""
    trace = synthetic(SHORT)
    trace.told(3)
    again = pickle.loads(pickle.dumps(trace))
    assert again.told(3) == trace.told(3)
    assert again.frames.rows_bits(8, 2) == trace.frames.rows_bits(8, 2)


def test_a_trace_checks_itself() -> None:
    """Shapes, probabilities and the ladder; ValueError names what is wrong."""
    trace = synthetic(SHORT)
    for field, value in (
        ("alpha", trace.alpha + 1),
        ("low", trace.low[:, 1:]),
        ("ladder", (*trace.ladder[:-1], 7)),
        ("coupled", trace.coupled + 1),
        ("hits", trace.hits[:, 1:]),
        ("chances", trace.chances[1:]),
        ("block_tokens", trace.block_tokens[1:]),
        ("row_coupled", -trace.row_coupled),
    ):
        with pytest.raises(ValueError, match=field):
            changed: dict[str, Any] = {field: value}
            replace(trace, **changed)
