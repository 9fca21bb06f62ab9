"""From the outcomes and the record of `draftwire bench e2e` to its figures. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.outcome import ALONE, AUTO, Outcome, Scene
from draftwire.nodes.console.record import Record
from draftwire.nodes.console.timeline import Run, rate_at, runs_of, speed_between

MIN_STEPS = 8
"""Of a request whose speed is held against what was predicted: a shorter one says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneScore:
    """One link."""

    changes: bool
    auto: float
    "tokens a second, the median of the repeats"
    auto_least: float
    auto_most: float
    alone: float
    best_fixed: float
    "of the best of the fixed settings in hindsight"
    best_setting: str
    over_alone: float
    "auto over the target alone, the median of the ratios within each repeat"
    over_alone_least: float
    over_alone_most: float
    over_best_fixed: float
    alpha: float | None
    "of the adaptive requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One compute profile."""

    scenes: Mapping[str, SceneScore]
    speedup_good_link: float
    speedup_rtt100: float
    worst_vs_target_only: float
    adaptive_over_best_fixed: float
    adaptive_over_best_fixed_changing: float
    measured_over_predicted: float | None
    k_used: Mapping[str, int | None]
    "by link segment: the K of the most steps with rows; None: there were none"
    gamma_used: Mapping[str, int]
    "by link segment: the gamma of the most steps"
    sparse_frames: int
    "messages with rows, all settings together"

    def fields(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def scores_of(outcomes: Sequence[Outcome], record: Record, *, good: Scene, far: Scene) -> Scores:
    """The figures of one profile. `good`, `far`: links with a figure of their own, over the target alone.

    Raises ValueError where a link lacks auto, the target alone or the grid.
    """
    by_scene: dict[Scene, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_scene[outcome.scene].append(outcome)
    scenes = {scene.name: _scene(scene, own) for scene, own in by_scene.items()}
    still = [score for score in scenes.values() if not score.changes]
    moving = [score for score in scenes.values() if score.changes]
    runs = _adaptive(outcomes, record)
    k_used, gamma_used = _used(runs, record)
    return Scores(
        scenes=scenes,
        speedup_good_link=scenes[good.name].over_alone,
        speedup_rtt100=scenes[far.name].over_alone,
        worst_vs_target_only=min(score.over_alone for score in still),
        adaptive_over_best_fixed=mean(score.over_best_fixed for score in still),
        adaptive_over_best_fixed_changing=mean(score.over_best_fixed for score in moving),
        measured_over_predicted=_measured_over_predicted(run for run, _ in runs),
        k_used=k_used,
        gamma_used=gamma_used,
        sparse_frames=sum(outcome.sparse_frames for outcome in outcomes),
    )


def _scene(scene: Scene, outcomes: Sequence[Outcome]) -> SceneScore:
    speeds: dict[str, dict[int, float]] = defaultdict(dict)
    for outcome in outcomes:
        speeds[outcome.setting.name][outcome.repeat] = outcome.tokens_per_s
    fixed = {
        name: median(own.values()) for name, own in speeds.items() if name not in (AUTO.name, ALONE.name)
    }
    if not fixed or AUTO.name not in speeds or ALONE.name not in speeds:
        raise ValueError(
            f"{scene.name}: needs auto, the target alone and a fixed setting, has {[*speeds]}"
        )
    auto, alone = speeds[AUTO.name], speeds[ALONE.name]
    ratios = [auto[repeat] / alone[repeat] for repeat in auto]
    best = max(fixed, key=lambda name: fixed[name])
    adaptive = [one for one in outcomes if one.setting.rivals]
    seen = sum(one.seen for one in adaptive)
    return SceneScore(
        changes=scene.changes,
        auto=median(auto.values()),
        auto_least=min(auto.values()),
        auto_most=max(auto.values()),
        alone=median(alone.values()),
        best_fixed=fixed[best],
        best_setting=best,
        over_alone=median(ratios),
        over_alone_least=min(ratios),
        over_alone_most=max(ratios),
        over_best_fixed=median(auto.values()) / fixed[best],
        alpha=sum(one.accepted for one in adaptive) / seen if seen else None,
    )


def _adaptive(outcomes: Iterable[Outcome], record: Record) -> list[tuple[Run, Outcome]]:
    """The record's runs that were measured, each with its outcome."""
    adaptive = [one for one in outcomes if one.setting.rivals]
    pairs = ((run, _outcome_of(run, adaptive)) for run in runs_of(record))
    return [(run, outcome) for run, outcome in pairs if outcome is not None]


def _measured_over_predicted(runs: Iterable[Run]) -> float | None:
    """The median over measured requests; those too short to say anything are left out. None: no such one."""
    ratios = []
    for run in runs:
        tokens, seconds = speed_between(run, run.begins_s, run.ends_s)
        predicted = [one.belief.tokens_per_s for one in run.decisions if one.belief is not None]
        if len(run.steps) >= MIN_STEPS and predicted and seconds > 0:
            ratios.append(tokens / seconds / mean(predicted))
    return median(ratios) if ratios else None


def _used(
    runs: Iterable[tuple[Run, Outcome]], record: Record
) -> tuple[dict[str, int | None], dict[str, int]]:
    """K and gamma of the adaptive steps, by link; a link that changes has a segment for each of its rates."""
    ks: dict[str, Counter[int]] = defaultdict(Counter)
    gammas: dict[str, Counter[int]] = defaultdict(Counter)
    for run, outcome in runs:
        for step in run.steps:
            segment = _segment(outcome.scene, record, step.ended_at_s, device=run.device)
            gammas[segment][step.gamma if step.hints or step.drafted else 0] += 1
            if step.drafted and not step.hints:
                ks[segment][step.k] += 1
    return (
        {name: ks[name].most_common(1)[0][0] if ks[name] else None for name in gammas},
        {name: used.most_common(1)[0][0] for name, used in gammas.items()},
    )


def _outcome_of(run: Run, outcomes: Iterable[Outcome]) -> Outcome | None:
    """The request that a run of the record belongs to: by time, since they came one after the other."""
    for one in outcomes:
        if one.started_at_s <= run.ends_s <= one.started_at_s + one.seconds + 1e-3:
            return one
    return None


def _segment(scene: Scene, record: Record, at_s: float, *, device: str) -> str:
    rate = rate_at(record.links, at_s, device=device) if scene.changes else None
    return scene.name if rate is None else f"{scene.name} at {rate / 1e6:g}"


def scores_table(scores: Scores) -> None:
    """Print them, on stderr: standard output is for the JSON object."""
    table = Table(
        title="Tokens a second",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("link", no_wrap=True)
    for heading in ("auto", "spread", "alone", "x alone", "best", "x best", "best fixed", "alpha"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in scores.scenes.items():
        table.add_row(
            name,
            f"{one.auto:.1f}",
            f"{one.auto_least:.1f}-{one.auto_most:.1f}",
            f"{one.alone:.1f}",
            f"{one.over_alone:.2f}",
            f"{one.best_fixed:.1f}",
            f"{one.over_best_fixed:.2f}",
            one.best_setting,
            "-" if one.alpha is None else f"{one.alpha:.2f}",
        )
    console = Console(stderr=True, highlight=False)
    console.print(table)
    ratio = scores.measured_over_predicted
    for line in (
        f"speedup_good_link {scores.speedup_good_link:.2f}, speedup_rtt100 {scores.speedup_rtt100:.2f}, "
        f"worst_vs_target_only {scores.worst_vs_target_only:.2f}",
        f"adaptive_over_best_fixed {scores.adaptive_over_best_fixed:.2f}, "
        f"changing {scores.adaptive_over_best_fixed_changing:.2f}",
        f"measured_over_predicted {'-' if ratio is None else f'{ratio:.2f}'}",
        *(f"{name}: K {scores.k_used[name]}, gamma {gamma}" for name, gamma in scores.gamma_used.items()),
    ):
        console.print(line, markup=False)


__all__ = ["SceneScore", "Scores", "scores_of", "scores_table"]
