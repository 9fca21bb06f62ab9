"""Traces from texts and files, those that ship, and who finds which by what name."""

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.link_specs import TRACES, link_specs, schedules

from draftwire.runtime.config import load_topology, parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import (
    LinkSchedule,
    LinkSpec,
    Trace,
    parse_csv,
    parse_link,
    parse_mahimahi,
    parse_schedule,
    shipped_trace,
    trace_at,
    traces_beside,
    with_paths_from,
)
from draftwire.runtime.link import traces as module
from draftwire.runtime.link.curves import Opportunities, Steps

CSV = "time_s,rate_bps\n0,1e6\n1.5,0\n3,\n"
DRIVE = Steps([0, 1.5, 3], [1e6, 0])


def test_mahimahi_is_a_stamp_a_line() -> None:
    """Each line is a chance to send 1500 bytes; several may fall together, line ends may be those of DOS."""
    for text in ("1\n2\n2\n5\n", "1\n2\n2\n5", "1\r\n2\r\n2\r\n5\r\n", " 1\n2\n02\n5\n", "\ufeff1\n2\n2\n5"):
        assert parse_mahimahi(text, name="x") == Trace(name="x", curve=Opportunities([1, 2, 2, 5]))
    assert parse_mahimahi("0\n3\n", name="x").mean_rate_bps == pytest.approx(8e6)


@pytest.mark.parametrize(
    ("text", "curve"),
    [
        (CSV, DRIVE),
        ("# a note\ntime_s,rate_bps\n# another one\n0,1e6\n1.5,0\n3,7\n", DRIVE),
        ("time_s,rate_bps\n0,1e6\n1.5,0\n3", DRIVE),
        ("TIME_MS, Rate_kbps\r\n0, 1000\r\n1500, 0\r\n3000, 0\r\n", DRIVE),
        ("rate_mbps,time_s\n1,0\n0,1.5\n,3\n", DRIVE),
        ("time_s,rate_bps,delay_s\n0,1e6,.01\n1.5,0,.02\n3,,\n", Steps([0, 1.5, 3], [1e6, 0], [0.01, 0.02])),
        ("time_s,delay_ms,rate_bps\n0,10,1e6\n1.5,20,0\n3\n", Steps([0, 1.5, 3], [1e6, 0], [0.01, 0.02])),
    ],
)
def test_csv_has_a_head_and_columns_in_any_order(text: str, curve: Steps) -> None:
    """A line holds from its time on; the last only ends the round. Units stand in the head."""
    assert parse_csv(text, name="x") == Trace(name="x", curve=curve)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace: 'x' is empty; write lines as docs/link.md shows them"),
        ("\n", "trace: 'x' is empty; write lines as docs/link.md shows them"),
        ("1\n\n2\n", "trace: 'x', line 2: the line is empty; leave no line empty"),
        ("1\n2\n\n", "trace: 'x', line 3: the line is empty; leave no line empty"),
        ("5\n4\n", "trace: 'x', line 2: 4 ms stands behind 5 ms; sort the stamps"),
        ("0\n0\n", "trace: 'x', line 2: the last stamp is 0 ms, and it ends the round; end with a stamp of"),
        ("1.5\n", "trace: 'x', line 1: '1.5' is no whole number; write a time in ms a line, each a chance t"),
        ("-1\n", "trace: 'x', line 1: '-1' is no whole number; write a time in ms a line"),
        ("1\nabc\n", "trace: 'x', line 2: 'abc' is no whole number; write a time in ms a line"),
        ("٣\n", "trace: 'x', line 1: '٣' is no whole number"),
        ("9" * 5000, f"trace: 'x', line 1: '{'9' * 40}' is no whole number"),
        ("0,1e6\n", "trace: 'x', line 1: '0,1e6' is no time in ms; name the file .csv if it has columns"),
        ("99999999999999\n", "trace: 'x': the last stamp is 99999999999999 ms; it ends the round: write 1 m"),
        ("1\n" * 90_000, "trace: 'x': 90000 opportunities in 1 ms are too many; 1 Tbit/s is the fastest"),
    ],
)
def test_what_is_no_mahimahi_trace(text: str, message: str) -> None:
    """Each mistake names the file, the line, what is wrong with it and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        parse_mahimahi(text, name="x")
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace: 'x' is empty"),
        ("# note\n", "trace: 'x', line 1: there is no head line; begin with 'time_s,rate_bps' or"),
        ("0,1e6\n1,0\n", "trace: 'x', line 1: '0,1e6' is no head line; begin with 'time_s,rate_bps' or"),
        ("time_s;rate_bps\n", "trace: 'x', line 1: 'time_s;rate_bps' is no head line; begin with"),
        ("time_s,rate\n", "trace: 'x', line 1: no column 'rate'; did you mean 'rate_"),
        ("time_s,rate_bps,loss\n", "trace: 'x', line 1: no column 'loss'; known: delay_ms, delay_s, rate_bp"),
        ("time_s,time_ms,rate_bps\n", "trace: 'x', line 1: there are 2 columns of the time; keep one of the"),
        ("time_s,delay_s\n", "trace: 'x', line 1: there is no column of the rate; begin with 'time_s,rate_"),
        ("time_s,rate_bps\n", "trace: 'x', line 1: there is no step; write a step at least, and behind the"),
        ("time_s,rate_bps\n0,1\n", "trace: 'x', line 2: there is no step; write a step at least"),
        ("time_s,rate_bps\n0,1\n\n1,0\n", "trace: 'x', line 3: the line is empty; leave no line empty"),
        ("time_s,rate_bps\n1,1\n2,0\n", "trace: 'x', line 2: the first time is 1 s; begin at 0: take it off"),
        ("time_s,rate_bps\n0,1\n0,2\n", "trace: 'x', line 3: 0 s is not behind 0 s, the line before; let th"),
        ("#\ntime_s,rate_bps\n0,1\n2,2\n1,1\n", "trace: 'x', line 5: 1 s is not behind 2 s, the line before"),
        ("time_s,rate_bps\n0,nan\n1,0\n", "trace: 'x', line 2: 'nan' is no number; write the rate in digits"),
        ("time_s,rate_bps\nnan,1\n1,0\n", "trace: 'x', line 2: 'nan' is no number; write the time in digits"),
        ("time_s,rate_bps\n0,-1\n1,0\n", "trace: 'x', line 2: a rate of -1 bit/s is out of range; write 1 "),
        (
            "time_s,rate_bps\n0,1e-300\n1,0\n",
            "trace: 'x', line 2: a rate of 1e-300 bit/s is out of range; write 1 to 1000000000000 bit/s, or ",
        ),
        ("time_s,rate_bps\n0,1_000\n1,0\n", "trace: 'x', line 2: '1_000' is no number; write the rate in d"),
        ("time_s,rate_bps\n0,\u0665\n1,0\n", "trace: 'x', line 2: '\u0665' is no number; write the rate in"),
        ("time_s,rate_bps\n0,inf\n1,0\n", "trace: 'x', line 2: 'inf' is no number; write the rate in digits"),
        ("time_s,rate_mbps\n0,2e6\n1,0\n", "trace: 'x', line 2: a rate of 2e+12 bit/s is out of range; writ"),
        ("time_s,rate_bps,delay_s\n0,1,61\n1\n", "trace: 'x', line 2: a delay of 61 s is out of range; writ"),
        ("time_s,rate_bps\n0,fast\n1,0\n", "trace: 'x', line 2: 'fast' is no number; write the rate in digi"),
        ("time_s,rate_bps\n0,\n1,0\n", "trace: 'x', line 2: '' is no number; write the rate in digits"),
        ("time_s,rate_bps\n0,1,2\n1,0\n", "trace: 'x', line 2: '0,1,2' has 3 values, and the head 2; write"),
        ("time_s,rate_bps\n0\n1,0\n", "trace: 'x', line 2: '0' has 1 values, and the head 2; write one for"),
        ("rate_bps,time_s\n1,0\n1\n", "trace: 'x', line 3: '1' has 1 values, and the head 2; write one for"),
        ("time_s,rate_bps\n0,0\n1,0\n", "trace: 'x': no step carries anything; write 'rate 0' for an outage"),
    ],
)
def test_what_is_no_csv_trace(text: str, message: str) -> None:
    """The same of CSV."""
    with pytest.raises(ConfigurationError) as caught:
        parse_csv(text, name="x")
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


_PIECES = ["0", "1", "5", "\n", "\n", ",", "time_s", "rate_bps", "delay_ms", "#", "nan", "-", "1e9", "\r"]
_texts = st.text() | st.lists(st.sampled_from(_PIECES)).map("".join)


@given(_texts, st.sampled_from([parse_csv, parse_mahimahi]))
def test_any_text_is_a_trace_or_one_error(text: str, parse: Any) -> None:
    """Whatever a file holds, the answer is a trace or ConfigurationError."""
    try:
        trace = parse(text, name="x")
    except ConfigurationError as error:
        assert error.remedy and error.key == "trace"
    else:
        assert trace.mean_rate_bps > 0


def test_files_are_told_by_their_names(tmp_path: Path) -> None:
    """.csv is CSV, all else is Mahimahi; a file that changed is read again."""
    (tmp_path / "drive.CSV").write_text(CSV)
    (tmp_path / "drive.up").write_text("1\n4\n")
    assert trace_at(tmp_path / "drive.CSV") == Trace(name=str(tmp_path / "drive.CSV"), curve=DRIVE)
    assert trace_at(str(tmp_path / "drive.up")).curve == Opportunities([1, 4])
    (tmp_path / "drive.up").write_text("1\n4\n6\n")
    assert trace_at(tmp_path / "drive.up").curve == Opportunities([1, 4, 6])


def test_what_can_not_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing files, folders, pipes, devices, binary rubbish and giants are errors, and nothing hangs."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "zeros").write_bytes(bytes(1000))
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for name, said in {
        "missing": "No such file or directory; name a file that can be read, or a trace that ships",
        ".": "no file",
        "pipe": "no file",
        "/dev/zero": "no file",
        "a\0b": "no path",
        "binary": "not UTF-8 text",
        "zeros": "line 1: ",
        "empty": "is empty",
        "x" * 5000: "File name too long",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            traces_beside(tmp_path)(name)
        assert said in str(caught.value), name
        assert caught.value.remedy
    monkeypatch.setattr(module, "MAX_TRACE_BYTES", 10)
    (tmp_path / "large").write_text("1\n" * 6)
    with pytest.raises(ConfigurationError, match=r"'.*/large' has 0 MiB; cut it to 0 MiB"):
        trace_at(tmp_path / "large")


def test_unreadable_files_are_errors_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be opened although it is there is told as such."""
    (tmp_path / "closed.up").write_text("1\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigurationError, match=r"closed.up': Permission denied"):
        trace_at(tmp_path / "closed.up")


def test_a_name_is_a_shipped_trace_first_and_a_path_from_the_folder_else(tmp_path: Path) -> None:
    """A trace of a file has its absolute path for a name, which is found from everywhere."""
    (tmp_path / "my drive.csv").write_text(CSV)
    (tmp_path / "lte-like").write_text("1\n")
    find = traces_beside(tmp_path)
    assert find("my drive.csv").name == find("./my drive.csv").name == str(tmp_path / "my drive.csv")
    assert find("lte-like") == shipped_trace("lte-like")
    assert find("./lte-like").curve == Opportunities([1])
    link = parse_link("trace 'my drive.csv' delay 5ms", find_trace=find)
    assert parse_link(str(link), find_trace=traces_beside("/")) == link


def test_paths_in_words_become_absolute(tmp_path: Path) -> None:
    """Of a link or a schedule, however it is quoted; words without paths stay as they were written."""
    same = "rate 1mbit;  5s TRACE lte-like; repeat 9s"
    assert with_paths_from("/a b", same) == same
    assert with_paths_from("/a", "trace 'no end") == "trace 'no end"
    assert with_paths_from("/a", "") == ""
    found = with_paths_from("/a b", "trace ../x.csv delay 5ms 1ms 25%; 5s  trace './my;drive.csv' loss 1%")
    assert found == "trace /x.csv delay 5ms 1ms 25%; 5s trace '/a b/my;drive.csv' loss 1%"
    assert with_paths_from("/other", found) == found
    assert with_paths_from("/a", "trace ~/x.up") == f"trace {os.path.expanduser('~/x.up')}"


@given(schedules(links=link_specs(), pauses=st.floats(0.0011, 1000), at_most=3))
@settings(max_examples=60)
def test_nothing_but_paths_changes(schedule: LinkSchedule) -> None:
    """Whatever a schedule says beside its traces is the same afterwards."""
    words = with_paths_from("/", str(schedule))
    found = parse_schedule(words, find_trace=lambda name: TRACES.get(name) or TRACES[name.removeprefix("/")])
    assert found == schedule


def test_a_topology_finds_its_traces_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what it hands to other processes does, from any folder; errors name the key."""
    (tmp_path / "drive.csv").write_text(CSV)
    file = tmp_path / "here.toml"
    file.write_text(
        '[channel]\nuplink = "trace drive.csv"\n'
        'schedule = "5s trace ./drive.csv delay 1ms; 6s trace nr-like"\n'
        f'[channel.devices.edge]\ndownlink = "trace ../{tmp_path.name}/drive.csv"\n'
    )
    topology = load_topology(file)
    monkeypatch.chdir("/")
    channel = parse_topology(to_toml(topology), folder="/nowhere").channel
    assert channel is not None and channel == topology.channel
    uplink, downlink = channel.uplink, channel.for_device("edge").downlink
    assert isinstance(uplink, LinkSpec) and isinstance(downlink, LinkSpec)
    assert uplink.trace == downlink.trace == Trace(name=str(tmp_path / "drive.csv"), curve=DRIVE)
    assert [step.link.mean_rate_bps for step in channel.uplink_schedule.steps[:2]] == [5e5, 5e5]
    for key, words in (("uplink", "trace gone.csv"), ("schedule", "5s trace gone.csv")):
        file.write_text(f'[channel]\n{key} = "{words}"\n')
        with pytest.raises(ConfigurationError, match=rf"channel\.{key}: .*/gone.csv': No such file"):
            load_topology(file)


# ------------------------------------------------------------------------------------------- those that ship


@pytest.mark.parametrize(("name", "length_s", "mean_bps"), [("lte-like", 60, 9e6), ("nr-like", 120, 60e6)])
def test_shipped_traces_are_what_the_documents_say(name: str, length_s: float, mean_bps: float) -> None:
    """Length, mean rate and size on disk; each is read once a process."""
    trace = shipped_trace(name)
    assert trace is shipped_trace(name)
    assert trace.name == name
    assert trace.mean_rate_bps == pytest.approx(mean_bps, rel=0.01)
    assert trace.curve.bits_by(2 * length_s) == pytest.approx(2 * trace.curve.bits_by(length_s))
    assert trace.curve.bits_by(length_s) == pytest.approx(mean_bps * length_s, rel=0.01)
    assert (Path(module.__file__).parent / "data" / module.SHIPPED[name]).stat().st_size < 300_000
    assert (trace.curve.delay_s(1.0) is None) == (name == "lte-like")


def test_an_outage_of_some_100_ms_is_in_the_lte_like_trace() -> None:
    """And stretches of rates far above and far below the mean."""
    curve = shipped_trace("lte-like").curve
    tenths = [curve.bits_by((n + 1) / 10) - curve.bits_by(n / 10) for n in range(600)]
    assert 5 <= tenths.count(0.0) <= 60
    assert max(tenths) > 3 * 0.9e6


def test_no_path_is_a_shipped_trace() -> None:
    """An order to a channel may name what ships, and can't make it open a file."""
    for name in ("/etc/passwd", "../link/data/lte-like.trace", "lte-like.trace", "", "LTE-like"):
        with pytest.raises(ConfigurationError, match="is no trace that ships"):
            shipped_trace(name)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/make_traces.py as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    return importlib.import_module("make_traces")


def test_the_script_makes_the_shipped_traces(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte: whoever wonders where they come from can look."""
    monkeypatch.setattr("sys.argv", ["make_traces.py", "--out", str(tmp_path)])
    assert script.main() == 0
    assert "lte-like.trace: 260 kB" in capsys.readouterr().out
    for file in module.SHIPPED.values():
        assert (tmp_path / file).read_bytes() == (Path(module.__file__).parent / "data" / file).read_bytes()
