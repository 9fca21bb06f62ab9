"""`draftwire models check DRAFT TARGET`: is a pair worth deploying? Measured here, predicted for links."""

import argparse
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from rich.console import Console

from draftwire.nodes.console import options
from draftwire.nodes.console.assemble import limit_threads
from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.launch import sharing_cores
from draftwire.nodes.console.models.ends import EndSeen, Loaded, load, look, need_one_vocabulary, room
from draftwire.nodes.console.models.prediction import Pair, colocated, judge, predict
from draftwire.nodes.console.models.sample import Place, Sampled, answered, read, sampled
from draftwire.nodes.console.models.steps import Steps, steps_of
from draftwire.nodes.console.models.told import Teller
from draftwire.nodes.console.prompts import EXAMPLES, read_prompts
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.tables import find_tables
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError, DraftwireError
from draftwire.runtime.link import LinkSpec, parse_link

if TYPE_CHECKING:
    from draftwire.codecs.tables import TableSet
    from draftwire.nodes.models.catalogue import End

RATES: Final = ("100kbit", "200kbit", "500kbit", "1mbit", "2mbit", "5mbit", "10mbit", "20mbit", "50mbit")
RTT: Final = "20ms"
TOKENS: Final = 480

LINE_EVERY: Final = 100
"""Tokens between two lines of progress where there is no terminal."""

EPILOG: Final = f"""\
alpha, how often a drafted token is accepted, is measured along answers that the target writes to prompts (or
along a text of --text), for rows of every K; times of steps are measured on this machine. What follows of
both, over links of --rates, is predicted, by the model that the controller plans with.

Models can be called as everywhere: smollm2, a folder, a .gguf file, a hub id. Rates and times are in tc's
units, by default {", ".join(RATES)} at a round trip of {RTT}.

examples:
  draftwire models check smollm2 smollm2
  draftwire models check ORG/SMALL ORG/LARGE --rtt 40ms --rates 500kbit,2mbit,10mbit
  draftwire models check ./draft ./target --link 'rate 2mbit delay 30ms' --temperature 0
  draftwire models check ./draft ./target --draft-step 3.1ms --target-step 44.5ms --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire models check`."""
    parser.epilog = EPILOG
    parser.add_argument("draft", metavar="DRAFT", help="the device's model")
    parser.add_argument("target", metavar="TARGET", help="the base station's")
    parser.add_argument("--dtype", help="of both models' weights: auto, float32, bfloat16, float16")
    sample = parser.add_argument_group("what alpha is measured along")
    sample.add_argument(
        "--temperature", type=options.temperature, default=1.0, metavar="T", help="of requests; default: 1"
    )
    text = sample.add_mutually_exclusive_group()
    text.add_argument(
        "--prompts", metavar="FILE", type=Path, help="one a line, that the target answers; default: examples"
    )
    text.add_argument(
        "--text", metavar="FILE", type=Path, help="a text such as the target's answers, read in their place"
    )
    sample.add_argument(
        "--tokens", type=options.tokens, default=TOKENS, metavar="N", help=f"of it; default: {TOKENS}"
    )
    link = parser.add_argument_group("links, and the real hardware")
    link.add_argument("--rates", type=_rates, metavar="RATE,...", help="both ways")
    trip = link.add_mutually_exclusive_group()
    trip.add_argument("--rtt", type=_time, metavar="TIME", help=f"round trip; default: {RTT}")
    trip.add_argument(
        "--link", metavar="WORDS", help="both directions, as tc says it: its rate, and twice its delay"
    )
    link.add_argument("--draft-step", type=_step, metavar="TIME", help="a drafted token on the device")
    link.add_argument("--target-step", type=_step, metavar="TIME", help="a step of the target, of any length")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object instead of lines and tables")


def run(args: argparse.Namespace) -> int:
    """Whether a pair of models fits together, and over which links it is worth it.

    Tokenizers, gates, memory, step times, measured acceptance by K, and the speed that is to be expected
    beside the target alone. A pair that can't work ends with exit code 2 and says why.
    """
    rates, rtt_s = _links(args)
    teller = Teller(None if args.json else Console())
    try:
        _check(args, teller, rates, rtt_s)
    except (DraftwireError, UnsupportedModelError) as error:
        teller.fields["problem"] = str(error)
        raise
    finally:
        if args.json:
            print(orjson.dumps(teller.fields).decode(), flush=True)
    return 0


def _check(args: argparse.Namespace, teller: Teller, rates: Sequence[float], rtt_s: float) -> None:
    prompts = EXAMPLES if args.prompts is None else read_prompts(args.prompts)
    seen = [look(name, end, dtype=args.dtype, say=_say) for name, end in _ends(args)]
    teller.seen(*seen)
    need_one_vocabulary(*seen)
    draft, target = _loaded(seen, args.dtype, teller)
    teller.room(room(draft, target))
    steps = _steps(args, draft, target, prompts)
    teller.steps(steps)
    found = _sampled(args, draft, target, prompts)
    source = str(args.text) if args.text else f"{found.texts} answers of the target"
    teller.sampled(found, source=source)
    pair = Pair(
        alphas={one.k: one.alpha for one in found.can_travel},
        whole=found.whole.alpha,
        coupled=found.coupled,
        compute=steps.compute,
        frames=found.frames,
        rtt_s=rtt_s,
        vocab_size=found.vocab_size,
        ids_only=found.by_ids,
    )
    teller.predicted([predict(pair, rate_bps=rate) for rate in rates], colocated(pair), rtt_s=rtt_s)
    low = {one.k: one.low for one in found.can_travel}
    high = {one.k: one.high for one in found.can_travel}
    teller.verdict(judge(pair, rates, low=low, high=high))


# Its steps --------------------------------------------------------------------------------------------------


def _ends(args: argparse.Namespace) -> "Sequence[tuple[str, End]]":
    return (args.draft, "draft"), (args.target, "target")


def _loaded(seen: Sequence[EndSeen], dtype: str | None, teller: Teller) -> list[Loaded]:
    """Both; where a gate keeps one out, the other is looked at all the same. Raises the first reason."""
    loaded, reasons = list[Loaded](), list[UnsupportedModelError]()
    for one in seen:
        try:
            loaded.append(load(one, dtype=dtype, say=_say))
        except UnsupportedModelError as error:
            reasons.append(error)
            teller.refused(one.end, str(error).removeprefix(f"{one.end.upper()}: "))
        else:
            teller.passed(loaded[-1])
    if reasons:
        raise reasons[0]
    return loaded


def _steps(args: argparse.Namespace, draft: Loaded, target: Loaded, prompts: Sequence[str]) -> Steps:
    """With threads as the commands have them that start both nodes on one host."""
    _say("timing steps")
    shared = sharing_cores(Topology.default())
    return steps_of(
        draft.model,
        target.model,
        draft.seen.tokenizer.encode_prompt(prompts[0]),
        vocab_size=draft.seen.vocab_size,
        temperature=args.temperature,
        draft_s=args.draft_step,
        target_s=args.target_step,
        before_draft=lambda: limit_threads(shared.device.threads, args.draft),
        before_target=lambda: limit_threads(shared.target.threads, args.target),
    )


def _sampled(args: argparse.Namespace, draft: Loaded, target: Loaded, prompts: Sequence[str]) -> Sampled:
    tokenizer, models = draft.seen.tokenizer, (draft.model, target.model)
    places: Iterator[Place]
    if args.text is not None:
        places = read(args.text, tokenizer, *models, tokens=args.tokens)
    else:
        places = answered(prompts, tokenizer, *models, temperature=args.temperature, tokens=args.tokens)
    with _bar(args.tokens) as advance:
        return sampled(
            places,
            vocab_size=tokenizer.vocab_size,
            support=draft.model.support,
            temperature=args.temperature,
            tables=_tables(draft.seen),
            progress=advance,
        )


def _tables(seen: EndSeen) -> "TableSet | None":
    """What a device of this vocabulary offers first."""
    found = find_tables(None, vocab_size=seen.vocab_size, fingerprint=seen.fingerprint)
    return found[0] if found else None


@contextmanager
def _bar(total: int) -> Iterator[Callable[[float], None]]:
    """On stderr; the value is told alpha so far, once a token. Without a terminal a line now and then."""
    console, done = Console(stderr=True), count(1)
    if not console.is_terminal:
        _say(f"alpha, along {total} tokens")
    with bar_on(console) as bar:
        task = bar.add_task("alpha", total=total)

        def advance(alpha: float) -> None:
            bar.update(task, advance=1, description=f"tokens, alpha {alpha:.3f}")
            if (here := next(done)) % LINE_EVERY == 0 and not console.is_terminal:
                _say(f"alpha {alpha:.3f} after {here} of {total} tokens")

        yield advance


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Options ----------------------------------------------------------------------------------------------------


def _links(args: argparse.Namespace) -> tuple[tuple[float, ...], float]:
    """Rates in bits a second, rising, and the round trip in seconds. Raises ConfigurationError."""
    rates, rtt_s = args.rates, args.rtt
    if args.link is not None:
        try:
            link = parse_link(args.link)
        except ConfigurationError as error:
            raise error.placed(key="--link") from None
        rtt_s = 2 * link.delay_s
        if rates is None and link.mean_rate_bps:
            rates = (link.mean_rate_bps,)
    usual = _rates(",".join(RATES))
    return tuple(sorted(rates or usual)), _time(RTT) if rtt_s is None else rtt_s


def _rates(text: str) -> tuple[float, ...]:
    found = [_word("rate", part, "500kbit,2mbit").rate_bps or 0.0 for part in text.split(",")]
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has a rate of 0, an outage: write for instance 500kbit,2mbit")
    return tuple(sorted(set(found)))


def _time(text: str) -> float:
    return _word("delay", text, "44.5ms").delay_s


def _step(text: str) -> float:
    if not (step_s := _time(text)):
        raise ArgumentTypeError(f"{text!r} is no time, and a step takes some: write for instance 44.5ms")
    return step_s


def _word(word: str, text: str, example: str) -> LinkSpec:
    """One value in tc's units, by the parser of links."""
    try:
        return parse_link(f"{word} {text}")
    except ConfigurationError as error:
        raise ArgumentTypeError(f"{error.problem}; write for instance {example}") from None


__all__ = ["add_arguments", "run"]
