"""`draftwire demo`: the shipped pair over an emulated radio link; then the target alone, over the same."""

import argparse
from dataclasses import replace

from draftwire.nodes.console.api import Generation, connect
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say, show
from draftwire.nodes.console.summary import Printer, summary_line
from draftwire.runtime.config import Topology
from draftwire.runtime.link import parse_link
from draftwire.runtime.telemetry import set_up_logging

PROMPT = "Explain in a few sentences why the sky is blue."
LINK = "rate 20mbit delay 2ms"
TOKENS = 96
K, GAMMA = 32, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire demo`: none; it is always the same."""


def run(args: argparse.Namespace) -> int:
    """Real models, four processes, one emulated link: a text with TK-SLT, one by the target alone."""
    set_up_logging(level="warning")
    return run_foreground(_demo)


async def _demo() -> None:
    say(f"four nodes on this machine; the link between them: {LINK} each way")
    say("draft: 2 layers, on the device; target: SmolLM2-135M-Instruct, at the base station")
    speculative = await _answer(GAMMA)
    alone = await _answer(0)
    faster, slower = speculative.account.tokens_per_s, alone.account.tokens_per_s
    assert faster is not None and slower is not None
    ratio = faster / slower
    verdict = "speculation paid" if ratio > 1 else "speculation did not pay here"
    say(f"\n{faster:.1f} tok/s with TK-SLT, {slower:.1f} with the target alone: {ratio:.2f}x, {verdict}.")
    say("Both texts are draws from one distribution, the target's own: docs/theory.md says why.")


async def _answer(gamma: int) -> Generation:
    link = parse_link(LINK)
    topology = Topology.default()
    assert topology.channel is not None
    topology = replace(
        topology,
        channel=replace(topology.channel, uplink=link, downlink=link),
        controller=replace(topology.controller, k=K, gamma=gamma),
        sampling=replace(topology.sampling, max_new_tokens=TOKENS),
    )
    async with connect(topology, launch=True, progress=say) as device:
        say(f"\n> {PROMPT}   [{f'TK-SLT, K {K}, gamma {gamma}' if gamma else 'target alone'}]")
        if gamma:
            Printer().legend()
        generation = device.generate(PROMPT)
        await show(generation)
        say(summary_line(generation.account, device.compute))
        return generation


__all__ = ["add_arguments", "run"]
