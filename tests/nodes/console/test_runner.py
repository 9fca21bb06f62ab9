"""Experiments: who runs when, what a speed is, what a link leaves behind, outcomes in records."""

import io
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.harness.outcomes import outcome

from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.outcome import (
    ALL,
    ALONE,
    AUTO,
    COUPLED,
    PIPELINED,
    Outcome,
    Scene,
    Setting,
    auto,
    fixed,
    outcome_of,
)
from draftwire.nodes.console.runner import order_of, progress_bar, settling_s
from draftwire.nodes.device.account import Account
from draftwire.runtime.errors import ConfigurationError

SETTINGS = [ALONE, fixed(8, 2), fixed(32, 4), COUPLED, PIPELINED, AUTO]
SCENES = [Scene.of("rate 1mbit"), Scene.of("rate 20mbit delay 40ms")]


@given(st.integers(1, 9))
def test_everything_runs_once_a_repeat(repeats: int) -> None:
    """Each setting in each scene, in each repeat, exactly once."""
    order = list(order_of(SETTINGS, SCENES, repeats))
    wanted = {(repeat, scene, one) for repeat in range(repeats) for scene in SCENES for one in SETTINGS}
    assert len(order) == len(wanted)
    assert set(order) == wanted


def test_who_comes_first_turns_with_the_repeat() -> None:
    """In as many repeats as there are settings each of them is first once, and last once."""
    order = list(order_of(SETTINGS, SCENES[:1], len(SETTINGS)))
    rounds = [[one for repeat, _, one in order if repeat == number] for number in range(len(SETTINGS))]
    assert [turn[0] for turn in rounds] == SETTINGS
    assert {turn[-1] for turn in rounds} == set(SETTINGS)


def test_a_speed_is_tokens_over_the_time_to_the_last_of_them() -> None:
    """Whatever the setting; none where nothing came."""
    one = outcome(AUTO, tokens=90, seconds=3.0)
    assert one.tokens_per_s == 30
    assert replace(one, tokens=0, seconds=0.0).tokens_per_s == 0


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_outcome_comes_back_from_its_record(setting: Setting) -> None:
    """Through JSON, as the very same value."""
    one = outcome(setting, k_used=8, gamma_used=3)
    assert Outcome.from_fields(orjson.loads(orjson.dumps(one.fields()))) == one


def test_an_outcome_of_an_older_record_is_read() -> None:
    """Acceptance, waste and passes were not told, and its setting had none of its own."""
    fields = orjson.loads(orjson.dumps(outcome(fixed(8, 2)).fields()))
    for name in ("acceptance", "used", "wasted", "passes", "min_draft_used", "passes_per_token"):
        fields.pop(name, None)
    for name in ("acceptance", "min_draft"):
        del fields["setting"][name]
    one = Outcome.from_fields(fields)
    assert one.setting == Setting(name="K 8, gamma 2", k=8, gamma=2)
    assert (one.passes_per_token, one.wasted_per_token, one.acceptance) == (None, None, None)
    with pytest.raises(KeyError):
        Outcome.from_fields({name: value for name, value in fields.items() if name != "steps"})


def test_fixed_settings_take_turns_where_only_ids_travel() -> None:
    """At temperature 0 too; where rows travel they say nothing of it, and are not refused."""
    assert fixed(8, 2).waits_at(0.0) == ALL and fixed(8, 2).waits_at(1.0) is None
    assert COUPLED.waits_at(1.0) == ALL and PIPELINED.waits_at(1.0) is None


def test_k_and_gamma_of_an_outcome_are_what_most_steps_were_made_with() -> None:
    """By the device's account: the target alone has gamma 0 and no K, no step at all neither of them."""

    def used(ks: dict[int, int], gammas: dict[int, int]) -> tuple[int | None, int | None]:
        account = Account(vocab_size=64, k_used=Counter(ks), gamma_used=Counter(gammas))
        generation = cast(Generation, SimpleNamespace(account=account, text=""))
        one = outcome_of(generation, [], setting=AUTO, scene=SCENES[0], repeat=0, seed=0, temperature=1.0)
        return one.k_used, one.gamma_used

    account = Account(vocab_size=64, hints=True, tokens=10, passes=4, drafted=9, used=6)
    account.min_draft_used, account.synchronous = Counter({0: 2, 3: 4}), 1
    generation = cast(Generation, SimpleNamespace(account=account, text=""))
    one = outcome_of(generation, [], setting=AUTO, scene=SCENES[0], repeat=0, seed=0, temperature=1.0)
    assert (one.min_draft_used, one.passes_per_token, one.wasted_per_token) == (3, 0.4, 0.3)
    account.synchronous = 9
    one = outcome_of(generation, [], setting=AUTO, scene=SCENES[0], repeat=0, seed=0, temperature=1.0)
    assert (one.min_draft_used, one.acceptance) == (ALL, None)
    assert used({8: 2, 32: 3}, {0: 1, 4: 3, 2: 2}) == (32, 4)
    assert used({}, {0: 5}) == (None, 0)
    assert used({}, {}) == (None, None)


@pytest.mark.parametrize(
    ("setting", "auto"),
    [(ALONE, False), (AUTO, True), (fixed(8, 2), False), (Setting(name="k", k=8), True),
     (Setting(name="g", gamma=3), True), (COUPLED, True), (PIPELINED, True), (auto("auto"), True),
     (Setting(name="w", k=8, gamma=3, acceptance="coupled"), True),
     (Setting(name="w", k=8, gamma=3, acceptance="coupled", min_draft=2), False)],
)  # fmt: skip
def test_a_setting_is_adaptive_while_anything_is_left_to_choose(setting: Setting, auto: bool) -> None:
    """K means nothing to the target alone."""
    assert setting.is_auto is auto


@pytest.mark.parametrize(
    ("link", "rate_bps", "changes"),
    [
        ("rate 1mbit delay 20ms", 1e6, False),
        ("delay 20ms", None, False),
        ("rate 20mbit; 3s rate 2mbit; repeat 9s", 8e6, True),
        ("rate 20mbit; 3s rate 2mbit", 2e6, True),
        ("rate 20mbit; 3s rate unlimited; repeat 9s", None, True),
        ("trace lte-like delay 20ms", 9e6, False),
        ("trace lte-like; 3s rate 0; repeat 9s", 3e6, True),
    ],
)
def test_a_scenes_rate_is_the_mean_of_a_round(link: str, rate_bps: float | None, changes: bool) -> None:
    """Weighted by time; a schedule that ends has the rate it ends with."""
    scene = Scene.of(link)
    assert scene.rate_bps == (None if rate_bps is None else pytest.approx(rate_bps))
    assert scene.changes is changes


@pytest.mark.parametrize(
    ("link", "nothing"),
    [
        ("rate 0", True),
        ("rate 1mbit loss 100%", True),
        ("rate 1mbit; 5s rate 0", True),
        ("rate 0; 5s loss 100%; repeat 9s", True),
        ("rate 1mbit; 5s rate 0; repeat 9s", False),
        ("rate 0; 5s rate 1mbit", False),
        ("rate 1mbit loss gemodel 1% 10%", False),
        ("loss 99%", False),
        ("trace nr-like", False),
    ],
)
def test_what_never_carries_anything_is_told(link: str, nothing: bool) -> None:
    """No rate or all lost, for ever; an outage that ends is another thing."""
    assert Scene.of(link).carries_nothing is nothing


def test_words_that_are_no_link_make_no_scene() -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match="did you mean 'rate'"):
        Scene.of("rat 1mbit")


def test_a_slow_link_is_given_time_to_drain() -> None:
    """A block and its way there and back at the slowest rate; an unlimited link needs its delay only."""
    slow = outcome(
        AUTO, scene=Scene.of("rate 20mbit; 5s rate 100kbit delay 10ms; repeat 10s"), bytes_up=60_000
    )
    assert settling_s(slow) == pytest.approx(0.02 + 8 * 1500 / 1e5)
    assert settling_s(replace(slow, scene=Scene.of("delay 30ms 5ms"))) == pytest.approx(0.07)
    assert settling_s(replace(slow, scene=Scene.of("rate 0; 5s rate 100kbit; repeat 9s"))) < 1
    moving = settling_s(replace(slow, scene=Scene.of("trace lte-like delay 10ms 1ms distribution normal")))
    assert moving == pytest.approx(2 * 0.013 + 8 * 1500 / 9e5)


def test_a_pipe_gets_no_progress_bar() -> None:
    """Only a terminal does."""
    text = io.StringIO()
    with progress_bar(3, console=Console(file=text)) as begin:
        begin("one")
    assert text.getvalue() == ""
