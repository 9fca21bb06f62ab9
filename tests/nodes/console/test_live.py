"""The live line: what a growing record and the tokens make of it."""

from pathlib import Path

import orjson
import pytest
from tests.harness.outcomes import decision, link, pipelined_steps, step, write

from draftwire.nodes.console.live import SPEED_OVER_S, Status, Tail, Watch, Window


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    """Whole lines are told once, in order; half a line is told when it is whole."""
    record = write(tmp_path / "r.jsonl", [link(0.0, 1e6)])
    tail = Tail(record)
    assert [event["event"] for event in tail.events()] == ["link"]
    line = orjson.dumps(step(0, ends_s=1.0, position=4)) + b"\n"
    with record.open("ab") as file:
        file.write(line[:20])
    assert [*tail.events()] == []
    with record.open("ab") as file:
        file.write(line[20:])
    assert [event["event"] for event in tail.events()] == ["step"]
    assert [*tail.events()] == []


def test_a_record_that_nobody_keeps_is_emptied(tmp_path: Path) -> None:
    """Beyond its bound, once all of it has been told; who appends goes on, and nothing is told twice."""
    path, line = tmp_path / "r.jsonl", orjson.dumps({"event": "step", "number": 0}) + b"\n"
    told, tail = list[int](), Tail(path, most_bytes=3 * len(line))
    with path.open("ab") as file:
        for number in range(40):
            file.write(orjson.dumps({"event": "step", "number": number}) + b"\n")
            file.flush()
            told += [event["number"] for event in tail.events()]
            assert path.stat().st_size <= 4 * len(line) + 4
    assert told == [*range(40)]
    whole = write(path, [{"event": "step", "number": number} for number in range(40)])
    assert len([*Tail(whole).events()]) == 40 and whole.stat().st_size > 30 * len(line)


def test_a_record_that_was_there_before_is_not_told(tmp_path: Path) -> None:
    """From its end on; what is no event is left out, as half a line that a killed run has left."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"event":"step","number":0}\n{"event":"step","se')
    tail = Tail(path, from_end=True)
    with path.open("ab") as file:
        for line in (
            b'{"event":"link"}',
            b'{"event":"step","number":1}',
            b'{"node":"x"}',
            b"7",
            b'{"event":"rows"}',
        ):
            file.write(line + b"\n")
    assert [event["event"] for event in tail.events()] == ["link", "step", "rows"]
    assert [event.get("number") for event in Tail(path).events()] == [0, 1, None]


def test_a_speed_is_of_the_last_seconds() -> None:
    """At first the time is shorter, and what came longer ago does not count."""
    window = Window(10.0, over_s=5.0)
    assert window.a_second(10.0) == 0
    for at_s in (10.5, 11.0):
        window.add(at_s, 2.0)
    assert window.a_second(11.0) == pytest.approx(4.0)
    assert window.a_second(16.0) == pytest.approx(2.0 / 5)
    assert window.a_second(17.0) == 0


def test_the_status_follows_link_and_decisions(tmp_path: Path) -> None:
    """The uplink's true rate, the rate believed, K, gamma and the alpha believed at that K."""
    lines = [
        link(0.0, 20e6),
        link(0.0, 3e6, "downlink"),
        decision(0, at_s=1.0, k=32, gamma=3, uplink_bps=18e6),
    ]
    watch = Watch(write(tmp_path / "r.jsonl", lines), lambda: 0.0)
    status = watch.now()
    assert (status.true_bps, status.believed_bps) == (20e6, 18e6)
    assert (status.k, status.gamma, status.alpha) == (32, 3, 0.58)
    assert str(status).startswith("link 20, believed 18 Mbit/s | K 32, gamma 3 | alpha 0.58 | ")
    with (tmp_path / "r.jsonl").open("ab") as file:
        file.write(orjson.dumps(decision(1, at_s=2.0, k=32, gamma=0)) + b"\n")
    assert "target alone" in str(watch.now())


def test_ids_only_are_shown_by_what_the_target_waits_for(tmp_path: Path) -> None:
    """No K; ids a pass and passes a token, of all passes so far."""
    lines = [link(0.0, 1e6), *pipelined_steps(30)]
    line = str(Watch(write(tmp_path / "r.jsonl", lines), lambda: 0.0).now())
    assert "| gamma 4, waits for all | alpha 0.60 | 1.0 ids a pass, 0.50 passes a token | " in line


def test_rows_change_nothing_in_it() -> None:
    """What single rows tell, when they come and later, is the controller's."""
    row = {"event": "rows", "device": "device-1", "request": 7, "step": 0, "k": 32, "rows_bytes": 40}
    assert Status(k=8).told({**row, "low": []}).told({**row, "low": [0.5]}) == Status(k=8)


def test_a_rate_that_moves_is_shown_by_its_mean(tmp_path: Path) -> None:
    """The channel tells it beside a rate that is none."""
    watch = Watch(write(tmp_path / "r.jsonl", [link(0.0, None, mean_rate_bps=9e6)]), lambda: 0.0)
    assert watch.now().true_bps == 9e6


def test_the_speed_is_over_the_last_seconds(tmp_path: Path) -> None:
    """Tokens that came longer ago do not count, and at first the time is shorter."""
    now_s = 100.0
    watch = Watch(write(tmp_path / "r.jsonl", []), lambda: now_s)
    for _ in range(10):
        now_s += 0.1
        watch.token()
    assert watch.now().tokens_per_s == pytest.approx(10.0)
    now_s += SPEED_OVER_S + 0.1
    assert watch.now().tokens_per_s == 0


def test_nothing_known_is_shown_as_such() -> None:
    """Before anything has happened the line has dashes."""
    assert str(Status()) == "link -, believed - Mbit/s | K -, gamma - | alpha - | - tok/s"
