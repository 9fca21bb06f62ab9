"""Tokens as text, where the vocabulary is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from draftwire.nodes.console.escape import quoted
from draftwire.nodes.models.catalogue import SHIPPED, load_tokenizer

if TYPE_CHECKING:
    from draftwire.nodes.models.tokenizer import Tokenizer

NO_MODEL: Final = "none"

_SHIPPED_VOCAB_SIZE: Final = 49152


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What is known of whose ids these are."""

    vocab_size: int | None = None
    "None: nothing"
    fingerprint: bytes | None = None
    "None: not known"


class Words:
    """The texts of tokens: of a model that was named, or the shipped pair's if nothing speaks against it."""

    def __init__(self, model: str | None) -> None:
        """`model`: None is the shipped pair, `none` no text at all. Loads nothing yet."""
        self._asked = model is not None
        self._model = SHIPPED if model is None else model
        self._tokenizer: Tokenizer | None = None
        self._around: list[int] = []
        self._texts: dict[int, str] = {}

    def assumed(self, vocabulary: Vocabulary) -> str:
        """A sentence where texts rest on a guess; empty: they don't, or there are none."""
        if self._asked or vocabulary.vocab_size is not None:
            return ""
        return f"texts as if the tokens were {SHIPPED}'s: nothing here says whose they are (--model)"

    def of(self, ids: Sequence[int], vocabulary: Vocabulary) -> list[str | None]:
        """One text an id, quoted; None where it is not known. Raises UnsupportedModelError for the model."""
        if not ids or not self._fits(vocabulary):
            return [None] * len(ids)
        tokenizer = self._loaded()
        return [self._text(tokenizer, one) if one < tokenizer.vocab_size else None for one in ids]

    def _fits(self, vocabulary: Vocabulary) -> bool:
        if self._model == NO_MODEL:
            return False
        if vocabulary.vocab_size is None:
            return True
        if not self._asked and vocabulary.vocab_size != _SHIPPED_VOCAB_SIZE:
            return False  # without loading it
        tokenizer = self._loaded()
        alike = vocabulary.fingerprint is None or vocabulary.fingerprint == tokenizer.fingerprint
        return vocabulary.vocab_size == tokenizer.vocab_size and alike

    def _loaded(self) -> "Tokenizer":
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._model, end="draft")
            self._around = self._tokenizer.encode_prompt("a", chat=False)
        return self._tokenizer

    def _text(self, tokenizer: "Tokenizer", token: int) -> str:
        if token not in self._texts:
            # Behind another one: some decoders take the space of a first token away.
            before = tokenizer.decode(self._around)
            text = tokenizer.decode([*self._around, token])[len(before) :]
            special = "(end of text)" if token in tokenizer.eos_ids else "(no text)"
            self._texts[token] = quoted(text) if text else special
        return self._texts[token]


__all__ = ["NO_MODEL", "Vocabulary", "Words"]
