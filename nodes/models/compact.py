"""A draft of a few million parameters, in the fewest operations a step can have.

A decoder in the manner of Llama, reduced to what is needed at batch 1: norms without weights (they are
folded into the matrices behind them), one matrix for query, key and value, one for gate and up, and a head
that knows only the ids of its support. Two decisions come from measurements on CPUs:

- Weights rest in bf16 on disk, and are computed in fp32. At these sizes a matrix-vector product in fp32 is as
  fast as one in bf16 or faster, and its results don't tie.
- A context computes one token a pass, also for prompts. A pass takes a fraction of a millisecond, and what
  a row holds is then the same to the last bit however its prefix got into the cache: appended, rolled back
  and redone, or computed anew after a restart. A device that must redraw its block can rely on that.
"""

import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.prefix import common_prefix

FORMAT: Final = "draftwire-compact"
FORMAT_VERSION: Final = 1
"""Grows when a file of the new kind would be misread by the old code."""

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "draft.safetensors"

NORM_EPSILON: Final = 1e-6
"""Added to a vector's length before dividing by it: only a vector of zeros feels it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactShape:
    """Everything about a draft but its weights; what `config.json` holds."""

    vocab_size: int
    """V, ids of the tokenizer; all of them can be read."""
    support_size: int
    """R, ids that can be predicted; V where the head is whole."""
    hidden: int
    """Width of the residual stream."""
    layers: int
    heads: int
    """Query heads, and as many key-value heads."""
    head_dim: int
    """Width of a head; even, because rope turns pairs (2i, 2i + 1)."""
    mlp: int
    """Width of the gated hidden layer."""
    context_length: int
    """Most tokens of a context."""
    rope_theta: float
    """Base of the rotary wavelengths."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise UnsupportedModelError(f"{field.name} = {value!r}: shapes take positive numbers")
            if field.type is int and not isinstance(value, int):
                raise UnsupportedModelError(f"{field.name} = {value!r}: must be a whole number")
        if self.support_size > self.vocab_size:
            raise UnsupportedModelError(
                f"support_size = {self.support_size} exceeds vocab_size = {self.vocab_size}"
            )
        if self.head_dim % 2:
            raise UnsupportedModelError(f"head_dim = {self.head_dim}: rope needs an even one")

    def tensors(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Name, type and shape of every tensor in the weights file."""
        bf16, rest = torch.bfloat16, self.vocab_size - self.support_size
        inner = self.heads * self.head_dim
        expected: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "support": (torch.int32, (self.support_size,)),
            "embedding.support": (bf16, (self.support_size, self.hidden)),
            "embedding.rest": (torch.int8, (rest, self.hidden)),
            "embedding.rest_scale": (torch.float32, (rest,)),
            "head": (bf16, (self.support_size, self.hidden)),
        }
        for i in range(self.layers):
            expected[f"layers.{i}.qkv"] = (bf16, (3 * inner, self.hidden))
            expected[f"layers.{i}.o"] = (bf16, (self.hidden, inner))
            expected[f"layers.{i}.gate_up"] = (bf16, (2 * self.mlp, self.hidden))
            expected[f"layers.{i}.down"] = (bf16, (self.hidden, self.mlp))
        return expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    qkv: Tensor
    o: Tensor
    gate_up: Tensor
    down: Tensor


class CompactDraft:
    """The draft's weights, ready to run; contexts share them and never change them."""

    def __init__(self, shape: CompactShape, tensors: Mapping[str, Tensor]) -> None:
        """From the tensors of a weights file, which must be those of `shape.tensors()`."""
        for name, (dtype, size) in shape.tensors().items():
            tensor = tensors.get(name)
            if tensor is None:
                raise UnsupportedModelError(f"The draft's weights lack the tensor '{name}'")
            if tensor.dtype != dtype or tuple(tensor.shape) != size:
                raise UnsupportedModelError(
                    f"The draft's tensor '{name}' is {tensor.dtype} {list(tensor.shape)}; "
                    f"its config asks for {dtype} {list(size)}"
                )
        support = tensors["support"].to(torch.int64)
        if (support.diff() <= 0).any() or support[0] < 0 or support[-1] >= shape.vocab_size:
            raise UnsupportedModelError("The draft's support must be rising ids of its vocabulary")
        self.shape: Final = shape
        self._support: NDArray[np.int64] = support.numpy()
        self._embedding = torch.empty(shape.vocab_size, shape.hidden, dtype=torch.bfloat16)
        rest = torch.ones(shape.vocab_size, dtype=torch.bool)
        rest[support] = False
        scale = tensors["embedding.rest_scale"][:, None]
        self._embedding[rest] = (tensors["embedding.rest"].float() * scale).to(torch.bfloat16)
        self._embedding[support] = tensors["embedding.support"]
        # What a norm without weights leaves is of length 1; the matrices expect components of about 1.
        gain = math.sqrt(shape.hidden)
        self._head = tensors["head"].float().mul_(gain)
        self._layers = []
        for i in range(shape.layers):
            qkv = tensors[f"layers.{i}.qkv"].float().mul_(gain)
            qkv[: shape.heads * shape.head_dim] /= math.sqrt(shape.head_dim)  # the scale of the scores
            self._layers.append(
                _Layer(
                    qkv=qkv,
                    o=tensors[f"layers.{i}.o"].float(),
                    gate_up=tensors[f"layers.{i}.gate_up"].float().mul_(gain),
                    down=tensors[f"layers.{i}.down"].float(),
                )
            )
        self._turns = rope_turns(shape)

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        return self.shape.vocab_size

    @property
    def context_length(self) -> int:
        """Most tokens a context may hold."""
        return self.shape.context_length

    @property
    def support(self) -> NDArray[np.int64] | None:
        """The ids that the columns of a logits row stand for, rising; None where that is all of them."""
        return None if self.shape.support_size == self.shape.vocab_size else self._support

    def open(self) -> "CompactContext":
        """A fresh context."""
        return CompactContext(self)

    def _advance(self, token: int, position: int, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        """Append one token to the cache: the normalised state [1, hidden] behind it."""
        heads, width = self.shape.heads, self.shape.head_dim
        inner, mlp, end = heads * width, self.shape.mlp, position + 1
        turn = self._turns[position]
        x = self._embedding[token].float()[None]
        for layer, k, v in zip(self._layers, keys, values, strict=True):
            qkv = F.linear(_unit(x), layer.qkv)
            pairs = torch.view_as_complex(qkv[:, : 2 * inner].view(2 * heads, width // 2, 2))
            turned = torch.view_as_real(pairs * turn).view(2 * heads, 1, width)
            k[:, position] = turned[heads:, 0]
            v[:, position] = qkv[0, 2 * inner :].view(heads, width)
            weights = torch.bmm(turned[:heads], k[:, :end].transpose(1, 2)).softmax(-1)
            x = x + F.linear(torch.bmm(weights, v[:, :end]).view(1, inner), layer.o)
            both = F.linear(_unit(x), layer.gate_up)
            x = x + F.linear(F.silu(both[:, :mlp]) * both[:, mlp:], layer.down)
        return _unit(x)

    def _project(self, state: Tensor) -> Tensor:
        """Logits [1, R] of a state of `_advance`."""
        return F.linear(state, self._head)


class CompactContext:
    """The cached state of one sequence: keys and values of every token it was last asked about."""

    def __init__(self, draft: CompactDraft) -> None:
        shape = draft.shape
        size = (shape.heads, shape.context_length, shape.head_dim)
        self._draft = draft
        self._tokens: list[int] = []
        # Never initialised: memory that no position has reached is never touched, so it costs nothing.
        self._keys = [torch.empty(size) for _ in range(shape.layers)]
        self._values = [torch.empty(size) for _ in range(shape.layers)]

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Logits at the last `rows` positions of `tokens`, shape [rows, R]: a function of the tokens alone.

        Row i is the draft's answer to what follows tokens[len(tokens) - rows + i]; column j stands for id
        support[j]. Computes what differs from the tokens of the last call, one pass a token.
        """
        wanted = [operator.index(token) for token in tokens]
        draft, cached = self._draft, self._tokens
        if not self._keys:
            raise ValueError("logits of a closed context")
        if not 1 <= rows <= len(wanted) <= draft.context_length:
            raise ValueError(
                f"rows = {rows}, tokens = {len(wanted)}: needs 1 <= rows <= tokens <= {draft.context_length}"
            )
        first = len(wanted) - rows
        kept = min(common_prefix(cached, wanted), first)
        for token in wanted[kept:]:
            if not 0 <= token < draft.vocab_size:
                raise ValueError(f"token {token} is not an id of the vocabulary, 0 to {draft.vocab_size - 1}")
        del cached[kept:]
        out = np.empty((rows, draft.shape.support_size), np.float32)
        for position in range(kept, len(wanted)):
            state = draft._advance(wanted[position], position, self._keys, self._values)
            cached.append(wanted[position])
            if position >= first:
                out[position - first] = draft._project(state)[0].numpy()
        return out

    def close(self) -> None:
        """Free the cache. Idempotent."""
        self._tokens, self._keys, self._values = [], [], []


def load(folder: Path) -> CompactDraft:
    """The draft in a folder of CONFIG_FILE and WEIGHTS_FILE; UnsupportedModelError names what is wrong."""
    config = folder / CONFIG_FILE
    try:
        content: Any = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"Can't read the draft's {config}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UnsupportedModelError(f"{config} is not a compact draft's: 'format' is not '{FORMAT}'")
    if content.get("format_version") != FORMAT_VERSION:
        raise UnsupportedModelError(
            f"{config} has format_version {content.get('format_version')!r}; this code reads {FORMAT_VERSION}"
        )
    names = {field.name for field in fields(CompactShape)}
    described = content.get("shape")
    if not isinstance(described, dict) or set(described) != names:
        raise UnsupportedModelError(f"{config}: 'shape' must hold exactly {', '.join(sorted(names))}")
    shape = CompactShape(**described)
    weights = folder / WEIGHTS_FILE
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise UnsupportedModelError(f"Can't read the draft's {weights}: {error}") from error
    return CompactDraft(shape, tensors)


def save(
    folder: Path,
    shape: CompactShape,
    *,
    support: NDArray[np.int64],
    embedding: Tensor,
    matrices: Mapping[str, Tensor],
) -> None:
    """Write a draft that `load` reads.

    `support`: rising ids [R]. `embedding`: rows of all ids, [V, hidden]; those of the support are kept in
    bf16, the rest in int8 with a scale a row. `matrices`: "head" and the "layers.*" of
    `CompactShape.tensors`, with the gains of norms multiplied into the columns of the matrix behind.
    """
    rest = np.setdiff1d(np.arange(shape.vocab_size), support)
    rows = embedding[torch.from_numpy(rest)].float()
    scale = rows.abs().amax(dim=-1) / 127 if len(rest) else torch.zeros(0)
    steps = (rows / scale.clamp_min(1e-12)[:, None]).round().to(torch.int8)
    tensors = {
        "support": torch.from_numpy(support.astype(np.int32)),
        "embedding.support": embedding[torch.from_numpy(support)],
        "embedding.rest": steps,
        "embedding.rest_scale": scale,
        **matrices,
    }
    expected = shape.tensors()
    if set(tensors) != set(expected):
        raise UnsupportedModelError(f"Matrices {sorted(set(tensors) ^ set(expected))} are missing or unknown")
    tensors = {name: tensor.detach().to(expected[name][0]).contiguous() for name, tensor in tensors.items()}
    CompactDraft(shape, tensors)  # refuses what could not be loaded again
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors makes files that only their owner can read
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "shape": asdict(shape)}
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def rope_turns(shape: CompactShape) -> Tensor:
    """Unit complex numbers [context_length, head_dim / 2]: what position p turns pair i by."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    angles = torch.arange(shape.context_length, dtype=torch.float64)[:, None] * shape.rope_theta**-exponents
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def _unit(x: Tensor) -> Tensor:
    """A row vector at length 1."""
    length: Tensor = torch.linalg.vector_norm(x)
    return x / (length + NORM_EPSILON)
