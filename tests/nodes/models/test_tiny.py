"""Tiny pairs: real files, the same bytes from the same seed, as far apart as the noise says."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from draftwire.nodes.models import loading, tiny


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_bytes_depend_on_seed_and_noise_alone(tmp_path: Path) -> None:
    """Written twice, the same files; another seed, other models; another noise, another draft only."""
    first = tiny.write_pair(tmp_path / "a", seed=5, noise=0.3)
    tiny.write_pair(tmp_path / "b", seed=5, noise=0.3)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    noisier = tiny.write_pair(tmp_path / "c", seed=5, noise=0.4)
    assert digests(first.target) == digests(noisier.target)
    assert digests(first.draft) != digests(noisier.draft)
    assert digests(tiny.write_pair(tmp_path / "d", seed=6).target) != digests(first.target)


def test_noise_sets_how_often_the_draft_is_right(tmp_path: Path) -> None:
    """Without noise the draft is the target; the overlap of q and p falls as noise grows."""
    torch.set_num_threads(1)
    tokens = np.random.default_rng(0).integers(0, tiny.VOCABULARY, 300).tolist()

    def overlap(noise: float) -> float:
        pair = tiny.write_pair(tmp_path / str(noise), noise=noise)
        p, q = (
            np.exp(loading.load(str(folder)).open().logits(tokens, 300).astype(np.float64))
            for folder in (pair.target, pair.draft)
        )
        return float(np.minimum(p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)).sum(-1).mean())

    exact, near, far = overlap(0.0), overlap(0.2), overlap(0.5)
    assert exact == pytest.approx(1.0, abs=1e-6)
    assert near == pytest.approx(0.71, abs=0.05)
    assert far == pytest.approx(0.40, abs=0.05)


def test_a_cached_pair_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call finds the first one's files; nothing partial is left beside them."""
    monkeypatch.setenv("DRAFTWIRE_CACHE", str(tmp_path))
    pair = tiny.cached_pair(seed=1, noise=0.25)
    before = digests(tmp_path)
    monkeypatch.setattr(tiny, "write_pair", None)  # calling it would fail
    assert tiny.cached_pair(seed=1, noise=0.25) == pair
    assert digests(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [pair.target.parent.name]


def test_a_failed_write_leaves_nothing_to_be_taken_for_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or an interrupt in the middle is cleaned up, and the next call starts over."""
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "write_tokenizer", None)
        with pytest.raises(TypeError):
            tiny.cached_pair(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tiny.cached_pair(cache=tmp_path).draft.is_dir()


def test_negative_noise_is_refused(tmp_path: Path) -> None:
    """The value is in the message."""
    with pytest.raises(ValueError, match=r"noise is -0\.1"):
        tiny.write_pair(tmp_path, noise=-0.1)
