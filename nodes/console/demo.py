"""`draftwire demo`: the whole story with real models.

The link goes 20 -> 1 -> 0.1 -> 20 Mbit/s, and K and gamma follow. First the adaptive controller answers, with
a live line; then the target alone, two fixed settings and requests that send ids only, coupled and pipelined,
meet the same link for the same time, and a table and a picture compare them.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from draftwire.nodes.console.api import Token
from draftwire.nodes.console.captures import add_capture_argument, check_capture
from draftwire.nodes.console.explanation import explain
from draftwire.nodes.console.foreground import run_foreground
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.live import Status, Watch
from draftwire.nodes.console.options import add_acceptance_argument, check_record
from draftwire.nodes.console.outcome import ALONE, COUPLED, PIPELINED, Scene, Setting, auto, fixed
from draftwire.nodes.console.plots import Bar, check_picture, comparison_figure, save
from draftwire.nodes.console.record import Record, of_device, read_record
from draftwire.nodes.console.runner import Bench, experiment
from draftwire.nodes.console.summary import STYLES, Printer
from draftwire.nodes.console.timeline import Traces
from draftwire.nodes.device.account import Account
from draftwire.runtime.config import AcceptanceRule, Topology
from draftwire.runtime.telemetry import set_up_logging

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTIONS: Final = (
    "Explain in a few sentences why the sky is blue.",
    "Write a long story about a lighthouse keeper who finds a letter in a bottle.",
    "How does a bicycle stay upright? Explain it step by step to a curious child.",
    "Describe a market in a harbour town, early in the morning, in many details.",
)
"""Asked in turn until the time is over."""

SEGMENT_S: Final = 4
RATES: Final = ("20mbit", "1mbit", "100kbit", "20mbit")
TOUR_S: Final = SEGMENT_S * len(RATES)
SCENE: Final = Scene(
    name="20 -> 1 -> 0.1 -> 20 Mbit/s",
    link="; ".join(f"{i * SEGMENT_S}s rate {rate} delay 2ms" for i, rate in enumerate(RATES)),
)
FIXED: Final = (fixed(320, 4), fixed(8, 2))
"""One that suits a fast link, one that suits a slow one."""

IDS_ONLY: Final = (COUPLED, PIPELINED)

PICTURE: Final = Path("draftwire-demo.png")
SHOWN_CHARACTERS: Final = 600
"""Of the text, behind the live line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire demo`."""
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, default=PICTURE, help="the picture; default: %(default)s"
    )
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="keep the record, for `draftwire explain`"
    )
    add_acceptance_argument(parser, of="the controller's own tour, auto")
    add_capture_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Real models, four processes, a link that changes: the controller at work, and what it gains."""
    check_picture(args.plot)
    check_record(args.record)
    check_capture(args.capture, Topology.default(), record=args.record, plot=args.plot)
    set_up_logging(level="warning")
    chosen = auto(args.acceptance or AcceptanceRule.REJECTION)
    return run_foreground(lambda: _demo(args.plot, args.record, args.capture, chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """What one setting made of the link's changes."""

    setting: Setting
    began_s: float
    "on the host's monotonic clock"
    tokens: tuple[int, ...]
    "by segment of SEGMENT_S"
    accounts: tuple[Account, ...]
    "of its requests"

    @property
    def tokens_per_s(self) -> float:
        """Over the whole tour."""
        return sum(self.tokens) / TOUR_S

    def total(self, name: str) -> int:
        """Of a count of its accounts."""
        return sum(getattr(one, name) for one in self.accounts)

    def a_token(self, name: str) -> float:
        """The same for each token that its accounts tell of."""
        return self.total(name) / max(1, self.total("tokens"))


async def _demo(picture: Path, record: Path | None, capture: Path | None, chosen: Setting) -> None:
    say(f"four nodes on this machine; the link between them, each way: {SCENE.link}")
    say(
        "draft: 2 layers, on the device; target: SmolLM2-135M-Instruct, at the base station; temperature 1"
    )
    with tempfile.TemporaryDirectory(prefix="draftwire-") as folder:
        path = record or Path(folder) / "record.jsonl"
        async with experiment(
            Topology.default(), record=path, capture=capture, settings=IDS_ONLY, progress=say
        ) as bench:
            say(f"\nThe controller chooses K and gamma; {TOUR_S} s.")
            tours = [await _shown_tour(bench, path, chosen)]
            for setting in (ALONE, *FIXED, *IDS_ONLY):
                say(f"the same {TOUR_S} s, {setting.name} ...")
                tours.append(await _tour(bench, setting))
        _conclude(tours, path, picture)


async def _tour(
    bench: Bench, setting: Setting, on_token: Callable[[Token], None] = lambda token: None
) -> Tour:
    """Questions one after the other, from the moment the link's schedule starts until it is over."""
    await bench.link(SCENE)
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    tokens = [0] * len(RATES)
    accounts = list[Account]()
    while now_s() < began_s + TOUR_S:
        generation = bench.device_for(setting).generate(
            QUESTIONS[len(accounts) % len(QUESTIONS)],
            max_new_tokens=400,
            seed=len(accounts),
            k=setting.k,
            gamma=setting.gamma,
            acceptance=setting.acceptance,
            min_draft=setting.waits_at(1.0),
        )
        accounts.append(generation.account)
        async for token in _until(began_s + TOUR_S, aiter(generation)):
            segment = int((now_s() - began_s) // SEGMENT_S)
            if segment < len(tokens):
                tokens[segment] += 1
            on_token(token)
    return Tour(setting=setting, began_s=began_s, tokens=tuple(tokens), accounts=tuple(accounts))


async def _until(deadline_s: float, tokens: AsyncIterator[Token]) -> AsyncIterator[Token]:
    """The tokens that come before the deadline; then the request is cancelled."""
    async with aclosing(tokens) as stream:  # type: ignore[type-var]
        with suppress(TimeoutError, StopAsyncIteration):
            while True:
                async with asyncio.timeout_at(deadline_s):
                    token = await anext(stream)
                yield token


# -- what people see -----------------------------------------------------------------------------------------


async def _shown_tour(bench: Bench, record: Path, chosen: Setting) -> Tour:
    """The controller's tour, with the text and the live line."""
    watch = Watch(record, asyncio.get_running_loop().time)
    console = Console(highlight=False)
    if not console.is_terminal:
        return await _plainly_shown(bench, watch, chosen)
    Printer().legend()
    text = Text()
    with Live(
        console=console, refresh_per_second=8, get_renderable=lambda: Group(text, _line(watch.now()))
    ):

        def on_token(token: Token) -> None:
            nonlocal text
            watch.token()
            text.append(token.text, STYLES.get(token.origin, "default"))
            text = text[max(0, len(text) - SHOWN_CHARACTERS) :]

        return await _tour(bench, chosen, on_token)


async def _plainly_shown(bench: Bench, watch: Watch, chosen: Setting) -> Tour:
    """Without a terminal: the text on stdout, the line on stderr when the link or the plan has changed."""
    shown: tuple[object, ...] = ()

    def on_token(token: Token) -> None:
        nonlocal shown
        watch.token()
        sys.stdout.write(token.text)
        sys.stdout.flush()
        status = watch.now()
        if (key := (status.true_bps, status.k, status.gamma)) != shown:
            shown = key
            say(f"\n[{status}]")

    tour = await _tour(bench, chosen, on_token)
    sys.stdout.write("\n")
    return tour


def _line(status: Status) -> Text:
    return Text(f"\n{status}", style="bold")


def _conclude(tours: Sequence[Tour], record: Path, picture: Path) -> None:
    console = Console(highlight=False)
    alone = next(tour for tour in tours if tour.setting == ALONE)
    console.print(_table(tours, alone))
    explanation = explain(_since(tours[0].began_s, read_record(record)))
    for change in explanation.changes:
        console.print(f"{change.at_s:5.1f} s  {change.words}", markup=False)
    save(_figure(tours, explanation.traces), picture)
    best = max((tour for tour in tours if tour.setting in FIXED), key=lambda tour: tour.tokens_per_s)
    auto = tours[0].tokens_per_s
    console.print(
        f"auto: {auto / alone.tokens_per_s:.2f}x the target alone, {auto / best.tokens_per_s:.2f}x "
        f"the better of the fixed settings.\ncoupled, pipelined: only ids travel, for a little acceptance; "
        f"pipelined, the target waits for nobody.\n"
        f"All texts are draws from one distribution, the target's own.\n"
        f"picture: {picture}",
        markup=False,
    )


def _since(began_s: float, record: Record) -> Record:
    """The controller's own tour, without the answers that warmed the nodes up."""
    record = of_device(record, Topology.default().device.name)
    record.steps = [step for step in record.steps if step.ended_at_s >= began_s]
    record.decisions = [decision for decision in record.decisions if decision.at_s >= began_s]
    return record


def _table(tours: Sequence[Tour], alone: Tour) -> Table:
    table = Table(
        title=f"Tokens a second, {SEGMENT_S} s at each rate (Mbit/s)",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("setting", no_wrap=True)
    rates = [step.link.rate_bps or 0 for step in SCENE.schedule.steps]
    figures = ("all", "x alone", "alpha", "B/tok up", "pass /tok", "waste /tok")
    for heading in (*(f"{rate / 1e6:g}" for rate in rates), *figures):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for tour in tours:
        table.add_row(
            tour.setting.name,
            *(f"{count / SEGMENT_S:.1f}" for count in tour.tokens),
            f"{tour.tokens_per_s:.1f}",
            f"{tour.tokens_per_s / alone.tokens_per_s:.2f}x",
            f"{tour.total('accepted') / tour.total('seen'):.2f}" if tour.total("seen") else "-",
            f"{tour.total('bytes_up') / max(1, sum(tour.tokens)):.0f}",
            f"{tour.a_token('passes'):.2f}",
            f"{tour.a_token('wasted'):.2f}",
        )
    return table


def _figure(tours: Sequence[Tour], traces: Traces) -> "Figure":
    kinds = {ALONE: "alone", tours[0].setting: "auto", **dict.fromkeys(IDS_ONLY, "ids")}
    bars = [
        Bar(
            name=tour.setting.name,
            speeds=(tour.tokens_per_s,),
            kind=kinds.get(tour.setting, "fixed"),
        )
        for tour in tours
    ]
    return comparison_figure(bars, title=f"smollm2, {SCENE.name}, {TOUR_S} s each", traces=traces)


__all__ = ["add_arguments", "run"]
