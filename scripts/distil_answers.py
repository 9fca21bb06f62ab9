"""Write a target's own answers to prompts, with the state behind every token, fast on one CPU core.

The batch is a fixed number of slots. Each holds one answer in progress; when enough are done they are
refilled together, while the others go on. What training needs of the teacher is its final normalised state
(a product with the embedding gives the whole distribution), so that is what the shards keep.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

REFILL_AT: Final = 8
"""Free slots that trigger a refill: fewer would make the prompt passes too small to be efficient."""

ANSWERS_PER_SHARD: Final = 256
"""Finished answers in a file: what an interrupted run loses at most, a worker."""

SAMPLE_BLOCK: Final = 256
"""Ids a block in two-level sampling: the exact draw then costs one exponential an id and no sort."""

SAMPLE_ROWS: Final = 16
"""Rows sampled at a time: their fp32 copies then stay in the cache instead of being paged in afresh."""

KEY_BLOCK: Final = 16
"""Attended lengths are rounded up to this many keys, so that few matrix shapes occur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One prompt and the answer of the target."""

    index: int
    """Number of the job it answers; a resumed run skips the numbers it finds."""
    temperature: float
    """What it was sampled at; 0 is greedy."""
    ids: Tensor
    """Prompt and answer, int32 [length]."""
    answer_start: int
    """Where the answer begins in `ids`."""
    states: Tensor
    """Final normalised states, bf16 [length - answer_start, hidden]: row i is what predicted answer id i."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prompt to be answered."""

    index: int
    temperature: float
    prompt: Sequence[int]


class SlotLlama:
    """A Llama in bf16 whose key-value cache is an array of slots, all advanced in one pass.

    Keys are kept transposed, [slots, KV heads, head dim, positions], so that both attention products are
    plain batched matrix products over contiguous memory; on CPUs that is twice as fast as the fused kernel.
    """

    def __init__(self, model: Any, *, slots: int, length: int) -> None:
        config = model.config
        if config.model_type != "llama":
            raise SystemExit(f"The target is a '{config.model_type}' model; distillation knows 'llama' only")
        state: dict[str, Tensor] = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
        self.hidden: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or self.hidden // self.heads
        self.eps: float = config.rms_norm_eps
        self.embedding = state["model.embed_tokens.weight"]
        self.head = state.get("lm_head.weight", self.embedding)
        self.norm = state["model.norm.weight"]
        self.layers: list[dict[str, Tensor]] = []
        for i in range(config.num_hidden_layers):
            p = f"model.layers.{i}."
            self.layers.append(
                {
                    "norm1": state[p + "input_layernorm.weight"],
                    "qkv": torch.cat([state[f"{p}self_attn.{n}_proj.weight"] for n in "qkv"]),
                    "o": state[p + "self_attn.o_proj.weight"],
                    "norm2": state[p + "post_attention_layernorm.weight"],
                    "gate_up": torch.cat([state[f"{p}mlp.{n}_proj.weight"] for n in ("gate", "up")]),
                    "down": state[p + "mlp.down_proj.weight"],
                }
            )
        shape = (slots, self.kv_heads)
        self.keys = [torch.zeros(*shape, self.head_dim, length, dtype=torch.bfloat16) for _ in self.layers]
        self.values = [torch.zeros(*shape, length, self.head_dim, dtype=torch.bfloat16) for _ in self.layers]
        # The model's own rotary module knows every variant of rope; its table is all we need.
        cos, sin = model.model.rotary_emb(torch.zeros(1, 1), torch.arange(length)[None])
        self.cos, self.sin = cos[0].float(), sin[0].float()
        self.slots, self.length = slots, length

    def forward(self, ids: Tensor, start: Tensor, slots: Tensor | slice) -> Tensor:
        """Advance some slots: ids [n, t] stand at start [n] .. start + t - 1. States [n, t, hidden].

        Rows may be padded on the right: what padding writes into the cache is overwritten before it is read.
        """
        n, t = ids.shape
        positions = start[:, None] + torch.arange(t)
        top = -(-(int(start.max()) + t) // KEY_BLOCK) * KEY_BLOCK
        top = min(top, self.length)
        visible = torch.arange(top) <= positions[..., None]  # [n, t, top]
        groups = self.heads // self.kv_heads
        bias = torch.zeros(n, 1, t, top).masked_fill_(~visible[:, None], float("-inf"))
        bias = bias.repeat(1, 1, groups, 1)  # rows are (group, token)
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        rows = torch.arange(self.slots)[slots][:, None].expand(n, t)
        x = self.embedding[ids]
        parts = [self.heads, self.kv_heads, self.kv_heads]
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            y = self._normalised(x, layer["norm1"])
            q, k, v = torch.split(F.linear(y, layer["qkv"]).view(n, t, -1, self.head_dim), parts, dim=2)
            q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
            keys[rows, :, :, positions] = k
            values[rows, :, positions] = v
            q = q.view(n, t, self.kv_heads, groups, self.head_dim).permute(0, 2, 3, 1, 4)
            q = q.reshape(n, self.kv_heads, groups * t, self.head_dim)
            scores = torch.matmul(q, keys[slots, :, :, :top]).float()
            scores.mul_(self.head_dim**-0.5).add_(bias)
            mixed = torch.matmul(scores.softmax(-1).to(torch.bfloat16), values[slots, :, :top])
            mixed = mixed.view(n, self.kv_heads, groups, t, self.head_dim).permute(0, 3, 1, 2, 4)
            x = x + F.linear(mixed.reshape(n, t, self.heads * self.head_dim), layer["o"])
            y = F.linear(self._normalised(x, layer["norm2"]), layer["gate_up"])
            gate, up = y.chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer["down"])
        return self._normalised(x, self.norm)

    def _normalised(self, x: Tensor, weight: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return y.to(torch.bfloat16) * weight


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().chunk(2, dim=-1)
    half = a.shape[-1]
    c, s = cos[..., :half], sin[..., :half]
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(torch.bfloat16)


def sample(logits: Tensor, temperatures: Tensor, generator: torch.Generator) -> Tensor:
    """One id a row, int64 [n], exactly from softmax(logits / temperature); 0 takes the largest."""
    u = torch.rand(len(logits), 2, 1, generator=generator)
    chunks = zip(*(torch.split(x, SAMPLE_ROWS) for x in (logits, temperatures, u)), strict=True)
    return torch.cat([_sample_rows(*chunk) for chunk in chunks])


def _sample_rows(logits: Tensor, temperatures: Tensor, u: Tensor) -> Tensor:
    n, vocabulary = logits.shape
    greedy = temperatures <= 0
    best, argmax = logits.max(dim=-1)
    z = logits.float() - best.float()[:, None]
    z.div_(temperatures.masked_fill(greedy, 1.0)[:, None]).exp_()
    if padding := -vocabulary % SAMPLE_BLOCK:
        z = F.pad(z, (0, padding))
    z = z.view(n, -1, SAMPLE_BLOCK)
    blocks = z.sum(-1).cumsum(-1)
    block = torch.searchsorted(blocks, u[:, 0] * blocks[:, -1:]).clamp_max_(blocks.shape[1] - 1)
    inside = z[torch.arange(n)[:, None], block].squeeze(1).cumsum(-1)
    offset = torch.searchsorted(inside, u[:, 1] * inside[:, -1:]).clamp_max_(SAMPLE_BLOCK - 1)
    drawn = (block * SAMPLE_BLOCK + offset).squeeze(1).clamp_max_(vocabulary - 1)
    return torch.where(greedy, argmax, drawn)


@dataclass(slots=True)
class _Slot:
    job: Job
    drawn: list[int]
    states: list[Tensor]


@torch.inference_mode()
def answer(
    model: Any,
    jobs: Iterator[Job],
    *,
    end_ids: frozenset[int],
    slots: int,
    max_prompt: int,
    max_answer: int,
    prefix: Sequence[int],
    seed: int,
) -> Iterator[Answer]:
    """Answers to `jobs` in the order they finish. All prompts begin with `prefix` and go on behind it.

    Prompts longer than `max_prompt` tokens are left out; answers end with one of `end_ids` or at
    `max_answer` tokens.
    """
    llama = SlotLlama(model, slots=slots, length=max_prompt + max_answer)
    generator = torch.Generator().manual_seed(seed)
    if prefix:  # computed once: no slot ever overwrites positions below it
        llama.forward(torch.tensor([list(prefix)]), torch.zeros(1, dtype=torch.int64), slice(0, 1))
        for cache in (*llama.keys, *llama.values):
            cache[1:] = cache[:1]
    shared = len(prefix)
    active: list[_Slot | None] = [None] * slots
    ids = torch.zeros(slots, 1, dtype=torch.int64)
    positions = torch.full((slots,), shared)
    temperatures = torch.ones(slots)
    pending = True

    def take(index: Tensor, states: Tensor) -> Iterator[Answer]:
        """Draw the next id of the slots `index` from their states [n, hidden]; yield what that finishes."""
        drawn = sample(F.linear(states, llama.head), temperatures[index], generator).tolist()
        for row, (place, token) in enumerate(zip(index.tolist(), drawn, strict=True)):
            slot = active[place]
            assert slot is not None
            slot.drawn.append(token)
            slot.states.append(states[row].clone())
            ids[place, 0] = token
            if token in end_ids or len(slot.drawn) == max_answer:
                yield Answer(
                    index=slot.job.index,
                    temperature=slot.job.temperature,
                    ids=torch.tensor([*slot.job.prompt, *slot.drawn], dtype=torch.int32),
                    answer_start=len(slot.job.prompt),
                    states=torch.stack(slot.states),
                )
                active[place] = None
                positions[place], ids[place, 0] = shared, 0  # idles at a position that costs little

    while True:
        free = [place for place, slot in enumerate(active) if slot is None]
        if pending and len(free) >= min(REFILL_AT, slots):
            taken: list[tuple[int, Job]] = []
            while pending and len(taken) < len(free):
                job = next(jobs, None)
                if job is None:
                    pending = False
                elif shared < len(job.prompt) <= max_prompt:
                    taken.append((free[len(taken)], job))
            for at in range(0, len(taken), REFILL_AT):
                part = taken[at : at + REFILL_AT]
                index = torch.tensor([place for place, _ in part])
                lengths = torch.tensor([len(job.prompt) - shared for _, job in part])
                padded = torch.zeros(len(part), int(lengths.max()), dtype=torch.int64)
                for row, (place, job) in enumerate(part):
                    padded[row, : lengths[row]] = torch.tensor(job.prompt[shared:])
                    active[place] = _Slot(job, [], [])
                    temperatures[place] = job.temperature
                    positions[place] = len(job.prompt)
                states = llama.forward(padded, torch.full((len(part),), shared), index)
                yield from take(index, states[torch.arange(len(part)), lengths - 1])
        busy = torch.tensor([place for place, slot in enumerate(active) if slot is not None])
        if len(busy) == 0:
            if not pending:
                return
            continue
        states = llama.forward(ids, positions, slice(None))[:, 0]
        positions[busy] += 1
        yield from take(busy, states[busy])


def write_shard(path: Path, answers: Sequence[Answer]) -> None:
    """Write answers to one file, whole or not at all."""
    tensors = {
        "index": torch.tensor([a.index for a in answers]),
        "temperature": torch.tensor([a.temperature for a in answers]),
        "length": torch.tensor([len(a.ids) for a in answers]),
        "answer_start": torch.tensor([a.answer_start for a in answers]),
        "ids": torch.cat([a.ids for a in answers]),
        "states": torch.cat([a.states for a in answers]),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, partial)
    partial.rename(path)


def read_shard(path: Path) -> list[Answer]:
    """The answers of one file."""
    tensors = load_file(path)
    lengths = tensors["length"].tolist()
    starts = tensors["answer_start"].tolist()
    ids = torch.split(tensors["ids"], lengths)
    states = torch.split(tensors["states"], [n - start for n, start in zip(lengths, starts, strict=True)])
    fields = zip(tensors["index"].tolist(), tensors["temperature"].tolist(), ids, starts, states, strict=True)
    return [
        Answer(index=i, temperature=round(t, 6), ids=x, answer_start=start, states=h)
        for i, t, x, start, h in fields
    ]


def answered(folder: Path, kind: str) -> dict[int, int]:
    """Answer tokens by job number in the shards `kind`-*.safetensors."""
    shards = folder.glob(f"{kind}-*.safetensors")
    return {done.index: len(done.states) for shard in shards for done in read_shard(shard)}


def generate_shards(
    model: Any,
    jobs: Sequence[Job],
    folder: Path,
    *,
    name: str,
    tokens: int,
    end_ids: frozenset[int],
    slots: int,
    max_prompt: int,
    max_answer: int,
    prefix: Sequence[int],
    seed: int,
    progress: Callable[[str], None],
) -> int:
    """Answer `jobs` into new shards `name`-*.safetensors until there are `tokens` answer tokens; how many.

    The caller leaves out the jobs that earlier runs have answered (`answered`).
    """
    total, written = 0, len(list(folder.glob(f"{name}-*.safetensors")))
    started = time.monotonic()
    buffer: list[Answer] = []

    def flush() -> None:
        nonlocal written, buffer
        write_shard(folder / f"{name}-{written:05d}.safetensors", buffer)
        written, buffer = written + 1, []
        rate = total / (time.monotonic() - started)
        left = max(0, tokens - total) / rate / 60
        progress(f"{name}: {total} of {tokens} tokens, {rate:.0f} a second, at most {left:.0f} minutes left")

    for done in answer(
        model,
        iter(jobs),
        end_ids=end_ids,
        slots=slots,
        max_prompt=max_prompt,
        max_answer=max_answer,
        prefix=prefix,
        seed=seed + written,  # a run that goes on must not repeat the noise of the first
    ):
        buffer.append(done)
        total += len(done.states)
        if len(buffer) == ANSWERS_PER_SHARD:
            flush()
        if total >= tokens:
            break
    if buffer:
        flush()
    return total
