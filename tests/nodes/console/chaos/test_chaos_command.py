"""`draftwire chaos`: what it prints, its JSON, its exit codes, replays, schedules from files, mistakes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.nodes.console.chaos import play as playing
from draftwire.nodes.console.chaos.faults import Kind, Schedule
from draftwire.nodes.console.chaos.outcome import Broken, Outcome
from draftwire.nodes.console.chaos.swarm import schedule_of
from draftwire.nodes.console.chaos.writing import as_fields, read, written
from draftwire.nodes.console.cli import main

KEYS = {
    *("schedules", "failed", "seeds_failed", "faults_by_kind", "recovered_p99_s", "virtual_s", "wall_s"),
    *("broken", "law_holds", "law_tokens", "chi_square_p", "answers", "tokens"),
}

CRASHES = next(
    seed
    for seed in range(200)
    if schedule_of(seed).scenario.link and any(one.kind is Kind.CRASH for one in schedule_of(seed).faults)
)
"""A seed whose run has a death in it."""


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in which something stands still break a promise."""

    def play(schedule: Schedule, *, history: bool = False) -> Outcome:
        stalls = any(one.kind is Kind.STALL for one in schedule.faults)
        lie = Broken(promise="once", at_s=1.25, what="position 7 was shown twice")
        return Outcome(
            answers=(),
            broken=(lie,) if stalls else (),
            trace_hash="0",
            virtual_s=1.0,
            recovered_s=(0.5,),
        )

    monkeypatch.setattr(playing, "play", play)


def test_the_json_has_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of two real schedules, one object on standard output, nothing beside it; exit code 0."""
    assert main(["chaos", "--schedules", "2", "--seed", "5", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == KEYS
    assert (found["schedules"], found["failed"], found["seeds_failed"]) == (2, 0, [])
    answers = [schedule_of(seed).scenario for seed in (5, 6)]
    assert found["answers"] == sum(one.devices * one.requests for one in answers)
    assert found["virtual_s"] > 0
    assert found["wall_s"] > 0
    assert said.err == ""


def test_the_summary_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What was played, what happened in it, and that nothing failed."""
    assert main(["chaos", "--schedules", "1", "--seed", str(CRASHES)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 of 1 schedules, ")
    assert "each played twice" in said
    assert "crash" in said
    assert said.endswith("failed: 0\n")


@pytest.mark.usefixtures("lying")
def test_a_failure_is_told_with_its_seed_and_a_schedule_that_can_be_played(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Seed, promise, the command that replays it; then the schedule made small, as --schedule takes it."""
    first = next(seed for seed in range(200) if any(f.kind is Kind.STALL for f in schedule_of(seed).faults))
    assert main(["chaos", "--schedules", "1", "--seed", str(first)]) == 1
    said = capsys.readouterr()
    assert said.out.endswith(f"failed: 1, seeds {first}; runs by promise: once 1\n")
    assert f"seed {first}: once, at 1.250 s: position 7 was shown twice" in said.err
    assert f"draftwire chaos --replay {first}\n" in said.err
    file = tmp_path / "small.json"
    file.write_text(said.err[said.err.index('{"seed"') :])
    (fault,) = read(file.read_bytes()).faults
    assert fault.kind is Kind.STALL
    assert main(["chaos", "--schedule", str(file)]) == 1
    assert "position 7 was shown twice" in capsys.readouterr().out


@pytest.mark.usefixtures("lying")
def test_what_failed_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds, and runs by promise; failures are told beside it."""
    assert main(["chaos", "--schedules", "40", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["failed"] == len(found["seeds_failed"]) == found["broken"]["once"] > 1
    assert all(f"seed {seed}: once" in said.err for seed in found["seeds_failed"])


def test_a_replay_shows_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """What the device and the base station say and hear, the fault across, the answers, the verdict."""
    assert main(["chaos", "--replay", str(CRASHES)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"seed {CRASHES}: ")
    assert any("says Open" in line and line.index("says Open") < 50 for line in lines)
    assert any("hears Open" in line and line.index("hears Open") > 50 for line in lines)
    across = [line[12:].strip(" -") for line in lines if line.startswith("-- ")]
    planned = [line.split(" s: ", 1)[1] for line in lines if line.startswith("  ") and " s: " in line[:14]]
    assert any(" dies" in said for said in across)
    assert {said.removeprefix("over: ") for said in across} <= set(planned)
    assert any(line.startswith("device-1, request 0: ") for line in lines)
    assert lines[-1].startswith("every promise held; trace hash ")
    assert max(map(len, lines)) <= 200


def test_a_replay_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The schedule itself, the answers, the events, the hash: the same twice."""
    found = []
    for _ in range(2):
        assert main(["chaos", "--replay", str(CRASHES), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["schedule"] == as_fields(schedule_of(CRASHES))
    assert found[0]["broken"] == []
    assert {event["node"] for event in found[0]["events"]} >= {"", "target", "channel", "device-1"}


def test_a_schedule_from_a_file_is_that_of_its_seed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Written down and played, it is the same run; with a fault less it is another one."""
    schedule = schedule_of(CRASHES)
    assert main(["chaos", "--replay", str(CRASHES), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)["trace_hash"]
    hashes = []
    for one in (schedule, replace(schedule, faults=())):
        (tmp_path / "one.json").write_text(written(one))
        assert main(["chaos", "--schedule", str(tmp_path / "one.json"), "--json"]) == 0
        hashes.append(json.loads(capsys.readouterr().out)["trace_hash"])
    assert hashes[0] == known
    assert hashes[1] != known


@pytest.mark.usefixtures("lying")
def test_ctrl_c_tells_what_came(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 130, and the schedules until then."""
    honest = playing.play

    def play(schedule: Schedule, *, history: bool = False) -> Outcome:
        if schedule.seed == 2:
            raise KeyboardInterrupt
        return honest(schedule)

    monkeypatch.setattr(playing, "play", play)
    assert main(["chaos", "--schedules", "50", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["schedules"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replay", "1", "--schedule", "x.json"], "--replay: 1 beside --schedule; give one"),
        (["--replay", "1", "--schedules", "5"], "--schedules: 5 beside --replay, which plays one"),
        (["--schedule", "x.json", "--seed", "5"], "--seed: 5 beside --schedule, which plays one"),
        (
            ["--schedules", "5", "--seed", "9223372036854775804"],
            "--seed: 9223372036854775804; choose up to 9223372036854775803",
        ),
        (["--schedule", "nowhere.json"], "nowhere.json: --schedule: No such file"),
    ],
)
def test_options_that_do_not_fit(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the option; exit code 2."""
    assert main(["chaos", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--schedules", "0"], ["--seed", "-1"], ["--replay", "x"]])
def test_numbers_that_are_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused by the option's name."""
    with pytest.raises(SystemExit) as ended:
        main(["chaos", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
