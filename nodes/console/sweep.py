"""`draftwire sweep`: the paper's Table II on any pair, measured, beside the speed that eq. (11) promises."""

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console import options
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.outcome import ALONE, PROMPT, Outcome, Setting, fixed
from draftwire.nodes.console.plots import Curve, check_picture, save, sweep_figure
from draftwire.nodes.console.prompts import read_prompts
from draftwire.nodes.console.runner import Bench, experiment, progress_bar
from draftwire.nodes.console.sweeping import Sweep, SweepRow, sweep_of
from draftwire.nodes.device.checks import InvalidRequestError, check_pins
from draftwire.runtime.config import ChannelSettings
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSpec, parse_link
from draftwire.runtime.telemetry import set_up_logging

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE = "V"
"""As a K: the whole vocabulary."""

EXAMPLES = """\
examples:
  draftwire sweep
  draftwire sweep --k 8,32,320 --gamma 2,4 --temperature 1 --tokens 48
  draftwire sweep --prompts prompts.txt --csv sweep.csv --plot sweep.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire sweep`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--k",
        type=_ks,
        default=(3, 32, 320, 3200, WHOLE),
        metavar="N,...",
        help="entries of a row; V: the whole vocabulary; default: 3,32,320,3200,V",
    )
    parser.add_argument(
        "--gamma",
        type=options.lengths,
        default=tuple(range(1, 9)),
        metavar="N,...",
        help="drafted tokens a step; default: 1..8",
    )
    parser.add_argument(
        "--temperature", type=_temperatures, default=(0.0, 1.0), metavar="T,...", help="default: 0,1"
    )
    parser.add_argument(
        "--prompts", metavar="FILE", type=Path, help="one a line; default: one that has long answers"
    )
    parser.add_argument("--tokens", type=options.tokens, default=64, metavar="N", help="of each answer: 64")
    parser.add_argument("--seed", type=options.seed, default=0, metavar="S", help="of the first prompt")
    parser.add_argument("--rate", default="50mbit", metavar="RATE", help="of the link; default: 50mbit")
    options.add_pair_arguments(
        parser, config="models, nodes and policy; not its link (see --rate), [sampling], k or gamma"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object, last on standard output")
    output.add_argument("--csv", metavar="FILE", type=Path, help="every K, gamma and temperature, one a line")
    output.add_argument("--plot", metavar="FILE", type=Path, help="a picture: .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """The paper's Table II on this pair: measured alpha, bytes, L and speed, and the speed of eq. (11)."""
    set_up_logging(level="warning")
    check_picture(args.plot)
    options.check_writable(args.csv, key="--csv")
    return run_foreground(lambda: options.as_typed(args, _run(args)))


async def _run(args: argparse.Namespace) -> None:
    link, prompts = _link(args.rate), (PROMPT,) if args.prompts is None else read_prompts(args.prompts)
    topology = options.chosen_pair(args)
    channel = topology.channel or ChannelSettings()
    channel = replace(channel, uplink=link, downlink=link, schedule=None, devices={})
    async with experiment(replace(topology, channel=channel), progress=say) as bench:
        requests = _requests(args, bench.vocab_size)
        outcomes = await _measure(bench, requests, prompts, tokens=args.tokens, seed=args.seed)
    assert link.rate_bps is not None
    try:
        sweep = sweep_of(outcomes, rate_bps=link.rate_bps)
    except ValueError as error:
        raise ConfigurationError(
            str(error), key="--tokens", remedy="ask for more tokens, or of prompts with longer answers"
        ) from None
    if args.json:
        print(orjson.dumps(as_json(sweep)).decode(), flush=True)
    else:
        print_sweep(Console(), sweep)
    if args.csv is not None:
        write_csv(sweep, args.csv)
    if args.plot is not None:
        save(picture(sweep), args.plot)
        say(f"picture: {args.plot}")


async def _measure(
    bench: Bench,
    requests: Sequence[tuple[float, Setting]],
    prompts: Sequence[str],
    *,
    tokens: int,
    seed: int,
) -> list[Outcome]:
    """Prompt by prompt, another setting first each time: what else the machine does hits them alike."""
    outcomes = list[Outcome]()
    with progress_bar(len(prompts) * len(requests)) as begin:
        for number, prompt in enumerate(prompts):
            turn = number % len(requests)
            for temperature, setting in (*requests[turn:], *requests[:turn]):
                begin(f"T = {temperature:g}, {setting.name}, prompt {number + 1}")
                outcomes.append(
                    await bench.run(
                        setting,
                        prompt,
                        tokens=tokens,
                        seed=seed + number,
                        temperature=temperature,
                        repeat=number,
                    )
                )
    return outcomes


def _requests(args: argparse.Namespace, vocab_size: int) -> list[tuple[float, Setting]]:
    """What is run for each prompt; what can't be sent is left out, with a word."""
    found = list[tuple[float, Setting]]()
    ks = list(dict.fromkeys(vocab_size if k == WHOLE else k for k in args.k))
    for temperature in args.temperature:
        found.append((temperature, ALONE))
        some = ks if temperature else [min(ks)]  # at temperature 0 ids alone travel: any K is as good
        for setting in _sendable(some, args.gamma, vocab_size, quiet=not temperature):
            found.append((temperature, setting))
    if not any(setting.gamma for _, setting in found):
        raise ConfigurationError(
            "no K that can be sent", key="--k", remedy=f"write numbers up to {vocab_size}"
        )
    return found


def _sendable(ks: Sequence[int], gammas: Sequence[int], vocab_size: int, *, quiet: bool) -> Iterator[Setting]:
    for k in ks:
        for gamma in gammas:
            try:
                check_pins(k, gamma, vocab_size, key="--k")
            except InvalidRequestError as error:
                if not quiet:
                    say(f"left out: K {k}, gamma {gamma} and above: {error.problem}")
                break
            yield fixed(k, gamma)


def _link(rate: str) -> LinkSpec:
    try:
        link = parse_link(f"rate {rate}")
    except ConfigurationError as error:
        raise error.placed(key="--rate") from None
    if not link.rate_bps:
        raise ConfigurationError(
            f"{rate!r} is no rate above 0 that stays", key="--rate", remedy="write for instance 50mbit"
        )
    return link


# What is shown ----------------------------------------------------------------------------------------------


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Table II, measured; then speeds over gamma, measured beside eq. (11)'s."""
    console.print(
        f"{sweep.rate_bps / 1e6:g} Mbit/s; a drafted token {1e3 * sweep.draft_step_s:.2f} ms, a pass "
        f"{1e3 * sweep.target_step_s:.1f} ms: c = {sweep.draft_step_s / sweep.target_step_s:.3f}",
        highlight=False,
    )
    console.print(table_of(sweep))
    console.print(
        "L = (drafted token + its row on the link) / pass; gamma*, S: Theorem 2 and eq. (11) of alpha, L; "
        "gamma: the fastest measured. At temperature 0 ids alone travel: any K.",
        highlight=False,
        soft_wrap=True,
    )
    console.print("tokens a second, measured / by eq. (11):")
    console.print(speeds_of(sweep))


def speeds_of(sweep: Sweep) -> Table:
    """A row a gamma, a column a temperature and K."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\ngamma", justify="right")
    for row in sweep.rows:
        table.add_column(f"T = {row.temperature:g}\nK = {_k(row)}", justify="right", no_wrap=True)
    for gamma in sorted({cell.gamma for row in sweep.rows for cell in row.cells}):
        by_gamma = [{cell.gamma: cell for cell in row.cells}.get(gamma) for row in sweep.rows]
        cells = ("-" if one is None else f"{one.tokens_per_s:.1f}/{one.predicted:.1f}" for one in by_gamma)
        table.add_row(str(gamma), *cells)
    return table


def table_of(sweep: Sweep) -> Table:
    """A row a temperature and K, as Table II."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("T", "K", "alpha", "B/row", "L", "gamma*", "S", "gamma", "tok/s", "eq.11", "alone", "x")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sweep.rows:
        best, alone = row.best, sweep.alone[row.temperature]
        table.add_row(
            f"{row.temperature:g}",
            _k(row),
            "-" if row.alpha is None else f"{row.alpha:.3f}",
            f"{row.row_bytes:.0f}",
            f"{row.cost:.4f}",
            "-" if row.gamma_star is None else str(row.gamma_star),
            "-" if row.best_s is None else f"{row.best_s:.2f}",
            str(best.gamma),
            f"{best.tokens_per_s:.1f}",
            f"{best.predicted:.1f}",
            f"{alone:.1f}",
            f"{best.tokens_per_s / alone:.2f}",
        )
    return table


def _k(row: SweepRow) -> str:
    return str(row.k) if row.temperature else "any"


def picture(sweep: Sweep) -> "Figure":
    """alpha over K, and speeds over gamma."""
    temperatures = sorted({row.temperature for row in sweep.rows})
    warm = [t for t in temperatures if t]
    rows = {t: [row for row in sweep.rows if row.temperature == t] for t in temperatures}
    seen = {t: tuple((row.k, row.alpha) for row in rows[t] if row.alpha is not None) for t in warm}
    alphas = [Curve(name=f"T = {t:g}", measured=points) for t, points in seen.items()]
    speeds = {
        f"temperature {t:g}": [
            Curve(
                name=f"K = {_k(row)}",
                measured=tuple((cell.gamma, cell.tokens_per_s) for cell in row.cells),
                predicted=tuple((cell.gamma, cell.predicted) for cell in row.cells),
            )
            for row in rows[t]
        ]
        for t in temperatures
    }
    title = f"uplink {sweep.rate_bps / 1e6:g} Mbit/s; points: measured, dashed: eq. (11)"
    return sweep_figure(alphas, speeds, alone=[sweep.alone[t] for t in temperatures], title=title)


CSV_FIELDS = (
    "temperature",
    "k",
    "gamma",
    "alpha_k",
    "alpha_k_gamma",
    "row_bytes",
    "l",
    "gamma_star",
    "tokens_per_s",
    "predicted_tokens_per_s",
    "alone_tokens_per_s",
)


def write_csv(sweep: Sweep, path: Path) -> None:
    """A line for each K, gamma and temperature. Raises ConfigurationError where it can't be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for row in sweep.rows:
        for cell in row.cells:
            values = (row.temperature, row.k, cell.gamma, row.alpha, cell.alpha, row.row_bytes, row.cost)
            speeds = (cell.tokens_per_s, cell.predicted, sweep.alone[row.temperature])
            writer.writerow((*values, row.gamma_star, *speeds))
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r}: {error.strerror}", key="--csv", remedy="name a file that can be written"
        ) from None


def as_json(sweep: Sweep) -> dict[str, Any]:
    """One object."""
    return asdict(sweep) | {"alone": {f"{t:g}": speed for t, speed in sweep.alone.items()}}


def _ks(text: str) -> tuple[int | str, ...]:
    found = list[int | str]()
    for part in text.split(","):
        found += [WHOLE] if part.strip().upper() == WHOLE else options.widths(part)
    return tuple(dict.fromkeys(found))


def _temperatures(text: str) -> tuple[float, ...]:
    return tuple(sorted({options.temperature(part) for part in text.split(",")}))


__all__ = ["CSV_FIELDS", "add_arguments", "as_json", "picture", "print_sweep", "run", "write_csv"]
