"""How evenly devices are served."""

from collections.abc import Sequence


def jain_fairness(speeds: Sequence[float]) -> float | None:
    """Jain's index: 1 where all are equal, 1/n where one has everything; None: nobody has anything."""
    squares = sum(one * one for one in speeds)
    return sum(speeds) ** 2 / (len(speeds) * squares) if squares else None


__all__ = ["jain_fairness"]
