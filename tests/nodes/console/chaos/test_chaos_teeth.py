"""Each promise is found broken where a mistake is planted that breaks it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from draftwire.codecs.messages import Acceptance, SparseLogitsRequest
from draftwire.nodes.console.chaos.disk import MortalJournal
from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Moment, Scenario, Schedule
from draftwire.nodes.console.chaos.play import play, played
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.entries import Entry
from draftwire.nodes.device.journal import Journal, Page
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.speculation.noise import Noise
from draftwire.nodes.speculation.sampling import Coupled, Drafted, Outcome, Rows
from draftwire.nodes.target.cached import Cached
from draftwire.nodes.target.contexts import Contexts
from draftwire.nodes.target.node import TargetNode
from draftwire.nodes.target.requests import Requests
from draftwire.nodes.target.served import Served
from draftwire.runtime.link.model import Link, LinkStatistics
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.request import DeviceRecord, Taken
from draftwire.runtime.session.target import TargetSession
from draftwire.runtime.transport.base import Counts

REJECTION = Scenario(tokens=10)
COUPLED = replace(REJECTION, acceptance=Acceptance.COUPLED)
DIES = Fault(kind=Kind.CRASH, at_s=0.35, for_s=0.2, node="device-1")


def broken(scenario: Scenario = REJECTION, *faults: Fault, seed: int = 1) -> set[str]:
    """The promises that do not hold under these faults."""
    return {one.promise for one in play(Schedule(seed=seed, scenario=scenario, faults=faults)).broken}


def test_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that lets every draft stand."""

    def outcome(self: Coupled, p: Rows, drafted: Drafted, rows: Sequence[Any], noise: Noise) -> Outcome:
        return Outcome(accepted=len(drafted.ids), token=int(p[len(drafted.ids)].argmax()))

    monkeypatch.setattr(Coupled, "outcome", outcome)
    assert "text" in broken(COUPLED)


def test_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that hands a token out twice."""
    take = DeviceSession.take

    def twice(self: DeviceSession) -> list[Taken]:
        taken = take(self)
        return [*taken, *taken[-1:]]

    monkeypatch.setattr(DeviceSession, "take", twice)
    assert "once" in broken(replace(REJECTION, journal=False))


def test_once_behind_a_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut took comes once more; a device that then shows it twice is found, with every seed."""
    dies = replace(DIES, at_s=0.2, moment=Moment.AFTER_PASS)  # tokens are shown, not on disk
    schedules = [Schedule(seed=seed, scenario=REJECTION, faults=(dies,)) for seed in range(8)]
    cut = [one for one in schedules if played(one).world.disks["device-1"].lost]
    assert len(cut) > 2
    assert not [one.seed for one in cut if play(one).broken]
    resume = DeviceNode.resume

    async def twice(
        self: DeviceNode, entry: Entry, *, journal: Journal, account: Account
    ) -> AsyncIterator[Taken]:
        async with aclosing(resume(self, entry, journal=journal, account=account)) as answer:
            async for taken in answer:
                yield taken
                if entry.record.device_try:
                    yield taken

    monkeypatch.setattr(DeviceNode, "resume", twice)
    silent = [one.seed for one in cut if "once" not in {said.promise for said in play(one).broken}]
    assert not silent, silent


def test_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that shows tokens which its journal does not have."""
    keep = Page.keep

    def forgets(
        self: Page, taken: Sequence[Taken], record: DeviceRecord, *, leaves: bool, rests: bool
    ) -> None:
        keep(self, (), record, leaves=leaves, rests=rests)

    monkeypatch.setattr(Page, "keep", forgets)
    assert "kept" in broken()


def test_leans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is never brought to disk."""
    monkeypatch.setattr(MortalJournal, "to_disk", lambda self: None)
    assert "leans" in broken()


def test_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that changes what it has committed."""
    send = TargetNode._send

    def changes(self: TargetNode, served: Served) -> None:
        send(self, served)
        log = served.session.log
        if log.produced > 4:
            log.tokens[log.prompt_length] ^= 1

    monkeypatch.setattr(TargetNode, "_send", changes)
    assert "prefix" in broken()


def test_kv_beliefs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that takes a rejected draft for computed."""

    def of(self: Cached, log: TokenLog) -> int:
        return min(len(self._tokens), len(log))

    monkeypatch.setattr(Cached, "of", of)
    assert "kv" in broken()


def test_kv_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that forgets to give memory back."""

    def close(self: Contexts, served: Served) -> None:
        if not served.computing:
            served.context = None
            served.cached.clear()

    monkeypatch.setattr(Contexts, "close", close)
    assert "kv" in broken()


def test_bounded_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that always has a place."""
    monkeypatch.setattr(Requests, "has_room", lambda self, device, now_s: True)
    monkeypatch.setattr(Requests, "make_room", lambda self, device, now_s: None)
    assert "bounded" in broken(replace(REJECTION, requests=4, tokens=3))


def test_bounded_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that decodes on, whatever the device has heard."""
    monkeypatch.setattr(TargetSession, "_may_run_ahead", lambda self: True)
    away = Fault(kind=Kind.PARTITION, at_s=0.2, for_s=5.0, leg=Leg.UP)
    assert "bounded" in broken(replace(REJECTION, gamma=0, tokens=40), away)


def test_bytes_of_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that loses count of a message."""
    statistics = Link.statistics

    def short(self: Link[Any], now_s: float) -> LinkStatistics:
        counts = statistics(self, now_s)
        return replace(counts, delivered=max(0, counts.delivered - 1))

    monkeypatch.setattr(Link, "statistics", short)
    assert "bytes" in broken()


def test_bytes_of_a_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport that counts a byte too many."""

    def receive(self: Counts, data: bytes) -> None:
        self.received += 1
        self.received_bytes += len(data) + 1

    monkeypatch.setattr(Counts, "receive", receive)
    assert "bytes" in broken()


def test_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base station that never asks again for a row that was lost, and a device that repeats nothing."""
    to_send = TargetSession.to_send

    def asks_nothing(self: TargetSession) -> list[Any]:
        return [one for one in to_send(self) if not isinstance(one, SparseLogitsRequest)]

    monkeypatch.setattr(TargetSession, "to_send", asks_nothing)
    monkeypatch.setattr(DeviceSession, "next_deadline_s", lambda self: None)
    assert "ends" in broken(REJECTION, Fault(kind=Kind.DROP, at_s=0.1, for_s=1.0, leg=Leg.UP, amount=0.5))


def test_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not write down which epochs it has used, and a base station that forgets them."""
    record = DeviceSession.record
    assert isinstance(record, property) and record.fget is not None
    read = record.fget
    monkeypatch.setattr(
        DeviceSession,
        "record",
        property(lambda self: replace(read(self), draft_epoch=0, outstanding=None)),
    )
    assert "epochs" in broken(REJECTION, DIES, replace(DIES, node="target"))


def test_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose second life calls itself by the first one's try."""
    record = DeviceSession.record
    assert isinstance(record, property) and record.fget is not None
    read = record.fget
    monkeypatch.setattr(DeviceSession, "record", property(lambda self: replace(read(self), device_try=1)))
    assert "epochs" in broken(REJECTION, DIES)


@pytest.mark.parametrize("node", [TargetNode, DeviceNode])
def test_no_bug(node: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that raises what is no error for people."""

    def raises(self: Any, *_: Any) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(node, "_route", raises)
    came = play(Schedule(seed=1, scenario=REJECTION))
    assert any(one.promise == "no_bug" and "planted" in one.what for one in came.broken)
