"""Any decoder-only model of transformers as a `LanguageModel`, or a reason why not.

Roll-back needs a cache from which tokens can be taken off the end. That holds for attention over keys and
values and fails for everything that carries a running state. Which of both a model is can't be read off its
name, so gates stand at load (gates.py), and a trial pass with roll-back goes through them.
"""

import contextlib
import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig

from draftwire.nodes.models import gates, hub
from draftwire.nodes.models.accelerated import on_host, top_of
from draftwire.nodes.models.base import Top, UnsupportedModelError

PREFILL_CHUNK: Final = 512
"""Most positions of one pass. Bounds the memory of attention scores while a long prompt is read."""

UNSTATED_CONTEXT: Final = 2048
"""Context length of models whose config states none (those without position embeddings)."""

WITNESS_LENGTHS: Final = (7, 12, 19)
"""Tokens in the short rows that are compared at load."""


class HuggingFaceModel:
    """A causal language model of transformers. Build one with `load`."""

    def __init__(self, model: Any, *, name: str) -> None:
        """Wraps a loaded model after all three gates. Raises UnsupportedModelError with the gate's reason."""
        gates.refuse_declared(model.config, name=name)
        gates.refuse_stateful(model, name=name)
        self.name = name
        self._model = model.eval()
        self._device = model.get_input_embeddings().weight.device
        parameters = inspect.signature(model.forward).parameters
        self._keep_argument = "logits_to_keep" in parameters
        # Renamed during transformers 5.
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self._ids = int(model.get_input_embeddings().weight.shape[0])
        self._context_length = _context_length(model.config)
        self._vocab_size = self._witness()

    @property
    def vocab_size(self) -> int:
        """V: the width of a logits row, which may exceed the tokenizer's vocabulary."""
        return self._vocab_size

    @property
    def context_length(self) -> int:
        """The most tokens the model has positions for."""
        return self._context_length

    @property
    def support(self) -> NDArray[np.int64] | None:
        """None: a row has all V columns."""
        return None

    @property
    def dtype(self) -> str:
        """What the weights are held in, for example 'bfloat16'."""
        return str(self._model.dtype).removeprefix("torch.")

    def open(self) -> "HuggingFaceContext":
        """A fresh context; a `TopContext` where the model runs on an accelerator."""
        return HuggingFaceContext(self) if self._device.type == "cpu" else AcceleratedContext(self)

    @torch.inference_mode()
    def forward(self, ids: Sequence[int], cache: DynamicCache | None, keep: int) -> Tensor:
        """One pass over `ids` behind what `cache` holds, which grows: the last rows, [keep, V], in place."""
        arguments: dict[str, Any] = {self._cache_argument: cache}
        if self._keep_argument:
            arguments["logits_to_keep"] = keep
        output = self._model(
            input_ids=torch.tensor([ids], device=self._device),
            use_cache=cache is not None,
            return_dict=True,
            **arguments,
        )
        rows: Tensor = output.logits[0, -keep:]
        return rows

    def check(self, tokens: Sequence[int], rows: int) -> None:
        """Raises ValueError for a number of rows or tokens outside the bounds."""
        if not 1 <= rows <= len(tokens) <= self._context_length:
            raise ValueError(
                f"{rows} rows of {len(tokens)} tokens asked for; "
                f"needs 1 <= rows <= tokens <= {self._context_length}"
            )

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raises ValueError for ids without an embedding (on a GPU they would take the process down)."""
        if not all(0 <= token < self._ids for token in ids):
            raise ValueError(f"ids must lie in 0 .. {self._ids - 1}; got {min(ids)} to {max(ids)}")

    def _witness(self) -> int:
        """Gates two and three on the real weights; gives the width of the logits."""
        rng = np.random.default_rng(0)
        width = 0
        for length in WITNESS_LENGTHS:
            if length > self._context_length:
                raise UnsupportedModelError(f"'{self.name}' has only {self._context_length} positions")
            row = rng.integers(0, self._ids, length).tolist()
            wrong = rng.integers(0, self._ids, 3).tolist()
            kept = length - 4
            try:
                fresh = on_host(self.forward(row, None, 4))
                context = self.open()
                context.logits([*row[:kept], *wrong], 1)
                held = context.held()
                again = context.logits(row, 4)
                context.close()
            except Exception as error:  # any: a model that takes other arguments fails in a way of its own
                raise UnsupportedModelError(
                    f"'{self.name}' did not get through a trial pass with roll-back: {_first_line(error)}"
                ) from None
            gates.refuse_uncached(self._model.config, held, kept + len(wrong), name=self.name)
            gates.refuse_different(fresh, again, dtype=self.dtype, name=self.name)
            width = fresh.shape[-1]
        return width


class HuggingFaceContext:
    """One sequence's keys and values. Use from one thread at a time."""

    def __init__(self, model: HuggingFaceModel) -> None:
        self._model = model
        self._tokens: list[int] = []
        self._closed = False
        # Without a config every layer keeps all keys. With it, sliding-window layers would forget what lies
        # outside the window, and could not be cropped back into it; the window itself lives in the mask.
        self._cache = DynamicCache()

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Logits at the last `rows` positions of `tokens`, shape [rows, V].

        Computes what differs from the call before, at least the rows asked for. Raises ValueError for
        positions or ids out of range; after any other error the context is empty, not half-written.
        """
        return on_host(self._rows(tokens, rows))

    def close(self) -> None:
        """Free the cache. Idempotent."""
        self._closed = True
        self._reset()

    def held(self) -> list[int]:
        """For each layer, of how many tokens the cache holds the keys."""
        return [
            0 if keys is None or not keys.numel() else int(keys.shape[-2])
            for keys in (getattr(layer, "keys", None) for layer in self._cache.layers)
        ]

    def _rows(self, tokens: Sequence[int], rows: int) -> Tensor:
        """What `logits` gives, where it was computed."""
        if self._closed:
            raise ValueError("logits of a closed context")
        self._model.check(tokens, rows)
        wanted = list(tokens)
        kept = min(_common_prefix(self._tokens, wanted), len(wanted) - rows)
        self._model.check_ids(wanted[kept:])
        try:
            self._roll_back(kept)
            return self._extend(wanted, rows)
        except BaseException:
            self._reset()
            raise

    def _roll_back(self, kept: int) -> None:
        surplus = len(self._tokens) - kept
        if surplus and not kept:
            self._reset()
        elif surplus:
            with torch.inference_mode():
                # Negative: take off so many. What a positive number means depends on the version.
                self._cache.crop(-surplus)
            del self._tokens[kept:]

    def _extend(self, wanted: list[int], rows: int) -> Tensor:
        pieces = []
        while (start := len(self._tokens)) < len(wanted):
            piece = wanted[start : start + PREFILL_CHUNK]
            behind = len(wanted) - start - len(piece)  # positions left to later passes
            keep = min(len(piece), rows - behind)
            logits = self._model.forward(piece, self._cache, max(keep, 1))
            self._tokens += piece
            if keep > 0:
                pieces.append(logits)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _reset(self) -> None:
        self._tokens = []
        self._cache = DynamicCache()


class AcceleratedContext(HuggingFaceContext):
    """One whose rows need not leave the device they were computed on. A `TopContext`."""

    def top(self, tokens: Sequence[int], *, k: int, columns: int, temperature: float) -> Top:
        """See `TopContext`."""
        return top_of(self._rows(tokens, 1)[0, :columns], k=k, temperature=temperature)


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
                    f"Cannot put '{name}' on device '{device}': {_first_line(error)}"
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


def _context_length(config: Any) -> int:
    decoder = config.get_text_config(decoder=True)
    for field in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"):
        value = getattr(decoder, field, None)
        if isinstance(value, int) and value > 0:
            return value
    return UNSTATED_CONTEXT


def _torch_dtype(dtype: str) -> "str | torch.dtype":
    if dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UnsupportedModelError(
            f"dtype is '{dtype}'; it has to be 'auto' or a floating type of torch, such as 'bfloat16'"
        )
    return found


def _common_prefix(left: list[int], right: list[int]) -> int:
    shorter = min(len(left), len(right))
    if left[:shorter] == right[:shorter]:  # the usual case, at the speed of C
        return shorter
    return next(index for index in range(shorter) if left[index] != right[index])


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


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
        reason = _first_line(error).rstrip(".")
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
