"""The text that a draft's rows are taken from: files as they are, or a target's answers to prompts.

The rows of a passage are those that the draft would send if the passage were written with its help.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Sampling
from draftwire.nodes.models.base import LanguageModel, UnsupportedModelError
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.errors import ConfigurationError

WINDOW_TOKENS: Final = 512
"""Of a passage from a file, what stands before its rows included."""

LEAD_TOKENS: Final = 16
"""Before the first row of a passage from a file: a draft that knows nothing of a text says little of it."""

ANSWER_TOKENS: Final = 128
"""Of a target's answer, at most."""

TEMPERATURES: Final = (1.0, 0.7)
"""Of a target's answers, in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Tokens in a row; positions from `start` on give a row each."""

    tokens: tuple[int, ...] = field(repr=False)
    start: int
    "1 or more: of the first token that a row is for"

    @property
    def rows(self) -> int:
        """How many rows it gives."""
        return len(self.tokens) - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """What a set is learnt from, and what it is measured on."""

    learnt: tuple[Passage, ...]
    held_out: tuple[Passage, ...]


def from_files(
    paths: Sequence[Path], tokenizer: Tokenizer, *, rows: int, held_out: float, context_length: int
) -> Passages:
    """About `rows` rows, spread evenly over texts, a share `held_out` of them held out.

    That is taken from the last such share of each text.

    Raises ConfigurationError for a file that can't be read or is no text, and where nothing is left.
    """
    texts = [tokenizer.encode_prompt(_text(path), chat=False) for path in paths]
    begin = tokenizer.encode_prompt("", chat=False)  # what every text begins with, for many: one token
    if any(text[: len(begin)] != begin for text in texts):
        begin = []
    before, texts = tuple(begin), [text[len(begin) :] for text in texts]
    cuts = [round(len(text) * (1 - held_out)) for text in texts]
    window = min(WINDOW_TOKENS, context_length)

    def passages(parts: Sequence[Sequence[int]], most: float) -> list[Passage]:
        return _windows(parts, before=before, window=window, rows=most)

    return _checked(
        passages([text[:cut] for text, cut in zip(texts, cuts, strict=True)], rows * (1 - held_out)),
        passages([text[cut:] for text, cut in zip(texts, cuts, strict=True)], rows * held_out),
        key="--text",
    )


def _windows(
    texts: Sequence[Sequence[int]], *, before: tuple[int, ...], window: int, rows: float
) -> list[Passage]:
    """Passages of up to `window` tokens, `before` in front of each, with about `rows` rows in all."""
    room = window - len(before)
    lead = min(LEAD_TOKENS, room // 2)
    start = max(1, len(before) + lead)
    windows = [
        [tuple(text[at : at + room]) for at in range(0, len(text) - lead, room - lead)] for text in texts
    ]
    every = [Passage(tokens=(*before, *tokens), start=start) for of_text in windows for tokens in of_text]
    every = [passage for passage in every if passage.rows > 0]
    there = sum(passage.rows for passage in every)
    count = ceil(min(1.0, rows / max(1, there)) * len(every))
    while count < len(every) and sum(passage.rows for passage in _spread(every, count)) < rows:
        count += 1  # some are shorter than others
    return _shortened(_spread(every, count), rows)


def _spread(every: Sequence[Passage], count: int) -> list[Passage]:
    """So many of them, at even distances over all texts: many short texts give no more than asked for."""
    return [every[(2 * at + 1) * len(every) // (2 * count)] for at in range(count)]


def _shortened(passages: Sequence[Passage], rows: float) -> list[Passage]:
    """With `rows` rows in all, to one a passage: all lose the same share at their ends."""
    share = min(1.0, rows / max(1, sum(passage.rows for passage in passages)))
    return [replace(one, tokens=one.tokens[: one.start + ceil(share * one.rows)]) for one in passages]


def from_answers(
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    target: LanguageModel,
    *,
    rows: int,
    context_length: int,
    seed: int,
) -> Iterator[Passage]:
    """The target's answers to prompts, at temperature 1 and 0.7 in turn, until there are `rows` rows.

    Where the prompts run out they are asked again.
    """
    rng, made, asked = np.random.default_rng(seed), 0, 0
    while made < rows:
        before = made
        for prompt in prompts:
            start = tokenizer.encode_prompt(prompt)
            if not 1 <= len(start) < context_length:
                continue
            sampling = Sampling(temperature=TEMPERATURES[asked % len(TEMPERATURES)])
            most = min(ANSWER_TOKENS, context_length - len(start), rows - made)
            tokens = _answer(start, tokenizer, target, sampling, most, rng)
            asked += 1
            made += len(tokens) - len(start)
            yield Passage(tokens=tuple(tokens), start=len(start))
            if made >= rows:
                return
        if made == before:
            remedy = f"write prompts of fewer than {context_length} tokens"
            raise ConfigurationError("no prompt that the models can read", key="--prompts", remedy=remedy)


def split(passages: Sequence[Passage], *, held_out: float) -> Passages:
    """The last passages are held out, with a share of the rows: as near to it as whole passages come.

    Raises ConfigurationError where nothing is left.
    """
    total = sum(one.rows for one in passages)
    behind = list(accumulate((one.rows for one in reversed(passages)), initial=0))
    kept = min(range(len(behind)), key=lambda count: abs(behind[count] - held_out * total))
    return _checked(passages[: len(passages) - kept], passages[len(passages) - kept :], key="--prompts")


def read_prompts(path: Path) -> list[str]:
    """A prompt a line. Raises ConfigurationError."""
    prompts = [line.strip() for line in _text(path, key="--prompts").splitlines() if line.strip()]
    if len(prompts) < 2:
        problem = f"{str(path)!r} holds {len(prompts)} prompts"
        raise ConfigurationError(problem, key="--prompts", remedy="write one a line, a hundred or more")
    return prompts


def drafted_rows(
    passages: Sequence[Passage], draft: LanguageModel, *, width: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """The draft's rows of each passage: its `width` likeliest ids by falling weight, and their logits less
    the largest, both of shape [rows, width]. Finite, as a device's rows are.

    Raises UnsupportedModelError where the largest of a row's logits is no finite number.
    """
    chunk = 64  # rows of 262144 logits take 67 MB then
    for passage in passages:
        context = draft.open()
        ids, logits = list[NDArray[np.int32]](), list[NDArray[np.float32]]()
        for first in range(passage.start, len(passage.tokens), chunk):
            last = min(first + chunk, len(passage.tokens))
            # Row i follows the tokens before position first + i; the last token itself is never read.
            found = context.logits(passage.tokens[: last - 1], last - first)
            if not np.isfinite(largest := found.max(axis=1)).all():  # NaN, if one of them is
                wrong = largest[~np.isfinite(largest)][0]
                raise UnsupportedModelError(
                    f"the draft model's largest logit is {wrong}: its weights are broken, or too large for "
                    "their type; try --dtype float32"
                )
            columns = _largest(found, width)
            taken = np.take_along_axis(found, columns, axis=1)
            logits.append(np.maximum(taken - taken[:, :1], np.float32(-1e9)))
            ids.append((columns if draft.support is None else draft.support[columns]).astype(np.int32))
        context.close()
        yield np.concatenate(ids), np.concatenate(logits)


def _largest(logits: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest of each row, falling; of equals the first."""
    if count < logits.shape[1]:
        columns = np.sort(np.argpartition(logits, -count, axis=1)[:, -count:], axis=1)
    else:
        columns = np.broadcast_to(np.arange(count), logits.shape)
    order = np.argsort(-np.take_along_axis(logits, columns, axis=1), axis=1, kind="stable")
    largest: NDArray[np.int64] = np.take_along_axis(columns, order, axis=1)
    return largest


def _answer(
    start: Sequence[int],
    tokenizer: Tokenizer,
    target: LanguageModel,
    sampling: Sampling,
    most: int,
    rng: np.random.Generator,
) -> list[int]:
    tokens, context = list(start), target.open()
    for _ in range(most):
        p = target_distribution(context.logits(tokens, 1)[0], sampling)
        tokens.append(int(min(np.searchsorted(p.cumsum(), rng.random() * p.sum(), side="right"), len(p) - 1)))
        if tokens[-1] in tokenizer.eos_ids:
            break
    context.close()
    return tokens


def _checked(learnt: Sequence[Passage], held_out: Sequence[Passage], *, key: str) -> Passages:
    if not learnt or not held_out:
        problem = f"{len(learnt)} passages to learn from and {len(held_out)} to measure on are too few"
        remedy = f"take more text (a passage is up to {WINDOW_TOKENS} tokens), or another --held-out"
        raise ConfigurationError(problem, key=key, remedy=remedy)
    return Passages(learnt=tuple(learnt), held_out=tuple(held_out))


def _text(path: Path, *, key: str = "--text") -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(f"{str(path)!r}: {reason}", key=key, remedy="name a text file") from None


__all__ = ["Passage", "Passages", "drafted_rows", "from_answers", "from_files", "read_prompts", "split"]
