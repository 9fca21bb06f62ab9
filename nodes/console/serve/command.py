"""`draftwire serve`: its options, and what they make of the topology."""

import argparse
from dataclasses import replace
from typing import Any, Final

from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import chosen_topology
from draftwire.nodes.console.options import (
    add_acceptance_argument,
    add_pair_arguments,
    as_typed,
    chosen_pair,
)
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.telemetry import set_up_logging

EXAMPLES = """\
examples:
  draftwire serve                                              all nodes here, the shipped pair
  draftwire serve --link 'rate 1mbit delay 20ms' --port 8080   over another link
  draftwire serve --draft ORG/SMALL --target ORG/LARGE         with your own pair
  draftwire serve --config phone.toml                          the device of a file: its nodes run already
  draftwire serve --host 0.0.0.0 --key-file api.key            for other machines

It says where it is, what its model is called, and how to ask. Ctrl-C ends it; answers under way have 5 s.
"""

_NEEDS_KEY: Final = "give --key-file, or set DRAFTWIRE_API_KEY, or leave the host out for this machine alone"

_OF_OTHERS: Final = {"target": "the target", "link": "the channel", "schedule": "the channel"}
"""Option -> whose file says it, where nodes run already."""

_SAMPLING: Final = ("temperature", "top_k", "top_p", "max_new_tokens", "seed", "acceptance")
"""Options that are keys of [sampling]: for requests that say nothing."""

_SAID_BY_REQUESTS: Final = ("min_draft", "max_waste")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire serve`."""
    parser.epilog = EXAMPLES
    server = parser.add_argument_group("server")
    server.add_argument("--host", help="what it listens at; default 127.0.0.1, for this machine alone")
    server.add_argument("--port", type=int, metavar="N", help="default 8000; 0: a free one")
    server.add_argument(
        "--key-file",
        metavar="FILE",
        help="one line: the key that clients give; left out: DRAFTWIRE_API_KEY of the environment, or none",
    )
    add_pair_arguments(parser, config="this is its device, whose other nodes run already")
    link = parser.add_argument_group("link and drafts")
    link.add_argument(
        "--link", metavar="WORDS", help="both directions, as tc says it: 'rate 5mbit delay 20ms 2ms'"
    )
    link.add_argument(
        "--schedule", metavar="WORDS", help="how it changes: '5s rate 1mbit; 10s rate 20mbit; repeat 15s'"
    )
    add_acceptance_argument(link, of="requests that say none")
    answers = parser.add_argument_group("answers whose requests don't say it")
    answers.add_argument("--temperature", type=float, metavar="T", help="0 is greedy; default 1")
    answers.add_argument("--top-k", type=int, metavar="N", help="of the target's distribution; 0: off")
    answers.add_argument("--top-p", type=float, metavar="P", help="of the target's distribution; 1: off")
    answers.add_argument(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help="what clients call max_tokens; default 128, or what the context has room for",
    )
    answers.add_argument("--seed", type=int, metavar="S", help="default: each answer draws its own")
    parser.set_defaults(**dict.fromkeys(_SAID_BY_REQUESTS))


def run(args: argparse.Namespace) -> int:
    """Serve OpenAI's API, from all nodes on this machine, started for it, or from the device of --config.

    POST /v1/completions and /v1/chat/completions, streamed or not, and GET /v1/models. Where the nodes are
    started here the same port has the live page at /, with sliders for the link. It runs until Ctrl-C.
    """
    # Here, as with every library of the server: `draftwire --help` and `generate` don't wait for them.
    from draftwire.nodes.console.serve.hosting import all_here, device_alone
    from draftwire.runtime.web.keys import api_key, check_open_to

    topology = _topology(args)
    place = "--key-file" if args.key_file is not None else "serve.key_file"
    key = api_key(topology.serve.key_file, key=place)
    where = "--host" if args.host is not None else "serve.host"
    check_open_to(topology.serve.host, key=key, where=where, remedy=_NEEDS_KEY)
    set_up_logging()
    host = all_here if args.config is None else device_alone
    return run_foreground(lambda: as_typed(args, host(topology, key=key)), rests=lambda: True)


def _topology(args: argparse.Namespace) -> Topology:
    """Raises ConfigurationError for an option that has no effect beside --config."""
    for name, whose in _OF_OTHERS.items():
        if args.config is not None and getattr(args, name) is not None:
            problem = "with --config the other nodes run already"
            remedy = f"leave it out: it is said in the file of {whose}"
            raise ConfigurationError(problem, key=f"--{name}", remedy=remedy)
    topology = chosen_topology(args) if args.config is None else chosen_pair(args)
    try:
        serve = replace(topology.serve, **_given(args, "host", "port", "key_file"))
        sampling = replace(topology.sampling, **_given(args, *_SAMPLING))
    except ConfigurationError as error:
        raise error.placed(key=f"--{error.key.replace('_', '-')}") from None
    return replace(topology, serve=serve, sampling=sampling)


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


__all__ = ["add_arguments", "run"]
