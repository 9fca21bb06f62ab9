"""`draftwire inspect` of a capture: a line a frame, one in full, and whatever its lines are."""

import gc
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import orjson
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from tests.codecs.golden_cases import CASES, SMALL_ROWS
from tests.harness.captures import captured_line, framed, write_capture

from draftwire.codecs.anatomy import dissect_frame
from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.messages import Commit, Reason, Refused
from draftwire.nodes.console import inspect
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.inspect import examine
from draftwire.nodes.console.inspect.examine import Examiner
from draftwire.nodes.console.inspect.listing import print_line
from draftwire.nodes.console.inspect.sources import Piece
from draftwire.nodes.console.inspect.words import Words
from draftwire.nodes.console.inspect.wrapping import wrapped

PING = framed(CASES["ping"])


def _conversation() -> list[tuple[str, bytes]]:
    commit = framed(CASES["commit"])
    return [
        ("up", framed(CASES["hello"])),
        ("up", framed(CASES["draft"])),
        ("up", framed(CASES["sparse_logits_plain"])),
        ("down", commit),
        ("down", commit),
    ]


def test_the_summary_of_awrite_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames and bytes by direction and kind, bits/entry, and tokens, each once, though it came twice."""
    frames = _conversation()
    path = write_capture(tmp_path / "c", frames)
    path.write_bytes(path.read_bytes() + b'{"at_s": 1')
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    up = sum(len(data) for way, data in frames if way == "up")
    assert re.search(rf"up +all +3 +{up} ", out)
    assert re.search(rf"down +Commit +2 +{2 * len(frames[3][1])} +{len(frames[3][1])} +100.0%", out)
    entries = sum(map(len, SMALL_ROWS))
    bits = 8 * len(encode_rows(SMALL_ROWS)) / entries
    assert f"3 in 1 block, {entries} entries, {bits:.2f} bits/entry" in out
    assert "5 frames in 4.00 s; 3 tokens committed" in out
    assert "the last line is cut" in out
    assert "2/3" in out and "stop" in out


def test_one_frame_and_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--frame shows one in full, -v each; a number that is not there is an error that says how many are."""
    path = str(write_capture(tmp_path / "c", _conversation()))
    assert main(["inspect", path, "--frame", "4", "--model", "none"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("#4 Commit, ") and "#5" not in out and "log_hash" in out
    assert main(["inspect", path, "-v", "--model", "none"]) == 0
    assert re.findall(r"^#(\d) ", capsys.readouterr().out, flags=re.MULTILINE) == ["1", "2", "3", "4", "5"]
    assert main(["inspect", path, "--frame", "2", "--model", "none", "--json"]) == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert (shown["number"], shown["direction"], shown["device"]) == (2, "up", "phone-1")
    assert main(["inspect", path, "--frame", "6"]) == 2
    assert "--frame: 6: there are 5" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", path, "--frame", "0"])


def test_a_refused_frame_of_awrite_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is counted and told, the others are shown, and the exit code is 1; so are those the link lost."""
    path = write_capture(tmp_path / "c", [("up", PING), ("down", PING[:-1])], lost="queue")
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
        data=framed(Refused(reason=Reason.BUSY, detail=detail)), at_s=1.0, direction="down", device="a"
    )
    print_line(console, Examiner(["none"]).examine(piece), Words("none"), began_s=0.0)
    lines = text.getvalue().splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 80
    assert " ".join("".join(f"{line[40:]} " for line in lines).split()).count("went wrong") == 4


def test_what_is_quoted_stays_whole() -> None:
    """A token's text is not broken at its spaces; what is wider than a line is, between words."""
    text = Text('at 3: " one" " two" three " four" "a long story of many words"')
    lines = [line.plain for line in wrapped(text, 16)]
    assert lines == ['at 3: " one"', '" two" three', '" four" "a long', "story of many", 'words"']
    assert [line.plain for line in wrapped(Text("x" * 20), 8)] == ["x" * 8, "x" * 8, "x" * 4]
    assert [line.plain for line in wrapped(Text(""), 8)] == [""]
    assert all(cell_len(line.plain) <= 8 for line in wrapped(Text("\u6f22" * 20), 8))


@pytest.mark.parametrize("case", ["sparse_logits_plain", "sparse_logits_large", "sparse_logits_dense"])
def test_rows_fit_in_a_line(case: str) -> None:
    """On a terminal of 80 columns."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, color_system=None, highlight=False)
    piece = Piece(data=framed(CASES[case]), at_s=1.0, direction="down", device="a")
    print_line(console, Examiner(["none"]).examine(piece), Words("none"), began_s=0.0)
    (line,) = text.getvalue().splitlines()
    assert len(line) <= 80 and line.endswith("bits/entry")


def test_what_lines_say_of_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another acceptance than rejection, drafts without rows, no more of them, and ids that are missing."""
    cases = {
        "open": "temperature 0.7, prompt",
        "open_auto": "temperature 1, auto, prompt of 2 tokens",
        "opened_coupled": "try 4, coupled, 3 tokens known",
        "draft": "at 40, K 8: 5 0 31995",
        "draft_path": "at 40: 5 6",
        "draft_nothing_more": "at 43: no more for now",
        "sparse_logits_one": "at 41: 1 x 8 plain",
        "commit_missing": "at 40: 9  ids are missing here",
    }
    path = write_capture(tmp_path / "c", [("up", framed(CASES[name])) for name in cases])
    assert main(["inspect", str(path), "--model", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, said in zip(lines, cases.values(), strict=False):
        assert said in line


def test_what_fields_say_of_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its flags by name, its rate; and what acceptance a number is."""
    path = tmp_path / "f"
    path.write_bytes(framed(CASES["opened_coupled"]))
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    for said in (r"acceptance +1 +coupled", r"plan\.flags +2 +early_stop", r"plan\.uplink_bps +2500000\n"):
        assert re.search(said, out), said
    path.write_bytes(framed(CASES["opened_pending"]))
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    for said in (r"acceptance +0 +rejection", r"pending\.plan\.flags +1 +blockwise", r"uplink_bps +0 +none"):
        assert re.search(said, out), said


def test_the_summary_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what stands behind the lines without it; with what shows frames it is an error."""
    path = str(write_capture(tmp_path / "c", _conversation()))
    assert main(["inspect", path]) == 0
    whole = capsys.readouterr().out
    assert main(["inspect", path, "--summary"]) == 0
    assert capsys.readouterr().out == whole.partition("\n\n")[2]
    for option in (["--json"], ["-v"], ["--frame", "1"]):
        assert main(["inspect", path, "--summary", *option]) == 2
        assert "--summary" in capsys.readouterr().err
    (tmp_path / "f").write_bytes(PING)
    assert main(["inspect", str(tmp_path / "f"), "--summary"]) == 2
    assert "is no capture" in capsys.readouterr().err


def test_a_line_longer_than_a_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the listing with an error, and is not read to its end."""
    line = captured_line("up", PING)
    longest = captured_line("up", bytes(MAX_FRAME_BYTES))
    (tmp_path / "c").write_bytes(line + longest + b"\0" * (2 * MAX_FRAME_BYTES + 2**17))
    assert main(["inspect", str(tmp_path / "c"), "--model", "none"]) == 2
    said = capsys.readouterr()
    assert "no frame's is so long" in said.err and len(said.out.splitlines()) == 2


def test_a_capture_whose_first_line_is_cut_is_read_line_by_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like any other: one without an end can be looked at."""
    line = captured_line("up", PING)
    endless = io.BufferedReader(_Endless(line))
    file = SimpleNamespace(readline=chain_lines([line[:40] + b"\n"], cast(BinaryIO, endless)))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file))
    assert main(["inspect", "-", "--frame", "2"]) == 0
    assert capsys.readouterr().out.startswith("#2 Ping, ")


def chain_lines(lines: list[bytes], file: BinaryIO) -> Callable[[int], bytes]:
    """A readline that has these lines first."""
    return lambda most: lines.pop(0) if lines else file.readline(most)


def test_lines_that_are_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are left out and counted, wherever they stand, and nothing else is."""
    path, line = tmp_path / "c", captured_line("up", PING)
    cut, odd = line[:30] + b"\n", captured_line("up", b"", frame="xy")
    path.write_bytes(cut + line + b"\n" + cut + b"\xff\n{}\n" + odd + line + line[:-9])
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "2 frames in" in out
    assert "5 lines are no frame of a capture, and left out; the last line is cut" in out
    assert main(["inspect", str(path), "--json"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 and "5 lines are no frame" in said.err
    path.write_bytes(line + cut + line[:-1])
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "2 frames in" in out and "1 line is no frame of a capture, and left out\n" in out


class _Endless(io.RawIOBase):
    """The same line for ever."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or self._line
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def test_one_frame_of_a_capture_without_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--frame reads no further than it must."""
    endless = io.BufferedReader(_Endless(captured_line("up", PING)))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=endless))
    assert main(["inspect", "-", "--frame", "3"]) == 0
    assert capsys.readouterr().out.startswith("#3 Ping, ")


def test_what_stands_before_a_frame_is_not_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the frames before it, only those that say whose tokens they are; so its texts are right."""
    taken = list[bytes]()

    def dissect(data: bytes, **tables: Any) -> Any:
        taken.append(data)
        return dissect_frame(data, **tables)

    monkeypatch.setattr(examine, "dissect_frame", dissect)
    frames = _conversation()
    path = write_capture(tmp_path / "c", frames)
    assert main(["inspect", str(path), "--frame", "4"]) == 0
    assert taken == [frames[0][1], frames[3][1]]
    assert "as if the tokens were" not in capsys.readouterr().out


def test_a_listing_keeps_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the capture is, those that were shown are gone."""
    alive = list[int]()

    def count(*args: Any, **options: Any) -> None:
        alive.append(sum(type(one) is Piece for one in gc.get_objects()))

    gc.collect()
    before = sum(type(one) is Piece for one in gc.get_objects())
    monkeypatch.setattr(inspect, "print_line", count)
    assert main(["inspect", str(write_capture(tmp_path / "c", [("up", PING)] * 12))]) == 0
    assert len(alive) == 12 and max(alive) <= before + 2


def test_tokens_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request by itself, though its Commits are sent anew or overlap."""
    commit = CASES["commit"]
    assert isinstance(commit, Commit)
    later = replace(commit, position=commit.position + 2)
    frames = [framed(commit), framed(later), framed(commit), framed(later), framed(commit, session=8)]
    path = write_capture(tmp_path / "c", [("down", data) for data in frames])
    assert main(["inspect", str(path), "--model", "none"]) == 0
    assert "; 8 tokens committed" in capsys.readouterr().out
