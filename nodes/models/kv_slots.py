"""Keys and values of many sequences, and the attention function that reads them all in one pass.

The new tokens of all sequences lie in one row of a forward, without padding. In each layer transformers calls
`attend`, which hands the layer's queries, keys and values to whatever `attention` has set for this pass. Most
often that is `Pass.attend_each`: it writes the new keys and values to (slot, position), and lets the queries
of each sequence see a view of its own slot. No key is copied again, and roll-back is no call: a row says
where it begins, and what lies behind that is written over before anybody reads it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

IMPLEMENTATION: Final = "draftwire_slots"
"""What the attention function is called among those of transformers."""

CAPACITY_STEP: Final = 256
"""Tokens by which a slot grows: seldom enough for the copy not to matter, and at most so many lie idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """What a layer keeps of a token, and where."""

    heads: int
    "of keys and values; queries may have a multiple"
    key_width: int
    "numbers a head"
    value_width: int
    "numbers a head; some models have fewer than of the key"
    dtype: torch.dtype
    "of keys and values"
    device: torch.device
    "where the layer computes"

    @property
    def token_bytes(self) -> int:
        """Memory of one token in this layer."""
        return self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


@dataclass(slots=True, eq=False)
class _Held:
    """What a slot has of one layer, each [1, heads, capacity, width]."""

    keys: Tensor
    values: Tensor


class Slot:
    """One sequence's keys and values, a tensor of each for every layer."""

    def __init__(self, shapes: Mapping[int, LayerShape]) -> None:
        """`shapes`: by the layer's number. Takes no memory yet."""
        self._shapes = shapes
        self.layers: dict[int, _Held] = {}
        self.capacity = 0

    def reserve(self, tokens: int, *, kept: int) -> None:
        """Make room for so many tokens, of which the first `kept` are there. Call it between passes.

        Layer by layer, so that the old and the new of one layer only are there at once.
        """
        capacity = rounded_up(tokens)
        if capacity <= self.capacity:
            return
        for index, shape in self._shapes.items():
            old = self.layers.get(index)
            # Zeroed: what was in this memory before could be a NaN, and must reach nobody.
            keys, values = (
                torch.zeros(1, shape.heads, capacity, width, dtype=shape.dtype, device=shape.device)
                for width in (shape.key_width, shape.value_width)
            )
            if old is not None:
                keys[:, :, :kept] = old.keys[:, :, :kept]
                values[:, :, :kept] = old.values[:, :, :kept]
            self.layers[index] = _Held(keys, values)
        self.capacity = capacity

    def free(self) -> None:
        """Give all memory back."""
        self.layers = {}
        self.capacity = 0


def shape_of(call: "Call") -> LayerShape:
    """What a layer keeps, seen from what it asks."""
    return LayerShape(
        heads=call.key.shape[1],
        key_width=call.key.shape[-1],
        value_width=call.value.shape[-1],
        dtype=call.key.dtype,
        device=call.key.device,
    )


def rounded_up(tokens: int) -> int:
    """The capacity of a slot that holds so many tokens."""
    return -(-tokens // CAPACITY_STEP) * CAPACITY_STEP


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """What a layer asks of the attention function."""

    layer: int | None
    "its number; None: the module has none"
    query: Tensor
    "[1, query heads, new tokens, key width]"
    key: Tensor
    "[1, heads, new tokens, key width]"
    value: Tensor
    "[1, heads, new tokens, value width]"
    scale: float
    "scores are multiplied by it"
    window: int | None
    "tokens that a query sees, its own included; None: all before it"
    softcap: float | None
    "scores are bent to stay below it; None: they aren't"
    sinks: Tensor | None
    "[query heads]: a score that takes its part of the softmax and has no value"
    others: Mapping[str, Any] = field(default_factory=dict)
    "arguments of other names that are not None"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """The new tokens of one sequence in a pass."""

    slot: Slot
    "holds the keys and values of all tokens before `start`, and has room for the new ones"
    start: int
    "position of the first new token"
    count: int
    "new tokens, at least 1"


class Pass:
    """The rows of one forward, in the order in which their tokens lie in it."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._counts = [row.count for row in rows]
        self._masks: dict[tuple[int, int | None, int, torch.dtype, torch.device], Tensor | None] = {}

    def attend_each(self, call: Call) -> Tensor:
        """One attention a sequence, on a view of its slot; gives [1, query heads, new tokens, value width].

        Another kernel, one for rows of unlike lengths, say, has to do the same: write, and let each see its
        own.
        """
        assert call.layer is not None, "models whose layers have no number are refused at load"
        _, heads, tokens, width = call.key.shape
        groups = call.query.shape[1] // heads
        queries = torch.split(call.query.view(1, heads, groups, tokens, width), self._counts, dim=3)
        keys, values = (torch.split(new, self._counts, dim=2) for new in (call.key, call.value))
        found = []
        for index, row in enumerate(self._rows):
            start, count = row.start, row.count
            end = start + count
            first = 0 if call.window is None else max(0, start - call.window + 1)
            held = row.slot.layers[call.layer]
            held.keys.narrow(2, start, count).copy_(keys[index])
            held.values.narrow(2, start, count).copy_(values[index])
            # The query heads of one key-value head become rows of one query: no key is repeated.
            out = _attention(
                queries[index].flatten(2, 3),
                held.keys.narrow(2, first, end - first),
                held.values.narrow(2, first, end - first),
                self._mask(index, first, call, groups),
                call,
            )
            found.append(out.view(1, heads, groups, count, -1))
        return torch.cat(found, 3).flatten(1, 2)

    def _mask(self, index: int, first: int, call: Call, groups: int) -> Tensor | None:
        """What is added to a row's scores, [groups * count, keys from `first`]; made once a pass."""
        row = self._rows[index]
        if row.count == 1:
            return None  # keys behind it, or before its window, are not in the view
        query = call.query
        name = (index, call.window, groups, query.dtype, query.device)
        if name not in self._masks:
            places = torch.arange(row.start, row.start + row.count, device=query.device)[:, None]
            keys = torch.arange(first, row.start + row.count, device=query.device)
            hidden = keys > places
            if call.window is not None:
                hidden |= keys <= places - call.window
            mask = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device)
            self._masks[name] = mask.masked_fill_(hidden, -math.inf).repeat(groups, 1)
        return self._masks[name]


def _attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, call: Call) -> Tensor:
    if call.softcap is None and call.sinks is None:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=call.scale)
    scores = (query @ keys.transpose(2, 3)).float() * call.scale
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    if mask is not None:
        scores = scores + mask
    if call.sinks is not None:
        heads, rows = scores.shape[1:3]
        groups = len(call.sinks) // heads
        sinks = call.sinks.float().view(1, heads, groups, 1).expand(-1, -1, -1, rows // groups)
        scores = torch.cat([scores, sinks.reshape(1, heads, rows, 1)], dim=-1)
    weights = scores.softmax(dim=-1)[..., : keys.shape[2]]
    return weights.to(values.dtype) @ values


_BY: ContextVar[Callable[[Call], Tensor]] = ContextVar("attention of this pass")


@contextmanager
def attention(by: Callable[[Call], Tensor]) -> Iterator[None]:
    """While the block runs, models set to IMPLEMENTATION attend by `by`.

    A context variable, and no argument of the forward: some models drop arguments on the way to their layers.
    """
    before = _BY.set(by)
    try:
        yield
    finally:
        _BY.reset(before)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention function as transformers calls it; gives [1, new tokens, query heads, value width]."""
    by = _BY.get(None)
    if by is None:
        raise RuntimeError(
            "this model attends to the contexts that a pass of draftwire gives it, and there is none: ask it "
            "through HuggingFaceModel.together or Context.logits, or load another copy for transformers"
        )
    others["attention_mask"] = attention_mask
    out = by(
        Call(
            layer=getattr(module, "layer_idx", None),
            query=query,
            key=key,
            value=value,
            scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
            window=sliding_window,
            softcap=softcap,
            sinks=s_aux,
            others={name: given for name, given in others.items() if given is not None},
        )
    )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(IMPLEMENTATION, attend)

__all__ = [
    "CAPACITY_STEP",
    "IMPLEMENTATION",
    "Call",
    "LayerShape",
    "Pass",
    "Row",
    "Slot",
    "attend",
    "attention",
    "rounded_up",
    "shape_of",
]
