"""`draftwire inspect`: what it shows, and that no bytes can break it."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.codecs.golden_cases import CASES, sparse_logits
from tests.codecs.golden_tables import RANKED, TABLES
from tests.harness.captures import framed, write_capture
from tests.harness.outcomes import decision, link, step, write

from draftwire.codecs.control import CONTROL_KINDS, Event
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_CONTROL_DEPTH
from draftwire.codecs.messages import Hello, Reason, Refused, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.strategies import hostile_blocks, hostile_bytes
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.inspect.runs import print_run
from draftwire.nodes.console.record import record_of
from draftwire.runtime.errors import ConfigurationError

GOLDEN = Path(__file__).parents[2] / "codecs" / "golden"


PING = framed(CASES["ping"])


def _json(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    """What it prints for programs; it has ended well."""
    assert main(["inspect", *args, "--json"]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


# No bytes break it ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to overwrite."""
    return tmp_path_factory.mktemp("inspect") / "f"


PARSER = parser()


def _check_survives(path: Path, data: bytes, *options: str) -> None:
    """It ends with a code, or with an error for people."""
    path.write_bytes(data)
    args = PARSER.parse_args(["inspect", str(path), "--model", "none", "--tables", "none", *options])
    try:
        assert args.run(args) in (0, 1)
    except ConfigurationError as error:
        assert str(path) in str(error)


@settings(max_examples=50)
@given(data=hostile_bytes())
def test_hostile_frames(spot: Path, data: bytes) -> None:
    """Shown or refused, for people and for programs: nothing else comes of any bytes."""
    _check_survives(spot, data)
    _check_survives(spot, data.hex().encode(), "--json")


@settings(max_examples=25)
@given(data=hostile_blocks())
def test_hostile_blocks(spot: Path, data: bytes) -> None:
    """The same for blocks."""
    _check_survives(spot, data, "--block")


@settings(max_examples=60)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_hostile_files(spot: Path, data: bytes) -> None:
    """And for files that are anything."""
    _check_survives(spot, data)
    _check_survives(spot, b'{"frame": ' + data)
    _check_survives(spot, b'{"event": ' + data)


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
@pytest.mark.parametrize(("before", "behind"), [('{"a":', "}"), ("[", "]")], ids=["objects", "lists"])
def test_bodies_that_nest(spot: Path, before: str, behind: str, damaged: bool) -> None:
    """However deep, what is printed for programs is JSON; 254 levels are the most that is written."""
    args = PARSER.parse_args(["inspect", str(spot), "--json", "--tables", "none", "--model", "none"])
    for depth in (0, *range(5, 11), *range(246, 258), 1030):
        body = f'{{"node":"a","at_s":1.0,"fields":{before * depth}1{behind * depth}}}'.encode()
        head = bytes((0xD3, CONTROL_KINDS[Event])) + bytes(8)
        spot.write_bytes(head + (crc32(body, crc32(head)) ^ damaged).to_bytes(4, "big") + body)
        with redirect_stdout(io.StringIO()) as out:
            assert args.run(args) in (0, 1), depth
        shown = orjson.loads(out.getvalue())
        if damaged:  # all there is, then
            assert shown["fields"][-1]["name"] == ("fields" if depth < MAX_CONTROL_DEPTH else "body"), depth


def test_what_a_terminal_would_act_on_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text of a peer can't move the cursor, change colours or spell our markup; programs get it whole."""
    evil = "\x1b[31mred\x07\r\x7f\x9b\u202e\U000e0001[bold]x[/bold]"
    event = framed(Event(node=evil, at_s=1.0, fields={evil: evil}))
    frames = [("up", framed(Refused(reason=Reason.BUSY, detail=evil))), ("up", event)]
    path = write_capture(tmp_path / "c", frames, device=evil, lost=evil)
    for options in ([], ["-v"]):
        assert main(["inspect", str(path), *options]) == 0
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert r"\x1b[31mred" in out and "[bold]x" in out
    assert main(["inspect", str(path), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    for line in out.splitlines():
        shown = orjson.loads(line)
        assert (shown["device"], shown["lost"], shown["fields"][-1]["name"]) in (
            (evil, evil, "detail"), (evil, evil, "fields"),
        )  # fmt: skip
        assert shown["fields"][-1]["value"] in (evil, {evil: evil})


# What it shows ----------------------------------------------------------------------------------------------


def test_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest entries first, as many as asked for, with their texts where the vocabulary is known."""
    row = quantize([3, 40, 63], [0, -1, -8], vocab_size=64, tail=21)
    path = tmp_path / "f"
    path.write_bytes(framed(sparse_logits((row,))))
    (shown,) = _json(capsys, str(path), "--entries", "2", "--model", "synthetic:V=64")
    (told,) = shown["block"]["rows"]
    assert (told["position"], told["tail"], told["kept_mass"]) == (40, 21, row.kept_mass)
    assert [one["id"] for one in told["entries"]] == [3, 40]
    assert [one["weight"] for one in told["entries"]] == [row.weight_of(3), row.weight_of(40)]
    assert all(one["text"].startswith('"') for one in told["entries"])
    sections = shown["block"]["sections"]
    assert sum(part["bits"] for part in sections) == shown["block"]["bits"]
    assert shown["block"]["bits_per_entry"] == shown["block"]["bits"] / 3

    assert main(["inspect", str(path), "--entries", "all"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"gap quotients +\d+ +\d+", out) and "more entries" not in out
    assert "row 0, position 40, l = 3: tail 21, all but 2.4 to 2.9 % of the draft's mass" in out
    assert main(["inspect", str(path), "--entries", "1"]) == 0
    assert "2 more entries (--entries all)" in capsys.readouterr().out


def test_texts_need_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts are a guess where nothing says whose tokens they are, and are left out where something does."""
    path = tmp_path / "f"
    path.write_bytes(framed(CASES["commit"]))
    assert main(["inspect", str(path)]) == 0
    assert "as if the tokens were smollm2's" in capsys.readouterr().out
    assert _json(capsys, str(path))[0]["texts_guessed"]
    assert main(["inspect", str(path), "--model", "none"]) == 0
    assert "as if" not in capsys.readouterr().out
    frames = [("down", framed(CASES["commit"]))]
    assert main(["inspect", str(write_capture(tmp_path / "c", frames))]) == 0
    assert "as if the tokens were smollm2's" in capsys.readouterr().out

    hello = Hello(protocol_version=4, noise_version=1, vocab_size=49152, fingerprint=bytes(8))
    write_capture(path, [("up", framed(hello)), ("down", framed(CASES["commit"]))])
    shown = _json(capsys, str(path))
    assert [token["text"] for token in shown[1]["tokens"]] == [None] * 3 and not shown[1]["texts_guessed"]
    assert [token["origin"] for token in shown[1]["tokens"]] == ["accepted", "accepted", "corrected"]


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets are taken from --tables, else from this machine's folder; without them, the tag is told."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path, rows = tmp_path / "f", RANKED["tables_small"]
    message = SparseLogits(incarnation=sparse_logits(rows).incarnation, draft_epoch=1, start=4, rows=rows)
    path.write_bytes(encode_frame(message, session=1, sequence=1, tables=TABLES))
    assert main(["inspect", str(path)]) == 1
    out = capsys.readouterr().out
    assert "refused, tables at bit" in out and TABLES.tag.hex() in out

    folder = tmp_path / "draftwire" / "tables"
    folder.mkdir(parents=True)
    named = tmp_path / "named"
    for place, options in ((named, ["--tables", str(named)]), (folder / "a.tables", [])):
        place.write_bytes(table_set_bytes(TABLES))
        (shown,) = _json(capsys, str(path), *options)
        assert shown["block"]["tables"] == {"hash": TABLES.hash.hex(), "label": TABLES.label}
        assert "bucket counts" in [part["name"] for part in shown["block"]["sections"]]
        for told, row in zip(shown["block"]["rows"], rows, strict=True):
            assert {one["id"]: one["weight"] for one in told["entries"]} == {
                token: row.weight_of(token) for token in row.ids.tolist()
            }
    assert main(["inspect", str(path), "--tables", "none"]) == 1
    assert main(["inspect", str(path), "--tables", str(path)]) == 2
    assert "--tables" in capsys.readouterr().err


# Records ----------------------------------------------------------------------------------------------------


def _record(path: Path) -> Path:
    lines = [
        step(1, ends_s=2.0, position=13, seen=4, accepted=4, rows_bytes=800),
        link(0.5, 20e6),
        step(0, ends_s=1.0, position=10, k=32, rows_bytes=0),
        decision(0, at_s=1.0, k=320, gamma=4),
        {"event": "rows", "device": "device-1", "request": 7, "step": 0, "k": 32, "rows_bytes": 160,
         "draft_at_s": 0.8, "rows_at_s": 0.9},
    ]  # fmt: skip
    return write(path, lines)


def test_a_record_in_order_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line an event with node and name, and the summary of bytes, bits, K, gamma and alpha."""
    path = _record(tmp_path / "r")
    assert main(["inspect", str(path)]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["0.0000", "channel", "link"],
        ["0.4000", "controller", "rows"],
        ["0.5000", "target", "step"],
        ["0.5000", "controller", "decision"],
        ["1.5000", "target", "step"],
    ]
    assert "K 32 to 320; gamma 4; alpha 0.86" in summary
    (values,) = _json(capsys, str(path))
    assert values["rows_bytes"] == 960
    assert values["bits_per_entry"] == 8 * 960 / (4 * 32 + 4 * 320)
    assert (values["k"], values["gamma"], values["alpha"]) == ([32, 320], [4, 4], 6 / 7)


def test_a_record_of_drafts_that_are_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step tells what was right of all that it could judge, and a row that came alone counts as one."""
    hints = {"acceptance": "coupled", "rows_bytes": 0, "k": 32}
    lines = [
        step(0, ends_s=1.0, position=10, drafted=2, seen=3, accepted=2, **hints),
        step(1, ends_s=2.0, position=13, drafted=0, seen=1, accepted=1, alone=True, min_draft=2, **hints),
        step(2, ends_s=3.0, position=14, drafted=0, seen=0, accepted=0, alone=True, gamma=0, **hints),
        decision(2, at_s=3.0, k=32, gamma=4, rows=False, survives=[0.6**n for n in range(17)])
        | {"min_draft": 0, "uplink_bps": 2_000_000},
        {"event": "rows", "device": "device-1", "request": 7, "step": 0, "k": 32, "rows_bytes": 40,
         "draft_at_s": 0.8, "rows_at_s": 0.9},
    ]  # fmt: skip
    path = write(tmp_path / "r", lines)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "gamma 4, waits for all, 2 drafts at 10, since the step before 2 of 3 right, " in out
    assert "gamma 4, waits for 2, no draft had come, log of 13, since the step before 1 of 1 right" in out
    assert "target alone, log of 14" in out and "; right 0.75" in out
    assert "gamma 4, waits for 0 (best), uplink 2 Mbit/s" in out
    (values,) = _json(capsys, str(path))
    assert (values["rows_bytes"], values["bits_per_entry"], values["alpha"]) == (40, 10.0, 0.75)


def test_a_row_of_a_path_is_shown_and_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it has a second line or not: bits and entries are of messages. Summaries of records with blocks
    beside are of both.
    """
    hints = {"acceptance": "coupled", "rows_bytes": 0, "k": 32, "drafted": 2}
    row = {"event": "rows", "device": "device-1", "request": 7, "step": 0, "k": 32, "rows_bytes": 40}
    first, later = ({**row, "draft_at_s": at_s - 0.1, "rows_at_s": at_s} for at_s in (0.9, 1.4))
    lines = [
        {**first, "low": []},
        {**later, "low": []},
        step(0, ends_s=1.0, position=10, **hints),
        step(1, ends_s=2.0, position=13, **hints),
        {**first, "low": [0.5], "step": 1},
    ]
    path = write(tmp_path / "r", lines)
    record = record_of(path.read_bytes(), path)
    assert [one.positions for one in record.rows] == [0, 0, 1]
    assert main(["inspect", str(path)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in shown if line[1:3] == ["controller", "rows"]] == ["0.0000", "0.5000"]
    (values,) = _json(capsys, str(path))
    assert (values["rows_bytes"], values["bits_per_entry"]) == (80, 8 * 80 / 64)
    both = write(tmp_path / "both", [*lines, step(0, ends_s=9.0, position=10, request=8, k=32)])
    (values,) = _json(capsys, str(both))
    assert values["rows_bytes"] == 80 + 900
    assert values["bits_per_entry"] == 8 * 980 / (64 + 4 * 32)


def test_a_record_on_a_terminal(tmp_path: Path) -> None:
    """What does not fit goes on behind the margin of its event."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, color_system=None, highlight=False)
    path = _record(tmp_path / "r")
    print_run(console, record_of(path.read_bytes(), path))
    lines = text.getvalue().splitlines()
    continued = [line for line in lines if line.startswith(" " * 30)]
    assert continued and max(map(len, lines)) <= 80


def test_a_record_has_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option of frames on it is an error that says so; a record of nothing is one too."""
    path = str(_record(tmp_path / "r"))
    for option in (["--frame", "1"], ["--verbose"], ["--entries", "3"], ["--model", "none"], ["--summary"]):
        assert main(["inspect", path, *option]) == 2
        error = capsys.readouterr().err
        assert "is a record" in error and option[0] in error
    (tmp_path / "w").write_bytes(b'{"event": "weather"}\n')
    assert main(["inspect", str(tmp_path / "w")]) == 2
    assert "no event of a run" in capsys.readouterr().err
