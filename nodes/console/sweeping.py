"""What `draftwire sweep` measures: the paper's Table II on any pair. Pure: outcomes in, figures out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.comparison import StepSeconds, step_times
from draftwire.nodes.console.outcome import Outcome
from draftwire.nodes.speculation.cost import best_length, speedup


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One gamma of a row."""

    gamma: int
    alpha: float | None
    "of the requests at this gamma alone; None: nothing was tested"
    tokens_per_s: float
    "measured: tokens over seconds of all its requests"
    predicted: float
    "by eq. (11) with the row's alpha and L, times the target alone as measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One K at one temperature, as Table II has it."""

    temperature: float
    k: int
    alpha: float | None
    "over all gamma; None: nothing was tested"
    row_bytes: float
    "a drafted token, frames of rows only; 0 at temperature 0, where none travel"
    cost: float
    "L = (t_d + a row's time on the link) / T_t"
    gamma_star: int | None
    "by Theorem 2 from alpha and L"
    best_s: float | None
    "S(gamma*) of eq. (11)"
    cells: tuple[Cell, ...]

    @property
    def best(self) -> Cell:
        """The gamma that was fastest, measured."""
        return max(self.cells, key=lambda cell: cell.tokens_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All of it."""

    rate_bps: float
    draft_step_s: float
    target_step_s: float
    "T_t: the pass of the target alone"
    alone: dict[float, float]
    "temperature -> tokens a second of the target alone"
    rows: tuple[SweepRow, ...]


def sweep_of(outcomes: Iterable[Outcome], *, rate_bps: float) -> Sweep:
    """Figures of a sweep. Raises ValueError where nothing was drafted, or the target alone was not run.

    T_t is the median pass of the target alone; t_d the median time of a drafted token.
    """
    every = [one for one in outcomes if one.tokens]
    alone_ones = [one for one in every if one.setting.gamma == 0]
    times = step_times(every)
    passes = [one.target_step_s for one in alone_ones if one.target_step_s is not None]
    if times is None or not passes:
        raise ValueError("nothing was drafted, or the target alone was not run")
    times = StepSeconds(draft_s=times.draft_s, target_s=median(passes), target_per_token_s=0.0)
    temperatures = sorted({one.temperature for one in every})
    alone = {t: _speed([one for one in alone_ones if one.temperature == t]) for t in temperatures}
    drafting = [one for one in every if one.setting.gamma]
    kinds = sorted({(one.temperature, one.setting.k or 0) for one in drafting})
    rows = tuple(
        _row(
            [one for one in drafting if (one.temperature, one.setting.k or 0) == kind],
            times=times,
            rate_bps=rate_bps,
            alone=alone[kind[0]],
        )
        for kind in kinds
    )
    return Sweep(
        rate_bps=rate_bps, draft_step_s=times.draft_s, target_step_s=times.target_s, alone=alone, rows=rows
    )


def _row(outcomes: Sequence[Outcome], *, times: StepSeconds, rate_bps: float, alone: float) -> SweepRow:
    first = outcomes[0]
    row_bytes = sum(one.rows_bytes for one in outcomes) / max(1, sum(one.drafted for one in outcomes))
    cost = (times.draft_s + 8 * row_bytes / rate_bps) / times.target_s
    alpha = _alpha(outcomes)
    star = None if alpha is None else best_length(alpha=alpha, draft_cost=cost, gamma_max=MAX_GAMMA)
    cells = list[Cell]()
    for gamma in sorted({one.setting.gamma or 0 for one in outcomes}):
        own = [one for one in outcomes if one.setting.gamma == gamma]
        s = speedup(alpha=alpha or 0.0, gamma=gamma, draft_cost=cost)
        cells.append(Cell(gamma=gamma, alpha=_alpha(own), tokens_per_s=_speed(own), predicted=s * alone))
    return SweepRow(
        temperature=first.temperature,
        k=first.setting.k or 0,
        alpha=alpha,
        row_bytes=row_bytes,
        cost=cost,
        gamma_star=star,
        best_s=None if star is None or alpha is None else speedup(alpha=alpha, gamma=star, draft_cost=cost),
        cells=tuple(cells),
    )


def _alpha(outcomes: Sequence[Outcome]) -> float | None:
    seen = sum(one.seen for one in outcomes)
    return sum(one.accepted for one in outcomes) / seen if seen else None


def _speed(outcomes: Sequence[Outcome]) -> float:
    seconds = sum(one.seconds for one in outcomes)
    if seconds <= 0:
        raise ValueError("the target alone was not run at one of the temperatures")
    return sum(one.tokens for one in outcomes) / seconds


__all__ = ["Cell", "Sweep", "SweepRow", "sweep_of"]
