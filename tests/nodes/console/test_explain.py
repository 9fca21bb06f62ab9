"""`draftwire explain`: beliefs, choices and what came, from a record; changes in words."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.harness.outcomes import (
    belief,
    decision,
    falling_link,
    link,
    outcome,
    pipelined_steps,
    step,
    write,
)

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.choices import (
    ALONE,
    Choice,
    Moment,
    change_words,
    few_digits,
    grid,
    options,
    speed_of,
)
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.explain import fields as explain_fields
from draftwire.nodes.console.explanation import Explanation, explain
from draftwire.nodes.console.outcome import AUTO, OUTCOME_EVENT
from draftwire.nodes.console.record import read_record
from draftwire.nodes.console.timeline import Traces, runs_of, speed_between, traces_of
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.speculation.cost import best_plan
from draftwire.runtime.link import parse_link


def explained(tmp_path: Path, lines: list[dict[str, Any]]) -> Explanation:
    return explain(read_record(write(tmp_path / "r", lines)))


def moment(choice: Choice, **changes: Any) -> Moment:
    return Moment(at_s=0.0, choice=choice, belief=Belief.from_fields(belief(**changes)), true_bps=None)


# Over time --------------------------------------------------------------------------------------------------


def test_the_choice_follows_the_link(tmp_path: Path) -> None:
    """Slices before and after the fall have their choices; the change between has the link as its reason."""
    found = explained(tmp_path, falling_link())
    assert [one.moment.choice for one in found.slices[:6]] == [Choice(320, 4)] * 6
    assert [one.moment.choice for one in found.slices[6:]] == [Choice(8, 2)] * 6
    assert [change.words for change in found.changes] == [
        "K 320 -> 8, gamma 4 -> 2: the link fell from 20 to 0.10 Mbit/s"
    ]
    assert found.changes[0].at_s == pytest.approx(2.0, abs=0.2)
    assert found.slices[0].moment.true_bps == 20e6
    assert found.slices[-1].moment.true_bps == 0.1e6


def test_measured_is_tokens_over_time(tmp_path: Path) -> None:
    """3 tokens every 0.1 s are 30 a second: in all, in each slice and in the picture."""
    found = explained(tmp_path, falling_link())
    assert found.measured == pytest.approx(30)
    for one in found.slices:
        assert one.measured == pytest.approx(30)
    assert {round(value, 6) for _, value in found.traces.measured} == {30}
    assert found.tokens == 39 * 3  # the first step has no beginning that the record knows


def test_what_was_predicted_is_weighed_by_time(tmp_path: Path) -> None:
    """A belief that held for 3 s counts three times one that held for 1 s."""
    times = ((0, 1.0, 10.0), (1, 2.0, 20.0), (2, 5.0, 99.0))
    lines = [step(number, ends_s=at_s, position=number) for number, at_s, _ in times]
    lines += [decision(n, at_s=at_s, k=8, gamma=2, tokens_per_s=speed) for n, at_s, speed in times]
    assert explained(tmp_path, lines).predicted == pytest.approx((1 * 10 + 3 * 20) / 4)


def test_the_last_decision_of_a_request_is_left_out(tmp_path: Path) -> None:
    """It comes with the last step and rules none; only where it is all that there is it is shown."""
    lines = falling_link()
    lines[-1] = decision(39, at_s=lines[-1]["at_s"], k=5, gamma=1, uplink_bps=7e6, tokens_per_s=99.0)
    found = explained(tmp_path, lines)
    assert len(found.moments) == 39
    assert Choice(5, 1) not in {one.choice for one in found.moments}
    assert 7e6 not in {value for _, value in found.traces.believed_bps}
    assert 99.0 not in {value for _, value in found.traces.predicted}
    single = explained(tmp_path, [step(0, ends_s=1.0, position=1), decision(0, at_s=1.0, k=5, gamma=1)])
    assert [one.choice for one in single.moments] == [Choice(5, 1)]


def test_requests_lie_one_behind_the_other(tmp_path: Path) -> None:
    """What lies between them is no time of theirs, and no speed is measured across."""
    lines = falling_link()
    later = [dict(line) for line in falling_link() if line["event"] != "link"]
    for line in later:
        line["request"] = 8
        for key in ("at_s", "ended_at_s"):
            if key in line:
                line[key] += 1000.0
    found = explained(tmp_path, lines + later)
    assert found.requests == 2
    assert found.traces.seconds == pytest.approx(2 * found.traces.borders[0])
    assert found.traces.seconds < 10
    assert found.measured == pytest.approx(30)


def test_requests_whose_choices_the_user_fixed_are_left_out(tmp_path: Path) -> None:
    """K and gamma, or gamma = 0; where one of them is free the controller still chooses."""
    lines: list[dict[str, Any]] = []
    pins = ((8, 2, 1), (None, 0, 2), (8, None, 3), (None, None, 4))
    for k, gamma, request in pins:
        at_s = 10.0 * request
        lines.append(step(0, ends_s=at_s, position=1, request=request, pinned_k=k, pinned_gamma=gamma))
        lines.append({**decision(0, at_s=at_s, k=8, gamma=2), "request": request})
    assert [run.request for run in runs_of(read_record(write(tmp_path / "r", lines)))] == [3, 4]


def test_an_experiments_warm_up_is_left_out(tmp_path: Path) -> None:
    """Where outcomes were recorded, a request counts only if one of them was it."""
    lines = [*falling_link(), step(0, ends_s=50.0, position=1, request=1)]
    one = outcome(AUTO, started_at_s=100.0, seconds=4.5)
    lines.append({"event": OUTCOME_EVENT, **one.fields()})
    assert [run.request for run in runs_of(read_record(write(tmp_path / "r", lines)))] == [7]


def rates_of(tmp_path: Path, *links: dict[str, Any]) -> Traces:
    """The picture's lines where the channel has told of these links."""
    lines = [line for line in falling_link() if line["event"] != "link"]
    record = read_record(write(tmp_path / "r", [*links, *lines]))
    return traces_of(runs_of(record), record.links)


def test_a_rate_that_moves_is_drawn_as_it_moved(tmp_path: Path) -> None:
    """A trace from the words of its line, by the record's clock, in bins that hold its bits."""
    words: dict[str, Any] = {"link": "trace nr-like delay 5ms", "mean_rate_bps": 1.0}
    traces = rates_of(tmp_path, link(98.0, None, **words))
    curve = parse_link("trace nr-like").trace
    assert curve is not None
    times, rates = zip(*traces.true_bps, strict=True)
    assert times[0] == 0 and times[-1] == pytest.approx(traces.seconds) and len(set(rates)) > 10
    drawn = sum(rate * (after - at) for rate, at, after in zip(rates, times, times[1:], strict=False))
    begun_s = runs_of(read_record(tmp_path / "r"))[0].begins_s - 98.0
    sent = curve.curve.bits_by(begun_s + traces.seconds) - curve.curve.bits_by(begun_s)
    assert drawn == pytest.approx(sent)


def test_fading_is_drawn_by_the_seed_of_the_channel(tmp_path: Path) -> None:
    """The device's own blocks; without the seed, which older channels do not tell, the mean stands."""
    words: dict[str, Any] = {"link": "rayleigh 15db 2mhz 200ms", "mean_rate_bps": 8.5e6}
    told = rates_of(tmp_path, link(99.0, None, **words, seed=3))
    fading = parse_link(words["link"]).fading
    assert fading is not None
    curve = fading.curve(streams_of(3, "device-1", Direction.UPLINK).fading)
    assert len({rate for _, rate in told.true_bps}) > 10
    at_s, rate = told.true_bps[5]
    began_s = runs_of(read_record(tmp_path / "r"))[0].begins_s + at_s - 99.0
    assert rate == pytest.approx((curve.bits_by(began_s + 0.01) - curve.bits_by(began_s)) / 0.01, rel=0.2)
    untold = rates_of(tmp_path, link(99.0, None, **words))
    assert {rate for _, rate in untold.true_bps} == {fading.mean_rate_bps}


def test_a_later_fading_is_drawn_by_the_rates_before_it(tmp_path: Path) -> None:
    """What the channel tells of a fading is enough to draw its blocks; older records tell of the first."""
    words: dict[str, Any] = {"link": "rayleigh 15db 2mhz 50ms", "mean_rate_bps": 8.5e6, "seed": 3}
    fading, streams = parse_link(words["link"]).fading, streams_of(3, "device-1", Direction.UPLINK)
    assert fading is not None
    told: dict[str, Any] = {"rates_before": 2}
    for event, rates_before in ((told, 2), ({}, 0)):
        true_bps = rates_of(tmp_path, link(99.0, None, **words, **event, began_s=98.0)).true_bps
        drawn = sum(bps * (after - at) for (at, bps), (after, _) in pairwise(true_bps))
        curve = fading.curve(streams.fading_seed(rates_before))
        begun_s = runs_of(read_record(tmp_path / "r"))[0].begins_s - 98.0
        exact = curve.bits_by(begun_s + true_bps[-1][0]) - curve.bits_by(begun_s)
        assert drawn == pytest.approx(exact), rates_before


def test_a_trace_that_is_not_here_has_its_mean(tmp_path: Path) -> None:
    """Its file was the recording machine's."""
    words: dict[str, Any] = {"link": "trace /nowhere/at/all.csv", "mean_rate_bps": 3e6}
    traces = rates_of(tmp_path, link(99.0, None, **words))
    assert {rate for _, rate in traces.true_bps} == {3e6}


def test_a_device_has_its_own_link_until_an_order(tmp_path: Path) -> None:
    """Of its name or its key's; what others have is not its rate."""
    own = link(99.0, 2e6, device="device-1")
    others = link(99.0, 7e6, device="device-2")
    traces = rates_of(tmp_path, link(99.0, 1e6), own, others, link(101.0, 3e6))
    assert {rate for _, rate in traces.true_bps} == {2e6}
    traces = rates_of(tmp_path, link(99.0, 1e6), own, link(101.0, 3e6, ordered=True), link(102.0, 4e6))
    assert [rate for _, rate in traces.true_bps] == [2e6, 3e6, 4e6, 4e6]


def test_a_picture_shows_the_true_rate_from_the_start(tmp_path: Path) -> None:
    """What the link did when the request began was told before it."""
    record = read_record(write(tmp_path / "r", falling_link()))
    traces = traces_of(runs_of(record), record.links)
    assert traces.true_bps[0] == (0.0, 20e6)
    assert [rate for _, rate in traces.true_bps] == [20e6, 0.1e6, 0.1e6]
    assert traces.true_bps[-1][0] == pytest.approx(traces.seconds)
    assert {value for _, value in traces.k} == {320.0, 8.0}


def test_speed_between_counts_steps_that_ended_there(tmp_path: Path) -> None:
    """Half open, so that neighbouring pieces share no step."""
    run = runs_of(read_record(write(tmp_path / "r", falling_link())))[0]
    first, second = speed_between(run, 100.0, 101.1001), speed_between(run, 101.1001, 200.0)
    assert first == pytest.approx((10 * 3, 1.0))
    assert second == pytest.approx((29 * 3, 2.9))


# Several devices --------------------------------------------------------------------------------------------


def _two_devices(*, apart_s: float = 0.0, shares: bool = True) -> list[dict[str, Any]]:
    """The request of falling_link by cell/1, and again by cell/2: `apart_s` later, with the target alone half
    of the time and with drafts of four kinds else.
    """
    lines = [dict(line, device="cell/1") for line in falling_link() if line["event"] != "link"]
    for line in falling_link():
        if line["event"] != "link":
            line |= {"device": "cell/2", "request": 8}
            line |= {key: line[key] + apart_s for key in ("at_s", "ended_at_s") if key in line}
            if line["step"] % 2:
                line |= {"gamma": 0, **({"drafted": 0} if line["event"] == "step" else {})}
            elif line["event"] == "decision":
                line["gamma"] = (2, 2, 3, 4, 5)[line["step"] % 5]
            lines.append(line)
    told = {"event": "channel.shares", "direction": "uplink", "from_s": 1, "to_s": 2, "shares": {}}
    return [link(99.0, 20e6), *lines, *([told] if shares else [])]


@pytest.mark.parametrize(("apart_s", "seconds"), [(0.0, 4.0), (2.0, 6.0), (100.0, 8.0)])
def test_requests_at_once_are_summed_up_over_the_time_that_passed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], apart_s: float, seconds: float
) -> None:
    """All together have more tokens a second than each; a time without any of them counts for nothing."""
    path = str(write(tmp_path / "r", _two_devices(apart_s=apart_s)))
    assert main(["explain", path, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["under_way_s"] == pytest.approx(seconds, abs=0.2)
    assert found["total_tokens_per_s"] == pytest.approx(2 * 40 * 3 / found["under_way_s"])
    assert found["tokens_per_s"] == pytest.approx(30)
    assert main(["explain", path]) == 0
    said = f"{found['total_tokens_per_s']:.1f} tok/s in all, over {found['under_way_s']:.1f} s ("
    assert f"2 requests of 2 devices, 80 steps; {said}" in (out := capfd.readouterr().out)
    assert "; each 30.0 tok/s, predicted" in out


def test_a_row_has_how_often_a_device_drafts_and_how(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """K and gamma are the usual ones of its drafts, though the target alone is chosen more often."""
    path = str(write(tmp_path / "r", _two_devices()))
    assert main(["explain", path, "--json"]) == 0
    first, second = json.loads(capfd.readouterr().out)["devices"]
    assert (first["drafted_share"], second["drafted_share"]) == (1.0, 0.5)
    assert second["gamma"] == 2
    assert main(["explain", path]) == 0
    (row,) = [line.split() for line in capfd.readouterr().out.splitlines() if "cell/2" in line]
    assert row[:4] == ["cell/2", "1", "40", "50"] and row[5] == "2"


def test_a_time_of_several_devices_is_of_one_of_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--at and --plot want --device; what was decided for all is told so, and its choices as if alone."""
    path = str(write(tmp_path / "r", _two_devices()))
    for words in (["--at", "1"], ["--plot", str(tmp_path / "p.png")]):
        assert main(["explain", path, *words]) == 2
        assert f"{words[0]}: the record has 2 devices" in (err := capfd.readouterr().err)
        assert "--device, for instance cell/1" in err
    assert main(["explain", path, "--at", "1", "--device", "cell/2"]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert out.startswith("cell/2, ") and "decided for all 2 sessions together" in out
    assert "tokens a second, as if nobody else were there" in out
    assert main(["explain", path, "--at", "1", "--device", "cell/2", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["device"], told["sessions"]) == ("cell/2", 2)
    assert main(["explain", path, "--device", "cell/2"]) == 0
    assert "as if nobody else were there; plans are made for all" in capfd.readouterr().out
    single = [step(0, ends_s=1.0, position=1), decision(0, at_s=1.1, k=5, gamma=1)]
    assert main(["explain", str(write(tmp_path / "single", single))]) == 0, "no slice has a decision"
    apart = str(write(tmp_path / "apart", _two_devices(apart_s=50.0)))
    for words in ([], ["--at", "1"]):
        assert main(["explain", apart, "--device", "cell/2", *words]) == 0
        out = capfd.readouterr().out
        assert "nobody else were there" not in out and "decided for" not in out


def test_rates_of_a_shared_radio_are_told_as_such(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Believed is what others leave, true the device's own; only where the record has shares."""
    for shares in (True, False):
        path = str(write(tmp_path / "r", _two_devices(shares=shares)))
        for words in ([], ["--device", "cell/1"]):
            assert main(["explain", path, *words]) == 0
            assert ("Mbit/s: what others leave of the cell" in capfd.readouterr().out) == shares
        assert main(["explain", path, "--at", "1", "--device", "cell/1"]) == 0
        assert ("true while nobody else sends: 20" in capfd.readouterr().out) == shares


# Ids only ---------------------------------------------------------------------------------------------------


def test_rows_of_paths_change_no_explanation(tmp_path: Path) -> None:
    """Lines of rows, with positions or without, are neither steps nor choices."""
    lines = pipelined_steps(30)
    row = {"event": "rows", "device": "device-1", "request": 9, "step": 3, "k": 32, "rows_bytes": 40}
    row |= {"draft_at_s": 300.2, "rows_at_s": 300.21}
    told = [{**row, "low": []}, {**row, "low": [0.5]}]
    without, among = explained(tmp_path, lines), explained(tmp_path, [*lines[:5], *told, *lines[5:]])
    assert explain_fields(among) == explain_fields(without)
    assert among.traces == without.traces


def test_a_moment_says_what_a_device_and_a_free_target_were_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pace and the patience of a plan where only ids travel; older records have neither."""
    lines = pipelined_steps(30)
    for line in lines:
        if line["event"] == "decision":
            line |= {"uplink_bps": 144_000, "patience_s": 0.035, "min_draft": 2, "gamma": 8}
    path = str(write(tmp_path / "r", lines))
    assert main(["explain", path, "--at", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "paces itself by 0.144 Mbit/s; a free target waits 35 ms for drafts at most" in shown
    assert main(["explain", path, "--at", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["paced_bps"], told["patience_s"]) == (144_000, 0.035)
    older = str(write(tmp_path / "older", pipelined_steps(30)))
    assert main(["explain", older, "--at", "1"]) == 0
    assert "paces itself" not in capsys.readouterr().out


def test_passes_of_a_pipelined_request_have_as_many_tokens_as_they_say(tmp_path: Path) -> None:
    """2 tokens each 50 ms in the mean; ids a pass, passes a token, and the plans in words and pictures."""
    found = explained(tmp_path, pipelined_steps(60))
    assert found.measured == pytest.approx(40, rel=0.02)
    paths = found.paths
    assert paths is not None and (paths.passes, paths.tokens, paths.tested) == (60, 120, 60)
    assert (paths.seen, paths.right, paths.early_stop, paths.wasted) == (180, 120, 1.0, None)
    assert {one.moment.choice for one in found.slices} == {Choice(0, 8, 0), Choice(0, 4, 4)}
    assert str(Choice(0, 8, 0)) == "gamma 8, waits for 0" and str(Choice(0, 4, 4)) == "gamma 4, waits for all"
    (change,) = found.changes
    assert change.words.startswith("gamma 8 -> 4, waits for 0 -> all: ")
    assert {value for _, value in found.traces.gamma} == {8.0, 4.0}
    assert {value for _, value in found.traces.drafted} == {0.0, 1.0, 2.0}
    assert {value for _, value in found.traces.min_draft} == {0.0, 4.0}
    assert not [value for _, value in found.traces.k if value == value]


def test_waste_is_told_where_the_device_has_told_it(tmp_path: Path) -> None:
    """By its answer's line; what older versions wrote has none."""
    answer = {"event": "answer", "drafted": 150, "used": 60, "wasted": 90, "min_draft_used": {"0": 60}}
    paths = explained(tmp_path, [*pipelined_steps(30), answer]).paths
    assert paths is not None and (paths.drafted, paths.wasted) == (150, 90)
    assert explained(tmp_path, falling_link()).paths is None


def test_what_became_of_drafts_is_told_where_every_plan_was_fixed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Passes, ids in time, right ones and those of them that were too late; there is no choice to explain."""
    told: dict[str, Any] = {"acceptance": "coupled", "pinned_gamma": 4, "pinned_min_draft": 0, "k": 32}
    lines = [
        step(0, ends_s=1.0, position=10, drafted=2, seen=2, accepted=2, tokens=3, **told),
        step(1, ends_s=2.0, position=13, drafted=0, seen=4, accepted=2, tokens=1, **told),
        {"event": "answer", "drafted": 9, "used": 2, "wasted": 7, "min_draft_used": {"0": 2}},
    ]
    path = str(write(tmp_path / "r", lines))
    assert main(["explain", path]) == 0
    out = capfd.readouterr().out
    assert "the user fixed the plan of every request" in out
    assert (
        "ids only: 0.50 passes a token; 1.0 ids came in time for a pass; of 6 held against the text 4 were "
        "right (2 too late to help); 9 drafted, 7 of them wasted"
    ) in out
    assert main(["explain", path, "--json"]) == 0
    fields = json.loads(capfd.readouterr().out)
    assert (fields["ids_only"]["late"], fields["ids_only"]["passes"], fields["slices"]) == (2, 2, [])
    assert main(["explain", path, "--at", "1"]) == 2


def test_options_of_ids_only_are_gamma_and_min_draft() -> None:
    """As the controller offers them, the best first, the target alone among them; of none a K matters."""
    one = Belief.from_fields(belief(rows=False, alphas={"32": 0.6}, survives=[0.6**n for n in range(17)]))
    found = options(one)
    assert found[0].choice.min_draft is not None and found[0].tokens_per_s > speed_of(one, ALONE)
    assert ALONE in {option.choice for option in found}
    for option in found[:40]:
        assert option.choice.k == 0
        assert speed_of(one, option.choice) == pytest.approx(option.tokens_per_s)
    far = Choice(0, 24, 3)
    assert speed_of(Belief.from_fields(belief(rows=False, alphas={"32": 0.6})), far) > 0
    assert grid(one) == ()


def test_a_long_round_trip_is_told_as_the_reason_not_to_wait() -> None:
    """Trials take the new estimate into the old belief, as where rows travel."""
    ids = {"rows": False, "alphas": {"32": 0.6}, "survives": [0.6**n for n in range(17)]}
    words = change_words(moment(Choice(0, 4, 4), **ids), moment(Choice(0, 12, 0), **ids, rtt_s=0.1))
    assert words == "gamma 4 -> 12, waits for all -> 0: the round trip rose from 10 to 100 ms"
    words = change_words(moment(Choice(32, 4)), moment(Choice(0, 8, 0), **ids))
    assert words == "K 32, gamma 4 -> gamma 8, waits for 0: another request, in which only ids travel"
    words = change_words(moment(Choice(0, 8, 0), **ids), moment(ALONE, **ids, reason="explore"))
    assert words == "gamma 8, waits for 0 -> target alone: a look at how fast the target alone is"


def test_requests_of_ids_only_whose_plans_the_user_fixed_are_left_out(tmp_path: Path) -> None:
    """gamma and min_draft; K has nothing to say there. Older records at temperature 0 fixed both at once."""
    told: dict[str, Any] = {"acceptance": "coupled", "min_draft": 2, "early_stop": False, "tokens": 3}
    pins = ((4, 2, 1), (4, None, 2), (None, 2, 3), (0, None, 4))
    lines = [
        step(0, ends_s=10.0 * request, position=1, request=request, **told, pinned_k=8)
        | {"pinned_gamma": gamma, "pinned_min_draft": waits}
        for gamma, waits, request in pins
    ]
    lines.append(step(0, ends_s=90.0, position=1, request=5, temperature=0.0, pinned_k=8, pinned_gamma=2))
    assert [run.request for run in runs_of(read_record(write(tmp_path / "r", lines)))] == [2, 3]


def test_ids_only_are_explained_within_80_columns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both kinds in one record; one decision in full; as JSON; with a picture."""
    path = str(write(tmp_path / "r", [*falling_link(), *pipelined_steps(60)]))
    picture = str(tmp_path / "p.png")
    assert main(["explain", path, "--plot", picture]) == 0
    out = capfd.readouterr().out
    assert "…" not in out and " 8/0 " in out and " 4/4 " in out
    assert "ids only: 0.50 passes a token; 1.0 ids came in time for a pass; of " in out
    assert " were right (" in out and " too late to help); the device may stop early" in out
    assert "another request, in which only ids travel" in out
    assert main(["explain", path, "--at", "4.5"]) == 0
    out = capfd.readouterr().out
    assert "only ids travel (coupled): a draft is right with 0.60" in out
    assert "with 0.60, 0.36, 0.22" in out and "waits for 0, chosen" in out
    assert main(["explain", path, "--json"]) == 0
    fields = json.loads(capfd.readouterr().out)
    assert fields["ids_only"]["passes"] == 60
    assert fields["slices"][-1]["decision"]["min_draft"] == 4
    assert fields["slices"][-1]["decision"]["k"] is None


# By a belief ------------------------------------------------------------------------------------------------


def test_the_best_option_is_the_model_of_costs_own() -> None:
    """The same K, gamma and speed as best_plan finds from the same belief."""
    one = Belief.from_fields(belief())
    best = best_plan(
        alphas=one.alphas, gammas=range(1, 33), compute=one.compute, link=one.link, frames=one.frames
    )
    found = options(one)
    assert found[0].choice == Choice(best.k, best.gamma)
    assert found[0].tokens_per_s == pytest.approx(best.tokens_per_s)
    assert [option.tokens_per_s for option in found] == sorted((o.tokens_per_s for o in found), reverse=True)
    assert next(o.tokens_per_s for o in found if o.choice == ALONE) == pytest.approx(1 / 0.044)
    for option in found[:40]:
        assert speed_of(one, option.choice) == pytest.approx(option.tokens_per_s)


def test_the_grid_is_nine_settings_of_a_k_that_was_considered() -> None:
    """8, 32, 320 where they are known, else the nearest by ratio, each once."""
    assert len(grid(Belief.from_fields(belief()))) == 9
    few = Belief.from_fields(belief(alphas={"5": 0.4, "64": 0.5}))
    assert {option.choice.k for option in grid(few)} == {5, 64}


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "words"),
    [
        ((320, 4), (8, 2), {}, {"uplink_bps": 1e5}, "the link fell from 20 to 0.10 Mbit/s"),
        ((320, 4), ALONE, {}, {"rtt_s": 0.2}, "target alone: the round trip rose from 10 to 200 ms"),
        ((8, 8), (8, 2), {}, {"draft_step_s": 0.02}, "gamma 8 -> 2: a drafted token rose from 3 to 20 ms"),
        ((8, 2), (8, 8), {}, {"alphas": {"8": 0.9}}, "gamma 2 -> 8: alpha at K 8 rose from 0.50 to 0.90"),
        (
            (8, 4),
            (320, 4),
            {"uplink_bps": 1e5},
            {"uplink_bps": 1e5, "tables": "0a" * 8, "rung_bits": [[8, 70], [320, 600]]},
            "K 8 -> 320: a row of K 8 fell from 144 to 70 bits",
        ),
        ((8, 2), (320, 2), {}, {"reason": "explore"}, "K 8 -> 320: a look at what a larger K would bring"),
        (ALONE, (8, 2), {}, {"reason": "retry"}, "target alone -> K 8, gamma 2: a draft after a time alone"),
        ((8, 3), (8, 4), {}, {}, "the two are within 2 % of each other"),
        (ALONE, (8, 2), {"alone_step_s": 0.04}, {}, ": the target's pass alone rose from 40 to 44 ms"),
        ((320, 4), (8, 8), {}, {}, "by its belief the old choice is 30% faster"),
    ],
)
def test_a_change_is_told_with_the_estimate_that_made_it(
    old: tuple[int, int], new: tuple[int, int], before: dict[str, Any], after: dict[str, Any], words: str
) -> None:
    """The one that, put into the old belief alone, favours the new choice most."""
    assert words in change_words(moment(Choice(*old), **before), moment(Choice(*new), **after))


def test_an_estimate_that_moved_by_less_than_its_digits_tell_is_no_reason() -> None:
    """Nobody reads that something fell from 11 to 11 ms."""
    words = change_words(moment(ALONE, draft_step_s=0.01149), moment(Choice(8, 2), draft_step_s=0.01051))
    assert words == "target alone -> K 8, gamma 2: no single estimate decided"


@pytest.mark.parametrize(("value", "text"), [(20.0, "20"), (1.13, "1.1"), (0.356, "0.36"), (153.2, "153")])
def test_figures_have_few_digits(value: float, text: str) -> None:
    """And no exponent."""
    assert few_digits(value) == text


# The command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([step(0, ends_s=1.0, position=1)], ("holds no decision", "--record")),
        (
            [
                step(0, ends_s=1.0, position=1, pinned_k=8, pinned_gamma=2),
                decision(0, at_s=1.0, k=8, gamma=2),
            ],
            ("fixed", "no choice"),
        ),
        (
            [step(0, ends_s=1.0, position=1), {**decision(0, at_s=1.0, k=8, gamma=2), "belief": None}],
            ("no belief",),
        ),
        ([], ("holds nothing",)),
    ],
)
def test_a_record_without_anything_to_explain_says_what_would_be(
    tmp_path: Path, lines: list[dict[str, Any]], words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """One line with the file, what it lacks, and the option that records it; exit code 2."""
    assert main(["explain", str(write(tmp_path / "r", lines))]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    for word in (str(tmp_path / "r"), *words):
        assert word in err


def test_a_whole_explanation_fits_80_columns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Summary, table, changes; nothing cut off."""
    assert main(["explain", str(write(tmp_path / "r", falling_link()))]) == 0
    out = capfd.readouterr().out
    assert "1 request, 40 steps" in out
    assert "30.0 tok/s, predicted 30.0 (+0%)" in out
    assert "the link fell from 20 to 0.10 Mbit/s" in out
    assert "…" not in out


def test_one_moment_shows_all_its_choices(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it believed, chose, and could have chosen: the grid and the target alone."""
    path = str(write(tmp_path / "r", falling_link()))
    assert main(["explain", path, "--at", "3"]) == 0
    out = capfd.readouterr().out
    for words in (
        "K 8, gamma 2, chosen",
        "true: 0.1",
        "target alone",
        "K 320, gamma 8",
        "alpha by K: 8: 0.50",
    ):
        assert words in out
    assert main(["explain", path, "--at", "3", "--json"]) == 0
    fields = json.loads(capfd.readouterr().out)
    assert (fields["k"], fields["gamma"], fields["true_uplink_bps"]) == (8, 2, 0.1e6)
    assert len(fields["grid"]) == 9
    assert main(["explain", path, "--at", "99"]) == 2
    assert "--at" in capfd.readouterr().err


def test_json_holds_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Plain values with units in their names."""
    assert main(["explain", str(write(tmp_path / "r", falling_link())), "--json"]) == 0
    fields = json.loads(capfd.readouterr().out)
    assert fields["tokens_per_s"] == pytest.approx(30)
    assert len(fields["slices"]) == 12
    assert fields["slices"][0]["decision"]["belief"]["uplink_bps"] == 20e6
