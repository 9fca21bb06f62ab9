"""Records are read back as what they say; what is none is refused by file and line."""

from pathlib import Path

import pytest
from tests.harness.outcomes import belief, decision, falling_link, link, outcome, step, write

from draftwire.nodes.console.cli import main
from draftwire.nodes.console.outcome import OUTCOME_EVENT, append_event, fixed
from draftwire.nodes.console.record import RecordError, read_record
from draftwire.nodes.controller.belief import Belief


def test_every_kind_is_read_in_order_of_time(tmp_path: Path) -> None:
    """Steps, decisions, links and outcomes come back as values; nodes write in any order."""
    lines = [step(1, ends_s=2.0, position=12), link(0.5, None), step(0, ends_s=1.0, position=10)]
    lines += [decision(1, at_s=2.0, k=8, gamma=2), decision(0, at_s=1.0, k=32, gamma=4)]
    path = write(tmp_path / "r", lines)
    wanted = outcome(fixed(8, 2))
    append_event(path, OUTCOME_EVENT, wanted.fields())
    record = read_record(path)
    assert [one.step for one in record.steps] == [0, 1]
    assert [(one.k, one.gamma) for one in record.decisions] == [(32, 4), (8, 2)]
    assert record.decisions[0].belief == Belief.from_fields(belief())
    assert record.links[0].rate_bps is None
    assert record.outcomes == [wanted]
    assert not record.cut


def _late(p99_ms: float) -> dict[str, object]:
    shares = {"p50_ms": 0.1, "p99_ms": p99_ms, "max_ms": 9.5, "budget_ms": 2.0}
    return {"event": "channel.late", "messages": 200, **shares}


def test_how_late_the_channel_was_is_read(tmp_path: Path) -> None:
    """Message by message, and the mark of a run above its budget: of several the worst is told."""
    told = {"event": "lateness", "from_s": 1.0, "to_s": 2, "late_us": [12, 0, 3100]}
    lines = [step(0, ends_s=1.0, position=10), told, _late(3.123), _late(2.5)]
    record = read_record(write(tmp_path / "r", lines))
    (lateness,) = record.lateness
    assert (lateness.from_s, lateness.to_s, lateness.late_us) == (1.0, 2.0, (12, 0, 3100))
    assert [(one.p99_ms, one.budget_ms, one.messages) for one in record.late] == [
        (3.123, 2.0, 200),
        (2.5, 2.0, 200),
    ]
    assert record.warnings == (
        "the channel was late: p99 3.1 ms, budget 2 ms: timings of this run are not the link's",
    )
    assert read_record(write(tmp_path / "punctual", lines[:2])).warnings == ()


@pytest.mark.parametrize("late_us", [None, 5, ["1"], [1.5], [True], "12"])
def test_odd_lateness_is_refused(tmp_path: Path, late_us: object) -> None:
    """By the line."""
    odd = {"event": "lateness", "from_s": 1.0, "to_s": 2.0, "late_us": late_us}
    with pytest.raises(RecordError, match=r":2.*late_us is no list of whole numbers"):
        read_record(write(tmp_path / "r", [step(0, ends_s=1.0, position=10), odd]))


def test_explain_says_that_the_channel_was_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line beside the figures, on stderr, so that a JSON object stays one."""
    sentence = "note: the channel was late: p99 3.1 ms, budget 2 ms: timings of this run are not the link's\n"
    path = write(tmp_path / "r", [*falling_link(), _late(3.1)])
    assert main(["explain", str(path), "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count(sentence) == 1
    assert main(["explain", str(write(tmp_path / "punctual", falling_link()))]) == 0
    assert "late" not in capsys.readouterr().err


def test_fields_that_older_records_lack(tmp_path: Path) -> None:
    """Blocks were waited for whole, under rejection, and gave what was accepted and one token."""
    path = write(tmp_path / "r", [step(0, ends_s=1.0, position=10), decision(0, at_s=1.0, k=8, gamma=2)])
    record = read_record(path)
    (one,), (made,) = record.steps, record.decisions
    assert (one.acceptance, one.min_draft, one.tokens, one.early_stop) == ("rejection", 4, 3, False)
    assert (made.min_draft, made.early_stop) == (2, False)


def test_a_step_told_twice_counts_once(tmp_path: Path) -> None:
    """The BS and the controller may both have written the same step."""
    lines = [step(0, ends_s=1.0, position=10)] * 2 + [step(0, ends_s=1.0, position=10, request=8)]
    assert len(read_record(write(tmp_path / "r", lines)).steps) == 2


def test_steps_after_a_restart_of_the_bs_count(tmp_path: Path) -> None:
    """It keeps the number of the request and counts its steps from 0 again."""
    lines = [step(number, ends_s=1.0 + number, position=10 + number) for number in range(3)]
    lines += [step(number, ends_s=9.0 + number, position=13 + number) for number in range(3)]
    steps = read_record(write(tmp_path / "r", lines)).steps
    assert [one.step for one in steps] == [0, 1, 2, 0, 1, 2]
    assert [one.position for one in steps] == [10, 11, 12, 13, 14, 15]


def test_a_cut_last_line_is_left_out_and_told(tmp_path: Path) -> None:
    """A record that somebody still writes, or whose writer was killed, can be read."""
    path = write(tmp_path / "r", [step(0, ends_s=1.0, position=10), step(1, ends_s=2.0, position=12)])
    path.write_bytes(path.read_bytes()[:-40])
    record = read_record(path)
    assert record.cut
    assert len(record.steps) == 1


def test_a_torn_line_is_left_out_and_counted(tmp_path: Path) -> None:
    """One further up of which a full disk has taken a part costs itself alone."""
    path = write(tmp_path / "r", [step(number, ends_s=1.0 + number, position=10) for number in range(3)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:40] + b"\n" + lines[2])
    record = read_record(path)
    assert [one.step for one in record.steps] == [0, 2]
    assert record.torn == 1 and not record.cut


def test_unknown_events_and_fields_are_left_alone(tmp_path: Path) -> None:
    """A later version may say more."""
    lines = [step(0, ends_s=1.0, position=10, colour="blue"), {"event": "weather", "is": "fine"}]
    record = read_record(write(tmp_path / "r", lines))
    assert len(record.steps) == 1
    assert record.others == {"weather": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ("holds nothing", "--record")),
        (b"once upon a time\nthere was\n", (":1", "no JSON")),
        (b'{"event": "link"}\n{}\n', (":1", "direction is missing")),
        (b"[1, 2]\n", (":1", "no event")),
        (b'{"event": "decision", "belief": {}}\n', (":1", "belief")),
        (b'{"event": "weather"}\n', ("no event of a run",)),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: bytes, words: tuple[str, ...]) -> None:
    """One error that names the file, the line, and what is wrong."""
    path = tmp_path / "no-record"
    path.write_bytes(text)
    with pytest.raises(RecordError) as caught:
        read_record(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [("k", "many"), ("k", True), ("ended_at_s", None), ("alone", 0), ("device", 1)]
)
def test_a_field_of_another_type_is_refused(tmp_path: Path, field: str, value: object) -> None:
    """The error names the field, the value and the line."""
    lines = [step(0, ends_s=1.0, position=10), step(1, ends_s=2.0, position=12, **{field: value})]
    with pytest.raises(RecordError, match=f":2.*{field} is {value!r}"):
        read_record(write(tmp_path / "r", lines))


@pytest.mark.parametrize(
    ("rung_bits", "words"),
    [
        ([[0, 5]], "K must rise, from 1"),
        ([[32, 200], [8, 70]], "K must rise"),
        ([[8, 70], [8, 70]], "K must rise"),
        ([[5000, 9000]], "to 4096"),
        ([[8, 10**18]], "1 to 16777215 bits"),
        ([[8, 0]], "1 to 16777215 bits"),
        ([[8, 70.5]], "whole numbers"),
        ([["8", 70]], "whole numbers"),
        ([[True, 70]], "whole numbers"),
        ([[8]], "unpack"),
        ([8], "int"),
        (5, "int"),
        ("text", "unpack"),
        (None, "NoneType"),
    ],
)
def test_sizes_that_no_set_says_are_refused(tmp_path: Path, rung_bits: object, words: str) -> None:
    """Before `explain` reckons with them; sizes that a set may say are taken."""
    lines = [step(0, ends_s=1.0, position=10), decision(0, at_s=1.0, k=8, gamma=2, rung_bits=rung_bits)]
    with pytest.raises(RecordError, match=f":2.*belief: .*{words}"):
        read_record(write(tmp_path / "r", lines))
    lines[1] = decision(0, at_s=1.0, k=8, gamma=2, rung_bits=[[1, 12], [4096, 16777215]])
    assert read_record(write(tmp_path / "r", lines)).decisions[0].belief is not None


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(RecordError, match="nowhere"):
        read_record(tmp_path / "nowhere")
