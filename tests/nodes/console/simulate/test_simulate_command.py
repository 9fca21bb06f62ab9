"""`draftwire simulate`: options, what it prints, records that `explain` reads, pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.harness.fleets import SYNTHETIC

from draftwire.nodes.console.bench.traces import MEASURES, recorded, save
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.record import read_record

SHORT = ("--devices", "2", "--seconds", "2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A topology with a synthetic pair, and a link of its own for the second device and for a stranger."""
    path = tmp_path / "cell.toml"
    path.write_text(
        f'[pair]\ndraft = "{SYNTHETIC}"\ntarget = "{SYNTHETIC}"\n'
        '[channel]\nuplink = "rate 5mbit delay 10ms"\n'
        '[channel.devices.device-0002]\nuplink = "rate 1mbit delay 10ms"\n'
        '[channel.devices.phone-1]\nuplink = "rate 2mbit"\n'
    )
    return path


def test_the_summary(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many, how fast, in all and by device; whose links met nobody; the hash."""
    assert main(["simulate", str(config), *SHORT]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 devices at 2 base stations, 2 s of virtual time in ")
    for words in ("requests: ", " steps, ", "tok/s by device: ", "alone, modelled, 22.5", "trace hash: "):
        assert words in said.out
    assert "note: [channel.devices] phone-1: no such device here" in said.err
    assert "44.5 ms a verification step, the paper's" in said.err


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, whose devices add up to the whole, and which repeats."""
    came = []
    for _ in range(2):
        assert main(["simulate", str(config), *SHORT, "--seed", "3", "--json"]) == 0
        came.append(json.loads(capsys.readouterr().out))
    first, again = came
    assert first["trace_hash"] == again["trace_hash"]
    assert first["tokens"] == sum(one["tokens"] for one in first["by_device"]) > 20
    assert first["tokens_per_s"]["p5"] <= first["tokens_per_s"]["p50"] <= first["tokens_per_s"]["p95"]
    assert [one["device"] for one in first["by_device"]] == ["device-0001", "device-0002"]


def test_step_times_are_options(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one's own hardware: twice as slow a target serves half the tokens alone; handling adds to it."""
    times = ("--draft-step", "1ms", "--target-step", "80ms", "--target-token", "5ms", "--handling", "4ms")
    assert main(["simulate", str(config), *SHORT, *times, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alone_tokens_per_s_modelled"] == pytest.approx(1 / 0.089)
    assert main(["simulate", str(config), *SHORT, *times]) == 0
    said = capsys.readouterr().err
    assert "1 ms a drafted token and 4 ms a block, 84 ms a verification step and 5 ms a token in it" in said
    assert "paper" not in said


def test_a_record_is_read_by_explain(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps, decisions and links of all nodes in virtual time; one device at its own link is explained."""
    record = tmp_path / "r.jsonl"
    assert main(["simulate", str(config), *SHORT, "--record", str(record)]) == 0
    capsys.readouterr()
    read = read_record(record)
    assert {one.device for one in read.steps} == {"device-0001", "device-0002"}
    assert {one.bs for one in read.steps} == {"bs-0001", "bs-0002"}
    assert all(0 < one.ended_at_s <= 2 for one in read.steps)
    assert len(read.decisions) == len(read.steps)
    for device, rate in (("device-0001", "/5"), ("device-0002", "/1")):
        assert main(["explain", str(record), "--device", device]) == 0
        said = capsys.readouterr()
        assert rate in said.out and "note: the requests of" not in said.err
    assert main(["explain", str(record)]) == 0
    note = "note: the requests of 2 devices, in a row; see one by --device device-0001"
    assert note in capsys.readouterr().err
    assert main(["explain", str(record), "--device", "device-0003"]) == 2
    assert "holds no step of a device 'device-0003'; did you mean 'device-000" in capsys.readouterr().err


def test_a_record_changes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same run with and without one."""
    hashes = []
    for more in ((), ("--record", str(tmp_path / "r.jsonl"))):
        assert main(["simulate", str(config), *SHORT, "--json", *more]) == 0
        hashes.append(json.loads(capsys.readouterr().out)["trace_hash"])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "link",
    [
        "rate 5mbit",
        "delay 5ms",
        pytest.param("trace nr-like", marks=pytest.mark.slow),
        pytest.param("rayleigh 12db 5mhz 20ms", marks=pytest.mark.slow),
        pytest.param("rate 0", marks=pytest.mark.slow),
    ],
)
def test_a_picture(config: Path, tmp_path: Path, link: str) -> None:
    """Of any kind of rate, of none, and of a link that carries nothing."""
    words = config.read_text().replace("rate 5mbit delay 10ms", link)
    config.write_text(words.replace("rate 1mbit delay 10ms", link))
    picture = tmp_path / "p.svg"
    assert main(["simulate", str(config), *SHORT, "--plot", str(picture)]) == 0
    drawn = picture.read_text()
    assert "the median: " in drawn and "target alone," in drawn
    assert ("sending takes no time" in drawn) == (link == "delay 5ms")


def test_acceptance_of_a_file(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of one's own takes the place of the file's pair, at its temperature only."""
    recording = str(tmp_path / "own.npz")
    whole = recorded("smollm2-0.7")
    save(replace(whole, name="own", **{one: getattr(whole, one)[:50] for one in MEASURES}), Path(recording))
    assert main(["simulate", str(config), *SHORT, "--acceptance", recording]) == 2
    said = capsys.readouterr().err
    assert "sampling.temperature: temperature 1, but acceptance was recorded at 0.7" in said
    assert "write 0.7" in said
    config.write_text(config.read_text() + "[sampling]\ntemperature = 0.7\n")
    assert main(["simulate", str(config), *SHORT, "--acceptance", recording]) == 0
    assert "acceptance of own, recorded at temperature 0.7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (["--devices", "0"], "--devices: 0 will not do"),
        (["--seconds", "-1"], "--seconds: -1 s will not do"),
        (["--per-bs", "0"], "--per-bs: 0 will not do"),
        (["--seed", "-1"], "argument --seed"),
        (["--target-step", "0s"], "--target-step: 0 s will not do: time would never pass"),
        (["--draft-step", "3"], "draft-step"),
        (["--acceptance", "nowhere.npz"], "--acceptance: 'nowhere.npz': No such file"),
        (["--acceptance", __file__], "no recording of acceptance"),
        (["--plot", "p.gif"], "--plot"),
        (["--record", "/nowhere/r.jsonl"], "--record"),
    ],
)
def test_bad_options(how: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the option, and exit code 2."""
    try:
        code = main(["simulate", *how])
    except SystemExit as error:  # argparse's own
        code = int(str(error.code))
    assert code == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
