"""The figures of `draftwire bench e2e`, from outcomes and a record written by hand."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.harness.outcomes import falling_link, outcome, write

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.bench.e2e import QUICK, changing, result
from draftwire.nodes.console.bench.exact import Exactness, score_gap, total_variation
from draftwire.nodes.console.bench.scores import Scores, scores_of
from draftwire.nodes.console.outcome import ALONE, AUTO, Outcome, Scene, fixed
from draftwire.nodes.console.record import read_record
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import sample_target, target_distribution
from draftwire.runtime.config import AcceptanceRule

GOOD = Scene.of("rate 20mbit delay 2500us")
SLOW = Scene.of("rate 100kbit delay 5ms")
MOVING = changing(2.0)
EXACT = Exactness(greedy_tokens=32, greedy_mismatches=0, texts=60, tv=0.04, tv_noise_floor=0.16)


def measured() -> list[Outcome]:
    """Three repeats on three links; auto is 1.5, 1.0 and 1.2 times as fast as the target alone."""
    outcomes = []
    for repeat, drift in enumerate((1.0, 0.5, 2.0)):
        for scene, auto, best in ((GOOD, 15.0, 15.0), (SLOW, 10.0, 8.0), (MOVING, 12.0, 11.0)):
            for setting, speed in ((AUTO, auto), (ALONE, 10.0), (fixed(8, 2), best), (fixed(32, 4), 5.0)):
                outcomes.append(
                    outcome(
                        setting,
                        speed=drift * speed,
                        scene=scene,
                        repeat=repeat,
                        started_at_s=100.0 if setting == AUTO and scene == MOVING else 0.0,
                        seconds=100 / (drift * speed),
                    )
                )
    return outcomes


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    """Of `measured`, with a record of 40 adaptive steps on the link that changes."""
    record = read_record(write(tmp_path / "r.jsonl", falling_link()))
    return scores_of(measured(), record, good=GOOD, far=SLOW)


def test_ratios_are_taken_within_a_repeat(scores: Scores) -> None:
    """A machine that is twice as slow for a while moves speeds, and no ratio."""
    assert scores.speedup_good_link == pytest.approx(1.5)
    assert scores.worst_vs_target_only == pytest.approx(1.0)
    assert scores.scenes[GOOD.name].over_alone_least == pytest.approx(1.5)
    assert scores.scenes[GOOD.name].auto_least == pytest.approx(7.5)


def test_the_best_fixed_setting_is_each_links_own(scores: Scores) -> None:
    """Over the links that stand still its mean; the link that changes by itself."""
    assert scores.adaptive_over_best_fixed == pytest.approx((1.0 + 10 / 8) / 2)
    assert scores.adaptive_over_best_fixed_changing == pytest.approx(12 / 11)
    assert scores.scenes[SLOW.name].best_setting == "K 8, gamma 2"


def test_k_and_gamma_are_told_by_segment(scores: Scores) -> None:
    """The record's steps are sorted by what the link was when they ended."""
    fast, slow = f"{MOVING.name} at 20", f"{MOVING.name} at 0.1"
    assert scores.k_used == {fast: 320, slow: 8}
    assert scores.gamma_used == {fast: 4, slow: 2}


def test_measured_over_predicted(scores: Scores) -> None:
    """3 tokens each 0.1 s where 30 a second were promised."""
    assert scores.measured_over_predicted == pytest.approx(1.0)


def test_a_link_without_the_target_alone_is_refused(tmp_path: Path) -> None:
    """A ratio to nothing is none: the error names the link and what it has."""
    record = read_record(write(tmp_path / "r.jsonl", falling_link()))
    lacking = [one for one in measured() if one.setting != ALONE]
    with pytest.raises(ValueError, match=r"rate 20mbit.*target alone"):
        scores_of(lacking, record, good=GOOD, far=SLOW)


def test_the_adaptive_requests_may_have_any_acceptance(scores: Scores, tmp_path: Path) -> None:
    """They are those called auto, whichever they took; the link of a long round trip has its own figure."""
    record = read_record(tmp_path / "r.jsonl")
    other = replace(AUTO, acceptance="coupled")
    coupled = [replace(one, setting=other) if one.setting == AUTO else one for one in measured()]
    assert scores_of(coupled, record, good=GOOD, far=SLOW) == scores
    assert scores.speedup_rtt100 == pytest.approx(1.0)


def test_the_json_object_has_every_key(scores: Scores) -> None:
    """The paper profile's figures stand on top, the native ones under `native`."""
    rule = AcceptanceRule.AUTO
    found = result(
        {"native": scores, "paper": scores}, EXACT, QUICK, acceptance=rule, quick=True, wall_s=100.0
    )
    keys = {
        "speedup_good_link",
        "speedup_rtt100",
        "worst_vs_target_only",
        "adaptive_over_best_fixed",
        "adaptive_over_best_fixed_changing",
        "measured_over_predicted",
        "k_used",
        "gamma_used",
        "sparse_frames",
        "greedy_mismatches",
        "tv",
        "tv_noise_floor",
    }
    assert keys <= set(found) and keys <= set(found["native"])
    assert (found["paced"], found["native"]["paced"], found["quick"]) == (True, False, True)
    assert found["acceptance"] == "auto"
    assert found["sparse_frames"] == sum(one.sparse_frames for one in measured())


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_gap_is_what_the_target_prefers_its_own_token_by(temperature: float) -> None:
    """Against every other token it is positive, and taken from its own score it turns the pick."""
    rng, noise = np.random.default_rng(7), PhiloxNoise()
    sampling = Sampling(temperature=temperature)
    for position in range(20):
        logits = rng.normal(size=12)
        own = sample_target(target_distribution(logits.astype(np.float32), sampling), 3, position, noise)
        for other in set(range(12)) - {own}:
            gap = score_gap(logits, (own, other), temperature, seed=3, position=position)
            assert gap > 0
            turned = logits.copy()
            turned[own] -= (gap + 1e-3) * (temperature or 1.0)
            assert score_gap(turned, (other, own), temperature, seed=3, position=position) > 0


def test_mismatches_are_told_with_their_gaps() -> None:
    """A line each; what was not asked for is not told."""
    assert len(EXACT.lines()) == 1
    more = replace(EXACT, pipelined_mismatches=0, coupled_texts=12, coupled_mismatches=1, gaps=(3e-5,))
    assert "coupled: 1 of 12 differ" in more.lines()[1] and "3.0e-05 apart" in more.lines()[2]


def test_total_variation_sees_a_wrong_law_and_passes_the_right_one() -> None:
    """Samples of the law stay below the floor; samples of one that is 0.2 away do not."""
    law: dict[tuple[int, ...], float] = {(1,): 0.5, (2,): 0.3, (3,): 0.15}
    rng = np.random.default_rng(5)

    def sample(*p: float) -> Counter[tuple[int, ...]]:
        return Counter((int(x),) for x in rng.choice([1, 2, 3, 4], 1000, p=p))

    right, wrong = sample(0.5, 0.3, 0.15, 0.05), sample(0.3, 0.5, 0.15, 0.05)
    tv, floor = total_variation(right, law)
    assert tv <= floor < 0.1
    tv, _ = total_variation(wrong, law)
    assert tv == pytest.approx(0.2, abs=0.05)
