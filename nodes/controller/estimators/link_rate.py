"""Seconds a bit on the uplink, from the spacing of two messages that were sent back to back.

A block's ids go out, and its rows right behind them, so at the BS the rows' last bit comes (bits of the
rows) x (seconds a bit) after the ids', whatever the clocks, the round trip and the models do. A Kalman
filter on seconds a bit takes these spacings in: its state may wander by 3 % a step, and where two running
are far off it believes that the link has changed. Where a link fades faster than blocks go, no estimate
is right: so it also remembers by how much the last ones were off, two steps after they were made, as
plans are; the jitter is not counted. Expected error, at a jitter of 0.3 ms a message: below 10 % after 10
steps where the rows take over 5 ms; frames that take less than the jitter say little, and little hangs on
them then. After a drop of the rate it is right again within 2 steps.
"""

from collections import deque
from math import copysign

PRIOR_BPS = 5e6
LOST_BPS = 40e3
"The slowest that is believed: two messages in the time of a usual pass."

MIN_S_PER_BIT, MAX_S_PER_BIT = 5e-9, 1 / LOST_BPS
"200 Mbit/s, beyond which nothing depends on the rate, and 40 kbit/s."

DRIFT = 0.03
"Relative, a step: how far a link wanders."

STEP_S = 0.2
"Silence counts as a step of drift each time this long."

NOISE_S = 0.5e-3
"Of a spacing: tasks woken late, at both ends."

SURPRISE = 3.0
"Standard deviations: beyond it twice running, the link has changed."

CAUTIOUS_BPS = 100e3
"""Before anything is measured, what may be sent at: ids at this rate come a few milliseconds later than they
could on a fast link, and at the prior they would fill the queue of a slow one."""

PLAN_LAG = 2
"Steps from the report that a plan rests on to the block that goes by it."

WINDOW = 40
"Estimates whose errors are remembered: fewer would miss rare fades, more would keep a jump for too long."


class LinkRate:
    """Of one device's uplink."""

    def __init__(self) -> None:
        self.s_per_bit = 1 / PRIOR_BPS
        self._variance = (2 * self.s_per_bit) ** 2  # wide: the first frame of some length decides
        self._last_at_s: float | None = None
        self._surely_bps = CAUTIOUS_BPS
        self._surprised = True  # the prior has no weight against a first frame that is far off
        self._made = deque[float](maxlen=PLAN_LAG)
        self._off = deque[float](maxlen=WINDOW)

    @property
    def bps(self) -> float:
        """Bits a second."""
        return 1 / self.s_per_bit

    @property
    def bearable_bps(self) -> float:
        """What may be sent without filling the link's queue, as far as is known."""
        return self.bps if self._last_at_s is not None else min(self.bps, self._surely_bps)

    @property
    def off_s_per_bit(self) -> tuple[float, ...]:
        """Seconds a bit by which recent estimates were too low, or too high; empty: all held up to jitter."""
        return tuple(self._off) if any(self._off) else ()

    def observe(self, *, spacing_s: float, bits: float, at_s: float, jitter_s: float) -> None:
        """The rows, of `bits` in all, ended `spacing_s` after their ids, at `at_s`; jitter_s: of one message.

        A spacing of 0 or less is left out: such rows overtook their ids, or came before them.
        """
        if spacing_s <= 0:
            return
        silence_s = 0.0 if self._last_at_s is None else at_s - self._last_at_s
        self._last_at_s = at_s
        self._variance += (DRIFT * self.s_per_bit) ** 2 * max(1.0, silence_s / STEP_S)
        noise = NOISE_S**2 + 2 * jitter_s**2
        off_s = spacing_s - bits * self.s_per_bit
        if len(self._made) == PLAN_LAG:
            late_s = spacing_s - bits * self._made[0]
            unexplained_s = max(0.0, abs(late_s) - SURPRISE * noise**0.5)
            self._off.append(copysign(unexplained_s / bits, late_s))
        surprising = off_s**2 > SURPRISE**2 * (bits**2 * self._variance + noise)
        if surprising and self._surprised:
            self._variance = max(self._variance, (2 * off_s / bits) ** 2)
        self._surprised = surprising
        gain = bits * self._variance / (bits**2 * self._variance + noise)
        self.s_per_bit = min(max(self.s_per_bit + gain * off_s, MIN_S_PER_BIT), MAX_S_PER_BIT)
        self._variance *= 1 - gain * bits
        self._made.append(self.s_per_bit)

    def lost(self) -> None:
        """Nothing that was sent has come in time: until it is measured again it is as slow as links are."""
        self.s_per_bit = MAX_S_PER_BIT
        self._variance = (2 * self.s_per_bit) ** 2
        self._surprised = False
        self._surely_bps = LOST_BPS

    def at_most(self, s_per_bit: float) -> bool:
        """Messages that the estimate would have taken longer for have come: it is no more than this.

        Whether that has changed it.
        """
        if s_per_bit >= MIN_S_PER_BIT:
            self._surely_bps = max(self._surely_bps, 1 / s_per_bit)
        changed = MIN_S_PER_BIT <= s_per_bit < self.s_per_bit
        if changed:
            self.s_per_bit = s_per_bit
            self._variance = max(self._variance, s_per_bit**2)
        return changed


__all__ = ["LinkRate"]
