"""Tiny pairs with real files, made on the fly: two Llamas of a few thousand weights and a byte tokenizer.

They load and run through the same code as any model from a hub, in milliseconds. What they write is noise,
but the draft is a noisy copy of the target, so it is accepted as often as the noise lets it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from draftwire.nodes.models.cache import cached

HIDDEN: Final = 64
LAYERS: Final = 2
HEADS: Final = 4
KV_HEADS: Final = 2
FEED_FORWARD: Final = 128
CONTEXT: Final = 1024
"""Positions of a tiny model."""

SPECIAL_TOKENS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY: Final = len(SPECIAL_TOKENS) + 256
"""The special tokens, then one id for each byte."""

LOGIT_SCALE: Final = 2.5
"""Standard deviation of a row of logits, about that of a real model; a plain random head is nearly flat."""

RESIDUAL_SCALE: Final = 0.5
"""What a layer adds, against what it adds to: below 1, so that layers don't amplify the draft's noise."""

_FORMAT: Final = 1
"""In the folder's name: raise it when anything here changes what is written."""

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyPair:
    """The folders of a pair that has been written."""

    draft: Path
    "folder of the draft: config.json, model.safetensors, tokenizer files"
    target: Path
    "folder of the target, the same files"


def write_pair(folder: Path, *, seed: int = 0, noise: float = 0.3) -> TinyPair:
    """Write a pair to `folder`/draft and `folder`/target; the bytes depend on `seed` and `noise` alone.

    `noise` is relative: each weight of the draft is the target's plus `noise` times its standard deviation.
    The acceptance rate at temperature 1 (1 - TV(p, q), mean over 500 random tokens, seed 0) is 0.85 at noise
    0.1, 0.71 at 0.2, 0.59 at 0.3 and 0.40 at 0.5.
    """
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise is {noise}; it has to be a finite number, 0 or more")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it may not be negative")
    target = _weights(np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    draft = {name: _noisy(weight, noise, rng) for name, weight in target.items()}
    pair = TinyPair(draft=folder / "draft", target=folder / "target")
    for path, weights in ((pair.draft, draft), (pair.target, target)):
        path.mkdir(parents=True, exist_ok=True)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        _write_json(path / "config.json", _config())
        _write_json(path / "generation_config.json", {"eos_token_id": [0, 2]})
        write_tokenizer(path)
    return pair


def cached_pair(*, seed: int = 0, noise: float = 0.3, cache: Path | None = None) -> TinyPair:
    """The pair from the cache folder, written there first if need be. Safe against other processes doing so.

    `cache` as in `cache.cached`, whose errors it has.
    """
    name = f"tiny-{_FORMAT}-seed{seed}-noise{noise:g}"
    folder = cached(name, lambda partial: write_pair(partial, seed=seed, noise=noise), cache=cache)
    return TinyPair(draft=folder / "draft", target=folder / "target")


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of one id a byte, three special tokens and a chat template to `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate([*SPECIAL_TOKENS, *alphabet])},
            merges=[],
        )
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def _weights(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    head = HIDDEN // HEADS

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        # Unit variance in, unit variance out, so that every layer and every token back has a say.
        values = rng.standard_normal((rows, columns), dtype=np.float32)
        values *= scale / columns**0.5
        return values

    weights = {"model.embed_tokens.weight": rng.standard_normal((VOCABULARY, HIDDEN), dtype=np.float32)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= {
            prefix + "input_layernorm.weight": np.ones(HIDDEN, np.float32),
            prefix + "self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            prefix + "self_attn.k_proj.weight": matrix(KV_HEADS * head, HIDDEN),
            prefix + "self_attn.v_proj.weight": matrix(KV_HEADS * head, HIDDEN),
            prefix + "self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN, RESIDUAL_SCALE),
            prefix + "post_attention_layernorm.weight": np.ones(HIDDEN, np.float32),
            prefix + "mlp.gate_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            prefix + "mlp.up_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            prefix + "mlp.down_proj.weight": matrix(HIDDEN, FEED_FORWARD, RESIDUAL_SCALE),
        }
    weights["model.norm.weight"] = np.ones(HIDDEN, np.float32)
    weights["lm_head.weight"] = matrix(VOCABULARY, HIDDEN, LOGIT_SCALE)
    return weights


def _noisy(weight: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    if weight.ndim == 1:  # a norm's gain: nothing to disturb
        return weight
    disturbed = rng.standard_normal(weight.shape, dtype=np.float32)
    disturbed *= noise * weight.std()
    disturbed += weight
    return disturbed


def _config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
