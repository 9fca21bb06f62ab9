"""`draftwire models check`: acceptance is what it is, what can't work is refused, the verdict follows."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from rich.console import Console

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.models import check as command
from draftwire.nodes.console.models.ends import EndSeen, Loaded, load
from draftwire.nodes.console.models.prediction import (
    WORTH,
    Pair,
    Predicted,
    colocated,
    coupled,
    judge,
    predict,
)
from draftwire.nodes.console.models.sample import Place, Sampled, answered, read, sampled
from draftwire.nodes.console.models.steps import LENGTHS, OVERHEAD_S, Steps, steps_of
from draftwire.nodes.console.models.told import Teller
from draftwire.nodes.console.plan import advise
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer
from draftwire.nodes.speculation.cost import Compute, LinkEstimate, best_plan
from draftwire.nodes.speculation.frames import true_frames
from draftwire.runtime.errors import ConfigurationError

PAIR = SyntheticPair(vocab_size=100, seed=3, noise=0.7)
TOKENIZER = SyntheticTokenizer(100)


def check(*words: str) -> list[str]:
    """The command line of a check."""
    return ["models", "check", *words]


def as_json(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """What --json prints."""
    assert main(check(*words, "--json")) == code
    return orjson.loads(capfd.readouterr().out)


# Acceptance -------------------------------------------------------------------------------------------------


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """As it is defined."""
    masses = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return np.asarray(masses / masses.sum())


def top_of(q: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The K largest of a distribution, renormalised."""
    cut = np.where(q >= np.sort(q)[-k], q, 0.0)
    return np.asarray(cut / cut.sum())


def sample(tokens: int, temperature: float = 1.0) -> tuple[list[Place], Sampled]:
    """Positions of the synthetic pair's answers, and what is measured there."""
    places = list(
        answered(
            ["one", "two words", "three words here"], TOKENIZER, PAIR.draft, PAIR.target,
            temperature=temperature, tokens=tokens,
        )
    )  # fmt: skip
    found = sampled(iter(places), vocab_size=100, support=None, temperature=temperature, tables=None)
    return places, found


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_alpha_is_that_of_an_exact_computation(temperature: float) -> None:
    """At every K it is the mean of sum min(p, q_K), but for what quantising costs; of whole rows exactly."""
    places, found = sample(100, temperature)
    assert found.positions == len(places) == 100
    for one in found.rows:
        exact = [
            np.minimum(softmax(p, temperature), top_of(softmax(q, temperature), one.k)).sum()
            for _, p, q in places
        ]
        tolerance = 1e-9 if one.k == 100 else 0.005
        assert one.alpha == pytest.approx(np.mean(exact), abs=tolerance), one
        assert one.low < one.alpha < one.high
    alphas = [one.alpha for one in found.rows]
    assert alphas == sorted(alphas)


def test_the_target_writes_what_alpha_is_measured_along() -> None:
    """Each position follows the ones before it in its answer: its logits are those of the text so far."""
    places, _ = sample(120)
    texts = dict[int, list[int]]()
    for place in places:
        start = TOKENIZER.encode_prompt(["one", "two words", "three words here"][place.text % 3])
        tokens = texts.setdefault(place.text, start)
        p = PAIR.target.open().logits(tokens, 1)[0] if len(tokens) == len(start) else None
        assert p is None or (p == place.target).all()
        tokens.append(0)
    assert len(texts) >= 3


def test_at_temperature_0_alpha_is_how_often_both_pick_the_same() -> None:
    """There is one alpha for any K, and no row has a size."""
    places, found = sample(100, 0.0)
    (only,) = found.rows
    assert only.alpha == np.mean([p.argmax() == q.argmax() for _, p, q in places]) == found.coupled
    assert only.row_bits is None and found.by_ids


def test_a_draft_that_knows_some_ids_only() -> None:
    """Its logits belong to the ids of its support: what it can't say counts as not accepted."""
    places, _ = sample(40)
    support = np.arange(0, 100, 2)
    cut = [place._replace(draft=place.draft[support]) for place in places]
    found = sampled(iter(cut), vocab_size=100, support=support, temperature=1.0, tables=None)
    exact = [np.minimum(softmax(p, 1.0)[support], softmax(q, 1.0)).sum() for _, p, q in cut]
    assert found.whole.alpha == pytest.approx(np.mean(exact))
    assert found.rows[-2].alpha <= found.whole.alpha + 0.003


def test_an_interval_is_drawn_over_texts() -> None:
    """Where all positions of a text are alike, more of them make it no narrower."""

    def width(positions: int) -> float:
        even, odd = np.zeros(100, np.float32), np.zeros(100, np.float32)
        even[0] = 4.0
        alike = [Place(text, even, even if text % 2 else odd) for text in range(10) for _ in range(positions)]
        one = sampled(iter(alike), vocab_size=100, support=None, temperature=1.0, tables=None).whole
        return one.high - one.low

    assert width(2) == pytest.approx(width(20)) and width(2) > 0.1


def test_a_text_is_read_in_place_of_answers(tmp_path: Path) -> None:
    """As many positions as asked for, over all of it; a text that is too short is refused."""
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"word{n}" for n in range(1000)))
    places = list(read(path, TOKENIZER, PAIR.draft, PAIR.target, tokens=300))
    assert len(places) == 300 and len({place.text for place in places}) == 3
    tokens = TOKENIZER.encode_prompt(path.read_text())
    assert (places[0].target == PAIR.target.open().logits(tokens[112 : 112 + 16], 1)[0]).all()
    path.write_text("few words")
    with pytest.raises(ConfigurationError, match=r"--text: .*holds 2 tokens; take a longer text"):
        list(read(path, TOKENIZER, PAIR.draft, PAIR.target, tokens=10))
    with pytest.raises(ConfigurationError, match="No such file"):
        list(read(tmp_path / "none", TOKENIZER, PAIR.draft, PAIR.target, tokens=10))


# Step times -------------------------------------------------------------------------------------------------


class Watch:
    """A clock that stands still but for what a model takes."""

    now_s = 0.0


@dataclass(frozen=True)
class Timed:
    """A model whose passes take a time of their own."""

    watch: Watch
    first_s: float
    more_s: float
    vocab_size: int = 50
    context_length: int = 1000
    support: None = None

    def open(self) -> "Timed":
        """Itself."""
        return self

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Flat ones."""
        self.watch.now_s += self.first_s + rows * self.more_s
        return np.zeros((rows, self.vocab_size), np.float32)

    def close(self) -> None:
        """Nothing to free."""


def timed(*, draft_s: float | None = None, target_s: float | None = None) -> Steps:
    """A draft of 3 ms a token, a target of 40 ms and 2 ms a position."""
    watch = Watch()
    draft, target = Timed(watch, 0.003, 0.0), Timed(watch, 0.040, 0.002)
    return steps_of(
        draft, target, [1, 2, 3],
        vocab_size=50, temperature=1.0, draft_s=draft_s, target_s=target_s, clock_s=lambda: watch.now_s,
    )  # fmt: skip


def test_steps_are_timed() -> None:
    """A drafted token, the target alone, and a line through passes that test drafts."""
    steps = timed()
    assert steps.draft_s == pytest.approx(0.003) and steps.alone_s == pytest.approx(0.042)
    assert dict(steps.passes_s) == pytest.approx({g: 0.042 + 0.002 * g for g in LENGTHS})
    assert steps.c == pytest.approx(3 / 42) and steps.spread == pytest.approx(0.0, abs=1e-9)
    compute = steps.compute
    assert compute.target_step_s == pytest.approx(0.042)
    assert compute.target_per_token_s == pytest.approx(0.002)
    assert compute.overhead_s == OVERHEAD_S


def test_steps_as_they_are_told() -> None:
    """What is told is not measured; a pass is then as long whatever it tests."""
    steps = timed(draft_s=0.0031, target_s=0.0445)
    assert (steps.draft_given, steps.target_given) == (True, True)
    assert steps.compute == Compute(
        draft_step_s=0.0031, target_step_s=0.0445, overhead_s=OVERHEAD_S, alone_step_s=0.0445
    )
    half = timed(target_s=0.0445)
    assert half.draft_s == pytest.approx(0.003) and not half.draft_given


# Predictions ------------------------------------------------------------------------------------------------

LIMIT = " (worth it: 1.05 times or more)"
ALPHAS = {8: 0.55, 32: 0.6, 320: 0.62}
RATES = (1e5, 1e6, 5e7)


def pair(*, scale: float = 1.0, rtt_s: float = 0.02, draft_s: float = 0.003) -> Pair:
    """A pair on the paper's hardware, of acceptance ALPHAS times `scale`."""
    return Pair(
        alphas={k: alpha * scale for k, alpha in ALPHAS.items()},
        whole=0.63 * scale,
        coupled=0.5 * scale,
        compute=Compute(draft_step_s=draft_s, target_step_s=0.0445),
        frames=true_frames(vocab_size=32_000),
        rtt_s=rtt_s,
        vocab_size=32_000,
    )


@pytest.mark.parametrize("rate_bps", [2e5, 1e6, 2e7])
def test_the_plan_is_that_of_the_cost_model(rate_bps: float) -> None:
    """It is as fast as the best one there is, to the 0.3 % within which the smaller K wins."""
    this = pair()
    found = predict(this, rate_bps=rate_bps)
    link = LinkEstimate(uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=0.02)
    best = best_plan(
        alphas=ALPHAS, gammas=range(1, MAX_GAMMA + 1), compute=this.compute, link=link, frames=this.frames
    )
    assert best.gamma > 0
    assert found.tokens_per_s == pytest.approx(best.tokens_per_s, rel=0.003)
    assert found.k is not None and found.k <= best.k
    assert found.target_only_tokens_per_s == pytest.approx(best.alone_tokens_per_s)


def test_colocated_pays_for_no_link() -> None:
    """E / (gamma t_d + t_v) at whole rows' alpha, at the best gamma."""
    found = colocated(pair())
    expected = {g: sum(0.63**i for i in range(g + 1)) / (g * 0.003 + 0.0445) for g in range(1, 17)}
    assert found.tokens_per_s == pytest.approx(max(expected.values()))
    assert expected[found.gamma] == max(expected.values())
    assert found.tokens_per_s > predict(pair(), rate_bps=1e9).tokens_per_s


@pytest.mark.parametrize("rate_bps", [2e5, 1e6, 2e7])
def test_plan_says_the_same_without_messages(rate_bps: float) -> None:
    """Of the same values `draftwire plan` differs by what messages cost, and by K within 0.3 %: no more."""
    this = pair()
    planned = advise(
        alphas=ALPHAS, c=0.003 / 0.0445, rate_bps=rate_bps, rtt_s=0.02, vocab_size=32_000
    ).true_best
    found = predict(this, rate_bps=rate_bps)
    assert found.tokens_per_s == pytest.approx(planned.tokens_per_s, rel=0.003)
    assert found.k is not None and found.k <= planned.k
    dearer = replace(this, compute=replace(this.compute, overhead_s=OVERHEAD_S))
    assert predict(dearer, rate_bps=rate_bps).tokens_per_s < found.tokens_per_s


def verdict(this: Pair, rates: Sequence[float] = RATES) -> Any:
    """With an interval that is a point."""
    return judge(this, rates, low=this.alphas, high=this.alphas)


def test_worth_it_above_a_rate() -> None:
    """On its one side the pair is worth it, on its other it is not."""
    this = pair(rtt_s=0.005)
    this = replace(this, frames=true_frames(vocab_size=32_000, row_scale=40.0))
    found = verdict(this)
    assert found.kind == "above" and found.certain
    assert predict(this, rate_bps=found.above_bps).speedup >= WORTH
    assert predict(this, rate_bps=0.999 * found.above_bps).speedup < WORTH
    assert found.text.startswith("worth it above ") and found.text.endswith(LIMIT)


def test_worth_it_everywhere_or_nowhere() -> None:
    """A near draft is worth it at every rate; one that is seldom right, or far away, at none."""
    always = verdict(pair(rtt_s=0.001))
    assert (always.kind, always.helps) == ("always", ())
    assert always.text.startswith("worth it at every rate from 100 kbit/s to 50 Mbit/s: ")
    assert always.text.endswith(LIMIT)
    never = verdict(pair(scale=0.3))
    assert never.kind == "never" and "alpha 0.19" in never.text
    assert never.text.startswith("not worth it at any rate: ") and never.text.endswith(LIMIT)


def test_what_is_not_worth_it_looks_like_it() -> None:
    """Just below the limit it has a digit more, so that it is not told as the limit itself."""
    near_s, far_s = 0.001, 0.1
    for _ in range(24):
        rtt_s = (near_s + far_s) / 2
        worth = predict(pair(rtt_s=rtt_s), rate_bps=5e7).speedup >= WORTH
        near_s, far_s = (rtt_s, far_s) if worth else (near_s, rtt_s)
    found = verdict(pair(rtt_s=far_s), [5e7])
    assert found.kind == "never"
    assert f"at best 1.049 times the target alone at 50 Mbit/s{LIMIT}" in found.text


def test_a_star_says_what_the_figure_beside_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    """What is shown as 1.00 is no faster, from whichever side it comes."""

    def one(speed: float) -> Predicted:
        return Predicted(
            rate_bps=1e6, k=32, gamma=3, min_draft=None, tokens_per_s=speed, target_only_tokens_per_s=1.0
        )

    assert [one(speed).is_faster for speed in (0.99, 0.996, 1.0, 1.004, 1.006)] == [False] * 4 + [True]
    for speed, star in ((1.004, True), (1.006, False)):
        Teller(Console()).predicted([one(speed)], colocated(pair()), rtt_s=0.02)
        out = capfd.readouterr().out
        assert ("3*" in out) is star and ("* no faster than the target alone" in out) is star


def test_what_would_help_does() -> None:
    """Each remedy that is named makes the pair worth it, and hardly more than that."""
    this = pair(scale=0.6, rtt_s=0.03)
    helps = " ".join(verdict(this).helps)
    assert "(scripts/distil_draft.py may make one)" in helps
    alpha = float(helps.split("with alpha ")[1].split()[0])
    most = max(this.alphas.values())
    for value, worth in ((alpha, True), (alpha - 0.02, False)):
        with_it = replace(this, alphas={k: one * value / most for k, one in this.alphas.items()})
        assert (predict(with_it, rate_bps=5e7).speedup >= WORTH) is worth
    trip_s = float(helps.split("a round trip of ")[1].split()[0]) / 1e3
    for value, worth in ((0.97 * trip_s, True), (1.1 * trip_s, False)):
        assert (predict(replace(this, rtt_s=value), rate_bps=5e7).speedup >= WORTH) is worth
    assert "a larger or slower target" in helps


def test_ids_alone_are_offered_where_they_are_worth_it() -> None:
    """On a long round trip rows are not, and nobody waits for ids."""
    this = pair(rtt_s=0.08)
    assert coupled(this, rate_bps=5e7).speedup >= WORTH > predict(this, rate_bps=5e7).speedup
    assert any("--acceptance coupled" in text for text in verdict(this).helps)


def test_an_interval_that_says_both_is_told() -> None:
    """Where its ends disagree the verdict is not certain, and says so."""
    this = pair(rtt_s=0.001)
    found = judge(this, RATES, low={k: 0.05 for k in ALPHAS}, high=this.alphas)
    assert found.kind == "always" and not found.certain and "no rate" in found.text


def test_temperature_0_is_planned_by_ids() -> None:
    """Nobody waits for rows: there is no K, and a free target waits for fewer ids than are drafted."""
    this = replace(pair(rtt_s=0.1), ids_only=True, frames=true_frames(vocab_size=32_000, rows=False))
    found = predict(this, rate_bps=1e6)
    assert found.k is None and found.min_draft is not None and found.speedup > 1


@pytest.mark.parametrize("ids_only", [True, False])
def test_colocated_is_a_bound_of_rows_only(ids_only: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Where only ids travel both ends work at the same time, which beats turns on one machine: no bound."""
    this = pair(rtt_s=0.0, draft_s=0.02)
    if ids_only:
        frames = true_frames(vocab_size=32_000, rows=False)
        this = replace(this, ids_only=True, alphas={8: this.whole}, frames=frames)
    beside, found = colocated(this), predict(this, rate_bps=1e9)
    assert (found.tokens_per_s > beside.tokens_per_s) is ids_only
    Teller(Console()).predicted([found], beside, rtt_s=0.0)
    assert ("a bound from above" in capfd.readouterr().out) is not ids_only


def test_a_draft_that_is_never_right() -> None:
    """It has a verdict too."""
    nothing = replace(pair(), alphas={8: 0.0}, whole=0.0, coupled=0.0)
    found = judge(nothing, RATES, low={8: 0.0}, high={8: 0.0})
    assert found.kind == "never" and any("this one never is" in text for text in found.helps)


# The command ------------------------------------------------------------------------------------------------


def test_a_pair_that_fits(capfd: pytest.CaptureFixture[str]) -> None:
    """Every part of the answer is there, by names with units."""
    name = "synthetic:V=100,seed=3,noise=0.7"
    said = as_json(
        capfd, name, name, "--tokens", "60", "--rates", "1mbit,100kbit", "--rtt", "5ms",
        "--draft-step", "3ms", "--target-step", "45ms",
    )  # fmt: skip
    assert said["problem"] == "" and said["one_vocabulary"]
    assert said["draft"]["vocab_size"] == said["target"]["vocab_size"] == 100
    assert said["draft"]["gates"] == "passed" and said["draft"]["context_length"] == 1 << 20
    assert not said["draft"]["chat_template"] and said["memory"] is None
    assert (said["steps"]["draft_step_s"], said["steps"]["target_step_measured"]) == (0.003, False)
    assert said["acceptance"]["tokens"] == 60
    assert [one["k"] for one in said["acceptance"]["rows"]] == [1, 2, 3, 5, 8, 16, 32, 64, 100]
    assert [one["rate_bps"] for one in said["rates"]] == [1e5, 1e6] and said["rtt_s"] == 0.005
    assert said["verdict"]["kind"] in ("always", "above") and said["colocated"]["speedup"] > 1


def test_it_tells_people(capfd: pytest.CaptureFixture[str]) -> None:
    """A line for each thing, a table of alpha and one of rates, and a sentence at the end."""
    name = "synthetic:V=100,seed=3"
    given = ("--tokens", "40", "--draft-step", "3ms", "--target-step", "45ms", "--temperature", "0")
    assert main(check(name, name, *given)) == 0
    said = capfd.readouterr().out
    for part in ("vocabulary:  one for both", "gates passed", "as told", "any", "waits for", "colocated"):
        assert part in said
    assert "orth it" in said.splitlines()[-1] or "It would be with" in said


def test_another_vocabulary_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """With both vocabularies and a remedy, before anything is loaded or measured."""
    assert main(check("synthetic:V=64", "synthetic:V=65", "--json")) == 2
    said = capfd.readouterr()
    fields = orjson.loads(said.out)
    assert not fields["one_vocabulary"] and "acceptance" not in fields
    line = said.err.splitlines()[-1]
    assert line == f"draftwire: {fields['problem']}"
    assert "has 64 ids" in line and "has 65" in line and "scripts/distil_draft.py" in line


def test_a_reason_not_to_load_one_is_told_of_both(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is looked at all the same, and nothing is measured."""

    def gate(seen: EndSeen, **how: Any) -> Loaded:
        if seen.end == "draft":
            raise UnsupportedModelError("DRAFT: it keeps a running state")
        return load(seen, **how)

    monkeypatch.setattr(command, "load", gate)
    said = as_json(capfd, "synthetic:", "synthetic:", code=2)
    assert said["draft"]["gates"] == "it keeps a running state" and said["target"]["gates"] == "passed"
    assert said["problem"] == "DRAFT: it keeps a running state" and "steps" not in said


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[Path]:
    """A tiny model whose config says that it is an encoder-decoder."""
    from draftwire.nodes.models.tiny import cached_pair

    shutil.copytree(cached_pair().draft, tmp_path / "gated")
    (tmp_path / "gated" / "config.json").write_text('{"model_type": "t5"}')
    yield tmp_path / "gated"


@pytest.mark.slow
def test_a_gated_model_is_refused(gated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The gate's reason is told, of which model, and the other one is looked at all the same."""
    said = as_json(capfd, "tiny:", str(gated), code=2)
    assert said["draft"]["gates"] == "passed"
    assert "is an encoder-decoder model (t5)" in said["target"]["gates"]
    assert said["problem"].startswith("TARGET: ") and "acceptance" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("none/at/all/x", "synthetic:"), "DRAFT: There is no model"),
        (("synthetic:", "synthetic:", "--dtype", "int3"), "--dtype"),
        (("synthetic:", "synthetic:", "--link", "rate banana"), "--link"),
    ],
)
def test_what_can_not_be_is_told_by_its_name(
    words: Sequence[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the option or the model."""
    assert main(check(*words)) == 2
    assert f"draftwire: {says}" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--rates", "0"),
        ("--rates", "x"),
        ("--rtt", "far"),
        ("--tokens", "0"),
        ("--draft-step", "0ms"),
        ("--target-step", "0s"),
    ],
)
def test_options_are_checked(words: Sequence[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded; a round trip may take no time."""
    with pytest.raises(SystemExit):
        parser().parse_args(check("synthetic:", "synthetic:", *words))
    assert f"argument {words[0]}: " in capfd.readouterr().err
    assert parser().parse_args(check("synthetic:", "synthetic:", "--rtt", "0ms")).rtt == 0


def test_a_link_gives_rate_and_round_trip(capfd: pytest.CaptureFixture[str]) -> None:
    """Twice its delay; with --rates these count."""
    given = (
        *("--tokens", "8", "--draft-step", "3ms", "--target-step", "45ms"),
        *("--link", "rate 2mbit delay 30ms"),
    )
    said = as_json(capfd, "synthetic:", "synthetic:", *given)
    assert said["rtt_s"] == 0.06 and [one["rate_bps"] for one in said["rates"]] == [2e6]
    said = as_json(capfd, "synthetic:", "synthetic:", *given, "--rates", "5mbit")
    assert [one["rate_bps"] for one in said["rates"]] == [5e6]


@pytest.mark.slow
def test_a_pair_with_weights(capfd: pytest.CaptureFixture[str]) -> None:
    """Two small Llamas: alpha as it is known of them, memory, KV, and times that were measured."""
    said = as_json(capfd, "tiny:seed=0,noise=0.3", "tiny:seed=0,noise=0.3", "--tokens", "200")
    assert 0.5 < said["acceptance"]["rows"][-1]["alpha"] < 0.68
    assert said["target"]["kv_bytes_per_token"] > 0 and said["memory"]["sessions"] > 1
    assert said["draft"]["chat_template"] and said["draft"]["context_length"] == 1024
    assert said["steps"]["draft_step_measured"] and 0 < said["steps"]["c"] < inf
