"""`draftwire bench batching`: what one pass over many sessions gains over a pass for each.

Sixteen sessions, each with 160 to 240 tokens before, have 1 to 9 new ids to be verified. Together is one pass
over all of them; in turn is a pass for each session; DynamicCache is the same in turn, by the cache and the
attention that transformers has of its own. Times are CPU times of one thread. The model is loaded twice: in
bfloat16 and in float32.
"""

import argparse
import os
import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.bus import cpu
from draftwire.nodes.console.bench.goals import judged, verdict
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.options import count
from draftwire.nodes.console.runner import Begin, progress_bar
from draftwire.nodes.models.catalogue import SHIPPED, LoadOptions, load_target
from draftwire.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from draftwire.nodes.console.bench.batching_measure import PassTimes

DTYPES: Final = ("bfloat16", "float32")

ROUNDS: Final = 9
QUICK_ROUNDS: Final = 3

AT_MOST: Final = {"batch1_overhead": 1.10, "prefill_chunk_cost": 1.40}
AT_LEAST: Final = {"batch16_over_1": 6.0, "batch16_over_1_fp32": 4.0}

SPREAD: Final = {"p10": 10, "median": 50, "p90": 90}

LINES: Final = (
    ("batch1_overhead", "one session over DynamicCache, bf16"),
    ("batch1_overhead_fp32", "the same, fp32"),
    ("batch16_over_1", "16 sessions over one, tokens a second, bf16"),
    ("batch16_over_1_fp32", "the same, fp32"),
    ("prefill_chunk_cost", "a pass with 48 ids of a prompt over one without, bf16"),
    ("prefill_chunk_cost_fp32", "the same, fp32"),
)
"""Figures with a spread, and what they are."""

EPILOG: Final = f"""\
the JSON object has:
  batch1_overhead           time of one session by our slots over the same by DynamicCache, bfloat16
  batch16_over_1            tokens a second of all 16 sessions in one pass over those in turn, bfloat16
  batch16_over_1_fp32       the same, float32
  prefill_chunk_cost        time of a pass over all 16 that reads 48 ids of a prompt too, over one without
  bytes_per_token           what a token of a context takes, bfloat16; memory is taken in steps of 256 tokens
  batch1_overhead_fp32, prefill_chunk_cost_fp32, bytes_per_token_fp32
                            the same in float32
  spreads                   of each ratio: p10, median, p90 over the rounds
  pass_ms                   by dtype: together, in_turn, dynamic_cache, with_chunk: medians
  tokens_per_s              by dtype: together, in_turn
  goals                     figure -> at_most or at_least, and met; null where it is not judged:
                            batch16_over_1 >= {AT_LEAST["batch16_over_1"]:g} takes matrix units for bfloat16
  has_bf16_matrix_units     whether the CPU has them (AMX tiles)
  sessions, lengths, held, chunk, rounds, quick, target
                            what was measured
  threads, cpu, cores, system, python, torch, transformers
                            where
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench batching`."""
    parser.description, parser.epilog = __doc__, EPILOG
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=count, metavar="N", help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    parser.add_argument("--target", metavar="ID", default=SHIPPED, help=f"a model; default: {SHIPPED}")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; returns 0."""
    import torch

    from draftwire.nodes.console.bench.batching_measure import pass_times
    from draftwire.nodes.models.huggingface import HuggingFaceModel
    from draftwire.nodes.models.kv_slots import CAPACITY_STEP

    torch.set_num_threads(1)  # more would wait for each other where other work shares the cores
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    times: dict[str, PassTimes] = {}
    token_bytes: dict[str, int] = {}
    with progress_bar(len(DTYPES) * (rounds + 1)) as begin:
        for dtype in DTYPES:
            model = load_target(args.target, LoadOptions(dtype=dtype), progress=say)
            if not isinstance(model, HuggingFaceModel):
                raise ConfigurationError(
                    f"{args.target!r} keeps no keys and values",
                    key="--target",
                    remedy="name a model of transformers, such as smollm2",
                )
            times[dtype] = pass_times(
                model, rounds=rounds, progress=partial(_told, begin, f"{dtype}, round {{}} of {rounds}")
            )
            token_bytes[dtype] = model.kv_bytes(CAPACITY_STEP) // CAPACITY_STEP
            del model  # before the next one is loaded
    found = result(times, token_bytes, target=args.target, has_units=has_bf16_matrix_units())
    found["quick"] = bool(args.quick)
    _show(found)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    return 0


def _told(begin: Begin, text: str, number: int) -> None:
    begin(text.format(number))


def result(
    times: "Mapping[str, PassTimes]", token_bytes: Mapping[str, int], *, target: str, has_units: bool
) -> dict[str, Any]:
    """The JSON object."""
    import numpy as np
    import torch
    import transformers

    from draftwire.nodes.console.bench.batching_measure import HELD, LENGTHS, WAYS
    from draftwire.nodes.target.batcher import CHUNK

    ratios = {}
    for dtype, ending in (("bfloat16", ""), ("float32", "_fp32")):
        one = times[dtype]
        ratios["batch1_overhead" + ending] = one.alone_overhead
        ratios["batch16_over_1" + ending] = one.over_one
        ratios["prefill_chunk_cost" + ending] = one.chunk_cost
    found: dict[str, Any] = {name: float(np.median(ratio)) for name, ratio in ratios.items()}
    goals = judged(found, at_most=AT_MOST, at_least=AT_LEAST)
    if not has_units:
        goals["batch16_over_1"]["met"] = None
    median_s = {
        dtype: {way: float(np.median(getattr(one, way))) for way in WAYS} for dtype, one in times.items()
    }
    return found | {
        "bytes_per_token": token_bytes["bfloat16"],
        "bytes_per_token_fp32": token_bytes["float32"],
        "spreads": {
            name: {told: float(np.percentile(ratio, share)) for told, share in SPREAD.items()}
            for name, ratio in ratios.items()
        },
        "pass_ms": {dtype: {way: 1e3 * s for way, s in one.items()} for dtype, one in median_s.items()},
        "tokens_per_s": {
            dtype: {way: sum(LENGTHS) / one[way] for way in ("together", "in_turn")}
            for dtype, one in median_s.items()
        },
        "goals": goals,
        "has_bf16_matrix_units": has_units,
        "sessions": len(LENGTHS),
        "lengths": list(LENGTHS),
        "held": list(HELD),
        "chunk": CHUNK,
        "rounds": len(times["float32"].together),
        "target": target,
        "threads": 1,
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def has_bf16_matrix_units(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux names AMX tiles for bfloat16 among the CPU's flags; False where there is no such file."""
    try:
        return "amx_bf16" in flags.read_text().split()
    except OSError:
        return False


def _show(found: Mapping[str, Any]) -> None:
    table = Table(title=f"{found['target']}, {found['sessions']} sessions, {found['rounds']} rounds")
    table.add_column("")
    for column in ("median", "p10-p90", "goal", ""):
        table.add_column(column, justify="right")
    for name, says in LINES:
        spread = found["spreads"][name]
        goal, met = verdict(found["goals"].get(name))
        table.add_row(says, f"{found[name]:.2f}", f"{spread['p10']:.2f}-{spread['p90']:.2f}", goal, met)
    console = Console(stderr=True, highlight=False)
    console.print(table)
    for dtype, one in found["pass_ms"].items():
        console.print(
            f"{dtype}, ms: together {one['together']:.0f}, in turn {one['in_turn']:.0f}, "
            f"DynamicCache in turn {one['dynamic_cache']:.0f}, together with a chunk {one['with_chunk']:.0f}"
        )
    console.print(
        f"a token of a context takes {found['bytes_per_token']:,} bytes "
        f"({found['bytes_per_token_fp32']:,} in float32)"
    )
    if not found["has_bf16_matrix_units"]:
        console.print("This CPU has no matrix units for bfloat16: its gain there is not judged.")


__all__ = ["AT_LEAST", "AT_MOST", "DTYPES", "add_arguments", "has_bf16_matrix_units", "result", "run"]
