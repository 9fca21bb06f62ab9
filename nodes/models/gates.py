"""What keeps models out that cannot roll back, each gate with its own message.

Two read what a model says of itself, two look at what a trial pass has done. None is enough alone: configs
leave things out, a window of thousands of tokens is out of a short pass's reach, and a slowly fading state
can hide within the rounding of bfloat16.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import UnsupportedModelError

FLOAT32_TOLERANCE: Final = 1e-4
"""Largest difference of rolled-back from fresh, in parts of the logit scale; rounding stays below 1e-5."""

HALF_TOLERANCE: Final = 0.1
"""The same in bfloat16 and float16. SmolLM2-135M in bfloat16 (30 layers, CPU, 40 rows): rounding up to 0.043,
one wrong token in the prefix at least 0.25; the least in float16 is the same, its rounding 0.007."""

_CROPPABLE_KINDS: Final = frozenset({"full_attention", "sliding_attention"})
_STATELESS_KINDS: Final = frozenset({"mlp", "moe", "dummy"})
_PASS_DEPENDENT_ROPE: Final = frozenset({"dynamic", "longrope"})


def refuse_declared(config: Any, *, name: str) -> None:
    """Gate one: what the config says of itself. Raises UnsupportedModelError."""
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"'{name}' is an encoder-decoder model ({config.model_type}); a decoder-only one is needed"
        )
    decoder = config.get_text_config(decoder=True)
    kinds = list(getattr(decoder, "layer_types", None) or [])
    for kind in sorted(set(map(str, kinds)) - _CROPPABLE_KINDS - _STATELESS_KINDS):
        layers = [index for index, layer in enumerate(kinds) if layer == kind]
        raise UnsupportedModelError(
            f"'{name}' cannot serve: kind '{kind}' ({_numbers('layer', layers)} of {len(kinds)}) is not "
            "attention over cached keys of all tokens, so its state cannot be rolled back"
        )
    for settings in (getattr(decoder, "rope_parameters", None), getattr(decoder, "rope_scaling", None)):
        if pass_dependent := sorted(_rope_types(settings) & _PASS_DEPENDENT_ROPE):
            raise UnsupportedModelError(
                f"'{name}' cannot serve: its rotary embedding is of type '{pass_dependent[0]}', which "
                "depends on the longest position of a pass, so a cached token would not equal a fresh one"
            )


def refuse_stateful(model: Any, *, name: str) -> None:
    """Gate two: what the model's class says of itself. Raises UnsupportedModelError."""
    if getattr(model, "_is_stateful", False):
        raise UnsupportedModelError(
            f"'{name}' cannot serve: it keeps a running state that cannot be rolled back"
        )


def refuse_uncached(config: Any, held: Sequence[int], length: int, *, name: str) -> None:
    """Gate three: after a pass over `length` tokens every layer holds the keys of all of them.

    `held` gives their number for each layer of the cache. Raises UnsupportedModelError.
    """
    decoder = config.get_text_config(decoder=True)
    kinds = getattr(decoder, "layer_types", None) or ["full_attention"] * int(decoder.num_hidden_layers)
    sharing = int(getattr(decoder, "num_kv_shared_layers", 0) or 0)  # at the end; they use earlier keys
    expected = [index for index, kind in enumerate(kinds) if kind in _CROPPABLE_KINDS]
    full = {index for index, tokens in enumerate(held) if tokens == length}
    if missing := [index for index in expected if index < len(kinds) - sharing and index not in full]:
        raise UnsupportedModelError(
            f"'{name}' cannot serve: {_numbers('layer', missing)} of {len(kinds)} did not put the keys of "
            "all tokens into the cache, so a running state lies elsewhere that cannot be rolled back"
        )


def refuse_different(
    fresh: NDArray[np.float32], again: NDArray[np.float32], *, dtype: str, name: str
) -> None:
    """Gate four: logits after a roll-back, `again`, are those of a `fresh` pass, or UnsupportedModelError."""
    tolerance = FLOAT32_TOLERANCE if dtype in ("float32", "float64") else HALF_TOLERANCE
    scale = float(np.abs(fresh - fresh.mean(axis=-1, keepdims=True)).max())
    difference = float(np.abs(fresh - again).max())
    if not difference <= tolerance * scale:  # also true of a NaN
        raise UnsupportedModelError(
            f"'{name}' cannot serve: after a roll-back its logits differ from a fresh pass by "
            f"{difference:.2g} at a scale of {scale:.2g}; no more than {tolerance:g} of the scale can be "
            f"rounding ({dtype})"
        )


def _rope_types(settings: object) -> set[str]:
    """Every rope type named in `settings`; some configs have one dictionary for each kind of layer."""
    if not isinstance(settings, Mapping):
        return set()
    found = {str(value) for key, value in settings.items() if key in ("rope_type", "type")}
    return found.union(*(_rope_types(value) for value in settings.values()))


def _numbers(noun: str, indices: Sequence[int]) -> str:
    shown = ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
    return f"{noun} {shown}" if len(indices) == 1 else f"{noun}s {shown}"
