"""`draftwire simulate`: options, what it prints, records that `explain` reads, pictures."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from tests.harness.fleets import SYNTHETIC

from draftwire.nodes.console import explain, explanation
from draftwire.nodes.console.bench.traces import recorded, save
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.record import read_record
from draftwire.nodes.console.simulate import command
from draftwire.nodes.console.simulate.fleet import channel_seed
from draftwire.runtime.settings import ChannelSettings
from draftwire.runtime.telemetry import LATENESS_EVENT

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
    assert "note:" not in said.err
    assert "44.5 ms a verification step, the paper's" in said.err


def test_devices_of_the_file_are_the_first(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has a link of its own is there, and who finds no room is told of."""
    found = {}
    for count in (1, 2, 4):
        assert main(["simulate", str(config), "--devices", str(count), "--seconds", "1", "--json"]) == 0
        said = capsys.readouterr()
        found[count] = [one["device"] for one in json.loads(said.out)["by_device"]]
        note = "note: [channel.devices] phone-1: not among the devices; all have room from --devices 2 on"
        assert (note in said.err) == (count == 1)
    assert found[1] == ["device-0002"]
    assert found[2] == ["phone-1", "device-0002"]
    assert found[4] == ["phone-1", "device-0002", "device-0003", "device-0004"]


def test_the_links_of_radio_toml_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped example: its two worse-off devices run, and no note says that they don't."""
    config = Path(__file__).parents[4] / "configs" / "radio.toml"
    assert main(["simulate", str(config), "--devices", "3", "--seconds", "0.5", "--json"]) == 0
    said = capsys.readouterr()
    names = [one["device"] for one in json.loads(said.out)["by_device"]]
    assert names == ["edge", "train", "device-0003"]
    assert "note:" not in said.err


def test_the_link_and_the_file_as_options(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As other commands have them: --config is CONFIG, --link takes the place of every link of the file."""
    came = []
    for how in ([str(config)], ["--config", str(config)], ["--config", str(config), "--link", "rate 50kbit"]):
        assert main(["simulate", *how, *SHORT, "--json"]) == 0
        came.append(json.loads(capsys.readouterr().out))
    assert came[0]["trace_hash"] == came[1]["trace_hash"] != came[2]["trace_hash"]
    assert [one["device"] for one in came[2]["by_device"]] == ["device-0001", "device-0002"]
    assert max(one["tokens_per_s"] for one in came[2]["by_device"]) < came[0]["tokens_per_s"]["p5"]


def test_a_link_that_never_carries_anything_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At rate 0, and where the schedule ends so long after the run: no speed is divided by 0."""
    assert main(["simulate", str(config), *SHORT, "--link", "rate 0", "--json"]) == 0
    came = json.loads(capsys.readouterr().out)
    assert came["over_alone"] is None and came["alone_tokens_per_s_modelled"] == 0
    assert main(["simulate", str(config), *SHORT, "--link", "rate 0"]) == 0
    assert "target alone, modelled, 0.0\n" in capsys.readouterr().out
    config.write_text(config.read_text().replace("[channel]\n", '[channel]\nschedule = "300s rate 0"\n'))
    assert main(["simulate", str(config), *SHORT, "--json"]) == 0
    came = json.loads(capsys.readouterr().out)
    assert came["alone_tokens_per_s_modelled"] == pytest.approx(1 / 0.0445)
    assert came["over_alone"] == pytest.approx(came["tokens_per_s"]["p50"] * 0.0445, rel=0.2)


def test_warnings_are_told_by_node(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A channel says once that it drops, of however many messages: so those are counted that say it."""
    assert main(["simulate", str(config), *SHORT, "--link", "rate 5mbit delay 10ms loss 30%"]) == 0
    assert "warned: channel.drops, by 2 nodes; the first: node=channel bs=bs-" in capsys.readouterr().out


@contextmanager
def broken_off(seconds: float) -> Iterator[Callable[[float, int], None]]:
    """In place of the bar: Ctrl-C at three quarters of the time."""

    def progress(now_s: float, steps: int) -> None:
        if now_s >= 0.75 * seconds:
            signal.raise_signal(signal.SIGINT)

    yield progress


def test_ctrl_c_tells_what_has_passed(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary of what came until then, by the time until then, and the exit code of Ctrl-C."""
    monkeypatch.setattr(command, "_bar", broken_off)
    assert main(["simulate", str(config), "--devices", "2", "--seconds", "8", "--json"]) == 130
    said = capsys.readouterr()
    came = json.loads(said.out)
    assert "stopped after 6.0 s of 8 s of virtual time" in said.err
    assert came["seconds"] == pytest.approx(6.0, abs=0.1)
    assert came["requests_cut"] == 2
    assert came["tokens_per_s"]["mean"] * 6 * 2 == pytest.approx(came["tokens"], rel=0.2)


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
    assert [one["device"] for one in first["by_device"]] == ["phone-1", "device-0002"]


def test_step_times_are_options(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one's own hardware: twice as slow a target serves half the tokens alone; handling adds to it."""
    times = ("--draft-step", "1ms", "--target-step", "80ms", "--target-token", "5ms", "--handling", "4ms")
    assert main(["simulate", str(config), *SHORT, *times, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alone_tokens_per_s_modelled"] == pytest.approx(1 / 0.089)
    assert main(["simulate", str(config), *SHORT, *times]) == 0
    said = capsys.readouterr().err
    assert "1 ms a drafted token and 4 ms a block, 84 ms a verification step and 5 ms a token in it" in said
    assert "paper" not in said


def test_ids_only(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request under the acceptance asked for: steps of a record say so; waste is told."""
    for how in ("coupled", "auto"):
        record = tmp_path / f"{how}.jsonl"
        more = ("--acceptance", how, "--record", str(record))
        assert main(["simulate", str(config), *SHORT, *more, "--json"]) == 0
        came = json.loads(capsys.readouterr().out)
        assert came["drafted"] >= came["used"] + came["wasted"] > 0
        assert came["tokens"] == came["passes"] + came["used"]
        assert came["passes_a_token"] == pytest.approx(came["passes"] / came["tokens"])
        read = read_record(record)
        assert {one.acceptance for one in read.steps} == {"coupled"}
        assert main(["explain", str(record), "--device", "phone-1"]) == 0
        assert "ids only: " in capsys.readouterr().out
    assert main(["simulate", str(config), *SHORT, "--acceptance", "coupled"]) == 0
    assert "\nids only: " in capsys.readouterr().out
    assert main(["simulate", str(config), *SHORT]) == 0
    assert "ids only" not in capsys.readouterr().out


def test_a_record_is_read_by_explain(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps, decisions and links of all nodes in virtual time; one device at its own link is explained."""
    record = tmp_path / "r.jsonl"
    assert main(["simulate", str(config), *SHORT, "--record", str(record)]) == 0
    capsys.readouterr()
    read = read_record(record)
    assert {one.device for one in read.steps} == {"phone-1", "device-0002"}
    assert {one.bs for one in read.steps} == {"bs-0001", "bs-0002"}
    assert all(0 < one.ended_at_s <= 2 for one in read.steps)
    assert len(read.decisions) == len(read.steps)
    for device, rate in (("phone-1", "/2"), ("device-0002", "/1")):
        assert main(["explain", str(record), "--device", device]) == 0
        said = capsys.readouterr()
        assert rate in said.out and "note: the requests of" not in said.err
    assert main(["explain", str(record)]) == 0
    note = "note: the requests of 2 devices; see one over time by --device device-0002"
    assert note in capsys.readouterr().err
    assert main(["explain", str(record), "--device", "device-0003"]) == 2
    assert "holds no step of a device 'device-0003'; did you mean 'device-000" in capsys.readouterr().err


def test_a_record_tells_the_seed_that_a_plot_takes(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each channel draws by a seed of its own: it fits `link plot --seed`; and nothing is said to be late."""
    record = tmp_path / "r.jsonl"
    assert main(["simulate", str(config), *SHORT, "--record", str(record)]) == 0
    links = read_record(record).links
    assert len({one.seed for one in links}) == 2
    seed = next(one.seed for one in links)
    picture = ["--output", str(tmp_path / "link.svg")]
    assert main(["link", "plot", "rayleigh 12db 5mhz 20ms", "--seed", str(seed), *picture]) == 0
    seeds = [channel_seed(number, "bs-0001", ChannelSettings()) for number in range(64)]
    assert all(0 <= one <= 2**62 for one in seeds)
    assert f'"event":"{LATENESS_EVENT}"' not in record.read_text()


def test_explain_says_of_one_device_only_that_nothing_changed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several each controller has its own choice, which no sentence is about."""
    record, asked = tmp_path / "r.jsonl", []
    monkeypatch.setattr(explain, "explain", lambda read: replace(explanation.explain(read), changes=()))
    assert main(["simulate", str(config), *SHORT, "--record", str(record)]) == 0
    capsys.readouterr()
    for more in ((), ("--device", "device-0002")):
        assert main(["explain", str(record), *more]) == 0
        asked.append("The choice made most often never changed" in capsys.readouterr().out)
    assert asked == [False, True]


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


def test_a_picture_of_one_device_and_of_the_target_alone(config: Path, tmp_path: Path) -> None:
    """One device is no devices; without rows the panel of K says so; the alone line says whose it is."""
    config.write_text(config.read_text() + "[controller]\ngamma = 0\n")
    picture = tmp_path / "p.svg"
    assert main(["simulate", str(config), "--devices", "1", "--seconds", "1", "--plot", str(picture)]) == 0
    drawn = picture.read_text()
    assert "1 device, 1 s" in drawn and "1 devices" not in drawn
    assert "no rows: the target alone" in drawn and "of the median device" not in drawn
    words = config.read_text().replace("[channel]", '[channel]\ndownlink = "rate 20mbit"')
    config.write_text(words.replace("device-0002]", 'device-0002]\ndownlink = "rate 9kbit"'))
    assert main(["simulate", str(config), *SHORT, "--plot", str(picture)]) == 0
    assert "of the median device" in picture.read_text()


@pytest.mark.parametrize("kind", ["toml", "npy", "pickles", "other names", "cut"])
def test_files_that_are_no_recording(
    kind: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told in our words: nobody is advised to load pickles."""
    path = tmp_path / "own.npz"
    if kind == "toml":
        path.write_text("[pair]\n")
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "pickles":
        np.savez(path, name=np.array([{}], dtype=object))
    elif kind == "other names":
        with ZipFile(path, "w") as archive:
            archive.writestr("x.txt", "x")
    else:
        save(recorded("smollm2"), path)
        path.write_bytes(path.read_bytes()[:-40000])
    assert main(["simulate", str(config), *SHORT, "--recording", str(path)]) == 2
    said = capsys.readouterr().err
    assert "--recording: " in said and "no recording of acceptance" in said
    assert "pickle" not in said and "Traceback" not in said


def test_a_recording_of_an_older_version(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows nothing of coupled picks: exit code 2, and what to do about it."""
    save(recorded("smollm2-0.7"), tmp_path / "now.npz")
    with np.load(tmp_path / "now.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file.files if name != "coupled"})
    assert main(["simulate", str(config), *SHORT, "--recording", str(tmp_path / "old.npz")]) == 2
    said = capsys.readouterr().err
    assert "older version" in said and "record the pair again with scripts/record_acceptance.py" in said


def test_acceptance_of_a_file(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of one's own takes the place of the file's pair, at its temperature only."""
    recording = str(tmp_path / "own.npz")
    whole = recorded("smollm2-0.7")
    save(replace(whole.part(slice(50)), name="own"), Path(recording))
    assert main(["simulate", str(config), *SHORT, "--recording", recording]) == 2
    said = capsys.readouterr().err
    assert "sampling.temperature: temperature 1, but acceptance was recorded at 0.7" in said
    assert "write 0.7" in said
    config.write_text(config.read_text() + "[sampling]\ntemperature = 0.7\n")
    assert main(["simulate", str(config), *SHORT, "--recording", recording]) == 0
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
        (["--acceptance", "mine.npz"], "argument --acceptance: 'mine.npz' is none"),
        (["--recording", "nowhere.npz"], "--recording: 'nowhere.npz': No such file"),
        (["--recording", __file__], "no recording of acceptance"),
        (["--record", "same.png", "--plot", "./same.png"], "--plot: 'same.png': the record goes there"),
        (["a.toml", "--config", "b.toml"], "--config: 'b.toml' beside 'a.toml'; name one topology file"),
        (["--link", "rate 5"], "--link: "),
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
