"""A request's body as what the device is to answer: parsed, checked, and in token ids."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from draftwire.nodes.console.serve import neutral
from draftwire.nodes.console.serve.errors import CONTEXT_CODE, ApiError, bad
from draftwire.nodes.console.serve.fields import ChatFields, CompletionFields, Extension, Fields, checked
from draftwire.nodes.models.base import ChatTemplateError, NoChatTemplateError
from draftwire.nodes.models.tokenizer import Tokenizer

LONG_TEXT: Final = 16_384
"""Characters from which on a text is encoded in a thread: it takes more than some milliseconds."""

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

    @property
    def choices(self) -> int:
        """Answers that it wants."""
        return len(self.prompts) * self.fields.n

    @property
    def extension(self) -> Extension:
        """What it wants of drafts."""
        return self.fields.draftwire


async def read_asked(
    body: bytes, *, chat: bool, model: str, tokenizer: Tokenizer, context_length: int, max_tokens: int
) -> Asked:
    """The request that a body is. `model`: the only one there is; `context_length`: of the draft, in tokens;
    `max_tokens`: where it says none.

    Raises ApiError for everything that is wrong with it.
    """
    fields = _fields(_object(body), chat=chat)
    if fields.model != model:
        message = f"the model {fields.model[:200]!r} does not exist here: this server has {model!r}"
        raise ApiError(404, message, param="model", code="model_not_found")
    prompts = await _prompts(fields, tokenizer)
    wanted, name = _max_tokens(fields)
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
        max_tokens=wanted or min(max_tokens, context_length - longest),
        max_tokens_field=name,
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
    if not chat:
        return checked(CompletionFields, said)
    messages = said.get("messages")
    if isinstance(messages, list):
        said["messages"] = [_message(one, f"messages[{at}].") for at, one in enumerate(messages)]
    return checked(ChatFields, said)


def _message(message: Any, at: str) -> Any:
    if not isinstance(message, dict):
        return message
    said = neutral.without_neutral(message, neutral.MESSAGE, at=at)
    if message.get("role") == "assistant":
        said.setdefault("content", "")  # null, as the client's own messages may have it
    return said


def _max_tokens(fields: Fields) -> tuple[int | None, str]:
    newer = fields.max_completion_tokens if isinstance(fields, ChatFields) else None
    if newer is None:
        return fields.max_tokens, "max_tokens"
    if fields.max_tokens not in (None, newer):
        raise bad("it differs from max_completion_tokens: give one of the two", param="max_tokens")
    return newer, "max_completion_tokens"


async def _prompts(fields: Fields, tokenizer: Tokenizer) -> Sequence[Prompt]:
    if isinstance(fields, ChatFields):
        return [await _conversation(fields, tokenizer)]
    assert isinstance(fields, CompletionFields)
    if len(fields.prompt) > MOST_PROMPTS:
        raise bad(f"{len(fields.prompt)} are too many: send at most {MOST_PROMPTS}", param="prompt")
    prompts = list[Prompt]()
    for one in fields.prompt:
        if isinstance(one, str):
            ids = tuple(await _encoded(len(one), tokenizer.encode_prompt, one, chat=False))
            prompts.append(Prompt(ids=ids, text=one))
        else:
            prompts.append(Prompt(ids=one, text=""))
        if not prompts[-1].ids:
            raise bad("it has no tokens: write something to continue", param="prompt")
    return prompts


async def _conversation(fields: ChatFields, tokenizer: Tokenizer) -> Prompt:
    # Templates know `system`; `developer` is what newer clients call it.
    messages = [
        {"role": "system" if one.role == "developer" else one.role, "content": one.content}
        for one in fields.messages
    ]
    size = sum(len(one.content) for one in fields.messages)
    try:
        ids = await _encoded(size, tokenizer.encode_chat, messages)
    except NoChatTemplateError:
        message = "this model has no chat template: send a text to /v1/completions instead"
        raise bad(message, param="messages", code="no_chat_template") from None
    except ChatTemplateError as error:
        message = f"the model's chat template does not take them: {error.said}"
        raise bad(message, param="messages", code="chat_template_failed") from None
    return Prompt(ids=tuple(ids), text=fields.messages[-1].content)


async def _encoded(size: int, encode: Any, *args: Any, **options: Any) -> list[int]:
    if size < LONG_TEXT:
        ids: list[int] = encode(*args, **options)
        return ids
    ids = await asyncio.to_thread(encode, *args, **options)
    return ids


__all__ = ["Asked", "Prompt", "read_asked"]
