"""What every run with real processes begins with: the topology, the platform, and a way to end in order."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from draftwire.nodes.console.chaos.real_faults import LINK
from draftwire.nodes.console.chaos.real_nodes import topology_text
from draftwire.nodes.console.foreground import TOLD_TO_STOP_EXIT_CODE
from draftwire.runtime.errors import ConfigurationError

VIRTUAL: Final = "leave it out: the same nodes then run in virtual time"
"""What to do without real processes."""


def check_platform(*, key: str, remedy: str) -> None:
    """Raise ConfigurationError where processes can't be stopped, limited and looked at as is needed.

    `key`: what was asked for; `remedy`: what to do in its place.
    """
    if sys.platform != "linux":
        problem = "real processes are stopped, limited and looked at as Linux does"
        raise ConfigurationError(problem, key=key, remedy=remedy)


def real_topology(addresses: list[str], *, sampling: str = "") -> str:
    """Of the synthetic pair over LINK, with a device that looks for the others as long as they may need."""
    return topology_text(
        addresses=addresses,
        sampling=sampling,
        link=f"uplink = '{LINK}'\ndownlink = '{LINK}'\n",
        more="[device]\nname = 'device-1'\nreach_s = 60.0\n",
    )


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as Ctrl-C does: what it has started is ended first."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(TOLD_TO_STOP_EXIT_CODE)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["VIRTUAL", "check_platform", "ended_in_order", "real_topology"]
