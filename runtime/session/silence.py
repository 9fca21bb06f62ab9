"""How long the BS has said nothing to a device, and when the device speaks up again. Times are arguments."""

from zlib import crc32

from draftwire.runtime.session.request import Timing, doubled_s

ASLEEP_S = 2.0
"""So far behind its own deadline an end was not busy but stopped, or its machine slept.

Less than that counts as silence of the BS: a loop that is always a little late must still find it absent.
"""

LEAST_RETRY_S = 0.5
"""A BS without room is asked no more often, whatever it says."""

RETRY_SPREAD = 0.5
"""Up to so much of the wait is added to it."""

LAST_S = 1.0
"""A BS without room is asked a last time so long before the end, or twice as long."""

STRETCH = 3.0
"""A first repeat comes after so many of the longest turnarounds seen lately."""


class Silence:
    """What a device waits for, from one word of the BS to the next."""

    def __init__(self, timing: Timing, *, now_s: float) -> None:
        self.timing = timing
        self.deadline_s = now_s
        "when to speak up, if nothing comes"
        self.limit_s = timing.reach_s
        "so much silence ends the request"
        self.repeats = 0
        "since the last news"
        self._unanswered = 0
        "repeats since the BS was last heard"
        self._busy = 0
        "times that it had no room"
        self._busy_since_s: float | None = None
        "it has had none since then, whenever it was asked"
        self._turnaround_s = 0.0
        "the longest seen lately, without repeats"
        self._guess_s = 0.0
        "the last, where repeats leave it open how long it was; else 0"
        self._heard_s = self._asked_s = self._awake_s = now_s

    def wakes(self, now_s: float) -> None:
        """Called first with every time. What this end slept through is not the BS's silence.

        Only the time behind a deadline that nobody kept is left out, never the wait for it: so an absent BS
        is found absent after as many waits as ever, however often this end sleeps.
        """
        slept_s = now_s - max(self.deadline_s, self._awake_s)
        self._awake_s = now_s
        if slept_s > ASLEEP_S:
            self._heard_s += slept_s
            self._asked_s += slept_s
            if self._busy_since_s is not None:
                self._busy_since_s += slept_s

    def heard(self, now_s: float) -> None:
        """The BS has spoken, or nothing was asked of it."""
        self._heard_s, self._unanswered = now_s, 0

    def answered(self, now_s: float) -> None:
        """What was asked has brought news: a slow link gets longer waits.

        After repeats nobody can tell a slow link from one that was away. So they double the first wait at
        most, and only until news comes without any: a link that is slow for good doubles it again until no
        repeat is needed, and outages behind one another do not add up.
        """
        turnaround_s = now_s - self._asked_s
        if self.repeats:
            self._guess_s = min(turnaround_s, 2 * self._first_s / STRETCH)
        else:
            self._guess_s = 0.0
            self._turnaround_s = max(turnaround_s, 0.9 * self._turnaround_s)

    def begins(self) -> None:
        """The BS serves the request, and has been heard from here: it is worth a longer wait from now on."""
        self.limit_s = self.timing.absent_s
        self._busy_since_s = None

    def busy(self, now_s: float, *, retry_s: float, begun: bool, whose: str) -> None:
        """The BS lives and has no room: it is to be asked again after `retry_s`, or a little later.

        The time until the end runs on meanwhile; a request that has `begun` has more of it. How much later
        hangs on `whose` it is and on the count, so that those refused together don't come back together.
        """
        self.heard(now_s)
        if begun:
            self.limit_s = self.timing.absent_s
        if self._busy_since_s is None:
            self._busy_since_s = now_s
        self._busy += 1
        self.repeats = 0
        own = crc32(f"{whose} {self._busy}".encode()) / 2**32
        again_s = max(LEAST_RETRY_S, retry_s) * (1 + RETRY_SPREAD * own)
        last_s = self._end_s - LAST_S * (1 + own)
        if last_s <= now_s + LEAST_RETRY_S:
            last_s = max(now_s, self._end_s)
        self.deadline_s = min(now_s + again_s, last_s)

    @property
    def answers(self) -> bool:
        """Whether the BS has said something since the last repeat but one."""
        return self._unanswered <= 1

    def absent(self, now_s: float) -> bool:
        """Whether the BS has been silent, or busy, for too long to go on."""
        return now_s >= self._end_s

    def restarted(self, now_s: float) -> bool:
        """Whether to take the BS for restarted; in time for one that lives to answer, in another life."""
        return self._unanswered > self.timing.reopen_after or now_s >= self._heard_s + self.limit_s / 2

    def repeat(self) -> None:
        """Something is said once more."""
        self.repeats += 1
        self._unanswered += 1

    def ask(self, now_s: float) -> None:
        """Something new is asked: waits begin anew."""
        self.repeats = 0
        self._asked_s = now_s

    def wait(self, now_s: float, *, listening: bool) -> None:
        """Set the deadline: the first wait, doubled with each repeat up to a limit, not beyond the end."""
        first_s = self.timing.ping_s if listening else self._first_s
        wait_s = doubled_s(first_s, self.repeats, self.timing.resend_most_s)
        if not self.answers:
            wait_s = min(wait_s, max(first_s, self.timing.silent_most_s))
        self.deadline_s = min(now_s + wait_s, max(now_s, self._end_s))

    @property
    def _end_s(self) -> float:
        """When the request ends if it is not served."""
        since_s = self._heard_s if self._busy_since_s is None else min(self._heard_s, self._busy_since_s)
        return since_s + self.limit_s

    @property
    def _first_s(self) -> float:
        """The wait for news before the first repeat."""
        return max(self.timing.resend_s, STRETCH * max(self._turnaround_s, self._guess_s))


__all__ = ["ASLEEP_S", "LAST_S", "LEAST_RETRY_S", "RETRY_SPREAD", "Silence"]
