"""The models that this machine needs: there, with a tokenizer, of one vocabulary. No weights are loaded."""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello
from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.machine import size_words
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.catalogue import SHIPPED, End, Kind, Source, load_tokenizer, source_of
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.runtime.config import ModelSettings
from draftwire.runtime.security import Role

ENDS: Final[Mapping[Role, End]] = {Role.DEVICE: "draft", Role.TARGET: "target"}
"""Which model a node computes with."""

SHIPPED_TARGET_BYTES: Final = 269_060_552
"""Weights of the shipped target in bf16, as its packaged file becomes when it is first loaded."""

_BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
_WANTED_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}

_MADE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFound:
    """One of the two models, as it is on this machine."""

    model: str
    "its name"
    vocab_size: int = 0
    fingerprint: bytes = b""
    "of the tokenizer; empty: it could not be loaded"
    problem: str = ""
    "why not, one line"
    weights_bytes: int | None = None
    "in memory; None: they are not here, or of a kind whose size only a load tells"
    absent: str = ""
    "how they come here, if they are not here yet"
    on_accelerator: bool = False
    "so that this machine's memory is not what holds them"

    def hello(self, tables: tuple[bytes, ...] = ()) -> Hello | None:
        """What a device of this vocabulary with these sets of tables says first; None without a tokenizer."""
        if not self.fingerprint:
            return None
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            noise_version=NOISE_VERSION,
            vocab_size=self.vocab_size,
            fingerprint=self.fingerprint,
            tables=tables,
        )


def look_at_model(settings: ModelSettings, end: End) -> EndFound:
    """Find a model and load its tokenizer. Asks the hub where the name is one of the hub's; blocks."""
    accelerated = settings.device_map is not None or (settings.device or "cpu") != "cpu"
    try:
        tokenizer = load_tokenizer(settings.model, end=end, revision=settings.revision)
        size, absent = _weights(settings, end)
    except UnsupportedModelError as error:
        problem = str(error).splitlines()[0]
        return EndFound(model=settings.model, problem=problem, on_accelerator=accelerated)
    return EndFound(
        model=settings.model,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        weights_bytes=size,
        absent=absent,
        on_accelerator=accelerated,
    )


def judge_models(found: Mapping[End, EndFound]) -> list[Check]:
    """A line for each end, and one for the two of them where both are here."""
    checks = [_judge_end(end, one) for end, one in found.items()]
    both = [one for one in found.values() if one.fingerprint]
    if len(both) == 2:
        checks.append(_judge_both(*both))
    return checks


def _judge_end(end: End, found: EndFound) -> Check:
    def check(status: Status, seen: str, remedy: str = "") -> Check:
        return Check(name="model", subject=f"{end} {found.model}", status=status, seen=seen, remedy=remedy)

    if found.problem:
        remedy = f"write in [pair] {end}: smollm2, a folder, a .gguf file, or a hub id to be had from here"
        return check(Status.FAIL, found.problem, remedy)
    seen = f"tokenizer of {found.vocab_size} ids, fingerprint {found.fingerprint.hex()}"
    if found.absent:
        return check(Status.WARN, f"{seen}; its weights are not here yet", found.absent)
    size = "" if found.weights_bytes is None else f", weights of {size_words(found.weights_bytes)}"
    return check(Status.OK, seen + (size if found.weights_bytes else ""))


def _judge_both(draft: EndFound, target: EndFound) -> Check:
    def check(status: Status, seen: str, remedy: str = "") -> Check:
        return Check(name="model", subject="draft and target", status=status, seen=seen, remedy=remedy)

    ours, theirs = (draft.vocab_size, draft.fingerprint), (target.vocab_size, target.fingerprint)
    if ours == theirs:
        return check(Status.OK, "one vocabulary")
    return check(
        Status.FAIL,
        f"the draft has {draft.vocab_size} ids, fingerprint {draft.fingerprint.hex()}; the target "
        f"{target.vocab_size}, fingerprint {target.fingerprint.hex()}",
        "take two models of one family, or make a draft for the target: scripts/distil_draft.py",
    )


# ------------------------------------------------------------------------------------------------ weights


def _weights(settings: ModelSettings, end: End) -> tuple[int | None, str]:
    """Bytes in memory, and how they come here if they aren't here. Raises UnsupportedModelError."""
    source = source_of(settings.model, end)
    match source.kind:
        case Kind.FORMULA:
            return 0, ""
        case Kind.MADE:
            return _MADE_BYTES, ""
        case Kind.PACKAGED:
            return SHIPPED_TARGET_BYTES // 2 * _WANTED_BYTES.get(settings.dtype or "", 2), ""
        case Kind.HUB:
            return _of_the_hub(source, settings)
    assert source.path is not None, "a folder or a file"
    if source.kind is Kind.FILE:
        return source.path.stat().st_size, ""  # at least this, since it is unpacked when it is loaded
    if not any(source.path.glob("*.safetensors")):
        raise UnsupportedModelError(f"no weights (*.safetensors) in the folder {source.path}")
    return _in_folder(source.path, settings.dtype), ""


def _of_the_hub(source: Source, settings: ModelSettings) -> tuple[int | None, str]:
    """What an earlier start has left in the hub's cache; the hub is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(source.repository, revision=settings.revision, local_files_only=True)
    except (LocalEntryNotFoundError, OSError, ValueError):
        folder = ""
    size = _of_a_copy(Path(folder), source.file, settings.dtype) if folder else None
    if size is not None:
        return size, ""
    if settings.model != SHIPPED:
        return None, "the first start downloads them"
    from draftwire.nodes.models.pairs import shipped

    return None, f"{shipped.TARGET_INSTALL}; or let the first start download them"


def _of_a_copy(folder: Path, file: str, dtype: str | None) -> int | None:
    """Of a repository's files as the hub's client keeps them: of its GGUF file, where one is asked for."""
    if not file:
        return _in_folder(folder, dtype)
    try:
        return (folder / file).stat().st_size
    except OSError:
        return None


def _in_folder(folder: Path, dtype: str | None) -> int | None:
    """Of the safetensors files in a folder, in the type asked for; None where none can be read."""
    files = sorted(folder.glob("*.safetensors"))
    try:
        sizes = [_in_file(_header(path), dtype) for path in files]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return sum(sizes) or None


def _header(path: Path) -> Iterable[dict[str, Any]]:
    """Type and place of each tensor in a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        content = json.loads(file.read(length))
    return [tensor for name, tensor in content.items() if name != "__metadata__"]


def _in_file(tensors: Iterable[dict[str, Any]], dtype: str | None) -> int:
    total = 0
    for tensor in tensors:
        begin, end = tensor["data_offsets"]
        stored = _BYTES.get(tensor["dtype"], 2)
        floating = tensor["dtype"] in ("F64", "F32", "F16", "BF16")
        kept = _WANTED_BYTES.get(dtype or "", stored) if floating else stored
        total += (end - begin) // stored * kept
    return total


__all__ = ["ENDS", "EndFound", "judge_models", "look_at_model"]
