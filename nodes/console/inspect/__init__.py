"""`draftwire inspect FILE`: what travelled, field by field.

`sources` recognises what it was handed, with `dumps` for hexadecimal; `examine` takes each frame apart,
`view` shows one, `listing` a capture, `runs` a record, in lines that `wrapping` fits to a terminal; `values`
says the same to programs, and `words` has the texts of tokens.
"""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from rich.console import Console

from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.escape import json_line
from draftwire.nodes.console.inspect.examine import Examined, Examiner, as_said
from draftwire.nodes.console.inspect.listing import Totals, print_line, print_totals
from draftwire.nodes.console.inspect.runs import print_run, run_values
from draftwire.nodes.console.inspect.sources import FORMS, Source, SourceError, recognised
from draftwire.nodes.console.inspect.values import ALL, frame_values
from draftwire.nodes.console.inspect.view import print_frame, say
from draftwire.nodes.console.inspect.words import Words
from draftwire.nodes.console.record import record_of
from draftwire.nodes.console.tables.look import show_set
from draftwire.runtime.errors import ConfigurationError

STDIN = "-"

_DEFAULT_ENTRIES = 10

EXAMPLES = """\
examples:
  draftwire generate "Why is the sky blue?" --capture c.jsonl    what the channel carries
  draftwire inspect c.jsonl                                      a line a frame, and what they come to
  draftwire inspect c.jsonl --summary                            what they come to alone
  draftwire inspect c.jsonl --frame 7                            one of them, field by field, rows and all
  draftwire inspect c.jsonl -v --entries all --json              everything, an object a frame
  echo d30c010203040a0b0c0d184922e0b00700010000000700000027 | draftwire inspect -
  draftwire inspect run.jsonl                                    a file of --record: what each step sent

A frame that is refused ends it with exit code 1, after what could be read of it; so does a golden vector
that is not refused as it says.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire inspect`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a frame or a block of rows, in binary or hexadecimal; a golden vector; a file of --capture, "
        "--record or tables; `-`: standard input",
    )
    parser.add_argument("--block", action="store_true", help="the bytes are a block of rows without a frame")
    parser.add_argument(
        "--frame", type=_number, metavar="N", help="of a capture: this frame in full; they count from 1"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="of a capture: every frame in full")
    parser.add_argument(
        "--summary", action="store_true", help="of a capture: what its frames come to, and no line a frame"
    )
    parser.add_argument(
        "--entries",
        type=_entries,
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
        help="a set of tables that rows are spelt with, or its golden vector; may be repeated; left out: "
        "those of this machine; `none`",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a frame")


def run(args: argparse.Namespace) -> int:
    """What travelled: a frame, a block of rows, a capture or a recorded run, field by field."""
    examiner = Examiner(args.tables)
    _check_summary(args)
    with _opened(args.file) as file:
        try:
            source = recognised(file, source=args.file, block=args.block)
        except OSError as error:
            raise _unreadable(args.file, error) from None
        if source.record is not None:
            return _show_record(args, source.record)
        if source.tables is not None:
            return _show_tables(args, source.tables)
        if args.summary and source.captured is None:
            raise ConfigurationError(
                f"{args.file!r} is no capture",
                key="--summary",
                remedy="leave it out, or give a file of --capture",
            )
        examiner.add(source.sets)
        return _show_frames(args, source, examiner)


def _show_frames(args: argparse.Namespace, source: Source, examiner: Examiner) -> int:
    console, words, totals = Console(highlight=False), Words(args.model), Totals()
    number, as_wanted = 0, True
    for number, piece in enumerate(source.pieces, start=1):
        if args.frame is not None and number < args.frame:
            examiner.pass_over(piece)
            continue
        one = examiner.examine(piece)
        totals.add(one)
        as_wanted &= as_said(one) is not False
        _show_frame(args, console, one, words, totals, listed=source.captured is not None)
        if number == args.frame:
            break
    else:
        if args.frame is not None:
            remedy = f"write 1 to {number}"
            raise ConfigurationError(f"{args.frame}: there are {number}", key="--frame", remedy=remedy)
    left_out = "" if source.captured is None else source.captured.told
    if source.captured is not None and args.frame is None and not args.json:
        if not args.summary:
            say(console, "")
        print_totals(console, totals, words, left_out=left_out)
    elif left_out:
        print(f"draftwire inspect: {left_out}", file=sys.stderr)
    return 1 if totals.refused or not as_wanted else 0


def _show_frame(
    args: argparse.Namespace, console: Console, one: Examined, words: Words, totals: Totals, *, listed: bool
) -> None:
    """`listed`: it is one of a capture; `totals` have it already."""
    entries = _DEFAULT_ENTRIES if args.entries is None else args.entries
    if args.summary:
        return
    if args.json:
        print(json_line(frame_values(one, words, entries=entries)))
    elif listed and args.frame is None and not args.verbose:
        print_line(console, one, words, began_s=totals.began_s or 0.0)
    else:
        if totals.frames > 1:
            say(console, "")
        print_frame(console, one, words, entries=entries)


def _show_record(args: argparse.Namespace, data: bytes) -> int:
    _check_no_frames(args, "a record")
    record = record_of(data, Path(args.file))
    if args.json:
        print(json_line(run_values(record)))
    else:
        print_run(Console(highlight=False), record)
    return 0


def _show_tables(args: argparse.Namespace, tables: TableSet) -> int:
    _check_no_frames(args, "a set of tables")
    show_set(tables, path=Path(args.file), as_json=args.json)
    return 0


def _check_no_frames(args: argparse.Namespace, what: str) -> None:
    """Raise ConfigurationError for an option of frames, which would do nothing."""
    given = {
        "--block": args.block,
        "--frame": args.frame is not None,
        "--verbose": args.verbose,
        "--summary": args.summary,
        "--entries": args.entries is not None,
        "--model": args.model is not None,
        "--tables": args.tables is not None,
    }
    for key, is_given in given.items():
        if is_given:
            raise ConfigurationError(
                f"{args.file!r} is {what}, and has no frames",
                key=key,
                remedy="leave it out, or give a file of --capture",
            )


def _check_summary(args: argparse.Namespace) -> None:
    """Raise ConfigurationError for --summary with an option that shows frames."""
    shown = {"--frame": args.frame is not None, "--verbose": args.verbose, "--json": args.json}
    for key, is_given in shown.items():
        if args.summary and is_given:
            raise ConfigurationError("shows no frame", key="--summary", remedy=f"leave {key} out")


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    if name == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> SourceError:
    return SourceError(error.strerror or str(error), source=name, remedy=FORMS)


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
