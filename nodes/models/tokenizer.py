"""Text to ids and back, without waiting for torch.

Where a model comes with tokenizer.json, the `tokenizers` library reads it in a fraction of a second and
jinja2 renders the chat template as transformers would. Everything else (sentencepiece files, GGUF) goes
through transformers' AutoTokenizer, imported only then.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import tokenizers
from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from draftwire.nodes.models import hub
from draftwire.nodes.models.base import ChatTemplateError, NoChatTemplateError, UnsupportedModelError

UNFINISHED: Final = "\ufffd"
"""What decoders put in place of bytes that are no whole character (yet)."""


class Tokenizer(Protocol):
    """What a node needs of a vocabulary."""

    @property
    def vocab_size(self) -> int:
        """Ids with a text of their own; the model's logits may be wider."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end a text."""
        ...

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that name the vocabulary: equal where every id means the same text."""
        ...

    def encode_prompt(self, text: str, *, chat: bool = True) -> list[int]:
        """The ids of a prompt.

        With `chat`, `text` is a user's message in the model's chat format, with the header of the answer
        behind it, if the model has such a format. Without, `text` is what the model continues.
        """
        ...

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids of a conversation in the model's chat format, with the header of the answer behind it.

        Each message has a `role` and a `content`. Raises NoChatTemplateError for a model without such a
        format, and ChatTemplateError where it can't say these messages.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""
        ...


class TextStream:
    """Turns ids into text as they come; the pieces joined are the whole text.

    A piece ends at a whole character: bytes of one that is not complete yet are held back until they are.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0  # of self._ids, how many have been printed; kept as context for those that follow

    def push(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; may be empty."""
        pieces = []
        for token in ids:
            self._ids.append(token)
            piece = self._pending()
            if piece and not piece.endswith(UNFINISHED):
                pieces.append(piece)
                del self._ids[: self._shown]
                self._shown = len(self._ids)
        return "".join(pieces)

    def finish(self) -> str:
        """What is still held back, with a replacement character for what never became whole."""
        piece = self._pending()
        self._ids.clear()
        self._shown = 0
        return piece

    def _pending(self) -> str:
        # Decoded together with what was printed last: some decoders strip the space of a first token.
        printed = self._tokenizer.decode(self._ids[: self._shown])
        return self._tokenizer.decode(self._ids)[len(printed) :]


class FastTokenizer:
    """A tokenizer.json, with the chat template and the special tokens that its neighbours name."""

    def __init__(
        self,
        content: str,
        *,
        template: str | None = None,
        special_tokens: Mapping[str, str] | None = None,
        eos_ids: Iterable[int] = (),
    ) -> None:
        """`content` is the text of tokenizer.json; `special_tokens` are those by name (bos_token, ...)."""
        self._tokenizer = tokenizers.Tokenizer.from_str(content)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._content = content
        self._template = template
        self._special_tokens = dict(special_tokens or {})
        ids = set(eos_ids)
        if (eos := self._special_tokens.get("eos_token")) is not None:
            token = self._tokenizer.token_to_id(eos)
            ids |= {token} if token is not None else set()
        self._eos_ids = frozenset(ids)

    @property
    def vocab_size(self) -> int:
        """Ids with a text of their own, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def eos_ids(self) -> frozenset[int]:
        """Those of generation_config.json (else config.json) and the tokenizer's eos_token."""
        return self._eos_ids

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """8 bytes over every token with its id, the merges and the normaliser; blind to the file's layout."""
        return fingerprint(self._tokenizer.get_vocab(with_added_tokens=True), json.loads(self._content))

    def encode_prompt(self, text: str, *, chat: bool = True) -> list[int]:
        """See `Tokenizer`. Raises ChatTemplateError for a chat template that fails."""
        if chat and self._template is not None:
            return self.encode_chat(_asked(text))
        return self._tokenizer.encode(text).ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """See `Tokenizer`. Raises NoChatTemplateError and ChatTemplateError."""
        if self._template is None:
            raise NoChatTemplateError
        rendered = render_chat(self._template, messages, special_tokens=self._special_tokens)
        return self._tokenizer.encode(rendered, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out; ids beyond the vocabulary have none."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


class AutoTokenizer:
    """Any tokenizer of transformers, for models without tokenizer.json. Slower to load: it brings torch."""

    def __init__(self, tokenizer: Any, *, eos_ids: Iterable[int] = ()) -> None:
        """Wraps a loaded tokenizer of transformers."""
        self._tokenizer = tokenizer
        own = tokenizer.eos_token_id
        self._eos_ids = frozenset(eos_ids) | (frozenset() if own is None else frozenset({int(own)}))

    @property
    def vocab_size(self) -> int:
        """Ids with a text of their own, added tokens included."""
        return len(self._tokenizer)

    @property
    def eos_ids(self) -> frozenset[int]:
        """Those of generation_config.json (else config.json) and the tokenizer's eos_token."""
        return self._eos_ids

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """As `FastTokenizer.fingerprint`, and equal to it where both can read the files."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        content = json.loads(backend.to_str()) if isinstance(backend, tokenizers.Tokenizer) else {}
        return fingerprint(self._tokenizer.get_vocab(), content)

    def encode_prompt(self, text: str, *, chat: bool = True) -> list[int]:
        """See `Tokenizer`. Raises ChatTemplateError for a chat template that fails."""
        if chat and self._tokenizer.chat_template:
            return self.encode_chat(_asked(text))
        return list(map(int, self._tokenizer(text)["input_ids"]))

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """See `Tokenizer`. Raises NoChatTemplateError and ChatTemplateError."""
        if not self._tokenizer.chat_template:
            raise NoChatTemplateError
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
            )
        except _OF_A_TEMPLATE as error:
            raise ChatTemplateError(error) from None
        return list(map(int, self._tokenizer(rendered, add_special_tokens=False)["input_ids"]))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def load_tokenizer_files(
    name: str, *, revision: str | None = None, progress: Callable[[str], None] = lambda text: None
) -> Tokenizer:
    """The tokenizer of a local folder, a hub id, or a GGUF file, by the lightest way that works.

    Raises UnsupportedModelError, naming the files that were looked for.
    """
    if name.lower().endswith(".gguf"):
        return _through_transformers(name, revision=revision, progress=progress)
    read = _reader(name, revision)
    content = read("tokenizer.json")
    if content is None:
        return _through_transformers(name, revision=revision, progress=progress)
    settings = _json(read("tokenizer_config.json"), name, "tokenizer_config.json")
    try:
        return FastTokenizer(
            content,
            template=read("chat_template.jinja") or _template(settings),
            special_tokens=_special_tokens(settings),
            eos_ids=_declared_eos(read, name),
        )
    except Exception as error:  # the library raises plain Exception for a file that it can't parse
        if isinstance(error, UnsupportedModelError):
            raise
        raise UnsupportedModelError(f"tokenizer.json of '{name}' cannot be read: {error}") from None


def render_chat(
    template: str, messages: Sequence[Mapping[str, str]], *, special_tokens: Mapping[str, str]
) -> str:
    """The messages in a model's chat format, with the header of the answer that is to come.

    Runs the template as transformers does: the same extensions, filters and whitespace rules, in a sandbox,
    since templates come from the network. Raises ChatTemplateError for a template that fails.
    """
    try:
        text: str = _compiled(template).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **special_tokens
        )
    except _OF_A_TEMPLATE as error:
        raise ChatTemplateError(error) from None
    return text


_OF_A_TEMPLATE: Final = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""A template is a program; what its author did not think of raises what Python raises."""


def _asked(text: str) -> list[dict[str, str]]:
    """A user's message that begins a conversation."""
    return [{"role": "user", "content": text}]


def fingerprint(vocabulary: Mapping[str, int], content: Mapping[str, Any]) -> bytes:
    """8 bytes over a vocabulary (token to id), and merges and normaliser of `content`, a tokenizer.json."""
    merges = content.get("model", {}).get("merges") or []
    canonical = {
        "vocabulary": sorted((index, token) for token, index in vocabulary.items()),
        # Two spellings of one pair are about: "a b" in older files, ["a", "b"] in newer ones.
        "merges": [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges],
        "normalizer": content.get("normalizer"),
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    def now(pattern: str) -> str:
        return datetime.now().strftime(pattern)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = now
    return environment.from_string(template)


def _reader(name: str, revision: str | None) -> Callable[[str], str | None]:
    """Gives a file's text by its name in the folder or hub repository; None where there is no such file."""
    folder = Path(name)
    if folder.is_dir():

        def read_local(file: str) -> str | None:
            path = folder / file
            return path.read_text(encoding="utf-8") if path.is_file() else None

        return read_local

    if not hub.is_hub_id(name):
        raise UnsupportedModelError(
            f"No tokenizer '{name}': there is no such folder, and it is not a hub id (owner/model). "
            "Check the path."
        )
    unreachable = hub.is_unreachable()

    def read_hub(file: str) -> str | None:
        # Imported here: the hub's client costs a quarter of a second that a local folder need not pay.
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = hf_hub_download(name, file, revision=revision, local_files_only=unreachable)
            return Path(path).read_text(encoding="utf-8")
        except LocalEntryNotFoundError:
            # Offline, and not in the cache. Only the first file decides whether the model can be had at all.
            if file != "tokenizer.json":
                return None
            raise UnsupportedModelError(
                f"Cannot load the tokenizer of '{name}'; tried the local cache, then the hub. Check the name "
                "and the network, or pass a local folder."
            ) from None
        except EntryNotFoundError:
            return None
        except Exception as error:
            # Any exception: an unknown or gated repository, a bad revision, no route, a full disk.
            reason = str(error).strip().splitlines()[0]
            raise UnsupportedModelError(
                f"Cannot load the tokenizer of '{name}'; tried the local cache, then the hub: {reason} Check "
                "the name, or pass a local folder (a gated model needs `hf auth login`)."
            ) from None

    return read_hub


def _through_transformers(
    name: str, *, revision: str | None, progress: Callable[[str], None]
) -> AutoTokenizer:
    from draftwire.nodes.models.loading import load_auto_tokenizer

    progress(f"Reading the tokenizer of {name} without a tokenizer.json: this takes a while")
    tokenizer, eos_ids = load_auto_tokenizer(name, revision=revision)
    return AutoTokenizer(tokenizer, eos_ids=eos_ids)


def _json(text: str | None, name: str, file: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UnsupportedModelError(f"{file} of '{name}' is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UnsupportedModelError(f"{file} of '{name}' is not a JSON object")
    return content


def _template(settings: Mapping[str, Any]) -> str | None:
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Every ..._token of tokenizer_config.json; each is a string, or an object that holds it."""
    found = {}
    for key, value in settings.items():
        text = value.get("content") if isinstance(value, Mapping) else value
        if key.endswith("_token") and isinstance(text, str):
            found[key] = text
    return found


def _declared_eos(read: Callable[[str], str | None], name: str) -> set[int]:
    for file in ("generation_config.json", "config.json"):
        declared = _json(read(file), name, file).get("eos_token_id")
        if declared is not None:
            return {int(token) for token in (declared if isinstance(declared, list) else [declared])}
    return set()
