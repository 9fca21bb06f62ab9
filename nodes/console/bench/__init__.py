"""`draftwire bench`: what the controller is worth, how true links and virtual time are, what each part costs.

Each benchmark is a module, imported when asked for: `add_arguments(parser)`, and `run(args) -> exit code`.
"""

import argparse
from importlib import import_module
from typing import Final

BENCHMARKS: Final = {
    "batching": (
        "draftwire.nodes.console.bench.batching",
        "what one pass over many sessions gains over a pass for each, and what memory they take",
    ),
    "bus": (
        "draftwire.nodes.console.bench.bus",
        "our transport against raw ZeroMQ sockets, and with keys against without",
    ),
    "cell": (
        "draftwire.nodes.console.bench.cell",
        "1 to 16 devices at one base station in one cell: tokens a second, fairness, pauses",
    ),
    "channel": (
        "draftwire.nodes.console.bench.channel",
        "how true the emulated link is: rate, delay, its own costs, and the kernel's token bucket",
    ),
    "codec": (
        "draftwire.nodes.console.bench.codec",
        "rows on the wire: bits an entry against other layouts and a bound, acceptance lost, microseconds",
    ),
    "controller": (
        "draftwire.nodes.console.bench.controller",
        "the adaptive controller against fixed settings, the paper's rule, a bandit and an oracle",
    ),
    "e2e": (
        "draftwire.nodes.console.bench.e2e",
        "the shipped pair through four real processes, on links that stand still and one that changes",
    ),
    "enemies": (
        "draftwire.nodes.console.bench.enemies",
        "what strangers, thieves and floods cost the others at a base station, and what they get",
    ),
    "loop": (
        "draftwire.nodes.console.bench.loop",
        "what the loop around the models costs: a step's time, part by part",
    ),
    "recovery": (
        "draftwire.nodes.console.bench.recovery",
        "four real processes, one of them killed and started again: seconds to the next token",
    ),
    "serve": (
        "draftwire.nodes.console.bench.serve",
        "what HTTP costs an answer, the first token, a crowd of streams, the size of the page",
    ),
    "simulate": (
        "draftwire.nodes.console.bench.simulate",
        "what a step costs in virtual time, with few devices and many, and whether it is true",
    ),
}
"""Name -> module, and a line of help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench`."""
    parser.description = "Run a benchmark.\n\n" + "\n".join(
        f"  {name:<12}{summary}" for name, (_, summary) in BENCHMARKS.items()
    )
    parser.epilog = "`draftwire bench NAME --help` says what it measures, and how.\n"
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME", help=" or ".join(BENCHMARKS))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of that benchmark")
    parser.set_defaults(bench_parser=type(parser))


def run(args: argparse.Namespace) -> int:
    """Run the benchmark of that name; returns its exit code."""
    module = import_module(BENCHMARKS[args.name][0])
    parser = args.bench_parser(
        prog=f"draftwire bench {args.name}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(args.options)))


__all__ = ["BENCHMARKS", "add_arguments", "run"]
