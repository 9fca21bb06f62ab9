"""`draftwire generate PROMPT`: four nodes, one answer, one line about it; with --prompts a file of them."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from draftwire.nodes.console.api import Generation, connect
from draftwire.nodes.console.batch import AT_ONCE, run_batch
from draftwire.nodes.console.captures import add_capture_argument, check_capture
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.journals import (
    add_journal_arguments,
    check_resume,
    opened_journal,
    told_how_to_go_on,
)
from draftwire.nodes.console.options import (
    add_drafting_arguments,
    add_pair_arguments,
    as_typed,
    check_writable,
    chosen_pair,
    count,
    with_chosen_drafting,
)
from draftwire.nodes.console.summary import Printer, summary_fields, summary_line
from draftwire.nodes.device.checks import InvalidRequestError, check_stops, check_text, check_waits
from draftwire.runtime.config import ChannelSettings, ControllerSettings, Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link
from draftwire.runtime.link.traces import traces_beside, with_paths_from
from draftwire.runtime.telemetry import ANSWER_EVENT, Recorder, set_up_logging

EXAMPLES = """\
examples:
  draftwire generate "Why is the sky blue?"
  draftwire generate "Why is the sky blue?" --link 'rate 1mbit delay 20ms 3ms' --k 16 --gamma 4
  draftwire generate "Why is the sky blue?" --gamma 0                      the target alone, for comparison
  draftwire generate "Why is the sky blue?" --acceptance coupled           ids only, no rows; nobody waits
  draftwire generate "Why is the sky blue?" --temperature 0 --json         greedy, as one JSON object
  draftwire generate "Why is the sky blue?" --journal j.jsonl              kept: it can be gone on with, by
  draftwire generate --journal j.jsonl --resume ID                         the ID that it was given
  draftwire generate --prompts prompts.txt --output answers.jsonl          a file of them; again: goes on
  draftwire generate "hello" --draft tiny: --target tiny:                  tiny random models: text is noise
  draftwire generate "hello" --draft synthetic:V=64 --target synthetic:V=64

On a terminal drafted tokens that were accepted are green, corrected ones red, bonus tokens cyan.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire generate`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "prompt", nargs="?", help="what to answer; the model's chat template is put around it"
    )
    add_pair_arguments(parser, config="all that is not said here, but for addresses")
    link = parser.add_argument_group("link and plan")
    link.add_argument(
        "--link", metavar="WORDS", help="both directions, as tc says it: 'rate 5mbit delay 20ms 2ms'"
    )
    link.add_argument(
        "--schedule",
        metavar="WORDS",
        help="how it changes, from the first message on: '5s rate 1mbit; 10s rate 20mbit; repeat 15s'",
    )
    link.add_argument(
        "--k", type=int, metavar="N", help="fix the entries of each row; left out, the controller chooses"
    )
    link.add_argument(
        "--gamma",
        type=int,
        metavar="N",
        help="fix the drafted tokens a step, 0: the target alone; left out, the controller chooses",
    )
    add_drafting_arguments(link)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--temperature", type=float, metavar="T", help="0 is greedy; default 1")
    sampling.add_argument("--top-k", type=int, metavar="N", help="of the target's distribution; 0: off")
    sampling.add_argument("--top-p", type=float, metavar="P", help="of the target's distribution; 1: off")
    sampling.add_argument("--max-new-tokens", type=int, metavar="N", help="default 128")
    sampling.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="the same seed gives the same text, with K and gamma fixed or --acceptance coupled; to the "
        "token with --dtype float32",
    )
    sampling.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end behind this text; may be repeated"
    )
    add_journal_arguments(parser)
    batch = parser.add_argument_group("a file of prompts")
    batch.add_argument(
        "--prompts",
        metavar="FILE",
        help='one a line, or objects with "prompt" and, where wanted, id, max_new_tokens, seed, '
        "temperature, top_p, top_k, stop; -: standard input",
    )
    batch.add_argument(
        "--output",
        metavar="FILE",
        help="an answer a line, JSON, as they come; what it has already is not asked again; "
        "-: standard output",
    )
    batch.add_argument(
        "--at-once", type=count, metavar="N", help=f"requests under way at a time; default: {AT_ONCE}"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object instead of text")
    output.add_argument("--record", metavar="FILE", type=Path, help="append steps and decisions, JSON lines")
    add_capture_argument(output)


def run(args: argparse.Namespace) -> int:
    """Answer a prompt with four nodes on this machine, started for it: the text, then one line about it.

    They are always its own, whatever addresses a file names: `draftwire device` asks nodes that run already.
    A file of prompts becomes a file of answers. Exit code 1: some of them were refused.
    """
    set_up_logging(level="warning")
    _check_batch(args)
    if args.prompts is not None:
        with _told_of_pins():
            topology = _checked(args)
        return run_batch(args, topology)
    return run_foreground(lambda: as_typed(args, _generate(args)))


async def _generate(args: argparse.Namespace) -> None:
    check_resume(args)
    if args.resume is None:
        if args.prompt is None:
            raise InvalidRequestError("there is none", key="PROMPT", remedy="write what to answer")
        check_text(args.prompt, key="PROMPT")
    with _told_of_pins():
        await _answer(_checked(args), args)


def _check_batch(args: argparse.Namespace) -> None:
    """Raise ConfigurationError for options of a file of prompts without one, or beside those of a prompt."""
    given = {
        "PROMPT": args.prompt,
        "--journal": args.journal,
        "--resume": args.resume,
        "--output": args.output,
        "--at-once": args.at_once,
    }
    if args.prompts is None:
        for key in ("--output", "--at-once"):
            if given[key] is not None:
                raise ConfigurationError("there is no file of prompts", key=key, remedy="add --prompts FILE")
        return
    for key in ("PROMPT", "--journal", "--resume"):
        if given[key] is not None:
            raise ConfigurationError("beside --prompts", key=key, remedy="leave one of the two out")
    if args.output is None:
        remedy = "write --output answers.jsonl, or - for standard output"
        raise ConfigurationError("there is none", key="--output", remedy=remedy)


def _checked(args: argparse.Namespace) -> Topology:
    """What the command line says, as far as it can be known to be wrong before a node is started."""
    topology = chosen_topology(args)
    if topology.secured:
        say("note: its nodes are started here, for this command; `draftwire device` asks running ones")
    check_stops(args.stop, key="--stop")
    check_waits(args.gamma, args.min_draft, key="--min-draft")
    check_capture(args.capture, topology, record=args.record, journal=args.journal)
    check_writable(args.record, key="--record")
    ControllerSettings(k=args.k, gamma=args.gamma)  # their ranges
    return topology


@contextmanager
def _told_of_pins() -> Iterator[None]:
    """What is refused of K or gamma is told of the option."""
    try:
        yield
    except ConfigurationError as error:
        raise (error.placed(key=f"--{error.key}") if error.key in ("k", "gamma") else error) from None


async def _answer(topology: Topology, args: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(opened_journal(args))
        device = await stack.enter_async_context(
            connect(topology, launch=True, record=args.record, capture=args.capture, progress=say)
        )
        if journal is not None and args.resume is not None:
            generation = device.resume(journal, args.resume)
        else:
            generation = device.generate(
                args.prompt,
                stop=args.stop,
                k=args.k,
                gamma=args.gamma,
                min_draft=args.min_draft,
                journal=journal,
            )
        with told_how_to_go_on(generation, "generate", args):
            if args.json:
                async for _ in generation:
                    pass
            else:
                await show(generation)
        fields = summary_fields(generation, device.compute)
        if args.json:
            print(orjson.dumps(fields).decode(), flush=True)
        else:
            resumed = generation.resumed_tokens
            say(summary_line(generation.account, device.compute, resumed_tokens=resumed))
        if args.record is not None:
            with Recorder(args.record) as recorder:
                recorder.write({"event": ANSWER_EVENT, **fields})


async def show(generation: Generation) -> None:
    """Stream an answer to the terminal, what a journal has kept of it first; its line ends in any case."""
    printer = Printer()
    try:
        printer.kept(generation)
        async for token in generation:
            printer.token(token)
            await asyncio.sleep(0)
    except BaseException:
        printer.break_off()
        raise
    printer.end(generation)


def chosen_topology(args: argparse.Namespace) -> Topology:
    """The file's topology, or the default one, with what the command line says. Raises ConfigurationError."""
    topology = chosen_pair(args)
    channel = topology.channel
    if args.link is not None:
        try:
            link = parse_link(args.link, find_trace=traces_beside())
        except ConfigurationError as error:
            raise error.placed(key="--link") from None
        channel = channel or ChannelSettings()
        channel = replace(channel, uplink=link, downlink=link, schedule=None, devices={})
    if args.schedule is not None:
        try:
            schedule = with_paths_from(".", args.schedule)  # the channel reads it from another folder
            channel = (channel or ChannelSettings()).for_device(topology.device.name)
            channel = replace(channel, schedule=schedule)
        except ConfigurationError as error:
            raise error.placed(key="--schedule") from None
    sampling = _given(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
    )
    try:
        topology = replace(topology, channel=channel, sampling=replace(topology.sampling, **sampling))
    except ConfigurationError as error:
        raise error.placed(key="--" + error.key.rpartition(".")[2].replace("_", "-")) from None
    return with_chosen_drafting(topology, args)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def say(text: str) -> None:
    """A word to the person, beside the answer."""
    print(text, file=sys.stderr, flush=True)


__all__ = ["add_arguments", "chosen_topology", "run", "say", "show"]
