"""scripts/learn_tables.py: pieces of answers, and a set from them."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from draftwire.codecs.learning import LADDER
from draftwire.nodes.console.tables.passages import Passage
from draftwire.nodes.models.catalogue import load_draft, load_tokenizer
from draftwire.nodes.models.tables import load_tables

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("learn_tables")


def shard(path: Path, *, temperatures: list[float], length: int = 70, seed: int = 0) -> None:
    """Answers of 50 tokens behind prompts of 20, as distil_draft.py leaves them, without the states."""
    support = load_draft("smollm2").support
    assert support is not None
    rng = np.random.default_rng(seed)
    count = len(temperatures)
    tensors = {
        "temperature": torch.tensor(temperatures),
        "length": torch.full((count,), length),
        "answer_start": torch.full((count,), 20),
        "ids": torch.from_numpy(rng.choice(support[:500], count * length).astype(np.int32)),
    }
    save_file(tensors, path)


def test_pieces(script: Any) -> None:
    """Each answer gives 32 rows at most, at a place of its own, until there are as many rows as asked for."""
    answers = [Passage(tokens=tuple(range(100 * n, 100 * n + 80)), start=10) for n in range(5)]
    found = script.pieces([*answers, Passage(tokens=(1, 2, 3), start=1)], rows=100, seed=4)
    assert sum(one.rows for one in found) == 100 and max(one.rows for one in found) == 32
    for one in found:
        assert one.start >= 1 and (one.tokens[0] == 1 or one.start >= 10)
    assert len({one.start for one in found}) > 1
    assert found == script.pieces([*answers, Passage(tokens=(1, 2, 3), start=1)], rows=100, seed=4)


def test_stored_answers(script: Any, tmp_path: Path) -> None:
    """Greedy answers are left out: rows travel above temperature 0 alone. No shards: the way to some."""
    shard(tmp_path / "train-0of1-00000.safetensors", temperatures=[1.0, 0.0, 0.7])
    found = script.stored(tmp_path, "train")
    assert [one.start for one in found] == [20, 20] and all(one.rows == 50 for one in found)
    with pytest.raises(SystemExit, match="generate first"):
        script.stored(tmp_path, "held-out")


@pytest.mark.slow
def test_set_from_stored_answers(script: Any, tmp_path: Path) -> None:
    """From shards to a file: a set for the shipped pair's vocabulary, with all rungs."""
    shard(tmp_path / "train-0of1-00000.safetensors", temperatures=[1.0] * 12)
    shard(tmp_path / "held-out-00000.safetensors", temperatures=[0.7] * 2, seed=1)
    out = tmp_path / "rows.tables"
    assert script.main(["--out", str(out), "--answers", str(tmp_path), "--rows", "300", "--tables", "2"]) == 0
    found = load_tables(out)
    assert found.fingerprint == load_tokenizer("smollm2", end="draft").fingerprint
    assert tuple(rung.k for rung in found.rungs) == LADDER
