"""Goals of a benchmark: which are met, in its JSON object and in its table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_NONE: Final[Mapping[str, float]] = MappingProxyType({})


def judged(
    found: Mapping[str, Any], *, at_most: Mapping[str, float] = _NONE, at_least: Mapping[str, float] = _NONE
) -> dict[str, dict[str, Any]]:
    """Of each figure with a goal: the goal, and whether it is met; None: it was not measured."""
    goals = dict[str, dict[str, Any]]()
    for name, most in at_most.items():
        value = found[name]
        goals[name] = {"at_most": most, "met": None if value is None else bool(value <= most)}
    for name, least in at_least.items():
        value = found[name]
        goals[name] = {"at_least": least, "met": None if value is None else bool(value >= least)}
    return goals


def verdict(goal: Mapping[str, Any] | None) -> tuple[str, str]:
    """Two cells of a table: the goal, and `met` or `missed`; both empty where there is none."""
    if goal is None:
        return "", ""
    told = f"<= {goal['at_most']:g}" if "at_most" in goal else f">= {goal['at_least']:g}"
    return told, {True: "met", False: "missed", None: ""}[goal["met"]]


__all__ = ["judged", "verdict"]
