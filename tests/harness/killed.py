"""A pair whose device writes down what it needs to go on, and dies at chosen moments with nothing else."""

from collections.abc import Collection
from typing import Any

from tests.harness.pair import Direction, SessionPair

from draftwire.codecs.messages import Draft, Message, Open
from draftwire.runtime.session.request import DeviceRecord, Taken


class Killed(Exception):
    """The device's process has ended."""


class KilledPair(SessionPair):
    """Its device is killed at the moments of these numbers.

    A moment lies between any two things that the device does: take a message, draw, write tokens, write the
    record, send one message. `lazy`: the record is written only where it must be, before an Open or a Draft;
    else whenever it has changed. Both keep to the order that DeviceRecord asks for.
    """

    def __init__(self, *args: Any, kills: Collection[int] = (), lazy: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kills, self.lazy = kills, lazy
        self.moments = self.deaths = 0
        self.record = DeviceRecord(device_try=0, draft_epoch=0, outstanding=None)
        "on disk, as `taken` is"
        self.drafts: dict[int, Draft] = {}
        "blocks that bind, by epoch, as first sent"
        self.told: dict[tuple[int, int], int] = {}
        "ids of paths, by epoch and position"
        self._tries: dict[int, object] = {}
        "who sent an Open of that try"

    def restart_device(self) -> None:
        """The device dies now, whatever it has not written down."""
        self.deaths += 1
        self.go_on_from(self.record, self.taken)

    def _settle(self) -> None:
        while True:
            self._target_works()
            self._target_sends()
            try:
                self._device_acts()
                return
            except Killed:
                self.restart_device()

    def _device_acts(self) -> None:
        self._device_sends()
        self._device_works()
        self._device_sends()

    def _device_sends(self) -> None:
        self._moment()
        self._write_and_send()

    def _write_and_send(self) -> None:
        messages = self.device.to_send()
        record = self.device.record
        self._write(self.device.take(), record, messages)
        for message in messages:
            self._transmit("up", message)
            self._moment()

    def _write(self, taken: list[Taken], record: DeviceRecord, messages: list[Message]) -> None:
        """Tokens, then the record that may have forgotten the block they settle."""
        self._write_tokens(taken)
        self._write_record(record, messages)

    def _write_tokens(self, taken: list[Taken]) -> None:
        if taken:
            self.taken.extend(taken)
            self._moment()

    def _write_record(self, record: DeviceRecord, messages: list[Message]) -> None:
        needed = not self.lazy or any(isinstance(message, Open | Draft) for message in messages)
        if needed and record != self.record:
            self.record = record
            self._moment()

    def _moment(self) -> None:
        self.moments += 1
        if self.moments in self.kills:
            raise Killed

    def _transmit(self, direction: Direction, message: Message) -> None:
        if isinstance(message, Open):
            assert self._tries.setdefault(message.device_try, self.device) is self.device, message.device_try
        elif isinstance(message, Draft) and self.device.ahead is not None:
            for position, token in enumerate(message.ids, message.start):
                told = self.told.setdefault((message.draft_epoch, position), token)
                assert told == token, (message.draft_epoch, position)
        elif isinstance(message, Draft):
            first = self.drafts.setdefault(message.draft_epoch, message)
            assert _what_was_drawn(message) == _what_was_drawn(first), message.draft_epoch
        super()._transmit(direction, message)


def _what_was_drawn(draft: Draft) -> tuple[object, ...]:
    """All of a Draft that may not change when it is sent again."""
    return draft.start, draft.path_hash, draft.plan, draft.ids, draft.weights, draft.rows_hash


__all__ = ["Killed", "KilledPair"]
