"""What `draftwire bench codec` is held to: goals, the same for any pair, and whether a run meets them.

Goals of bits and of acceptance need a sample: below ENOUGH_ROWS they are not judged. Goals of times are a
trend: what a time is depends on the machine, and on who shares it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KS: Final = (3, 8, 32, 320, 3200)

ENOUGH_ROWS: Final = 2000
"Fewer are too small a sample of a text for bits an entry and acceptance."

MET: Final = "met"
MISSED: Final = "missed"
TOO_FEW: Final = "too few rows to judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure of the JSON object, and the most that it should be."""

    at_most: float
    says: str
    "what the figure is, for people"
    spec: str
    "the format that it is written in"
    trend: bool = False
    "whether it is a time"


_SOURCE = "bits over the source model's"
_LOSS = "acceptance lost by quantising"
_TIME = "us, 4 rows encoded and decoded"

GOALS: Final = {
    "K.32.over_source_model": Goal(at_most=1.10, says=_SOURCE, spec=".3f"),
    "K.320.over_source_model": Goal(at_most=1.10, says=_SOURCE, spec=".3f"),
    "K.3200.over_source_model": Goal(at_most=1.10, says=_SOURCE, spec=".3f"),
    **{f"K.{k}.alpha_loss": Goal(at_most=0.005, says=_LOSS, spec=".2%") for k in KS},
    "K.320.over_paper": Goal(at_most=0.24, says="bits over the paper's", spec=".3f"),
    "K.320.one_table_over_paper": Goal(at_most=0.29, says="the same, one table a rung", spec=".3f"),
    "K.32.encode_decode_us": Goal(at_most=150, says=_TIME, spec=".0f", trend=True),
    "K.320.encode_decode_us": Goal(at_most=280, says=_TIME, spec=".0f", trend=True),
}


def goals_of(found: Mapping[str, Mapping[str, Any]], *, rows: int) -> dict[str, dict[str, Any]]:
    """Each of GOALS that was measured, on so many rows; `met` is None where they are too few to judge."""
    goals = {}
    for name, goal in GOALS.items():
        k, _, figure = name.rpartition(".")
        value = found.get(k, {}).get(figure)
        if value is None:
            continue
        met = bool(value <= goal.at_most) if goal.trend or rows >= ENOUGH_ROWS else None
        verdict = TOO_FEW if met is None else MET if met else MISSED
        goals[name] = {
            "value": value,
            "at_most": goal.at_most,
            "met": met,
            "verdict": f"{verdict}, a trend" if goal.trend else verdict,
            "trend": goal.trend,
            "says": goal.says,
        }
    return goals


__all__ = ["ENOUGH_ROWS", "GOALS", "KS", "MET", "MISSED", "TOO_FEW", "Goal", "goals_of"]
