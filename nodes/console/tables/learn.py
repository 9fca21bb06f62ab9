"""`draftwire tables learn`: from a draft and a text to a file of rank tables, and what they are worth."""

import argparse
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.console import Console

from draftwire.codecs.checks import check_text
from draftwire.codecs.learning import LADDER, LEAST_ROWS, learn
from draftwire.codecs.limits import MAX_PLAIN_K, MAX_RUNGS, MAX_TABLES, MAX_VOCAB_SIZE
from draftwire.codecs.tables import TableSet
from draftwire.nodes.console import options
from draftwire.nodes.console.assemble import check_model, limit_threads
from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.tables.passages import (
    Passage,
    Passages,
    drafted_rows,
    from_answers,
    from_files,
    read_prompts,
    split,
)
from draftwire.nodes.console.tables.report import Rows, Worth, bits_with, worth
from draftwire.nodes.console.tables.told import Learnt, Otherwise, as_json, print_learnt, warnings
from draftwire.nodes.console.tables.writing import check_folder, write
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.catalogue import SHIPPED, LoadOptions, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.tables import find_tables
from draftwire.nodes.models.vocabulary import fitted
from draftwire.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from draftwire.nodes.models.base import LanguageModel
    from draftwire.nodes.models.tokenizer import Tokenizer

EPILOG = """\
The text should be what the target says, since rows are sent along its answers: --prompts with --target lets
it answer, which takes as long as so many tokens do. Files of such answers, or of text of the same kind, are
as good with --text. Some thousand rows will do; twenty thousand save a few percent more.

Where no --out is given, the set goes to a folder in which every command looks for sets of its pair; a device
and a base station use the first one that both have, and the shipped pair's own comes first: one of your own
that is to be used in its place is named with --tables at the device. `draftwire tables list` shows the order.

examples:
  draftwire tables learn --draft ORG/SMALL --prompts prompts.txt --target ORG/LARGE
  draftwire tables learn --draft ORG/SMALL --text answers.txt more.txt
  draftwire tables learn --text answers.txt --out my.tables
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables learn`."""
    parser.epilog = EPILOG
    models = parser.add_argument_group("the draft, and its text")
    models.add_argument("--draft", metavar="ID", default=SHIPPED, help="smollm2, a folder, .gguf or hub id")
    models.add_argument("--dtype", default="auto", help="of models' weights; default: auto")
    models.add_argument(
        "--threads", type=_threads, default=1, metavar="N", help="that models compute in; default: 1"
    )
    models.add_argument("--text", metavar="FILE", type=Path, nargs="+", help="plain text, UTF-8")
    models.add_argument("--prompts", metavar="FILE", type=Path, help="one a line; --target answers them")
    models.add_argument(
        "--target", metavar="ID", help="who answers; default: smollm2 where that is the draft"
    )
    models.add_argument(
        "--rows", type=_rows, default=24_000, metavar="N", help="of text, held-out ones included; 24000"
    )
    models.add_argument(
        "--held-out", type=_share, default=0.1, metavar="SHARE", help="of rows, for the report; default: 0.1"
    )
    tables = parser.add_argument_group("the tables")
    tables.add_argument(
        "--tables", type=_tables, default=16, metavar="N", help="at most, for a K; 1 to 64, default: 16"
    )
    tables.add_argument("--k", type=_ladder, metavar="N,...", help=f"rungs; default: {_words(LADDER)}")
    tables.add_argument("--label", help="for people; default: draft and text")
    tables.add_argument("--seed", type=options.seed, default=0, metavar="S", help="default: 0")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", type=Path, help="default: HASH.tables in your tables folder")
    output.add_argument("--json", action="store_true", help="one JSON object, last on standard output")


def run(args: argparse.Namespace) -> int:
    """Learn rank tables for a draft from text, with which its rows travel in fewer bits.

    Those of the shipped pair bring an entry from 16.9 to 13.3 bits at K = 3, from 14.4 to 10.3 at 8, from
    12.7 to 7.9 at 32, from 10.7 to 5.7 at 320 and from 8.7 to 4.5 at 3200.

    The draft reads the text, and tables are made of the ids that its rows hold. A share of the text is held
    out, and the report says what rows of that take, plain, with the new set, and with the one that would be
    used otherwise.
    """
    options.check_writable(args.out, key="--out")
    if (args.text is None) == (args.prompts is None):
        raise ConfigurationError(
            "no text" if args.text is None else "two kinds of text",
            key="--text or --prompts",
            remedy="write --text FILE..., or --prompts FILE (with --target, for another pair than smollm2)",
        )
    label = args.label or f"{args.draft.rstrip(':')}: {_text_name(args)}"
    check_text("--label", label)
    if args.out is None:
        check_folder()
    written = list[Path]()
    try:
        _learn(args, label, written)
    except KeyboardInterrupt:
        _say(f"stopped; the set is in {written[0]}" if written else "stopped; nothing was written")
        raise
    return 0


def _learn(args: argparse.Namespace, label: str, written: list[Path]) -> None:
    """All of it; `written`: gets the file's path once it is there."""
    started_s = time.monotonic()
    tokenizer, draft = _loaded(args)
    width, ladder = _fitting(args.k, draft)
    passages = _passages(args, tokenizer, draft)
    learnt = collected(passages.learnt, draft, width=width, what="rows to learn from")
    held_out = collected(passages.held_out, draft, width=width, what="held-out rows")
    say_if_few(len(learnt.ids), len(held_out.ids), wanted=args.rows)
    learning_s = time.monotonic()
    made = learned(learnt, tokenizer, label=label, tables=args.tables, ladder=ladder, seed=args.seed)
    learning_s = time.monotonic() - learning_s
    path = write(made, args.out)
    written.append(path)
    found = measured(made, learnt, held_out)
    other, used = otherwise(made, found, held_out)
    result = Learnt(
        tables=made,
        path=path,
        worth=found,
        learnt_rows=len(learnt.ids),
        held_out_rows=len(held_out.ids),
        otherwise=other,
        used=used,
    )
    if args.json:
        took_s = time.monotonic() - started_s
        print(orjson.dumps(as_json(result, learning_s=learning_s, took_s=took_s)).decode(), flush=True)
    else:
        print_learnt(Console(), result)
        sys.stdout.flush()
    for warning in warnings(result):
        _say(f"warning: {warning}")


# Its steps --------------------------------------------------------------------------------------------------


def collected(passages: Sequence[Passage], draft: "LanguageModel", *, width: int, what: str) -> Rows:
    """The draft's rows along passages, with a bar."""
    total = sum(one.rows for one in passages)
    ids, weights = np.empty((total, width), np.int32), np.empty((total, width), np.float32)
    done = 0
    with _bar(total, what) as advance:
        for some, logits in drafted_rows(passages, draft, width=width):
            ids[done : done + len(some)], weights[done : done + len(some)] = some, logits
            done += len(some)
            advance(len(some))
    return Rows(ids=ids, log_weights=weights)


def learned(
    rows: Rows, tokenizer: "Tokenizer", *, label: str, tables: int, ladder: Sequence[int], seed: int
) -> TableSet:
    """The set, with a bar. Raises LocalError where there are too few rows."""
    with _bar(len(ladder), "rungs") as advance:
        return learn(
            rows.ids,
            rows.log_weights,
            vocab_size=tokenizer.vocab_size,
            fingerprint=tokenizer.fingerprint,
            label=label,
            tables=tables,
            ladder=ladder,
            seed=seed,
            progress=lambda rung: advance(1),
        )


def measured(tables: TableSet, learnt: Rows, held_out: Rows) -> tuple[Worth, ...]:
    """What the set is worth, with a bar."""
    with _bar(len(tables.rungs), "rungs measured") as advance:
        return worth(tables, learnt=learnt, held_out=held_out, progress=lambda k: advance(1))


def say_if_few(learnt: int, held_out: int, *, wanted: int) -> None:
    """A word on stderr where there is less text than was asked for, or more would help."""
    if learnt + held_out < wanted:
        _say(f"the text gives {learnt + held_out} rows, fewer than the {wanted} of --rows: all are taken")
    if learnt < 4000:
        _say(f"{learnt} rows are few to learn from: some ten thousand would make better tables")


def otherwise(made: TableSet, found: Sequence[Worth], held_out: Rows) -> tuple[Otherwise | None, bool]:
    """The set that commands would use without the new one, and whether they use the new one."""
    sets = find_tables(None, vocab_size=made.vocab_size, fingerprint=made.fingerprint)
    other = next((one for one in sets if one != made), None)
    used = bool(sets) and sets[0] == made
    if other is None:
        return None, used
    bits = bits_with(other, held_out=held_out, ks=[one.k for one in found])
    return Otherwise(tables=other, bits=bits), used


def _loaded(args: argparse.Namespace) -> "tuple[Tokenizer, LanguageModel]":
    name = args.draft
    check_model(name, key="--draft")
    limit_threads(args.threads, name)
    tokenizer = load_tokenizer(name, end="draft", progress=_say)
    if tokenizer.vocab_size > MAX_VOCAB_SIZE:
        raise UnsupportedModelError(
            f"'{name}' has a vocabulary of {tokenizer.vocab_size} ids; rows can hold {MAX_VOCAB_SIZE} at most"
        )
    model = load_draft(name, LoadOptions(dtype=args.dtype), progress=_say)
    return tokenizer, fitted(model, tokenizer.vocab_size)


def _fitting(ks: tuple[int, ...] | None, draft: "LanguageModel") -> tuple[int, tuple[int, ...]]:
    """The width of rows, and the rungs that the draft allows."""
    most = min(MAX_PLAIN_K, draft.vocab_size if draft.support is None else len(draft.support))
    if ks is not None and max(ks) > most:
        problem = f"{max(ks)}, but the draft's rows have {most} entries at most"
        raise ConfigurationError(problem, key="--k", remedy=f"write numbers up to {most}")
    ladder = tuple(sorted(k for k in (ks or LADDER) if k <= most))
    return ladder[-1], ladder


def _passages(args: argparse.Namespace, tokenizer: "Tokenizer", draft: "LanguageModel") -> Passages:
    if args.text is not None:
        return from_files(
            args.text,
            tokenizer,
            rows=args.rows,
            held_out=args.held_out,
            context_length=draft.context_length,
        )
    name = args.target or (SHIPPED if args.draft == SHIPPED else None)
    if name is None:
        raise ConfigurationError(
            "nobody to answer the prompts", key="--target", remedy=f"name the target of {args.draft!r}"
        )
    prompts = read_prompts(args.prompts)
    check_model(name, key="--target")
    theirs = load_tokenizer(name, end="target", progress=_say)
    if (theirs.vocab_size, theirs.fingerprint) != (tokenizer.vocab_size, tokenizer.fingerprint):
        problem = f"{name!r} has another vocabulary than {args.draft!r}"
        raise ConfigurationError(problem, key="--target", remedy="name a target with the draft's tokenizer")
    target = fitted(load_target(name, LoadOptions(dtype=args.dtype), progress=_say), tokenizer.vocab_size)
    answers = list[Passage]()
    with _bar(args.rows, "tokens answered") as advance:
        for answer in from_answers(
            prompts,
            tokenizer,
            target,
            rows=args.rows,
            context_length=min(draft.context_length, target.context_length),
            seed=args.seed,
        ):
            answers.append(answer)
            advance(answer.rows)
    return split(answers, held_out=args.held_out)


# Words ------------------------------------------------------------------------------------------------------


def _text_name(args: argparse.Namespace) -> str:
    if args.prompts is not None:
        return f"answers to {args.prompts.name}"
    names = ", ".join(path.name for path in args.text[:3])
    return names + (" and others" if len(args.text) > 3 else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """On stderr; the value advances it. Without a terminal, a line that says what begins."""
    console = Console(stderr=True)
    if not console.is_terminal:
        _say(f"{what}: {total}")
    with bar_on(console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


# Options ----------------------------------------------------------------------------------------------------


def _rows(text: str) -> int:
    return _number(text, 2 * LEAST_ROWS, 1_000_000)


def _threads(text: str) -> int:
    return _number(text, 1, 1024)


def _tables(text: str) -> int:
    return _number(text, 1, MAX_TABLES)


def _ladder(text: str) -> tuple[int, ...]:
    found = options.widths(text)
    if max(found) > MAX_PLAIN_K:
        raise ArgumentTypeError(f"{max(found)} is above {MAX_PLAIN_K}, the most entries of a row with tables")
    if len(set(found)) > MAX_RUNGS:
        raise ArgumentTypeError(f"{len(set(found))} rungs are more than the {MAX_RUNGS} that a set may have")
    return found


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ArgumentTypeError(f"{text!r} is no share: write for instance 0.1")
    return value


def _number(text: str, low: int, high: int) -> int:
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
    return int(text)


def _words(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


__all__ = ["add_arguments", "collected", "learned", "measured", "run"]
