"""Learn the set of rank tables that comes with the shipped pair: nodes/models/pairs/smollm2/rows.tables.

    python scripts/learn_tables.py --out rows.tables                            # from nothing
    python scripts/learn_tables.py --out rows.tables --answers WORK/answers     # after distil_draft.py

The text is what the draft sees in use: the target's answers at temperature 1 and 0.7 to the prompts of
scripts/distil_prompts.toml. From nothing the target answers them here, about 3 hours on one core for the
default number of rows (--rows 12000 takes less than one); --answers takes those that scripts/distil_draft.py
has left in its work folder, and then all is done in minutes. Of each answer 32 rows are taken, at a place
drawn at random. What is reported comes from the held-out topics alone. Logits differ by rounding from machine
to machine, and so does the set by a little.

For a pair of your own: `draftwire tables learn`.
"""

import argparse
import itertools
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file

from draftwire.codecs.learning import LADDER
from draftwire.nodes.console.tables.learn import collected, learned, measured
from draftwire.nodes.console.tables.passages import Passage, Passages, from_answers
from draftwire.nodes.console.tables.told import print_report
from draftwire.nodes.console.tables.writing import write
from draftwire.nodes.models.catalogue import SHIPPED, load_draft, load_target, load_tokenizer

PROMPTS: Final = Path(__file__).with_name("distil_prompts.toml")
ANSWER_ROWS: Final = 32
"""Of an answer: neighbours resemble each other, so many answers tell more than whole ones."""

HELD_OUT_SHARE: Final = 1 / 12
"""Of the rows, in addition: for the report."""

LABEL: Final = "smollm2: answers of SmolLM2-135M-Instruct at temperature 1 and 0.7"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the set's file")
    parser.add_argument("--answers", type=Path, help="folder of shards of distil_draft.py")
    parser.add_argument("--rows", type=int, default=48_000, help="to learn from; default: %(default)s")
    parser.add_argument("--tables", type=int, default=16, help="at most, for a K; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    draft, tokenizer = load_draft(SHIPPED), load_tokenizer(SHIPPED, end="draft")
    assert draft.support is not None
    ladder = [k for k in LADDER if k <= len(draft.support)]
    chosen = passages(args.answers, rows=args.rows, seed=args.seed)
    learnt = collected(chosen.learnt, draft, width=ladder[-1], what="rows to learn from")
    held_out = collected(chosen.held_out, draft, width=ladder[-1], what="held-out rows")
    made = learned(learnt, tokenizer, label=LABEL, tables=args.tables, ladder=ladder, seed=args.seed)
    path = write(made, args.out)
    print_report(Console(width=110), made, path, measured(made, learnt, held_out))
    return 0


def passages(answers: Path | None, *, rows: int, seed: int) -> Passages:
    """Pieces of answers for `rows` rows to learn from, and of answers about held-out topics."""
    left = round(rows * HELD_OUT_SHARE)
    if answers is not None:
        return Passages(
            learnt=pieces(stored(answers, "train"), rows=rows, seed=seed),
            held_out=pieces(stored(answers, "held-out"), rows=left, seed=seed),
        )
    made = tomllib.loads(PROMPTS.read_text(encoding="utf-8"))
    train = [kind.format(topic) for topic in made["topics"] for kind in made["kinds"]]
    random.Random(seed).shuffle(train)
    kinds = itertools.cycle(made["kinds"])
    other = [kind.format(topic) for topic, kind in zip(made["held_out_topics"], kinds, strict=False)]
    return Passages(
        learnt=pieces(answered(train, rows=rows, seed=seed), rows=rows, seed=seed),
        held_out=pieces(answered(other + made["free"], rows=left, seed=seed), rows=left, seed=seed),
    )


def stored(folder: Path, name: str) -> list[Passage]:
    """The answers above temperature 0 in shards of distil_draft.py: "train" or "held-out"."""
    found = list[Passage]()
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        shard = load_file(path)
        fields = zip(
            shard["temperature"].tolist(),
            torch.split(shard["ids"], shard["length"].tolist()),
            shard["answer_start"].tolist(),
            strict=True,
        )
        found += [Passage(tokens=tuple(ids.tolist()), start=start) for t, ids, start in fields if t > 0]
    if not found:
        raise SystemExit(
            f"{folder} holds no {name}-*.safetensors: run scripts/distil_draft.py generate first"
        )
    return found


def answered(prompts: Sequence[str], *, rows: int, seed: int) -> list[Passage]:
    """The target's answers to prompts: enough for `rows` rows, if each of them gives as many as it can."""
    target, tokenizer = load_target(SHIPPED), load_tokenizer(SHIPPED, end="target")
    wanted, found, taken = rows, list[Passage](), 0
    answers = from_answers(
        prompts,
        tokenizer,
        target,
        rows=10**9,
        context_length=target.context_length,
        seed=seed,
    )
    for answer in answers:
        found.append(answer)
        taken += min(answer.rows, ANSWER_ROWS)
        if taken >= wanted:
            break
    return found


def pieces(answers: Sequence[Passage], *, rows: int, seed: int) -> tuple[Passage, ...]:
    """Of answers in random order, ANSWER_ROWS positions each at a random place, until there are `rows`."""
    rng = np.random.default_rng(seed)
    found, made = list[Passage](), 0
    for i in rng.permutation(len(answers)).tolist():
        one = answers[i]
        first = one.start + int(rng.integers(0, max(1, one.rows - ANSWER_ROWS + 1)))
        end = min(first + min(ANSWER_ROWS, rows - made), len(one.tokens))
        found.append(Passage(tokens=one.tokens[:end], start=first))
        made += found[-1].rows
        if made >= rows:
            break
    return tuple(found)


if __name__ == "__main__":
    raise SystemExit(main())
