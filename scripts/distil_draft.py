"""Distil a small draft model from a target: its own answers, a closed-form start, minutes of training.

    python scripts/distil_draft.py all --work ~/distil --out my-draft

See --help. Everything runs on CPU cores; every stage can be interrupted and started again.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import shutil
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from distil_answers import Answer, Job, answered, generate_shards, read_shard
from distil_train import (
    Acceptance,
    DraftNet,
    Teacher,
    TrainingPlan,
    closed_form_start,
    evaluate,
    rank_ids,
    restore,
    train,
)

from draftwire.nodes.models.compact import CompactShape, load
from draftwire.nodes.models.pairs.shipped import TARGET_HUB_ID, TOKENIZER_FILES, target_folder

TRAIN_TEMPERATURES: Final = (1.0, 1.0, 0.7, 0.7, 0.0)
"""Taken in turn by the prompts: the draft must serve all of them."""

EVALUATED_TEMPERATURES: Final = (1.0, 0.7, 0.0)
"""Every held-out prompt is answered at each."""

EVALUATED_K: Final = (3, 8, 32, 320, 3200)
"""Cuts of the draft's distribution; the whole support is always added."""

PROMPTS: Final = Path(__file__).with_name("distil_prompts.toml")
"""Topics and kinds of request; some topics are held out."""

CHECKPOINT: Final = "checkpoint.pt"
"""In the work folder: the draft in training, with the state of its optimizers."""

DESCRIPTION: Final = """\
Distil a small draft model from a target language model (Llama architecture), on CPU cores.

Stages, each of which goes on where it was interrupted:
  generate  the target answers prompts; its answers and final states go to WORK/answers
  train     the draft learns from them, also while 'generate' still adds some;
            a checkpoint a minute goes to WORK
  export    the draft becomes a folder that draftwire loads: OUT
  evaluate  the exported draft is measured on prompts that were held out
  all       one after the other

The defaults are those of the shipped draft: half an hour on two idle cores. Training longer (--seen) raises
acceptance most, as long as there are answers enough (--tokens) not to be learned by heart."""


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
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
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
    """(to train on, held out): from --prompts, else made of topics and kinds of request."""
    shuffle = random.Random(args.seed).shuffle
    if args.prompts is None:
        made = tomllib.loads(PROMPTS.read_text(encoding="utf-8"))
        train = [kind.format(topic) for topic in made["topics"] for kind in made["kinds"]]
        shuffle(train)
        kinds = itertools.cycle(made["kinds"][7 * i % len(made["kinds"])] for i in range(len(made["kinds"])))
        other = [kind.format(topic) for topic, kind in zip(made["held_out_topics"], kinds, strict=False)]
        return train, other + made["free"]
    lines = (line.strip() for line in args.prompts.read_text(encoding="utf-8").splitlines())
    given = list(dict.fromkeys(line for line in lines if line))
    if len(given) < 2:
        raise SystemExit(
            f"{args.prompts} holds {len(given)} distinct prompts; it takes 2 or more, one a line"
        )
    shuffle(given)
    held_out = max(1, min(64, len(given) // 10))
    return given[held_out:], given[:held_out]


def answers(work: Path, name: str) -> list[Answer]:
    """The answers generated so far: "train" or "held-out"."""
    shards = sorted((work / "answers").glob(f"{name}-*.safetensors"))
    if not shards:
        raise SystemExit(
            f"There are no '{name}' answers in {work / 'answers'}: run the stage 'generate' first"
        )
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
    folder = args.work / "answers"
    folder.mkdir(exist_ok=True)
    encoded, held_out = ([encode(target.tokenizer, p) for p in part] for part in prompts(args))
    first, last = min([*encoded, *held_out]), max([*encoded, *held_out])  # these two differ the earliest
    prefix = [
        a
        for a, b in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first[:-1], last, strict=False))
    ]
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
    done = answered(folder, "held-out")
    generate_shards(
        target.model,
        [job for job in jobs if job.index not in done],
        folder,
        name="held-out",
        tokens=len(jobs) * args.max_held_out,
        max_answer=args.max_held_out,
        seed=args.seed + 1_000_000,
        progress=say,
        **common,
    )
    # Rounds over the prompts: from the second on, each is answered at another temperature.
    cycle, count = len(TRAIN_TEMPERATURES), len(encoded)
    rounds = 1 + args.tokens // (16 * count)  # enough for answers as short as 16 tokens
    jobs = [
        Job(index=r * count + i, temperature=TRAIN_TEMPERATURES[(i + 2 * r) % cycle], prompt=prompt)
        for r in range(rounds)
        for i, prompt in enumerate(encoded)
    ]
    done = answered(folder, "train")
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
    checkpoint = args.work / CHECKPOINT
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    torch.manual_seed(args.seed)
    if checkpoint.exists():
        net = restore(checkpoint)
        chosen = (args.layers, args.hidden, args.heads, args.mlp)
        if chosen != (net.shape.layers, net.shape.hidden, net.shape.heads, net.shape.mlp):
            raise SystemExit(f"{checkpoint} holds a draft of another shape, {net.shape}: add --restart")
    else:
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
        net = DraftNet(shape, support)
        say(f"closed-form start, {len(support)} ids in the head")
        closed_form_start(net, teacher, given)
    plan = TrainingPlan(
        seen=args.seen,
        batch=args.batch,
        matrix_rate=args.matrix_rate,
        other_rate=args.other_rate,
        overlap=args.overlap,
        seed=args.seed,
    )
    train(net, teacher, lambda: answers(args.work, "train"), plan, checkpoint=checkpoint, progress=say)


def export(args: argparse.Namespace) -> None:
    """Stage export."""
    checkpoint = args.work / CHECKPOINT
    if not checkpoint.exists():
        raise SystemExit(f"{args.work} holds no trained draft: run the stage 'train' first")
    restore(checkpoint).export(args.out, context_length=args.context_length)
    source = Path(args.target) if args.target else target_folder(progress=say)
    if source is not None and all((source / name).is_file() for name in TOKENIZER_FILES):
        for name in TOKENIZER_FILES:
            shutil.copyfile(source / name, args.out / name)
    else:
        load_target(args.target).tokenizer.save_pretrained(args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir() if file.is_file())
    say(f"exported to {args.out}, {size / 1e6:.1f} MB in all")


def measure(args: argparse.Namespace) -> None:
    """Stage evaluate."""
    target = load_target(args.target)
    draft = load(args.out)
    ks = [*EVALUATED_K, draft.shape.support_size]
    found = evaluate(draft, target.teacher(), answers(args.work, "held-out"), ks)
    say(f"{args.out} on held-out prompts, positions by temperature: {dict(found.positions)}")
    print(table(found))


def table(found: Acceptance) -> str:
    """The held-out figures as a Markdown table."""
    ks = sorted({k for _, k in found.alpha})
    lines = [
        "| acceptance at K = | " + " | ".join(map(str, ks)) + " |",
        "|---|" + "---|" * len(ks),
    ]
    for t in sorted({t for t, _ in found.alpha}, reverse=True):
        lines.append(f"| T = {t:g} | " + " | ".join(f"{found.alpha[t, k]:.3f}" for k in ks) + " |")
    return "\n".join([*lines, f"\nSame first choice (T = 0): {found.greedy:.3f}"])


def everything(args: argparse.Namespace) -> None:
    """Stage all."""
    for stage in (generate, fit, export, measure):
        stage(args)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=formatter)
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def stage(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        made = stages.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        made.set_defaults(run=run)
        made.add_argument("--work", type=Path, required=True, help="folder for answers and checkpoints")
        made.add_argument("--target", help="local folder or hub id; left out: the shipped pair's target")
        made.add_argument(
            "--prompts", type=Path, help="text file, a prompt a line, a tenth of them held out; else built-in"
        )
        made.add_argument("--seed", type=int, default=0, help="of prompt order, sampling and initial weights")
        return made

    def generating(made: argparse.ArgumentParser) -> None:
        made.add_argument("--tokens", type=int, default=650_000, help="answer tokens to have in the end")
        made.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of one thread")
        made.add_argument("--slots", type=int, default=128, help="answers in progress a worker")
        made.add_argument("--max-prompt", type=int, default=128, help="tokens; longer prompts are left out")
        made.add_argument("--max-answer", type=int, default=192, help="tokens; longer answers are cut")
        made.add_argument("--max-held-out", type=int, default=128, help="the same for held-out answers")

    def training(made: argparse.ArgumentParser) -> None:
        made.add_argument("--seen", type=int, default=3_400_000, help="answer tokens to learn from")
        made.add_argument("--support", type=int, default=4096, help="ids that the draft can propose")
        made.add_argument("--layers", type=int, default=2)
        made.add_argument("--hidden", type=int, default=256)
        made.add_argument("--heads", type=int, default=4)
        made.add_argument("--mlp", type=int, default=704)
        made.add_argument("--batch", type=int, default=2048, help="answer tokens a step")
        made.add_argument("--matrix-rate", type=float, default=0.02, help="learning rate of Muon")
        made.add_argument("--other-rate", type=float, default=3e-3, help="learning rate of AdamW")
        made.add_argument(
            "--overlap", type=float, default=0.2, help="last share of steps, on acceptance itself"
        )
        made.add_argument("--restart", action="store_true", help="drop the checkpoint, start anew")

    def exporting(made: argparse.ArgumentParser) -> None:
        made.add_argument("--context-length", type=int, default=2048, help="most tokens the draft will read")

    def placed(made: argparse.ArgumentParser) -> None:
        made.add_argument("--out", type=Path, required=True, help="folder of the exported draft")

    generating(stage("generate", generate, "Let the target answer the prompts."))
    training(stage("train", fit, "Train the draft on the answers."))
    made = stage("export", export, "Write the trained draft as draftwire loads it.")
    exporting(made)
    placed(made)
    placed(stage("evaluate", measure, "Measure an exported draft on the held-out prompts."))
    made = stage("all", everything, "All stages, one after the other.")
    for options in (generating, training, exporting, placed):
        options(made)
    return top


def main(argv: Sequence[str] | None = None) -> None:
    """Run one stage."""
    args = parser().parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # probabilities below 1e-38 are zero, and slow only if they are kept
    args.run(args)


if __name__ == "__main__":
    main()
