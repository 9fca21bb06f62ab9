"""Logits by formula: pure functions of seed and tokens, the same everywhere."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.synthetic import (
    RationalModel,
    SyntheticModel,
    SyntheticPair,
    SyntheticTokenizer,
)

MODELS: tuple[LanguageModel, ...] = (
    SyntheticModel(vocab_size=17, seed=3),
    SyntheticModel(vocab_size=17, seed=3, noise=0.7, order=1),
    RationalModel(vocab_size=5, seed=2),
)

GOLDEN = "ee8b2f58925dd45a56ebcc59b75bef274368ce7811f4a32dd3ca1313b6669873"

DIGEST = """
import hashlib
from draftwire.nodes.models.synthetic import RationalModel, SyntheticModel
tokens = [5, 0, 3, 3, 1, 4, 2, 5]
models = SyntheticModel(vocab_size=64, seed=1, noise=0.5), RationalModel(vocab_size=6, seed=-1)
print(hashlib.sha256(b"".join(model.open().logits(tokens, 8).tobytes() for model in models)).hexdigest())
"""


@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
def test_a_row_depends_on_its_prefix_alone(model: LanguageModel, data: st.DataObject) -> None:
    """However many rows are asked for, and whatever was asked before, a position's logits are the same."""
    ids = st.integers(0, model.vocab_size - 1)
    tokens = data.draw(st.lists(ids, min_size=1, max_size=12))
    rows = data.draw(st.integers(1, len(tokens)))
    context = model.open()
    context.logits(data.draw(st.lists(ids, min_size=1, max_size=12)), 1)
    together = context.logits(tokens, rows)
    assert together.shape == (rows, model.vocab_size)
    assert together.dtype == np.float32
    for row in range(rows):
        alone = model.open().logits(tokens[: len(tokens) - rows + row + 1], 1)
        np.testing.assert_array_equal(together[row], alone[0])


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_numbers_are_the_same_in_every_process(hash_seed: str) -> None:
    """Logits don't depend on the process, its hash seed or its history: golden bytes."""
    done = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == GOLDEN


def test_a_pair_agrees_the_more_the_smaller_its_noise() -> None:
    """Noise 0 is the target itself; more noise lowers the overlap of q and p."""
    tokens = np.random.default_rng(0).integers(0, 64, 500).tolist()

    def overlap(noise: float) -> float:
        pair = SyntheticPair(vocab_size=64, seed=1, noise=noise)
        p, q = (
            np.exp(model.open().logits(tokens, 500).astype(np.float64)) for model in (pair.target, pair.draft)
        )
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        return float(np.minimum(p, q).sum(-1).mean())

    overlaps = [overlap(noise) for noise in (0.0, 0.25, 0.5, 1.0, 2.0)]
    assert overlaps[0] == pytest.approx(1.0, abs=1e-12)
    assert overlaps == sorted(overlaps, reverse=True)
    assert overlaps[2] == pytest.approx(0.82, abs=0.02)


def test_logits_have_the_scale_asked_for() -> None:
    """The hash behaves like independent noise: mean 0, the given standard deviation, no link between ids."""
    tokens = np.random.default_rng(1).integers(0, 256, 400).tolist()
    logits = SyntheticModel(vocab_size=256, seed=5, scale=2.0).open().logits(tokens, 400).astype(np.float64)
    assert abs(logits.mean()) < 0.02
    assert logits.std() == pytest.approx(2.0, rel=0.02)
    assert abs(np.corrcoef(logits[:, 0], logits[:, 1])[0, 1]) < 0.2
    assert abs(np.corrcoef(logits[0], logits[1])[0, 1]) < 0.2


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(1, 8))
def test_rational_probabilities_are_exact(tokens: list[int], bits: int) -> None:
    """Weights are whole numbers that sum to 2**bits, and softmax of the logits gives them back."""
    model = RationalModel(vocab_size=7, seed=1, bits=bits)
    probabilities = model.probabilities(tokens)
    assert sum(probabilities) == 1
    assert all((probability * 2**bits).denominator == 1 for probability in probabilities)
    weights = np.exp(model.open().logits(tokens, 1)[0].astype(np.float64))
    assert [Fraction(round(weight), 2**bits) for weight in weights] == probabilities


@pytest.mark.parametrize("rows, tokens", [(0, [1]), (2, [1]), (1, [])])
def test_rows_out_of_bounds_are_refused(rows: int, tokens: list[int]) -> None:
    """A context answers for 1 to all of the tokens."""
    with pytest.raises(ValueError, match="needs 1 <= rows <= tokens"):
        SyntheticModel(vocab_size=4).open().logits(tokens, rows)


def test_impossible_settings_are_refused() -> None:
    """Fields are checked on construction, with the value in the message."""
    with pytest.raises(ValueError, match="vocab_size is 1"):
        SyntheticModel(vocab_size=1)
    with pytest.raises(ValueError, match=r"noise -0\.5"):
        SyntheticModel(vocab_size=4, noise=-0.5)
    with pytest.raises(ValueError, match="order is 0"):
        SyntheticModel(vocab_size=4, order=0)
    with pytest.raises(ValueError, match="bits 17"):
        RationalModel(vocab_size=4, bits=17)


@given(st.lists(st.integers(0, 5999), min_size=1))
def test_words_come_back_as_their_ids(ids: list[int]) -> None:
    """What the tokenizer has written it reads as the same ids, and pieces join to the whole."""
    tokenizer = SyntheticTokenizer(6000)
    assert tokenizer.encode_prompt(tokenizer.decode(ids)) == ids
    assert "".join(tokenizer.decode([token]) for token in ids) == tokenizer.decode(ids)


@given(st.text(), st.integers(2, 100))
def test_any_prompt_can_be_encoded(text: str, vocab_size: int) -> None:
    """Every text becomes at least one id of the vocabulary."""
    ids = SyntheticTokenizer(vocab_size).encode_prompt(text)
    assert ids
    assert all(0 <= token < vocab_size for token in ids)


def test_the_fingerprint_is_that_of_the_size() -> None:
    """Two ends of one size match; another size does not."""
    assert SyntheticTokenizer(64).fingerprint == SyntheticTokenizer(64, eos_ids=frozenset({1})).fingerprint
    assert SyntheticTokenizer(64).fingerprint != SyntheticTokenizer(65).fingerprint
    assert len(SyntheticTokenizer(64).fingerprint) == 8


def test_the_golden_digest_is_made_of_this_code() -> None:
    """The digest of the other processes is that of this one."""
    tokens = [5, 0, 3, 3, 1, 4, 2, 5]
    models = (SyntheticModel(vocab_size=64, seed=1, noise=0.5), RationalModel(vocab_size=6, seed=-1))
    digest = hashlib.sha256(b"".join(model.open().logits(tokens, 8).tobytes() for model in models))
    assert digest.hexdigest() == GOLDEN
