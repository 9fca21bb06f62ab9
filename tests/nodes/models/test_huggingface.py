"""Contexts of transformers' models: what they were asked before, and with whom, never shows in a number."""

from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from tests.harness.families import assert_same, random_model

from draftwire.nodes.models import huggingface, kv_slots, loading, tiny
from draftwire.nodes.models.base import Ask, PackingModel, answers
from draftwire.nodes.models.huggingface import HuggingFaceContext, HuggingFaceModel
from draftwire.nodes.models.vocabulary import fitted


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    return loading.load(str(tiny.write_pair(tmp_path_factory.mktemp("tiny")).target))


@pytest.fixture(scope="module")
def windowed() -> HuggingFaceModel:
    """Sliding windows in two layers of three, softcapped scores."""
    fields = {"sliding_window": 6, "attn_logit_softcapping": 5.0, "max_position_embeddings": 1024}
    return HuggingFaceModel(random_model("gemma2", fields), name="windowed")


@pytest.fixture
def passes(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """New positions of each forward."""
    seen: list[int] = []
    forward = llama._model.forward

    def counted(*, input_ids: torch.Tensor, **settings: Any) -> Any:
        seen.append(input_ids.shape[1])
        return forward(input_ids=input_ids, **settings)

    monkeypatch.setattr(llama._model, "forward", counted)
    yield seen


def held_bytes(context: HuggingFaceContext) -> int:
    """What its tensors take."""
    return sum(
        tensor.untyped_storage().nbytes()
        for held in context.slot.layers.values()
        for tensor in (held.keys, held.values)
    )


def fresh(model: HuggingFaceModel, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
    """From a context that has seen nothing else."""
    context = model.open()
    logits = context.logits(tokens, rows)
    context.close()
    return logits


def ids(seed: int, count: int, model: HuggingFaceModel) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, model.vocab_size, count)]


# -------------------------------------------------------------------------------------- one context


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_gives_the_logits_of_a_fresh_context(
    llama: HuggingFaceModel, data: st.DataObject
) -> None:
    """Extending, rolling back, replacing and asking again never show in the numbers."""
    some = st.integers(0, llama.vocab_size - 1)
    context = llama.open()
    tokens: list[int] = []
    for _ in range(data.draw(st.integers(1, 6))):
        kept = data.draw(st.integers(0, len(tokens)))
        added = data.draw(st.lists(some, min_size=0 if kept else 1, max_size=9))
        tokens = [*tokens[:kept], *added]
        rows = data.draw(st.integers(1, len(tokens)))
        logits = context.logits(tokens, rows)
        assert logits.shape == (rows, llama.vocab_size)
        assert logits.dtype == np.float32
        assert_same(logits, fresh(llama, tokens, rows))
    context.close()


@pytest.mark.parametrize("length, rows", [(5, 1), (8, 8), (9, 1), (9, 2), (23, 1), (23, 10), (23, 23)])
def test_long_prompts_are_read_in_chunks(
    llama: HuggingFaceModel, passes: list[int], monkeypatch: pytest.MonkeyPatch, length: int, rows: int
) -> None:
    """Whatever part of the rows falls into whichever chunk, they are those of one pass."""
    tokens = ids(length, length, llama)
    expected = fresh(llama, tokens, rows)
    passes.clear()
    monkeypatch.setattr(huggingface, "PREFILL_CHUNK", 8)
    logits = llama.open().logits(tokens, rows)
    assert max(passes) <= 8
    assert sum(passes) == length
    assert_same(logits, expected)


def test_only_what_differs_is_computed(llama: HuggingFaceModel, passes: list[int]) -> None:
    """A step costs its new tokens, and asking again costs the rows asked for."""
    context = llama.open()
    context.logits([1, 2, 3, 4, 5], 1)
    context.logits([1, 2, 3, 4, 5, 6], 1)  # one more
    context.logits([1, 2, 3, 9, 8], 2)  # roll back to 3, two new
    context.logits([1, 2, 3, 9, 8], 1)  # nothing new: the last once more
    context.logits([1, 2, 3, 9, 8, 7], 4)  # one new, three rows of old ones
    context.logits([7], 1)  # nothing in common
    assert passes == [5, 1, 2, 1, 4, 1]


def test_wrong_questions_are_refused_and_harm_nothing(llama: HuggingFaceModel) -> None:
    """Rows or ids out of range are a ValueError that names the bounds; the context goes on."""
    context = llama.open()
    before = context.logits([1, 2, 3], 1)
    for tokens, rows in (([], 0), ([1], 0), ([1], 2), ([0] * (llama.context_length + 1), 1)):
        with pytest.raises(ValueError, match=r"needs [01] <= rows <= tokens <= 1024"):
            context.logits(tokens, rows)
    for wrong in (-1, llama.vocab_size):
        with pytest.raises(ValueError, match=r"ids must lie in 0 \.\. 258"):
            context.logits([1, 2, wrong], 1)
    assert_same(context.logits([1, 2, 3], 1), before)
    context.close()
    context.close()
    with pytest.raises(ValueError, match="closed context"):
        context.logits([1], 1)


def test_a_context_grows_past_the_steps_of_its_capacity(windowed: HuggingFaceModel) -> None:
    """Token by token across 256 and 512, and in one go: the same, and the memory is what is promised."""
    tokens = ids(4, 520, windowed)
    context = windowed.open()
    for length in (250, 255, 256, 257, 260, 511, 512, 513, 520):
        logits = context.logits(tokens[:length], 3)
        assert_same(logits, fresh(windowed, tokens[:length], 3))
        assert held_bytes(context) == windowed.kv_bytes(length)


def test_memory_is_exact_and_returns(llama: HuggingFaceModel) -> None:
    """`kv_bytes` counts 2 x layers x heads x width x 4 bytes for each token of a whole step of 256."""
    token = 2 * tiny.LAYERS * tiny.KV_HEADS * (tiny.HIDDEN // tiny.HEADS) * 4
    wanted = {0: 0, 1: 256, 256: 256, 257: 512, 1024: 1024}
    assert {tokens: llama.kv_bytes(tokens) for tokens in wanted} == {
        tokens: capacity * token for tokens, capacity in wanted.items()
    }
    context = llama.open()
    assert held_bytes(context) == 0
    context.logits([1] * 300, 1)
    assert held_bytes(context) == 512 * token
    context.close()
    assert held_bytes(context) == 0


# -------------------------------------------------------------------------------------- many contexts


@settings(max_examples=40, deadline=None)
@given(data=st.data(), family=st.sampled_from(["llama", "windowed"]))
def test_any_schedule_equals_fresh_prefill(
    llama: HuggingFaceModel, windowed: HuggingFaceModel, data: st.DataObject, family: str
) -> None:
    """Passes over any of several contexts, rejections, closes and reopens: each answers as a fresh one."""
    model = {"llama": llama, "windowed": windowed}[family]
    some = st.integers(0, model.vocab_size - 1)
    contexts = [model.open() for _ in range(4)]
    texts: list[list[int]] = [[] for _ in contexts]
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            evicted = data.draw(st.integers(0, 3))
            contexts[evicted].close()
            contexts[evicted] = model.open()
        asked = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
        asks = []
        for index in asked:
            kept = data.draw(st.integers(0, len(texts[index])))
            added = data.draw(st.lists(some, max_size=20))
            texts[index] = [*texts[index][:kept], *added]
            rows = data.draw(st.integers(0, len(texts[index])))
            asks.append(Ask(context=contexts[index], tokens=texts[index], rows=rows))
        for ask, found in zip(asks, model.together(asks), strict=True):
            assert found.shape == (ask.rows, model.vocab_size)
            if ask.rows:
                assert_same(found, fresh(model, ask.tokens, ask.rows))


def test_a_pass_is_one_forward(llama: HuggingFaceModel, passes: list[int]) -> None:
    """All new tokens of all contexts lie in it, and those that need logits again."""
    contexts = [llama.open() for _ in range(3)]
    llama.together([Ask(context=one, tokens=[1, 2, 3], rows=0) for one in contexts])
    llama.together(
        [
            Ask(context=contexts[0], tokens=[1, 2, 3, 4, 5], rows=2),
            Ask(context=contexts[1], tokens=[1, 9], rows=1),
            Ask(context=contexts[2], tokens=[1, 2, 3], rows=2),
        ]
    )
    llama.together([Ask(context=contexts[0], tokens=[1, 2, 3], rows=0)])  # roll-back alone costs nothing
    assert passes == [9, 2 + 1 + 2]


def test_rows_are_the_same_where_the_head_meets_all(llama: HuggingFaceModel) -> None:
    """A model over several devices, or one that can't be told which logits are wanted, is cut behind it."""
    raw = loading.load(llama.name).wrapped
    raw.set_attn_implementation("sdpa")
    raw.hf_device_map = {"first": "cpu", "second": "elsewhere"}
    spread = HuggingFaceModel(raw, name="spread")
    heads: list[int] = []
    raw.lm_head.register_forward_hook(lambda module, inputs, output: heads.append(output.shape[1]))
    texts = [[1, 2, 3, 4, 5], [7, 8, 9]]
    found = spread.together(
        [Ask(context=spread.open(), tokens=text, rows=rows) for text, rows in zip(texts, (1, 2), strict=True)]
    )
    assert heads == [8]
    for text, rows in zip(texts, found, strict=True):
        assert_same(rows, fresh(llama, text, len(rows)))


def test_a_long_text_beside_others_is_read_in_chunks(
    llama: HuggingFaceModel, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its rows, wherever they fall."""
    texts = [ids(1, 21, llama), ids(2, 3, llama), ids(3, 9, llama)]
    rows = [10, 2, 0]
    expected = [fresh(llama, text, max(count, 1))[:count] for text, count in zip(texts, rows, strict=True)]
    passes.clear()
    monkeypatch.setattr(huggingface, "PREFILL_CHUNK", 8)
    asks = [
        Ask(context=llama.open(), tokens=text, rows=count) for text, count in zip(texts, rows, strict=True)
    ]
    for found, own in zip(llama.together(asks), expected, strict=True):
        assert found.shape == own.shape
        if len(own):
            assert_same(found, own)
    assert passes == [8 + 3 + 8, 8 + 1, 5]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda model, context: Ask(context=context, tokens=[1, 2], rows=1), "asked twice in one pass"),
        (lambda model, context: Ask(context=closed(model), tokens=[1], rows=1), "closed context"),
        (lambda model, context: Ask(context=model.open(), tokens=[1], rows=2), "2 rows of 1 tokens"),
        (lambda model, context: Ask(context=model.open(), tokens=[1], rows=-1), "needs 0 <= rows"),
        (lambda model, context: Ask(context=model.open(), tokens=[1] * 1025, rows=1), "tokens <= 1024"),
        (lambda model, context: Ask(context=model.open(), tokens=[1, 259], rows=1), "ids must lie in"),
        (lambda model, context: Ask(context=fitted(model, 9).open(), tokens=[1], rows=1), "another model"),
    ],
)
def test_an_ask_out_of_order_is_refused_before_anything_is_computed(
    llama: HuggingFaceModel, passes: list[int], wrong: Any, message: str
) -> None:
    """The error says what is wrong; the others have not been touched, and go on."""
    context = llama.open()
    context.logits([1, 2, 3], 1)
    passes.clear()
    with pytest.raises(ValueError, match=message):
        llama.together([Ask(context=context, tokens=[1, 2, 3, 4], rows=1), wrong(llama, context)])
    assert not passes
    context.logits([1, 2, 3, 4], 1)
    assert passes == [1]


def closed(model: HuggingFaceModel) -> HuggingFaceContext:
    context = model.open()
    context.close()
    return context


@pytest.mark.parametrize("layer", [0, 1])
def test_a_pass_that_fails_leaves_no_trace(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    """After an error within a pass (no memory, an interrupt) nothing half-written is taken for cached."""
    contexts = [llama.open() for _ in range(2)]
    texts = [[1, 2, 3, 4], [7, 8, 9]]
    llama.together([Ask(context=one, tokens=text, rows=1) for one, text in zip(contexts, texts, strict=True)])
    attend_each = kv_slots.Pass.attend_each

    def breaks(self: kv_slots.Pass, call: kv_slots.Call) -> torch.Tensor:
        out = attend_each(self, call)
        if call.layer == layer:
            raise MemoryError
        return out

    with monkeypatch.context() as patch:
        patch.setattr(kv_slots.Pass, "attend_each", breaks)
        with pytest.raises(MemoryError):
            llama.together(
                [
                    Ask(context=contexts[0], tokens=[1, 2, 60, 61], rows=1),
                    Ask(context=contexts[1], tokens=[7, 8, 9, 62], rows=1),
                ]
            )
    asks = [
        Ask(context=contexts[0], tokens=[1, 2, 3, 4, 5], rows=2),
        Ask(context=contexts[1], tokens=[7, 8, 9, 62], rows=1),
    ]
    for ask, found in zip(asks, llama.together(asks), strict=True):
        assert_same(found, fresh(llama, ask.tokens, ask.rows))


def test_a_slot_that_cannot_grow_harms_nobody(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory for one: the pass is not begun, and all of them answer the next time."""
    contexts = [llama.open() for _ in range(2)]
    texts = [ids(5, 250, llama), ids(6, 20, llama)]
    llama.together([Ask(context=one, tokens=text, rows=0) for one, text in zip(contexts, texts, strict=True)])
    zeros, made = torch.zeros, 0

    def scarce(*size: int, **settings: Any) -> torch.Tensor:
        nonlocal made
        made += 1
        if made == 3:  # the keys of the second layer
            raise MemoryError
        return zeros(*size, **settings)

    longer = [Ask(context=contexts[1], tokens=texts[1] + [5], rows=1)]
    longer.append(Ask(context=contexts[0], tokens=texts[0] + ids(7, 20, llama), rows=1))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", scarce)
        with pytest.raises(MemoryError):
            llama.together(longer)
    for ask, found in zip(longer, llama.together(longer), strict=True):
        assert_same(found, fresh(llama, ask.tokens, ask.rows))


def test_nan_stays_in_its_session(windowed: HuggingFaceModel) -> None:
    """One slot's values are poisoned: its own rows are NaN, and its neighbours' are those of every day."""
    texts = [ids(seed, 40, windowed) for seed in range(3)]
    contexts = [windowed.open() for _ in texts]
    asks = [Ask(context=one, tokens=text[:30], rows=1) for one, text in zip(contexts, texts, strict=True)]
    windowed.together(asks)
    for held in contexts[1].slot.layers.values():
        held.values[:, :, 28] = torch.nan
    found = windowed.together(
        [Ask(context=one, tokens=text, rows=10) for one, text in zip(contexts, texts, strict=True)]
    )
    assert np.isnan(found[1]).all()
    for index in (0, 2):
        assert_same(found[index], fresh(windowed, texts[index], 10))


def test_nan_goes_with_the_tokens_that_it_belongs_to(llama: HuggingFaceModel) -> None:
    """What lies behind a roll-back reaches no later row of the same context either."""
    context = llama.open()
    context.logits([1, 2, 3, 4, 5, 6], 1)
    for held in context.slot.layers.values():
        held.keys[:, :, 3:] = torch.nan
        held.values[:, :, 3:] = torch.nan
    assert_same(context.logits([1, 2, 3, 9], 1), fresh(llama, [1, 2, 3, 9], 1))


def test_fitted_models_share_passes(llama: HuggingFaceModel) -> None:
    """Cut to a vocabulary, a model packs as before; rows have the width that is left."""
    cut = fitted(llama, 200)
    assert isinstance(llama, PackingModel)
    assert isinstance(cut, PackingModel)
    assert cut.kv_bytes(300) == llama.kv_bytes(300)
    asks = [
        Ask(context=cut.open(), tokens=[1, 2, 3], rows=2),
        Ask(context=cut.open(), tokens=[4, 5], rows=0),
    ]
    first, second = answers(cut, asks)
    assert_same(first, fresh(llama, [1, 2, 3], 2)[:, :200])
    assert second.shape == (0, 200)
    with pytest.raises(ValueError, match="another model"):
        cut.together([Ask(context=llama.open(), tokens=[1], rows=1)])
    asks[0].context.close()
    with pytest.raises(ValueError, match="closed context"):
        cut.together(asks)


def test_a_forward_outside_a_pass_says_what_to_ask(llama: HuggingFaceModel) -> None:
    """Whoever calls the wrapped model itself, whose attention is ours, reads what to call."""
    with pytest.raises(RuntimeError, match=r"together or Context\.logits"):
        llama.wrapped(input_ids=torch.tensor([[1, 2, 3]]))
