"""`draftwire bench codec`: what rows cost on the wire and in time, and what of acceptance they lose.

Draft and target read a held-out text; at each position the draft's K likeliest ids are quantised and spelt,
four neighbouring rows a block. Bits are of whole blocks, table numbers, tails and padding included, over
entries. The block's header of 8 bytes, the envelope of a frame and the ids and q(x) of the drafted tokens are
left out: they do not grow with K. Times are CPU times of one thread.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from rich.console import Console

from draftwire.codecs.tables import TableSet, table_set_bytes
from draftwire.nodes.console.bench.bus import cpu
from draftwire.nodes.console.bench.codec_goals import ENOUGH_ROWS, KS, goals_of
from draftwire.nodes.console.bench.codec_measure import FULL, QUICK, measure
from draftwire.nodes.console.bench.codec_show import markdown, show
from draftwire.nodes.console.bench.codec_text import (
    AT_ONCE,
    GAMMA,
    Sample,
    Text,
    read,
    shipped_text,
    stretches,
    text_of_file,
)
from draftwire.nodes.console.bench.traces import data_path
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.options import add_tables_argument, chosen_pair
from draftwire.nodes.console.plots import check_picture
from draftwire.nodes.console.runner import progress_bar
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import LoadOptions, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.tables import find_tables, load_tables
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.models.vocabulary import fitted
from draftwire.runtime.config import ModelSettings, Topology
from draftwire.runtime.errors import ConfigurationError

SHIPPED_ONE_TABLE: Final = data_path("smollm2-one").with_suffix(".tables")
"""As the shipped set, but with one table a rung: learnt from the same rows."""

EPILOG: Final = f"""\
the JSON object has K.3, K.8, K.32, K.320, K.3200, each an object (bits are an entry's), and more below:
  bits_per_entry            with the set of tables, as the nodes send it
  plain_bits_per_entry      without tables: Rice-coded gaps between ids
  one_table_bits_per_entry  with a set of one table a rung (--one-table)
  source_model_bits         independent ids, best of the set's tables, its number, the entropy of coarse
                            levels, and low bits: a bound; a row's tail, 6 bits, is not in it
  source_model_parts        ids, table, coarse_levels, low_bits: what it is the sum of
  paper_bits_per_entry      the paper's ceil(log2 V) + 16
  fork_bits_per_entry       48: an id in 32 bits and FP16, as a serving system sends them
  deflate_bits_per_entry    the paper's layout through zlib level 9, block by block; the best of four orders
  zstd_bits_per_entry       the same through zstd level 19
  deflate_layout, zstd_layout
                            which of the four orders that is
  over_source_model, over_paper, over_fork, over_plain
                            bits_per_entry over source_model_bits, paper_..., fork_..., plain_bits_per_entry
  over_source_model_without_tails
                            the first of these, the tails taken from bits_per_entry
  one_table_over_paper, plain_over_paper
                            one_table_bits_per_entry and plain_bits_per_entry over the paper's
  ranked_share              of all blocks, those spelt with tables; the others are shorter plain
  sections                  where the bits of these blocks are: section -> bits an entry
  alpha_exact, alpha_wire   mean of sum min(p, q): q the K likeliest renormalised; q as it travels
  alpha_loss                (alpha_exact - alpha_wire) / alpha_exact
  quantize_us, encode_us, decode_us, encode_decode_us
                            CPU time, medians, a block of four rows; decoding includes the weights
  plain_encode_us, plain_decode_us, plain_encode_decode_us
                            the same without tables
  spreads                   of each of these times, and of one_table_encode_us, one_table_decode_us,
                            one_table_encode_decode_us: p10, median, p90
  blocks, timed, compressed_blocks
                            blocks in all; times taken of each way; blocks that deflate and zstd got

beside them:
  goals                     figure -> value; at_most: the goal; met: null where rows are fewer than
                            {ENOUGH_ROWS}, too few to judge bits and acceptance by; verdict: that in words;
                            trend: true of times, which depend on the machine; says: what the figure is
  draft, target, vocab_size the pair
  tables, tables_label, tables_bytes
                            the set: its hash in hex, what it says of itself, the size of its file
  one_table                 the hash of the set with one table a rung
  rows, rows_in_a_block, text, quick
                            what was measured, on which text, and whether by --quick
  machine, cpu, cores, system, python, numpy
                            where

examples:
  draftwire bench codec --quick
  draftwire bench codec --json --plot codec.png
  draftwire bench codec --markdown
  draftwire bench codec --draft DRAFT --target TARGET --text held-out.txt --tables rows.tables
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire bench codec`."""
    parser.description, parser.epilog = __doc__, EPILOG
    parser.add_argument("--quick", action="store_true", help="a part of the text and shorter timing")
    parser.add_argument("--positions", type=_positions, metavar="N", help="default: 6400, quick 400")
    parser.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    parser.add_argument("--markdown", action="store_true", help="tables as in docs/operations.md")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw bits an entry by K: .png, .svg, .pdf")
    pair = parser.add_argument_group("pair (default: the shipped one, and its held-out text)")
    pair.add_argument("--draft", metavar="ID", help="smollm2, a folder, a .gguf file or a hub id")
    pair.add_argument("--target", metavar="ID", help="the same")
    pair.add_argument("--dtype", help="of both models' weights: auto, float32, bfloat16, float16")
    pair.add_argument("--config", metavar="FILE", type=Path, help="topology file: the pair and its tables")
    pair.add_argument("--text", metavar="FILE", type=Path, help="UTF-8, unknown to draft and tables")
    add_tables_argument(pair)
    pair.add_argument(
        "--one-table", metavar="FILE", type=Path, help="a set of one table a rung, to compare with"
    )
    parser.set_defaults(profile=None)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; returns 0."""
    check_picture(args.plot)
    effort = QUICK if args.quick else FULL
    effort = replace(effort, positions=args.positions or effort.positions)
    topology = chosen_pair(args)
    tokenizer = _tokenizer(topology)
    sets = find_tables(
        topology.pair.tables, vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tables = sets[0] if sets else None
    one_table = _one_table(args.one_table, tokenizer)
    text = shipped_text(tokenizer) if args.text is None else text_of_file(args.text, tokenizer)
    sample, ks = _read(topology, tokenizer, text, effort.positions)
    with progress_bar(3 * len(ks)) as begin:
        by_k = {
            k: measure(sample, k, tables=tables, one_table=one_table, effort=effort, progress=begin)
            for k in ks
        }
    found = result(by_k, topology=topology, sample=sample, text=text, tables=tables, one_table=one_table)
    found["quick"] = bool(args.quick)
    if args.markdown:
        print(markdown(found), file=sys.stderr if args.json else sys.stdout, flush=True)
    else:
        show(Console(stderr=args.json, highlight=False), found)
    if args.plot is not None:
        from draftwire.nodes.console.bench.codec_figure import draw

        draw(args.plot, found)
    if args.json:
        print(orjson.dumps(found).decode(), flush=True)
    return 0


def _positions(text: str) -> int:
    if not text.isdecimal() or int(text) < GAMMA:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {GAMMA} on")
    return int(text)


# ------------------------------------------------------------------------------- the pair and its text


def _tokenizer(topology: Topology) -> Tokenizer:
    """The one that both models have. Raises ConfigurationError where theirs differ."""
    ends = topology.pair.draft, topology.pair.target
    draft = load_tokenizer(ends[0].model, end="draft", revision=ends[0].revision, progress=say)
    target = load_tokenizer(ends[1].model, end="target", revision=ends[1].revision, progress=say)
    if draft.fingerprint != target.fingerprint:
        raise ConfigurationError(
            f"{ends[0].model!r} and {ends[1].model!r} have unlike vocabularies, "
            f"{draft.fingerprint.hex()} and {target.fingerprint.hex()}",
            key="--draft",
            remedy="take two models of one family",
        )
    return target


def _one_table(path: Path | None, tokenizer: Tokenizer) -> TableSet | None:
    """The set to compare with; where none is named the shipped one, if it fits the vocabulary."""
    vocabulary = tokenizer.vocab_size, tokenizer.fingerprint
    if path is None and not SHIPPED_ONE_TABLE.exists():
        return None
    try:
        found = load_tables(path or SHIPPED_ONE_TABLE)
    except ConfigurationError as error:
        raise error.placed(key="--one-table") from None
    if (found.vocab_size, found.fingerprint) == vocabulary:
        return found
    if path is None:
        return None
    raise ConfigurationError(
        f"{str(path)!r} is for another vocabulary", key="--one-table", remedy="name a set of this pair"
    )


def _read(topology: Topology, tokenizer: Tokenizer, text: Text, positions: int) -> tuple[Sample, list[int]]:
    """What both models say along the text, and the K that the draft's rows are wide enough for."""
    import torch

    torch.set_num_threads(1)  # more would wait for each other where other work shares the cores
    draft = _fitted(load_draft, topology.pair.draft, tokenizer)
    target = _fitted(load_target, topology.pair.target, tokenizer)
    columns = draft.vocab_size if draft.support is None else len(draft.support)
    ks = [k for k in KS if k <= columns]
    passages = stretches(text, positions)
    longest = min(draft.context_length, target.context_length)
    if any(len(one.tokens) > longest for one in passages):
        raise ConfigurationError(
            f"a passage is longer than {longest} tokens",
            key="--text",
            remedy="take models with a longer context",
        )
    total = sum(len(one) for one in passages)
    if total < positions:
        say(f"The text has {total} positions in whole blocks, fewer than --positions {positions}: all count")
    say(f"Both models read {total} positions of {text.says}")
    with progress_bar(sum(ceil(len(one) / AT_ONCE) for one in passages)) as begin:
        begin("reading")
        sample = read(
            draft, target, passages, ks=ks, progress=lambda done: begin(f"{done} of {total} positions")
        )
    return sample, ks


def _fitted(
    load: Callable[..., LanguageModel], settings: ModelSettings, tokenizer: Tokenizer
) -> LanguageModel:
    options = LoadOptions(
        dtype=settings.dtype or "auto", device=settings.device or "cpu", revision=settings.revision
    )
    return fitted(load(settings.model, options, progress=say), tokenizer.vocab_size)


# ----------------------------------------------------------------------------------------- the figures


def result(
    by_k: Mapping[int, Mapping[str, Any]],
    *,
    topology: Topology,
    sample: Sample,
    text: Text,
    tables: TableSet | None,
    one_table: TableSet | None,
) -> dict[str, Any]:
    """The JSON object."""
    found: dict[str, Any] = {f"K.{k}": dict(figures) for k, figures in by_k.items()}
    return found | {
        "goals": goals_of(found, rows=len(sample)),
        "vocab_size": sample.vocab_size,
        "draft": topology.pair.draft.model,
        "target": topology.pair.target.model,
        "tables": None if tables is None else tables.hash.hex(),
        "tables_label": None if tables is None else tables.label,
        "tables_bytes": None if tables is None else len(table_set_bytes(tables)),
        "one_table": None if one_table is None else one_table.hash.hex(),
        "rows": len(sample),
        "rows_in_a_block": GAMMA,
        "text": text.says,
        "machine": f"{os.cpu_count()} cores, {cpu()}; one thread",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


__all__ = ["add_arguments", "result", "run"]
