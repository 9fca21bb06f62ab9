"""A pair's acceptance at every K, measured along what the target writes: no name of a family says that.

At each position of a text sum_x min(p(x), q_K(x)) is known exactly, for the row q_K that a device would send.
p is the target's distribution there, at the temperature asked for. Rows are made the one way there is
(nodes/speculation/sampling.py) and spelt as they would travel.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.blocks import HEADER_BITS, encode_rows
from draftwire.codecs.messages import Sampling
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import TableSet
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.tables.passages import LEAD_TOKENS, WINDOW_TOKENS
from draftwire.nodes.models.base import Ask, Context, LanguageModel, answers
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.speculation.acceptance import LADDER
from draftwire.nodes.speculation.cost import Frames
from draftwire.nodes.speculation.coupling import equal_probability
from draftwire.nodes.speculation.frames import around_rows_bits, on_link_bits, true_frames
from draftwire.nodes.speculation.sampling import sparsify, target_distribution
from draftwire.runtime.errors import ConfigurationError

Logits = NDArray[np.float32]
Floats = NDArray[np.float64]

AT_ONCE: Final = 8
"""Answers that the target writes in one pass."""

LEAST_ANSWER: Final = 32
"""Tokens of each answer, where the prompts would do with fewer: an answer's beginning is not all of it."""

READ_AT_ONCE: Final = 64
"""Rows of a text that is read: of 262144 logits they take 67 MB."""

ROWS_SPELT: Final = 200
"""For the size of rows: lengths vary by a tenth from row to row, so that is plenty."""

BLOCK_ROWS: Final = 4
"""Of a block whose size is measured: a usual draft."""

RESAMPLES: Final = 1000
FEW_TEXTS: Final = 8
"""With fewer, an interval is drawn over stretches of STRETCH tokens instead of over whole texts."""

STRETCH: Final = 16


class Place(NamedTuple):
    """A position of a text."""

    text: int
    "which one, from 0"
    target: Logits
    "shape [V]"
    draft: Logits
    "one for each id of the draft's support"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaOfK:
    """Acceptance of rows of K entries: the mean over positions, and its interval of 95 %."""

    k: int
    alpha: float
    low: float
    high: float
    row_bits: float | None
    "that one row adds to a message; None: no row travels"


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What a sample came to."""

    temperature: float
    texts: int
    ladder: tuple[int, ...]
    "K of each column, rising; the last is V: whole rows. At temperature 0 K = 1 alone"
    alphas: Floats = field(repr=False)
    "shape [positions, K]"
    groups: NDArray[np.int64] = field(repr=False)
    "shape [positions]: what an interval is drawn over"
    coupled: float
    "how often picks by the shared noise are equal: the mean; at temperature 0 the same as alpha"
    row_bits: tuple[float, ...]
    "for each K; empty: no rows travel"
    tables: TableSet | None = field(repr=False)
    "that rows are spelt with; None: plain"
    vocab_size: int

    @property
    def positions(self) -> int:
        """Tokens of the sample."""
        return len(self.alphas)

    @property
    def by_ids(self) -> bool:
        """Whether only ids travel."""
        return not self.row_bits

    @cached_property
    def rows(self) -> tuple[AlphaOfK, ...]:
        """A line for each K."""
        low, high = _interval(self.alphas, self.groups)
        bits = self.row_bits or (None,) * len(self.ladder)
        means = self.alphas.mean(axis=0).tolist()
        columns = zip(self.ladder, means, low, high, bits, strict=True)
        return tuple(AlphaOfK(k=k, alpha=a, low=lo, high=hi, row_bits=b) for k, a, lo, hi, b in columns)

    @property
    def can_travel(self) -> tuple[AlphaOfK, ...]:
        """Those that a controller chooses from; whole rows are none of them."""
        return self.rows if self.by_ids else tuple(one for one in self.rows if one.k in LADDER)

    @property
    def whole(self) -> AlphaOfK:
        """Of whole rows."""
        return self.rows[-1]

    @cached_property
    def frames(self) -> Frames:
        """True sizes, with this text's mean row at each K."""
        if self.by_ids:
            return true_frames(vocab_size=self.vocab_size, rows=False)
        usual, around = true_frames(vocab_size=self.vocab_size), around_rows_bits(vocab_size=self.vocab_size)
        of_k = dict(zip(self.ladder, self.row_bits, strict=True))
        return Frames(
            draft_bits=usual.draft_bits,
            rows_bits=lambda k, n: on_link_bits((around + n * of_k[k]) / 8),
            commit_bits=usual.commit_bits,
            rows_in_one=True,
        )


def _interval(values: Floats, groups: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Of the mean of each column, by a bootstrap over groups: positions of a text are not independent."""
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, group, values)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return low.tolist(), high.tolist()


# Measuring --------------------------------------------------------------------------------------------------


def sampled(
    places: Iterator[Place],
    *,
    vocab_size: int,
    support: NDArray[np.int64] | None,
    temperature: float,
    tables: TableSet | None,
    progress: Callable[[float], None] = lambda alpha: None,
) -> Sampled:
    """Acceptance along `places`. `progress` is told the mean so far, of the widest rows, at each of them.

    Raises ConfigurationError where there is no position at all.
    """
    sampling = Sampling(temperature=temperature)
    columns = vocab_size if support is None else len(support)
    ladder = (1,) if sampling.greedy else (*(k for k in LADDER if k < columns), vocab_size)
    alphas, texts, coupled = list[list[float]](), list[int](), list[float]()
    kept, total = [list[Row]() for _ in ladder[:-1]], 0.0
    for place in places:
        p = target_distribution(place.target, sampling)
        q = target_distribution(place.draft, sampling)
        p_there = p if support is None else p[support]
        here, whole = list[float](), float(np.minimum(p_there, q).sum())
        for rows, k in zip(kept, ladder[:-1], strict=True):
            row = sparsify(place.draft, support, k=k, temperature=temperature, vocab_size=vocab_size)
            here.append(min(1.0, float(np.minimum(p[row.ids], row.weights / WEIGHT_SUM).sum())))
            if len(rows) < ROWS_SPELT:
                rows.append(row)
        alphas.append([*here, min(1.0, whole)])
        total += alphas[-1][-1]
        coupled.append(whole if sampling.greedy else equal_probability(p, q, support))
        texts.append(place.text)
        progress(total / len(alphas))
    if not alphas:
        raise ConfigurationError(
            "no token to measure at", key="--prompts", remedy="write prompts that the target answers"
        )
    return Sampled(
        temperature=temperature,
        texts=len(set(texts)),
        ladder=ladder,
        alphas=np.array(alphas),
        groups=_groups(texts),
        coupled=float(np.mean(coupled)),
        row_bits=() if sampling.greedy else (*(_bits(rows, tables) for rows in kept), 16.0 * vocab_size),
        tables=tables,
        vocab_size=vocab_size,
    )


def _groups(texts: Sequence[int]) -> NDArray[np.int64]:
    of_text = np.array(texts)
    if len(set(texts)) >= FEW_TEXTS:
        return of_text
    stretch, counts = np.empty(len(texts), np.int64), dict[int, int]()
    for place, text in enumerate(texts):
        stretch[place] = counts.get(text, 0) // STRETCH
        counts[text] = counts.get(text, 0) + 1
    return of_text * len(texts) + stretch


def _bits(rows: Sequence[Row], tables: TableSet | None) -> float:
    """That a row adds to a block, in blocks of BLOCK_ROWS as they are encoded."""
    blocks = [rows[at : at + BLOCK_ROWS] for at in range(0, len(rows), BLOCK_ROWS)]
    return sum(8 * len(encode_rows(one, tables=tables)) - HEADER_BITS for one in blocks) / len(rows)


# Texts ------------------------------------------------------------------------------------------------------


def answered(
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    draft: LanguageModel,
    target: LanguageModel,
    *,
    temperature: float,
    tokens: int,
    seed: int = 0,
) -> Iterator[Place]:
    """Each position of the target's answers, AT_ONCE of them side by side, until there are `tokens`.

    Where the prompts run out they are asked again. Raises ConfigurationError where the models can read none.
    """
    context_length = min(draft.context_length, target.context_length)
    begun = [tokenizer.encode_prompt(prompt) for prompt in prompts]
    begun = [start for start in begun if 1 <= len(start) < context_length]
    if not begun:
        raise ConfigurationError(
            "no prompt that the models can read",
            key="--prompts",
            remedy=f"write prompts of fewer than {context_length} tokens",
        )
    most = max(LEAST_ANSWER, -(-tokens // len(begun)))
    rng, sampling, left = np.random.default_rng(seed), Sampling(temperature=temperature), tokens
    waiting, under_way, number = list(begun), list[_Answer](), 0
    while left > 0:
        while len(under_way) < AT_ONCE:
            waiting = waiting or list(begun)
            start = waiting.pop(0)
            room = min(most, context_length - len(start))
            under_way.append(_Answer(number, list(start), len(start) + room, target.open(), draft.open()))
            number += 1
        asks = [Ask(context=one.target, tokens=one.tokens, rows=1) for one in under_way]
        for one, logits in zip(tuple(under_way), answers(target, asks), strict=True):
            if left > 0:
                left -= 1
                yield Place(one.number, logits[0], one.draft.logits(one.tokens, 1)[0])
            p = target_distribution(logits[0], sampling)
            drawn = np.searchsorted(p.cumsum(), rng.random() * p.sum(), side="right")
            one.tokens.append(int(min(drawn, len(p) - 1)))
            if one.tokens[-1] in tokenizer.eos_ids or len(one.tokens) >= one.ends_at:
                under_way.remove(one)
                one.close()
    for one in under_way:
        one.close()


class _Answer(NamedTuple):
    """One that is being written."""

    number: int
    tokens: list[int]
    ends_at: int
    "tokens, those of the prompt among them"
    target: Context
    draft: Context

    def close(self) -> None:
        """Free both caches."""
        self.target.close()
        self.draft.close()


def read(
    path: Path, tokenizer: Tokenizer, draft: LanguageModel, target: LanguageModel, *, tokens: int
) -> Iterator[Place]:
    """Positions of a file's text, `tokens` of them in windows spread evenly over it, or all that it has.

    Raises ConfigurationError for a file that can't be read, is no text, or too short.
    """
    try:
        text = tokenizer.encode_prompt(path.read_text(encoding="utf-8"), chat=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(
            f"{str(path)!r}: {reason}", key="--text", remedy="name a text file"
        ) from None
    window = min(WINDOW_TOKENS // 4, draft.context_length, target.context_length)
    lead = min(LEAD_TOKENS, window // 2)
    if len(text) <= lead:
        raise ConfigurationError(
            f"{str(path)!r} holds {len(text)} tokens", key="--text", remedy="take a longer text"
        )
    windows = [text[at : at + window] for at in range(0, len(text) - lead, window - lead)]
    wanted = min(len(windows), -(-tokens // (window - lead)))
    left = tokens
    for number in range(wanted):
        some = windows[(2 * number + 1) * len(windows) // (2 * wanted)]
        contexts = target.open(), draft.open()
        for first in range(lead, len(some), READ_AT_ONCE):
            last = min(first + READ_AT_ONCE, len(some), first + left)
            if last == first:
                break
            left -= last - first
            # Row i is what follows the tokens before position first + i; the last one is never read.
            of_target, of_draft = (one.logits(some[: last - 1], last - first) for one in contexts)
            for p_logits, q_logits in zip(of_target, of_draft, strict=True):
                yield Place(number, p_logits, q_logits)
        for context in contexts:
            context.close()


__all__ = ["AlphaOfK", "Place", "Sampled", "answered", "read", "sampled"]
