"""From a model's name to the model. What a name needs is imported once it is asked for, and not before."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from draftwire.nodes.models import hub
from draftwire.nodes.models.base import LanguageModel, UnsupportedModelError

if TYPE_CHECKING:
    from draftwire.nodes.models.synthetic import SyntheticPair
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


class Kind(Enum):
    """Where a model comes from."""

    FORMULA = auto()
    "it is computed, and has no weights"
    MADE = auto()
    "it is made when it is first asked for"
    FOLDER = auto()
    "config.json and *.safetensors"
    FILE = auto()
    "one GGUF file"
    PACKAGED = auto()
    "one GGUF file that an installed package carries; what is loaded is made of it, once"
    HUB = auto()
    "a repository of the hub, or one GGUF file in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a name stands for; nothing is loaded or made by that, and the hub is not asked."""

    kind: Kind
    path: Path | None = None
    "of FOLDER, FILE and PACKAGED, where it exists"
    repository: str = ""
    "of HUB: owner/model"
    file: str = ""
    "of HUB: the GGUF file's name there; empty: the repository's *.safetensors"

    @property
    def name(self) -> str:
        """As the loaders of FOLDER, FILE and HUB take it."""
        if self.path is not None:
            return str(self.path)
        return f"{self.repository}/{self.file}" if self.file else self.repository


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

    # Both models of the shipped pair have the draft's files: the target's folder gets a copy of them.
    source = source_of(name, "draft" if name == SHIPPED else end)
    match source.kind:
        case Kind.FORMULA:
            from draftwire.nodes.models.synthetic import SyntheticTokenizer

            return SyntheticTokenizer(_synthetic(name).vocab_size)
        case Kind.MADE:
            return load_tokenizer_files(str(_made(name, end)))
    return load_tokenizer_files(source.name, revision=revision, progress=progress)


def check_name(name: str) -> None:
    """Raise UnsupportedModelError for a name of no form; nothing is loaded or made, the hub is not asked."""
    source_of(name, "draft")


def source_of(name: str, end: End) -> Source:
    """Where the model comes from that `name` stands for at that end. Raises UnsupportedModelError."""
    if _has_form(name, "synthetic"):
        _synthetic(name)  # checks the values
        return Source(kind=Kind.FORMULA)
    if _has_form(name, "tiny"):
        _tiny_settings(name)
        return Source(kind=Kind.MADE)
    if name == SHIPPED and end == "draft":
        return Source(kind=Kind.FOLDER, path=shipped_draft())
    if name == SHIPPED:
        from draftwire.nodes.models.pairs import shipped

        if (packaged := shipped.packaged_gguf()) is not None:
            return Source(kind=Kind.PACKAGED, path=packaged)
        name = shipped.TARGET_HUB_ID
    path = Path(name).expanduser()
    if name and path.exists():
        return Source(kind=Kind.FOLDER if path.is_dir() else Kind.FILE, path=path)
    repository, _, file = name.rpartition("/") if name.lower().endswith(".gguf") else (name, "", "")
    if not hub.is_hub_id(repository):
        raise UnsupportedModelError(f"There is no model '{name}'. A model can be called:\n{FORMS}")
    return Source(kind=Kind.HUB, repository=repository, file=file)


def shipped_draft() -> Path:
    """Folder of the shipped draft."""
    from draftwire.nodes.models.pairs import shipped

    return shipped.draft_folder()


def _load(name: str, end: End, options: LoadOptions, progress: Callable[[str], None]) -> LanguageModel:
    source = source_of(name, end)
    match source.kind:
        case Kind.FORMULA:
            pair = _synthetic(name)
            return pair.draft if end == "draft" else pair.target
        case Kind.MADE:
            return _load_stored(str(_made(name, end)), options, progress)
        case Kind.PACKAGED:
            from draftwire.nodes.models.pairs import shipped

            folder = shipped.target_folder(progress=progress)
            assert folder is not None, "the package has just been found"
            return _load_stored(str(folder), options, progress)
        case Kind.FOLDER if source.path is not None and is_compact(source.path):
            return _compact(source.path)
    try:
        return _load_stored(source.name, options, progress)
    except UnsupportedModelError as error:
        if name != SHIPPED or end == "draft":
            raise
        from draftwire.nodes.models.pairs import shipped

        raise UnsupportedModelError(
            f"{error} Or install the target's weights: {shipped.TARGET_INSTALL}"
        ) from None


def _load_stored(name: str, options: LoadOptions, progress: Callable[[str], None]) -> LanguageModel:
    """A path, or a name of the hub."""
    from draftwire.nodes.models import loading

    return loading.load(
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


def _has_form(name: str, form: str) -> bool:
    return name.partition(":")[0] == form


def _synthetic(name: str) -> "SyntheticPair":
    from draftwire.nodes.models.synthetic import SyntheticPair

    settings = _settings(name, "synthetic", {"V": int, "seed": int, "noise": float})
    try:
        pair = SyntheticPair(
            vocab_size=settings.get("V", 64), seed=settings.get("seed", 0), noise=settings.get("noise", 0.5)
        )
        _ = pair.draft  # checks the values
    except ValueError as error:
        raise UnsupportedModelError(f"'{name}': {error}") from None
    return pair


def _tiny_settings(name: str) -> dict[str, Any]:
    return _settings(name, "tiny", {"seed": int, "noise": float})


def _made(name: str, end: End) -> Path:
    """The folder of one of the two that are made on the fly; makes them."""
    from draftwire.nodes.models.tiny import cached_pair

    settings = _tiny_settings(name)
    try:
        pair = cached_pair(seed=settings.get("seed", 0), noise=settings.get("noise", 0.3))
    except ValueError as error:
        raise UnsupportedModelError(f"'{name}': {error}") from None
    return pair.draft if end == "draft" else pair.target


def _settings(name: str, form: str, fields: Mapping[str, type[int] | type[float]]) -> dict[str, Any]:
    """What stands behind `form:`, by field."""
    rest = name.partition(":")[2]
    found: dict[str, Any] = {}
    for item in rest.split(",") if rest else ():
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
