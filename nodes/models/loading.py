"""From names to models of transformers: folders, hub ids, GGUF files; every failure is one sentence."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from draftwire.nodes.models import gates, hub
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.huggingface import HuggingFaceModel, first_line


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "cpu",
    device_map: str | Mapping[str, Any] | None = None,
    revision: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> HuggingFaceModel:
    """Load a local folder, a hub id ('owner/model'), or a GGUF file (local, or 'owner/model/file.gguf').

    `dtype` is 'auto' (as stored) or a torch name such as 'bfloat16'; `device_map` spreads a model over
    devices and needs accelerate; `revision` is a hub branch, tag or commit. Only safetensors and GGUF weights
    are read, and no code of the repository is run. `progress` gets a sentence before each long step. Raises
    UnsupportedModelError.
    """
    source, gguf_file = split_gguf(name)
    on_hub = _is_on_hub(name, source)
    torch_dtype = _torch_dtype(dtype)
    shared = _shared_settings(revision, gguf_file, on_hub=on_hub)
    with _quiet():
        with _explained(name, on_hub=on_hub):
            config = AutoConfig.from_pretrained(source, **shared)
        gates.refuse_declared(config, name=name)
        progress(
            f"Loading {name}"
            + (" (the first time it is downloaded)" if on_hub else "")
            + (", a GGUF file: this takes a while" if gguf_file else "")
        )
        with _explained(name, on_hub=on_hub):
            loader: Any = AutoModelForCausalLM
            model, report = loader.from_pretrained(
                source,
                **shared,
                dtype=torch_dtype,
                device_map=device_map,
                use_safetensors=True if gguf_file is None else None,
                output_loading_info=True,
            )
        if missing := sorted(report["missing_keys"]):
            raise UnsupportedModelError(
                f"'{name}' lacks weights that its config asks for: {', '.join(missing[:3])}"
                f"{' and others' if len(missing) > 3 else ''}. They would be random; get a whole copy."
            )
        if device_map is None:
            try:
                model = model.to(device)
            except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
                raise UnsupportedModelError(
                    f"Cannot put '{name}' on device '{device}': {first_line(error)}"
                ) from None
        return HuggingFaceModel(model, name=name)


def load_auto_tokenizer(name: str, *, revision: str | None = None) -> tuple[Any, set[int]]:
    """The tokenizer that transformers makes for a model, and the ids that the model's files say end a text.

    `name` and `revision` as in `load`. Raises UnsupportedModelError.
    """
    source, gguf_file = split_gguf(name)
    on_hub = _is_on_hub(name, source)
    shared = _shared_settings(revision, gguf_file, on_hub=on_hub)
    with _quiet(), _explained(name, on_hub=on_hub, needs="tokenizer files"):
        tokenizer = AutoTokenizer.from_pretrained(source, **shared)
        try:
            declared = GenerationConfig.from_pretrained(source, revision=revision or "main").eos_token_id
        except OSError:  # no such file, as with GGUF
            try:
                declared = getattr(AutoConfig.from_pretrained(source, **shared), "eos_token_id", None)
            except (OSError, ValueError):  # a folder of tokenizer files only
                declared = None
    if declared is None:
        return tokenizer, set()
    return tokenizer, {int(token) for token in (declared if isinstance(declared, list) else [declared])}


def split_gguf(name: str) -> tuple[str, str | None]:
    """The folder or hub id, and the GGUF file in it if `name` ends in one."""
    if not name.lower().endswith(".gguf"):
        return name, None
    folder, _, file = name.rpartition("/")
    return folder or ".", file


def _shared_settings(revision: str | None, gguf_file: str | None, *, on_hub: bool) -> dict[str, Any]:
    shared: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    if gguf_file is not None:
        shared["gguf_file"] = gguf_file
    if on_hub and hub.is_unreachable():
        shared["local_files_only"] = True
    return shared


def _is_on_hub(name: str, source: str) -> bool:
    """Whether `source` comes from the hub; a local path wins. Raises UnsupportedModelError for neither."""
    if Path(source).exists():
        return False
    if not hub.is_hub_id(source):
        raise UnsupportedModelError(
            f"No model '{name}': there is no such file or folder, and it is not a hub id (owner/model). "
            "Check the path."
        )
    return True


def _torch_dtype(dtype: str) -> "str | torch.dtype":
    if dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UnsupportedModelError(
            f"dtype is '{dtype}'; it has to be 'auto' or a floating type of torch, such as 'bfloat16'"
        )
    return found


@contextlib.contextmanager
def _explained(name: str, *, on_hub: bool, needs: str = "config.json and *.safetensors") -> Iterator[None]:
    """Turn whatever transformers raises into one sentence that names the model and a remedy."""
    try:
        yield
    except Exception as error:
        # Any: from_pretrained documents none, and raises OSError, ValueError, KeyError, ImportError,
        # RuntimeError, SafetensorError and those of the hub's client for what all means the same here.
        tried = "the local cache, then the hub" if on_hub else "the local files"
        remedy = (
            "Check the name and the network, or pass a local folder (a gated model needs `hf auth login`)"
            if on_hub
            else f"Check that the folder holds {needs}"
        )
        if isinstance(error, ImportError) or "pip install" in str(error):
            remedy = "Install the package it names"
        reason = first_line(error).rstrip(".")
        raise UnsupportedModelError(f"Cannot load '{name}'; tried {tried}: {reason}. {remedy}.") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' own bars and warnings: what matters is raised, or told to `progress`."""
    log: Any = transformers.utils.logging
    level = log.get_verbosity()
    bars = log.is_progress_bar_enabled()
    client = logging.getLogger("huggingface_hub")
    client_level = client.level
    log.set_verbosity_error()
    log.disable_progress_bar()
    client.setLevel(logging.ERROR)
    # The conversion of GGUF draws a bar that the switch above does not reach.
    conversion: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(conversion, "tqdm", None)
    conversion.tqdm = lambda items, **settings: items
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        conversion.tqdm = bar
        client.setLevel(client_level)
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


__all__ = ["load", "load_auto_tokenizer", "split_gguf"]
