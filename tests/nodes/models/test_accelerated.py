"""The K largest by torch, where the logits lie: the same as by numpy on the host."""

from collections.abc import Sequence
from dataclasses import replace
from math import log2

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

from draftwire.codecs.errors import LocalError
from draftwire.codecs.messages import Plan, Sampling
from draftwire.codecs.rows import tail_of
from draftwire.nodes.device.drafter import draw_block
from draftwire.nodes.models import accelerated, huggingface, loading, tiny
from draftwire.nodes.models.accelerated import top_of
from draftwire.nodes.models.base import Context, Top, TopContext, UnsupportedModelError
from draftwire.nodes.models.huggingface import AcceleratedContext, HuggingFaceModel
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import row_of
from draftwire.nodes.speculation.topk import left_out_mass, top_k
from draftwire.runtime.session.request import Block, DraftWork, Request

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    torch.set_num_threads(1)
    return loading.load(str(tiny.write_pair(tmp_path_factory.mktemp("tiny")).draft))


def on_accelerator(model: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model open the contexts that it would there."""
    monkeypatch.setattr(model, "open", lambda: AcceleratedContext(model))


def drawn(context: Context, *, k: int, temperature: float, vocab_size: int) -> Block:
    """A block of four behind three tokens."""
    sampling = Sampling(temperature=temperature)
    return draw_block(
        DraftWork(
            tokens=[1, 70, 80], draft_epoch=3, length=4, plan=Plan(number=1, k=k, gamma=4, min_draft=4)
        ),
        Request(prompt=(1, 70, 80), sampling=sampling, seed=5, max_new_tokens=9),
        context,
        support=None,
        vocab_size=vocab_size,
        noise=PhiloxNoise(),
    )


# ---------------------------------------------------------------------------------------------- a row


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.sampled_from([1e-30, 0.3, 1.0, 2.5, 1e30]),
)
def test_torch_finds_what_numpy_finds(
    seed: int, v: int, k: int, dtype: torch.dtype, coarse: bool, temperature: float
) -> None:
    """The same columns, ties included, the same logits, the same tail; in any float type."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, v) if coarse else rng.normal(0, 3, v)
    if coarse and v > 1:
        values = np.where(rng.random(v) < 0.2, -np.inf, values)
        values[rng.integers(v)] = 0.0  # something has mass
    row = torch.from_numpy(values).to(dtype)
    logits: NDArray[np.float32] = row.float().numpy()
    columns = top_k(logits, k)
    left_out = left_out_mass(logits, columns, temperature)
    top = top_of(row, k=k, temperature=temperature)
    assert top.columns.tolist() == columns.tolist()
    assert top.logits.dtype == np.float32
    assert top.logits.tolist() == logits[columns].tolist()
    assert top.left_out == pytest.approx(left_out, rel=2e-4, abs=1e-30)
    if left_out == 0 or abs((-4 * log2(left_out)) % 1 - 0.5) > 0.002:  # a step's edge may fall to either side
        assert tail_of(top.left_out) == tail_of(left_out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_have_no_row(wrong: float, dtype: torch.dtype) -> None:
    """As on the host: they are among the K, and the error names the logarithms."""
    row = torch.tensor([0.0, wrong, 1.0, 0.5], dtype=dtype)
    top = top_of(row, k=2, temperature=1.0)
    assert 1 in top.columns
    with np.errstate(invalid="ignore"), pytest.raises(LocalError, match="log_weights"):
        row_of(top.columns, top.logits, None, left_out=top.left_out, temperature=1.0, vocab_size=4)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, float("inf"), float("-inf"), float("nan")]), min_size=1, max_size=30),
    st.integers(1, 30),
    st.sampled_from(DTYPES),
)
def test_no_number_is_the_largest_and_the_first_of_them(
    values: list[float], k: int, dtype: torch.dtype
) -> None:
    """NaN stands above infinity, and of several the first are taken: both find the same columns."""
    logits = np.array(values, np.float32)
    top = top_of(torch.tensor(values, dtype=dtype), k=k, temperature=1.0)
    assert top.columns.tolist() == top_k(logits, k).tolist()


class Fixed:
    """A context that has the same logits behind any tokens."""

    def __init__(self, row: list[float]) -> None:
        self.row = row

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """As Context."""
        return np.array([self.row], np.float32)

    def close(self) -> None:
        """As Context."""


class FixedElsewhere(Fixed):
    """The same on an accelerator."""

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """As TopContext."""
        return top_of(torch.tensor(self.row), k=k, temperature=temperature)


@pytest.mark.parametrize("make", [Fixed, FixedElsewhere])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "row",
    [[0.0, float("nan"), 1.0, 2.0], [0.0, float("inf"), 1.0, 2.0], [float("-inf")] * 4],
    ids=["nan", "inf", "nothing"],
)
def test_what_is_no_number_is_not_drafted(row: list[float], temperature: float, make: type[Fixed]) -> None:
    """The error names the model's logits, the place and a remedy: at any temperature, on any device."""
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(UnsupportedModelError, match=r"largest logit for token 3 is -?(nan|inf).*--dtype"),
    ):
        drawn(make(row), k=2, temperature=temperature, vocab_size=4)


def test_only_what_was_asked_for_leaves_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """K logits and two sums."""
    on_host, sizes = accelerated.on_host, list[int]()

    def counted(rows: torch.Tensor) -> NDArray[np.float32]:
        sizes.append(rows.numel())
        return on_host(rows)

    monkeypatch.setattr(accelerated, "on_host", counted)
    row = torch.randn(4096, generator=torch.Generator().manual_seed(1))
    for k, temperature, most in ((32, 1.0, 34), (1, 0.0, 1)):
        sizes.clear()
        assert len(top_of(row, k=k, temperature=temperature).columns) == k
        assert sum(sizes) == most


# ------------------------------------------------------------------------------------------- contexts


@pytest.mark.parametrize("device, has_top", [("cpu", False), ("cuda", True), ("mps", True)])
def test_contexts_find_the_largest_where_the_model_runs(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, device: str, has_top: bool
) -> None:
    """On the CPU numpy does it."""
    monkeypatch.setattr(llama, "_device", torch.device(device))
    assert isinstance(llama.open(), TopContext) is has_top


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("k", [1, 8, 300])
def test_an_accelerator_draws_the_same_block(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, k: int, temperature: float
) -> None:
    """The same ids from the same rows, and no whole row comes to the host."""
    size = llama.vocab_size
    expected = drawn(llama.open(), k=k, temperature=temperature, vocab_size=size)
    context = AcceleratedContext(llama)
    monkeypatch.delattr(huggingface, "on_host")
    block = drawn(context, k=k, temperature=temperature, vocab_size=size)
    assert block.chances == pytest.approx(expected.chances, rel=1e-5)
    assert replace(block, chances=()) == replace(expected, chances=())
    assert len(expected.rows) == (4 if temperature else 0)


def test_a_long_prompt_is_read_in_chunks(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is the last row's."""
    monkeypatch.setattr(huggingface, "PREFILL_CHUNK", 4)
    tokens = [1, *range(60, 80)]
    logits = llama.open().logits(tokens, 1)[0]
    top = AcceleratedContext(llama).top(tokens, k=5, columns=llama.vocab_size, temperature=1.0)
    assert top.columns.tolist() == top_k(logits, 5).tolist()


def test_wrong_questions_are_refused(llama: HuggingFaceModel) -> None:
    """As `logits` refuses them."""
    context = AcceleratedContext(llama)
    with pytest.raises(ValueError, match=r"needs [01] <= rows <= tokens"):
        context.top([], k=1, columns=9, temperature=1.0)
    context.close()
    with pytest.raises(ValueError, match="closed context"):
        context.top([1], k=1, columns=9, temperature=1.0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_columns_that_stand_for_no_token_count_nowhere(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """A padded head: neither among the largest nor in the mass left out, on the host and elsewhere."""
    size, context = 40, llama.open()
    logits = context.logits([1, 70, 80], 1)[0]
    assert logits.argmax() >= size, "this pair's first row has to be cut where it matters"
    on_cpu = drawn(fitted(llama, size).open(), k=8, temperature=temperature, vocab_size=size)
    on_accelerator(llama, monkeypatch)
    cut = fitted(llama, size).open()
    assert isinstance(cut, TopContext)
    assert max(on_cpu.ids) < size
    block = drawn(cut, k=8, temperature=temperature, vocab_size=size)
    assert block.chances == pytest.approx(on_cpu.chances, rel=1e-5)
    assert replace(block, chances=()) == replace(on_cpu, chances=())
    top = cut.top([1, 70, 80], k=8, columns=llama.vocab_size, temperature=1.0)
    assert top.left_out == pytest.approx(left_out_mass(logits[:size], top.columns, 1.0), rel=1e-4)
    cut.close()


def test_a_support_names_the_ids_of_columns() -> None:
    """Where a draft predicts a part of the vocabulary, on an accelerator as on the host."""

    class Drafted:
        """Logits of three columns."""

        def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
            """As Context."""
            return np.array([[1.0, 0.0, 2.0]], np.float32)

        def close(self) -> None:
            """As Context."""

    class Found(Drafted):
        """The same elsewhere."""

        def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
            """As TopContext."""
            row = torch.from_numpy(self.logits(tokens, 1)[0])
            assert columns == len(row)
            return top_of(row, k=k, temperature=temperature)

    blocks = []
    for context, temperature in ((Drafted(), 0.0), (Found(), 0.0), (Drafted(), 1.0), (Found(), 1.0)):
        blocks.append(
            draw_block(
                DraftWork(
                    tokens=[1], draft_epoch=1, length=3, plan=Plan(number=1, k=2, gamma=3, min_draft=3)
                ),
                Request(prompt=(1,), sampling=Sampling(temperature=temperature), seed=5, max_new_tokens=9),
                context,
                support=np.array([5, 17, 90]),
                vocab_size=100,
                noise=PhiloxNoise(),
            )
        )
    assert blocks[0].chances == pytest.approx(blocks[1].chances, rel=1e-5)
    assert replace(blocks[0], chances=()) == replace(blocks[1], chances=())
    assert blocks[0].ids == (90, 90, 90)
    assert blocks[2] == blocks[3]
    assert blocks[2].rows[0].ids.tolist() == [5, 90]
