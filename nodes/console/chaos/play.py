"""`play`: one schedule in virtual time, from the first start to rest, every promise checked on the way.

    came = play(schedule_of(7))
    print(came.broken)
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from draftwire.nodes.console.chaos.faults import Schedule
from draftwire.nodes.console.chaos.loop import FaultyLoop
from draftwire.nodes.console.chaos.outcome import Outcome
from draftwire.nodes.console.chaos.run import Run, last_lines
from draftwire.nodes.console.simulate.collecting import seldom_collected
from draftwire.runtime.errors import DeadlockError

MEMORY_FOLDER = Path("/dev/shm")
"""A folder in memory, where there is one: journals of a run need not outlive it."""


def play(schedule: Schedule, *, history: bool = False) -> Outcome:
    """One run. The same schedule gives the same one; it needs to be called outside of an event loop.

    `history`: the outcome tells what happened, event by event. What a node raises, and what the run itself
    does, is a broken promise in it; KeyboardInterrupt alone comes out.
    """
    return played(schedule, history=history).outcome()


def played(schedule: Schedule, *, history: bool = False) -> Run:
    """As `play`: the run, for those who want to look at more of it."""
    shared = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="draftwire-chaos-", dir=shared))
    loop = FaultyLoop()
    run = Run(schedule, loop=loop, folder=folder, history=history)
    try:
        with seldom_collected(), asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run.main())
    except DeadlockError as error:
        run.checks.wrong("ends", str(error))
    except Exception as error:
        run.checks.wrong("no_bug", last_lines(error))
    finally:
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
    return run


__all__ = ["play", "played"]
