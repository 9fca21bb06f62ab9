"""Many fixed settings at once: the simulation of cycles.py with one array entry a run, every step together.

Equal to `cycles.simulate` with a FixedPolicy, run by run; hindsight's best of 120 settings costs a second.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.console.bench.cycles import Course
from draftwire.nodes.speculation.cost import Compute
from draftwire.runtime.link import LinkSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Sizes = Floats | Integers

_LINK = LinkSpec()


def simulate_fixed(
    courses: Sequence[Course], settings: Sequence[tuple[int, int]], *, blockwise: bool = False
) -> Floats:
    """Tokens a second of fixed (K, gamma), gamma >= 1, at once; shape [settings, courses].

    `blockwise`: all of them wait for all rows of each block.

    The courses differ in seed and link only. Equal to `simulate` with a FixedPolicy, course by course.
    """
    first = courses[0]
    rungs = {k: i for i, k in enumerate(first.trace.ladder)}
    lanes = [(rungs[k], k, gamma, c) for k, gamma in settings for c in range(len(courses))]
    finish = np.zeros((len(lanes), 2))
    state = _Lanes(courses, np.array(lanes), blockwise=blockwise)
    while len(state.index):
        state.advance()
        done = state.position >= first.tokens
        if done.any():
            finish[state.index[done]] = np.column_stack([state.position, state.device_s])[done]
            state.keep(~done)
    rates: Floats = (finish[:, 0] / finish[:, 1]).reshape(len(settings), len(courses))
    return rates


class _Lanes:
    """The state of many runs, one array entry each; every step is taken by all of them together."""

    def __init__(self, courses: Sequence[Course], lanes: Integers, *, blockwise: bool) -> None:
        self.first, self.blockwise = courses[0], blockwise
        self.runs = np.stack([course.runs for course in courses])
        self.bits = np.stack([course.bits for course in courses])
        self.late_s = np.stack([course.late_s for course in courses])
        self.rates_bps = np.stack([course.link.rates_bps for course in courses])
        self.index = np.arange(len(lanes))
        self.rung, self.k, self.gamma, self.course = lanes.T
        self.position = np.zeros(len(lanes), np.int64)
        self.step = 0
        self.device_s, self.up_free_s, self.up_last_s, self.down_free_s, self.down_last_s = np.zeros(
            (5, len(lanes))
        )

    def keep(self, which: Mask) -> None:
        """Drop the lanes that have finished."""
        for name in ("index", "rung", "k", "gamma", "course", "position", "device_s"):
            setattr(self, name, getattr(self, name)[which])
        for name in ("up_free_s", "up_last_s", "down_free_s", "down_last_s"):
            setattr(self, name, getattr(self, name)[which])

    def advance(self) -> None:
        """One step of every lane, as `_Simulation._block`."""
        course, compute, gamma = self.first, self.first.compute, self.gamma
        late = self.late_s[self.course, self.step].T
        sent_s = self.device_s + gamma * compute.draft_step_s
        draft_bytes = course.draft_bytes[gamma]
        if course.paper_bits is not None:
            draft_bytes = draft_bytes + -(-gamma * self.k * course.paper_bits // 8)
        draft_at_s = self._up(sent_s, draft_bytes, late[0])
        tested_s = draft_at_s + compute.overhead_s + _passes_s(compute, gamma)
        accepted = np.minimum(self.runs[self.course, self.rung, self.position], gamma)
        ended_s = tested_s
        if course.paper_bits is None:
            after = self.bits[self.course, self.rung, self.position + gamma]
            rows = after - self.bits[self.course, self.rung, self.position]
            rows_at_s = self._up(sent_s, np.ceil((course.trace.envelope_bits + rows) / 8), late[1])
            needed = (accepted < gamma) | self.blockwise
            ended_s = np.where(needed, np.maximum(tested_s, rows_at_s), tested_s)
        self.device_s = self._down(ended_s, course.commit_bytes[accepted], late[2])
        self.position = self.position + accepted + 1
        self.step += 1

    def _up(self, now_s: Floats, size: Sizes, late: Floats) -> Floats:
        self.up_free_s = self._sent_s(np.maximum(now_s, self.up_free_s), size)
        self.up_last_s = np.maximum(self.up_last_s, self.up_free_s + self.first.link.delay_s + late)
        return self.up_last_s

    def _down(self, now_s: Floats, size: Sizes, late: Floats) -> Floats:
        self.down_free_s = self._sent_s(np.maximum(now_s, self.down_free_s), size)
        self.down_last_s = np.maximum(self.down_last_s, self.down_free_s + self.first.link.delay_s + late)
        return self.down_last_s

    def _sent_s(self, start_s: Floats, size: Sizes) -> Floats:
        slots = (start_s / self.first.link.slot_s).astype(np.int64) % self.rates_bps.shape[1]
        sent_s: Floats = start_s + _on_link_bits(size) / self.rates_bps[self.course, slots]
        return sent_s


def _on_link_bits(size: Sizes) -> Floats:
    """As `frames.on_link_bits`, of many messages."""
    packets = np.maximum(1, -(-size // _LINK.packet_bytes))
    on_link = size + _LINK.overhead_bytes + packets * _LINK.packet_overhead_bytes
    return np.asarray(8.0 * on_link, np.float64)


def _passes_s(compute: Compute, gamma: Integers) -> Floats:
    return np.asarray(compute.target_step_s + gamma * compute.target_per_token_s, np.float64)


__all__ = ["simulate_fixed"]
