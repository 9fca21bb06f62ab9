"""How much a node holds: every table in it, found by walking through its attributes, and its size.

Nobody has to name a table for it to be watched: one that is added to a node tomorrow is found as well.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from statistics import linear_regression
from typing import Any, Final

from draftwire.nodes.console.chaos.wire import MortalEndpoint, MortalTransport

OURS: Final = "draftwire."
NOT_THE_NODES: Final = "draftwire.nodes.console."
"""What runs a node, and is no part of it."""

TABLES: Final = (dict, list, set, deque)
"""What can grow."""

GROUPS: Final = (*TABLES, tuple, frozenset)
"""What holds others."""

THROUGH: Final = (MortalTransport, MortalEndpoint)
"""Of what runs a node, those that hold a part of it: its transport and its endpoints, in `_inner`."""


def sizes_of(node: object) -> Counter[str]:
    """Class and attribute -> entries, over all objects of the class."""
    sizes, seen, left = Counter[str](), {id(node)}, [node]
    while left:
        one = left.pop()
        if _is_ours(one):
            for name, value in _attributes(one):
                if isinstance(value, TABLES):
                    sizes[f"{type(one).__qualname__}.{name}"] += len(value)
        for other in _inside(one):
            if id(other) not in seen and _leads_on(other):
                seen.add(id(other))
                left.append(other)
    return sizes


def _is_ours(one: object) -> bool:
    module = type(one).__module__
    return module.startswith(OURS) and not module.startswith(NOT_THE_NODES)


def _leads_on(one: object) -> bool:
    return isinstance(one, (*GROUPS, *THROUGH)) or (_is_ours(one) and not isinstance(one, type))


def _inside(one: object) -> Iterator[Any]:
    if isinstance(one, THROUGH):
        yield getattr(one, "_inner")  # noqa: B009  (private to it)
    elif isinstance(one, dict):
        yield from one.keys()
        yield from one.values()
    elif isinstance(one, GROUPS):
        yield from one
    else:
        yield from (value for _, value in _attributes(one))


def _attributes(one: object) -> Iterator[tuple[str, Any]]:
    """Those that it has now, in slots too."""
    yield from getattr(one, "__dict__", {}).items()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(one, name) and name not in ("__dict__", "__weakref__"):
                yield name, getattr(one, name)


def growth_of(values: Sequence[float]) -> float:
    """How much they grow over their second half, by the straight line that fits it best; few: 0."""
    half = values[len(values) // 2 :]
    if len(half) < 2:
        return 0.0
    return linear_regression(range(len(half)), half).slope * (len(half) - 1)


def new_most(values: Sequence[int]) -> int:
    """By how much the most of their second half is above that of the first.

    What fills up and is emptied again, or stays full, has had its most by halfway.
    """
    half = len(values) // 2
    return max(values[half:], default=0) - max(values[:half], default=0)


__all__ = ["growth_of", "new_most", "sizes_of"]
