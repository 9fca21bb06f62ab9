"""A request's body as what the device is to answer: parsed, checked, and in token ids."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from draftwire.codecs.limits import MAX_VOCAB_SIZE
from draftwire.nodes.console.serve import neutral
from draftwire.nodes.console.serve.errors import CONTEXT_CODE, ApiError, bad
from draftwire.nodes.console.serve.fields import ChatFields, CompletionFields, Extension, Fields, checked
from draftwire.nodes.models.base import ChatTemplateError, NoChatTemplateError
from draftwire.nodes.models.tokenizer import Tokenizer
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.session.log import LONG_PROMPT, prompt_hashes

Read = TypeVar("Read")

LONG_BODY: Final = 16_384
"""Bytes of a body from which on it is read, and what it asks encoded, in a thread: that takes more than some
milliseconds, however many prompts they are of."""

MOST_PROMPTS: Final = 256
"""Of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One text to be answered."""

    ids: tuple[int, ...]
    text: str
    "as people read it; empty: it came as ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    chat: bool
    fields: Fields
    prompts: Sequence[Prompt]
    max_tokens: int
    "new ones, of each choice"
    max_tokens_field: str
    "as the client calls it"
    max_tokens_said: bool
    "whether the request says it"
    seed: int | None
    "of each prompt's first answer; None: each answer draws its own"

    @property
    def choices(self) -> int:
        """Answers that it wants."""
        return len(self.prompts) * self.fields.n

    @property
    def extension(self) -> Extension:
        """What it wants of drafts."""
        return self.fields.draftwire


async def read_fields(body: bytes, *, chat: bool, model: str) -> Fields:
    """What a body says, nothing of it encoded yet. `model`: the only one there is.

    Raises ApiError for everything that can be seen to be wrong with it.
    """
    fields = await _apart(len(body), lambda: _fields(_object(body), chat=chat))
    if fields.model != model:
        message = f"the model {fields.model[:200]!r} does not exist here: this server has {model!r}"
        raise ApiError(404, message, param="model", code="model_not_found")
    if len(prompts_of(fields)) > MOST_PROMPTS:
        raise bad(f"{len(prompts_of(fields))} are too many: send at most {MOST_PROMPTS}", param="prompt")
    return fields


def prompts_of(fields: Fields) -> Sequence[object]:
    """What is to be answered, each `n` times."""
    return fields.prompt if isinstance(fields, CompletionFields) else (fields,)


async def as_asked(
    fields: Fields, *, size: int, tokenizer: Tokenizer, context_length: int, defaults: SamplingSettings
) -> Asked:
    """What fields ask, in ids. `size`: of their body, in bytes; `context_length`: of the draft, in tokens;
    `defaults`: where they say nothing.

    Raises ApiError for prompts that can't be encoded, or that don't fit.
    """
    prompts = await _apart(size, lambda: _prompts(fields, tokenizer, most=context_length))
    wanted, name = _max_tokens(fields)
    chat = isinstance(fields, ChatFields)
    longest = max(len(prompt.ids) for prompt in prompts)
    if longest + (wanted or 1) > context_length:
        message = (
            f"{longest} tokens of prompt and {wanted or 1} new ones exceed this model's context of "
            f"{context_length}: shorten the prompt{f', or lower {name}' if wanted else ''}"
        )
        raise bad(message, param="messages" if chat else "prompt", code=CONTEXT_CODE)
    return Asked(
        chat=chat,
        fields=fields,
        prompts=prompts,
        max_tokens=wanted or min(defaults.max_new_tokens, context_length - longest),
        max_tokens_field=name,
        max_tokens_said=wanted is not None,
        seed=defaults.seed if fields.seed is None else fields.seed,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad(f"the body is no JSON: {error.msg.partition(':')[0]} at {where}") from None
    if not isinstance(found, dict):
        raise bad("the body has to be one JSON object")
    return found


def _fields(body: Mapping[str, Any], *, chat: bool) -> Fields:
    cannot = neutral.CHAT if chat else neutral.COMPLETIONS
    said = neutral.without_neutral(body, cannot)
    said = {name: value for name, value in said.items() if name not in neutral.UNUSED}
    for name in ("draftwire", "stream_options"):
        if isinstance(said.get(name), dict):
            said[name] = neutral.without_neutral(said[name], {}, at=f"{name}.")
    messages = said.get("messages")
    if chat and isinstance(messages, list):
        said["messages"] = [_message(one, f"messages[{at}].") for at, one in enumerate(messages)]
    fields: Fields = checked(ChatFields if chat else CompletionFields, said)
    if "stream_options" in said and not fields.stream:
        raise bad("it has no effect without `stream`: leave it out", param="stream_options")
    return fields


def _message(message: Any, at: str) -> Any:
    if not isinstance(message, dict):
        return message
    said = neutral.without_neutral(message, neutral.MESSAGE, at=at)
    if message.get("role") == "assistant":
        said.setdefault("content", "")  # null, as the client's own messages may have it
    if isinstance(parts := said.get("content"), list):
        said["content"] = [_part(one) for one in parts]
    return said


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    said = neutral.without_neutral(part, {})
    return {name: value for name, value in said.items() if name not in neutral.UNUSED_OF_PARTS}


def _max_tokens(fields: Fields) -> tuple[int | None, str]:
    newer = fields.max_completion_tokens if isinstance(fields, ChatFields) else None
    if newer is None:
        return fields.max_tokens, "max_tokens"
    if fields.max_tokens not in (None, newer):
        raise bad("it differs from max_completion_tokens: give one of the two", param="max_tokens")
    return newer, "max_completion_tokens"


def _prompts(fields: Fields, tokenizer: Tokenizer, *, most: int) -> Sequence[Prompt]:
    """Those that fit are hashed too, once for all answers to them."""
    prompts = _encoded(fields, tokenizer)
    if max(len(one.ids) for one in prompts) < most:
        for one in prompts:
            if len(one.ids) >= LONG_PROMPT and min(one.ids) >= 0 and max(one.ids) < MAX_VOCAB_SIZE:
                prompt_hashes(one.ids)
    return prompts


def _encoded(fields: Fields, tokenizer: Tokenizer) -> Sequence[Prompt]:
    if isinstance(fields, ChatFields):
        return [_conversation(fields, tokenizer)]
    assert isinstance(fields, CompletionFields)
    prompts = list[Prompt]()
    for one in fields.prompt:
        if isinstance(one, str):
            prompts.append(Prompt(ids=tuple(tokenizer.encode_prompt(one, chat=False)), text=one))
        else:
            prompts.append(Prompt(ids=one, text=""))
        if not prompts[-1].ids:
            raise bad("it has no tokens: write something to continue", param="prompt")
    return prompts


def _conversation(fields: ChatFields, tokenizer: Tokenizer) -> Prompt:
    # Templates know `system`; `developer` is what newer clients call it.
    messages = [
        {"role": "system" if one.role == "developer" else one.role, "content": one.content}
        for one in fields.messages
    ]
    try:
        ids = tokenizer.encode_chat(messages)
    except NoChatTemplateError:
        message = "this model has no chat template: send a text to /v1/completions instead"
        raise bad(message, param="messages", code="no_chat_template") from None
    except ChatTemplateError as error:
        message = f"the model's chat template does not take them: {error.said}"
        raise bad(message, param="messages", code="chat_template_failed") from None
    return Prompt(ids=tuple(ids), text=fields.messages[-1].content)


async def _apart(size: int, read: Callable[[], Read]) -> Read:
    """In a thread, of a body that is long."""
    return read() if size < LONG_BODY else await asyncio.to_thread(read)


__all__ = ["LONG_BODY", "Asked", "Prompt", "as_asked", "prompts_of", "read_fields"]
