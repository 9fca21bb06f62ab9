"""What keeps models out that cannot roll back, gate by gate, where no real model is at hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from draftwire.nodes.models import gates
from draftwire.nodes.models.base import UnsupportedModelError


def config(**fields: Any) -> Any:
    decoder = SimpleNamespace(num_hidden_layers=3, **fields)
    return SimpleNamespace(get_text_config=lambda decoder=True, of=decoder: of, is_encoder_decoder=False)


def test_layers_that_cache_nothing_are_named() -> None:
    """Every attention layer has to hold the keys of all tokens."""
    gates.refuse_uncached(config(), [9, 9, 9], 9, name="model")
    with pytest.raises(UnsupportedModelError, match="'model' cannot serve: layer 1 of 3 did not put"):
        gates.refuse_uncached(config(), [9, 0, 9], 9, name="model")
    with pytest.raises(UnsupportedModelError, match="layers 0, 1, 2 of 3 did not put"):
        gates.refuse_uncached(config(), [], 9, name="model")
    with pytest.raises(UnsupportedModelError, match="layers 0, 1, 2 of 3"):  # a window that forgets
        gates.refuse_uncached(config(), [4, 4, 4], 9, name="model")


def test_layers_without_attention_of_their_own_need_no_keys() -> None:
    """Feed-forward layers hold no state, and layers that share keys use those of others."""
    kinds = ["full_attention", "mlp", "sliding_attention"]
    gates.refuse_declared(config(layer_types=kinds), name="model")
    gates.refuse_uncached(config(layer_types=kinds), [9, 0, 9], 9, name="model")
    gates.refuse_uncached(config(num_kv_shared_layers=1), [9, 9], 9, name="model")


def test_kinds_that_are_not_known_to_roll_back_are_refused() -> None:
    """The gate lists what works, so a kind that is new to it is refused, with the layers that have it."""
    with pytest.raises(UnsupportedModelError, match=r"kind 'something_new' \(layer 2 of 3\)"):
        kinds = ["full_attention", "full_attention", "something_new"]
        gates.refuse_declared(config(layer_types=kinds), name="model")


def test_rope_types_are_found_in_every_layout() -> None:
    """One dictionary, one for each kind of layer, and the older spelling."""
    for field, settings in (
        ("rope_parameters", {"rope_type": "dynamic"}),
        ("rope_parameters", {"full_attention": {"rope_type": "dynamic"}, "sliding_attention": {}}),
        ("rope_scaling", {"type": "dynamic"}),
    ):
        with pytest.raises(UnsupportedModelError, match="rotary embedding is of type 'dynamic'"):
            gates.refuse_declared(config(**{field: settings}), name="model")
    gates.refuse_declared(config(rope_parameters={"rope_type": "yarn"}), name="model")


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
