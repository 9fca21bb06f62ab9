"""`draftwire inspect FILE`: what travelled, field by field.

`sources` recognises what it was handed, `examine` takes each frame apart, `view` shows one, `listing` a
capture, `runs` a record; `values` says the same to programs, and `words` has the texts of tokens.
"""

import argparse
import sys
from pathlib import Path

import orjson
from rich.console import Console

from draftwire.nodes.console.inspect.examine import Examiner
from draftwire.nodes.console.inspect.listing import Totals, print_line, print_totals
from draftwire.nodes.console.inspect.runs import print_run, run_values
from draftwire.nodes.console.inspect.sources import FORMS, Source, SourceError, recognised
from draftwire.nodes.console.inspect.values import ALL, frame_values
from draftwire.nodes.console.inspect.view import print_frame, say
from draftwire.nodes.console.inspect.words import Words
from draftwire.nodes.console.record import record_of
from draftwire.runtime.errors import ConfigurationError

STDIN = "-"

EXAMPLES = """\
examples:
  draftwire generate "Why is the sky blue?" --capture c.jsonl    what the channel carries
  draftwire inspect c.jsonl                                      a line a frame, and what they come to
  draftwire inspect c.jsonl --frame 7                            one of them, field by field, rows and all
  draftwire inspect c.jsonl -v --entries all --json              everything, an object a frame
  echo d30c010203040a0b0c0d184922e0b00700010000000700000027 | draftwire inspect -
  draftwire inspect run.jsonl                                    a file of --record: what each step sent

A frame that is refused ends it with exit code 1, after what could be read before it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire inspect`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a frame or a block of rows, in binary or hexadecimal; a golden vector; a file of --capture or "
        "--record; `-`: standard input",
    )
    parser.add_argument("--block", action="store_true", help="the bytes are a block of rows without a frame")
    parser.add_argument(
        "--frame", type=_number, metavar="N", help="of a capture: this frame in full; they count from 1"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="of a capture: every frame in full")
    parser.add_argument(
        "--entries",
        type=_entries,
        default=10,
        metavar="N",
        help="entries of each row, the likeliest first, and tokens of a message; default 10; `all`",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="whose tokens these are, for their texts; left out: smollm2, where the vocabulary is its own; "
        "`none`: no texts",
    )
    parser.add_argument(
        "--tables",
        action="append",
        metavar="FILE",
        help="a set of tables that rows are spelt with; may be repeated; left out: those of this machine; "
        "`none`",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a frame")


def run(args: argparse.Namespace) -> int:
    """What travelled: a frame, a block of rows, a capture or a recorded run, field by field."""
    source = recognised(_read(args.file), source=args.file, block=args.block)
    if source.record is not None:
        return _show_record(args, source.record)
    words, examiner = Words(args.model), Examiner(args.tables)
    _check_frame(args, source)
    console = Console(highlight=False)
    totals, shown_before = Totals(), False
    for piece in source.pieces:
        one = examiner.examine(piece)
        if args.frame not in (None, one.number):
            continue
        totals.add(one)
        if args.json:
            print(orjson.dumps(frame_values(one, words, entries=args.entries)).decode())
        elif source.capture and args.frame is None and not args.verbose:
            print_line(console, one, words, began_s=source.pieces[0].at_s or 0.0)
        else:
            if shown_before:
                say(console, "")
            print_frame(console, one, words, entries=args.entries)
        shown_before = True
    if source.capture and args.frame is None and not args.json:
        say(console, "")
        print_totals(console, totals, words, cut=source.cut)
    return 1 if totals.refused else 0


def _show_record(args: argparse.Namespace, data: bytes) -> int:
    if args.frame is not None:
        raise ConfigurationError(
            f"{args.file!r} is a record, and has no frames",
            key="--frame",
            remedy="leave it out, or give a file of --capture",
        )
    record = record_of(data, Path(args.file))
    if args.json:
        print(orjson.dumps(run_values(record)).decode())
    else:
        print_run(Console(highlight=False), record)
    return 0


def _check_frame(args: argparse.Namespace, source: Source) -> None:
    if args.frame is not None and args.frame > len(source.pieces):
        raise ConfigurationError(
            f"{args.frame}: there are {len(source.pieces)}",
            key="--frame",
            remedy=f"write 1 to {len(source.pieces)}",
        )


def _read(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SourceError(error.strerror or str(error), source=name, remedy=FORMS) from None


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a frame: they count from 1")
    return int(text)


def _entries(text: str) -> int:
    if text == "all":
        return ALL
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of entries: write for instance 10, or all")
    return int(text)


__all__ = ["add_arguments", "run"]
