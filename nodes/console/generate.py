"""`draftwire generate PROMPT`: four nodes, one answer, one line about it."""

import argparse
import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from draftwire.nodes.console.api import Generation, connect
from draftwire.nodes.console.summary import Printer, summary_fields, summary_line
from draftwire.runtime.actor import run_process
from draftwire.runtime.config import ChannelSettings, Profile, Topology, load_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link
from draftwire.runtime.telemetry import set_up_logging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire generate`."""
    parser.add_argument("prompt", help="what to answer; the model's chat template is put around it")
    parser.add_argument("--config", metavar="FILE", type=Path, help="take what is not said here from a topology")
    models = parser.add_argument_group("models (any Hugging Face pair with one vocabulary)")
    models.add_argument("--draft", metavar="ID", help="smollm2, a folder, a .gguf file or a hub id")
    models.add_argument("--target", metavar="ID", help="the same, for the base station")
    models.add_argument("--dtype", help="of both models' weights: auto, float32, bfloat16, float16")
    link = parser.add_argument_group("link and plan")
    link.add_argument("--link", metavar="WORDS", help="both directions, as tc says it: 'rate 5mbit delay 20ms 2ms'")
    link.add_argument("--k", type=int, metavar="N", help="entries of each sparse row")
    link.add_argument("--gamma", type=int, metavar="N", help="drafted tokens a step; 0: the target alone")
    link.add_argument("--profile", choices=[one.value for one in Profile], help="paper: paced to its hardware")
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--temperature", type=float, metavar="T", help="0 is greedy; default 1")
    sampling.add_argument("--top-k", type=int, metavar="N", help="of the target's distribution; 0: off")
    sampling.add_argument("--top-p", type=float, metavar="P", help="of the target's distribution; 1: off")
    sampling.add_argument("--max-new-tokens", type=int, metavar="N", help="default 128")
    sampling.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same text")
    sampling.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before... behind this text")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object instead of text")
    output.add_argument("--record", metavar="FILE", type=Path, help="append an event a step, JSON lines")


def run(args: argparse.Namespace) -> int:
    """Start the nodes, answer, stop them."""
    set_up_logging(level="warning")
    return run_process(lambda: _generate(args))


async def _generate(args: argparse.Namespace) -> None:
    topology = chosen_topology(args)
    async with connect(topology, launch=True, record=args.record, progress=say) as device:
        generation = device.generate(args.prompt, stop=args.stop)
        if args.json:
            async for _ in generation:
                pass
        else:
            await show(generation)
        fields = summary_fields(generation, device.compute)
        if args.json:
            print(orjson.dumps(fields).decode(), flush=True)
        else:
            say(summary_line(generation.account, device.compute))
        if args.record is not None:
            with args.record.open("ab") as file:
                file.write(orjson.dumps({"event": "answer", **fields}) + b"\n")


async def show(generation: Generation) -> None:
    """Stream an answer to the terminal."""
    printer = Printer()
    async for token in generation:
        printer.token(token)
        await asyncio.sleep(0)
    printer.end(generation)


def chosen_topology(args: argparse.Namespace) -> Topology:
    """The file's topology, or the default one, with what the command line says. Raises ConfigurationError."""
    topology = Topology.default() if args.config is None else load_topology(args.config)
    draft, target = topology.pair.draft, topology.pair.target
    draft = replace(draft, **_given(model=args.draft, dtype=args.dtype))
    target = replace(target, **_given(model=args.target, dtype=args.dtype))
    channel = topology.channel
    if args.link is not None:
        link = parse_link(args.link)
        channel = replace(channel or ChannelSettings(), uplink=link, downlink=link)
    compute = topology.compute
    if args.profile is not None:
        compute = replace(compute, profile=Profile(args.profile))
    sampling = _given(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
    )
    try:
        return replace(
            topology,
            pair=replace(topology.pair, draft=draft, target=target),
            channel=channel,
            compute=compute,
            controller=replace(topology.controller, **_given(k=args.k, gamma=args.gamma)),
            sampling=replace(topology.sampling, **sampling),
        )
    except ConfigurationError as error:
        raise error.placed(key="--" + error.key.rpartition(".")[2].replace("_", "-")) from None


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def say(text: str) -> None:
    """A word to the person, beside the answer."""
    print(text, file=sys.stderr, flush=True)


__all__ = ["add_arguments", "chosen_topology", "run", "say", "show"]
