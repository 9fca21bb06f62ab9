"""How much of its loop a BS gives to rows, and to Opens, that are of no use; pure, and in virtual time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.harness.cell import VOCAB_SIZE, cell, open_for, request, run, text
from tests.harness.tables import in_order

from draftwire.codecs.blocks import Mode
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import ENVELOPE_BYTES, decode_frame, encode_frame, entries_of, sealed
from draftwire.codecs.limits import MAX_TOKENS
from draftwire.codecs.messages import Acceptance, Incarnation, Opened, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.nodes.target import rows_budget
from draftwire.nodes.target.account import Unread
from draftwire.nodes.target.rows_budget import BURST_ENTRIES, EARNED, ENTRIES_A_S, MOST_ENTRIES, RowsBudget

NOBODY = Incarnation(boot=0, counter=1)


ROWS_BYTES = 16
"Before the block, in a body of rows."


def _rows(
    k: int, rows: int, *, vocab_size: int = 8192, pad_to: int = 0, tables: TableSet | None = None
) -> bytes:
    row = quantize(range(0, vocab_size, vocab_size // k)[:k], [0.0] * k, vocab_size=vocab_size)
    message = SparseLogits(incarnation=NOBODY, draft_epoch=1, start=3, rows=(row,) * rows)
    return encode_frame(message, session=9, sequence=0, pad_to=pad_to, tables=tables)


@given(mode=st.integers(0, 15), rest=st.binary(max_size=60), kind=st.sampled_from([7, 7 | 128]))
def test_any_rows_say_something(mode: int, rest: bytes, kind: int) -> None:
    """Whatever comes as rows, of any mode and length, has a count, and 0 before its header is whole."""
    frame = bytes((0xD3, kind)) + bytes(ENVELOPE_BYTES - 2 + ROWS_BYTES) + bytes((mode << 4,)) + rest
    header = 8
    for length in range(len(frame) + 1):
        named = entries_of(frame[:length])
        assert named == (entries_of(frame) if length >= ENVELOPE_BYTES + ROWS_BYTES + header else 0)
    if len(rest) + 1 >= header:
        k = int.from_bytes(rest[1:3] if mode == Mode.TABLES else rest[4:7], "big")
        assert entries_of(frame) == rest[0] * k
    assert entries_of(b"\xd3\x06" + frame[2:]) == 0, "no rows"


@pytest.mark.parametrize("pad_to", [0, 64])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("k", "vocab_size", "mode"), [(3, 8192, 0), (8192, 8192, 2), (32, 64, 1)])
def test_a_frame_that_is_taken_says_what_it_has(
    k: int, vocab_size: int, mode: int, rows: int, pad_to: int
) -> None:
    """Held against its rows, decoded: plain, whole, and spelt with tables."""
    tables = in_order(vocab_size, heads=(vocab_size,)) if mode == Mode.TABLES else None
    frame = _rows(k, rows, vocab_size=vocab_size, pad_to=pad_to, tables=tables)
    assert frame[ENVELOPE_BYTES + ROWS_BYTES] >> 4 == mode
    message = decode_frame(frame, tables=by_tag([tables] if tables else [])).message
    assert isinstance(message, SparseLogits)
    assert entries_of(frame) == sum(map(len, message.rows)) == k * rows


def test_what_no_frame_can_hold_is_left_to_the_decoder() -> None:
    """It finds it wrong by its header, so it is counted and told as that, not as rows that come too fast."""
    budget, plain = RowsBudget(), _rows(3, 1)
    while budget.take("enemy", _rows(4096, 32), 1.0):
        pass
    place = ENVELOPE_BYTES + ROWS_BYTES
    body = bytearray(plain[ENVELOPE_BYTES:])
    body[ROWS_BYTES + 1], body[ROWS_BYTES + 5 : ROWS_BYTES + 8] = 255, b"\xff\xff\xff"
    huge = sealed(plain[:10], bytes(body))
    assert entries_of(huge) > MOST_ENTRIES and budget.take("enemy", huge, 1.0)
    with pytest.raises(WireError) as refused:
        decode_frame(huge)
    assert refused.value.reason is Refusal.LIMIT and refused.value.offset <= 8 * (place + 8)


def test_what_is_tested_never_meets_it() -> None:
    """Blocks of 32 rows of 4096 entries, as fast as a link of 100 Mbit/s brings them, each twice."""
    budget, frame = RowsBudget(), _rows(4096, 32)
    for number in range(56 * 60):
        now_s = number / 56
        assert budget.take("phone", frame, now_s) and budget.take("phone", frame, now_s)
        budget.tested("phone", 32 * 4096)


def test_what_is_not_tested_is_bounded() -> None:
    """By the burst and the rate, whatever name below its key it goes by; what is no rows is never held up."""
    budget, frame = RowsBudget(), _rows(4096, 32)
    taken = sum(budget.take(f"enemy/{number}", frame, number / 1000) for number in range(10_000))
    assert taken * 32 * 4096 <= BURST_ENTRIES + 10 * ENTRIES_A_S
    assert budget.take("phone", frame, 10.0)
    assert budget.take("enemy", b"anything else", 10.0)
    budget.tested("enemy", 32 * 4096)
    assert [budget.take("enemy", frame, 10.0) for _ in range(4)].count(True) in (EARNED, EARNED + 1)


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
            assert bs.target.refused[Unread.UNTESTED_ROWS] >= 100 - (200 + 100) // 80
            return await answer

    assert run(answered(with_enemy=True)) == run(answered(with_enemy=False))


@pytest.mark.parametrize("acceptance", [Acceptance.REJECTION, Acceptance.COUPLED])
def test_drafts_for_which_no_rows_travel_earn_none(acceptance: Acceptance) -> None:
    """A device that sends ids only has no more rows decoded for it; one whose rows are tested has."""

    async def main() -> None:
        async with cell(gamma=4) as bs:
            budget = bs.target._rows
            budget.take("dev", _rows(4096, 32), bs.clock.now_s())
            earned = list[tuple[str, int]]()
            tested = budget.tested
            budget.tested = lambda *one: (earned.append(one), tested(*one))[1]  # type: ignore[method-assign,func-returns-value]
            await text(await bs.device("dev"), request(acceptance=acceptance, max_new_tokens=40))
            assert any(one.drafted for one in bs.reports)
            assert bool(earned) == (acceptance is Acceptance.REJECTION)

    run(main())


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
