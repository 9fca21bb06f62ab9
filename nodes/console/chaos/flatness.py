"""Whether a soak was flat: what its samples say of memory, tasks, descriptors, and of each table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from draftwire.nodes.channel.deliveries import KEPT_LATENESS
from draftwire.nodes.channel.links import KEPT_VISITS
from draftwire.nodes.console.chaos.sizes import growth_of, new_most
from draftwire.nodes.console.chaos.soak import SERVERS, Sample, Soaked
from draftwire.nodes.controller.knowledge import MAX_BLOCKS, MAX_REQUESTS
from draftwire.nodes.controller.node import MAX_REMEMBERED
from draftwire.nodes.target import batcher, greeted, opening, plans, waste
from draftwire.runtime import budgets

FILLING: Final[Mapping[str, int]] = {
    "WasteBudget._budgets": waste.MAX_DEVICES,
    "Budgets._until_s": 4 * budgets.MOST_KEYS,  # of opening, of reading, and of rows
    "Openings._told": opening.MOST_TOLD,
    "Batcher._had": batcher.MAX_DEVICES,
    "FirstPlans._of_device": plans.MAX_DEVICES,
    "_Openings.orders": 2 * plans.MAX_DEVICES,  # of rejection, and of coupled acceptance
    "Greeted._names": greeted.MAX_PEERS,
    "Greeted._by_key": greeted.MAX_PEERS,
    "Links._visits": KEPT_VISITS,
    "History._last_s": 2 * KEPT_LATENESS,  # of deliveries, and of reading
    "ControllerNode._openings": MAX_REMEMBERED,
    "ControllerNode._vocab_sizes": MAX_REMEMBERED,
    "RequestState.rows_at_s": MAX_BLOCKS * MAX_REQUESTS,
}
"""Tables that have a bound of entries which so many hours do not fill: table -> that bound."""

JUDGED_FROM_H: Final = 12.0
"""A shorter run does not fill what remembers hundreds of devices or requests, so that has to grow in it."""

MOST_MEMORY_MB: Final = 8.0
"""Growth over the second half: pages that are not given back, and tables of FILLING."""

MOST_TASKS: Final = 20.0
"""Growth over the second half; that of descriptors too: devices come and go, of each a channel keeps some."""

MOST_ENTRIES: Final = 24
"""Growth of a table in the second half of the time in which its server is spared; or MOST_SHARE of it."""

MOST_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Of one table of a server."""

    table: str
    "server, class and attribute"
    entries: int
    "at the end"
    grew: int
    "entries: by how much the most of the second half is above that of the first"

    @property
    def flat(self) -> bool:
        """Whether it is within its bound."""
        bound = FILLING.get(self.table.rpartition(" ")[2])
        if bound is not None:
            return self.entries <= bound
        return self.grew <= max(MOST_ENTRIES, MOST_SHARE * self.entries)


def growths_of(samples: Sequence[Sample]) -> list[Growth]:
    """Of each table of each server while that was spared, those that grew most first."""
    found = list[Growth]()
    for server in SERVERS:
        tables = [one.tables for one in samples if one.spared == server]
        for name in sorted({name for one in tables for name in one}):
            values = [one.get(name, 0) for one in tables]
            found.append(Growth(table=f"{server} {name}", entries=values[-1], grew=new_most(values)))
    return sorted(found, key=lambda one: -one.grew)


def broken_by(came: Soaked) -> list[str]:
    """What grows that should not, as sentences; nothing of a run too short to be judged."""
    if came.virtual_h < JUDGED_FROM_H:
        return []
    bounds = (("memory_mb", MOST_MEMORY_MB), ("tasks", MOST_TASKS), ("descriptors", MOST_TASKS))
    wrong = [
        f"{name} grew by {grew:.1f} over the second half, {most:g} may be"
        for name, most in bounds
        if (grew := _growth(came, name)) is not None and grew > most
    ]
    return wrong + [
        f"{one.table} has {one.entries} entries, and had up to {one.grew} more than before halfway"
        for one in growths_of(came.samples)
        if not one.flat
    ]


def as_fields(came: Soaked) -> dict[str, Any]:
    """For --json; None: not measured. `tables`: those that grew at all."""
    tables = {one.table: one for one in growths_of(came.samples) if one.grew > 0 or not one.flat}
    return {
        "virtual_h": round(came.virtual_h, 3),
        "wall_s": round(came.wall_s, 1),
        "devices": came.devices,
        "requests": came.requests,
        "tokens": came.tokens,
        "deaths": dict(came.deaths),
        "memory_mb": _rounded(came.samples[-1].memory_mb if came.samples else None, 1),
        "memory_growth_mb": _rounded(_growth(came, "memory_mb"), 2),
        "tasks_growth": _rounded(_growth(came, "tasks"), 1),
        "descriptors_growth": _rounded(_growth(came, "descriptors"), 1),
        "tables": {name: {"entries": one.entries, "growth": one.grew} for name, one in tables.items()},
        "judged": came.virtual_h >= JUDGED_FROM_H,
        "broken": came.broken + broken_by(came),
    }


def _growth(came: Soaked, name: str) -> float | None:
    """None: it was not measured."""
    values = [getattr(one, name) for one in came.samples]
    return None if not values or None in values else growth_of([float(one) for one in values])


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


__all__ = ["FILLING", "JUDGED_FROM_H", "Growth", "as_fields", "broken_by", "growths_of"]
