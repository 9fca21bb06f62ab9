"""`python -P -m tests.harness.shifted OFFSET_S ARGUMENTS`: draftwire with clocks that show another time.

Both clocks of the process are OFFSET_S ahead, or behind where it is negative: the event loop's, which
measures intervals, and the wall's, which logs and Echoes show. It is a machine whose clock nobody set.
"""

import datetime
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Final, Self

MAX_OFFSET_S: Final = 3600.0


def shift_clocks(offset_s: float) -> None:
    """Shift them for the rest of this process's life; before anything of draftwire is imported."""
    if abs(offset_s) > MAX_OFFSET_S:
        raise ValueError(f"offset {offset_s:g} s: at most {MAX_OFFSET_S:g} either way")
    _shift_wall(offset_s)

    from draftwire.runtime import clock

    class ShiftedLoop(clock.PunctualLoop):
        """A PunctualLoop whose time is another machine's."""

        def time(self) -> float:
            # The largest offset is added to all, as no machine's clock shows less than 0, not even one that
            # was just started.
            return super().time() + MAX_OFFSET_S + offset_s

    vars(clock)["PunctualLoop"] = ShiftedLoop


def _shift_wall(offset_s: float) -> None:
    import structlog.processors

    true_time_s, by = time.time, datetime.timedelta(seconds=offset_s)

    class Shifted(datetime.datetime):
        """A datetime whose `now` is another machine's."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return super().now(tz) + by

    vars(time)["time"] = lambda: true_time_s() + offset_s
    vars(structlog.processors)["datetime"] = SimpleNamespace(
        datetime=Shifted, timezone=datetime.timezone
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command line behind the offset; returns the exit code."""
    offset_s, *rest = arguments
    shift_clocks(float(offset_s))

    from draftwire.nodes.console.cli import main as draftwire

    return draftwire(rest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

__all__ = ["MAX_OFFSET_S", "main", "shift_clocks"]
