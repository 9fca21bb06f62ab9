"""`draftwire plan`: what the cost model says for a link and an acceptance of your own.

The paper's model and the true cost stand side by side: same alpha, c and rate, and then indices, headers, the
round trip, and rows behind the target's step, spelt with a set of tables or plain. The maths:
nodes/speculation/cost.py, docs/theory.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.codecs.limits import MAX_GAMMA, MAX_PLAIN_K
from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.escape import safe
from draftwire.nodes.console.options import NO_TABLES_WORD, add_acceptance_argument
from draftwire.nodes.console.paper_tables import print_paper
from draftwire.nodes.console.plan_ids import IdsOnly, advise_ids, as_json, print_ids
from draftwire.nodes.models.catalogue import SHIPPED
from draftwire.nodes.models.tables import load_tables, shipped_tables
from draftwire.nodes.speculation.cost import (
    Compute,
    Forecast,
    LinkEstimate,
    as2,
    best_length,
    best_plan,
    draft_cost_of_k,
    forecast,
    full_row_cost,
    speedup,
)
from draftwire.nodes.speculation.frames import true_frames
from draftwire.runtime.config import AcceptanceRule
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSpec, parse_link

DEFAULT_VOCAB_SIZE = 32_000
DEFAULT_TARGET_STEP_S = 0.0445
"The paper's 7B target"

LADDER = (3, 32, 320, 3200)
"K of Table II; V is the last rung"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One K, under both models."""

    k: int
    alpha: float
    paper_l: float
    "L(K), target steps a drafted token"
    paper_gamma: int
    "gamma* of Theorem 2, at most MAX_GAMMA"
    paper_s: float
    "S(gamma*), eq. (11)"
    paper_speculates: bool
    "AS2: S(gamma*) > 1"
    true: Forecast | None
    "the best draft with true frames, worth it if its speedup is above 1. None: such rows can't be sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do, and what each K would bring."""

    rungs: tuple[Rung, ...]
    paper_best: Rung
    "the K of largest S; the smaller if several"
    true_best: Forecast
    tables: TableSet | None
    "that rows of the true frames are spelt with; None: plain rows"
    compute: Compute
    link: LinkEstimate
    vocab_size: int


def advise(
    *,
    alphas: Mapping[int, float],
    c: float,
    rate_bps: float,
    rtt_s: float,
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    target_step_s: float = DEFAULT_TARGET_STEP_S,
    tables: TableSet | None = None,
) -> Advice:
    """Both models on one ladder of K. alphas: K -> alpha; c: T_draft / T_target; the same rate both ways.

    `tables`: what rows are spelt with in true frames; None: plain. Raises ValueError naming the value that is
    out of range, or where no K of the ladder can be sent.
    """
    if tables is not None and tables.vocab_size != vocab_size:
        raise ValueError(f"V = {vocab_size}, but the tables are for V = {tables.vocab_size}: leave one out")
    b_full = full_row_cost(vocab_size=vocab_size, rate_bps=rate_bps, target_step_s=target_step_s)
    compute = Compute(draft_step_s=c * target_step_s, target_step_s=target_step_s)
    link = LinkEstimate(uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=rtt_s)
    frames = true_frames(vocab_size=vocab_size, tables=tables)

    def true(k: int, alpha: float) -> Forecast:
        every = (
            forecast(k=k, gamma=gamma, alpha=alpha, compute=compute, link=link, frames=frames)
            for gamma in range(1, MAX_GAMMA + 1)
        )
        return max(every, key=lambda one: one.tokens_per_s)

    rungs: list[Rung] = []
    for k, alpha in sorted(alphas.items()):
        cost = draft_cost_of_k(k=k, vocab_size=vocab_size, c=c, b_full=b_full)
        gamma = best_length(alpha=alpha, draft_cost=cost, gamma_max=MAX_GAMMA)
        rungs.append(
            Rung(
                k=k,
                alpha=alpha,
                paper_l=cost,
                paper_gamma=gamma,
                paper_s=speedup(alpha=alpha, gamma=gamma, draft_cost=cost),
                paper_speculates=as2(alpha=alpha, draft_cost=cost, gamma_max=MAX_GAMMA) > 0,
                true=true(k, alpha) if k <= MAX_PLAIN_K or k == vocab_size else None,
            )
        )
    sendable = {rung.k: rung.alpha for rung in rungs if rung.true}
    if not sendable:
        raise ValueError(
            f"no K of {[*alphas]} can be sent: give one up to {MAX_PLAIN_K}, or V = {vocab_size}"
        )
    return Advice(
        rungs=tuple(rungs),
        paper_best=max(rungs, key=lambda rung: rung.paper_s),
        true_best=best_plan(
            alphas=sendable, gammas=range(1, MAX_GAMMA + 1), compute=compute, link=link, frames=frames
        ),
        tables=tables,
        compute=compute,
        link=link,
        vocab_size=vocab_size,
    )


# The command ------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `draftwire plan`."""
    parser.description = (
        "Predict the best draft length gamma and row size K for a link, from the paper's model and with true "
        "frame sizes, or print the paper's Tables I and II beside the paper's own figures."
    )
    parser.epilog = (
        "examples:\n"
        "  draftwire plan --alpha-of-k 3=.28,32=.34,320=.354 --c .07 --rate 5mbit --rtt 20ms\n"
        "  draftwire plan --alpha .35 --c .07 --rate 20mbit --rtt 100ms --acceptance coupled"
    )
    parser.add_argument("--paper", action="store_true", help="print Tables I and II; needs nothing else")
    parser.add_argument(
        "--alpha", type=float, metavar="A", help="mean acceptance probability of a drafted token, for every K"
    )
    parser.add_argument(
        "--alpha-of-k", metavar="K=A,...", help="acceptance by K; its K are the ladder, --alpha is left out"
    )
    parser.add_argument(
        "--c", type=float, metavar="C", help="T_draft / T_target, one draft step over one target step"
    )
    parser.add_argument(
        "--rate", metavar="RATE", help="of the link, both ways, in tc's units: 5mbit, 300kbit"
    )
    parser.add_argument("--rtt", metavar="TIME", help="round trip of an empty message: 20ms")
    parser.add_argument(
        "--vocab",
        type=int,
        metavar="V",
        help=f"vocabulary size; default: that of the tables, {DEFAULT_VOCAB_SIZE} without",
    )
    parser.add_argument(
        "--tables",
        metavar=f"FILE|{SHIPPED}|{NO_TABLES_WORD}",
        help=f"set of tables for the rows of true frames; {SHIPPED}: the shipped pair's, the default "
        f"where --vocab is left out or is that pair's; {NO_TABLES_WORD}: plain rows",
    )
    parser.add_argument(
        "--target-step",
        default=f"{DEFAULT_TARGET_STEP_S * 1e3:g}ms",
        metavar="TIME",
        help="T_target, one step of the target; default: %(default)s, the paper's 7B target",
    )
    add_acceptance_argument(parser, of="requests; coupled or auto: plans of ids alone too, by --alpha")
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of tables")


def run(args: argparse.Namespace) -> int:
    """Do what `draftwire plan` was asked for. Returns 0, or 2 and says why on standard error."""
    try:
        if args.paper:
            given = [
                name
                for name in ("alpha", "alpha_of_k", "c", "rate", "rtt", "tables", "acceptance")
                if getattr(args, name) is not None
            ]
            if given:
                raise ValueError(f"--paper prints fixed tables: leave out --{given[0].replace('_', '-')}")
            print_paper(Console(), as_json=args.json)
            return 0
        advice = _advice(args)
        ids = _ids(args, advice)
    except ValueError as error:
        print(f"draftwire plan: {error}", file=sys.stderr)
        return 2
    if args.json:
        besides: dict[str, object] = {} if ids is None else {"ids_only": as_json(ids)}
        if ids is not None and args.acceptance is AcceptanceRule.AUTO:
            besides["auto"] = _auto(advice, ids).value
        print(json.dumps(_as_json(advice) | besides, indent=2))
    else:
        _print(Console(), advice, one_alpha=args.alpha_of_k is None)
        if ids is not None:
            print_ids(Console(), ids)
        if ids is not None and args.acceptance is AcceptanceRule.AUTO:
            print(f"auto would take {_auto(advice, ids).value}, by these figures and one alpha for both")
    return 0


def _auto(advice: Advice, ids: IdsOnly) -> AcceptanceRule:
    """What is expected to be faster."""
    by_ids = max(one.flow.tokens_per_s for one in ids.plans if one.gamma)
    return AcceptanceRule.COUPLED if by_ids > advice.true_best.tokens_per_s else AcceptanceRule.REJECTION


def _ids(args: argparse.Namespace, advice: Advice) -> IdsOnly | None:
    """What ids alone would bring; None: nobody asked."""
    if args.acceptance in (None, AcceptanceRule.REJECTION):
        return None
    if args.alpha is None:
        raise ValueError("--acceptance has one alpha for ids alone: give --alpha, not --alpha-of-k")
    return advise_ids(
        alpha=args.alpha, compute=advice.compute, link=advice.link, vocab_size=advice.vocab_size
    )


def _advice(args: argparse.Namespace) -> Advice:
    for name in ("c", "rate", "rtt"):
        if getattr(args, name) is None:
            raise ValueError(f"--{name} is missing: give --alpha, --c, --rate and --rtt, or --paper alone")
    rate_bps = _link("--rate", args.rate, "rate", "5mbit").rate_bps
    if not rate_bps:
        raise ValueError("--rate is 0, an outage: write for instance 5mbit")
    tables = _tables(args.tables, args.vocab)
    usual = DEFAULT_VOCAB_SIZE if tables is None else tables.vocab_size
    vocab_size = usual if args.vocab is None else args.vocab
    return advise(
        alphas=_alphas(args.alpha, args.alpha_of_k, vocab_size),
        c=args.c,
        rate_bps=rate_bps,
        rtt_s=_link("--rtt", args.rtt, "delay", "20ms").delay_s,
        vocab_size=vocab_size,
        target_step_s=_link("--target-step", args.target_step, "delay", "44.5ms").delay_s,
        tables=tables,
    )


def _tables(name: str | None, vocab_size: int | None) -> TableSet | None:
    """The set that is named; else the shipped one, where it is there and V is not another one's."""
    if name == NO_TABLES_WORD:
        return None
    try:
        if name is not None:
            return load_tables(shipped_tables() if name == SHIPPED else Path(name))
    except ConfigurationError as error:
        raise error.placed(key="--tables") from None
    try:
        shipped = load_tables(shipped_tables())
    except ConfigurationError:
        return None
    return shipped if vocab_size in (None, shipped.vocab_size) else None


def _link(option: str, text: str, word: str, example: str) -> LinkSpec:
    """One value in tc's units, by the parser of links, with errors that name the option."""
    try:
        return parse_link(f"{word} {text}")
    except ConfigurationError as error:
        raise ValueError(f"{option}: {error.problem}; write for instance {example}") from None


def _alphas(alpha: float | None, alpha_of_k: str | None, vocab_size: int) -> dict[int, float]:
    if (alpha is None) == (alpha_of_k is None):
        raise ValueError("give either --alpha A or --alpha-of-k K=A,...")
    if alpha is not None:
        return {k: alpha for k in (*LADDER, vocab_size) if k <= vocab_size}
    alphas: dict[int, float] = {}
    for pair in (alpha_of_k or "").split(","):
        k, _, value = pair.partition("=")
        try:
            entry = int(k), float(value)
        except ValueError:
            raise ValueError(
                f"--alpha-of-k has {pair!r}: give pairs like 32=0.34, with commas between"
            ) from None
        if entry[0] in alphas:
            raise ValueError(f"--alpha-of-k has K = {entry[0]} twice: give each K once")
        alphas[entry[0]] = entry[1]
    return alphas


def _as_json(advice: Advice) -> dict[str, object]:
    def forecast(one: Forecast | None) -> dict[str, object] | None:
        if one is None:
            return None
        return {**asdict(one), "tokens_per_s": one.tokens_per_s, "speedup": one.speedup}

    rungs = [{**asdict(rung), "true": forecast(rung.true)} for rung in advice.rungs]
    best = advice.paper_best
    gamma = best.paper_gamma if best.paper_speculates else 0
    return {
        "rungs": rungs,
        "paper": {"k": best.k, "gamma": gamma, "speedup": best.paper_s if gamma else 1.0},
        "true": forecast(advice.true_best),
        "tables": "" if advice.tables is None else advice.tables.hash.hex(),
    }


def _print(console: Console, advice: Advice, *, one_alpha: bool) -> None:
    table = Table(
        title="Paper's model (L, gamma*, S), then true frames",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("K", "alpha", "L", "gamma*", "S", "gamma", "tok/step", "ms/step", "tok/s", "S"):
        table.add_column(heading, justify="right", no_wrap=True)
    for rung in advice.rungs:
        star = "" if rung.paper_speculates else "*"
        paper = (f"{rung.paper_l:.3f}", f"{rung.paper_gamma}{star}", f"{rung.paper_s:.2f}")
        table.add_row(str(rung.k), f"{rung.alpha:g}", *paper, *_cells(rung.true))
    console.print(table)
    console.print("* no faster than the target alone, which then decodes by itself (AS2)")
    best, true = advice.paper_best, advice.true_best
    alone = "the target alone"
    says = (
        f"K = {best.k}, gamma = {best.paper_gamma}, S = {best.paper_s:.2f}"
        if best.paper_speculates
        else alone
    )
    console.print(f"Paper's model: {says}")
    says = f"K = {true.k}, gamma = {true.gamma}, speedup {true.speedup:.2f}" if true.gamma else alone
    console.print(f"True frames:   {says}, {true.tokens_per_s:.1f} tokens a second")
    if advice.tables is None:
        console.print("Rows in them:  plain, of random ids; --tables FILE: smaller, spelt with a set")
    else:
        named = f"Rows in them:  spelt with tables {advice.tables.hash.hex()}, {safe(advice.tables.label)}"
        console.print(named, markup=False)
        v = advice.tables.vocab_size
        console.print(f"               They are for V = {v}; --tables {NO_TABLES_WORD}: plain rows")
    if one_alpha:
        console.print("One alpha for every K: so the smallest wins. Weigh them with --alpha-of-k.")


def _cells(true: Forecast | None) -> tuple[str, ...]:
    if true is None:
        return ("-",) * 5
    return (
        f"{true.gamma}{'' if true.speedup > 1 else '*'}",
        f"{true.tokens_per_step:.2f}",
        f"{true.step_s * 1e3:.1f}",
        f"{true.tokens_per_s:.1f}",
        f"{true.speedup:.2f}",
    )


__all__ = [
    "DEFAULT_TARGET_STEP_S",
    "DEFAULT_VOCAB_SIZE",
    "LADDER",
    "Advice",
    "Rung",
    "add_arguments",
    "advise",
    "run",
]
