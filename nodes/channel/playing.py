"""A schedule of links under way: when it began, what holds now, and when that changes."""

from enum import StrEnum

from draftwire.runtime.link_schedule import LinkSchedule


class Direction(StrEnum):
    """Of a link, seen from the device."""

    UPLINK = "uplink"
    DOWNLINK = "downlink"


class PlayedLink:
    """One direction's schedule against a clock; its first link holds until it has been started."""

    def __init__(self, schedule: LinkSchedule) -> None:
        self.schedule = schedule
        self.spec = schedule.spec_at(0.0)
        "what holds now"
        self._origin_s: float | None = None
        self._reached_s = 0.0  # in the schedule's own time; clock minus origin would have a rounding error

    def start(self, now_s: float) -> bool:
        """Time 0 of the schedule is now. False: it had been started before, and goes on as it does."""
        if self._origin_s is not None:
            return False
        self._origin_s = now_s
        return True

    def due_s(self) -> float | None:
        """When `advance` has something to do next; None: never, as things are."""
        change_s = self.schedule.next_change_s(self._reached_s)
        return None if self._origin_s is None or change_s is None else self._origin_s + change_s

    def advance(self, now_s: float) -> bool:
        """Let hold what the schedule says for now; whether that is another link than before.

        A caller that comes late skips the changes that were over by then.
        """
        due_s = self.due_s()
        if due_s is None or now_s < due_s:
            return False
        change_s = self.schedule.next_change_s(self._reached_s)
        assert change_s is not None and self._origin_s is not None, "it is due"
        self._reached_s = max(change_s, now_s - self._origin_s)
        before, self.spec = self.spec, self.schedule.spec_at(self._reached_s)
        return self.spec != before


__all__ = ["Direction", "PlayedLink"]
