"""What `draftwire bench codec` reads: a text that nothing was learnt from, and the pair's answers along it.

Both models read the same tokens (teacher forcing). At each position the draft's top of its row is kept, and
what the target's p has at the same ids; so what is measured does not depend on what was drawn.

The shipped text lies beside this file (scripts/record_held_out.py writes it): answers of the shipped target
at temperature 1 to prompts that neither draft nor tables were learnt from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.messages import Sampling
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row, tail_of
from draftwire.nodes.console.bench.traces import data_path
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.errors import ConfigurationError

Floats = NDArray[np.float64]

GAMMA: Final = 4
"Rows of a block."

SHIPPED_TEXT: Final = "smollm2-text"

WINDOW: Final = 256
"Tokens of a passage of a text file: about what an answer and its prompt have."

CONTEXT: Final = 32
"Of them in front of what is measured."

AT_ONCE: Final = 64
"Positions that are read in one pass of a model at most: logits over 262144 ids take 67 MB then."

SAMPLING: Final = Sampling(temperature=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Tokens that follow each other."""

    tokens: tuple[int, ...] = field(repr=False)
    start: int
    "what is measured begins here, 1 or more; in front of it is context"

    def __len__(self) -> int:
        """Positions that can be measured."""
        return len(self.tokens) - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text in tokens of one vocabulary."""

    says: str
    "for people: what it is"
    passages: tuple[Passage, ...] = field(repr=False)


def shipped_text(tokenizer: Tokenizer) -> Text:
    """The held-out answers in this package. Raises ConfigurationError for another vocabulary than theirs."""
    with np.load(data_path(SHIPPED_TEXT)) as file:
        if file["fingerprint"].tobytes() != tokenizer.fingerprint:
            raise ConfigurationError(
                "this pair's vocabulary is not that of the shipped text",
                key="--text",
                remedy="name a text file, one that the draft was not trained on",
            )
        answers = np.split(file["tokens"].astype(np.int64), np.cumsum(file["lengths"])[:-1])
        return Text(
            says=str(file["says"]),
            passages=tuple(
                Passage(tokens=tuple(tokens.tolist()), start=int(start))
                for tokens, start in zip(answers, file["starts"], strict=True)
            ),
        )


def save_text(text: Text, path: Path, *, fingerprint: bytes) -> None:
    """Write what `shipped_text` reads, compressed."""
    np.savez_compressed(
        path,
        says=np.array(text.says),
        fingerprint=np.frombuffer(fingerprint, np.uint8),
        tokens=np.concatenate([one.tokens for one in text.passages]).astype(np.uint32),
        lengths=np.array([len(one.tokens) for one in text.passages], np.uint32),
        starts=np.array([one.start for one in text.passages], np.uint32),
    )


def text_of_file(path: Path, tokenizer: Tokenizer) -> Text:
    """A UTF-8 text file in windows. Raises ConfigurationError where there is none, or too little in it."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(
            f"{str(path)!r}: {reason}", key="--text", remedy="name a text file in UTF-8"
        ) from None
    tokens = tokenizer.encode_prompt(content, chat=False)
    if len(tokens) < CONTEXT + GAMMA:
        raise ConfigurationError(
            f"{str(path)!r}: {len(tokens)} tokens are too few",
            key="--text",
            remedy=f"name a text of {CONTEXT + GAMMA} tokens or more; thousands say something",
        )
    starts = range(0, len(tokens) - CONTEXT, WINDOW - CONTEXT)
    windows = (tokens[start : start + WINDOW] for start in starts)
    return Text(
        says=f"{path.name}, {len(tokens)} tokens in windows of {WINDOW}",
        passages=tuple(Passage(tokens=tuple(one), start=CONTEXT) for one in windows),
    )


def stretches(text: Text, positions: int) -> list[Passage]:
    """Of each passage about as much of its end as makes `positions` in all, in whole blocks.

    A stretch's tokens end with the last position that is measured.
    """
    lengths = [len(one) // GAMMA * GAMMA for one in text.passages]
    # The longest stretch that keeps the sum below what was asked for; passages that are shorter give all.
    for most in range(GAMMA, max(lengths, default=0) + GAMMA, GAMMA):
        if sum(min(length, most) for length in lengths) >= positions:
            break
    found, left = list[Passage](), ceil(positions / GAMMA) * GAMMA
    for one, length in zip(text.passages, lengths, strict=True):
        taken = min(length, most, left)
        if taken:
            end = one.start + length
            found.append(Passage(tokens=one.tokens[:end], start=end - taken))
            left -= taken
    return found


# ----------------------------------------------------------------------------------- the pair reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """N positions, whole blocks of GAMMA neighbours; of each the draft's top C ids, the likeliest first."""

    vocab_size: int
    ids: NDArray[np.int32] = field(repr=False)
    "shape [N, C]"
    scores: NDArray[np.float32] = field(repr=False)
    "shape [N, C]: the draft's logits, the largest 0"
    p: NDArray[np.float32] = field(repr=False)
    "shape [N, C]: what the target's distribution has there"
    left_out: dict[int, Floats] = field(repr=False)
    "K -> shape [N]: the mass of the draft's whole row outside its K likeliest ids"

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def block(self, number: int, k: int) -> "Block":
        """The rows of K entries of a block."""
        places = slice(GAMMA * number, GAMMA * (number + 1))
        order = np.argsort(self.ids[places, :k], axis=1)
        return Block(
            vocab_size=self.vocab_size,
            ids=np.take_along_axis(self.ids[places, :k], order, axis=1),
            scores=np.take_along_axis(self.scores[places, :k], order, axis=1).astype(np.float64),
            p=np.take_along_axis(self.p[places, :k], order, axis=1).astype(np.float64),
            tails=tuple(tail_of(float(mass)) for mass in self.left_out[k][places]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What becomes GAMMA rows of K entries, by rising id. Arrays have shape [GAMMA, K]."""

    vocab_size: int
    ids: NDArray[np.int32] = field(repr=False)
    scores: Floats = field(repr=False)
    p: Floats = field(repr=False)
    tails: tuple[int, ...]

    def rows(self) -> tuple[Row, ...]:
        """Quantised, as they travel."""
        return tuple(
            quantize(ids, scores, vocab_size=self.vocab_size, tail=tail)
            for ids, scores, tail in zip(self.ids, self.scores, self.tails, strict=True)
        )

    @property
    def exact(self) -> Floats:
        """q before it is quantised: the K likeliest, renormalised."""
        q: Floats = np.exp(self.scores)
        q /= q.sum(axis=1, keepdims=True)
        return q


def read(
    draft: LanguageModel,
    target: LanguageModel,
    passages: Sequence[Passage],
    *,
    ks: Sequence[int],
    progress: Callable[[int], None] = lambda positions: None,
) -> Sample:
    """Both models along the passages; `progress` is told how many positions have been read, pass by pass."""
    parts, done = list[_Part](), 0
    for passage in passages:
        contexts = draft.open(), target.open()
        for at in range(passage.start, len(passage.tokens), AT_ONCE):
            end = min(at + AT_ONCE, len(passage.tokens))
            # The row at a position follows the tokens in front of it.
            drafted, answered = (one.logits(passage.tokens[: end - 1], end - at) for one in contexts)
            parts += _parts(drafted, answered, draft.support, ks)
            done += end - at
            progress(done)
        for one in contexts:
            one.close()
    return Sample(
        vocab_size=target.vocab_size,
        ids=np.stack([one.ids for one in parts]),
        scores=np.stack([one.scores for one in parts]),
        p=np.stack([one.p for one in parts]),
        left_out={k: np.array([one.left_out[i] for one in parts]) for i, k in enumerate(ks)},
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One position."""

    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    p: NDArray[np.float32]
    left_out: Floats


def _parts(
    drafted: NDArray[np.float32],
    answered: NDArray[np.float32],
    support: NDArray[np.int64] | None,
    ks: Sequence[int],
) -> Iterable[_Part]:
    for logits, target_logits in zip(drafted, answered, strict=True):
        p = target_distribution(target_logits, SAMPLING)
        columns = np.argsort(-logits, kind="stable")
        kept = columns[: ks[-1]]
        ids = kept if support is None else support[kept]
        # From the smallest up, so that what lies outside is not lost in the rounding of what lies inside.
        masses = np.exp(logits[columns].astype(np.float64) - float(logits.max()))[::-1].cumsum()[::-1]
        outside = np.append(masses / masses[0], 0.0)[list(ks)]
        scores = logits[kept] - logits.max()
        yield _Part(ids.astype(np.int32), scores, p[ids].astype(np.float32), outside)


__all__ = [
    "AT_ONCE",
    "CONTEXT",
    "GAMMA",
    "SHIPPED_TEXT",
    "WINDOW",
    "Block",
    "Passage",
    "Sample",
    "Text",
    "read",
    "save_text",
    "shipped_text",
    "stretches",
    "text_of_file",
]
