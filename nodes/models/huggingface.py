"""Any decoder-only model of transformers as a `PackingModel`, or a reason why not.

A context keeps its keys and values in a slot (kv_slots.py), and one pass computes the new tokens of as many
contexts as are asked. For that a model's attention must be replaced by ours, and its past must be keys and
values alone. Which models are so can't be read off their names: gates stand at load (gates.py), and trial
passes go through them.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from draftwire.nodes.models import gates
from draftwire.nodes.models.accelerated import on_host, top_of
from draftwire.nodes.models.base import Ask, Top, UnsupportedModelError
from draftwire.nodes.models.kv_slots import (
    IMPLEMENTATION,
    Call,
    LayerShape,
    Pass,
    Row,
    Slot,
    attention,
    rounded_up,
    shape_of,
)
from draftwire.nodes.models.prefix import common_prefix

PREFILL_CHUNK: Final = 512
"""Most positions of one context in a pass. Bounds the memory of attention scores while a prompt is read."""

WITNESS_LENGTHS: Final = (7, 12, 19)
"""Tokens in the short rows that are compared at load."""


class HuggingFaceModel:
    """A causal language model of transformers, for one thread at a time. Build one with `loading.load`."""

    def __init__(self, model: Any, *, name: str) -> None:
        """Wraps a loaded model, whose attention is replaced for good, after all gates.

        Raises UnsupportedModelError with the gate's reason.
        """
        gates.refuse_declared(model.config, name=name)
        gates.refuse_stateful(model, name=name)
        self.name = name
        self._model = model.eval()
        self._device = model.get_input_embeddings().weight.device
        # Of a model spread over devices the index would lie on the first one, and the states on the last.
        spread = len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1
        self._keep_argument = not spread and "logits_to_keep" in inspect.signature(model.forward).parameters
        self._ids = int(model.get_input_embeddings().weight.shape[0])
        self._context_length = gates.context_length(model.config)
        self.shapes: dict[int, LayerShape] = {}
        "of layers with attention, by number"
        self._vocab_size = 0
        self._witness()

    @property
    def vocab_size(self) -> int:
        """V: the width of a logits row, which may exceed the tokenizer's vocabulary."""
        return self._vocab_size

    @property
    def context_length(self) -> int:
        """The most tokens the model has positions for."""
        return self._context_length

    @property
    def support(self) -> NDArray[np.int64] | None:
        """None: a row has all V columns."""
        return None

    @property
    def wrapped(self) -> Any:
        """The model of transformers, for who compares with it. Its attention has been replaced."""
        return self._model

    @property
    def dtype(self) -> str:
        """What the weights are held in, for example 'bfloat16'."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def devices(self) -> frozenset[str]:
        """Where its layers lie, as torch names it."""
        return frozenset(str(one.device) for one in self._model.parameters())

    def open(self) -> "HuggingFaceContext":
        """A fresh context; a `TopContext` where the model runs on an accelerator."""
        return HuggingFaceContext(self) if self._device.type == "cpu" else AcceleratedContext(self)

    def kv_bytes(self, tokens: int) -> int:
        """See `PackingModel`. `tokens`: the most that the context was asked about since it was opened."""
        return rounded_up(tokens) * sum(shape.token_bytes for shape in self.shapes.values())

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """See `PackingModel`. One pass, or several where a context lacks more than PREFILL_CHUNK tokens.

        Raises ValueError, before anything is computed, for a context that is closed, foreign or there twice,
        and for positions or ids out of range.
        """
        return [on_host(rows) for rows in self.compute(asks)]

    def compute(self, asks: Sequence[Ask]) -> list[Tensor]:
        """What `together` gives, on the device where it was computed."""
        jobs = [self._checked(ask) for ask in asks]
        if len({id(job.context) for job in jobs}) < len(jobs):
            raise ValueError("a context was asked twice in one pass; each may be asked once")
        for job in jobs:
            job.make_room()
        while waiting := [job for job in jobs if job.next_ids()]:
            rows = torch.split(self._pass(waiting), [job.next_wanted() for job in waiting])
            for job, found in zip(waiting, rows, strict=True):
                job.done(found)
        nothing = torch.empty(0, self._vocab_size)
        return [torch.cat(job.found) if len(job.found) > 1 else [*job.found, nothing][0] for job in jobs]

    @torch.inference_mode()
    def _pass(self, jobs: "Sequence[_Job]") -> Tensor:
        """One forward over the next tokens of all jobs: the logits wanted, one job's behind the other's."""
        ids, places, wanted, rows = list[int](), list[int](), list[int](), list[Row]()
        for job in jobs:
            new, start = job.next_ids(), len(job.context.tokens)
            ids += new
            places += range(start, start + len(new))
            wanted += range(len(ids) - job.next_wanted(), len(ids))
            rows.append(Row(slot=job.context.slot, start=start, count=len(new)))
        kept = torch.tensor(wanted, dtype=torch.int64)  # on the host: it may index tensors of any device
        with attention(Pass(rows).attend_each):
            logits: Tensor = self._model(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=torch.tensor([places], device=self._device),
                use_cache=False,
                return_dict=True,
                **({"logits_to_keep": kept} if self._keep_argument else {}),
            ).logits[0]
        return logits if self._keep_argument else logits[kept]

    def _checked(self, ask: Ask) -> "_Job":
        """The work that it is, none of it begun. Raises ValueError."""
        context, tokens = ask.context, list(ask.tokens)
        if not isinstance(context, HuggingFaceContext) or context.model is not self:
            raise ValueError("a context of another model was asked; open one with this model's open()")
        if context.closed:
            raise ValueError("logits of a closed context")
        if not 0 <= ask.rows <= len(tokens) <= self._context_length:
            raise ValueError(
                f"{ask.rows} rows of {len(tokens)} tokens asked for; "
                f"needs 0 <= rows <= tokens <= {self._context_length}"
            )
        kept = min(common_prefix(context.tokens, tokens), len(tokens) - ask.rows)
        new = tokens[kept:]
        if new and not (min(new) >= 0 and max(new) < self._ids):  # on a GPU they'd take the process down
            raise ValueError(f"ids must lie in 0 .. {self._ids - 1}; got {min(new)} to {max(new)}")
        return _Job(context=context, tokens=tokens, rows=ask.rows, kept=kept)

    def _witness(self) -> None:
        """The gates that look at passes over the real weights, which show what layers keep, and V."""
        rng = np.random.default_rng(0)
        if max(WITNESS_LENGTHS) > self._context_length:
            raise UnsupportedModelError(f"'{self.name}' has only {self._context_length} positions")
        texts = [rng.integers(0, self._ids, length).tolist() for length in WITNESS_LENGTHS]
        wrong = rng.integers(0, self._ids, 3).tolist()
        calls: list[Call] = []
        before = self._model.config._attn_implementation
        try:
            self._model.set_attn_implementation(IMPLEMENTATION)
            with attention(lambda call: _seen(call, calls)):
                self._plain(texts[0])
        except Exception as error:  # any: a model that takes other arguments fails in a way of its own
            raise self._stumbled(error) from None
        gates.refuse_unwitnessed(self._model.config, calls, name=self.name)
        self.shapes = {call.layer: shape_of(call) for call in calls if call.layer is not None}
        try:
            # Transformers 4 leaves softcaps out of torch's attention.
            self._model.set_attn_implementation("eager" if any(call.softcap for call in calls) else before)
            own = [self._plain(text)[-4:] for text in texts]
            self._model.set_attn_implementation(IMPLEMENTATION)
            self._vocab_size = own[0].shape[-1]
            packed, single = self._rolled_back(texts, wrong)
        except Exception as error:
            raise self._stumbled(error) from None
        for fresh, four, one in zip(own, packed, single, strict=True):
            gates.refuse_different(fresh, four, dtype=self.dtype, name=self.name)
            gates.refuse_different(fresh[-1:], one, dtype=self.dtype, name=self.name)

    @torch.inference_mode()
    def _plain(self, text: list[int]) -> NDArray[np.float32]:
        """All logits of a pass over one text, nothing cached, by whatever attention the model has now."""
        ids = torch.tensor([text], device=self._device)
        return on_host(self._model(input_ids=ids, use_cache=False, return_dict=True).logits[0])

    def _rolled_back(
        self, texts: list[list[int]], wrong: list[int]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Four logits of each text, of a pass that rejects the wrong ends; the last of each alone."""
        contexts = [self.open() for _ in texts]
        both = list(zip(contexts, texts, strict=True))
        self.together(
            [Ask(context=one, tokens=text[:-4] + wrong, rows=i) for i, (one, text) in enumerate(both)]
        )
        packed = self.together([Ask(context=one, tokens=text, rows=4) for one, text in both])
        single = [one.logits(text, 1) for one, text in both]
        for context in contexts:
            context.close()
        return packed, single

    def _stumbled(self, error: Exception) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"'{self.name}' did not get through a trial pass with roll-back: {first_line(error)}"
        )


class HuggingFaceContext:
    """One sequence's keys and values. Use from one thread at a time."""

    def __init__(self, model: HuggingFaceModel) -> None:
        self.model = model
        self.slot = Slot(model.shapes)
        self.tokens: list[int] = []
        "whose keys and values the slot holds"
        self.closed = False

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Logits at the last `rows` positions of `tokens`, shape [rows, V].

        Computes what differs from the call before, at least the rows asked for. Raises ValueError for
        positions or ids out of range.
        """
        return on_host(self._rows(tokens, rows))

    def close(self) -> None:
        """Free the cache. Idempotent."""
        self.closed = True
        self.tokens = []
        self.slot.free()

    def _rows(self, tokens: Sequence[int], rows: int) -> Tensor:
        """What `logits` gives, where it was computed."""
        if rows < 1:
            longest = self.model.context_length
            raise ValueError(f"{rows} rows asked for; needs 1 <= rows <= tokens <= {longest}")
        return self.model.compute([Ask(context=self, tokens=tokens, rows=rows)])[0]


class AcceleratedContext(HuggingFaceContext):
    """One whose rows need not leave the device they were computed on. A `TopContext`."""

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """See `TopContext`."""
        return top_of(self._rows(tokens, 1)[0, :columns], k=k, temperature=temperature)


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """What one ask takes: tokens to compute, at most PREFILL_CHUNK a pass."""

    context: HuggingFaceContext
    tokens: list[int]
    "the whole sequence"
    rows: int
    kept: int
    "tokens whose keys and values the slot holds already, and which need no logits"
    found: list[Tensor] = field(default_factory=list)
    "logits so far, a tensor for each pass that had any"

    def make_room(self) -> None:
        """Roll the context back, and let its slot take all that is to come."""
        del self.context.tokens[self.kept :]
        self.context.slot.reserve(len(self.tokens), kept=self.kept)

    def next_ids(self) -> list[int]:
        """For the next pass; none: all is done."""
        start = len(self.context.tokens)
        return self.tokens[start : start + PREFILL_CHUNK]

    def next_wanted(self) -> int:
        """At how many last positions of them logits are wanted."""
        new = len(self.next_ids())
        behind = len(self.tokens) - len(self.context.tokens) - new
        return max(0, min(new, self.rows - behind))

    def done(self, logits: Tensor) -> None:
        """Take note of a pass. Only now are its tokens held: one that fails has written nothing."""
        self.context.tokens += self.next_ids()
        if len(logits):
            self.found.append(logits)


def _seen(call: Call, calls: list[Call]) -> Tensor:
    """Of the pass that only looks who calls."""
    calls.append(call)
    return call.query.new_zeros(*call.query.shape[:3], call.value.shape[-1])


def first_line(error: BaseException) -> str:
    """Of its text; its class where it has none."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


__all__ = ["PREFILL_CHUNK", "AcceleratedContext", "HuggingFaceContext", "HuggingFaceModel", "first_line"]
