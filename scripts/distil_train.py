"""The draft network while it learns: a closed-form start, the loss against the teacher, Muon, evaluation.

q is the draft, p the target. Positions are those of answers only: row i pairs the tokens up to there with the
target's final normalised state, of which every teacher distribution is one product away.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
import torch.nn.functional as F
from distil_answers import Answer
from numpy.typing import NDArray
from torch import Tensor, nn

from draftwire.nodes.models.compact import NORM_EPSILON, CompactDraft, CompactShape, rope_turns, save

RIDGE_POSITIONS: Final = 60_000
"""Positions that the closed-form start looks at; more change nothing measurable."""

LOSS_ROWS: Final = 256
"""Rows of the loss computed at a time, so that [rows, R] stays in the CPU's cache."""

BUCKET_BATCHES: Final = 32
"""Batches whose answers are sorted by length together: little padding, still a random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """What of the target the draft learns from."""

    embedding: Tensor
    """Input rows, bf16 [V, H]."""
    head: Tensor
    """Output rows, bf16 [V, H]; often the same."""


def rank_ids(
    teacher: Teacher, answers: Sequence[Answer], size: int, always: frozenset[int]
) -> NDArray[np.int64]:
    """The `size` ids a head is best spent on, rising: by share of the answers plus mean teacher mass.

    The ids in `always` are in: a draft that can't say "end" never proposes the last token.
    """
    vocabulary = len(teacher.head)
    drawn = torch.cat([a.ids[a.answer_start :] for a in answers]).long()
    share = torch.bincount(drawn, minlength=vocabulary).float() / len(drawn)
    states = _sampled_rows(torch.cat([a.states for a in answers]), 16_384)
    mass = torch.zeros(vocabulary)
    for rows in torch.split(states, 64):
        mass += F.linear(rows, teacher.head).float().softmax(-1).sum(0)
    score = share + mass / len(states)
    score[list(always)] = 2.0
    return np.sort(score.topk(min(size, vocabulary)).indices.numpy()).astype(np.int64)


def _sampled_rows(rows: Tensor, count: int) -> Tensor:
    """At most `count` rows, evenly spread."""
    return rows[:: max(1, len(rows) // count)][:count]


class DraftNet(nn.Module):
    """The network of `draftwire.nodes.models.compact` in a form that learns: batched, with gains apart.

    Only the embedding rows of the support learn; the others stay where the closed-form start has put them.
    """

    def __init__(self, shape: CompactShape, support: NDArray[np.int64]) -> None:
        super().__init__()
        self.shape = shape
        hidden, inner = shape.hidden, shape.heads * shape.head_dim
        self.frozen: Tensor
        self.column: Tensor
        self.support: Tensor
        self.turns: Tensor
        column = torch.full((shape.vocab_size,), -1)
        column[torch.from_numpy(support)] = torch.arange(len(support))
        self.register_buffer("frozen", torch.zeros(shape.vocab_size, hidden))
        self.register_buffer("support", torch.from_numpy(support))
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("turns", rope_turns(shape), persistent=False)
        self.embedding = nn.Parameter(torch.zeros(len(support), hidden))
        self.head = nn.Parameter(torch.zeros(len(support), hidden))
        self.gain = nn.Parameter(torch.ones(hidden))
        self.layers = nn.ModuleList()
        for _ in range(shape.layers):
            layer = nn.ParameterDict({"gain1": torch.ones(hidden), "gain2": torch.ones(hidden)})
            for name in ("q", "k", "v"):
                layer[name] = torch.randn(inner, hidden) * hidden**-0.5
            for name in ("gate", "up"):
                layer[name] = torch.randn(shape.mlp, hidden) * hidden**-0.5
            # Zero: an untrained layer adds nothing, so training begins exactly at the closed-form start.
            layer["o"], layer["down"] = torch.zeros(hidden, inner), torch.zeros(hidden, shape.mlp)
            self.layers.append(layer)

    def blocks(self) -> list[nn.ParameterDict]:
        """The weights of each layer by name."""
        return [cast(nn.ParameterDict, layer) for layer in self.layers]

    def matrices(self) -> list[nn.Parameter]:
        """Weights for Muon."""
        return [p for layer in self.layers for p in layer.parameters() if p.dim() == 2]

    def others(self) -> list[nn.Parameter]:
        """Weights for AdamW: embedding, head, gains."""
        return [p for p in self.parameters() if not any(p is m for m in self.matrices())]

    def embed(self, ids: Tensor) -> Tensor:
        """Input rows, fp32 [..., hidden]."""
        column = self.column[ids]
        learned = F.embedding(column.clamp_min(0), self.embedding)
        return torch.where((column >= 0)[..., None], learned, self.frozen[ids])

    def forward(self, ids: Tensor) -> Tensor:
        """Final normalised states [n, t, hidden] of sequences padded on the right."""
        n, t = ids.shape
        heads, width = self.shape.heads, self.shape.head_dim
        turn = self.turns[:t, None]
        x = self.embed(ids)
        for layer in self.blocks():
            y = _normalised(x) * layer["gain1"]
            q, k, v = (F.linear(y, layer[name]).view(n, t, heads, width) for name in "qkv")
            q, k = _turned(q, turn), _turned(k, turn)
            q, k, v = (part.to(v.dtype).transpose(1, 2) for part in (q, k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.linear(mixed.transpose(1, 2).reshape(n, t, heads * width), layer["o"])
            y = _normalised(x) * layer["gain2"]
            x = x + F.linear(F.silu(F.linear(y, layer["gate"])) * F.linear(y, layer["up"]), layer["down"])
        return _normalised(x) * self.gain

    def export(self, folder: Path, *, context_length: int) -> None:
        """Write the compact draft; `context_length` may exceed what training saw, rope goes on."""
        tensors: dict[str, Tensor] = {"head": self.head * self.gain}
        for i, layer in enumerate(self.blocks()):
            tensors[f"layers.{i}.qkv"] = torch.cat([layer[name] for name in "qkv"]) * layer["gain1"]
            tensors[f"layers.{i}.o"] = layer["o"]
            tensors[f"layers.{i}.gate_up"] = torch.cat([layer["gate"], layer["up"]]) * layer["gain2"]
            tensors[f"layers.{i}.down"] = layer["down"]
        embedding = self.frozen.clone()
        embedding[self.support] = self.embedding.detach()
        save(
            folder,
            replace(self.shape, context_length=context_length),
            support=self.support.numpy(),
            embedding=embedding,
            matrices=tensors,
        )


def _normalised(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True) + NORM_EPSILON
    return x * (math.sqrt(x.shape[-1]) / length)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)


@torch.no_grad()
def closed_form_start(net: DraftNet, teacher: Teacher, answers: Sequence[Answer]) -> None:
    """Set embedding and head so that the layerless net is the best linear guess of the target's state.

    One regression from the current token's target embedding to the target's state, cut to the axes that
    matter for the logits; a second one back from the draft's state to the target's.
    """
    before = torch.cat([a.ids[a.answer_start - 1 : -1] for a in answers])
    tokens = _sampled_rows(before, RIDGE_POSITIONS).long()
    states = _sampled_rows(torch.cat([a.states for a in answers]), RIDGE_POSITIONS).float()
    drawn = torch.cat([a.ids[a.answer_start :] for a in answers]).long()
    rows = teacher.head[net.support].float()
    share = torch.bincount(drawn, minlength=len(teacher.head)).float()[net.support]
    everything = _normalised(teacher.embedding.float())
    x = everything[tokens]
    guess = _ridge(x, states)
    weight, axes = torch.linalg.eigh(rows.T @ (rows * (share / share.sum())[:, None]))
    metric = (axes * weight.clamp_min(0).sqrt()) @ axes.T  # symmetric root: |v metric| is the size in logits
    moved = x @ guess @ metric
    leading = torch.linalg.eigh(moved.T @ moved)[1].flip(-1)[:, : net.shape.hidden]
    if (missing := net.shape.hidden - leading.shape[1]) > 0:  # a draft wider than its target
        leading = F.pad(leading, (0, missing))
    net.frozen.copy_(_normalised(everything @ guess @ metric @ leading))
    net.embedding.copy_(net.frozen[net.support])
    back = _ridge(_normalised(net.frozen[tokens]), states)
    net.head.copy_(0.9 * rows @ back.T)  # a little flatter than the regression: it overrates itself


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    gram = x.T @ x
    gram.diagonal().add_(1e-3 * gram.diagonal().mean())
    solution: Tensor = torch.linalg.solve(gram, x.T @ y)
    return solution


class _TeacherLoss(torch.autograd.Function):
    """Mean divergence of q from p over rows, both on the support: KL(p || q), or the rejected share.

    Gradients by hand, a cache-sized chunk of rows at a time.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, head: Tensor, states: Tensor, teacher_head: Tensor, rejected: bool
    ) -> Tensor:
        weights = head.to(torch.bfloat16)
        y_grad, head_grad = torch.empty_like(y, dtype=torch.float32), torch.zeros_like(head)
        total = 0.0
        for at in range(0, len(y), LOSS_ROWS):
            rows = y[at : at + LOSS_ROWS].to(torch.bfloat16)
            log_p = F.linear(states[at : at + LOSS_ROWS], teacher_head).float().log_softmax(-1)
            log_q = F.linear(rows, weights).float().log_softmax(-1)
            p = log_p.exp()
            if rejected:  # alpha = sum of min(p, q); only where q is the smaller does it move alpha
                q = log_q.exp_()
                total += float(len(q) - torch.minimum(p, q).sum())
                low = torch.where(q < p, q, 0.0)
                slope = q.mul_(low.sum(-1, keepdim=True)).sub_(low)
            else:
                total += float((p * log_p.sub_(log_q)).sum())
                slope = log_q.exp_().sub_(p)
            slope = slope.div_(len(y)).to(torch.bfloat16)
            y_grad[at : at + LOSS_ROWS] = slope @ weights
            head_grad += slope.T @ rows
        ctx.save_for_backward(y_grad, head_grad)
        return torch.tensor(total / len(y))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        y_grad, head_grad = ctx.saved_tensors
        return y_grad * grad_outputs[0], head_grad * grad_outputs[0], None, None, None


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by five Newton-Schulz steps: every direction of a matrix learns alike.

    After Keller Jordan (2024).
    """

    def __init__(self, params: Sequence[nn.Parameter], *, lr: float, momentum: float, decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Update the weights from their gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                memory = self.state[p].setdefault("momentum", torch.zeros_like(p))
                memory.lerp_(p.grad, 1 - group["momentum"])
                direction = _orthogonal(torch.lerp(p.grad, memory, group["momentum"]))
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(direction, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def _orthogonal(x: Tensor) -> Tensor:
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = (y / (torch.linalg.matrix_norm(y) + 1e-7)).to(torch.bfloat16)
    for _ in range(5):
        gram = y @ y.T
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    result: Tensor = (y.T if tall else y).float()
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How long and how fast to learn."""

    seen: int
    """Answer tokens in all, repeats counted."""
    batch: int = 2048
    """Answer tokens a step, about."""
    matrix_rate: float = 0.02
    """Muon's learning rate."""
    other_rate: float = 3e-3
    """AdamW's."""
    overlap: float = 0.2
    """Share of the steps, the last ones, that minimise the rejected share itself instead of KL.

    Not from the start: where q is far below p that loss hardly slopes.
    """
    warm_up: int = 20
    """Steps to full rate, which then falls in a line to a twentieth."""
    seed: int = 0
    save_every_s: float = 60.0
    """Seconds between checkpoints."""


def batches(answers: Sequence[Answer], size: int, rng: random.Random) -> Iterator[list[Answer]]:
    """One epoch: every answer once, about `size` answer tokens a batch, similar lengths together."""
    order = list(answers)
    rng.shuffle(order)
    mean = sum(len(a.states) for a in order) / len(order)
    bucket = max(1, round(BUCKET_BATCHES * size / mean))
    for at in range(0, len(order), bucket):
        part = sorted(order[at : at + bucket], key=lambda a: len(a.ids))
        groups: list[list[Answer]] = [[]]
        tokens = 0
        for a in part:
            if tokens >= size:
                groups.append([])
                tokens = 0
            groups[-1].append(a)
            tokens += len(a.states)
        rng.shuffle(groups)
        yield from groups


def restore(checkpoint: Path) -> DraftNet:
    """The net of a checkpoint of `train`."""
    saved = torch.load(checkpoint, weights_only=True)
    net = DraftNet(CompactShape(**saved["shape"]), saved["net"]["support"].numpy())
    net.load_state_dict(saved["net"])
    return net


def loss_of(net: DraftNet, teacher_head: Tensor, batch: Sequence[Answer], *, rejected: bool) -> Tensor:
    """Mean KL, or share `rejected`, of the answer positions of a batch.

    `teacher_head`: output rows of the support, bf16 [R, H].
    """
    longest = max(len(a.ids) for a in batch) - 1
    ids = torch.zeros(len(batch), longest, dtype=torch.int64)
    answer = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, a in enumerate(batch):
        ids[row, : len(a.ids) - 1] = a.ids[:-1]
        answer[row, a.answer_start - 1 : len(a.ids) - 1] = True
    with torch.autocast("cpu", torch.bfloat16):
        y = net(ids)
    states = torch.cat([a.states for a in batch])
    loss: Tensor = _TeacherLoss.apply(y[answer], net.head, states, teacher_head, rejected)  # type: ignore[no-untyped-call]
    return loss


def train(
    net: DraftNet,
    teacher: Teacher,
    read: Callable[[], Sequence[Answer]],
    plan: TrainingPlan,
    *,
    checkpoint: Path,
    progress: Callable[[str], None],
) -> list[float]:
    """Train `net` in place, on from `checkpoint` where there is one; the loss of every step of this run.

    `read` is called before every epoch: answers that another process adds meanwhile are taken up then.
    """
    matrices, others = net.matrices(), net.others()
    muon = Muon(matrices, lr=plan.matrix_rate, momentum=0.95, decay=0.05)
    adam = torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.95), weight_decay=0.0)
    steps, seen, step = max(1, round(plan.seen / plan.batch)), 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        seen, step = saved["seen"], saved["step"]
        progress(f"going on at step {step}, {seen} tokens seen")
    teacher_head = teacher.head[net.support]
    rng = random.Random(plan.seed * 1_000_003 + step)
    losses: list[float] = []
    started = last_saved = last_told = time.monotonic()
    seen_before = seen

    def save_checkpoint() -> None:
        partial = checkpoint.with_suffix(".partial")
        state: Mapping[str, Any] = {
            "shape": asdict(net.shape),
            "net": net.state_dict(),
            "muon": muon.state_dict(),
            "adam": adam.state_dict(),
            "seen": seen,
            "step": step,
        }
        torch.save(state, partial)
        partial.rename(checkpoint)

    source: Iterator[list[Answer]] = iter(())
    while step < steps:
        batch = next(source, None)
        if batch is None:
            answers = read()
            progress(f"an epoch of {len(answers)} answers, {sum(len(a.states) for a in answers)} tokens")
            source = batches(answers, plan.batch, rng)
            continue
        rate = min(1.0, (step + 1) / plan.warm_up) * (1 - 0.95 * step / steps)
        muon.param_groups[0]["lr"] = plan.matrix_rate * rate
        adam.param_groups[0]["lr"] = plan.other_rate * rate
        loss = loss_of(net, teacher_head, batch, rejected=step >= steps * (1 - plan.overlap))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*matrices, *others], 1.0)
        muon.step()
        adam.step()
        muon.zero_grad()
        adam.zero_grad()
        losses.append(loss.item())
        step, seen = step + 1, seen + sum(len(a.states) for a in batch)
        now = time.monotonic()
        if now - last_told > 10 or step == steps:
            last_told = now
            recent = losses[-50:]
            progress(
                f"step {step} of {steps}, {seen} tokens seen, {(seen - seen_before) / (now - started):.0f} a "
                f"second, loss {sum(recent) / len(recent):.3f}"
            )
        if now - last_saved > plan.save_every_s or step == steps:
            last_saved = now
            save_checkpoint()
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Held-out figures of a draft: the chance that the target accepts a drafted token."""

    alpha: Mapping[tuple[float, int], float]
    """Mean of sum min(p, q) by (temperature, K); q is the draft's top K renormalised, p all of the target."""
    greedy: float
    """Share of positions of greedy answers where both have the same first choice."""
    positions: Mapping[float, int]
    """Positions measured by temperature."""


@torch.inference_mode()
def evaluate(
    draft: CompactDraft, teacher: Teacher, answers: Sequence[Answer], ks: Sequence[int]
) -> Acceptance:
    """Measure `draft`, as nodes will run it, at every position of `answers`."""
    vocabulary = len(teacher.head)
    support = torch.arange(vocabulary) if draft.support is None else torch.from_numpy(draft.support)
    ks = sorted({min(k, len(support)) for k in ks})
    sums: dict[tuple[float, int], float] = {}
    positions: dict[float, int] = {}
    agreed = 0
    for a in answers:
        context = draft.open()
        logits = torch.from_numpy(context.logits(a.ids[:-1].tolist(), len(a.states)))
        context.close()
        target = F.linear(a.states, teacher.head).float()
        positions[a.temperature] = positions.get(a.temperature, 0) + len(logits)
        if a.temperature == 0:
            agreed += int((support[logits.argmax(-1)] == target.argmax(-1)).sum())
            continue
        p = (target / a.temperature).softmax(-1)[:, support]
        q, order = (logits / a.temperature).softmax(-1).sort(descending=True)
        p, mass = p.gather(-1, order), q.cumsum(-1)
        for k in ks:
            overlap = torch.minimum(p[:, :k], q[:, :k] / mass[:, k - 1 : k]).sum()
            sums[a.temperature, k] = sums.get((a.temperature, k), 0.0) + float(overlap)
    return Acceptance(
        alpha={key: value / positions[key[0]] for key, value in sums.items()},
        greedy=agreed / max(1, positions.get(0.0, 0)),
        positions=positions,
    )
