"""--journal and --resume: requests that outlive the command that asks them."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from draftwire.nodes.console.api import Generation
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.journal import Journal
from draftwire.runtime.telemetry import get_logger

NO_JOURNAL: Final = "no --journal: if this device dies or is stopped, its answer can't be gone on with"

_REPEATED: Final = ("config", "name", "draft", "target", "dtype", "profile", "link", "schedule", "journal")
"""Options that describe the system and not the request, so that whoever goes on must give them again."""

_OF_THE_REQUEST: Final = (
    *("k", "gamma", "min_draft", "acceptance", "max_waste"),
    *("temperature", "top_k", "top_p", "max_new_tokens", "seed", "stop"),
)


def add_journal_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the commands that have a device."""
    journal = parser.add_argument_group("journal (without one an answer is lost if its device dies)")
    journal.add_argument(
        "--journal", metavar="FILE", type=Path, help="keep the request and its tokens there, to go on later"
    )
    journal.add_argument(
        "--resume", metavar="ID", help="go on with a request of the journal; the prompt is then left out"
    )


def check_resume(args: argparse.Namespace) -> None:
    """Raise InvalidRequestError for options that contradict --resume."""
    if args.resume is None:
        return
    if args.journal is None:
        raise InvalidRequestError("it needs a journal", key="--resume", remedy="add --journal FILE")
    given = ["PROMPT"] if args.prompt is not None else []
    for key in _OF_THE_REQUEST:
        if getattr(args, key, None) not in (None, []):
            given.append("--" + key.replace("_", "-"))
    if given:
        raise InvalidRequestError(
            f"the journal has it, for request {args.resume}",
            key=given[0],
            remedy="leave it out, or leave out --resume",
        )


@contextmanager
def opened_journal(args: argparse.Namespace) -> Iterator[Journal | None]:
    """The journal of --journal; None without that option.

    Raises ConfigurationError for one that can't be written or read, and for a request of --resume that is not
    open in it; a file that is not there is begun, but not to go on with.
    """
    if args.journal is None:
        yield None
        return
    with Journal(args.journal, new=args.resume is None) as journal:
        if journal.cut_bytes:
            get_logger("device").warning(
                "device.journal_cut", path=str(journal.path), bytes=journal.cut_bytes
            )
        if args.resume is not None:
            journal.entry(args.resume)
        yield journal


@contextmanager
def told_how_to_go_on(generation: Generation, command: str, args: argparse.Namespace) -> Iterator[None]:
    """Around an answer: say what its request is called, once that is written down, and, if it does not end,
    how to go on with it. Raises as Generation.keep does.
    """
    if generation.journal is None:
        yield
        return
    going_on = shlex.join(_again(command, args, generation.id))
    generation.keep()
    _say(f"request {generation.id} is kept in {generation.journal.path}")
    try:
        yield
    finally:
        if generation.journal.is_open(generation.id):
            _say(f"request {generation.id} stays open; go on with: {going_on}")


def _again(command: str, args: argparse.Namespace, id: str) -> Iterator[str]:
    yield from ("draftwire", command)
    for option in _REPEATED:
        if (value := getattr(args, option, None)) is not None:
            yield from (f"--{option}", str(value))
    yield from ("--resume", id)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


__all__ = ["NO_JOURNAL", "add_journal_arguments", "check_resume", "opened_journal", "told_how_to_go_on"]
