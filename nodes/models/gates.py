"""What keeps models out that cannot roll back, or share a pass, each gate with its own message.

Two read what a model says of itself, two look at what trial passes have done. None is enough alone: configs
leave things out, a window of thousands of tokens is out of a short pass's reach, and a slowly fading state
can hide within the rounding of bfloat16.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import UnsupportedModelError

if TYPE_CHECKING:
    from draftwire.nodes.models.kv_slots import Call

FLOAT32_TOLERANCE: Final = 1e-4
"""Largest difference of rolled-back from fresh, in parts of the logit scale; rounding stays below 1e-5."""

HALF_TOLERANCE: Final = 0.1
"""The same in bfloat16 and float16. SmolLM2-135M in bfloat16 (30 layers, CPU, 40 rows): rounding up to 0.055,
one wrong token in the prefix at least 0.25; the least in float16 is the same, its rounding 0.007."""

UNSTATED_CONTEXT: Final = 2048
"""Context length of models whose config states none (those without position embeddings)."""

_LENGTH_FIELDS: Final = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
)

_ATTENTION_KINDS: Final = frozenset({"full_attention", "sliding_attention"})
_STATELESS_KINDS: Final = frozenset({"mlp", "moe", "dummy"})
_PASS_DEPENDENT_ROPE: Final = frozenset({"dynamic", "longrope"})
_HARMLESS: Final = frozenset(
    {
        "cache_position",
        "dropout",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "position_ids",
        "use_cache",
    }
)
"""What models tell an attention function that changes nothing of its answer, without training."""


def refuse_declared(config: Any, *, name: str) -> None:
    """Gate one: what the config says of itself. Raises UnsupportedModelError."""
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"'{name}' is an encoder-decoder model ({config.model_type}); a decoder-only one is needed"
        )
    decoder = config.get_text_config(decoder=True)
    kinds = list(getattr(decoder, "layer_types", None) or [])
    for kind in sorted(set(map(str, kinds)) - _ATTENTION_KINDS - _STATELESS_KINDS):
        layers = [index for index, layer in enumerate(kinds) if layer == kind]
        raise UnsupportedModelError(
            f"'{name}' cannot serve: kind '{kind}' ({_numbers('layer', layers)} of {len(kinds)}) is not "
            "attention over cached keys of all tokens, so its state cannot be rolled back"
        )


def refuse_stateful(model: Any, *, name: str) -> None:
    """Gate two: what the model's class says of itself. Raises UnsupportedModelError."""
    if getattr(model, "_is_stateful", False):
        raise UnsupportedModelError(
            f"'{name}' cannot serve: it keeps a running state that cannot be rolled back"
        )


def refuse_unwitnessed(config: Any, calls: "Sequence[Call]", *, name: str) -> None:
    """Gate three: in one pass the attention of every layer has been called once, as the config declares it.

    `calls` are those of the pass. Raises UnsupportedModelError.
    """
    windows = _declared_windows(config)
    times = Counter(call.layer for call in calls)
    if not calls:
        raise UnsupportedModelError(
            f"'{name}' cannot serve: its class ({config.model_type}) computes attention in a way of its own, "
            "which can't be replaced by one that keeps several sequences apart"
        )
    if missing := [index for index in windows if not times[index]]:
        raise UnsupportedModelError(
            f"'{name}' cannot serve: {_numbers('layer', missing)} of {len(windows)} "
            f"{'keeps' if len(missing) == 1 else 'keep'} a running state that cannot be rolled back"
        )
    for call in calls:
        if call.layer not in windows or times[call.layer] > 1:
            raise UnsupportedModelError(
                f"'{name}' cannot serve: attention of layer {call.layer} ran {times[call.layer]} times in a "
                f"pass; its config declares {len(windows)} such layers, which may each run once"
            )
        if (call.window or None) != (declared := windows[call.layer]):
            raise UnsupportedModelError(
                f"'{name}' cannot serve: layer {call.layer} declares a window of {declared} tokens and its "
                f"attention is told {call.window}, so the window lies where a shared pass can't have it"
            )
        always = {"is_causal"} if call.others.get("is_causal") is True else set()
        if told := sorted(set(call.others) - _HARMLESS - always):
            raise UnsupportedModelError(
                f"'{name}' cannot serve: its attention is told '{told[0]}', and a shared pass can't tell it"
            )


def refuse_different(
    fresh: NDArray[np.float32], again: NDArray[np.float32], *, dtype: str, name: str
) -> None:
    """Gate four: logits after a roll-back, `again`, are those of a `fresh` pass, or UnsupportedModelError.

    `again` comes of a pass shared with others, `fresh` of the model's own attention, with nothing cached.
    """
    tolerance = FLOAT32_TOLERANCE if dtype in ("float32", "float64") else HALF_TOLERANCE
    scale = float(np.abs(fresh - fresh.mean(axis=-1, keepdims=True)).max())
    difference = float(np.abs(fresh - again).max())
    if not difference <= tolerance * scale:  # also true of a NaN
        raise UnsupportedModelError(
            f"'{name}' cannot serve: after a roll-back its logits differ from a fresh pass by "
            f"{difference:.2g} at a scale of {scale:.2g}; no more than {tolerance:g} of the scale can be "
            f"rounding ({dtype})"
        )


def context_length(config: Any) -> int:
    """Most tokens of a context: what the config states, or less.

    Rotary embeddings of some types hang on the longest position of a pass, so behind their original length a
    token would depend on the company that it was computed in. Up to that length they stand still.
    """
    decoder = config.get_text_config(decoder=True)
    stated = next(
        (
            value
            for field in _LENGTH_FIELDS
            if isinstance(value := getattr(decoder, field, None), int) and value > 0
        ),
        UNSTATED_CONTEXT,
    )
    rope = [getattr(decoder, field, None) for field in ("rope_parameters", "rope_scaling")]
    if not set().union(*map(_rope_types, rope)) & _PASS_DEPENDENT_ROPE:
        return stated
    originals = [getattr(decoder, "original_max_position_embeddings", None), *map(_original_length, rope)]
    return min([stated, *(length for length in originals if length)])


def _declared_windows(config: Any) -> dict[int, int | None]:
    """By the number of each layer with attention: tokens that a query sees; None: all before it."""
    decoder = config.get_text_config(decoder=True)
    window = getattr(decoder, "sliding_window", None) or None
    if kinds := getattr(decoder, "layer_types", None):
        return {
            index: window if kind == "sliding_attention" else None
            for index, kind in enumerate(kinds[: int(decoder.num_hidden_layers)])
            if kind in _ATTENTION_KINDS
        }
    return dict.fromkeys(range(int(decoder.num_hidden_layers)), window)


def _rope_types(settings: object) -> set[str]:
    """Every rope type named in `settings`; some configs have one dictionary for each kind of layer."""
    if not isinstance(settings, Mapping):
        return set()
    found = {str(value) for key, value in settings.items() if key in ("rope_type", "type")}
    return found.union(*(_rope_types(value) for value in settings.values()))


def _original_length(settings: object) -> int | None:
    """The least one named in `settings`."""
    if not isinstance(settings, Mapping):
        return None
    found = [settings.get("original_max_position_embeddings"), *map(_original_length, settings.values())]
    return min((length for length in found if length), default=None)


def _numbers(noun: str, indices: Sequence[int]) -> str:
    shown = ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
    return f"{noun} {shown}" if len(indices) == 1 else f"{noun}s {shown}"
