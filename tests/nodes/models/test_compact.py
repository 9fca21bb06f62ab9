import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from draftwire.nodes.models.base import LanguageModel, UnsupportedModelError
from draftwire.nodes.models.compact import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CompactDraft,
    CompactShape,
    load,
    save,
)

SHAPE = CompactShape(
    vocab_size=40,
    support_size=23,
    hidden=12,
    layers=2,
    heads=3,
    head_dim=6,
    mlp=20,
    context_length=24,
    rope_theta=100.0,
)
TOKENS = st.lists(st.integers(0, SHAPE.vocab_size - 1), min_size=1, max_size=SHAPE.context_length)


def random_parts(shape: CompactShape) -> tuple[NDArray[np.int64], Tensor, dict[str, Tensor]]:
    """(support, embedding, matrices) as `save` takes them."""
    noise = torch.Generator().manual_seed(7)
    support = torch.randperm(shape.vocab_size, generator=noise)[: shape.support_size].sort().values
    matrices = {
        name: torch.randn(size, generator=noise) * size[-1] ** -0.5
        for name, (_, size) in shape.tensors().items()
        if name == "head" or name.startswith("layers.")
    }
    return support.numpy(), torch.randn(shape.vocab_size, shape.hidden, generator=noise), matrices


def write(folder: Path, shape: CompactShape = SHAPE) -> Path:
    """A folder with a random draft."""
    support, embedding, matrices = random_parts(shape)
    save(folder, shape, support=support, embedding=embedding, matrices=matrices)
    return folder


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> CompactDraft:
    """A tiny random draft that came from a file."""
    return load(write(tmp_path_factory.mktemp("draft")))


def by_definition(folder: Path, tokens: list[int]) -> NDArray[np.float64]:
    """Logits [len(tokens), R] as the format defines them: the whole sequence at once, in double precision."""
    shape = CompactShape(**json.loads((folder / CONFIG_FILE).read_text())["shape"])
    tensors = {name: tensor.double().numpy() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    table = np.zeros((shape.vocab_size, shape.hidden))
    support = tensors["support"].astype(np.int64)
    rest = np.setdiff1d(np.arange(shape.vocab_size), support)
    stored = torch.from_numpy(tensors["embedding.rest"] * tensors["embedding.rest_scale"][:, None])
    table[rest] = stored.to(torch.bfloat16).double().numpy()
    table[support] = tensors["embedding.support"]
    t, heads, width = len(tokens), shape.heads, shape.head_dim

    def normalised(x: NDArray[np.float64]) -> NDArray[np.float64]:
        unit: NDArray[np.float64] = x / np.sqrt((x**2).mean(-1, keepdims=True))
        return unit

    def turned(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pairs (2i, 2i + 1) of each head, turned by the position times a frequency."""
        angle = np.arange(t)[:, None] * shape.rope_theta ** (-np.arange(0, width, 2) / width)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    x = table[tokens]
    for i in range(shape.layers):
        q, k, v = (normalised(x) @ tensors[f"layers.{i}.qkv"].T).reshape(t, 3, heads, width).swapaxes(0, 1)
        scores = np.einsum("shd,thd->hst", turned(q), turned(k)) / math.sqrt(width)
        scores[:, np.triu(np.ones((t, t), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + np.einsum("hst,thd->shd", weights, v).reshape(t, -1) @ tensors[f"layers.{i}.o"].T
        gate, up = np.split(normalised(x) @ tensors[f"layers.{i}.gate_up"].T, 2, axis=-1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ tensors[f"layers.{i}.down"].T
    logits: NDArray[np.float64] = normalised(x) @ tensors["head"].T
    return logits


def test_a_compact_draft_is_a_language_model(draft: CompactDraft) -> None:
    """Nodes can use it through the interface alone."""
    model: LanguageModel = draft
    assert (model.vocab_size, model.context_length) == (SHAPE.vocab_size, SHAPE.context_length)
    assert model.support is not None
    assert model.support.dtype == np.int64
    assert np.array_equal(model.support, random_parts(SHAPE)[0])


def test_logits_are_what_the_format_defines(tmp_path: Path) -> None:
    """The straight-line code computes the network that the file format describes."""
    folder = write(tmp_path)
    tokens = [3, 17, 39, 0, 3, 3, 21, 8, 30, 11, 5]
    context = load(folder).open()
    logits = context.logits(tokens, len(tokens))
    assert logits.dtype == np.float32
    assert np.allclose(logits, by_definition(folder, tokens), rtol=1e-4, atol=1e-4)


@given(data=st.data(), steps=st.lists(TOKENS, min_size=1, max_size=6))
def test_what_a_context_has_seen_never_shows(
    draft: CompactDraft, data: st.DataObject, steps: list[list[int]]
) -> None:
    """After any sequence of roll-backs, every row equals that of a fresh context, to the last bit."""
    context = draft.open()
    before: list[int] = []
    for new in steps:
        kept = data.draw(st.integers(0, len(before)), label="kept")
        tokens = (before[:kept] + new)[: SHAPE.context_length]
        rows = data.draw(st.integers(1, len(tokens)), label="rows")
        fresh = draft.open()
        assert np.array_equal(context.logits(tokens, rows), fresh.logits(tokens, rows))
        before = tokens


@given(tokens=TOKENS)
def test_rows_do_not_depend_on_how_many_are_asked_for(draft: CompactDraft, tokens: list[int]) -> None:
    """Asking for all rows at once gives the same bits as asking for them one by one."""
    together = draft.open().logits(tokens, len(tokens))
    context = draft.open()
    for end in range(1, len(tokens) + 1):
        assert np.array_equal(context.logits(tokens[:end], 1)[0], together[end - 1])


def test_contexts_do_not_disturb_each_other(draft: CompactDraft) -> None:
    """Two contexts of one draft, used in turns, answer as if they were alone."""
    first, second = draft.open(), draft.open()
    first.logits([1, 2, 3], 1)
    second.logits([3, 2, 1], 1)
    assert np.array_equal(first.logits([1, 2, 3, 4], 1), draft.open().logits([1, 2, 3, 4], 1))


def test_a_full_context_answers_and_one_more_token_is_refused(draft: CompactDraft) -> None:
    """The last position of the context length works; the next is an error that names the limit."""
    tokens = [5] * SHAPE.context_length
    context = draft.open()
    assert context.logits(tokens, 1).shape == (1, SHAPE.support_size)
    with pytest.raises(ValueError, match="24"):
        context.logits([*tokens, 5], 1)


@pytest.mark.parametrize(("tokens", "rows"), [([], 1), ([1, 2], 0), ([1, 2], 3), ([1, 40], 1), ([1, -1], 1)])
def test_impossible_questions_are_refused_and_change_nothing(
    draft: CompactDraft, tokens: list[int], rows: int
) -> None:
    """No rows, more rows than tokens, ids outside the vocabulary: ValueError, and the context goes on."""
    context = draft.open()
    context.logits([1, 2, 3], 1)
    with pytest.raises(ValueError, match=r"needs|vocabulary"):
        context.logits(tokens, rows)
    assert np.array_equal(context.logits([1, 2, 3, 4], 2), draft.open().logits([1, 2, 3, 4], 2))


def test_a_closed_context_says_so(draft: CompactDraft) -> None:
    """Closing twice is fine; asking afterwards is an error."""
    context = draft.open()
    context.close()
    context.close()
    with pytest.raises(ValueError, match="closed"):
        context.logits([1], 1)


def test_trained_weights_survive_the_file_in_bf16_and_other_rows_in_int8(tmp_path: Path) -> None:
    """What learned is kept to bf16; a frozen row is off by half a step of its own scale at most."""
    support, embedding, matrices = random_parts(SHAPE)
    stored = load_file(write(tmp_path) / WEIGHTS_FILE)
    for name, matrix in matrices.items():
        assert torch.equal(stored[name], matrix.to(torch.bfloat16))
    assert torch.equal(stored["embedding.support"], embedding[torch.from_numpy(support)].to(torch.bfloat16))
    rest = torch.from_numpy(np.setdiff1d(np.arange(SHAPE.vocab_size), support))
    scale = stored["embedding.rest_scale"][:, None]
    error = (stored["embedding.rest"] * scale - embedding[rest]).abs()
    assert (error <= scale * 0.5001).all()


def test_a_whole_head_has_no_support(tmp_path: Path) -> None:
    """Where every id can be predicted, columns are ids."""
    shape = CompactShape(**{**vars_of(SHAPE), "support_size": SHAPE.vocab_size})
    loaded = load(write(tmp_path, shape))
    assert loaded.support is None
    assert loaded.open().logits([1, 2], 2).shape == (2, SHAPE.vocab_size)


def vars_of(shape: CompactShape) -> dict[str, Any]:
    """The fields of a shape."""
    return {name: getattr(shape, name) for name in CompactShape.__slots__}


def edit_config(**changes: Any) -> Callable[[Path], None]:
    """Change top-level values of a draft's config."""

    def apply(folder: Path) -> None:
        path = folder / CONFIG_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def edit_shape(**changes: Any) -> Callable[[Path], None]:
    """Change a draft's described shape."""
    return edit_config(shape={**vars_of(SHAPE), **changes})


def edit_tensor(name: str, change: Callable[[Tensor], Tensor | None]) -> Callable[[Path], None]:
    """Change or drop a tensor of a draft."""

    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS_FILE)
        new = change(tensors.pop(name))
        save_file(tensors if new is None else {**tensors, name: new}, folder / WEIGHTS_FILE)

    return apply


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / CONFIG_FILE).unlink(), CONFIG_FILE),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), WEIGHTS_FILE),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), CONFIG_FILE),
        (lambda folder: (folder / CONFIG_FILE).write_text("[]"), "format"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b"\x08" + bytes(30)), WEIGHTS_FILE),
        (edit_config(format="llama"), "format"),
        (edit_config(format_version=2), "format_version"),
        (edit_config(shape={}), "vocab_size"),
        (edit_shape(layers=3), "layers.2.qkv"),
        (edit_shape(hidden=14), "embedding.support"),
        (edit_shape(hidden=0), "hidden"),
        (edit_shape(hidden="12"), "hidden"),
        (edit_shape(mlp=20.5), "mlp"),
        (edit_shape(head_dim=5), "head_dim"),
        (edit_shape(support_size=41), "support_size"),
        (edit_tensor("head", lambda head: None), "head"),
        (edit_tensor("head", lambda head: head[:, 1:].contiguous()), "head"),
        (edit_tensor("layers.1.o", lambda o: o.float()), "layers.1.o"),
        (edit_tensor("support", lambda ids: ids.flip(0)), "support"),
        (edit_tensor("support", lambda ids: ids + 30), "support"),
    ],
)
def test_damaged_files_are_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], named: str
) -> None:
    """A missing, foreign, newer or misshapen file is an UnsupportedModelError that names the part."""
    folder = write(tmp_path)
    damage(folder)
    with pytest.raises(UnsupportedModelError, match=named):
        load(folder)


def test_save_refuses_matrices_that_are_not_the_shape_s(tmp_path: Path) -> None:
    """A forgotten or unknown matrix is named before anything is written."""
    support, embedding, matrices = random_parts(SHAPE)
    del matrices["layers.1.down"]
    with pytest.raises(UnsupportedModelError, match=r"layers\.1\.down"):
        save(tmp_path / "new", SHAPE, support=support, embedding=embedding, matrices=matrices)
    assert not (tmp_path / "new").exists()
