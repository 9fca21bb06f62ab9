"""How much of its loop a BS gives to rows, and to Opens, that are of no use; pure, and in virtual time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.harness.cell import VOCAB_SIZE, cell, open_for, request, run, text

from draftwire.codecs.frame import encode_frame, entries_of
from draftwire.codecs.limits import MAX_TOKENS
from draftwire.codecs.messages import Incarnation, Opened, Ping, Reason, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.nodes.target import rows_budget
from draftwire.nodes.target.rows_budget import BURST_ENTRIES, EARNED, ENTRIES_A_S, MAX_DEVICES, RowsBudget

NOBODY = Incarnation(boot=0, counter=1)


def _rows(k: int, rows: int, *, vocab_size: int = 8192, epoch: int = 1, pad_to: int = 0) -> bytes:
    row = quantize(list(range(k)), [-float(i % 7) for i in range(k)], vocab_size=vocab_size)
    message = SparseLogits(incarnation=NOBODY, draft_epoch=epoch, start=3, rows=(row,) * rows)
    return encode_frame(message, session=9, sequence=0, pad_to=pad_to)


@pytest.mark.parametrize(("k", "rows"), [(3, 1), (4096, 2), (8192, 1)])
@pytest.mark.parametrize("pad_to", [0, 64])
def test_a_frame_says_its_entries_before_it_is_decoded(k: int, rows: int, pad_to: int) -> None:
    """Plain, dense, and padded."""
    assert entries_of(_rows(k, rows, pad_to=pad_to)) == k * rows


@given(st.binary(max_size=60))
def test_any_bytes_say_something(data: bytes) -> None:
    """Whatever comes has a count, and what is no rows has none."""
    assert entries_of(data) >= 0
    assert entries_of(encode_frame(Ping(incarnation=NOBODY, known=1, stamp=1), session=9, sequence=0)) == 0


def test_what_is_tested_never_meets_it() -> None:
    """Blocks of 32 rows of 4096 entries, as fast as a link of 100 Mbit/s brings them, each twice."""
    budget, frame = RowsBudget(), _rows(4096, 32)
    for number in range(56 * 60):
        now_s = number / 56
        assert budget.may("phone", frame, now_s) and budget.may("phone", frame, now_s)
        budget.tested("phone", 32 * 4096)


def test_what_is_not_tested_is_bounded() -> None:
    """By the burst and the rate, whatever name below its key it goes by; what is no rows is never held up."""
    budget, frame = RowsBudget(), _rows(4096, 32)
    taken = sum(budget.may(f"enemy/{number}", frame, number / 1000) for number in range(10_000))
    assert taken * 32 * 4096 <= BURST_ENTRIES + 10 * ENTRIES_A_S
    assert budget.may("phone", frame, 10.0)
    assert budget.may("enemy", b"anything else", 10.0)
    budget.tested("enemy", 32 * 4096)
    assert [budget.may("enemy", frame, 10.0) for _ in range(4)].count(True) in (EARNED, EARNED + 1)


def test_what_is_remembered_is_bounded() -> None:
    """New devices push out the oldest."""
    budget = RowsBudget()
    frame = _rows(3, 1)
    for number in range(2 * MAX_DEVICES):
        budget.may(str(number), frame, 1.0)
    assert len(budget._until_s) == MAX_DEVICES


def test_rows_that_nobody_asked_for_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream for ever newer epochs as many as the budget has are; a device beside it, whose rows are
    tested, is given the text that it gets alone, though its own are more than the budget."""
    wanted = request(k=8, gamma=4, max_new_tokens=200)
    monkeypatch.setattr(rows_budget, "BURST_ENTRIES", 200)
    monkeypatch.setattr(rows_budget, "ENTRIES_A_S", 100)

    async def answered(*, with_enemy: bool) -> tuple[int, ...]:
        async with cell(gamma=4) as bs:
            device = await bs.device()
            if not with_enemy:
                tokens = await text(device, wanted)
                assert not bs.target.refused
                return tokens
            enemy = await bs.greeted("enemy")
            enemy.say(open_for(wanted))
            incarnation = (await enemy.hear_of(Opened)).incarnation
            answer = asyncio.create_task(text(device, wanted))
            row = quantize(list(range(8)), [-1.0] * 8, vocab_size=VOCAB_SIZE)
            for epoch in range(1, 101):
                rows = (row,) * 10
                enemy.say(SparseLogits(incarnation=incarnation, draft_epoch=epoch, start=3, rows=rows))
                await asyncio.sleep(0.001)
            assert bs.target.refused[Reason.BUSY] >= 100 - (200 + 100) // 80
            return await answer

    assert run(answered(with_enemy=True)) == run(answered(with_enemy=False))


def test_opens_that_are_too_long_end_in_quarantine() -> None:
    """Two dozen of them, at 23 ms each, are read at the most; then nothing of their sender is."""

    async def main() -> None:
        async with cell() as bs:
            enemy = await bs.greeted("enemy")
            frame = encode_frame(
                open_for(request(), tokens=(1,) * (MAX_TOKENS - 1), prompt_length=3), session=9, sequence=0
            )
            for _ in range(60):
                enemy.say(frame)
                await asyncio.sleep(0.001)
            assert sum(bs.target.refused.values()) <= 24

    with capture_logs() as logs:
        run(main())
    (told,) = [one for one in logs if one["event"] == "transport.quarantined"]
    assert (told["peer"], told["reason"]) == ("enemy", "misplaced")
