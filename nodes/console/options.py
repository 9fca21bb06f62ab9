"""Options that several experiments share, and the topology that they make."""

import argparse
import os.path
from argparse import ArgumentTypeError
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from draftwire.codecs.limits import MAX_GAMMA, MAX_TOKENS, MAX_VOCAB_SIZE
from draftwire.nodes.console.assemble import check_model
from draftwire.nodes.device.checks import check_hints, check_waste
from draftwire.nodes.models.tables import load_tables
from draftwire.runtime.config import (
    AcceptanceRule,
    ControllerSettings,
    Profile,
    Topology,
    load_topology,
)
from draftwire.runtime.errors import ConfigurationError

NO_TABLES_WORD: Final = "none"
"""Of --tables; a file of that name is ./none."""


def add_pair_arguments(parser: argparse.ArgumentParser, *, config: str) -> None:
    """Which models, and how fast they compute. `config`: what is taken from the file of --config."""
    models = parser.add_argument_group("models (any Hugging Face pair with one vocabulary)")
    models.add_argument("--draft", metavar="ID", help="smollm2, a folder, a .gguf file or a hub id")
    models.add_argument("--target", metavar="ID", help="the same, for the base station")
    add_tables_argument(models)
    models.add_argument("--dtype", help="of both models' weights: auto, float32, bfloat16, float16")
    models.add_argument("--config", metavar="FILE", type=Path, help=f"topology file: {config}")
    models.add_argument(
        "--profile",
        choices=[one.value for one in Profile],
        help="native: as fast as this machine goes; paper: paced to the paper's hardware",
    )


def add_acceptance_argument(parser: argparse._ActionsContainer, *, of: str = "the request") -> None:
    """How drafted tokens are tested. `of`: whose."""
    parser.add_argument(
        "--acceptance",
        type=acceptance,
        metavar="RULE",
        help=f"of {of}: rejection (rows travel; the default), coupled (ids only: both ends pick with one "
        "noise; with --dtype float32 the seed alone settles the text), or auto: the one that is expected to "
        "be faster",
    )


def add_drafting_arguments(parser: argparse._ActionsContainer) -> None:
    """What a request, or a device, says of its drafts besides K and gamma."""
    add_acceptance_argument(parser)
    parser.add_argument(
        "--min-draft",
        type=int,
        metavar="N",
        help="ids only: fix how many drafted tokens a free target waits for, 0: none; as large as gamma or "
        "more: synchronous, both ends take turns; left out, the controller chooses",
    )
    parser.add_argument(
        "--max-waste",
        type=float,
        metavar="X",
        help="ids only: most drafted tokens thrown away for each token of the answer, such as 0.5, to "
        "spare the device's battery; left out: no bound",
    )


def with_chosen_drafting(topology: Topology, args: argparse.Namespace) -> Topology:
    """With what `add_drafting_arguments` took in place of the file's.

    Raises ConfigurationError, naming the option, for what can't be, or means nothing beside the others.
    """
    sampling, device = topology.sampling, topology.device
    if args.acceptance is not None:
        sampling = replace(sampling, acceptance=args.acceptance)
    only = {"--min-draft": args.min_draft, "--max-waste": args.max_waste}
    try:
        ControllerSettings(min_draft=args.min_draft)
    except ConfigurationError as error:
        raise error.placed(key="--min-draft") from None
    if args.max_waste is not None:
        check_waste(args.max_waste, key="--max-waste")
        device = replace(device, max_waste=args.max_waste)
    check_hints(sampling.acceptance.on_the_wire, sampling.temperature, only=only)
    return replace(topology, sampling=sampling, device=device)


def add_tables_argument(parser: argparse._ActionsContainer) -> None:
    """Which sets of tables rows may be spelt with, of a command with a node that reads them."""
    parser.add_argument(
        "--tables",
        action="append",
        metavar="FILE",
        help="a set of tables for rows, of `draftwire tables learn`, in place of those that are found; may "
        "be repeated, the best first; `none` alone: plain rows",
    )


def with_chosen_tables(topology: Topology, args: argparse.Namespace) -> Topology:
    """With the sets of --tables in place of the file's, where there are any.

    Raises ConfigurationError, naming the option, for what is no set; of which vocabulary, the nodes see.
    """
    if args.tables is None:
        return topology
    if NO_TABLES_WORD in args.tables and len(args.tables) > 1:
        raise ConfigurationError(
            f"{NO_TABLES_WORD!r} beside other sets",
            key="--tables",
            remedy=f"write it alone for plain rows; a file of that name is ./{NO_TABLES_WORD}",
        )
    named = () if args.tables == [NO_TABLES_WORD] else tuple(map(_absolute, args.tables))
    try:
        pair = replace(topology.pair, tables=named)
        for one in named:
            load_tables(Path(one))
    except ConfigurationError as error:
        raise error.placed(key="--tables") from None
    return replace(topology, pair=pair)


@contextmanager
def told_of_tables_option(args: argparse.Namespace) -> Iterator[None]:
    """What a node refuses of `[pair] tables` is told of --tables, where that is what was written."""
    try:
        yield
    except ConfigurationError as error:
        if error.key != "pair.tables" or not getattr(args, "tables", None):
            raise
        raise error.placed(key="--tables") from None


async def as_typed(args: argparse.Namespace, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, told of the option as `told_of_tables_option` does."""
    with told_of_tables_option(args):
        await work


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else path


def chosen_pair(args: argparse.Namespace) -> Topology:
    """The file's topology, or the default one, with the models that the command line names.

    Raises ConfigurationError or UnsupportedModelError, naming the option.
    """
    topology = Topology.default() if args.config is None else load_topology(args.config)
    ends = {}
    for end in ("draft", "target"):
        settings, model = getattr(topology.pair, end), getattr(args, end)
        try:
            settings = replace(settings, model=settings.model if model is None else model)
        except ConfigurationError as error:
            raise error.placed(key=f"--{end}") from None
        try:
            settings = replace(settings, dtype=settings.dtype if args.dtype is None else args.dtype)
        except ConfigurationError as error:
            raise error.placed(key="--dtype") from None
        # Before a node is started: it would name a key of a file that nobody wrote.
        check_model(settings.model, key=f"pair.{end}" if model is None else f"--{end}")
        ends[end] = settings
    compute = topology.compute
    if args.profile is not None:
        compute = replace(compute, profile=Profile(args.profile))
    topology = replace(topology, pair=replace(topology.pair, **ends), compute=compute)
    return with_chosen_tables(topology, args)


def check_record(path: Path | None) -> None:
    """Raise ConfigurationError, naming --record, for a file that can't be written or is no new one."""
    check_writable(path, key="--record")
    if path is not None and path.exists() and path.stat().st_size:
        raise ConfigurationError(
            f"{str(path)!r}: holds something already", key="--record", remedy="name a new file"
        )


def check_writable(path: Path | None, *, key: str) -> None:
    """Raise ConfigurationError now, before anything runs, for a file that can't be written, or a pipe.

    A file that is not there is not there afterwards either; what one holds it keeps.
    """
    if path is None:
        return
    there, problem = os.path.lexists(path), ""
    try:
        if path.is_fifo():  # to open it would wait for somebody who reads
            problem = "a pipe, and no file"
        else:
            path.open("ab").close()
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise ConfigurationError(
            f"{str(path)!r}: {problem}", key=key, remedy="name a file that can be written"
        )
    if not there:
        path.unlink()


def widths(text: str) -> tuple[int, ...]:
    """Of --k: `8,32,320`."""
    return _numbers(text, low=1, high=MAX_VOCAB_SIZE, example="8,32,320")


def lengths(text: str) -> tuple[int, ...]:
    """Of --gamma: `2,4,8`, or `1..8` for all of them."""
    return _numbers(text, low=1, high=MAX_GAMMA, example="2,4,8")


def acceptance(text: str) -> AcceptanceRule:
    """Of --acceptance."""
    known = [rule.value for rule in AcceptanceRule]
    if text not in known:
        recorded = "; what scripts/record_acceptance.py wrote is --recording's" * text.endswith(".npz")
        raise ArgumentTypeError(f"{text!r} is none: write {', '.join(known[:-1])} or {known[-1]}{recorded}")
    return AcceptanceRule(text)


def tokens(text: str) -> int:
    """Of --tokens."""
    return _number(text, 1, MAX_TOKENS)


def count(text: str) -> int:
    """Of --repeats."""
    return _number(text, 1, 1000)


def schedules(text: str) -> int:
    """Of --schedules."""
    return _number(text, 1, 10_000_000)


def seed(text: str) -> int:
    """Of --seed."""
    return _number(text, 0, 2**63 - 1)


def link_words(words: Sequence[str], *, key: str) -> str:
    """A link of the command line, in quotes or not, as one text. Raises ConfigurationError for none."""
    text = " ".join(words)
    if not text.strip():
        remedy = "write 'delay 0' for a link that does nothing"
        raise ConfigurationError("no words of a link", key=key, remedy=remedy)
    return text


def temperature(text: str) -> float:
    """Of --temperature."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ArgumentTypeError(f"{text!r} is no temperature: write 0 (greedy) to 100")
    return value


def _numbers(text: str, *, low: int, high: int, example: str) -> tuple[int, ...]:
    found = list[int]()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        numbers: Sequence[int]
        try:
            numbers = range(int(first), int(last) + 1) if dots else (int(first),)
        except ValueError:
            numbers = ()
        if not numbers or numbers[0] < low or numbers[-1] > high:
            problem = f"{part!r} is no number from {low} to {high}"
            raise ArgumentTypeError(f"{problem}: write for instance {example}")
        found += numbers
    return tuple(dict.fromkeys(found))


def _number(text: str, low: int, high: int) -> int:
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
    return int(text)


__all__ = [
    "NO_TABLES_WORD",
    "acceptance",
    "add_acceptance_argument",
    "add_drafting_arguments",
    "add_pair_arguments",
    "add_tables_argument",
    "as_typed",
    "check_record",
    "check_writable",
    "chosen_pair",
    "count",
    "lengths",
    "link_words",
    "schedules",
    "seed",
    "temperature",
    "tokens",
    "told_of_tables_option",
    "widths",
    "with_chosen_drafting",
    "with_chosen_tables",
]
