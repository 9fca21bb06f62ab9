"""Models of transformers from files and names: what is loaded, and one sentence for whatever can't be."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.harness.families import DECLARED, IS_5, RUNNING_STATES, assert_same, config_of

from draftwire.nodes.models import loading, tiny
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.huggingface import HuggingFaceModel


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyPair:
    return tiny.write_pair(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llama(pair: tiny.TinyPair) -> HuggingFaceModel:
    return loading.load(str(pair.target))


@pytest.mark.parametrize("name", DECLARED)
def test_models_without_roll_back_are_refused_by_reason(name: str, tmp_path: Path) -> None:
    """The config is enough: weights are not even looked for."""
    fields, message = DECLARED[name]
    if not IS_5 and name in RUNNING_STATES:
        pytest.skip("transformers 4 does not declare the kinds of these layers")
    config_of(name, fields).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        loading.load(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_missing_weights_are_refused(pair: tiny.TinyPair, tmp_path: Path) -> None:
    """Weights that transformers would fill with random numbers are an error that names them."""
    folder = shutil.copytree(pair.target, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=r"lacks weights .* model\.layers\.2\.\S+"):
        loading.load(str(folder))


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
        loading.load(str(folder))
    (folder / file).unlink()
    with pytest.raises(UnsupportedModelError, match=message) as absent:
        loading.load(str(folder))
    for caught in (garbled, absent):
        assert f"'{folder}'" in str(caught.value)
        assert caught.value.__suppress_context__


def test_pickled_weights_are_not_read(pair: tiny.TinyPair, tmp_path: Path) -> None:
    """A folder with pytorch_model.bin alone is refused: loading it would run its code."""
    folder = shutil.copytree(pair.target, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="safetensors"):
        loading.load(str(folder))


def test_a_name_that_is_neither_path_nor_hub_id_is_refused() -> None:
    """Nothing is looked up on the network for what can't be a hub id."""
    for name in ("nowhere", "./nowhere/model", "/nowhere", "a/b/c", "nowhere/all.gguf"):
        with pytest.raises(UnsupportedModelError, match="there is no such file or folder"):
            loading.load(name)


def test_a_hub_id_without_network_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline and not in the cache: the name, what was tried, and what to do, in one line."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnsupportedModelError) as caught:
        loading.load("nobody/nothing")
    text = str(caught.value)
    assert text.startswith("Cannot load 'nobody/nothing'; tried the local cache, then the hub: ")
    assert "pass a local folder" in text
    assert "\n" not in text
    assert caught.value.__suppress_context__


def test_settings_pass_through(pair: tiny.TinyPair) -> None:
    """dtype is applied; bfloat16 passes its own tolerance; a wrong one is refused by name."""
    assert loading.load(str(pair.target)).dtype == "float32"
    model = loading.load(str(pair.target), dtype="bfloat16")
    assert model.dtype == "bfloat16"
    logits = model.open().logits([1, 2, 3], 2)
    assert logits.dtype == np.float32
    assert_same(logits, loading.load(str(pair.target)).open().logits([1, 2, 3], 2), tolerance=0.05)
    for dtype in ("int8", "float31", "nn"):
        with pytest.raises(UnsupportedModelError, match=f"dtype is '{dtype}'"):
            loading.load(str(pair.target), dtype=dtype)


def test_an_absent_device_is_refused_by_name(pair: tiny.TinyPair) -> None:
    """The message holds the device that was asked for."""
    with pytest.raises(UnsupportedModelError, match=r"on device 'nowhere:0'"):
        loading.load(str(pair.target), device="nowhere:0")


def test_loading_is_quiet_but_for_progress(pair: tiny.TinyPair, capfd: pytest.CaptureFixture[str]) -> None:
    """Bars and warnings of transformers are silenced; the sentence for `progress` is all there is."""
    said: list[str] = []
    loading.load(str(pair.draft), progress=said.append)
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
    model = loading.load(str(file), dtype="float32", progress=said.append)
    assert said == [f"Loading {file}, a GGUF file: this takes a while"]
    assert capfd.readouterr() == ("", "")
    assert model.context_length == llama.context_length
    tokens = list(range(40, 60))
    assert_same(model.open().logits(tokens, 5), llama.open().logits(tokens, 5))
