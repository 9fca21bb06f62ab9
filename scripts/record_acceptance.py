"""Record how a pair accepts, for `draftwire simulate --recording FILE`: minutes on one core.

    python scripts/record_acceptance.py mine --draft ORG/SMALL --target ORG/LARGE --tables my.tables
    draftwire simulate --recording mine.npz --devices 20

The target answers prompts, sampling at the temperature; at each position of its answers the draft's row is
held against p at every K (nodes/console/bench/traces.py), and measured as it travels: spelt with the tables;
and both ends pick by the shared noise. Then the draft goes ahead from some of these positions by itself, a
block at each, and the target says what two rules would accept of it. Nothing of the answers is kept.

The shipped pair's own are recorded so, and again whenever its tables change; `draftwire simulate` and
`draftwire bench` read them where they are, and the draft was not trained on the prompts:

    python scripts/record_acceptance.py smollm2 --out nodes/console/bench/data/smollm2.npz
    python scripts/record_acceptance.py smollm2-0.7 --temperature 0.7 --positions 1500 \\
                                        --out nodes/console/bench/data/smollm2-0.7.npz
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from draftwire.codecs.messages import Sampling
from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.bench.acceptance_trace import (
    block_over_token,
    coupled_alpha_over_rejection_alpha,
    save,
)
from draftwire.nodes.console.bench.blocks import GAMMA, Expected, Logits, drafted, expected_tokens
from draftwire.nodes.console.bench.traces import record
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import SHIPPED, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.tables import find_tables, shipped_tables
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.errors import ConfigurationError

PROMPTS: Final = (
    "What makes bread rise, and why does it need time?",
    "Write a short letter to a neighbour about a fallen fence.",
    "Give me five ideas for a rainy afternoon with two children.",
    "How does a bicycle stay upright while it moves?",
    "Tell a story about a lighthouse keeper who finds a bottle.",
    "Explain the difference between weather and climate.",
    "List the steps to repot a plant that has outgrown its pot.",
    "Why do cats purr?",
    "Write a Python function that returns the median of a list.",
    "Summarise the plot of Romeo and Juliet in a few sentences.",
    "What should I pack for three days in the mountains in October?",
    "Compare trains and buses for commuting to work.",
    "How are rainbows formed?",
    "Write a poem about the first snow in a small town.",
    "What is inflation, and whom does it hurt most?",
    "Describe how a letter travels from one city to another.",
    "My phone does not charge any more. What can I check?",
    "Who was Marie Curie, and what is she known for?",
    "Give three arguments for and against zoos.",
    "Explain recursion to someone who has never programmed.",
    "What can I cook with rice, eggs and a few vegetables?",
    "Write a dialogue between a teacher and a pupil who is late.",
    "How do vaccines work?",
    "Plan a simple weekly exercise routine for a beginner.",
    "Why is the sea salty while rivers are not?",
    "Describe the taste of coffee to someone who has never had it.",
)

ANSWER_TOKENS: Final = 128

BLOCKS: Final = 500
"""Positions, evenly spread, from which the draft goes ahead; fewer where there are fewer positions."""

NONE: Final = "none"
"""In place of a file of tables: plain rows."""


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the recording; its file is NAME.npz")
    parser.add_argument("--draft", default=SHIPPED, help="default: %(default)s")
    parser.add_argument("--target", default=SHIPPED, help="default: %(default)s")
    parser.add_argument(
        "--tables",
        metavar="FILE",
        help="that rows are spelt with, or `none`; default: the shipped pair's, none for another draft",
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="above 0; default: %(default)s")
    parser.add_argument("--positions", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the target's draws; default: %(default)s")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="another file: .npz is added where it lacks; written over"
    )
    args = parser.parse_args()
    path = file_named(args.out or Path(args.name))
    if path.is_dir() or not path.absolute().parent.is_dir():
        parser.error(f"{path}: no file can be there; name another with --out")

    console = Console(stderr=True)
    tokenizer = load_tokenizer(args.target, end="target")
    try:
        tables = tables_for(args.tables or _usual_tables(args.draft), tokenizer)
    except ConfigurationError as error:
        parser.error(str(error))
    draft, target = load_draft(args.draft), load_target(args.target)
    starts: list[tuple[int, ...]] = []
    with Progress(console=console) as progress:
        task = progress.add_task("positions", total=args.positions)
        places = answered(draft, target, tokenizer, args.temperature, args.positions, args.seed)
        trace = record(
            noted(places, starts, every=-(-args.positions // BLOCKS), advance=lambda: progress.advance(task)),
            name=args.name,
            vocab_size=tokenizer.vocab_size,
            temperature=args.temperature,
            support=draft.support,
            tables=tables,
            blocks=ahead(
                draft, target, starts, vocab_size=tokenizer.vocab_size, temperature=args.temperature
            ),
        )
    save(trace, path)
    console.print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {len(trace.alpha)} positions")
    console.print({k: round(alpha, 3) for k, alpha in trace.mean_alphas().items()})
    ratio, block = coupled_alpha_over_rejection_alpha(trace), block_over_token(trace)
    console.print(f"coupled picks are equal {trace.coupled.mean():.3f} of the time, {ratio:.3f} of alpha")
    console.print(f"block verification: {block:.3f} of the tokens a step, {len(trace.block_tokens)} blocks")
    console.print(f"rows spelt with {trace.tables or 'no tables'}, bits an entry:")
    sizes = trace.row_bits.mean(axis=0).tolist()
    console.print({k: round(bits / k, 2) for k, bits in zip(trace.ladder, sizes, strict=True)})
    return 0


def file_named(path: Path) -> Path:
    """With the ending that numpy gives it, whatever dots are in the name."""
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def _usual_tables(draft: str) -> str:
    return str(shipped_tables()) if draft == SHIPPED else NONE


def tables_for(name: str, tokenizer: Tokenizer) -> TableSet | None:
    """The set in that file; NONE: plain rows. Raises ConfigurationError if it does not fit the tokenizer."""
    named = [] if name == NONE else [name]
    found = find_tables(named, vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint)
    return found[0] if found else None


class Place(NamedTuple):
    """A position of an answer."""

    tokens: tuple[int, ...]
    "before it"
    target: Logits
    "shape [V]"
    draft: Logits
    "one for each id of the draft's support"


def answered(
    draft: LanguageModel,
    target: LanguageModel,
    tokenizer: Tokenizer,
    temperature: float,
    positions: int,
    seed: int,
) -> Iterator[Place]:
    """Each position of the target's answers, one after the other."""
    rng, sampling, left = np.random.default_rng(seed), Sampling(temperature=temperature), positions
    while left:
        for prompt in PROMPTS:
            tokens = tokenizer.encode_prompt(prompt)
            contexts = target.open(), draft.open()
            for _ in range(min(ANSWER_TOKENS, left)):
                logits, guessed = (context.logits(tokens, 1)[0] for context in contexts)
                yield Place(tuple(tokens), logits, guessed)
                left -= 1
                tokens.append(drawn(target_distribution(logits, sampling), rng))
                if tokens[-1] in tokenizer.eos_ids:
                    break
            for context in contexts:
                context.close()


def drawn(p: NDArray[np.float64], rng: np.random.Generator) -> int:
    """A token from p, shape [V]."""
    return int(min(np.searchsorted(p.cumsum(), rng.random() * p.sum(), side="right"), len(p) - 1))


def noted(
    places: Iterator[Place], starts: list[tuple[int, ...]], *, every: int, advance: Callable[[], None]
) -> Iterator[tuple[Logits, Logits]]:
    """Both ends' logits; the tokens before each `every`-th position go to `starts`."""
    for number, place in enumerate(places):
        if number % every == 0:
            starts.append(place.tokens)
        advance()
        yield place.target, place.draft


def ahead(
    draft: LanguageModel,
    target: LanguageModel,
    starts: Sequence[tuple[int, ...]],
    *,
    vocab_size: int,
    temperature: float,
) -> Iterator[Expected]:
    """What a block brings that the draft draws behind each of `starts`, and the target tests."""
    of_target, of_draft = target.open(), draft.open()
    sampling = Sampling(temperature=temperature)
    for place, tokens in enumerate(starts):

        def guessed(ids: Sequence[int], tokens: tuple[int, ...] = tokens) -> Logits:
            row: Logits = of_draft.logits([*tokens, *ids], 1)[0]
            return row

        block = drafted(
            guessed, place=place, vocab_size=vocab_size, temperature=temperature, support=draft.support
        )
        logits = of_target.logits([*tokens, *block.ids[:-1]], GAMMA)
        yield expected_tokens([target_distribution(one, sampling) for one in logits], block)
    of_target.close()
    of_draft.close()


if __name__ == "__main__":
    raise SystemExit(main())
