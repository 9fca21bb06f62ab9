"""What the doctor finds: one frozen value for each thing it has looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    "works, and somebody should know of it"
    FAIL = "fail"
    "this machine can't do its part, or a hop of it does not stand"
    SKIP = "skip"
    "not looked at; `seen` says why"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's."""

    name: str
    "what kind of check: `keys`, `port`, `hop`"
    subject: str
    "what was looked at: a hop, a key, an address; empty: the machine"
    status: Status
    seen: str
    "one line"
    remedy: str = ""
    "what to do about it, one line; empty where nothing is to be done"


def healthy(checks: Sequence[Check]) -> bool:
    """Whether none of them failed."""
    return all(check.status is not Status.FAIL for check in checks)


__all__ = ["Check", "Status", "healthy"]
