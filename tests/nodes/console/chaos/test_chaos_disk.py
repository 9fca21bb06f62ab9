"""A disk that is full, torn or cut off from power, under the real journal."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from draftwire.codecs.messages import Acceptance, Origin, Sampling
from draftwire.nodes.console.chaos.disk import Disk, MortalJournal
from draftwire.nodes.device.entries import Entry
from draftwire.nodes.device.journal import JournalError
from draftwire.runtime.session.request import DeviceRecord, Request, Taken

RECORD = DeviceRecord(device_try=1, draft_epoch=0, outstanding=None, acceptance=Acceptance.REJECTION)


class Bench:
    """A disk, and the journal of the life at hand."""

    def __init__(self, path: Path, seed: int) -> None:
        self.numbers = random.Random(seed)
        self.disk = Disk(path, numbers=self.numbers)
        self.dead = self.dies = False

    def journal(self) -> MortalJournal:
        """Of a new life."""
        self.dead = self.dies = False
        return MortalJournal(self.disk, numbers=self.numbers, dead=lambda: self.dead, writes=self._writes)

    def _writes(self) -> bool:
        if self.dies:
            self.dead = True
            self.disk.dies()
        return self.dies


@pytest.fixture(params=range(12))
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Another seed each time."""
    yield Bench(tmp_path / "journal", request.param)


def entry() -> Entry:
    """Of a request that begins."""
    request = Request(prompt=(1, 2), sampling=Sampling(temperature=1.0), seed=1, max_new_tokens=9)
    return Entry(
        id="one", number=1, device="d", draft="", vocab_size=24, fingerprint=bytes(8), request=request
    )


def taken(position: int) -> list[Taken]:
    """A token."""
    return [Taken(position=position, token=position, origin=Origin.ALONE)]


def test_what_was_synced_outlives_its_device(bench: Bench) -> None:
    """Of what was not, some beginning is there, cut at a whole line."""
    journal = bench.journal()
    page = journal.begin(entry())
    page.keep((), RECORD, leaves=True, rests=False)
    assert journal.unsynced == 0
    page.keep(taken(2), RECORD, leaves=False, rests=False)
    assert journal.unsynced > 0
    bench.dead = True
    bench.disk.dies()
    journal.close()
    with bench.journal() as again:
        (kept,) = again.open_entries()
        assert kept.record == RECORD and kept.output in ((), (2,))
        assert kept.output == (2,) or bench.disk.lost


def test_tokens_are_counted_as_far_as_the_file_has_them(bench: Bench) -> None:
    """In whole lines, by request: as many as the next life finds."""
    journal = bench.journal()
    page = journal.begin(entry())
    page.keep(taken(2), RECORD, leaves=True, rests=False)
    page.keep(taken(3), RECORD, leaves=False, rests=False)
    assert bench.disk.tokens_kept() == {"one": 2}
    bench.dead = True
    bench.disk.dies()
    kept = bench.disk.tokens_kept()
    journal.close()
    with bench.journal() as again:
        assert kept == {"one": len(again.open_entries()[0].output)}


def test_a_write_that_its_device_dies_in(bench: Bench) -> None:
    """Leaves a beginning of itself at most; what the dead life still writes reaches nothing."""
    journal = bench.journal()
    page = journal.begin(entry())
    page.keep((), RECORD, leaves=True, rests=False)
    before = bench.disk.size
    bench.dies = True
    page.keep(taken(2), RECORD, leaves=False, rests=True)
    after = bench.disk.size
    page.keep(taken(3), RECORD, leaves=False, rests=True)
    assert before <= after == bench.disk.size
    journal.close()
    with bench.journal() as again:
        assert again.open_entries()[0].output in ((), (2,))


def test_a_full_disk_takes_nothing(bench: Bench) -> None:
    """The journal says so, holds what it held, and another life goes on once there is room."""
    journal = bench.journal()
    page = journal.begin(entry())
    page.keep((), RECORD, leaves=True, rests=False)
    bench.disk.full += 1
    with pytest.raises(JournalError, match="the request stays open"):
        page.keep(taken(2), RECORD, leaves=False, rests=True)
    journal.close()
    bench.disk.full -= 1
    with bench.journal() as again:
        assert again.open_entries()[0].output == ()
        again.page("one").keep(taken(2), RECORD, leaves=False, rests=True)
        assert again.open_entries()[0].output == (2,)
