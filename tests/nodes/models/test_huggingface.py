"""Models of transformers: roll-back changes nothing, and what can't roll back is refused by its reason."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM

from draftwire.nodes.models import huggingface, tiny
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.huggingface import HuggingFaceModel

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}

FAST = {
    "mistral with a window of 6": {"model_type": "mistral", "sliding_window": 6},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
}

OTHERS = {
    "gemma2": {"model_type": "gemma2", "sliding_window": 6},
    "gemma3_text": {"model_type": "gemma3_text", "sliding_window": 6},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4},
    "phi3": {"model_type": "phi3", "pad_token_id": 0, "sliding_window": 6},
    "opt": {"model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_neox": {"model_type": "gpt_neox"},
    "olmo2": {"model_type": "olmo2"},
    "cohere": {"model_type": "cohere"},
    "smollm3": {"model_type": "smollm3", "pad_token_id": 0},
    "granite": {"model_type": "granite"},
    "gpt_oss": {"model_type": "gpt_oss", "num_local_experts": 4, "sliding_window": 6},
    "bloom": {"model_type": "bloom", "n_layer": 3, "n_head": 4},
    "falcon": {"model_type": "falcon", "head_dim": None},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "t5": ({"model_type": "t5"}, r"is an encoder-decoder model \(t5\); a decoder-only one is needed"),
    "mamba": (
        {"model_type": "mamba"},
        r"kind 'linear_attention' \(layers 0, 1, 2 of 3\) .* cannot be rolled back",
    ),
    "recurrent_gemma": (
        {"model_type": "recurrent_gemma", "lru_width": 32, "attention_window_size": 8},
        r"kind '\w+' \(layers 0, 1 of 3\) .* its state cannot be rolled back",
    ),
    "lfm2": (
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention", "conv"]},
        r"kind 'conv' \(layers 0, 2 of 3\) is not attention",
    ),
    "longrope": (
        {
            "model_type": "phi3",
            "pad_token_id": 0,
            "max_position_embeddings": 256,
            "original_max_position_embeddings": 128,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
            },
        },
        "rotary embedding is of type 'longrope', which depends on the longest position",
    ),
    "dynamic": (
        {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        "rotary embedding is of type 'dynamic'",
    ),
}

RUNNING_STATES = ("mamba", "recurrent_gemma")
DECLARES_KINDS = int(transformers.__version__.partition(".")[0]) >= 5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyPair:
    return tiny.write_pair(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llama(pair: tiny.TinyPair) -> HuggingFaceModel:
    return huggingface.load(str(pair.target))


def config_of(fields: dict[str, Any]) -> Any:
    return AutoConfig.for_model(
        **{key: value for key, value in (SMALL | fields).items() if value is not None}
    )


def random_model(fields: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM
    made = model.from_config(config_of(fields))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:  # as initialised, tokens hardly feel each other, and tests would be blind
                parameter.mul_(8)
    return made


def assert_same(left: NDArray[np.float32], right: NDArray[np.float32], tolerance: float = 1e-5) -> None:
    scale = float(np.abs(right - right.mean()).max())
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * scale)


def reference(model: HuggingFaceModel, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
    """One plain pass, without a cache."""
    return model.forward(tokens, None, rows).float().numpy()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_gives_the_logits_of_a_fresh_context(
    llama: HuggingFaceModel, data: st.DataObject
) -> None:
    """Extending, rolling back, replacing and asking again never show in the numbers."""
    ids = st.integers(0, llama.vocab_size - 1)
    context = llama.open()
    tokens: list[int] = []
    for _ in range(data.draw(st.integers(1, 6))):
        kept = data.draw(st.integers(0, len(tokens)))
        added = data.draw(st.lists(ids, min_size=0 if kept else 1, max_size=9))
        tokens = [*tokens[:kept], *added]
        rows = data.draw(st.integers(1, len(tokens)))
        logits = context.logits(tokens, rows)
        assert logits.shape == (rows, llama.vocab_size)
        assert logits.dtype == np.float32
        assert_same(logits, reference(llama, tokens, rows))
    context.close()


@pytest.mark.parametrize("length, rows", [(5, 1), (8, 8), (9, 1), (9, 2), (23, 1), (23, 10), (23, 23)])
def test_long_prompts_are_read_in_chunks(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, length: int, rows: int
) -> None:
    """Whatever part of the rows falls into whichever chunk, they are those of one pass."""
    monkeypatch.setattr(huggingface, "PREFILL_CHUNK", 8)
    passes: list[int] = []
    forward = llama.forward

    def counted(ids: Sequence[int], cache: Any, keep: int) -> torch.Tensor:
        passes.append(len(ids))
        return forward(ids, cache, keep)

    monkeypatch.setattr(llama, "forward", counted)
    tokens = np.random.default_rng(length).integers(0, llama.vocab_size, length).tolist()
    logits = llama.open().logits(tokens, rows)
    assert max(passes) <= 8
    assert sum(passes) == length
    assert_same(logits, forward(tokens, None, rows).numpy())


def test_only_what_differs_is_computed(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step costs its new tokens, and asking again costs the rows asked for."""
    passes: list[int] = []
    forward = llama.forward

    def counted(ids: Sequence[int], cache: Any, keep: int) -> torch.Tensor:
        passes.append(len(ids))
        return forward(ids, cache, keep)

    monkeypatch.setattr(llama, "forward", counted)
    context = llama.open()
    context.logits([1, 2, 3, 4, 5], 1)
    context.logits([1, 2, 3, 4, 5, 6], 1)  # one more
    context.logits([1, 2, 3, 9, 8], 2)  # roll back to 3, two new
    context.logits([1, 2, 3, 9, 8], 1)  # nothing new: the last once more
    context.logits([1, 2, 3, 9, 8, 7], 4)  # one new, three rows of old ones
    context.logits([7], 1)  # nothing in common
    assert passes == [5, 1, 2, 1, 4, 1]


def test_wrong_questions_are_refused_and_harm_nothing(llama: HuggingFaceModel) -> None:
    """Rows or ids out of range are a ValueError that names the bounds; the context goes on."""
    context = llama.open()
    before = context.logits([1, 2, 3], 1)
    for tokens, rows in (([], 0), ([1], 0), ([1], 2), ([0] * (llama.context_length + 1), 1)):
        with pytest.raises(ValueError, match="needs 1 <= rows <= tokens <= 1024"):
            context.logits(tokens, rows)
    for wrong in (-1, llama.vocab_size):
        with pytest.raises(ValueError, match=r"ids must lie in 0 \.\. 258"):
            context.logits([1, 2, wrong], 1)
    assert_same(context.logits([1, 2, 3], 1), before)
    context.close()
    context.close()
    with pytest.raises(ValueError, match="closed context"):
        context.logits([1], 1)


def test_a_pass_that_fails_leaves_the_context_empty(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error within a pass (no memory, an interrupt) nothing half-written is taken for cached."""
    context = llama.open()
    context.logits([1, 2, 3, 4], 1)
    forward = llama.forward

    def breaks(ids: Sequence[int], cache: Any, keep: int) -> torch.Tensor:
        forward(ids, cache, keep)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(llama, "forward", breaks)
        with pytest.raises(MemoryError):
            context.logits([1, 2, 3, 4, 5], 1)
    assert_same(context.logits([1, 2, 3, 4, 5], 2), reference(llama, [1, 2, 3, 4, 5], 2))


@pytest.mark.parametrize(
    "fields",
    [
        *(pytest.param(fields, id=name) for name, fields in FAST.items()),
        *(pytest.param(fields, id=name, marks=pytest.mark.slow) for name, fields in OTHERS.items()),
    ],
)
def test_families_with_a_cache_serve(fields: dict[str, Any]) -> None:
    """Attention of all kinds passes the gates and rolls back exactly, far beyond a sliding window too."""
    model = HuggingFaceModel(random_model(fields), name="random")
    assert model.vocab_size == 97
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 97, 40).tolist()
    context = model.open()
    context.logits([*tokens[:30], *rng.integers(0, 97, 8).tolist()], 3)
    assert_same(context.logits(tokens, 6), reference(model, tokens, 6), tolerance=3e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_models_without_roll_back_are_refused_by_reason(name: str, tmp_path: Path) -> None:
    """The config is enough: weights are not even looked for."""
    fields, message = REFUSED[name]
    if not DECLARES_KINDS and name in RUNNING_STATES:
        pytest.skip("transformers 4 does not declare the kinds of these layers")
    config_of(fields).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        huggingface.load(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("name", RUNNING_STATES)
def test_running_states_are_found_without_a_declaration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the config silent, the gates behind it would refuse the model."""
    model = random_model(REFUSED[name][0])
    monkeypatch.setattr("draftwire.nodes.models.gates.refuse_declared", lambda config, name: None)
    with pytest.raises(UnsupportedModelError, match=r"rolled back|roll-back"):
        HuggingFaceModel(model, name=name)
    monkeypatch.setattr("draftwire.nodes.models.gates.refuse_stateful", lambda model, name: None)
    with pytest.raises(UnsupportedModelError, match=r"rolled back|roll-back"):
        HuggingFaceModel(model, name=name)


def test_a_model_of_another_kind_is_refused_after_a_trial() -> None:
    """An encoder sees what comes behind a token; its cached rows then differ from fresh ones."""
    model = random_model({"model_type": "bert"})
    with pytest.raises(UnsupportedModelError, match="after a roll-back its logits differ"):
        HuggingFaceModel(model, name="encoder")


def test_a_hidden_state_is_found_by_comparison() -> None:
    """A model that carries something over from pass to pass differs from a fresh pass and is refused."""
    model = random_model({"model_type": "llama"})
    passes = 0

    def drift(module: Any, inputs: Any, output: Any) -> Any:
        nonlocal passes
        passes += 1
        return output + 0.05 * passes

    model.model.layers[1].mlp.register_forward_hook(drift)
    with pytest.raises(UnsupportedModelError, match="after a roll-back its logits differ from a fresh pass"):
        HuggingFaceModel(model, name="drifting")


def test_missing_weights_are_refused(pair: tiny.TinyPair, tmp_path: Path) -> None:
    """Weights that transformers would fill with random numbers are an error that names them."""
    folder = shutil.copytree(pair.target, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=r"lacks weights .* model\.layers\.2\.\S+"):
        huggingface.load(str(folder))


@pytest.mark.parametrize(
    "file, message",
    [
        ("config.json", "tried the local files.*Check that the folder holds config.json"),
        ("model.safetensors", "tried the local files.*safetensors"),
    ],
)
def test_broken_folders_are_refused(pair: tiny.TinyPair, tmp_path: Path, file: str, message: str) -> None:
    """Absent or garbled files give one typed error with the name, what was tried, and a remedy."""
    folder = shutil.copytree(pair.target, tmp_path / "model")
    (folder / file).write_text("no such thing")
    with pytest.raises(UnsupportedModelError, match=message) as garbled:
        huggingface.load(str(folder))
    (folder / file).unlink()
    with pytest.raises(UnsupportedModelError, match=message) as absent:
        huggingface.load(str(folder))
    for caught in (garbled, absent):
        assert f"'{folder}'" in str(caught.value)
        assert caught.value.__suppress_context__


def test_pickled_weights_are_not_read(pair: tiny.TinyPair, tmp_path: Path) -> None:
    """A folder with pytorch_model.bin alone is refused: loading it would run its code."""
    folder = shutil.copytree(pair.target, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="safetensors"):
        huggingface.load(str(folder))


def test_a_name_that_is_neither_path_nor_hub_id_is_refused() -> None:
    """Nothing is looked up on the network for what can't be a hub id."""
    for name in ("nowhere", "./nowhere/model", "/nowhere", "a/b/c", "nowhere/all.gguf"):
        with pytest.raises(UnsupportedModelError, match="there is no such file or folder"):
            huggingface.load(name)


def test_a_hub_id_without_network_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline and not in the cache: the name, what was tried, and what to do, in one line."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnsupportedModelError) as caught:
        huggingface.load("nobody/nothing")
    text = str(caught.value)
    assert text.startswith("Cannot load 'nobody/nothing'; tried the local cache, then the hub: ")
    assert "pass a local folder" in text
    assert "\n" not in text
    assert caught.value.__suppress_context__


def test_settings_pass_through(pair: tiny.TinyPair) -> None:
    """dtype is applied; bfloat16 passes its own tolerance; a wrong one is refused by name."""
    assert huggingface.load(str(pair.target)).dtype == "float32"
    model = huggingface.load(str(pair.target), dtype="bfloat16")
    assert model.dtype == "bfloat16"
    logits = model.open().logits([1, 2, 3], 2)
    assert logits.dtype == np.float32
    assert_same(logits, reference(huggingface.load(str(pair.target)), [1, 2, 3], 2), tolerance=0.05)
    for dtype in ("int8", "float31", "nn"):
        with pytest.raises(UnsupportedModelError, match=f"dtype is '{dtype}'"):
            huggingface.load(str(pair.target), dtype=dtype)


def test_an_absent_device_is_refused_by_name(pair: tiny.TinyPair) -> None:
    """The message holds the device that was asked for."""
    with pytest.raises(UnsupportedModelError, match=r"on device 'nowhere:0'"):
        huggingface.load(str(pair.target), device="nowhere:0")


def test_loading_is_quiet_but_for_progress(pair: tiny.TinyPair, capfd: pytest.CaptureFixture[str]) -> None:
    """Bars and warnings of transformers are silenced; the sentence for `progress` is all there is."""
    said: list[str] = []
    huggingface.load(str(pair.draft), progress=said.append)
    assert said == [f"Loading {pair.draft}"]
    assert capfd.readouterr() == ("", "")


def write_gguf(folder: Path, file: Path) -> None:
    """A Llama folder as a GGUF file in fp32."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    writer: Any = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * len(tiny.SPECIAL_TOKENS) + [1] * 256)
    writer.add_token_merges(["a b"])  # an empty list can't be written
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in load_file(folder / "model.safetensors").items():
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:  # GGUF rotates neighbours, transformers halves
                rows, columns = weight.shape
                halves = weight.reshape(config[heads], 2, rows // config[heads] // 2, columns)
                weight = halves.swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(names.get_name(name, (".weight",)), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_the_same_model(
    llama: HuggingFaceModel, pair: tiny.TinyPair, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights from a GGUF file give the logits of the folder that it was made from."""
    file = tmp_path / "tiny.gguf"
    write_gguf(pair.target, file)
    said: list[str] = []
    model = huggingface.load(str(file), dtype="float32", progress=said.append)
    assert said == [f"Loading {file}, a GGUF file: this takes a while"]
    assert capfd.readouterr() == ("", "")
    assert model.context_length == llama.context_length
    tokens = list(range(40, 60))
    assert_same(model.open().logits(tokens, 5), llama.open().logits(tokens, 5))
