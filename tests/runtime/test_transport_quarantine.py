"""Budgets and quarantine of senders: pure, with literal times."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.codecs.errors import Refusal
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.probes import Probe
from draftwire.runtime.transport import DropReason, Offence, echoes
from draftwire.runtime.transport.echoes import EchoBudgets
from draftwire.runtime.transport.quarantine import (
    BORNE,
    BURST_BYTES,
    BURST_MESSAGES,
    BYTES_A_S,
    COMPANY_S,
    FORGIVEN_A_MESSAGE,
    GOOD_S,
    LOOKED_S,
    MESSAGES_A_S,
    MOST_SENDERS,
    QUARANTINE_S,
    WEIGHT,
    Sender,
    Senders,
    offence_in,
)

CERTAIN = int(BORNE) + 1
"""Offences of weight 1 at once that nobody bears."""


def _sender(*, alone: bool = False) -> Sender:
    return Sender("enemy", alone=lambda sender, now_s: alone)


def _banned(sender: Sender, now_s: float) -> float:
    """For how long, by so many offences at once."""
    (lasts_s,) = [one for _ in range(CERTAIN) if (one := sender.offends(Offence.MALFORMED, now_s))]
    return lasts_s


@given(
    st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, MAX_FRAME_BYTES)), max_size=300),
    st.floats(0, 1e6),
)
def test_no_more_than_the_budget_is_ever_taken(messages: list[tuple[float, int]], now_s: float) -> None:
    """From any message on, what is taken is within one burst and the rate."""
    sender, taken = _sender(), list[tuple[float, int]]()
    for pause_s, size in messages:
        now_s += pause_s
        if sender.drops(size, now_s) is None:
            taken.append((now_s, size))
    for first, (began_s, _) in enumerate(taken):
        lasted_s = now_s - began_s
        assert len(taken) - first <= BURST_MESSAGES + lasted_s * MESSAGES_A_S + 1
        assert sum(size for _, size in taken[first:]) <= BURST_BYTES + lasted_s * BYTES_A_S + 1


@pytest.mark.parametrize(("size", "per_s"), [(40, 1900), (6700, 1860), (257_000, 48), (MAX_FRAME_BYTES, 11)])
def test_an_honest_device_never_meets_it(size: int, per_s: int) -> None:
    """Every draft of a fast model, or a link of 100 Mbit/s full of rows or blocks, is taken for a minute."""
    sender = _sender()
    assert not any(sender.drops(size, number / per_s) for number in range(60 * per_s))


def test_a_lone_sender_has_no_budget_until_there_is_another() -> None:
    """A flood is taken while nobody else is heard; with company all above the budget is dropped at once."""
    senders = Senders()
    flood, other = senders.of("flood", "flood"), senders.of("other", "other")
    assert not any(flood.drops(40, 100.0) for _ in range(100_000))
    assert other.drops(40, 100.0 + LOOKED_S) is None
    assert flood.drops(40, 100.0 + LOOKED_S) in (None, DropReason.FLOOD)
    now_s = 100.0 + 2 * LOOKED_S
    outcomes = [flood.drops(40, now_s) for _ in range(1000)]
    assert outcomes.count(None) <= 2 * LOOKED_S * MESSAGES_A_S + 1
    now_s += COMPANY_S + LOOKED_S
    assert not any(flood.drops(40, now_s) for _ in range(100_000))


def test_a_flood_ends_in_quarantine() -> None:
    """Who sends ten times what it may is in quarantine within a second; nothing of it is taken meanwhile."""
    sender, lasts_s = _sender(), None
    for number in range(10 * MESSAGES_A_S):
        now_s = number / (10 * MESSAGES_A_S)
        if sender.drops(40, now_s) is DropReason.FLOOD:
            lasts_s = sender.offends(Offence.FLOOD, now_s)
            if lasts_s is not None:
                break
    assert lasts_s == QUARANTINE_S[0]
    assert sender.drops(40, now_s + lasts_s - 0.01) is DropReason.QUARANTINED
    assert sender.drops(40, now_s + lasts_s + 0.01) is None


@pytest.mark.parametrize("per_s", [20, 1000])
@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_damages_never_brings_anybody_there(seed: int, share: float, per_s: int) -> None:
    """For a minute 20 % of frames are damaged, or all: a byte of 26 is the first, and that looks foreign."""
    sender, draws = _sender(), random.Random(seed)
    for number in range(60 * per_s):
        now_s = number / per_s
        assert sender.drops(26, now_s) is None
        if draws.random() < share:
            offence = Offence.FOREIGN if draws.randrange(26) == 0 else Offence.DAMAGED
            assert sender.offends(offence, now_s) is None, f"seed {seed}, message {number}"
    assert (25 * WEIGHT[Offence.DAMAGED] + WEIGHT[Offence.FOREIGN]) / 26 < FORGIVEN_A_MESSAGE


@pytest.mark.parametrize(
    "offence", [Offence.FOREIGN, Offence.MALFORMED, Offence.MISPLACED, Offence.IMPOSTOR, Offence.FRAMES]
)
def test_what_no_honest_node_sends_ends_in_quarantine(offence: Offence) -> None:
    """A handful is borne, and one each second for ever; a stream of them is not."""
    slow = _sender()
    assert not any(slow.offends(offence, float(second)) for second in range(3600))
    fast = _sender()
    assert sum(fast.offends(offence, number / 100) is not None for number in range(40)) == 1


def test_quarantine_doubles_and_is_forgotten() -> None:
    """2 s, 4 s, ... at most 60; each good minute halves the next one, down to the first."""
    sender, now_s, lasted = _sender(), 100.0, []
    for _ in range(7):
        lasted.append(_banned(sender, now_s))
        now_s = sender.until_s
    assert lasted == [2, 4, 8, 16, 32, 60, 60]
    assert _banned(sender, sender.until_s + 2 * GOOD_S) == 15
    assert _banned(sender, sender.until_s + 100 * GOOD_S) == 2


def test_nobody_comes_back_with_a_burst() -> None:
    """Behind a quarantine there is the rate, and no more."""
    sender = _sender()
    _banned(sender, 100.0)
    back_s = sender.until_s + 0.01
    taken = sum(sender.drops(40, back_s) is None for _ in range(BURST_MESSAGES))
    assert 1 <= taken <= 0.01 * MESSAGES_A_S + 1


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(list(Offence))), max_size=200))
def test_quarantine_always_ends(events: list[tuple[float, Offence]]) -> None:
    """Whatever a sender does, it is never longer than the longest, and behind it messages are taken."""
    sender, now_s = _sender(), 0.0
    for pause_s, offence in events:
        now_s += pause_s
        sender.drops(40, now_s)
        lasts_s = sender.offends(offence, now_s)
        assert lasts_s is None or QUARANTINE_S[0] <= lasts_s <= QUARANTINE_S[1]
        assert sender.until_s <= now_s + QUARANTINE_S[1]
    assert sender.drops(40, max(now_s, sender.until_s) + 1.0) is None


def test_what_is_remembered_is_bounded() -> None:
    """New senders push out the oldest; one that is asked for by itself is the same."""
    senders = Senders()
    first = senders.of(b"0", "")
    assert senders.of(b"0", "") is first
    for number in range(MOST_SENDERS):
        senders.of(number, "")
    assert len(senders) == MOST_SENDERS and senders.of(b"0", "") is not first


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_weighed(refusal: Refusal) -> None:
    """Damage is light, another protocol and what can't be are heavy, what another life agreed is nothing."""
    light = {Refusal.CHECKSUM: Offence.DAMAGED, Refusal.VERSION: Offence.FOREIGN}
    nothing = {Refusal.TABLES, Refusal.VOCABULARY}
    expected = None if refusal in nothing else light.get(refusal, Offence.MALFORMED)
    assert offence_in(refusal) is expected


def test_echoes_have_a_budget() -> None:
    """What a doctor asks for is answered; of a flood of short probes for long echoes only the rate."""
    budget, long = EchoBudgets(), Probe(stamp=1, reply_padding=65_535)
    assert all(budget.may(b"doctor", long, 5.0) for _ in range(10))
    answered = sum(budget.may(b"enemy", long, number / 1000) for number in range(10_000))
    assert 65_535 * answered <= echoes.BURST_BYTES + 10 * echoes.BYTES_A_S
    even = Probe(stamp=1, padding=65_535, reply_padding=65_535)
    assert all(budget.may(b"enemy", even, 10.0) for _ in range(1000))
