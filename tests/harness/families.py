"""Small random models of many families of transformers: those that serve, and those that are refused."""

from typing import Any, Final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM

SMALL: Final[dict[str, Any]] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
"""Fields that most configs have, unless a family says otherwise; None: this one has no such field."""

WINDOW: Final = 16

SERVED: Final[dict[str, dict[str, Any]]] = {
    "llama": {},
    "mistral": {"sliding_window": WINDOW},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "gemma2": {"sliding_window": WINDOW, "attn_logit_softcapping": 2.0},
    "gpt_oss": {
        "num_local_experts": 4,
        "sliding_window": WINDOW,
        "rope_parameters": {"rope_type": "default"},
    },
    "deepseek_v3": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 12,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    },
    "gemma3_text": {
        "sliding_window": WINDOW,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "gemma3n_text": {
        "sliding_window": WINDOW,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 97,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "qwen2": {},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3": {},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "mixtral": {"num_local_experts": 4, "sliding_window": WINDOW},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {"sliding_window": WINDOW},
    "gpt_neox": {},
    "olmo2": {},
    "cohere": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": WINDOW},
    "smollm3": {},
    "granite": {},
}
"""Model type -> fields of its config."""

DECLARED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "t5": ({}, r"is an encoder-decoder model \(t5\); a decoder-only one is needed"),
    "mamba": ({}, r"kind 'linear_attention' \(layers 0, 1, 2 of 3\) .* cannot be rolled back"),
    "recurrent_gemma": (
        {"lru_width": 32, "attention_window_size": 8},
        r"kind '\w+' \(layers 0, 1 of 3\) .* its state cannot be rolled back",
    ),
    "lfm2": (
        {"layer_types": ["conv", "full_attention", "conv"]},
        r"kind 'conv' \(layers 0, 2 of 3\) is not attention",
    ),
    "llama4_text": (
        {"num_local_experts": 2, "intermediate_size_mlp": 48, "attention_chunk_size": 8},
        "kind 'chunked_attention'",
    ),
}
"""Refused by their configs: fields, and what the message has."""

WITNESSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "falcon": ({"head_dim": None}, r"its class \(falcon\) computes attention in a way of its own"),
    "bloom": ({"n_layer": 3, "n_head": 4}, r"its class \(bloom\) computes attention in a way of its own"),
    "phimoe": (
        {"num_local_experts": 4, "sliding_window": WINDOW},
        "layer 0 declares a window of 16 tokens and its attention is told None",
    ),
    "bert": ({}, "after a roll-back its logits differ from a fresh pass"),
}
"""Refused by what trial passes show."""

SINCE_5: Final = frozenset({"bert", "opt", "phimoe", "qwen2_moe", "recurrent_gemma", "stablelm"})
"""Families whose attention transformers 4 cannot replace, or not wholly: there they are refused for that."""

RUNNING_STATES: Final = ("mamba", "recurrent_gemma")

IS_5: Final = int(transformers.__version__.partition(".")[0]) >= 5
"""Whether this version of transformers says which layers keep a running state, and has SINCE_5."""


def config_of(family: str, fields: dict[str, Any]) -> Any:
    """A small config."""
    given = {key: value for key, value in (SMALL | fields).items() if value is not None}
    return AutoConfig.for_model(family, **given)


def random_model(family: str, fields: dict[str, Any]) -> Any:
    """The same each time."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM
    made = model.from_config(config_of(family, fields)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:  # as initialised, tokens hardly feel each other, and tests would be blind
                parameter.mul_(8)
    return made


def assert_same(left: NDArray[np.float32], right: NDArray[np.float32], tolerance: float = 1e-5) -> None:
    """Equal but for rounding, in parts of the scale of the logits."""
    scale = float(np.abs(right - right.mean()).max())
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * scale)
