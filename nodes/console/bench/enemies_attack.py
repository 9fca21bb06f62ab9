"""One enemy, in a process of its own, with as little claim to processor time as there is.

    python -m draftwire.nodes.console.bench.enemies_attack NAME < AIM

reads its Aim from the first line of standard input, as JSON, prints `ready` when it could begin, begins with
the second line, and ends with standard input. Then it prints its Spoils, as JSON.
"""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Final

import orjson

from draftwire.nodes.console.bench import enemies_sessions as sessions
from draftwire.nodes.console.bench import enemies_strangers as strangers
from draftwire.nodes.console.bench.enemies_line import Aim, Attack, Enemy, Goes, Spoils
from draftwire.runtime.telemetry import set_up_logging


def _always(attack: Callable[[Aim, Spoils, Goes], None]) -> Callable[[Aim], Attack]:
    """Of one that needs nothing before."""
    return lambda aim: partial(attack, aim)


ENEMIES: Final = MappingProxyType(
    {
        "unauthenticated": Enemy(summary="no key", prepare=_always(strangers.unauthenticated)),
        "wrong_key": Enemy(summary="a new key each time, none allowed", prepare=_always(strangers.wrong_key)),
        "stolen_identity": Enemy(
            summary="its own key, another's name", prepare=_always(strangers.stolen_identity)
        ),
        "replayed": Enemy(summary="captured frames, and bytes, again", prepare=sessions.replayed),
        "oversize": Enemy(summary="frames above 1 MiB, and just below", prepare=_always(strangers.oversize)),
        "endless": Enemy(summary="messages of a thousand frames", prepare=_always(strangers.endless)),
        "slow_loris": Enemy(
            summary="300 connections that say nothing, or little", prepare=_always(strangers.slow_loris)
        ),
        "flood": Enemy(summary="small messages at full speed", prepare=_always(strangers.flood)),
        "garbage": Enemy(summary="random bytes, random bodies", prepare=_always(strangers.garbage)),
        "huge_counts": Enemy(
            summary="every field as large as it goes", prepare=_always(strangers.huge_counts)
        ),
        "never_pass": Enemy(summary="blocks of 32 that never pass", prepare=_always(sessions.never_pass)),
        "hint_flood": Enemy(
            summary="a new path with every message", prepare=_always(sessions.hint_flood)
        ),
        "endless_opens": Enemy(
            summary="requests with long prompts, without end", prepare=_always(sessions.endless_opens)
        ),
        "slow_reader": Enemy(
            summary="asks for large replies, reads none", prepare=_always(sessions.slow_reader)
        ),
        "churn": Enemy(summary="connects and disconnects", prepare=_always(strangers.churn)),
    }
)
"""By name."""

NICENESS: Final = 19


def main(name: str) -> None:
    """See above."""
    os.nice(NICENESS)
    attack = ENEMIES[name].prepare(Aim(**orjson.loads(sys.stdin.readline())))
    print("ready", flush=True)
    spoils, ended = Spoils(), threading.Event()
    if sys.stdin.readline():
        threading.Thread(target=_when_stdin_ends, args=(ended.set,), daemon=True).start()
        attack(spoils, lambda: not ended.is_set())
    print(orjson.dumps(asdict(spoils)).decode(), flush=True)


def _when_stdin_ends(then: Callable[[], None]) -> None:
    sys.stdin.read()
    then()


if __name__ == "__main__":
    set_up_logging(level="error")
    main(sys.argv[1])

__all__ = ["ENEMIES", "NICENESS"]
