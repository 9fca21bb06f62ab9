"""What `draftwire inspect` recognises, by content, and what is nothing to it."""

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.codecs.golden_cases import CASES, SMALL_ROWS
from tests.codecs.golden_tables import TABLES
from tests.harness.captures import framed

from draftwire.codecs.anatomy import dissect_frame
from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.probes import Probe
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.inspect import EXAMPLES
from draftwire.nodes.console.inspect.sources import Piece, SourceError, recognised

GOLDEN = Path(__file__).parents[2] / "codecs" / "golden"


PING = framed(CASES["ping"])


def _pieces(data: bytes, *, source: str = "x", block: bool = False) -> tuple[Piece, ...]:
    return tuple(recognised(io.BytesIO(data), source=source, block=block).pieces)


def _json(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    """What it prints for programs; it has ended well."""
    assert main(["inspect", *args, "--json"]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


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
    assert _pieces(text.encode()) == (Piece(data=DUMPED),)


@pytest.mark.parametrize("tool", ["xxd", "xxd -a", "hexdump -C", "od -t x1", "od -A x -t x1"])
def test_real_dumps(tool: str, tmp_path: Path) -> None:
    """What these tools really write is read back, with rows that they leave out."""
    command = tool.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    zeros = framed(Probe(stamp=0, reply_padding=0, padding=300))
    for data in (*(framed(CASES[case]) for case in ("open", "commit", "refused")), zeros, zeros + bytes(41)):
        (tmp_path / "f").write_bytes(data)
        text = subprocess.run([*command, tmp_path / "f"], capture_output=True, check=True, timeout=30).stdout
        assert _pieces(text) == (Piece(data=data),)


ROW = "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"00000000  {ROW}  |................|\n*\n00000030  d3  |.|\n00000031\n", 3),
        (f"00000000  {ROW}  |................|\n*\n00000040\n", 4),
        (f"0000000 {ROW}\n*\n0000040 d3\n0000041\n", 2),
        (f"00000000: {ROW.replace('  ', ' ')}  ................\n*\n00000030: d3   .\n", 3),
    ],
    ids=["hexdump", "to the end", "octal", "xxd -a"],
)
def test_rows_that_a_dump_leaves_out(text: str, count: int) -> None:
    """A `*` is as many rows like the one before as the next offset says."""
    (piece,) = _pieces(text.encode())
    assert piece.data == bytes(range(16)) * count + b"\xd3" * ("d3" in text)


@pytest.mark.parametrize(
    "text",
    [
        f"00000000  {ROW}  |................|\n*\n",
        f"00000000  {ROW}  |................|\n*\n00000038\n",
        f"00000000  {ROW}  |................|\n*\n00000000\n",
        f"00000000  {ROW}  |................|\n*\n7fffffffffffffff0\n",
        f"00000000  {ROW}  |................|\n*\nffffffff0\n",
    ],
    ids=["no offset", "no whole row", "backwards", "no offset at all", "too much"],
)
def test_rows_that_are_not_to_be_known(text: str) -> None:
    """Where the offsets do not say how many, or more than a frame holds, that is an error with the remedy."""
    with pytest.raises(SourceError, match=r"none of what|-v"):
        _pieces(text.encode())


def test_binary_and_golden_vectors() -> None:
    """Frames and blocks are told apart by their first byte, golden vectors by their keys."""
    block = encode_rows(SMALL_ROWS)
    assert _pieces(PING) == (Piece(data=PING),)
    assert _pieces(block) == (Piece(data=block, block=True),)
    assert _pieces(block.hex().encode()) == (Piece(data=block, block=True),)
    assert _pieces(b"\x90\x01", block=True) == (Piece(data=b"\x90\x01", block=True),)
    vector = {"message": "Ping", "fields": {"known": 3}, "frame": PING.hex()}
    assert _pieces(orjson.dumps(vector)) == (Piece(data=PING),)
    several = {"good": {"frame": PING.hex()}, "rows": {"block": block.hex()}}
    assert _pieces(orjson.dumps(several)) == (
        Piece(data=PING, name="good"),
        Piece(data=block, block=True, name="rows"),
    )


VECTORS = sorted([*GOLDEN.glob("frame_*"), *GOLDEN.glob("rows_*"), *GOLDEN.glob("refused_[fb]*")])


@pytest.mark.parametrize("form", ["file", "golden vector"])
def test_a_set_of_tables(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown as `tables show` does, for people and for programs; it has no frames."""
    path = tmp_path / "t"
    path.write_bytes(table_set_bytes(TABLES))
    vector = GOLDEN / "tables.json"
    given = str(path if form == "file" else vector)
    for options in ([], ["--json"]):
        assert main(["tables", "show", str(path), *options]) == 0
        wanted = capsys.readouterr().out
        assert main(["inspect", given, *options]) == 0
        assert capsys.readouterr().out == wanted.replace(str(path), given)
        assert TABLES.hash.hex() in wanted
    for option in (["--frame", "1"], ["-v"], ["--entries", "3"], ["--model", "none"], ["--tables", "none"]):
        assert main(["inspect", given, *option]) == 2
        error = capsys.readouterr().err
        assert "is a set of tables, and has no frames" in error and option[0].replace("-v", "--v") in error
    shown = _json(capsys, str(GOLDEN / "rows_tables_small.json"), "--tables", str(vector))
    assert shown[0]["block"]["tables"] == {"hash": TABLES.hash.hex(), "label": TABLES.label}


@pytest.mark.parametrize("name", ["absent", "absent.json", "odd.json", "text"])
def test_a_set_that_is_named_is_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --tables names and is none is an error, though no frame needs it."""
    (tmp_path / "f").write_bytes(PING)
    (tmp_path / "odd.json").write_bytes(b'{"file": "' + b"DWTABLE1".hex().encode() + b'"}')
    (tmp_path / "text").write_bytes(b"none")
    assert main(["inspect", str(tmp_path / "f"), "--tables", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert "--tables" in error and name in error


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
        (b"{}", "no frame, block or set of tables"),
        (b'{"frame": "xy"}', "not hexadecimal"),
        (b'{"frame": 7}', "no frame, block or set of tables"),
        (b'{"a": 1}\n{"b"', "no line of it is a frame of a capture"),
        (b'{"file": "' + b"DWTABLE9".hex().encode() + b'"}', "no set of tables"),
        (b"DWTABLE1 and no more", "no set of tables"),
    ],
)
def test_what_is_nothing_is_an_error(data: bytes, words: str) -> None:
    """One sentence that names the place and what can be given."""
    with pytest.raises(SourceError) as caught:
        _pieces(data, source="FILE")
    assert words in str(caught.value) and "FILE" in str(caught.value) and "--capture" in str(caught.value)


class _Zeros(io.RawIOBase):
    """For ever, behind a beginning."""

    def __init__(self, begin: bytes) -> None:
        self._begin, self.taken = begin, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._begin[: len(buffer)] or bytes(len(buffer))
        self._begin = self._begin[len(part) :]
        buffer[: len(part)] = part
        self.taken += len(part)
        return len(part)


@pytest.mark.parametrize("begin", [b"", b"\xd3\n", b"DWTABLE1"], ids=["zeros", "frame", "tables"])
def test_what_has_no_end(begin: bytes) -> None:
    """An error that says how much there can be, after no more than that has been read."""
    zeros = _Zeros(begin)
    with pytest.raises(SourceError, match=r"goes on behind \d+ MiB"):
        recognised(io.BufferedReader(zeros), source="x")
    assert zeros.taken <= (66 if begin.startswith(b"DW") else 17) * 2**20


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
