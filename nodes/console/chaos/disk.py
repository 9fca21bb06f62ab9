"""A device's disk: what is on it outlives the device, as far as it had been brought there.

A journal is the real one on a real file. Only its writes pass through here: they may find no room, or be the
last thing that their process does.
"""

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson

from draftwire.nodes.device.journal import Journal


class Disk:
    """Of one device, over all its lives."""

    def __init__(self, path: Path, *, numbers: random.Random) -> None:
        """`path`: of the journal's file. `numbers` draw what becomes of what was not on disk yet."""
        self.path = path
        self.full = 0
        "reasons why nothing more can be written"
        self.on_disk = 0
        "bytes that outlive a power cut"
        self.lost = 0
        "times that a power cut has taken something"
        self._numbers = numbers

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.stat(self.path).st_size if self.path.exists() else 0

    def tokens_kept(self) -> Counter[str]:
        """How many tokens the whole lines of the file hold, by a request's id; read here, not by a device."""
        events = [orjson.loads(line) for line in self.path.read_bytes().split(b"\n")[:-1]]
        kept = Counter[str]()
        for event in events:
            kept[event["id"]] += len(event.get("ids", ()))
        return kept

    def dies(self) -> None:
        """The device dies: killed, so that the system still writes all, or its power is cut.

        Then of what was not on disk nothing is left, or a part that ends anywhere.
        """
        size = self.size
        if size <= self.on_disk:
            return
        kept = self._numbers.choice((size, self.on_disk, self._numbers.randint(self.on_disk, size)))
        if kept < size:
            os.truncate(self.path, kept)
            self.lost += 1
        self.on_disk = kept


class MortalJournal(Journal):
    """The journal of one life of a device."""

    def __init__(
        self, disk: Disk, *, numbers: random.Random, dead: Callable[[], bool], writes: Callable[[], bool]
    ) -> None:
        """`dead`: whether the life is over; `writes` is asked at each write whether that ends it."""
        self.disk = disk
        self._numbers, self._dead, self._writes = numbers, dead, writes
        super().__init__(disk.path)
        if self.cut_bytes:
            disk.on_disk = self._end

    @property
    def unsynced(self) -> int:
        """Bytes that a power cut would take."""
        return self._end - self.disk.on_disk

    def _write(self, file: int, data: bytes) -> None:
        if self._dead():
            return  # nothing of it reaches anybody
        if self.disk.full:
            os.write(file, data[: self._numbers.randrange(len(data))])
            if self._numbers.random() < 0.5:  # else not even that can be taken back
                os.ftruncate(file, self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        begun = self._numbers.randrange(len(data) + 1)
        os.write(file, data[:begun])
        if not self._writes():
            os.write(file, data[begun:])
            self._end += len(data)

    def to_disk(self) -> None:
        if self._dead():
            return
        can_fail = self._failed is None and self._file is not None
        if self.disk.full and can_fail and self._numbers.random() < 0.5:
            self._failed = OSError(errno.EIO, os.strerror(errno.EIO))
        super().to_disk()
        self.disk.on_disk = self._end


__all__ = ["Disk", "MortalJournal"]
