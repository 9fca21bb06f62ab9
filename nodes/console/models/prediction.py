"""What a pair is expected to bring over a link of any rate, and whether that is worth it. Pure: figures in,
figures and words out. The model is that of the controller: nodes/speculation/cost.py, and where only ids
travel nodes/speculation/pipeline.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.plan_ids import advise_ids
from draftwire.nodes.speculation.cost import (
    Compute,
    Frames,
    LinkEstimate,
    alone_step_seconds,
    forecast,
    forecast_grid,
    tokens_per_step,
)

WORTH: Final = 1.05
"""Times the target alone; less is within what such a prediction can be off by."""

WORTH_WORDS: Final = f"worth it: {WORTH:g} times or more"

GAMMAS: Final = tuple(range(1, MAX_GAMMA + 1))

LONGEST_COLOCATED: Final = 16
"""Longer blocks would lie far from the lengths at which the target's pass was timed."""

EQUAL: Final = 0.003
"""Speeds that differ by less, relatively, are the same: then rows may as well be short."""

RATES_LOOKED_AT: Final = 41
"""Between the lowest and the highest, at even ratios: where being worth it begins is looked for there."""

HALVINGS: Final = 24

Kind = Literal["always", "above", "between", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """All that a prediction takes."""

    alphas: Mapping[int, float] = field(repr=False)
    "K -> acceptance, of rows that can travel; at temperature 0 of one K, which stands for all"
    whole: float
    "acceptance with whole rows, 0 to 1: what a draft beside the target has"
    coupled: float
    "how often picks by the shared noise are equal, 0 to 1"
    compute: Compute
    frames: Frames = field(repr=False)
    "true sizes"
    rtt_s: float
    "of an empty message, >= 0"
    vocab_size: int
    ids_only: bool = False
    "temperature 0: no rows travel, and nobody waits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The best plan that drafts, over a link of one rate."""

    rate_bps: float
    "both ways"
    k: int | None
    "None: only ids travel"
    gamma: int
    min_draft: int | None
    "where only ids travel: what a free target waits for; None: rows travel, and it waits for all"
    tokens_per_s: float
    target_only_tokens_per_s: float
    "over the same link"

    @property
    def speedup(self) -> float:
        """Over the target alone; below 1 the controller lets that decode by itself."""
        return self.tokens_per_s / self.target_only_tokens_per_s

    @property
    def is_faster(self) -> bool:
        """Than the target alone, by what is shown."""
        return round(self.speedup, 2) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Colocated:
    """The draft beside the target, on the target's machine: no link, whole rows."""

    gamma: int
    tokens_per_s: float
    speedup: float
    "over the target alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Where a pair is worth it."""

    kind: Kind
    above_bps: float | None
    "of 'above' and 'between': from this rate on"
    below_bps: float | None
    "of 'between': up to this one"
    certain: bool
    "whether both ends of alpha's interval say the same kind"
    text: str
    "one sentence"
    helps: tuple[str, ...]
    "what would make it worth it where it is not, each by itself"


# Predictions ------------------------------------------------------------------------------------------------


def predict(pair: Pair, *, rate_bps: float) -> Predicted:
    """The fastest plan that drafts at all; of K that are as fast the smallest."""
    link = LinkEstimate(uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=pair.rtt_s)
    if pair.ids_only:
        return _by_ids(pair, link, alpha=max(pair.alphas.values()))
    of_k = dict(sorted(pair.alphas.items()))
    tokens, steps = forecast_grid(
        alphas=of_k, gammas=GAMMAS, compute=pair.compute, link=link, frames=pair.frames
    )
    speeds = tokens / steps
    row = int(np.argmax(speeds.max(axis=1) >= speeds.max() * (1 - EQUAL)))
    column, k = int(np.argmax(speeds[row])), list(of_k)[row]
    best = forecast(
        k=k, gamma=GAMMAS[column], alpha=of_k[k], compute=pair.compute, link=link, frames=pair.frames
    )
    return Predicted(
        rate_bps=rate_bps,
        k=k,
        gamma=best.gamma,
        min_draft=None,
        tokens_per_s=best.tokens_per_s,
        target_only_tokens_per_s=best.alone_tokens_per_s,
    )


def _by_ids(pair: Pair, link: LinkEstimate, *, alpha: float) -> Predicted:
    ids = advise_ids(alpha=alpha, compute=pair.compute, link=link, vocab_size=pair.vocab_size)
    best = max((ids.coupled, ids.pipelined), key=lambda one: one.flow.tokens_per_s)
    return Predicted(
        rate_bps=link.uplink_bps,
        k=None,
        gamma=best.gamma,
        min_draft=best.min_draft,
        tokens_per_s=best.flow.tokens_per_s,
        target_only_tokens_per_s=1 / alone_step_seconds(compute=pair.compute, link=link, frames=pair.frames),
    )


def coupled(pair: Pair, *, rate_bps: float) -> Predicted:
    """What ids alone would bring, with coupled acceptance."""
    link = LinkEstimate(uplink_bps=rate_bps, downlink_bps=rate_bps, rtt_s=pair.rtt_s)
    return _by_ids(pair, link, alpha=pair.coupled)


def colocated(pair: Pair) -> Colocated:
    """The best that the two would do on one machine, by turns, where nothing but passes takes time.

    Of rows a bound from above. Of ids alone it is none: over a link the two work at the same time.
    """
    compute = pair.compute

    def speed(gamma: int) -> float:
        pass_s = compute.target_step_s + gamma * compute.target_per_token_s
        return tokens_per_step(alpha=pair.whole, gamma=gamma) / (gamma * compute.draft_step_s + pass_s)

    gamma = max(range(1, LONGEST_COLOCATED + 1), key=speed)
    alone_s = compute.target_step_s if compute.alone_step_s is None else compute.alone_step_s
    return Colocated(gamma=gamma, tokens_per_s=speed(gamma), speedup=speed(gamma) * alone_s)


# The verdict ------------------------------------------------------------------------------------------------


def judge(
    pair: Pair, rates: Sequence[float], *, low: Mapping[int, float], high: Mapping[int, float]
) -> Verdict:
    """Where between the lowest and the highest of `rates` the pair is worth it.

    low, high: the ends of alpha's interval, by K.
    """
    kind, above_bps, below_bps = _where(pair, rates)
    ends = {_where(replace(pair, alphas=alphas), rates)[0] for alphas in (low, high)}
    certain = ends == {kind}
    return Verdict(
        kind=kind,
        above_bps=above_bps,
        below_bps=below_bps,
        certain=certain,
        text=_sentence(pair, rates, kind, above_bps, below_bps) + ("" if certain else _doubt(ends - {kind})),
        helps=tuple(_helps(pair, rates, above_bps)) if kind != "always" else (),
    )


def _where(pair: Pair, rates: Sequence[float]) -> tuple[Kind, float | None, float | None]:
    """The kind, and where it begins and ends."""

    def worth(rate_bps: float) -> bool:
        return predict(pair, rate_bps=rate_bps).speedup >= WORTH

    looked_at = np.geomspace(min(rates), max(rates), RATES_LOOKED_AT).tolist()
    good = [worth(rate_bps) for rate_bps in looked_at]
    if all(good):
        return "always", None, None
    if not any(good):
        return "never", None, None
    first, last = good.index(True), len(good) - 1 - good[::-1].index(True)
    above_bps = looked_at[0]
    if first:
        above_bps = _edge(worth, bad=looked_at[first - 1], good=looked_at[first])
    if last == len(good) - 1:
        return "above", above_bps, None
    return "between", above_bps, _edge(worth, bad=looked_at[last + 1], good=looked_at[last])


def _edge(worth: Callable[[float], bool], *, bad: float, good: float) -> float:
    """Where being worth it begins between a value that is not and one that is; the latter's side of it."""
    for _ in range(HALVINGS):
        middle = (bad + good) / 2
        bad, good = (bad, middle) if worth(middle) else (middle, good)
    return good


def _sentence(
    pair: Pair, rates: Sequence[float], kind: Kind, above_bps: float | None, below_bps: float | None
) -> str:
    best = max((predict(pair, rate_bps=rate) for rate in rates), key=lambda one: one.speedup)
    alpha = max(pair.alphas.values()) if best.k is None else pair.alphas[best.k]
    at_best = f"{_times(best.speedup)} the target alone at {rate_words(best.rate_bps)} ({WORTH_WORDS})"
    match kind:
        case "always":
            span = f"from {rate_words(min(rates))} to {rate_words(max(rates))}"
            where = f"at {rate_words(min(rates))}" if min(rates) == max(rates) else f"at every rate {span}"
            return f"worth it {where}: {at_best}"
        case "above":
            return f"worth it above {rate_words(above_bps or 0)}: {at_best}"
        case "between":
            return f"worth it from {rate_words(above_bps or 0)} to {rate_words(below_bps or 0)}: {at_best}"
        case "never":
            step = f"a draft step {1e3 * pair.compute.draft_step_s:.1f} ms"
            target = f"a target step {1e3 * _alone_s(pair):.1f} ms"
            return (
                f"not worth it {f'at {rate_words(max(rates))}' if len(set(rates)) == 1 else 'at any rate'}: "
                f"alpha {alpha:.2f}, {step}, {target}, round trip "
                f"{1e3 * pair.rtt_s:.0f} ms: at best {at_best}"
            )


def _times(speedup: float) -> str:
    """With more digits where two would make it worth it that is not."""
    if speedup < WORTH <= round(speedup, 2):
        return f"{np.floor(1e3 * speedup) / 1e3:.3f} times"
    return f"{speedup:.2f} times"


def _doubt(others: set[Kind]) -> str:
    words = {"always": "every rate", "above": "high rates only", "between": "some rates", "never": "no rate"}
    named = " or ".join(words[one] for one in sorted(others))
    return f" (not certain: within alpha's interval it may be {named})"


def _alone_s(pair: Pair) -> float:
    alone_s = pair.compute.alone_step_s
    return pair.compute.target_step_s if alone_s is None else alone_s


# What would help --------------------------------------------------------------------------------------------


def _helps(pair: Pair, rates: Sequence[float], above_bps: float | None) -> list[str]:
    """Each by itself, at the highest rate where nothing is worth it, else at the lowest."""
    rate_bps = max(rates) if above_bps is None else min(rates)
    if above_bps is not None and predict(pair, rate_bps=rate_bps).speedup >= WORTH:
        return []
    at = f"at {rate_words(rate_bps)}"

    def worth(other: Pair) -> bool:
        return predict(other, rate_bps=rate_bps).speedup >= WORTH

    found = [
        text for text in (_more_alpha(pair, worth), _faster_draft(pair, worth), _nearer(pair, worth)) if text
    ]
    found.append(_larger_target(pair, worth))
    by_ids = None if pair.ids_only else coupled(pair, rate_bps=rate_bps)
    if by_ids is not None and by_ids.speedup >= WORTH:
        found.append(f"ids alone (--acceptance coupled): {by_ids.speedup:.2f} times the target alone")
    return [f"{at}: {text}" for text in found if text]


def _more_alpha(pair: Pair, worth: Callable[[Pair], bool]) -> str:
    most = max(pair.alphas.values())
    if most <= 0:
        return "a draft that is right now and then: this one never is"

    def with_(top: float) -> Pair:
        return replace(pair, alphas={k: one * top / most for k, one in pair.alphas.items()})

    if not worth(with_(1.0)):
        return ""
    need = _edge(lambda top: worth(with_(top)), bad=most, good=1.0)
    return f"a draft with alpha {_up(need):.2f} in place of {most:.2f} (scripts/distil_draft.py may make one)"


def _faster_draft(pair: Pair, worth: Callable[[Pair], bool]) -> str:
    def with_(step_s: float) -> Pair:
        return replace(pair, compute=replace(pair.compute, draft_step_s=step_s))

    if not worth(with_(0.0)):
        return ""
    need_s = _edge(lambda step_s: worth(with_(step_s)), bad=pair.compute.draft_step_s, good=0.0)
    return f"a draft step of {1e3 * need_s:.2g} ms in place of {1e3 * pair.compute.draft_step_s:.2g} ms"


def _nearer(pair: Pair, worth: Callable[[Pair], bool]) -> str:
    if not worth(replace(pair, rtt_s=0.0)):
        return ""
    need_s = _edge(lambda rtt_s: worth(replace(pair, rtt_s=rtt_s)), bad=pair.rtt_s, good=0.0)
    return f"a round trip of {1e3 * need_s:.2g} ms in place of {1e3 * pair.rtt_s:.2g} ms"


def _larger_target(pair: Pair, worth: Callable[[Pair], bool]) -> str:
    """One whose steps take longer, at the same alpha: what a draft and a round trip cost weighs less then."""
    alone_s, most = _alone_s(pair), 100.0

    def with_(times: float) -> Pair:
        compute = replace(
            pair.compute,
            target_step_s=times * pair.compute.target_step_s,
            target_per_token_s=times * pair.compute.target_per_token_s,
            alone_step_s=times * alone_s,
        )
        return replace(pair, compute=compute)

    if not worth(with_(most)):
        return ""
    times = _edge(lambda times: worth(with_(times)), bad=1.0, good=most)
    return (
        f"a larger or slower target, with a step of {1e3 * times * alone_s:.3g} ms in place of "
        f"{1e3 * alone_s:.3g} ms, at the same alpha"
    )


def _up(value: float) -> float:
    """To the next hundredth, at most 1."""
    return min(1.0, float(np.ceil(100 * value)) / 100)


def rate_words(rate_bps: float) -> str:
    """`400 kbit/s`, `2.1 Mbit/s`."""
    return f"{rate_bps / 1e3:.3g} kbit/s" if rate_bps < 1e6 else f"{rate_bps / 1e6:.3g} Mbit/s"


__all__ = [
    "WORTH",
    "Colocated",
    "Kind",
    "Pair",
    "Predicted",
    "Verdict",
    "colocated",
    "coupled",
    "judge",
    "predict",
    "rate_words",
]
