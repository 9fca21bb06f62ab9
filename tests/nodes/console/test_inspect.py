"""`draftwire inspect`: what it recognises, what it shows, and that no bytes can break it."""

import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.codecs.golden_cases import CASES, SMALL_ROWS, sparse_logits
from tests.codecs.golden_tables import RANKED, TABLES
from tests.harness.outcomes import decision, link, step, write

from draftwire.codecs.anatomy import dissect_frame
from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.control import Event
from draftwire.codecs.frame import AnyMessage, encode_frame
from draftwire.codecs.messages import Hello, Reason, Refused, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.strategies import hostile_blocks, hostile_bytes
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.inspect import EXAMPLES
from draftwire.nodes.console.inspect.examine import Examiner
from draftwire.nodes.console.inspect.listing import print_line
from draftwire.nodes.console.inspect.sources import Piece, SourceError, recognised
from draftwire.nodes.console.inspect.words import Words
from draftwire.runtime.errors import ConfigurationError

GOLDEN = Path(__file__).parents[2] / "codecs" / "golden"


def _framed(message: AnyMessage, session: int = 7) -> bytes:
    return encode_frame(message, session=session, sequence=1)


PING = _framed(CASES["ping"])


def _capture(path: Path, frames: Sequence[tuple[str, bytes]], **more: Any) -> Path:
    lines = [
        orjson.dumps(
            {"at_s": 100.0 + i, "direction": way, "device": "phone-1", "frame": data.hex(), **more}
        )
        for i, (way, data) in enumerate(frames)
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def _json(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    """What it prints for programs; it has ended well."""
    assert main(["inspect", *args, "--json"]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


# What it recognises -----------------------------------------------------------------------------------------

XXD = """\
00000000: d30a 0102 0304 0a0b 0c0d 4f2a d387 b007  ..........O*....
00000010: 0001 0000 0007 6162 6364 6566 2020 6162  ......abcdef  ab
00000020: 7c7c                                     ||
"""
HEXDUMP = """\
00000000  d3 0a 01 02 03 04 0a 0b  0c 0d 4f 2a d3 87 b0 07  |..........O*....|
00000010  00 01 00 00 00 07 61 62  63 64 65 66 20 20 61 62  |......abcdef  ab|
00000020  7c 7c                                             ||||
00000022
"""
OD = """\
0000000 d3 0a 01 02 03 04 0a 0b 0c 0d 4f 2a d3 87 b0 07
0000010 00 01 00 00 00 07 61 62 63 64 65 66 20 20 61 62
0000020 7c 7c
0000022
"""
DUMPED = bytes.fromhex("d30a010203040a0b0c0d4f2ad387b00700010000000761626364656620206162" + "7c7c")


@pytest.mark.parametrize(
    "text",
    [
        DUMPED.hex(),
        DUMPED.hex().upper(),
        " ".join(f"{byte:02x}" for byte in DUMPED),
        ", ".join(f"0x{byte:02X}" for byte in DUMPED) + "\n",
        ":".join(f"{byte:02x}" for byte in DUMPED),
        "0x" + DUMPED.hex(),
        "\n".join(DUMPED.hex()[i : i + 8] for i in range(0, 68, 8)),
        XXD,
        HEXDUMP,
        OD,
    ],
    ids=["plain", "capitals", "spaces", "array", "colons", "prefix", "lines", "xxd", "hexdump", "od"],
)
def test_hexadecimal(text: str) -> None:
    """A dump in any of its usual forms is the bytes that it shows, whatever stands in its column of text."""
    assert recognised(text.encode(), source="x").pieces == (Piece(data=DUMPED),)


@pytest.mark.skipif(shutil.which("xxd") is None, reason="xxd is not installed")
def test_xxd_of_golden_frames(tmp_path: Path) -> None:
    """What xxd really writes is read back."""
    for case in ("open", "commit", "refused"):
        data = _framed(CASES[case])
        (tmp_path / "f").write_bytes(data)
        text = subprocess.run(["xxd", tmp_path / "f"], capture_output=True, check=True, timeout=30).stdout
        assert recognised(text, source="x").pieces == (Piece(data=data),)


def test_binary_and_golden_vectors() -> None:
    """Frames and blocks are told apart by their first byte, golden vectors by their keys."""
    block = encode_rows(SMALL_ROWS)
    assert recognised(PING, source="x").pieces == (Piece(data=PING),)
    assert recognised(block, source="x").pieces == (Piece(data=block, block=True),)
    assert recognised(block.hex().encode(), source="x").pieces == (Piece(data=block, block=True),)
    assert recognised(b"\x90\x01", source="x", block=True).pieces == (Piece(data=b"\x90\x01", block=True),)
    vector = {"message": "Ping", "fields": {"known": 3}, "frame": PING.hex()}
    assert recognised(orjson.dumps(vector), source="x").pieces == (Piece(data=PING),)
    several = {"good": {"frame": PING.hex()}, "rows": {"block": block.hex()}}
    assert recognised(orjson.dumps(several), source="x").pieces == (
        Piece(data=PING, name="good"),
        Piece(data=block, block=True, name="rows"),
    )


VECTORS = sorted([*GOLDEN.glob("frame_*"), *GOLDEN.glob("rows_*"), GOLDEN / "refused_frames.json"])


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_golden_vector(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is read, and refused where it should be."""
    (tmp_path / "t").write_bytes(table_set_bytes(TABLES))
    code = main(["inspect", str(path), "--model", "none", "--tables", str(tmp_path / "t")])
    out = capsys.readouterr().out
    refused = path.stem.startswith("refused")
    assert code == (1 if refused else 0), out
    assert ("refused, " in out) == refused


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds nothing"),
        (b"  \n", "holds nothing"),
        (b"once upon a time", "none of what can be inspected"),
        (b"d30", "none of what can be inspected"),
        (b"{}", "neither frame nor block"),
        (b'{"frame": "xy"}', "not hexadecimal"),
        (b'{"frame": 7}', "neither frame nor block"),
        (b'{"a": 1}\n{"b"', ":1: this line is no frame of a capture"),
        (b'{"at_s": 1, "direction": "up", "device": "a", "frame": "d3"}\n{}\n', ":2: this line is no frame"),
        (b'{"at_s": 1, "direction": "up", "device": "a", "frame": "d3"}\nx\n', ":2: this line is no JSON"),
    ],
)
def test_what_is_nothing_is_an_error(data: bytes, words: str) -> None:
    """One sentence that names the place and what can be given."""
    with pytest.raises(SourceError) as caught:
        recognised(data, source="FILE")
    assert words in str(caught.value) and "FILE" in str(caught.value) and "--capture" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the reason."""
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_example_of_the_help() -> None:
    """The frame that --help shows can be read."""
    (text,) = re.findall(r"echo ([0-9a-f]+) ", EXAMPLES)
    assert dissect_frame(bytes.fromhex(text)).refused is None


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`-` reads it."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PING)))
    (shown,) = _json(capsys, "-")
    assert (shown["message"], shown["bytes"]) == ("Ping", len(PING))


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


def test_what_a_terminal_would_act_on_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text of a peer can't move the cursor, change colours or spell our markup."""
    evil = "\x1b[31mred\x07\r\u202e[bold]x[/bold]"
    event = _framed(Event(node=evil, at_s=1.0, fields={evil: evil}))
    frames = [("up", _framed(Refused(reason=Reason.BUSY, detail=evil))), ("up", event)]
    path = _capture(tmp_path / "c", frames, device=evil, lost=evil)
    for options in ([], ["-v"]):
        assert main(["inspect", str(path), *options]) == 0
        out = capsys.readouterr().out
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", out)
        assert r"\x1b[31mred" in out and "[bold]x" in out


# What it shows ----------------------------------------------------------------------------------------------


def test_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest entries first, as many as asked for, with their texts where the vocabulary is known."""
    row = quantize([3, 40, 63], [0, -1, -8], vocab_size=64, tail=21)
    path = tmp_path / "f"
    path.write_bytes(_framed(sparse_logits((row,))))
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
    assert "position 40: tail 21" in out
    assert main(["inspect", str(path), "--entries", "1"]) == 0
    assert "2 more entries (--entries all)" in capsys.readouterr().out


def test_texts_need_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts are a guess where nothing says whose tokens they are, and are left out where something does."""
    path = tmp_path / "f"
    path.write_bytes(_framed(CASES["commit"]))
    assert main(["inspect", str(path)]) == 0
    assert "as if the tokens were smollm2's" in capsys.readouterr().out
    assert _json(capsys, str(path))[0]["texts_guessed"]
    assert main(["inspect", str(path), "--model", "none"]) == 0
    assert "as if" not in capsys.readouterr().out
    frames = [("down", _framed(CASES["commit"]))]
    assert main(["inspect", str(_capture(tmp_path / "c", frames))]) == 0
    assert "as if the tokens were smollm2's" in capsys.readouterr().out

    hello = Hello(protocol_version=4, noise_version=1, vocab_size=49152, fingerprint=bytes(8))
    _capture(path, [("up", _framed(hello)), ("down", _framed(CASES["commit"]))])
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


# Captures ---------------------------------------------------------------------------------------------------


def _conversation() -> list[tuple[str, bytes]]:
    commit = _framed(CASES["commit"])
    return [
        ("up", _framed(CASES["hello"])),
        ("up", _framed(CASES["draft"])),
        ("up", _framed(CASES["sparse_logits_plain"])),
        ("down", commit),
        ("down", commit),
    ]


def test_the_summary_of_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames and bytes by direction and kind, bits an entry, and tokens, each once, though it came twice."""
    frames = _conversation()
    path = _capture(tmp_path / "c", frames)
    path.write_bytes(path.read_bytes() + b'{"at_s": 1')
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    up = sum(len(data) for way, data in frames if way == "up")
    assert re.search(rf"up +all +3 +{up} ", out)
    assert re.search(rf"down +Commit +2 +{2 * len(frames[3][1])} +{len(frames[3][1])} +100.0%", out)
    entries = sum(map(len, SMALL_ROWS))
    bits = 8 * len(encode_rows(SMALL_ROWS)) / entries
    assert f"3 in 1 block, {entries} entries, {bits:.2f} bits an entry" in out
    assert "5 frames in 4.00 s; 3 tokens committed" in out
    assert "the last line is cut" in out
    assert "2/3" in out and "stop" in out


def test_one_frame_and_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--frame shows one in full, -v each; a number that is not there is an error that says how many are."""
    path = str(_capture(tmp_path / "c", _conversation()))
    assert main(["inspect", path, "--frame", "4", "--model", "none"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("#4 Commit, ") and "#5" not in out and "log_hash" in out
    assert main(["inspect", path, "-v", "--model", "none"]) == 0
    assert re.findall(r"^#(\d) ", capsys.readouterr().out, flags=re.MULTILINE) == ["1", "2", "3", "4", "5"]
    (shown,) = _json(capsys, path, "--frame", "2", "--model", "none")
    assert (shown["number"], shown["direction"], shown["device"]) == (2, "up", "phone-1")
    assert main(["inspect", path, "--frame", "6"]) == 2
    assert "--frame: 6: there are 5" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", path, "--frame", "0"])


def test_a_refused_frame_of_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is counted and told, the others are shown, and the exit code is 1; so are those the link lost."""
    path = _capture(tmp_path / "c", [("up", PING), ("down", PING[:-1])], lost="queue")
    assert main(["inspect", str(path)]) == 1
    out = capsys.readouterr().out
    assert "refused: checksum at bit 80" in out
    assert "2 lost on the link; 1 refused" in out


def test_a_line_fits_a_terminal() -> None:
    """Long facts go on in lines of their own below the first, none wider than 80 columns."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, color_system=None, highlight=False)
    detail = "a very long story about what went wrong " * 4
    piece = Piece(
        data=_framed(Refused(reason=Reason.BUSY, detail=detail)), at_s=1.0, direction="down", device="a"
    )
    print_line(console, Examiner(["none"]).examine(piece), Words("none"), began_s=0.0)
    lines = text.getvalue().splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 80
    assert " ".join("".join(f"{line[40:]} " for line in lines).split()).count("went wrong") == 4


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


def test_a_record_has_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--frame on it is an error that says so; a record of nothing is one too."""
    assert main(["inspect", str(_record(tmp_path / "r")), "--frame", "1"]) == 2
    assert "is a record" in capsys.readouterr().err
    (tmp_path / "w").write_bytes(b'{"event": "weather"}\n')
    assert main(["inspect", str(tmp_path / "w")]) == 2
    assert "no event of a run" in capsys.readouterr().err
