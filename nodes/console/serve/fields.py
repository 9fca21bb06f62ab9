"""The fields of a request, as pydantic checks them; its errors as sentences that name the field."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from draftwire.codecs.limits import MAX_GAMMA, MAX_TEXT_BYTES, MAX_TOKENS, MAX_VOCAB_SIZE
from draftwire.nodes.console.serve.errors import ApiError, bad
from draftwire.runtime.config import MOST_WASTE
from draftwire.runtime.errors import nearest
from draftwire.runtime.settings_checks import shown

MOST_CHOICES: Final = 8
"""Of `n`."""

MOST_STOPS: Final = 4
"""As OpenAI's."""

MOST_MESSAGES: Final = 4096

Checked = TypeVar("Checked", bound=BaseModel)


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError("write a text, or a list of texts")
    if len(texts) > MOST_STOPS:
        raise ValueError(f"{len(texts)} texts are too many: write at most {MOST_STOPS}")
    for text in texts:
        if not 1 <= len(text.encode()) <= MAX_TEXT_BYTES:
            raise ValueError(f"{text[:40]!r} will not do: write 1 to {MAX_TEXT_BYTES} bytes of text")
    return tuple(texts)


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [None]
    texts = list[str]()
    for part in parts:
        said = part if isinstance(part, dict) else {}
        if said.get("type") != "text" or not isinstance(said.get("text"), str):
            raise ValueError(
                'write a text, or a list of {"type": "text", "text": "..."}: nothing else is read'
            )
        if unknown := sorted(said.keys() - {"type", "text"}):
            raise ValueError(f"a part of type text has no field {unknown[0][:40]!r}: leave it out")
        texts.append(said["text"])
    return "\n".join(texts)


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    """One or several, each a text or ids."""
    many = value if isinstance(value, list) and not _is_ids(value) else [value]
    if not many:
        raise ValueError("there is none: write a text, or a list of token ids")
    for one in many:
        if not isinstance(one, str) and not (isinstance(one, list) and _is_ids(one)):
            raise ValueError("write a text, a list of token ids, or a list of either")
    return tuple(one if isinstance(one, str) else tuple(one) for one in many)


def _is_ids(value: Sequence[Any]) -> bool:
    return len(value) > 0 and all(type(one) is int for one in value)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Extension(_Body):
    """`draftwire`: what this request wants of drafts; what is left out the controller chooses."""

    k: int | None = Field(default=None, ge=1, le=MAX_VOCAB_SIZE)
    gamma: int | None = Field(default=None, ge=0, le=MAX_GAMMA)
    acceptance: Literal["rejection", "coupled", "auto"] | None = None
    min_draft: int | None = Field(default=None, ge=0, le=MAX_GAMMA)
    max_waste: float | None = Field(default=None, ge=0, le=MOST_WASTE, allow_inf_nan=False)


class StreamOptions(_Body):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool = False
    "taken, and no padding is sent: a link's observer is the least of whom TLS keeps out"


class Fields(_Body):
    """What both ways of asking have."""

    model: str
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=0, le=MAX_VOCAB_SIZE)
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops)] = ()
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    draftwire: Extension = Extension()


class CompletionFields(Fields):
    """POST /v1/completions."""

    prompt: Annotated[tuple[str | tuple[int, ...], ...], BeforeValidator(_prompts)]


class MessageFields(_Body):
    """One of `messages`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_content)]


class ChatFields(Fields):
    """POST /v1/chat/completions."""

    messages: list[MessageFields] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)


def checked(kind: type[Checked], body: Mapping[str, Any]) -> Checked:
    """The body as that kind. Raises ApiError, naming the first field that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _as_api_error(kind, first["type"], first["loc"], first["msg"], first["input"]) from None


def _as_api_error(
    kind: type[BaseModel], what: str, place: Sequence[str | int], said: str, value: Any
) -> ApiError:
    param = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place).lstrip(".")
    match what:
        case "extra_forbidden":
            text = f"there is no such field; {nearest(str(place[-1]), _known(kind, place))}"
        case "missing":
            text = "it is missing, and has to be given"
        case "model_type":
            text = f"write an object, and not {_short(value)}"
        case "value_error":
            text = said.removeprefix("Value error, ")
        case _:
            text = f"{said[:1].lower()}{said[1:]}, and not {_short(value)}"
    return bad(text, param=param)


def _known(kind: type[BaseModel], place: Sequence[str | int]) -> tuple[str, ...]:
    """The fields that there are where an unknown one was found."""
    within: dict[str | int, type[BaseModel]] = {
        "draftwire": Extension,
        "stream_options": StreamOptions,
        "messages": MessageFields,
    }
    owner = within.get(place[0], kind) if len(place) > 1 else kind
    return tuple(owner.model_fields)


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


__all__ = ["ChatFields", "CompletionFields", "Extension", "Fields", "MessageFields", "checked"]
