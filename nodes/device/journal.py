"""The journal of a device: requests and their tokens on disk, so that a device that dies can go on.

An append-only file of JSON lines (entries.py says which). What a message leans on is on disk before it
leaves, so a device that was killed, or whose power was cut, goes on from the last line as if nothing had
happened. One process at a time writes to a file.

A power cut may tear the last line; what is left of it is cut off when the file is opened next. Any other
damage is an error: nothing is guessed.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.entries import (
    DamagedError,
    Entry,
    Requests,
    end_event,
    line_of,
    request_event,
    state_event,
    tokens_event,
)
from draftwire.runtime.errors import ConfigurationError, LocalError
from draftwire.runtime.session.request import DeviceRecord, Taken

_sync: Final = getattr(os, "fdatasync", os.fsync)
"""macOS has no fdatasync."""


class JournalError(LocalError):
    """Raised when something can't be written into a journal; what it holds stays, and so do open requests."""

    def __init__(self, path: Path, problem: str, *, remedy: str) -> None:
        super().__init__(f"{path}: the journal can't be written: {problem}; {remedy}")


_GO_ON: Final = "the request stays open: make room, then go on with --resume"

_ASK_AGAIN: Final = "the request has not begun, and nothing was sent: make room, then ask again"

_NOT_OURS: Final = "nothing of it was written; this is a mistake of the program"


class Journal:
    """A journal that this process writes to. A context manager: closed at its end, and free for others."""

    def __init__(self, path: Path | str, *, new: bool = True) -> None:
        """Open a journal; or, unless `new` is off, begin one where there is none.

        Raises ConfigurationError for a file that another process writes to, that is damaged before its last
        line, or that can't be one.
        """
        self.path = Path(path)
        self.cut_bytes = 0
        "of a torn last line, cut off when it was opened"
        self._requests = Requests()
        self._failed: OSError | None = None
        self._file: int | None = _opened(self.path, new=new)
        try:
            self._end = self._read(self._file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others write to it; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it holds -------------------------------------------------------------------------------------

    def open_entries(self) -> tuple[Entry, ...]:
        """The requests that have not ended, in the order in which they began."""
        return tuple(entry for entry in self._requests.all() if not entry.end)

    def is_open(self, id: str) -> bool:
        """Whether a request of this id has begun and not ended."""
        return id in self._requests and not self._requests[id].end

    def entry(self, id: str) -> Entry:
        """An open request. Raises ConfigurationError, naming the open ones, for any other id."""
        entry = self._requests[id] if id in self._requests else None
        if entry is not None and not entry.end:
            return entry
        problem = f"no request {id!r} in it" if entry is None else f"request {id} has ended ({entry.end})"
        others = "; ".join(one.summary for one in self.open_entries())
        raise ConfigurationError(
            problem,
            key="--resume",
            remedy=f"open: {others}" if others else "none is open",
            source=str(self.path),
        )

    # -- writing -------------------------------------------------------------------------------------------

    def begin(self, entry: Entry) -> "Page":
        """Write that a request is to be answered.

        Raises InvalidRequestError for an id that the journal has already, open or ended, and JournalError.
        """
        if entry.id in self._requests:
            ended = self._requests[entry.id].end
            raise InvalidRequestError(
                f"request {entry.id} has {f'ended ({ended})' if ended else 'begun'} in {self.path}",
                key="id",
                remedy="ask anew, under another id" if ended else "go on with it, or ask under another id",
            )
        self.append(request_event(entry))
        return Page(self, entry.id, entry.record)

    def page(self, id: str) -> "Page":
        """Where an open request is written on. Raises ConfigurationError as `entry` does."""
        return Page(self, id, self.entry(id).record)

    def append(self, *events: dict[str, object]) -> None:
        """Write events, in one piece. Raises JournalError.

        What could not be read again is not written. A write that fails leaves no trace, and none comes after
        it: a journal with a gap would be a lie.
        """
        remedy = _ASK_AGAIN if events[0]["event"] == "request" else _GO_ON
        if self._file is None:
            raise JournalError(self.path, "it is closed", remedy=remedy)
        if self._failed is not None:
            raise JournalError(self.path, _said(self._failed), remedy=remedy)
        try:
            with ExitStack() as taken_back:
                lines = [line_of(event) for event in events]
                for line in lines:
                    taken_back.callback(self._requests.read(line))
                self._write(self._file, b"".join(lines))
                taken_back.pop_all()
        except DamagedError as error:
            raise JournalError(self.path, str(error), remedy=_NOT_OURS) from None
        except OSError as error:
            self._failed = error
            raise JournalError(self.path, _said(error), remedy=remedy) from None

    def _write(self, file: int, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(file, data[written:])
        except BaseException:
            with suppress(OSError):  # else it is a torn line, for whoever opens the file next
                os.ftruncate(file, self._end)
            raise
        self._end += len(data)

    def to_disk(self) -> None:
        """Return when what was written would outlive a power cut. Raises JournalError."""
        if self._file is None:
            return
        if self._failed is not None:
            raise JournalError(self.path, _said(self._failed), remedy=_GO_ON)
        try:
            _sync(self._file)
        except OSError as error:
            self._failed = error  # what the system still holds of it is not known: nothing more is promised
            raise JournalError(self.path, _said(error), remedy=_GO_ON) from None

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, file: int) -> int:
        """Where it ends, without a torn last line."""
        with open(file, "rb", closefd=False) as whole:
            data = whole.read()
        *lines, torn = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                self._requests.read(line)
            except DamagedError as error:
                raise ConfigurationError(
                    f"line {number}: {error}",
                    remedy="restore the file, or name another",
                    source=str(self.path),
                ) from None
        end = len(data) - len(torn)
        if torn:
            self.cut_bytes = len(torn)
            os.ftruncate(file, end)
            os.fsync(file)
        return end


class Page:
    """One request's place in a journal: what is written of it, and when that must be on disk."""

    def __init__(self, journal: Journal, id: str, record: DeviceRecord) -> None:
        self.journal, self.id = journal, id
        self.open = True
        "whether the request may go on later"
        self._written = record
        self._unsynced = True

    def keep(self, taken: Sequence[Taken], record: DeviceRecord, *, leaves: bool, rests: bool) -> None:
        """Write tokens before they are shown, and the record before a message that leans on it leaves.

        `leaves`: such a message, an Open or a Draft, is about to be sent. `rests`: no block is wanted now.
        Either brings all to disk, which is once a step: where a block is drawn behind the tokens they come to
        disk with its record, before its Draft leaves. An acceptance that has been settled stands before the
        tokens that were drawn by it: whoever goes on from them must not choose anew. Raises JournalError.
        """
        events: list[dict[str, object]] = []
        if record.acceptance is not self._written.acceptance and (taken or not leaves):
            self._written = replace(self._written, acceptance=record.acceptance)
            events.append(state_event(self.id, self._written))
        if taken:
            events.append(tokens_event(self.id, taken))
        if leaves and record != self._written:
            events.append(state_event(self.id, record))
            self._written = record
        if events:
            self.journal.append(*events)
            self._unsynced = True
        if self._unsynced and (leaves or rests):
            self.journal.to_disk()
            self._unsynced = False

    def end(self, *, finish: str = "", reason: str = "") -> None:
        """Write that it is over, for the reason given. Raises JournalError."""
        self.journal.append(end_event(self.id, finish=finish, reason=reason))
        self.open = False
        self.journal.to_disk()


def _said(error: OSError) -> str:
    return error.strerror or str(error)


def _opened(path: Path, *, new: bool) -> int:
    """The file, locked for this process until it is closed."""
    try:
        there = path.exists()
        create = os.O_CREAT if new else 0
        file = os.open(path, os.O_RDWR | os.O_APPEND | create | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        remedy = "name a file that can be written" if new else "name the journal that has the request"
        raise ConfigurationError(
            f"{str(path)!r}: {_said(error)}", key="--journal", remedy=remedy
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ConfigurationError(
                f"{str(path)!r}: not a plain file", key="--journal", remedy="name one, or a new one"
            )
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not there:
            _sync_folder(path.parent)
    except BlockingIOError:
        os.close(file)
        raise ConfigurationError(
            "another process writes to it",
            key="--journal",
            remedy="end the `draftwire device` or `draftwire generate` with this journal (one stopped with "
            "Ctrl-Z holds it too), or name another file",
            source=str(path),
        ) from None
    except OSError as error:
        os.close(file)
        raise ConfigurationError(
            f"{str(path)!r}: it can't be locked: {error.strerror}",
            key="--journal",
            remedy="name a file on a disk of this machine",
        ) from None
    except ConfigurationError:
        os.close(file)
        raise
    return file


def _sync_folder(folder: Path) -> None:
    """A new file is there after a power cut once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["Journal", "JournalError", "Page"]
