"""Models without weights, for tests and simulations: exact, cheap, the same in every process.

The logits are a pure function of a seed and the last few tokens, so a context needs no cache and every
answer can be checked. Integers are hashed and summed; floating point enters only in a last scaling, so the
numbers agree between machines and versions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import NoChatTemplateError

SYNTHETIC_CONTEXT: Final = 1 << 20
"""Tokens a synthetic context may hold by default. Nothing is stored, so the bound is there to be a bound."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_FIELD: Final = np.uint64(0xFFFF)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64-bit words under which neighbours look unrelated."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))


def _context_keys(seed: int, tokens: Sequence[int], rows: int, order: int) -> NDArray[np.uint64]:
    """A key for each of the last `rows` positions: a hash of the seed and the `order` tokens that end there.

    Positions before the first token count as -1, so short contexts differ from those that begin with 0.
    """
    tail = np.full(rows + order - 1, -1, np.int64)
    known = np.asarray(tokens[-len(tail) :], np.int64)
    tail[len(tail) - len(known) :] = known
    windows = np.lib.stride_tricks.sliding_window_view(tail.astype(np.uint64), order)
    keys = np.full(rows, np.uint64(seed % (1 << 64)))
    for column in range(order):
        keys = _mix((keys + _GOLDEN) ^ _mix(windows[:, column] + _GOLDEN))
    return keys


def _words(keys: NDArray[np.uint64], vocab_size: int) -> NDArray[np.uint64]:
    """A 64-bit word for each key and id, shape [keys, vocab_size]."""
    ids = np.arange(1, vocab_size + 1, dtype=np.uint64) * _GOLDEN
    return _mix(keys[:, None] + ids[None, :])


def _standard(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Nearly normal numbers, mean 0, variance 1: the sum of the four 16-bit fields of each word."""
    total = sum((words >> np.uint64(shift)) & _FIELD for shift in (0, 16, 32, 48))
    centred = np.asarray(total, np.int64) - 2 * 0xFFFF
    return centred / float(np.sqrt((2.0**32 - 1) / 3.0))  # variance of one field: (65536**2 - 1) / 12


class _Rows(Protocol):
    """What a stateless context asks its model."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_length(self) -> int: ...

    def rows(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]: ...


class StatelessContext:
    """A context that keeps nothing: every answer is computed from the tokens it is given."""

    def __init__(self, model: _Rows) -> None:
        self._model = model

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Logits at the last `rows` positions, shape [rows, V]. Raises ValueError outside the bounds."""
        if not 1 <= rows <= len(tokens) <= self._model.context_length:
            raise ValueError(
                f"{rows} rows of {len(tokens)} tokens asked for; "
                f"needs 1 <= rows <= tokens <= {self._model.context_length}"
            )
        return self._model.rows(tokens, rows)

    def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticModel:
    """Nearly normal logits keyed by seed and context, plus the model's own noise on top.

    Models of one seed share the first part whatever their noise: such a pair agrees the more, the smaller the
    noise is. Two models with the same fields are the same function, in every process.
    """

    vocab_size: int
    "V, the number of ids; at least 2"
    seed: int = 0
    "any integer; models of another seed are unrelated"
    noise: float = 0.0
    "standard deviation of the model's own part of the logits; 0 for a target"
    scale: float = 2.0
    "standard deviation of the shared part; larger makes peakier distributions"
    order: int = 3
    "how many tokens back the next one depends on"
    context_length: int = SYNTHETIC_CONTEXT
    "most tokens a context may hold"

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise ValueError(f"vocab_size is {self.vocab_size}; a model needs at least 2 ids")
        if self.order < 1:
            raise ValueError(f"order is {self.order}; the next token has to depend on at least 1 token")
        if not (0 <= self.noise < float("inf") and 0 <= self.scale < float("inf")):
            raise ValueError(f"noise {self.noise} and scale {self.scale} have to be finite, 0 or more")

    @property
    def support(self) -> NDArray[np.int64] | None:
        """None: a row has all V columns."""
        return None

    def open(self) -> StatelessContext:
        """A fresh context."""
        return StatelessContext(self)

    def rows(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """The logits themselves, shape [rows, V]; for `StatelessContext`."""
        keys = _context_keys(self.seed, tokens, rows, self.order)
        logits = self.scale * _standard(_words(keys, self.vocab_size))
        if self.noise:
            # The noise has its own key, so that the shared part is the same number with and without it.
            logits += self.noise * _standard(_words(_mix(keys ^ _GOLDEN), self.vocab_size))
        return logits.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPair:
    """A target and a draft whose agreement is set by `noise`.

    At V = 64 and temperature 1 the acceptance rate under rejection sampling (1 - TV(p, q), mean over 2000
    random tokens) is 0.91 at noise 0.25, 0.82 at 0.5, 0.66 at 1 and 0.41 at 2.
    """

    vocab_size: int
    "V of both models"
    seed: int = 0
    "seed of both models"
    noise: float = 0.5
    "standard deviation of what the draft's logits have on top of the target's"

    @property
    def target(self) -> SyntheticModel:
        """p: the shared logits."""
        return SyntheticModel(vocab_size=self.vocab_size, seed=self.seed)

    @property
    def draft(self) -> SyntheticModel:
        """q: the shared logits and noise."""
        return SyntheticModel(vocab_size=self.vocab_size, seed=self.seed, noise=self.noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class RationalModel:
    """A model whose probabilities are integers over 2**bits, for exact enumeration.

    `weights` gives the integers; the logits are their logarithms, -inf where the weight is 0. Only a few ids
    have weight in each row, so supports differ from row to row and between models of different seeds.
    """

    vocab_size: int
    "V, the number of ids; at least 2"
    seed: int = 0
    "any integer"
    bits: int = 4
    "the weights of a row sum to 2**bits; 1 .. 16"
    order: int = 2
    "how many tokens back the next one depends on"
    context_length: int = SYNTHETIC_CONTEXT
    "most tokens a context may hold"

    def __post_init__(self) -> None:
        if self.vocab_size < 2 or not 1 <= self.bits <= 16 or self.order < 1:
            raise ValueError(
                f"vocab_size {self.vocab_size}, bits {self.bits}, order {self.order}; "
                "needs at least 2 ids, 1 to 16 bits, an order of at least 1"
            )

    @property
    def support(self) -> NDArray[np.int64] | None:
        """None: a row has all V columns."""
        return None

    def open(self) -> StatelessContext:
        """A fresh context."""
        return StatelessContext(self)

    def weights(self, tokens: Sequence[int], rows: int = 1) -> NDArray[np.int64]:
        """Integer weights at the last `rows` positions, shape [rows, V]; each row sums to 2**bits."""
        keys = _context_keys(self.seed, tokens, rows, self.order)
        ids = np.arange(1, (1 << self.bits) + 1, dtype=np.uint64) * _GOLDEN
        # 2**bits balls thrown into V bins: integers, the right sum, and empty bins where V is large.
        balls = (_mix(keys[:, None] + ids) % np.uint64(self.vocab_size)).astype(np.int64)
        balls += np.arange(rows)[:, None] * self.vocab_size
        return np.bincount(balls.ravel(), minlength=rows * self.vocab_size).reshape(rows, self.vocab_size)

    def probabilities(self, tokens: Sequence[int]) -> list[Fraction]:
        """What follows `tokens`, exactly: V fractions that sum to 1."""
        return [Fraction(int(weight), 1 << self.bits) for weight in self.weights(tokens)[0]]

    def rows(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """The logits themselves, shape [rows, V]; for `StatelessContext`."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights(tokens, rows)).astype(np.float32)


_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"
_SYLLABLES: Final = tuple(consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS)


class SyntheticTokenizer:
    """Reads and writes the ids of a synthetic model as made-up words: every id has its own.

    Words that are not in the vocabulary are hashed to one that is, so any prompt can be encoded; what has
    been decoded comes back as the same ids.
    """

    def __init__(self, vocab_size: int, *, eos_ids: frozenset[int] = frozenset()) -> None:
        if vocab_size < 2:
            raise ValueError(f"vocab_size is {vocab_size}; a vocabulary needs at least 2 ids")
        if not all(0 <= token < vocab_size for token in eos_ids):
            raise ValueError(f"eos_ids {sorted(eos_ids)} do not lie in 0 .. {vocab_size - 1}")
        self._words = tuple(_word(token) for token in range(vocab_size))
        self._ids = {word: token for token, word in enumerate(self._words)}
        self._eos_ids = eos_ids

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        return len(self._words)

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end a text; none unless asked for."""
        return self._eos_ids

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that depend on the vocabulary size alone."""
        return hashlib.blake2b(f"synthetic words {self.vocab_size}".encode(), digest_size=8).digest()

    def encode_prompt(self, text: str, *, chat: bool = True) -> list[int]:
        """One id a word. An empty text becomes one id, since a model needs something to continue."""
        words = text.split() or [""]
        return [self._ids[word] if word in self._ids else self._hashed(word) for word in words]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Raises NoChatTemplateError: made-up words have no chat format."""
        raise NoChatTemplateError

    def decode(self, ids: Sequence[int]) -> str:
        """The words of `ids`, each with a space before it, so that texts join by concatenation."""
        return "".join(f" {self._words[token]}" for token in ids)

    def _hashed(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.vocab_size


def _word(token: int) -> str:
    """The id in base 70, a syllable a digit; ids below 70 have one syllable."""
    syllables = [_SYLLABLES[token % len(_SYLLABLES)]]
    while token := token // len(_SYLLABLES):
        syllables.append(_SYLLABLES[token % len(_SYLLABLES)])
    return "".join(reversed(syllables))
