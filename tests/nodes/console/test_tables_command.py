"""`draftwire tables`: learn a set, list those that are here, show one."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tests.harness.tables import usual_set

from draftwire.codecs.tables import table_set_bytes, table_set_from
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.tables.passages import (
    ANSWER_TOKENS,
    LEAD_TOKENS,
    WINDOW_TOKENS,
    Passage,
    drafted_rows,
    from_answers,
    from_files,
    split,
)
from draftwire.nodes.console.tables.report import Worth
from draftwire.nodes.console.tables.told import Learnt, Otherwise, warnings
from draftwire.nodes.console.tables.writing import write
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.catalogue import load_draft, load_target, load_tokenizer
from draftwire.nodes.models.tables import find_tables, tables_folder
from draftwire.runtime.errors import ConfigurationError

DRAFT = "synthetic:V=300,seed=3"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without sets, in an empty folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def text(name: str = "text.txt", *, words: int = 1500, seed: int = 0) -> Path:
    """A file of random words."""
    path = Path(name)
    rng = np.random.default_rng(seed)
    path.write_text(" ".join(f"word{n}" for n in rng.integers(0, 5000, words).tolist()), encoding="utf-8")
    return path


def learn(capfd: pytest.CaptureFixture[str], *words: str) -> Any:
    """The JSON of a run that ends well."""
    given = ["tables", "learn", "--draft", DRAFT, "--k", "4,16", "--tables", "2", "--json", *words]
    assert main(given) == 0
    return orjson.loads(capfd.readouterr().out.splitlines()[-1])


def fails(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a run ends with that can't be."""
    try:
        code = main(["tables", *words])
    except SystemExit as exit:  # what the options themselves refuse
        code = int(str(exit.code))
    said = capfd.readouterr()
    assert code == 2 and said.out == ""
    line = said.err.splitlines()[-1]
    assert line.startswith("draftwire: ")
    return line


def test_learn_from_text(capfd: pytest.CaptureFixture[str]) -> None:
    """A set goes to the user's folder by its hash, is for the draft's vocabulary, and nodes find it there."""
    said = learn(capfd, "--text", str(text()))
    path = Path(said["file"])
    assert path == tables_folder() / f"{said['hash']}.tables"
    found = table_set_from(path.read_bytes())
    assert [rung.k for rung in found.rungs] == [4, 16] and found.label == f"{DRAFT}: text.txt"
    tokenizer = load_tokenizer(DRAFT, end="draft")
    assert find_tables(None, vocab_size=300, fingerprint=tokenizer.fingerprint) == (found,)
    for rung in said["rungs"]:
        assert rung["source_model_bits"] < rung["bits_per_entry"]
        # Of a block of 4 rows: 6 bits a row are the tail, up to 7 fill the last byte.
        rest = rung["bits_per_entry"] - rung["ids_bits_per_entry"] - rung["levels_bits_per_entry"]
        assert 6 / rung["k"] < rest < (6 + 7) / rung["k"]
    assert said["learnt_rows"] + said["held_out_rows"] < 1500


def test_learn_again(capfd: pytest.CaptureFixture[str]) -> None:
    """The same text and seed give the same set; --out names its file, and nothing else is written."""
    path = str(text())
    first = learn(capfd, "--text", path, "--out", "a.tables")
    second = learn(capfd, "--text", path, "--out", "b.tables")
    assert Path("a.tables").read_bytes() == Path("b.tables").read_bytes()
    assert first["hash"] == second["hash"] and not tables_folder().exists()
    assert sorted(os.listdir()) == ["a.tables", "b.tables", "text.txt"]


def test_learn_from_answers(capfd: pytest.CaptureFixture[str]) -> None:
    """A target's answers are a text as well."""
    Path("prompts.txt").write_text("\n".join(f"question {n}" for n in range(8)), encoding="utf-8")
    target = "synthetic:V=300,seed=3"
    said = learn(capfd, "--prompts", "prompts.txt", "--target", target, "--rows", "800")
    assert said["learnt_rows"] + said["held_out_rows"] == 800
    assert said["label"].endswith("answers to prompts.txt")


def test_report_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a table, with a line for each K, and the file's name."""
    given = ["tables", "learn", "--draft", DRAFT, "--k", "4,16", "--tables", "1", "--out", "x.tables"]
    assert main([*given, "--text", str(text())]) == 0
    said = capfd.readouterr().out
    assert "x.tables: set " in said and " kB" in said and "held out (" in said
    assert [line.split()[0] for line in said.splitlines() if line.split()[:1] in (["4"], ["16"])] == [
        "4",
        "16",
    ]


def test_list_and_show(capfd: pytest.CaptureFixture[str]) -> None:
    """What was learnt is listed, what is damaged with what is wrong, and a file's content can be shown."""
    said = learn(capfd, "--text", str(text()))
    (tables_folder() / "zz.tables").write_bytes(b"no set, but long enough")
    assert main(["tables", "list", "--json"]) == 0
    listed = orjson.loads(capfd.readouterr().out)
    own = [one for one in listed["sets"] if not one["shipped"]]
    assert [one.get("hash") for one in own] == [said["hash"], None]
    assert "no set of tables" in own[1]["problem"] and not own[0]["problem"]
    assert main(["tables", "list"]) == 0
    assert str(tables_folder()) in capfd.readouterr().out
    assert main(["tables", "show", said["file"], "--json"]) == 0
    shown = orjson.loads(capfd.readouterr().out)
    assert shown["hash"] == said["hash"] and [rung["k"] for rung in shown["rungs"]] == [4, 16]
    assert main(["tables", "show", said["file"]]) == 0
    assert said["hash"] in capfd.readouterr().out


def _shipped(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    for module in ("console.tables.look", "models.tables"):
        monkeypatch.setattr(f"draftwire.nodes.{module}.shipped_tables", lambda: path)


def test_a_poor_set_is_no_secret(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The report holds the bits of the set that is used, warns of what is worse or lacking, and the shipped
    set stays in use where the new one is not named.
    """
    target = ("--prompts", "prompts.txt", "--target", DRAFT, "--rows", "3000")
    Path("prompts.txt").write_text("\n".join(f"question {n}" for n in range(8)), encoding="utf-8")
    shipped = learn(capfd, *target, "--out", "good.tables")
    assert shipped["otherwise"] == "" and not shipped["used"]
    _shipped(monkeypatch, Path("good.tables"))
    poor = text("other.txt")
    given = ["tables", "learn", "--draft", DRAFT, "--text", str(poor), "--k", "16", "--tables", "1"]
    assert main([*given, "--json"]) == 0
    out, err = capfd.readouterr()
    said = orjson.loads(out.splitlines()[-1])
    assert said["otherwise"] == shipped["hash"] and not said["used"]
    (rung,) = said["rungs"]
    other = table_set_from(Path("good.tables").read_bytes())
    assert rung["otherwise_bits_per_entry"] not in (rung["bits_per_entry"], rung["plain_bits_per_entry"])
    assert any("no tables for K = 4" in one for one in said["warnings"])
    assert any("held-out rows are few" in one for one in said["warnings"])
    assert all(f"warning: {one}" in err for one in said["warnings"])
    assert main(given) == 0
    out = capfd.readouterr().out
    assert shipped["hash"][:8] in out and "It is used before set" in out and said["file"] in out
    fingerprint = other.fingerprint
    assert find_tables(None, vocab_size=300, fingerprint=fingerprint)[0].hash.hex() == shipped["hash"]
    assert main(["tables", "list", "--json"]) == 0
    listed = orjson.loads(capfd.readouterr().out)["sets"]
    assert [(one["hash"], one["in_use"]) for one in listed] == [
        (shipped["hash"], True),
        (said["hash"], False),
    ]


def test_worse_figures_are_a_warning(tmp_path: Path) -> None:
    """Where the other set, or plain rows, take fewer bits, K and both figures are named."""
    one = Worth(k=320, tables=1, front=1, bits=6.1, ids=4, levels=2, plain=10.7, source=5)
    made = usual_set(400)
    other = Otherwise(tables=usual_set(400, seed=1), bits=(5.7,))
    learnt = Learnt(
        tables=made, path=tmp_path, worth=(one,), learnt_rows=9, held_out_rows=500, otherwise=other, used=True
    )
    (warning,) = warnings(learnt)
    assert f"more bits an entry than set {other.tables.hash.hex()[:8]}" in warning
    assert warning.endswith("K = 320 (6.10, not 5.70)")
    assert warnings(replace(learnt, otherwise=None)) == []
    plain = replace(learnt, otherwise=None, worth=(replace(one, plain=6.0),))
    assert "than plain rows at K = 320 (6.10, not 6.00)" in warnings(plain)[0]


def test_a_folder_that_is_none_is_found_out_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a model is loaded: nothing is computed for a set that can go nowhere."""
    Path("plain.file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(Path("plain.file").absolute()))
    monkeypatch.setattr("draftwire.nodes.console.tables.learn.load_tokenizer", lambda *_, **__: 1 / 0)
    line = fails(capfd, "learn", "--draft", DRAFT, "--text", str(text()))
    assert "XDG_DATA_HOME" in line and "is no folder" in line and "--out" in line


def test_a_set_outlives_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it can't be written at last it stands among temporary files, and the error says where and why."""
    made = usual_set(64)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "plain.file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "plain.file"))
    with pytest.raises(ConfigurationError) as caught:
        write(made, None)
    assert caught.value.key == "XDG_DATA_HOME"
    (kept,) = tmp_path.glob(f"{made.hash.hex()}-*.tables")
    assert str(kept) in caught.value.remedy and table_set_from(kept.read_bytes()) == made

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigurationError, match=r"--out: .*No space left.*make room"):
        write(made, tmp_path / "x.tables")


@pytest.mark.parametrize("at", ["collected", "measured"])
def test_who_stops_it_hears_what_is_left(
    at: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, before the set is written; its file, behind."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"draftwire.nodes.console.tables.learn.{at}", stop)
    words = ["tables", "learn", "--draft", DRAFT, "--text", str(text()), "--k", "4", "--out", "x.tables"]
    assert main(words) == 130
    last = capfd.readouterr().err.splitlines()[-1]
    left = "nothing was written" if at == "collected" else "the set is in x.tables"
    assert last == f"stopped; {left}"
    assert Path("x.tables").exists() is (at == "measured")


def test_without_a_terminal_there_is_a_line_a_stage(capfd: pytest.CaptureFixture[str]) -> None:
    """And less text than --rows asks for is said."""
    words = ["tables", "learn", "--draft", DRAFT, "--text", str(text()), "--k", "4", "--out", "x.tables"]
    assert main([*words, "--rows", "100000"]) == 0
    err = capfd.readouterr().err
    stages = ("rows to learn from: ", "held-out rows: ", "rungs: 1", "rungs measured: 1")
    assert all(stage in err for stage in stages)
    assert "fewer than the 100000 of --rows" in err


def test_list_for_people(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of use, the newest first, with ages; a path has a line to itself, however long."""
    tables_folder().mkdir(parents=True)
    now_s = 1e9
    monkeypatch.setattr("draftwire.nodes.console.tables.look.time.time", lambda: now_s)
    _shipped(monkeypatch, Path("none.tables"))
    sets = [usual_set(64, seed=seed) for seed in range(2)]
    for one, name, age_s in ((sets[0], "a" * 100, 7300), (sets[1], "b", 3 * 86_400)):
        path = tables_folder() / f"{name}.tables"
        path.write_bytes(table_set_bytes(one))
        os.utime(path, (now_s - age_s, now_s - age_s))
    (tables_folder() / "odd.tables").write_bytes(table_set_bytes(sets[0])[:-1])
    assert main(["tables", "list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    first, second = (next(i for i, line in enumerate(lines) if one.hash.hex() in line) for one in sets)
    assert first < second
    assert lines[first].startswith("* 1.") and "2 hours old" in lines[first] and " kB" in lines[first]
    assert lines[second].startswith("  2.") and "3 days old" in lines[second]
    assert lines[first + 2].strip() == str(tables_folder() / f"{'a' * 100}.tables")
    assert any("cut short" in line for line in lines) and any("copy it again" in line for line in lines)


def test_a_set_without_sizes_of_rows(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing measured is nothing, and not 0 bits."""
    usual = usual_set(64)
    bare = replace(usual, rungs=tuple(replace(rung, row_bits=0) for rung in usual.rungs))
    Path("bare.tables").write_bytes(table_set_bytes(bare))
    assert main(["tables", "show", "bare.tables"]) == 0
    assert "0.00" not in capfd.readouterr().out


def test_nothing_to_list(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no set, it says so, and where they would be."""
    _shipped(monkeypatch, Path("none.tables"))
    assert main(["tables", "list"]) == 0
    said = capfd.readouterr().out
    assert "no sets" in said and str(tables_folder()) in said


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--text or --prompts", "no text"]),
        (["--text", "a.txt", "--prompts", "b.txt"], ["two kinds of text"]),
        (["--text", "a.txt"], ["--text", "a.txt", "No such file"]),
        (["--text", "."], ["--text", "directory"]),
        (["--text", "short.txt"], ["--text", "too few", "more text"]),
        (["--text", "some.txt"], ["rows", "256 or more", "more text"]),
        (["--text", "bytes.txt"], ["--text", "not UTF-8"]),
        (["--prompts", "short.txt"], ["--target", "nobody to answer"]),
        (["--prompts", "short.txt", "--target", DRAFT], ["--prompts", "holds 1 prompts"]),
        (["--prompts", "two.txt", "--target", "synthetic:V=64"], ["--target", "another vocabulary"]),
        (["--text", "long.txt", "--k", "4,301"], ["--k", "301", "300 entries"]),
        (["--text", "long.txt", "--k", "5000"], ["--k", "4096"]),
        (["--text", "long.txt", "--k", ",".join(map(str, range(1, 34)))], ["--k", "33 rungs", "32"]),
        (["--text", "none.txt", "--label", "x" * 1025], ["--label", "1025 bytes", "1024"]),
        (["--text", "long.txt", "--tables", "65"], ["--tables", "64"]),
        (["--text", "long.txt", "--held-out", "1"], ["--held-out", "no share"]),
        (["--text", "long.txt", "--rows", "10"], ["--rows", "512"]),
        (["--text", "long.txt", "--out", "no/such/folder"], ["--out", "No such file"]),
        (["--text", "long.txt", "--draft", "no model"], ["--draft", "no model"]),
        (["--text", "long.txt", "--draft", "synthetic:V=300000"], ["300000 ids", "262144"]),
    ],
)
def test_bad_input(capfd: pytest.CaptureFixture[str], words: list[str], parts: list[str]) -> None:
    """What is wrong is said in one line that names the option and a remedy, and no file is left."""
    text("short.txt", words=5)
    text("some.txt", words=200)
    text("long.txt", words=900)
    Path("two.txt").write_text("one\ntwo\n", encoding="utf-8")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00\x81" * 200)
    before = sorted(os.listdir())
    draft = [] if "--draft" in words else ["--draft", DRAFT]
    line = fails(capfd, "learn", *draft, *words)
    assert all(part in line for part in parts), line
    assert sorted(os.listdir()) == before


def test_show_what_is_no_set(capfd: pytest.CaptureFixture[str]) -> None:
    """A file that is no set, or is not there, is refused by name."""
    assert "'text.txt': no set of tables" in fails(capfd, "show", str(text()))
    assert "No such file" in fails(capfd, "show", "absent.tables")


def test_windows_of_files() -> None:
    """Rows are spread over the whole of each text; the end of each is held out and never learnt from."""
    tokenizer = load_tokenizer(DRAFT, end="draft")
    paths = [text("a.txt", words=4000, seed=1), text("b.txt", words=2000, seed=2)]
    found = from_files(paths, tokenizer, rows=2000, held_out=0.25, context_length=10_000)
    texts = [tuple(tokenizer.encode_prompt(path.read_text(encoding="utf-8"))) for path in paths]
    for one in (*found.learnt, *found.held_out):
        assert len(one.tokens) <= WINDOW_TOKENS and one.start == LEAD_TOKENS
    for tokens in texts:
        cut = round(0.75 * len(tokens))
        assert any(_inside(one.tokens, tokens[:cut]) for one in found.learnt)
        assert any(_inside(one.tokens, tokens[cut:]) for one in found.held_out)
    assert all(any(_inside(one.tokens, t[: round(0.75 * len(t))]) for t in texts) for one in found.learnt)
    assert all(any(_inside(one.tokens, t[round(0.75 * len(t)) :]) for t in texts) for one in found.held_out)
    total = sum(one.rows for one in (*found.learnt, *found.held_out))
    assert 2000 <= total <= 2000 + len(found.learnt) + len(found.held_out)


def test_many_short_texts_give_no_more_than_asked_for() -> None:
    """A share of the rows is held out, not a passage of every text."""
    tokenizer = load_tokenizer(DRAFT, end="draft")
    paths = [text(f"{n}.txt", words=400, seed=n) for n in range(20)]
    found = from_files(paths, tokenizer, rows=4000, held_out=0.1, context_length=10_000)
    learnt, held_out = (sum(one.rows for one in some) for some in (found.learnt, found.held_out))
    assert 3600 <= learnt <= 3600 + len(found.learnt) and 400 <= held_out <= 400 + len(found.held_out)


def test_a_share_of_answers_is_one_of_rows() -> None:
    """Short answers at the end are many for one share."""
    answers = [Passage(tokens=(0,) * (1 + rows), start=1) for rows in (80, 80, 20, 5, 5, 5, 5)]
    parts = split(answers, held_out=0.2)
    assert sum(one.rows for one in parts.held_out) == 40


def test_answers() -> None:
    """Answers stop at their length, a prompt is asked again where they run out, and the last are held out."""
    tokenizer, target = load_tokenizer(DRAFT, end="target"), load_target(DRAFT)
    made = list(from_answers(["one", "two words"], tokenizer, target, rows=300, context_length=1000, seed=1))
    assert [one.start for one in made] == [1, 2, 1] and sum(one.rows for one in made) == 300
    assert [one.rows for one in made[:2]] == [ANSWER_TOKENS] * 2
    parts = split(made, held_out=0.34)
    assert (parts.learnt, parts.held_out) == (tuple(made[:2]), tuple(made[2:]))


def test_rows_are_those_of_the_draft() -> None:
    """A row holds the largest logits behind the tokens before it, by falling logit."""
    tokenizer, draft = load_tokenizer(DRAFT, end="draft"), load_draft(DRAFT)
    (answer,) = from_answers(["a b c"], tokenizer, load_target(DRAFT), rows=100, context_length=500, seed=2)
    ((ids, logits),) = drafted_rows([answer], draft, width=20)
    assert ids.shape == logits.shape == (100, 20) and (logits[:, 0] == 0).all()
    context = draft.open()
    for row in (0, 63, 64, 99):
        whole = context.logits(answer.tokens[: answer.start + row], 1)[0]
        assert ids[row].tolist() == np.argsort(-whole, kind="stable")[:20].tolist()
        np.testing.assert_allclose(logits[row], whole[ids[row]] - whole.max(), atol=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_draft_that_computes_no_numbers(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is learnt from logits that are none: the error names them."""
    draft = load_draft(DRAFT)
    broken = np.zeros((3, draft.vocab_size), np.float32)
    broken[1, 7] = wrong
    monkeypatch.setattr(type(draft.open()), "logits", lambda context, tokens, rows: broken)
    with pytest.raises(UnsupportedModelError, match=r"largest logit is (nan|inf)"):
        list(drafted_rows([Passage(tokens=(1, 2, 3, 4), start=1)], draft, width=4))


def _inside(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
