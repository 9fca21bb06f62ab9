"""Families of transformers: which share passes exactly, and which are refused by what trial passes show."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.harness.families import (
    DECLARED,
    IS_5,
    RUNNING_STATES,
    SERVED,
    SINCE_5,
    WITNESSED,
    assert_same,
    random_model,
)

from draftwire.nodes.models.base import Ask, UnsupportedModelError
from draftwire.nodes.models.huggingface import HuggingFaceModel

HELD = (37, 5, 80, 23)
"""Tokens of four sequences before the pass that is compared."""

NEW = (5, 3, 1, 4)
"""Their new ones in it."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@torch.inference_mode()
def own_rows(model: Any, tokens: list[int], rows: int) -> NDArray[np.float32]:
    """What the model says by itself, in one pass without a cache."""
    model.set_attn_implementation("eager")  # the one that every family has in full
    logits: NDArray[np.float32] = model(torch.tensor([tokens]), use_cache=False).logits[0, -rows:].numpy()
    return logits


def these(families: Iterable[str]) -> list[Any]:
    """Parameters; some are skipped with transformers 4."""
    old = pytest.mark.skipif(not IS_5, reason="transformers 4 cannot replace this family's attention")
    return [pytest.param(family, marks=[old] if family in SINCE_5 else []) for family in families]


@pytest.mark.parametrize("family", these(SERVED))
def test_packed_equals_single(family: str) -> None:
    """Prefill in mixed chunks, a rejected draft, then rows of all lengths in one pass: as each one alone."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 97, held + new).tolist() for held, new in zip(HELD, NEW, strict=True)]
    raw = random_model(family, SERVED[family])
    expected = [own_rows(raw, text, new) for text, new in zip(texts, NEW, strict=True)]
    model = HuggingFaceModel(raw, name="random")
    contexts = [model.open() for _ in texts]
    for end in (9, 30, 80):
        model.together(
            [
                Ask(context=context, tokens=text[: min(end, held)], rows=end % 2)
                for context, text, held in zip(contexts, texts, HELD, strict=True)
            ]
        )
    model.together(
        [
            Ask(context=context, tokens=[*text[:held], *rng.integers(3, 97, new + 2).tolist()], rows=new)
            for context, text, held, new in zip(contexts, texts, HELD, NEW, strict=True)
        ]
    )
    found = model.together(
        [
            Ask(context=context, tokens=text, rows=new)
            for context, text, new in zip(contexts, texts, NEW, strict=True)
        ]
    )
    for rows, own in zip(found, expected, strict=True):
        assert_same(rows, own)
    for context, text, own in zip(contexts, texts, expected, strict=True):
        assert_same(context.logits(text, 1), own[-1:])


@pytest.mark.parametrize("family", these(WITNESSED))
def test_what_cannot_share_a_pass_is_refused_by_what_it_does(family: str) -> None:
    """The config is in order; a trial pass shows why not, and the message says it."""
    fields, message = WITNESSED[family]
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        HuggingFaceModel(random_model(family, fields), name="model")
    assert str(caught.value).startswith("'model' cannot serve: ")


@pytest.mark.parametrize("family", these(RUNNING_STATES))
def test_running_states_are_found_without_a_declaration(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the config silent, the gates behind it would refuse the model, and name the layers."""
    model = random_model(family, DECLARED[family][0])
    monkeypatch.setattr("draftwire.nodes.models.gates.refuse_declared", lambda config, name: None)
    with pytest.raises(UnsupportedModelError, match=r"running state that cannot be rolled back"):
        HuggingFaceModel(model, name=family)
    monkeypatch.setattr("draftwire.nodes.models.gates.refuse_stateful", lambda model, name: None)
    with pytest.raises(UnsupportedModelError, match=r"'\w+' cannot serve"):
        HuggingFaceModel(model, name=family)


def test_a_hidden_state_is_found_by_comparison() -> None:
    """A model that carries something over from pass to pass differs from a fresh pass and is refused."""
    model = random_model("llama", {})
    passes = 0

    def drift(module: Any, inputs: Any, output: Any) -> Any:
        nonlocal passes
        passes += 1
        return output + 0.05 * passes

    model.model.layers[1].mlp.register_forward_hook(drift)
    with pytest.raises(UnsupportedModelError, match="after a roll-back its logits differ from a fresh pass"):
        HuggingFaceModel(model, name="drifting")


@pytest.mark.parametrize(
    "family, fields, length",
    [
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 128),
        (
            "phi3",
            {
                "max_position_embeddings": 256,
                "original_max_position_embeddings": 64,
                "rope_scaling": {
                    "type": "longrope",
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                },
            },
            64,
        ),
    ],
)
def test_rotary_embeddings_that_hang_on_the_pass_serve_up_to_their_original_length(
    family: str, fields: dict[str, Any], length: int
) -> None:
    """To its last position a context is exact beside a short one; a token more is refused."""
    rng = np.random.default_rng(1)
    text, other = rng.integers(3, 97, length).tolist(), rng.integers(3, 97, 9).tolist()
    raw = random_model(family, fields)
    expected = own_rows(raw, text, 3), own_rows(raw, other, 2)
    model = HuggingFaceModel(raw, name="random")
    assert model.context_length == length
    contexts = model.open(), model.open()
    found = model.together(
        [Ask(context=contexts[0], tokens=text, rows=3), Ask(context=contexts[1], tokens=other, rows=2)]
    )
    for rows, own in zip(found, expected, strict=True):
        assert_same(rows, own)
    with pytest.raises(ValueError, match=f"tokens <= {length}"):
        contexts[0].logits([*text, 3], 1)
