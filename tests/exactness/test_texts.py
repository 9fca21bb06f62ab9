"""One text a seed where drafts are hints: whole nodes in virtual time, against the definition.

What the target writes by itself is the text under every plan, over every link, with every draft model, and
whoever dies on the way.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.harness.cell import BS, CHANNEL, VOCAB_SIZE, cell, request, run, text
from tests.harness.losing import LosingTransport
from tests.harness.reference import target_text
from tests.nodes.device.test_device_resume import lives

from draftwire.codecs.frame import Frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import PlanValues, Policy, Report
from draftwire.nodes.device.account import Account
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import target_distribution
from draftwire.runtime.session.request import Request

PAIR = SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=0.5)

SAMPLINGS = (
    Sampling(temperature=1.0, top_k=20, top_p=0.9),
    Sampling(temperature=0.7),
    Sampling(temperature=1.0),
    Sampling(temperature=0.0),
)
PLANS: tuple[dict[str, Any], ...] = (
    {"gamma": 0},
    {"gamma": 1, "min_draft": 0},
    {"gamma": 4, "min_draft": MAX_GAMMA},
    {"gamma": 8, "min_draft": MAX_GAMMA, "k": 1},
    {"gamma": 4, "min_draft": 0, "k": 64},
    {"gamma": 8, "min_draft": 2},
    {"gamma": 16, "min_draft": 3, "k": 3},
    {"gamma": MAX_GAMMA, "min_draft": 0, "max_waste": 0.5},
    {"gamma": 6, "min_draft": 4, "max_waste": 0.0},
    {"acceptance": Acceptance.AUTO},
)
LINKS = {
    "none": "",
    "fast": "rate 20mbit delay 2ms",
    "slow": "rate 60kbit delay 5ms",
    "long": "rate 5mbit delay 60ms",
    "losing": "rate 1mbit delay 10ms loss 15%",
    "repeating": "rate 1mbit delay 10ms duplicate 30%",
    "overtaking": "delay 30ms reorder 25%",
    "jittering": "rate 5mbit delay 30ms 25ms",
    "away for 3 s": "rate 1mbit delay 5ms; 400ms rate 1mbit loss 100%; 3400ms rate 1mbit delay 5ms loss 0%",
}
DRAFTS = {
    "good": PAIR.draft,
    "bad": SyntheticPair(vocab_size=VOCAB_SIZE, seed=1, noise=3.0).draft,
    "of another pair": SyntheticPair(vocab_size=VOCAB_SIZE, seed=2, noise=0.5).draft,
}


def wanted_of(sampling: Sampling, *, seed: int = 5, tokens: int = 24, **plan: Any) -> Request:
    """A coupled request, unless the plan says otherwise."""
    options = {"acceptance": Acceptance.COUPLED, **plan}
    return replace(request(seed=seed, max_new_tokens=tokens, **options), sampling=sampling)


def expected(wanted: Request) -> tuple[int, ...]:
    """What the target writes by itself."""
    return target_text(wanted, PAIR.target.open(), PhiloxNoise())


async def over(
    link: str,
    wanted: Request,
    *,
    draft: str = "good",
    account: Account | None = None,
    policy: Policy | None = None,
) -> tuple[int, ...]:
    """The text of whole nodes, nothing fixed but by the request."""
    async with cell(k=None, gamma=None, policy=policy) as bs:
        if link:
            await bs.channel(link)
        device = await bs.device(address=CHANNEL if link else BS, model=DRAFTS[draft])
        return await text(device, wanted, account)


@pytest.mark.parametrize("link", LINKS)
def test_a_seed_has_one_text_over_every_link(link: str) -> None:
    """With plans, three draft models and four ways to sample, in turn."""
    turns: Iterator[tuple[Sampling, str]] = cycle(
        [(sampling, draft) for sampling in SAMPLINGS for draft in DRAFTS]
    )
    plans = PLANS[len(link) % 2 :: 2]
    for seed, (plan, (sampling, draft)) in enumerate(zip(plans, turns, strict=False), start=len(link)):
        wanted = wanted_of(sampling, seed=seed, **plan)
        account = Account(vocab_size=VOCAB_SIZE)
        assert run(over(LINKS[link], wanted, draft=draft, account=account)) == expected(wanted), (
            seed, plan, sampling, draft,
        )  # fmt: skip
        assert account.wasted >= 0 and account.tokens == 24
        if wanted.max_waste is not None:
            assert account.wasted <= wanted.max_waste * account.tokens, (seed, plan)


@pytest.mark.slow
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("draft", DRAFTS)
def test_all_seeds_have_one_text(link: str, draft: str) -> None:
    """Every plan with every sampling, and longer texts."""
    for seed, sampling in enumerate(SAMPLINGS):
        for plan in PLANS:
            wanted = wanted_of(sampling, seed=seed, tokens=60, **plan)
            assert run(over(LINKS[link], wanted, draft=draft)) == expected(wanted), (seed, plan, sampling)


@dataclass
class Changing:
    """Another plan at every step, whatever comes."""

    plans: Sequence[PlanValues]
    steps: int = 0

    def observe(self, report: Report) -> None:
        """Count it."""
        self.steps += 1

    def plan(self, device: str, request: int) -> PlanValues:
        """The next one."""
        return self.plans[self.steps % len(self.plans)]


@pytest.mark.parametrize("link", ["fast", "long", "losing"])
def test_a_seed_has_one_text_whatever_the_controller_does(link: str) -> None:
    """One that learns, and one that changes all of a plan at every step, early stop included."""
    values = PlanValues(k=8, gamma=4, min_draft=4)
    changing = (
        values,
        values._replace(gamma=9, min_draft=0, uplink_bps=100_000, early_stop=True),
        values._replace(gamma=0, min_draft=0),
        values._replace(gamma=6, min_draft=2, patience_s=0.01, early_stop=True),
        values._replace(k=64, gamma=3, min_draft=3, early_stop=True),
    )
    for policy in (AdaptivePolicy(vocab_size=VOCAB_SIZE), Changing(changing)):
        for sampling in (SAMPLINGS[0], SAMPLINGS[3]):
            for acceptance in (Acceptance.COUPLED, Acceptance.AUTO):
                wanted = wanted_of(sampling, tokens=30, acceptance=acceptance)

                account = Account(vocab_size=VOCAB_SIZE)
                tokens = run(over(LINKS[link], wanted, account=account, policy=policy))
                binds = account.acceptance is Acceptance.REJECTION and not sampling.greedy
                assert binds or tokens == expected(wanted), (policy, sampling, acceptance)


# ----------------------------------------------------------------------------------------- whoever dies


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    deaths=st.lists(
        st.tuples(st.integers(0, 25), st.none() | st.integers(0, 200), st.booleans()), max_size=4
    ),
    copies=st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=1, max_size=60),
    plan=st.sampled_from(PLANS),
    sampling=st.sampled_from(SAMPLINGS),
    power_cut=st.booleans(),
)
def test_a_seed_has_one_text_whoever_dies(
    deaths: list[tuple[int, int | None, bool]],
    copies: list[int],
    plan: dict[str, Any],
    sampling: Sampling,
    power_cut: bool,
) -> None:
    """A device killed at any write of its journal, the BS with it or not, and messages lost and repeated."""
    wanted = wanted_of(sampling, tokens=20, **plan)
    left = iter(copies)

    async def main(path: Path) -> tuple[int, ...]:
        def copies_of(frame: Frame) -> int:
            return next(left, 1)

        async with cell(k=None, gamma=None, transport=lambda net: LosingTransport(net, copies_of)) as bs:
            return await lives(bs, path, wanted, deaths, power_cut=power_cut)

    with TemporaryDirectory() as folder:
        assert run(main(Path(folder) / "journal.jsonl")) == expected(wanted)


# -------------------------------------------------------------------------------------------- the law


@pytest.mark.parametrize("seeds", [150, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("plan", [{"gamma": 4, "min_draft": MAX_GAMMA}, {"gamma": 8, "min_draft": 0}])
def test_tokens_over_many_seeds_follow_p(plan: dict[str, Any], seeds: int) -> None:
    """Chi-square of the first two tokens over seeds against the target's own p, pooled over both.

    Within 5 standard deviations of its mean: chance fails one run in a million.
    """
    sampling = Sampling(temperature=0.7, top_k=6)

    async def main() -> list[tuple[int, ...]]:
        async with cell(k=None, gamma=None) as bs:
            device = await bs.device()
            return [
                await text(device, wanted_of(sampling, seed=seed, tokens=2, **plan)) for seed in range(seeds)
            ]

    texts, target = run(main(), within_s=1e6), PAIR.target.open()
    prompt = request().prompt
    p = target_distribution(target.logits(prompt, 1)[0], sampling)
    first = Counter(one[0] for one in texts)
    statistic, degrees = _chi_square(first, p * seeds), int((p > 0).sum()) - 1
    for token, count in first.items():
        q = target_distribution(target.logits((*prompt, token), 1)[0], sampling)
        statistic += _chi_square(Counter(one[1] for one in texts if one[0] == token), q * count)
        degrees += int((q > 0).sum()) - 1
    print(f"chi-square {statistic:.1f}, {degrees} degrees of freedom")
    assert abs(statistic - degrees) < 5 * (2 * degrees) ** 0.5


def _chi_square(counts: Counter[int], expected: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Tokens without mass must not come at all."""
    assert all(expected[token] > 0 for token in counts)
    possible = np.flatnonzero(expected)
    return float(sum((counts[int(x)] - expected[x]) ** 2 / expected[x] for x in possible))
