"""Asking Linux to wake a thread when it asked to be woken.

Of a thread, and of those that it starts. First the slack of its timers: to save energy the kernel may put a
wake-up off by 50 us. Then who goes first where every core is taken: with the right to it (root's, or
RLIMIT_RTPRIO) the thread stands before all that computes, as the kernel's own queues do. Without it, it asks
for short slices: it then gets a core from one that computes sooner than at the end of that one's slice of
3 ms, and its share of the cores stays what it was. Slices need Linux 6.12; elsewhere nothing changes.
"""

import ctypes
import os
import platform
import sys
from typing import Any, Final

SLICE_NS: Final = 100_000
"""The least that Linux takes."""

_PR_SET_TIMERSLACK: Final = 29
_LEAST_SLACK_NS: Final = 1
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The call's number, which the C library has had a name for since 2025 only."""


class _SchedulingAttributes(ctypes.Structure):
    """The kernel's sched_attr, of its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def be_punctual() -> None:
    """From now on this thread, and those that it starts, are woken as soon as they can be.

    For threads that wait, and work for a moment. One whose scheduling somebody has chosen, as with `chrt`,
    keeps that.
    """
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None)
    system.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(_LEAST_SLACK_NS), 0, 0, 0)
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        least = os.sched_get_priority_min(os.SCHED_RR)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(least))
    except OSError:
        _ask_for_short_slices(system)


def _ask_for_short_slices(system: Any) -> None:
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    asked = _SchedulingAttributes(
        size=ctypes.sizeof(_SchedulingAttributes),
        policy=os.SCHED_OTHER,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=SLICE_NS,
    )
    system.syscall(ctypes.c_long(number), ctypes.c_int(0), ctypes.byref(asked), ctypes.c_uint(0))


__all__ = ["SLICE_NS", "be_punctual"]
