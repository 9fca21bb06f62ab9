"""Distil a small draft model from a target: its own answers, a closed-form start, minutes of training.

    python scripts/distil_draft.py all --work ~/distil --out my-draft

See --help. Everything runs on CPU cores; every stage can be interrupted and started again.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import distil_prompts
import torch
from distil_answers import ANSWERS_PER_SHARD, Answer, Job, generate_shards, read_shard
from distil_train import (
    Acceptance,
    DraftNet,
    Teacher,
    TrainingPlan,
    closed_form_start,
    evaluate,
    rank_ids,
    train,
)

from draftwire.nodes.models.compact import CONFIG_FILE, CompactShape, load
from draftwire.nodes.models.pairs.shipped import TARGET_HUB_ID, TOKENIZER_FILES, target_folder

TRAIN_TEMPERATURES: Final = (1.0, 1.0, 0.7, 0.7, 0.0)
"""Taken in turn by the prompts: the draft must serve all of them."""

EVALUATED_TEMPERATURES: Final = (1.0, 0.7, 0.0)
"""Every held-out prompt is answered at each."""

EVALUATED_K: Final = (3, 8, 32, 320, 3200)
"""Cuts of the draft's distribution; the whole support is always added."""

DESCRIPTION: Final = """\
Distil a small draft model from a target language model (Llama architecture), on CPU cores.

Stages, each of which goes on where it was interrupted:
  generate  the target answers prompts; its answers and final states go to WORK/answers
  train     the draft learns from them; a checkpoint a minute goes to WORK
  export    the draft becomes a folder that draftwire loads: OUT
  evaluate  the exported draft is measured on prompts that were held out
  all       one after the other

The defaults distil the shipped draft's little sister in under an hour on two cores. More answers help most
(--tokens), then more passes over them (--seen)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A loaded target with what goes with it."""

    name: str
    model: Any
    tokenizer: Any
    end_ids: frozenset[int]

    def teacher(self) -> Teacher:
        """The rows the draft learns from."""
        return Teacher(
            embedding=self.model.get_input_embeddings().weight.detach(),
            head=self.model.get_output_embeddings().weight.detach(),
        )


def say(text: str) -> None:
    """A line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def load_target(name: str | None) -> Target:
    """The target at a folder or hub id; None: the shipped pair's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # slow to import, and not needed for --help

    source = name or str(target_folder(progress=say) or TARGET_HUB_ID)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).eval()
    ends = {tokenizer.eos_token_id}
    for config in (model.config, model.generation_config):
        given = getattr(config, "eos_token_id", None)
        ends.update(given if isinstance(given, list) else [given])
    return Target(name=source, model=model, tokenizer=tokenizer, end_ids=frozenset(ends - {None}))


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """A prompt as the target is asked it: through its chat template if it has one."""
    if tokenizer.chat_template is None:
        return [int(i) for i in tokenizer(prompt).input_ids]
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return [int(i) for i in ids]


def prompts(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """(to train on, held out)."""
    if args.prompts is None:
        return distil_prompts.built_in(args.seed)
    return distil_prompts.from_file(args.prompts, args.seed)


def answers(work: Path, name: str) -> list[Answer]:
    """The answers generated so far: "train" or "held-out"."""
    shards = sorted((work / "answers").glob(f"{name}-*.safetensors"))
    if not shards:
        raise SystemExit(f"There are no '{name}' answers in {work / 'answers'}: run the stage 'generate' first")
    return [a for shard in shards for a in read_shard(shard)]


def check_settings(args: argparse.Namespace, target: Target) -> None:
    """Refuse to mix the answers of two targets, prompt sets or seeds in one work folder."""
    settings = {"target": target.name, "prompts": str(args.prompts or "built-in"), "seed": args.seed}
    path = args.work / "settings.json"
    args.work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    elif (found := json.loads(path.read_text(encoding="utf-8"))) != settings:
        raise SystemExit(f"{path} is about {found}, this call about {settings}: choose another --work")


def generate(args: argparse.Namespace) -> None:
    """Stage generate: held-out answers first, then --workers processes until there are --tokens."""
    target = load_target(args.target)
    check_settings(args, target)
    (args.work / "answers").mkdir(exist_ok=True)
    encoded, held_out = ([encode(target.tokenizer, p) for p in part] for part in prompts(args))
    prefix = os.path.commonprefix([*encoded, *held_out])
    fits = [p for p in (*encoded, *held_out) if len(prefix) < len(p) <= args.max_prompt]
    if not fits:
        raise SystemExit(f"No prompt has at most --max-prompt {args.max_prompt} tokens")
    common = {
        "end_ids": target.end_ids,
        "slots": args.slots,
        "max_prompt": max(len(p) for p in fits),
        "prefix": prefix,
    }
    jobs = [
        Job(index=i * len(EVALUATED_TEMPERATURES) + j, temperature=t, prompt=prompt)
        for i, prompt in enumerate(held_out)
        for j, t in enumerate(EVALUATED_TEMPERATURES)
    ]
    generate_shards(
        target.model,
        jobs,
        args.work / "answers",
        name="held-out",
        tokens=len(jobs) * args.max_held_out,
        max_answer=args.max_held_out,
        seed=args.seed + 1_000_000,
        progress=say,
        **common,
    )
    # Rounds over the prompts: from the second on, each is answered at another temperature.
    cycle, count = len(TRAIN_TEMPERATURES), len(encoded)
    rounds = -(-args.tokens // (8 * count)) if args.prompts else 2
    jobs = [
        Job(index=r * count + i, temperature=TRAIN_TEMPERATURES[(i + 2 * r) % cycle], prompt=prompt)
        for r in range(rounds)
        for i, prompt in enumerate(encoded)
    ]
    done = {a.index: len(a.states) for a in _existing(args.work)}
    left = args.tokens - sum(done.values())
    say(f"{len(done)} answers with {sum(done.values())} tokens are there, {max(0, left)} tokens to go")
    if left <= 0:
        return
    jobs = [job for job in jobs if job.index not in done]
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=_generate_part,
            args=(args.target, args.work, jobs[w :: args.workers], f"train-{w}", left // args.workers + 1),
            kwargs={**common, "max_answer": args.max_answer, "seed": args.seed + 1000 * (w + 1)},
        )
        for w in range(args.workers)
    ]
    del target
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    if any(process.exitcode for process in workers):
        raise SystemExit("A worker failed; its last lines say why. What was finished stays: run this again")


def _existing(work: Path) -> list[Answer]:
    shards = (work / "answers").glob("train-*.safetensors")
    return [a for shard in shards for a in read_shard(shard)]


def _generate_part(
    target: str | None, work: Path, jobs: Sequence[Job], name: str, tokens: int, **common: Any
) -> None:
    """What a worker process does; it has one thread, because small matrices don't profit from more."""
    torch.set_num_threads(1)
    model = load_target(target).model
    generate_shards(model, jobs, work / "answers", name=name, tokens=tokens, progress=say, **common)


def fit(args: argparse.Namespace) -> None:
    """Stage train."""
    target = load_target(args.target)
    check_settings(args, target)
    teacher, given = target.teacher(), answers(args.work, "train")
    tokens = sum(len(a.states) for a in given)
    say(f"{len(given)} answers, {tokens} tokens")
    support = rank_ids(teacher, given, args.support, target.end_ids)
    shape = CompactShape(
        vocab_size=len(teacher.head),
        support_size=len(support),
        hidden=args.hidden,
        layers=args.layers,
        heads=args.heads,
        head_dim=args.hidden // args.heads,
        mlp=args.mlp,
        context_length=max(len(a.ids) for a in given),
        rope_theta=1e5,
    )
    torch.manual_seed(args.seed)
    checkpoint = args.work / "checkpoint.pt"
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    if checkpoint.exists():  # its support was ranked on the answers there were at the time
        support = torch.load(checkpoint, weights_only=True)["net"]["support"].numpy()
    net = DraftNet(shape, support)
    if not checkpoint.exists():
        say(f"closed-form start, {len(support)} ids in the head")
        closed_form_start(net, teacher, given)
    plan = TrainingPlan(
        seen=args.seen,
        batch=args.batch,
        matrix_rate=args.matrix_rate,
        other_rate=args.other_rate,
        seed=args.seed,
    )
    random.seed(args.seed)
    train(net, teacher, given, plan, checkpoint=checkpoint, progress=say)
    torch.save({"shape": {n: getattr(shape, n) for n in CompactShape.__slots__}}, args.work / "shape.pt")


def export(args: argparse.Namespace) -> None:
    """Stage export."""
    checkpoint, described = args.work / "checkpoint.pt", args.work / "shape.pt"
    if not (checkpoint.exists() and described.exists()):
        raise SystemExit(f"{args.work} holds no trained draft: run the stage 'train' first")
    state = torch.load(checkpoint, weights_only=True)["net"]
    net = DraftNet(
        CompactShape(**torch.load(described, weights_only=True)["shape"]), state["support"].numpy()
    )
    net.load_state_dict(state)
    net.export(args.out, context_length=args.context_length)
    source = Path(load_tokenizer_folder(args))
    for name in TOKENIZER_FILES:
        if (source / name).resolve() != (args.out / name).resolve():
            shutil.copyfile(source / name, args.out / name)
    size = sum(file.stat().st_size for file in args.out.iterdir() if file.is_file())
    say(f"exported to {args.out}, {size / 1e6:.1f} MB in all")
