"""A SessionPair whose BS answers Hello, and has in each life its own sets of tables, and reads no others."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from tests.harness.pair import HELLO, Direction, SessionPair

from draftwire.codecs.messages import Hello, Message, SparseLogits, Welcome

FIRST, SECOND = b"set  one", b"set  two"
"""Hashes of two sets, which the device has; the first is the better one."""

SetsOf = Callable[[int], Collection[bytes]]
"""boot -> the sets of that life of the BS."""


class SpellingPair(SessionPair):
    """Messages are values here; so what rows are spelt with is written down as they leave, and read by the
    BS as they come.
    """

    hello = replace(HELLO, tables=(FIRST, SECOND))

    def __init__(self, *args: Any, sets_of: SetsOf, **options: Any) -> None:
        self.sets_of = sets_of
        self.spelt: list[tuple[SparseLogits, bytes | None]] = []
        "every message of rows that has left, and the set that it was spelt with"
        self.refused = 0
        "messages of rows of a set that the BS lacked"
        super().__init__(*args, **options)

    def _transmit(self, direction: Direction, message: Message) -> None:
        if isinstance(message, SparseLogits):
            self.spelt.append((message, self.device.tables))
        super()._transmit(direction, message)

    def _deliver_up(self, message: Message) -> None:
        sets = self.sets_of(self.boot)
        if isinstance(message, Hello):
            agreed = next((one for one in message.tables if one in sets), None)
            self._transmit("down", Welcome(boot=self.boot, tables=agreed))
            return
        if isinstance(message, SparseLogits):
            used = next(used for rows, used in self.spelt if rows is message)
            if used is not None and used not in sets:
                self.refused += 1
                return
        super()._deliver_up(message)


__all__ = ["FIRST", "SECOND", "SetsOf", "SpellingPair"]
