"""A device that dies between any two things it does, and goes on from its records: the law is the target's.

By enumeration, through the real session code, as in tests/exactness/test_enumeration.py; and the mistakes
that would bend it, each seen. The first rows of every scenario are lost, so a correction waits for its row.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.killed import Killed, KilledPair
from tests.harness.links import without
from tests.harness.pair import World
from tests.harness.worlds import (
    EXACT,
    Text,
    assert_caught,
    assert_exact,
    law_of_target,
    request,
    world,
)

from draftwire.codecs.messages import Message, Reason
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import DeviceRecord, Taken, Timing

WITHIN, WANTED = world(3, seed=12), request(2)


class BothDie(KilledPair):
    """The BS loses its memory in the same moment."""

    def restart_device(self) -> None:
        self.restart_target()
        super().restart_device()


def dying(
    make: Callable[..., KilledPair], *, at_s: float | None = None, **others: Any
) -> Callable[[EnumeratingNoise], KilledPair]:
    """A scenario, and a time at which its device dies."""

    def scenario(noise: EnumeratingNoise) -> KilledPair:
        pair = make(
            WITHIN,
            WANTED,
            noise,
            plan=(2, 2),
            link=without(1, ()),
            timing=Timing(row_s=0.6, resend_s=0.4),
            **others,
        )
        if at_s is not None:
            pair.at(at_s, pair.restart_device)
        return pair

    return scenario


@pytest.mark.parametrize(
    ("make", "lazy"),
    [
        (BothDie, False),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in ((BothDie, True), (KilledPair, False))),
    ],
)
def test_law_holds_at_whatever_moment_the_device_dies(make: type[KilledPair], lazy: bool) -> None:
    """Every moment of a request in turn, alone and together with the BS, however late records are written."""
    moment, met = 0, list[KilledPair]()

    def scenario(noise: EnumeratingNoise) -> KilledPair:
        met.append(dying(make, lazy=lazy, kills={moment})(noise))
        return met[-1]

    while moment == 0 or any(pair.deaths for pair in met):
        moment += 1
        met.clear()
        assert_exact(WITHIN, WANTED, scenario)
    assert moment > 40


class DrawsAnew(DeviceSession):
    """Its record forgets the block that is out, so it draws another one in its place."""

    @property
    def record(self) -> DeviceRecord:
        return replace(super().record, outstanding=None)


def test_a_new_block_in_place_of_the_one_that_is_out_is_caught() -> None:
    """Both ends die while a correction waits for its row: the rejection is forgotten."""
    assert_exact(WITHIN, WANTED, dying(BothDie, at_s=0.3))
    name = "both ends die, and the device draws a new block"
    assert_caught(name, WITHIN, WANTED, dying(BothDie, at_s=0.3, device_class=DrawsAnew))


class DiesWriting(BothDie):
    """Both die when the device has written one of two things: the tokens that settle a block, and its record.

    After 0.3 s, so if the first of them is a correction that had to wait.
    """

    record_first = False

    def _write(self, taken: list[Taken], record: DeviceRecord, messages: list[Message]) -> None:
        if self.record_first:
            self._write_record(record, messages)
        else:
            self._write_tokens(taken)
        if taken and self.now_s > 0.3 and not self.deaths:
            raise Killed
        if self.record_first:
            self._write_tokens(taken)
        else:
            self._write_record(record, messages)


class RecordFirst(DiesWriting):
    """The record is written first, and no longer names the block."""

    record_first = True


def test_a_record_before_its_tokens_is_caught() -> None:
    """A death between the two: the block is settled by tokens that nobody has."""
    assert_exact(WITHIN, WANTED, dying(DiesWriting))
    assert_caught("the record is written before its tokens", WITHIN, WANTED, dying(RecordFirst))


@pytest.mark.parametrize("make", [KilledPair, BothDie])
def test_a_block_on_record_that_cannot_be_redrawn_ends_the_request(make: type[KilledPair]) -> None:
    """Another draft model after the death: DRAFT_STATE_LOST, and no text is likelier than by the target."""
    other = world(3, seed=15)
    lost = 0

    class OtherDraft(make):  # type: ignore[misc, valid-type]
        def restart_device(self) -> None:
            self.world = World(3, WITHIN.target, other.draft)
            super().restart_device()

    def run(noise: EnumeratingNoise) -> tuple[Text, Reason | None]:
        nonlocal lost
        pair = dying(OtherDraft, at_s=0.3)(noise)
        pair.run(until_s=120)
        assert pair.over()
        refusal = pair.device.refusal
        lost += refusal is not None
        return pair.output, None if refusal is None else refusal[0]

    law = explore(run)
    assert lost
    assert {reason for _, reason in law} == {None, Reason.DRAFT_STATE_LOST}
    whole = law_of_target(WITHIN, WANTED)
    for (text, reason), mass in law.items():
        if reason is None:
            assert mass <= whole[text] + EXACT, text
