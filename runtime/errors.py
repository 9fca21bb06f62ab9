"""Every error the runtime raises on purpose.

    DraftwireError
    ├── LocalError                  this process, its files or its host
    │   ├── ConfigurationError      a value somebody wrote is wrong           exit code 2
    │   ├── AddressError            an address can't be bound or connected    exit code 3
    │   │   └── AddressInUseError   somebody else is bound there              exit code 3
    │   ├── EndpointClosedError     a receive on an endpoint that was closed
    │   └── DeadlockError           virtual time has nothing left to do
    └── PeerError                   the other end                             exit code 3

What the codecs refuse has its own tree beside the codecs. Anything else that escapes is a bug of ours.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches


class DraftwireError(Exception):
    """The base of all errors that are raised on purpose; its text is one line for a person."""

    exit_code: int = 1
    "what a process that ends because of it returns"


class LocalError(DraftwireError):
    """Raised when the cause lies in this process, its files or its host."""


class ConfigurationError(LocalError):
    """Raised when a value that somebody wrote can't be used; names it, where it stands, and a remedy."""

    exit_code = 2

    def __init__(self, problem: str, *, key: str = "", remedy: str = "", source: str = "") -> None:
        self.problem = problem
        "what is wrong, with the value"
        self.key = key
        "where it stands, as `section.key`; empty: no single key is to blame"
        self.remedy = remedy
        "what to write instead"
        self.source = source
        "the file; empty: the value did not come from one"
        where = ": ".join(part for part in (source, key) if part)
        super().__init__((f"{where}: " if where else "") + problem + (f"; {remedy}" if remedy else ""))

    def placed(self, *, key: str = "", source: str = "") -> "ConfigurationError":
        """The same error, told where the value stands."""
        return ConfigurationError(
            self.problem, key=key or self.key, remedy=self.remedy, source=source or self.source
        )


class AddressError(LocalError):
    """Raised when an address can't be bound, or makes no sense to connect to."""

    exit_code = 3

    def __init__(self, address: str, problem: str, *, remedy: str) -> None:
        self.address = address
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{address}: {problem}; {remedy}")


class AddressInUseError(AddressError):
    """Raised by bind when somebody else is bound to the address."""

    def __init__(self, address: str) -> None:
        super().__init__(
            address, "already in use", remedy="stop the process that holds it, or choose another port or path"
        )


class EndpointClosedError(LocalError):
    """Raised by receive when its endpoint is closed, before the call or during it."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"{address}: the endpoint is closed")


class DeadlockError(LocalError):
    """Raised in virtual time when every task waits and nothing is scheduled that could wake one, or when some
    wait for ever although others go on."""

    SHOWN = 20
    "lines of `groups`, and so tasks named in the text; all of them are in `waiting`"

    def __init__(self, now_s: float, waiting: Sequence[str], *, cause: str = "nothing is scheduled") -> None:
        """`waiting`: each waiting task, its name and the place it waits at, as `NAME at PLACE`."""
        self.now_s = now_s
        self.waiting = tuple(waiting)
        "sorted"
        alike = dict[tuple[str, str], list[str]]()
        for one in self.waiting:
            name, _, place = one.partition(" at ")
            alike.setdefault((re.sub(r"\d+", "#", name), place), []).append(one)
        lines = [_and_more(tasks) for tasks in alike.values()]
        more = len(lines) - self.SHOWN
        self.groups = (*lines[: self.SHOWN], *([f"and {more} more kinds of tasks"] if more > 0 else ()))
        "the same for people: tasks whose names differ by numbers only, at one place, are one line"
        self.summary = f"deadlock at {now_s:.9g} s: {cause} and {len(self.waiting)} tasks wait"
        super().__init__(f"{self.summary}: {'; '.join(self.groups)}")


def _and_more(alike: Sequence[str]) -> str:
    return alike[0] if len(alike) == 1 else f"{alike[0]}, and {len(alike) - 1} like it"


class PeerError(DraftwireError):
    """Raised when the cause lies at the other end."""

    exit_code = 3


def nearest(word: str, known: Sequence[str]) -> str:
    """A remedy for a word nobody knows: the nearest known one, or all of them where none is near."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


__all__ = [
    "AddressError",
    "AddressInUseError",
    "ConfigurationError",
    "DeadlockError",
    "DraftwireError",
    "EndpointClosedError",
    "LocalError",
    "PeerError",
    "nearest",
]
