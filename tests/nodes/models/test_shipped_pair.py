import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.compact import CompactDraft, load
from draftwire.nodes.models.pairs import shipped

needs_target = pytest.mark.skipif(
    shipped.packaged_gguf() is None, reason=f"the package {shipped.TARGET_PACKAGE} is not installed"
)

WORDS = (
    "the",
    "Penguins",
    "don't",
    "naïve",
    "東京",
    "x=3.14;",
    "\n\n",
    "  ",
    "\t",
    "🙂",
    "1,024",
    "<|im_end|>",
    "def f():",
)


@pytest.fixture(scope="module")
def draft() -> CompactDraft:
    """The draft as it ships."""
    return load(shipped.draft_folder())


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The tokenizer as it ships."""
    return AutoTokenizer.from_pretrained(shipped.draft_folder())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("DRAFTWIRE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts(count: int) -> list[str]:
    """Texts of words, scripts, spaces and special tokens, always the same ones."""
    chance = random.Random(5)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(count)]


def continued(draft: CompactDraft, prompt: Sequence[int], count: int) -> list[int]:
    """Greedy continuation of a prompt."""
    assert draft.support is not None
    tokens, context = list(prompt), draft.open()
    for _ in range(count):
        tokens.append(int(draft.support[context.logits(tokens, 1)[0].argmax()]))
    return tokens[len(prompt) :]


def test_the_shipped_folder_is_small_and_complete(draft: CompactDraft) -> None:
    """A device needs this folder only: weights of at most 20 MB, tokenizer, chat template, card."""
    folder = shipped.draft_folder()
    assert (folder / "draft.safetensors").stat().st_size <= 20_000_000
    assert "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").is_file()
    assert (draft.vocab_size, draft.context_length) == (49152, 2048)
    assert draft.support is not None
    assert len(draft.support) == 4096


def test_the_shipped_draft_goes_on_in_the_same_way(draft: CompactDraft, tokenizer: Any) -> None:
    """Greedy continuations repeat, end in real words, and don't depend on how the prompt was read."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What should I check before buying a used car?"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    first = continued(draft, prompt, 24)
    assert continued(draft, prompt, 24) == first
    assert len(set(first)) > 5
    assert tokenizer.decode(first).isprintable()
    context = draft.open()
    context.logits([*prompt, *first[:5], 0, 0], 3)
    rows = context.logits([*prompt, *first], len(first) + 1)
    assert [int(i) for i in draft.support[rows[:-1].argmax(-1)]] == first  # type: ignore[index]  # not None


def test_the_draft_can_say_that_an_answer_ends(draft: CompactDraft, tokenizer: Any) -> None:
    """The end of a turn is an id of the head, and likely behind a finished answer."""
    assert draft.support is not None
    turn = [{"role": "user", "content": "Translate into French: I like bread very much."}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    answer = tokenizer("J'aime beaucoup le pain.").input_ids
    row = draft.open().logits([*prompt, *answer], 1)[0]
    likeliest = draft.support[row.argsort()[-20:]]
    assert tokenizer.eos_token_id in likeliest


def test_the_shipped_tokenizer_reads_back_what_it_wrote(tokenizer: Any) -> None:
    """Decoding what was encoded gives the text again, special tokens included."""
    for text in texts(200):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


@needs_target
@pytest.mark.slow
def test_the_shipped_tokenizer_is_the_target_s() -> None:
    """Ids, texts and chat prompts agree with the tokenizer transformers builds from the target's GGUF."""
    source = shipped.packaged_gguf()
    assert source is not None
    ours = AutoTokenizer.from_pretrained(shipped.draft_folder())
    theirs = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    for text in texts(300):
        ids = theirs(text).input_ids
        assert ours(text).input_ids == ids
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        for turns in (chat, chat[1:]):
            assert ours.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=False
            ) == theirs.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert ours.eos_token_id == theirs.eos_token_id


@needs_target
@pytest.mark.slow
@pytest.mark.timeout(900)  # transformers takes its time to map tensor names
def test_the_target_is_converted_once_and_as_transformers_would(cache: Path) -> None:
    """The weights are transformers' own reading of the GGUF file in bf16; a second call finds them."""
    told: list[str] = []
    folder = shipped.target_folder(progress=told.append)
    assert folder is not None
    assert folder.parent == cache
    assert len(told) == 1
    assert shipped.target_folder(progress=told.append) == folder
    assert len(told) == 1
    assert [entry.name for entry in cache.iterdir()] == [folder.name]
    source = shipped.packaged_gguf()
    assert source is not None
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    read = read_by_transformers(source, model)
    ours = model.state_dict()
    assert {*read["tensors"], "lm_head.weight"} == set(ours)
    for name, theirs in read["tensors"].items():
        assert torch.equal(ours[name], torch.as_tensor(theirs).to(torch.bfloat16)), name
    for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "eos_token_id"):
        assert getattr(model.config, key) == pytest.approx(read["config"][key])
    assert model.config.rope_parameters["rope_theta"] == 100_000.0


def read_by_transformers(path: Path, model: Any) -> dict[str, Any]:
    """What transformers makes of a GGUF file for `model`: "config" and "tensors"."""
    loader: Any = load_gguf_checkpoint
    found: dict[str, Any] = loader(str(path), return_tensors=True, model_to_load=model)
    return found


def small_gguf(path: Path, tokens: list[str], *, architecture: str = "llama") -> Any:
    """Write a random Llama as a GGUF file, rotated the way GGUF wants it; the model it came from."""
    settings: dict[str, Any] = dict(  # rope_theta: transformers 4 takes it, 5 converts it
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(3)
    model: Any = LlamaForCausalLM(LlamaConfig(**settings)).bfloat16()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_token_list(tokens)
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(0)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inverse = {value: key for key, value in shipped._LAYER_TENSORS.items()}
    for name, tensor in model.state_dict().items():
        stem = name.removesuffix(".weight")
        array = tensor.float().numpy()
        if stem not in names:
            _, _, layer, kind = stem.split(".", 3)
            names[stem] = f"blk.{layer}.{inverse[kind]}"
            if kind.endswith(("q_proj", "k_proj")):
                heads = 4 if kind.endswith("q_proj") else 2
                array = array.reshape(heads, 2, -1, 16).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(f"{names[stem]}.weight", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def small_tokenizer(folder: Path, tokens: list[str]) -> Path:
    """A folder with a tokenizer of these tokens, as far as the conversion looks at it."""
    folder.mkdir()
    content = {"model": {"vocab": {token: i for i, token in enumerate(tokens)}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    return folder


def test_conversion_undoes_the_rotation_of_query_and_key(tmp_path: Path) -> None:
    """A model that went through a GGUF file has its weights and logits again, as transformers reads it."""
    tokens = [f"t{i}" for i in range(32)]
    model = small_gguf(tmp_path / "small.gguf", tokens)
    folder = tmp_path / "out"
    folder.mkdir()
    tokenizer = small_tokenizer(tmp_path / "tokenizer", tokens)
    shipped.convert_gguf(tmp_path / "small.gguf", folder, tokenizer=tokenizer, sha256="0" * 64)
    stored = load_file(folder / "model.safetensors")
    assert set(stored) == set(model.state_dict())
    theirs = read_by_transformers(tmp_path / "small.gguf", model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(stored[name], tensor), name
        assert torch.equal(torch.as_tensor(theirs["tensors"][name]).to(torch.bfloat16), tensor), name
    back = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.allclose(back(ids).logits, model.float()(ids).logits, atol=1e-5)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """Another architecture or another vocabulary is an error, not a model of noise."""
    tokens = [f"t{i}" for i in range(32)]
    tokenizer = small_tokenizer(tmp_path / "tokenizer", tokens)
    small_gguf(tmp_path / "falcon.gguf", tokens, architecture="falcon")
    with pytest.raises(UnsupportedModelError, match="falcon"):
        shipped.convert_gguf(tmp_path / "falcon.gguf", tmp_path, tokenizer=tokenizer, sha256="")
    small_gguf(tmp_path / "other.gguf", [*tokens[:-1], "else"])
    with pytest.raises(UnsupportedModelError, match="vocabulary"):
        shipped.convert_gguf(tmp_path / "other.gguf", tmp_path, tokenizer=tokenizer, sha256="")


def test_without_the_package_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks the package is told so by None, and takes the hub id."""
    monkeypatch.setattr(shipped, "TARGET_PACKAGE", "a-package-that-nobody-has-installed")
    assert shipped.target_folder(progress=print) is None
    assert shipped.TARGET_HUB_ID.count("/") == 1


def test_a_conversion_that_fails_leaves_nothing_behind(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half-written folder can be taken for a model, and nothing fills the disk."""
    tokens = [f"t{i}" for i in range(32)]
    small_gguf(tmp_path / "small.gguf", tokens)
    monkeypatch.setattr(shipped, "packaged_gguf", lambda: tmp_path / "small.gguf")
    with pytest.raises(UnsupportedModelError, match="vocabulary"):  # it is not the shipped tokenizer's
        shipped.target_folder(progress=lambda text: None)
    assert list(cache.iterdir()) == []


def test_the_shipped_tokenizer_loads_without_torch() -> None:
    """Who reads a prompt does not pay for what only the conversion of the target needs."""
    code = (
        "import sys\n"
        "from draftwire.nodes.models.catalogue import load_tokenizer\n"
        "load_tokenizer('smollm2', end='target')\n"
        "assert not {'torch', 'gguf', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
