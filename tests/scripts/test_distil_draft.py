import importlib
import re
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from draftwire.nodes.models.compact import CompactShape, load

SCRIPTS = Path(__file__).parents[2] / "scripts"
END = "<end>"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; it finds its siblings beside it, as it does when run by path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("distil_draft")


def sibling(name: str) -> Any:
    """A module beside the script."""
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama that knows bytes and has strong opinions, all of them random."""
    folder = tmp_path_factory.mktemp("target")
    alphabet = [END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    wrapped = make(tokenizer_object=tokenizer, eos_token=END)
    wrapped.chat_template = "{% for message in messages %}Q: {{ message['content'] }}\nA: {% endfor %}"
    wrapped.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.25,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of forty prompts."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("\n".join(f"What is {i} times {i % 7}?" for i in range(40)) + "\n\n", encoding="utf-8")
    return path


def shape(**changes: Any) -> CompactShape:
    """A small draft's shape."""
    given: dict[str, Any] = {
        "vocab_size": 257,
        "support_size": 200,
        "hidden": 16,
        "layers": 2,
        "heads": 2,
        "head_dim": 8,
        "mlp": 24,
        "context_length": 64,
        "rope_theta": 1e5,
    }
    return CompactShape(**{**given, **changes})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_stages_make_a_draft_that_loads_and_accepts(
    scripts: ModuleType, target: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a target and a prompts file to a measured draft; the loss falls; running again goes on."""
    work, out = tmp_path / "work", tmp_path / "out"
    common = ["--work", str(work), "--target", str(target), "--prompts", str(prompts)]
    generating = ["--workers", "2", "--slots", "8", "--max-answer", "24", "--max-held-out", "16"]
    small = ["--layers", "1", "--hidden", "32", "--heads", "2", "--mlp", "48", "--support", "200"]
    training = [*small, "--batch", "128"]

    scripts.main(["generate", *common, *generating, "--tokens", "400"])
    first = {path.name: path.read_bytes() for path in (work / "answers").iterdir()}
    scripts.main(["generate", *common, *generating, "--tokens", "1500"])
    after = {path.name: path.read_bytes() for path in (work / "answers").iterdir()}
    assert set(first) < set(after)
    assert all(after[name] == content for name, content in first.items())

    scripts.main(["train", *common, *training, "--seen", "2000"])
    scripts.main(["train", *common, *training, "--seen", "12000"])
    told = capsys.readouterr().out
    assert "going on at step" in told
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", told)]
    assert losses[-1] < 0.9 * losses[0]

    scripts.main(
        ["all", *common, *generating, *training, "--tokens", "1500", "--seen", "12000", "--out", str(out)]
    )
    assert load(out).support is not None
    assert PreTrainedTokenizerFast.from_pretrained(out).eos_token == END
    assert "Same first choice" in capsys.readouterr().out


@pytest.mark.slow
def test_answers_come_with_the_states_that_predict_them(
    scripts: ModuleType, target: Path, prompts: Path
) -> None:
    """States are those of the target over the whole sequence; every prompt is answered once."""
    generator = sibling("distil_answers")
    loaded = scripts.load_target(str(target))
    texts = prompts.read_text().splitlines()[:11]
    encoded = [scripts.encode(loaded.tokenizer, text) for text in texts]
    jobs = [generator.Job(index=i, temperature=float(i % 2), prompt=ids) for i, ids in enumerate(encoded)]
    found = list(
        generator.answer(
            loaded.model,
            iter(jobs),
            end_ids=frozenset({0}),
            slots=4,
            max_prompt=max(map(len, encoded)),
            max_answer=9,
            prefix=encoded[0][:5],
            seed=0,
        )
    )
    assert sorted(a.index for a in found) == list(range(11))
    for a in found:
        assert a.ids[: a.answer_start].tolist() == encoded[a.index]
        drawn = a.ids[a.answer_start :]
        assert len(drawn) == len(a.states) <= 9
        assert (len(drawn) == 9) or drawn[-1] == 0
        with torch.inference_mode():
            whole = loaded.model.model(a.ids[None, :-1].long()).last_hidden_state[0]
        states = whole[a.answer_start - 1 :].float()
        assert torch.linalg.norm(a.states.float() - states) < 0.05 * torch.linalg.norm(states)
        if a.temperature == 0:
            logits = a.states.float() @ loaded.model.lm_head.weight.float().T
            gap = logits.max(-1).values - logits.gather(1, drawn[:, None].long())[:, 0]
            assert (gap <= 0.02 * logits.abs().max()).all()  # bf16 may break a near tie either way


def test_sampling_follows_the_distribution(scripts: ModuleType) -> None:
    """Two-level draws have the frequencies of softmax(logits / T); T = 0 takes the best."""
    generator = sibling("distil_answers")
    logits = torch.randn(300, generator=torch.Generator().manual_seed(2)) * 2
    count, noise = 40_000, torch.Generator().manual_seed(3)
    drawn = generator.sample(logits.expand(count, -1), torch.full((count,), 0.7), noise)
    p = (logits.double() / 0.7).softmax(-1)
    share = torch.bincount(drawn, minlength=300).double() / count
    assert ((share - p).abs() <= 5 * (p * (1 - p) / count).sqrt() + 1 / count).all()
    greedy = generator.sample(logits[None], torch.zeros(1), noise)
    assert greedy.tolist() == [int(logits.argmax())]


def test_the_exported_draft_is_the_net_that_learned(scripts: ModuleType, tmp_path: Path) -> None:
    """Logits of the compact draft are those of the training net, up to the rounding of the file."""
    learner = sibling("distil_train")
    torch.manual_seed(0)
    support = np.sort(np.random.default_rng(0).choice(257, 200, replace=False))
    net = learner.DraftNet(shape(), support)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.frozen.normal_()
    net.export(tmp_path, context_length=64)
    ids = torch.randint(0, 257, (1, 30))
    with torch.inference_mode():
        expected = (net(ids)[0] @ net.head.T).numpy()
    found = load(tmp_path).open().logits(ids[0].tolist(), 30)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


@pytest.mark.parametrize("rejected", [False, True])
def test_the_gradient_by_hand_is_the_gradient(scripts: ModuleType, rejected: bool) -> None:
    """Both losses and their gradients are those that automatic differentiation finds, up to bf16."""
    learner = sibling("distil_train")
    torch.manual_seed(4)
    y = torch.randn(300, 16, requires_grad=True)
    head = torch.randn(50, 16, requires_grad=True)
    states = torch.randn(300, 24).to(torch.bfloat16)
    rows = (torch.randn(50, 24) * 0.5).to(torch.bfloat16)
    loss = learner._TeacherLoss.apply(y, head, states, rows, rejected)
    by_hand = torch.autograd.grad(loss, (y, head))
    log_p, log_q = (states.float() @ rows.float().T).log_softmax(-1), (y @ head.T).log_softmax(-1)
    if rejected:
        plain = 1 - torch.minimum(log_p.exp(), log_q.exp()).sum(-1).mean()
    else:
        plain = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    assert loss.item() == pytest.approx(plain.item(), rel=0.02)
    for ours, theirs in zip(by_hand, torch.autograd.grad(plain, (y, head)), strict=True):
        assert torch.linalg.norm(ours - theirs) < 0.05 * torch.linalg.norm(theirs)


def test_held_out_prompts_are_never_trained_on(scripts: ModuleType, tmp_path: Path) -> None:
    """Neither the built-in topics nor a file's prompts are on both sides, and the split is repeatable."""
    train, held_out = scripts.prompts(Namespace(prompts=None, seed=0))
    assert len(set(train)) == len(train) > 10_000
    assert len(set(held_out)) == 64
    assert not set(train) & set(held_out)
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(["one", "two", "", "two", "three "]), encoding="utf-8")
    args = Namespace(prompts=path, seed=0)
    train, held_out = scripts.prompts(args)
    assert sorted(train + held_out) == ["one", "three", "two"]
    assert scripts.prompts(args) == (train, held_out)


def test_a_work_folder_belongs_to_one_target(scripts: ModuleType, tmp_path: Path) -> None:
    """Answers of two prompt sets or targets can't be mixed by mistake."""
    args = scripts.parser().parse_args(["train", "--work", str(tmp_path), "--seed", "1"])
    loaded = scripts.Target(name="a", model=None, tokenizer=None, end_ids=frozenset())
    scripts.check_settings(args, loaded)
    scripts.check_settings(args, loaded)
    other = scripts.Target(name="b", model=None, tokenizer=None, end_ids=frozenset())
    with pytest.raises(SystemExit, match="--work"):
        scripts.check_settings(args, other)


def test_help_explains_the_stages(scripts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """--help names every stage and says what it makes."""
    with pytest.raises(SystemExit):
        scripts.main(["--help"])
    told = capsys.readouterr().out
    assert all(stage in told for stage in ("generate", "train", "export", "evaluate", "all"))
