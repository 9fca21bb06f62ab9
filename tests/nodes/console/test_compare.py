"""`draftwire compare`: medians and ratios, the paper's setting, one machine for both, a real run."""

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.harness.outcomes import belief, outcome, step, write
from tests.harness.processes import finished

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.cli import main
from draftwire.nodes.console.compare import _scene_and_topology, add_arguments
from draftwire.nodes.console.comparison import (
    Conditions,
    all_settings,
    as_json,
    compare,
    grid_of,
    paper_cost,
    paper_setting,
    step_times,
)
from draftwire.nodes.console.comparison_views import comparison_in, print_comparison, traces_of_auto
from draftwire.nodes.console.outcome import (
    ALL,
    ALONE,
    AUTO,
    COUPLED,
    OUTCOME_EVENT,
    PIPELINED,
    Outcome,
    Setting,
    auto,
    fixed,
)
from draftwire.nodes.console.record import RecordError, read_record
from draftwire.nodes.speculation.cost import best_length, tokens_per_step
from draftwire.runtime.link import parse_link

PAPER = Setting(name="paper: K 320, gamma 3", k=320, gamma=3)
GRID = fixed(32, 2)
CONDITIONS = Conditions(
    prompt="?",
    link="rate 50mbit",
    rate_bps=50e6,
    tokens=100,
    repeats=3,
    temperature=1.0,
    seed=0,
    draft="small",
    target="large",
    profile="native",
    vocab_size=32_000,
)


def outcomes() -> list[Outcome]:
    """Three repeats on a machine that slows down to a half meanwhile."""
    found = []
    for repeat, pace in enumerate((1.0, 0.75, 0.5)):
        speeds = ((ALONE, 20), (PAPER, 22), (GRID, 26), (AUTO, 28))
        found += [outcome(one, speed=pace * speed, repeat=repeat) for one, speed in speeds]
    return found


# Figures ----------------------------------------------------------------------------------------------------


def test_a_row_has_median_spread_and_the_ratio_within_repeats() -> None:
    """The ratio compares what ran side by side, so a machine that slows down does not show in it."""
    row = compare(outcomes(), CONDITIONS).row(AUTO)
    assert row is not None
    assert (row.tokens_per_s, row.least, row.most) == pytest.approx((21, 14, 28))
    assert row.ratio == pytest.approx(1.4)
    assert row.alpha == pytest.approx(0.5)
    assert row.bytes_up_a_token == pytest.approx(50)


def test_the_best_fixed_setting_is_neither_the_controller_nor_the_target_alone() -> None:
    """It drafts, by a K and a gamma fixed beforehand."""
    slow = [
        outcome(ALONE, speed=99),
        outcome(AUTO, speed=50),
        outcome(PAPER, speed=8),
        outcome(GRID, speed=9),
    ]
    best = compare(slow, CONDITIONS).best_fixed
    assert best is not None
    assert best.setting == GRID
    assert compare(slow[:2], CONDITIONS).best_fixed is None


def test_what_calibrates_does_not_compete() -> None:
    """Its repeat is -1; its step times count all the same."""
    calibration = outcome(fixed(320, 4), speed=1000, repeat=-1, draft_step_s=0.008)
    comparison = compare([*outcomes(), *[calibration] * 30], CONDITIONS)
    assert comparison.row(fixed(320, 4)) is None
    assert comparison.colocated is not None
    assert comparison.colocated.draft_step_s == 0.008


def test_without_the_target_alone_there_is_no_ratio() -> None:
    """And the table is printed all the same."""
    comparison = compare([one for one in outcomes() if one.setting != ALONE], CONDITIONS)
    assert {row.ratio for row in comparison.rows} == {None}
    assert "K 32, gamma 2 *" in printed(comparison)


# Step times and models --------------------------------------------------------------------------------------


def test_step_times_are_a_line_through_the_passes() -> None:
    """40 ms and 2 ms a drafted token are found again; adaptive requests say nothing of a length."""
    runs = [outcome(ALONE, target_step_s=0.040), outcome(GRID, target_step_s=0.044)]
    runs += [outcome(fixed(8, 8), target_step_s=0.056), outcome(AUTO, target_step_s=9.0)]
    times = step_times(runs)
    assert times is not None
    assert (times.draft_s, times.target_s) == pytest.approx((0.004, 0.040))
    assert times.target_per_token_s == pytest.approx(0.002)
    assert times.pass_s(4) == pytest.approx(0.048)
    assert step_times([outcome(ALONE)]) is None


def test_passes_that_seem_to_shorten_with_length_are_taken_as_constant() -> None:
    """Only noise does that."""
    times = step_times([outcome(ALONE, target_step_s=0.05), outcome(fixed(8, 8), target_step_s=0.03)])
    assert times is not None
    assert (times.target_s, times.target_per_token_s) == pytest.approx((0.04, 0.0))


def test_l_is_the_papers_count() -> None:
    """Table II: 3.1 ms over 44.5 ms is c = 0.07, and K = 3200 at 50 Mbit/s makes it 0.093."""
    times = step_times(
        [outcome(ALONE, target_step_s=0.0445), outcome(GRID, draft_step_s=0.0031, target_step_s=0.0445)]
    )
    assert times is not None
    assert paper_cost(3200, conditions=CONDITIONS, times=times) == pytest.approx(0.093, abs=5e-4)
    assert paper_cost(320, conditions=replace(CONDITIONS, rate_bps=None), times=times) == pytest.approx(
        0.07, abs=5e-4
    )


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_the_papers_setting_is_theorem_2_at_the_alpha_measured(alpha: float) -> None:
    """K = 320 and its gamma*, from the alpha at that K and the paper's L."""
    runs = [outcome(ALONE), outcome(fixed(320, 4), seen=100, accepted=round(100 * alpha))]
    times = step_times(runs)
    assert times is not None
    cost = paper_cost(320, conditions=CONDITIONS, times=times)
    setting, _ = paper_setting(runs, CONDITIONS)
    assert setting.gamma == best_length(alpha=alpha, draft_cost=cost, gamma_max=MAX_GAMMA)
    assert setting.k == 320
    assert paper_setting(runs, replace(CONDITIONS, vocab_size=64))[0].k == 64


def test_nothing_drafted_gives_the_paper_no_setting() -> None:
    """There is no alpha then."""
    with pytest.raises(ValueError, match="no alpha"):
        paper_setting([outcome(ALONE)], CONDITIONS)


def test_colocated_is_the_best_block_without_a_link() -> None:
    """E / (gamma t_d + t_v) at its best gamma, with the alpha of the widest rows; the BS then drafts too."""
    runs = [outcome(ALONE), outcome(GRID, seen=100, accepted=20), outcome(PAPER, seen=100, accepted=60)]
    together = compare(runs, CONDITIONS).colocated
    assert together is not None
    speeds = {g: tokens_per_step(alpha=0.6, gamma=g) / (g * 0.004 + 0.04) for g in range(1, 17)}
    assert together.gamma == max(speeds, key=lambda gamma: speeds[gamma])
    assert together.tokens_per_s == pytest.approx(max(speeds.values()))
    assert together.users == pytest.approx(1 + together.gamma * 0.1)
    assert compare([outcome(ALONE)], CONDITIONS).colocated is None


def test_the_grid_leaves_out_what_the_paper_has_already() -> None:
    """No setting runs twice."""
    assert grid_of((8, 320), (2, 3), besides=PAPER) == [fixed(8, 2), fixed(8, 3), fixed(320, 2)]


def test_ids_only_stand_beside_the_grid() -> None:
    """Coupled and pipelined, before the controller's own; at temperature 0 its own are pipelined already."""
    settings = all_settings(PAPER, (8,), (2,), temperature=1.0, acceptance="auto")
    assert settings == [ALONE, PAPER, fixed(8, 2), COUPLED, PIPELINED, auto("auto")]
    assert PIPELINED not in all_settings(PAPER, (8,), (2,), temperature=0.0, acceptance="rejection")
    assert paper_setting([outcome(ALONE), outcome(fixed(320, 4))], CONDITIONS)[0].waits_at(0.0) == ALL


# What is shown ----------------------------------------------------------------------------------------------


def printed(comparison: Any) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        print_comparison(console, comparison)
    return captured.get()


def test_the_table_fits_80_columns_and_says_what_is_modelled() -> None:
    """Nothing is cut; the best fixed setting is marked; verdict and reason for a split are in words."""
    text = printed(compare(outcomes(), CONDITIONS))
    assert "…" not in text
    assert "K 32, gamma 2 *" in text
    assert "auto has 1.08 x its speed" in text
    assert "Speculation pays on this link: 1.30 x with the best fixed setting, 1.40 x with auto." in text
    assert "modelled" in text
    assert "times as many users" in text


def test_ids_only_are_told_with_what_they_give_up() -> None:
    """Passes and waste a token, within 80 columns; what auto took; older records have dashes."""
    told: dict[str, Any] = {"acceptance": "coupled", "passes": 62, "used": 38, "wasted": 271}
    runs = [*outcomes(), outcome(COUPLED, **told), outcome(PIPELINED, **told)]
    runs = [one for one in runs if one.setting != AUTO] + [outcome(auto("auto"), speed=20, **told)]
    text = printed(compare(runs, CONDITIONS))
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "…" not in text
    assert rows["pipelined"].split()[-3:] == ["0.62", "2.71", "-"]
    assert rows["target"].split()[-3:] == ["-", "-", "-"]
    assert "only ids travel" in text and "give up some acceptance" in text
    assert "auto took acceptance by: coupled." in text
    assert "x with auto, 0.50 x with coupled, 0.50 x with pipelined." in text
    wide = [replace(one, bytes_up=10**6, wasted=99_999) for one in runs]
    paper = replace(PAPER, name="paper: K 320, gamma 32")
    wide += [outcome(paper, speed=speed, repeat=number) for number, speed in enumerate((89.9, 199.9))]
    assert "…" not in printed(compare(wide, replace(CONDITIONS, rate_bps=1e4)))
    found = as_json(compare(runs, CONDITIONS))
    assert found["auto_over_best_fixed"] is not None
    assert found["settings"][-1]["acceptances"] == ("coupled",)
    assert "only ids travel" not in printed(compare(outcomes(), CONDITIONS))


def test_a_link_on_which_drafts_do_not_pay_is_called_that() -> None:
    """By the best of all drafting settings."""
    runs = [outcome(ALONE, speed=30), outcome(GRID, speed=20), outcome(AUTO, speed=29)]
    assert "does not pay" in printed(compare(runs, CONDITIONS))


def test_json_names_the_best_and_the_controllers_share() -> None:
    """One object of plain values."""
    fields = json.loads(json.dumps(as_json(compare(outcomes(), CONDITIONS))))
    assert fields["best_fixed"] == "K 32, gamma 2"
    assert fields["auto_over_best_fixed"] == pytest.approx(21 / 19.5)
    assert [row["setting"]["name"] for row in fields["settings"]][-1] == "auto"


def test_a_record_gives_the_same_comparison(tmp_path: Path) -> None:
    """Header and outcomes are enough."""
    lines = [{"event": "compare", **CONDITIONS.fields()}]
    lines += [{"event": OUTCOME_EVENT, **one.fields()} for one in outcomes()]
    assert comparison_in(read_record(write(tmp_path / "r", lines))) == compare(outcomes(), CONDITIONS)


def test_a_record_of_something_else_holds_no_comparison(tmp_path: Path) -> None:
    """It is refused with the command that makes one."""
    with pytest.raises(RecordError, match="draftwire compare --record"):
        comparison_in(read_record(write(tmp_path / "r", [step(0, ends_s=1.0, position=10)])))


def test_the_pictures_request_is_the_adaptive_one_of_median_speed(tmp_path: Path) -> None:
    """Its steps are found by their time; the warm-up's and those of fixed settings are left out."""
    lines = [{"event": "compare", **CONDITIONS.fields()}]
    for request, (speed, start_s) in enumerate([(10, 100), (50, 200), (20, 300)]):
        one = outcome(AUTO, speed=speed, started_at_s=float(start_s), repeat=request)
        lines.append({"event": OUTCOME_EVENT, **one.fields()})
        for number in range(12):
            at_s = start_s + 0.1 * (number + 1)
            lines.append(step(number, ends_s=at_s, position=3 * number, request=request, gamma=request + 1))
            decision = {"event": "decision", "device": "device-1", "request": request, "step": number}
            lines.append(decision | {"at_s": at_s, "k": 8, "gamma": 2, "belief": belief()})
    lines.append(step(0, ends_s=90.0, position=1, request=99))
    traces = traces_of_auto(read_record(write(tmp_path / "r", lines)))
    assert traces is not None
    assert {value for _, value in traces.gamma} == {3.0}
    assert traces.borders == ()
    assert 1.0 < traces.seconds < 1.3


# The command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "x.gif"], ("--plot", ".png")),
        (["--link", "rat 1mbit"], ("--link", "did you mean 'rate'")),
        (["--schedule", "rate 1mbit; rate 2mbit"], ("--schedule", "time")),
        (["--link", "rate 0"], ("--link: an outage",)),
        (["--link", "rate 1mbit loss 100%"], ("--link: an outage", "loss below 100%")),
        (["--schedule", "rate 1mbit; 5s rate 0"], ("--schedule: an outage", "come back")),
        (["--from", "x", "--k", "8"], ("--k", "leave out --k")),
        (["--from", "/no/such/file"], ("/no/such/file",)),
        (["--record", "/no/such/folder/file"], ("--record",)),
        (["--draft", "synthetic:V=x"], ("--draft",)),
        ([" "], ("PROMPT", "empty")),
    ],
)
def test_what_can_not_be_is_refused_before_anything_runs(
    options: list[str], words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    assert main(["compare", *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    "option",
    [
        ["a prompt"],
        ["--acceptance", "auto"],
        *([f"--{name}", "1"] for name in ("k", "gamma", "tokens", "repeats", "temperature", "seed")),
        *([f"--{name}", "x"] for name in ("link", "schedule", "record", "draft", "target", "dtype")),
        ["--config", "x"],
        ["--profile", "paper"],
    ],
)
def test_options_of_a_run_are_refused_where_none_is_made(
    option: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """`--from` shows what was measured; no option that changes nothing is taken in silence."""
    assert main(["compare", "--from", "x", *option]) == 2
    err = capfd.readouterr().err
    assert f"leave out {option[0] if option[0].startswith('--') else 'PROMPT'}" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("uplink = 'rate 1mbit'\ndownlink = 'rate 9mbit'", ("differ", "rate 1mbit", "rate 9mbit", "--link")),
        ("downlink = 'rate 9mbit'\nschedule = '5s delay 1ms'", ("differ", "--schedule")),
        ("uplink = 'rate 0'\ndownlink = 'rate 0'", ("channel.uplink: an outage",)),
        ("schedule = '5s rate 0'", ("channel.schedule: an outage", "come back")),
    ],
)
def test_a_files_link_that_no_comparison_can_have_is_refused(
    channel: str, words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Directions that differ, and an outage for ever: one line that names the file and what to give."""
    file = tmp_path / "cell.toml"
    file.write_text(f"[channel]\n{channel}\n")
    assert main(["compare", "--config", str(file)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    for word in (str(file), *words):
        assert word in err


def test_a_files_link_is_the_comparisons(tmp_path: Path) -> None:
    """Its schedule too, from its first piece on; what the command line says takes its place."""
    file = tmp_path / "cell.toml"
    file.write_text("[channel]\nschedule = 'rate 9mbit delay 1ms; 5s rate 1mbit; repeat 10s'\n")
    parser = ArgumentParser()
    add_arguments(parser)
    scene, topology = _scene_and_topology(parser.parse_args(["--config", str(file)]))
    assert scene.rate_bps == 5e6
    assert topology.channel is not None
    assert topology.channel.uplink == topology.channel.downlink == parse_link("rate 9mbit delay 1ms")
    assert topology.channel.schedule == scene.link
    scene, topology = _scene_and_topology(parser.parse_args(["--config", str(file), "--link", "rate 3mbit"]))
    assert scene.link == "rate 3mbit"
    assert topology.channel is not None and topology.channel.schedule is None


@pytest.mark.parametrize(
    "option", [["--k", "0"], ["--gamma", "2,x"], ["--gamma", "3..99"], ["--repeats", "0"]]
)
def test_numbers_out_of_range_are_refused_by_their_option(
    option: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """As argparse does, in one line."""
    with pytest.raises(SystemExit):
        main(["compare", *option])
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert option[0] in err


@pytest.mark.slow
def test_a_comparison_of_four_real_processes(tmp_path: Path) -> None:
    """Every setting runs as often as asked, over a link that changes; record and picture hold it all."""
    pair = ("--draft", "synthetic:V=64,seed=1", "--target", "synthetic:V=64,seed=1")
    size = ("--k", "4,16", "--gamma", "2", "--tokens", "24", "--repeats", "2", "--seed", "5")
    files = ("--record", str(tmp_path / "r"), "--plot", str(tmp_path / "p.png"), "--json")
    link = ("--schedule", "rate 20mbit delay 2ms; 100ms rate 1mbit; repeat 200ms")
    done = finished("compare", *pair, *link, *size, *files, temporary=tmp_path)
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout.splitlines()[-1])
    names = [row["setting"]["name"] for row in fields["settings"]]
    assert names[0] == "target alone"
    assert names[1].startswith("paper: K 64")
    assert names[2:] == ["K 4, gamma 2", "K 16, gamma 2", "coupled", "pipelined", "auto"]
    assert all(len(row["speeds"]) == 2 for row in fields["settings"])
    record = read_record(tmp_path / "r")
    assert {one.seed for one in record.outcomes if one.repeat == 1} == {6}
    for one in record.outcomes:
        if one.setting.acceptance == "coupled":
            assert one.acceptance == "coupled" and one.sparse_frames <= one.drafted
            same = [other for other in record.outcomes if other.setting == ALONE and other.seed == one.seed]
            assert {other.token_ids for other in same if other.repeat >= 0} == {one.token_ids}
        if one.setting.k is not None and one.repeat >= 0:
            assert (one.k_used, one.gamma_used) == (one.setting.k, one.setting.gamma)
    assert {change.rate_bps for change in record.links} == {20e6, 1e6}
    assert record.decisions
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    again = finished("compare", "--from", str(tmp_path / "r"), "--json", temporary=tmp_path)
    assert json.loads(again.stdout) == fields
