"""What keeps models out that cannot roll back or share a pass, gate by gate, without a real model."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from draftwire.nodes.models import gates
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.kv_slots import Call


def config(**fields: Any) -> Any:
    decoder = SimpleNamespace(num_hidden_layers=3, **fields)
    return SimpleNamespace(
        get_text_config=lambda decoder=True, of=decoder: of, is_encoder_decoder=False, model_type="made_up"
    )


def call(layer: int | None, *, window: int | None = None, **others: Any) -> Call:
    tensor = torch.zeros(1, 1, 1, 1)
    return Call(
        layer=layer,
        query=tensor,
        key=tensor,
        value=tensor,
        scale=1.0,
        window=window,
        softcap=None,
        sinks=None,
        others=others,
    )


def test_layers_that_are_never_called_are_named() -> None:
    """Every attention layer has to be heard of in a pass, once."""
    gates.refuse_unwitnessed(config(), [call(0), call(1), call(2)], name="model")
    with pytest.raises(
        UnsupportedModelError,
        match="'model' cannot serve: layers 0, 2 of 3 keep a running state that cannot be rolled back",
    ):
        gates.refuse_unwitnessed(config(), [call(1)], name="model")
    with pytest.raises(UnsupportedModelError, match="layer 1 of 3 keeps a running state"):
        gates.refuse_unwitnessed(config(), [call(0), call(2)], name="model")
    with pytest.raises(UnsupportedModelError, match=r"its class \(made_up\) computes attention in a way of"):
        gates.refuse_unwitnessed(config(), [], name="model")


@pytest.mark.parametrize(
    "odd, message", [(1, "layer 1 ran 2 times"), (7, "layer 7 ran"), (None, "layer None")]
)
def test_layers_that_are_called_oddly_are_refused(odd: int | None, message: str) -> None:
    """Twice in a pass, one that the config does not have, or one without a number."""
    with pytest.raises(UnsupportedModelError, match=message):
        gates.refuse_unwitnessed(config(), [call(0), call(1), call(2), call(odd)], name="model")


def test_layers_without_attention_need_not_be_called() -> None:
    """Feed-forward layers hold no state; so it is with entries behind the model's last layer."""
    kinds = ["full_attention", "mlp", "sliding_attention", "sliding_attention"]
    gates.refuse_declared(config(layer_types=kinds), name="model")
    calls = [call(0), call(2, window=4)]
    gates.refuse_unwitnessed(config(layer_types=kinds, sliding_window=4), calls, name="model")


def test_a_window_has_to_be_told_as_it_is_declared() -> None:
    """One that lies in a mask alone would be lost in a shared pass."""
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    right = [call(0), call(1, window=4), call(2)]
    gates.refuse_unwitnessed(config(layer_types=kinds, sliding_window=4), right, name="model")
    gates.refuse_unwitnessed(config(sliding_window=0), [call(0), call(1), call(2)], name="model")
    for calls, message in (
        ([call(0), call(1), call(2)], "layer 1 declares a window of 4 tokens and its attention is told None"),
        ([call(0, window=4), *right[1:]], "layer 0 declares a window of None tokens and .* told 4"),
    ):
        with pytest.raises(UnsupportedModelError, match=message):
            gates.refuse_unwitnessed(config(layer_types=kinds, sliding_window=4), calls, name="model")
    with pytest.raises(UnsupportedModelError, match="layer 0 declares a window of 4"):
        gates.refuse_unwitnessed(config(sliding_window=4), [call(0), call(1), call(2)], name="model")


@pytest.mark.parametrize(
    "others, named",
    [
        ({"position_bias": 1}, "position_bias"),
        ({"attention_mask": 1}, "attention_mask"),
        ({"is_causal": False}, "is_causal"),
    ],
)
def test_what_an_attention_is_told_besides_is_refused(others: dict[str, Any], named: str) -> None:
    """What we don't know may change the answer; what changes nothing is passed over."""
    harmless = call(0, dropout=0.0, use_cache=False, is_causal=True)
    gates.refuse_unwitnessed(config(), [harmless, call(1), call(2)], name="model")
    with pytest.raises(UnsupportedModelError, match=f"its attention is told '{named}'"):
        gates.refuse_unwitnessed(config(), [call(0), call(1, **others), call(2)], name="model")


def test_kinds_that_are_not_known_to_roll_back_are_refused() -> None:
    """The gate lists what works, so a kind that is new to it is refused, with the layers that have it."""
    with pytest.raises(UnsupportedModelError, match=r"kind 'something_new' \(layer 2 of 3\)"):
        kinds = ["full_attention", "full_attention", "something_new"]
        gates.refuse_declared(config(layer_types=kinds), name="model")


@pytest.mark.parametrize(
    "fields, length",
    [
        ({"max_position_embeddings": 100}, 100),
        ({"n_positions": 70}, 70),
        ({}, gates.UNSTATED_CONTEXT),
        ({"max_position_embeddings": 100, "rope_parameters": {"rope_type": "dynamic"}}, 100),
        (
            {
                "max_position_embeddings": 100,
                "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 25},
            },
            25,
        ),
        (
            {
                "max_position_embeddings": 100,
                "original_max_position_embeddings": 30,
                "rope_scaling": {"type": "longrope"},
            },
            30,
        ),
        (
            {
                "max_position_embeddings": 100,
                "rope_parameters": {
                    "full_attention": {"rope_type": "dynamic", "original_max_position_embeddings": 40},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            40,
        ),
        (
            {
                "max_position_embeddings": 100,
                "rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 25},
            },
            100,
        ),
    ],
)
def test_a_context_ends_where_its_rotary_embedding_begins_to_move(
    fields: dict[str, Any], length: int
) -> None:
    """In every layout: one dictionary, one for each kind of layer, the older spelling, beside it."""
    gates.refuse_declared(config(**fields), name="model")
    assert gates.context_length(config(**fields)) == length


def test_a_class_that_says_it_is_stateful_is_refused() -> None:
    """Where the config is silent, the class may not be."""
    gates.refuse_stateful(SimpleNamespace(), name="model")
    with pytest.raises(UnsupportedModelError, match="keeps a running state"):
        gates.refuse_stateful(SimpleNamespace(_is_stateful=True), name="model")


@pytest.mark.parametrize("dtype, tolerated, refused", [("float32", 5e-5, 3e-4), ("bfloat16", 0.05, 0.3)])
def test_only_rounding_is_tolerated(dtype: str, tolerated: float, refused: float) -> None:
    """Differences count in parts of the logit scale, whatever constant all logits share; NaN never passes."""
    fresh = np.array([[1000.0, 1002.0, 998.0]], np.float32)
    gates.refuse_different(fresh, fresh + np.float32(2 * tolerated), dtype=dtype, name="model")
    for wrong in (2 * refused, np.nan):
        with pytest.raises(UnsupportedModelError, match=f"after a roll-back.*{dtype}"):
            gates.refuse_different(fresh, fresh + np.float32(wrong), dtype=dtype, name="model")
