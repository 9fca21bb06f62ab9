"""The two models of a pair, found, held against each other, and loaded: what each is and what it takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from draftwire.nodes.console.assemble import check_model
from draftwire.nodes.console.doctor.pair import look_at_model
from draftwire.nodes.models.base import LanguageModel, PackingModel, UnsupportedModelError
from draftwire.nodes.models.catalogue import End, LoadOptions, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.free_memory import free_bytes
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.nodes.models.vocabulary import fitted
from draftwire.runtime.config import ModelSettings
from draftwire.runtime.errors import ConfigurationError

KV_TOKENS: Final = 1024
"""KV is taken in steps of some tokens: the difference of two multiples of this has none of the rounding."""

PROBE: Final = "Hello"

ANOTHER_VOCABULARY: Final = (
    "take two models with one tokenizer, or make a draft for the target (scripts/distil_draft.py)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSeen:
    """One model, before its weights are loaded."""

    end: End
    model: str
    vocab_size: int
    fingerprint: bytes
    chat_template: bool
    "whether a prompt is put into a chat format; without one it is a text to go on with"
    weights_bytes: int | None
    "in memory; None: only a load tells"
    tokenizer: Tokenizer = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One model that has passed every gate."""

    seen: EndSeen
    model: LanguageModel = field(repr=False)
    "over the tokenizer's ids"
    context_length: int
    "most tokens of a context"
    kv_bytes_per_token: int | None
    "None: it keeps none, or does not say"
    kv_bytes_of: Callable[[int], int] | None = field(repr=False)
    "of a context of so many tokens"
    free_bytes: int | None
    "of the memory that it lies in, once it is loaded; None: nobody can tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many sessions a BS on this machine has memory for."""

    context_length: int
    "tokens: what both models can have"
    session_bytes: int
    "keys and values of a context of that length"
    budget_bytes: int
    "half of what is free, as a BS takes it"

    @property
    def sessions(self) -> int:
        """At a time, each with a whole context."""
        return self.budget_bytes // max(1, self.session_bytes)


def look(model: str, end: End, *, dtype: str | None, say: Callable[[str], None]) -> EndSeen:
    """Find a model and load its tokenizer. Raises UnsupportedModelError, ConfigurationError for a dtype."""
    key = end.upper()
    check_model(model, key=key)
    try:
        settings = ModelSettings(model=model, dtype=dtype)
    except ConfigurationError as error:
        raise error.placed(key="--dtype" if error.key == "dtype" else key) from None
    found = look_at_model(settings, end)
    if found.problem:
        raise UnsupportedModelError(f"{key}: {found.problem}")
    tokenizer = load_tokenizer(model, end=end, progress=say)
    return EndSeen(
        end=end,
        model=model,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        chat_template=tokenizer.encode_prompt(PROBE) != tokenizer.encode_prompt(PROBE, chat=False),
        weights_bytes=found.weights_bytes,
        tokenizer=tokenizer,
    )


def need_one_vocabulary(draft: EndSeen, target: EndSeen) -> None:
    """Raise ConfigurationError, with both vocabularies and a remedy, where they are not the same."""
    if (draft.vocab_size, draft.fingerprint) != (target.vocab_size, target.fingerprint):
        raise ConfigurationError(
            f"two vocabularies: {draft.model!r} has {draft.vocab_size} ids, fingerprint "
            f"{draft.fingerprint.hex()}; {target.model!r} has {target.vocab_size}, "
            f"{target.fingerprint.hex()}",
            key="DRAFT TARGET",
            remedy=ANOTHER_VOCABULARY,
        )


def load(seen: EndSeen, *, dtype: str | None, say: Callable[[str], None]) -> Loaded:
    """Load weights; the gates are within that. Raises UnsupportedModelError with a gate's reason."""
    options, loader = LoadOptions(dtype=dtype or "auto"), load_draft if seen.end == "draft" else load_target
    try:
        model = loader(seen.model, options, progress=say)
        fits = fitted(model, seen.vocab_size)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{seen.end.upper()}: {error}") from None
    kv_of = model.kv_bytes if isinstance(model, PackingModel) else None
    return Loaded(
        seen=seen,
        model=fits,
        context_length=model.context_length,
        kv_bytes_per_token=None if kv_of is None else (kv_of(2 * KV_TOKENS) - kv_of(KV_TOKENS)) // KV_TOKENS,
        kv_bytes_of=kv_of,
        free_bytes=free_bytes(model),
    )


def room(draft: Loaded, target: Loaded) -> Room | None:
    """None: the target does not say what its contexts take, or nobody knows what is free."""
    if target.kv_bytes_of is None or target.free_bytes is None:
        return None
    context_length = min(draft.context_length, target.context_length)
    return Room(
        context_length=context_length,
        session_bytes=target.kv_bytes_of(context_length),
        budget_bytes=target.free_bytes // 2,
    )


__all__ = ["EndSeen", "Loaded", "Room", "load", "look", "need_one_vocabulary", "room"]
