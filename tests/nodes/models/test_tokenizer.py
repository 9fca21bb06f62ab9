"""Text to ids and back: the light path, the way through transformers, and text that streams."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draftwire.nodes.models import tiny
from draftwire.nodes.models.base import ChatTemplateError, NoChatTemplateError, UnsupportedModelError
from draftwire.nodes.models.pairs import shipped
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.models.tokenizer import (
    AutoTokenizer,
    FastTokenizer,
    TextStream,
    Tokenizer,
    fingerprint,
    load_tokenizer_files,
    render_chat,
)

PROMPTS = ("What is 2 + 2?", "", "  two\n\nlines ", "Zoë wrote: 日本語 😀, <|im_end|> and all", "a" * 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_pair(tmp_path_factory.mktemp("tiny")).target


@pytest.fixture(scope="module")
def byte_tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer_files(str(folder))


def shipped_files(folder: Path) -> Path:
    """The shipped tokenizer in a folder with a config that transformers knows."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(shipped.draft_folder() / file, folder / file)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 2}))
    return folder


def through_transformers(folder: Path) -> AutoTokenizer:
    from draftwire.nodes.models.loading import load_auto_tokenizer

    tokenizer, eos_ids = load_auto_tokenizer(str(folder))
    return AutoTokenizer(tokenizer, eos_ids=eos_ids)


@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_both_ways_agree(which: str, folder: Path, tmp_path: Path) -> None:
    """The light path gives transformers' ids, chat format, ends and fingerprint."""
    files = folder if which == "tiny" else shipped_files(tmp_path)
    light, full = load_tokenizer_files(str(files)), through_transformers(files)
    assert isinstance(light, FastTokenizer)
    for prompt in PROMPTS:
        for chat in (True, False):
            ids = light.encode_prompt(prompt, chat=chat)
            assert ids == full.encode_prompt(prompt, chat=chat)
            assert light.decode(ids) == full.decode(ids)
    assert light.eos_ids == full.eos_ids
    assert light.vocab_size == full.vocab_size
    assert light.fingerprint == full.fingerprint


def test_a_chat_prompt_ends_where_the_answer_begins(byte_tokenizer: Tokenizer) -> None:
    """The template wraps the message and opens the answer; plain text stays as it is."""
    ids = byte_tokenizer.encode_prompt("hi")
    special = {tiny.SPECIAL_TOKENS.index(token): token for token in tiny.SPECIAL_TOKENS}
    text = "".join(special.get(token) or byte_tokenizer.decode([token]) for token in ids)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert byte_tokenizer.decode(byte_tokenizer.encode_prompt("hi", chat=False)) == "hi"
    assert byte_tokenizer.eos_ids == {0, 2}


def test_a_conversation_is_said_in_the_models_format(folder: Path) -> None:
    """Both ways agree on messages of all roles; a prompt is a conversation of one."""
    light, full = load_tokenizer_files(str(folder)), through_transformers(folder)
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "hi"},
    ]
    assert light.encode_chat(messages) == full.encode_chat(messages)
    assert light.encode_chat(messages[1:2]) == light.encode_prompt("hi") == full.encode_chat(messages[1:2])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content + 1 }}", "str"),
    ],
)
def test_a_template_that_fails_says_why(folder: Path, template: str, said: str) -> None:
    """What its author raises, and what Python does: one error, in the template's own words."""
    tokenizer = FastTokenizer((folder / "tokenizer.json").read_text(), template=template)
    with pytest.raises(ChatTemplateError) as failed:
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    assert said in failed.value.said


def test_without_a_template_there_are_no_messages(folder: Path) -> None:
    """An error of its own, by which a server knows what to say."""
    for tokenizer in (FastTokenizer((folder / "tokenizer.json").read_text()), SyntheticTokenizer(8)):
        with pytest.raises(NoChatTemplateError):
            tokenizer.encode_chat([{"role": "user", "content": "hi"}])


def test_a_model_without_a_template_gets_plain_text(folder: Path) -> None:
    """Base models have no chat format: the prompt is what they continue."""
    tokenizer = FastTokenizer((folder / "tokenizer.json").read_text())
    assert tokenizer.encode_prompt("hi") == tokenizer.encode_prompt("hi", chat=False)
    assert tokenizer.eos_ids == frozenset()


def test_the_light_path_needs_neither_torch_nor_transformers(folder: Path) -> None:
    """A device can read its prompt while torch is still being loaded."""
    code = (
        "import sys\n"
        "from draftwire.nodes.models.catalogue import load_tokenizer\n"
        f"print(load_tokenizer({str(folder)!r}, end='draft').encode_prompt('hi')[:1])\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[1]\n"), done.stderr


@pytest.mark.parametrize("kind", ["bytes", "words"])
@settings(max_examples=150)
@given(data=st.data())
def test_pieces_join_to_the_whole_text(kind: str, byte_tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Any ids in any portions, broken UTF-8 included: nothing is lost, changed or shown twice."""
    tokenizer = byte_tokenizer if kind == "bytes" else SyntheticTokenizer(300)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    stream = TextStream(tokenizer)
    pieces = []
    start = 0
    while start < len(ids):
        end = data.draw(st.integers(start + 1, len(ids)))
        pieces.append(stream.push(ids[start:end]))
        start = end
    pieces.append(stream.finish())
    assert "".join(pieces) == tokenizer.decode(ids)


def test_unfinished_characters_are_held_back(byte_tokenizer: Tokenizer) -> None:
    """One id a byte: a character of four bytes appears with the fourth, and never a half of it."""
    stream = TextStream(byte_tokenizer)
    ids = byte_tokenizer.encode_prompt("é😀!", chat=False)
    assert [stream.push([token]) for token in ids] == ["", "é", "", "", "", "😀", "!"]
    assert stream.finish() == ""
    assert stream.push(ids[:1]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(ids) == "é😀!"


def test_the_fingerprint_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    """Layout of the file and spelling of merges don't matter; tokens, ids, merges and normaliser do."""
    base = json.loads((folder / "tokenizer.json").read_text())
    compact = FastTokenizer(json.dumps(base))
    indented = FastTokenizer(json.dumps(base, indent=3, sort_keys=True))
    assert compact.fingerprint == indented.fingerprint
    assert len(compact.fingerprint) == 8
    vocabulary = {"a": 0, "b": 1, "ab": 2}
    reference = fingerprint(vocabulary, {"model": {"merges": ["a b"]}})
    assert reference == fingerprint(vocabulary, {"model": {"merges": [["a", "b"]]}, "normalizer": None})
    others = [
        fingerprint({"a": 1, "b": 0, "ab": 2}, {"model": {"merges": ["a b"]}}),
        fingerprint(vocabulary | {"c": 3}, {"model": {"merges": ["a b"]}}),
        fingerprint(vocabulary, {"model": {"merges": []}}),
        fingerprint(vocabulary, {"model": {"merges": ["a b"]}, "normalizer": {"type": "NFC"}}),
    ]
    assert len({reference, *others}) == 5


def test_templates_run_in_a_sandbox() -> None:
    """A template can't reach Python's internals; what it refuses is an error of the model."""
    message = [{"role": "user", "content": "hi"}]
    escape = "{{ messages.__class__.__base__.__subclasses__() }}"
    for template in (escape, "{{ raise_exception('roles must alternate') }}", "{% if %}"):
        with pytest.raises(UnsupportedModelError, match="chat template fails"):
            render_chat(template, message, special_tokens={})
    rendered = render_chat(
        "{{ bos_token }}{% for m in messages %}\n  {% if false %}{% break %}{% endif %}\n{{ m | tojson }}"
        "{% endfor %}",
        message,
        special_tokens={"bos_token": "<s>"},
    )
    assert rendered == '<s>{"role": "user", "content": "hi"}'


def test_a_template_file_and_named_templates_are_found(folder: Path, tmp_path: Path) -> None:
    """chat_template.jinja wins over tokenizer_config.json; of several named ones `default` is taken."""
    files = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((files / "tokenizer_config.json").read_text())
    config["chat_template"] = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "named"},
    ]
    config["eos_token"] = {"content": "<|im_start|>", "special": True}
    (files / "tokenizer_config.json").write_text(json.dumps(config))
    (files / "generation_config.json").unlink()
    tokenizer = load_tokenizer_files(str(files))
    assert tokenizer.decode(tokenizer.encode_prompt("hi")) == "named"
    assert tokenizer.eos_ids == {1, 2}  # the tokenizer's own, and that of config.json
    (files / "chat_template.jinja").write_text("from a file")
    tokenizer = load_tokenizer_files(str(files))
    assert tokenizer.decode(tokenizer.encode_prompt("hi")) == "from a file"


def test_broken_files_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    """Garbled JSON gives a typed error with file and folder; so does a folder without any tokenizer."""
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        files = shutil.copytree(folder, tmp_path / file)
        (files / file).write_text("{")
        with pytest.raises(UnsupportedModelError, match=rf"{file} of '{files}'"):
            load_tokenizer_files(str(files))
    (tmp_path / "empty").mkdir()
    said: list[str] = []
    with pytest.raises(
        UnsupportedModelError, match=f"Cannot load '{tmp_path / 'empty'}'; tried the local files"
    ):
        load_tokenizer_files(str(tmp_path / "empty"), progress=said.append)
    assert len(said) == 1


def test_hub_names_are_checked_before_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, an unknown hub id is one clear line; what can't be a hub id is refused at once."""
    with pytest.raises(UnsupportedModelError, match="it is not a hub id"):
        load_tokenizer_files("./nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnsupportedModelError, match=r"'nobody/nothing'; tried the local cache, then the hub"):
        load_tokenizer_files("nobody/nothing")
