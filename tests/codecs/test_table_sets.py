"""Sets of rank tables: what a set is, its file, its name, and each reason to refuse one."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.tables import FINGERPRINT, in_order, narrow, usual_set

from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_TABLE_SET_BYTES, MAX_TEXT_BYTES
from draftwire.codecs.strategies import table_sets
from draftwire.codecs.tables import Rung, Table, TableSet, by_tag, table_set_bytes, table_set_from

SIZES = st.sampled_from((2, 3, 4, 257, 4097)) | st.integers(2, 1000)

BY_HAND = TableSet(
    vocab_size=5,
    fingerprint=FINGERPRINT,
    label="é",
    order=np.array([4, 0, 2, 1, 3], np.int32),
    rungs=(
        Rung(
            k=2,
            tables=(
                Table(front=np.array([2, 0, 1], np.int32), head=1, widths=(0, 0)),
                Table(front=np.array([0, 1, 2], np.int32), head=3, widths=()),
            ),
            tail_widths=(2,),
            row_bits=9,
        ),
        Rung(
            k=5,
            tables=(Table(front=np.zeros(0, np.int32), head=0, widths=()),),
            tail_widths=(0, 2),
            row_bits=1,
        ),
    ),
)

SPELT = (
    "4457 5441 424c 4531"  # DWTABLE1
    "000005 0001020304050607 02"  # V, fingerprint, rungs
    "0002 c3a9"  # label
    "000004 000000 000002 000001 000003"  # order
    "0002 02 0003 000009 00000001 02"  # K, tables, F, bits of a row, tail buckets, their widths
    "0001 00000002 0000 0002 0000 0001"  # head, buckets, their widths, front
    "0003 00000000 0000 0001 0002"
    "0005 01 0000 000001 00000002 00 02"
    "0000 00000000"
)
DATA = bytes.fromhex(SPELT)


def test_the_file_by_hand() -> None:
    """A set is the bytes that the document says, and its name is their hash."""
    assert table_set_bytes(BY_HAND) == DATA
    assert BY_HAND.hash == blake2b(b"tables" + DATA, digest_size=8).digest()
    assert BY_HAND.tag == BY_HAND.hash[:4]


def parts(tables: TableSet) -> Any:
    """A set as plain values."""
    rungs = [
        (
            rung.k,
            rung.row_bits,
            rung.tail_widths,
            [(table.front.tolist(), table.head, table.widths) for table in rung.tables],
        )
        for rung in tables.rungs
    ]
    return tables.vocab_size, tables.fingerprint, tables.label, tables.order.tolist(), rungs


@given(tables=SIZES.flatmap(lambda v: table_sets(vocab_size=v)))
def test_round_trip(tables: TableSet) -> None:
    """Any set comes back as it was, by every value in it and by its name."""
    data = table_set_bytes(tables)
    found = table_set_from(data)
    assert parts(found) == parts(tables)
    assert found == tables and hash(found) == hash(tables) and found.hash == tables.hash
    assert table_set_bytes(found) == data


def test_the_largest_vocabulary() -> None:
    """A set over 262144 ids with a front of its own comes back."""
    tables = usual_set(262144, front=4096)
    assert table_set_from(table_set_bytes(tables)) == tables


def test_other_sets_have_other_names() -> None:
    """Whatever differs between two sets, their names do, and they are unequal."""
    first, last = BY_HAND.rungs
    others = [
        replace(BY_HAND, fingerprint=bytes(8)),
        replace(BY_HAND, label="e"),
        replace(BY_HAND, order=BY_HAND.order[::-1].copy()),
        replace(BY_HAND, rungs=(first,)),
        replace(BY_HAND, rungs=(replace(first, row_bits=8), last)),
        replace(BY_HAND, rungs=(replace(first, tables=first.tables[::-1]), last)),
        replace(BY_HAND, rungs=(replace(first, tail_widths=(1,)), last)),
    ]
    assert len({one.hash for one in (BY_HAND, *others)}) == 1 + len(others)
    assert all(one != BY_HAND for one in others) and BY_HAND != "tables"


@pytest.mark.parametrize("k, rung", [(1, None), (2, 0), (3, 0), (4, 0), (5, 1), (4096, 1)])
def test_rung_of(k: int, rung: int | None) -> None:
    """A block uses the largest rung that is not above its K; below them all there is none."""
    assert BY_HAND.rung_of(k) == rung


def test_by_tag() -> None:
    """Sets are found by their tags; one that is there twice is one; two of one tag are refused, by name."""
    sets = [usual_set(300), usual_set(301), usual_set(300, seed=1)]
    assert by_tag([*sets, usual_set(300)]) == {one.tag: one for one in sets}
    assert by_tag([]) == {}
    twin = replace(sets[0], label="of the same tag")
    twin.__dict__["hash"] = sets[0].tag + b"else"  # as 2**32 sets would bring about
    with pytest.raises(LocalError, match=sets[0].tag.hex()) as caught:
        by_tag([sets[0], twin])
    assert caught.value.field == "tables"


# What no set is ---------------------------------------------------------------------------------------------

HUGE = (18,) * 2


def rung(**changed: Any) -> TableSet:
    """BY_HAND with its first rung changed."""
    return replace(BY_HAND, rungs=(replace(BY_HAND.rungs[0], **changed), BY_HAND.rungs[1]))


def table(**changed: Any) -> TableSet:
    """BY_HAND with the second table of its first rung changed."""
    first, second = BY_HAND.rungs[0].tables
    return rung(tables=(first, replace(second, **changed)))


@pytest.mark.parametrize(
    "make, field",
    [
        (lambda: in_order(1), "vocab_size"),
        (lambda: replace(BY_HAND, vocab_size=262145), "vocab_size"),
        (lambda: replace(BY_HAND, fingerprint=bytes(7)), "fingerprint"),
        (lambda: replace(BY_HAND, label="\ud800"), "label"),
        (lambda: replace(BY_HAND, label="x" * (MAX_TEXT_BYTES + 1)), "label"),
        (lambda: replace(BY_HAND, order=np.arange(4, dtype=np.int32)), "order"),
        (lambda: replace(BY_HAND, order=np.array([0, 1, 2, 3, 3], np.int32)), "order"),
        (lambda: replace(BY_HAND, order=np.array([0, 1, 2, 3, 5], np.int32)), "order"),
        (lambda: replace(BY_HAND, order=np.array([0, 1, 2, 3, -1], np.int32)), "order"),
        (lambda: replace(BY_HAND, order=np.arange(5, dtype=np.int32)[None]), "order"),
        (lambda: replace(BY_HAND, rungs=()), "len(rungs)"),
        (lambda: replace(usual_set(300), rungs=usual_set(300).rungs * 6), "len(rungs)"),
        (lambda: replace(BY_HAND, rungs=BY_HAND.rungs[::-1]), "rungs"),
        (lambda: replace(BY_HAND, rungs=BY_HAND.rungs[:1] * 2), "rungs"),
        (lambda: rung(k=0), "rungs[0].k"),
        (lambda: in_order(5, k=6), "rungs[0].k"),
        (lambda: in_order(5000, k=4097), "rungs[0].k"),
        (lambda: rung(tables=()), "len(rungs[0].tables)"),
        (lambda: rung(tables=BY_HAND.rungs[0].tables[:1] * 65), "len(rungs[0].tables)"),
        (lambda: rung(row_bits=-1), "rungs[0].row_bits"),
        (lambda: rung(row_bits=2**24), "rungs[0].row_bits"),
        (lambda: in_order(70000, heads=(65536,)), "rungs[0].front"),
        (lambda: in_order(5, heads=(6,), widths=lambda ranks, _: (3,)), "rungs[0].front"),
        (lambda: rung(tail_widths=()), "rungs[0].tail_widths"),
        (lambda: rung(tail_widths=(0,)), "rungs[0].tail_widths"),
        (lambda: rung(tail_widths=(0, 0, 0)), "rungs[0].tail_widths"),
        (lambda: rung(tail_widths=(1, 0)), "rungs[0].tail_widths"),
        (lambda: rung(tail_widths=(19,)), "rungs[0].tail_widths"),
        (lambda: rung(tail_widths=(-1,)), "rungs[0].tail_widths"),
        (lambda: table(front=np.arange(2, dtype=np.int32)), "rungs[0].tables[1].front"),
        (lambda: table(front=np.array([0, 1, 1], np.int32)), "rungs[0].tables[1].front"),
        (lambda: table(head=4), "rungs[0].tables[1].head"),
        (lambda: table(head=-1), "rungs[0].tables[1].head"),
        (lambda: table(head=2), "rungs[0].tables[1].widths"),
        (lambda: table(widths=(0,)), "rungs[0].tables[1].widths"),
        (lambda: table(head=0, widths=HUGE), "rungs[0].tables[1].widths"),
    ],
)
def test_what_is_no_set(make: Callable[[], TableSet], field: str) -> None:
    """A field that is not what it must be is a local error that names it."""
    with pytest.raises(LocalError) as caught:
        make()
    assert caught.value.field == field


def test_what_just_is_one() -> None:
    """The edges of the rules are within them."""
    assert in_order(2).rungs[0].tail_widths == (1,)
    assert in_order(65536, heads=(65535,)).rungs[0].tail_widths == (0,)
    assert in_order(5000, k=4096)
    assert table(head=0, widths=(18,)) and rung(tail_widths=(18,)) and rung(tail_widths=(0, 18))
    assert in_order(300, heads=(300,)).rungs[0].tail_widths == ()
    assert rung(row_bits=2**24 - 1) and rung(tables=BY_HAND.rungs[0].tables[:1] * 64)


# What no file of one is -------------------------------------------------------------------------------------


def spelt(old: str, new: str) -> bytes:
    """DATA with one piece of SPELT changed, both without regard to spaces."""
    text, piece = SPELT.replace(" ", ""), old.replace(" ", "")
    assert text.count(piece) == 1
    return bytes.fromhex(text.replace(piece, new.replace(" ", "")))


V = "4531 000005"
RUNGS = "0607 02 0002"
ORDER = "000004 000000 000002 000001 000003"
FIRST = "0002 02 0003 000009 00000001 02"
TABLE = "0001 00000002 0000 0002 0000 0001"
LAST = "0005 01 0000 000001 00000002 0002"
ALL = 8 * len(DATA)

REFUSED: dict[str, tuple[bytes, Refusal, int | None]] = {
    "empty": (b"", Refusal.TRUNCATED, 0),
    "cut in its name": (DATA[:7], Refusal.TRUNCATED, 56),
    "another kind of file": (b"PK" + DATA[2:], Refusal.VERSION, 0),
    "another version": (b"DWTABLE2" + DATA[8:], Refusal.VERSION, 0),
    "a byte behind": (DATA + b"\0", Refusal.TRAILING, ALL),
    "V beyond the limit": (spelt(V, "4531 040001"), Refusal.LIMIT, 160),
    "V = 1": (spelt(V, "4531 000001").replace(bytes.fromhex(ORDER), bytes(3)), Refusal.RANGE, None),
    "33 rungs": (spelt(RUNGS, "0607 21 0002"), Refusal.LIMIT, 160),
    "no rungs": (spelt(RUNGS, "0607 00 0002")[:39], Refusal.RANGE, 312),
    "fewer rungs": (spelt(RUNGS, "0607 01 0002"), Refusal.TRAILING, ALL - 160),
    "a label not UTF-8": (spelt("0002 c3a9", "0002 c328"), Refusal.TEXT, 176),
    "a long label": (spelt("0002 c3a9", "0401" + "61" * 1025), Refusal.RANGE, None),
    "an id twice": (spelt(ORDER, "000004 000000 000002 000001 000004"), Refusal.RANGE, None),
    "an id of V": (spelt(ORDER, "000005 000000 000002 000001 000003"), Refusal.RANGE, None),
    "an id far beyond": (spelt(ORDER, "ffffff 000000 000002 000001 000003"), Refusal.RANGE, None),
    "K that does not rise": (spelt(FIRST, "0005 02 0003 000009 00000001 02"), Refusal.RANGE, None),
    "K = 0": (spelt(FIRST, "0000 02 0003 000009 00000001 02"), Refusal.RANGE, None),
    "K beyond V": (spelt(LAST, "0006 01 0000 000001 00000002 0002"), Refusal.RANGE, None),
    "65 tables": (spelt(FIRST, "0002 41 0003 000009 00000001 02"), Refusal.LIMIT, 408),
    "no tables": (spelt(LAST, "0005 00 0000 000001 00000002 0002")[:-6], Refusal.RANGE, None),
    "a long front": (spelt(FIRST, "0002 02 ffff 000009 00000001 02"), Refusal.TRUNCATED, ALL),
    "a tail not covered": (spelt(FIRST, "0002 02 0003 000009 00000001 00"), Refusal.RANGE, None),
    "a tail's width of 19": (spelt(FIRST, "0002 02 0003 000009 00000001 13"), Refusal.RANGE, None),
    "a tail's width of 255": (spelt(FIRST, "0002 02 0003 000009 00000001 ff"), Refusal.RANGE, None),
    "a tail's empty bucket": (spelt(FIRST, "0002 02 0003 000009 00000002 0101"), Refusal.RANGE, None),
    "a tail of 2**32": (spelt("00000002 0002", "ffffffff 0002"), Refusal.LIMIT, None),
    "a place twice": (spelt(TABLE, "0001 00000002 0000 0002 0000 0002"), Refusal.RANGE, None),
    "a place beyond": (spelt(TABLE, "0001 00000002 0000 0003 0000 0001"), Refusal.RANGE, None),
    "a front not covered": (spelt(TABLE, "0000 00000002 0000 0002 0000 0001"), Refusal.RANGE, None),
    "an empty bucket": (spelt(TABLE, "0002 00000002 0000 0002 0000 0001"), Refusal.RANGE, None),
    "a long head": (spelt(TABLE, "ffff 00000002 0000 0002 0000 0001"), Refusal.RANGE, None),
    "2**32 buckets": (spelt(TABLE, "0001 ffffffff 0000 0002 0000 0001"), Refusal.LIMIT, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    """Each way to be wrong has its reason, and where one field is it, the bit where reading stopped."""
    data, reason, offset = REFUSED[name]
    with pytest.raises(WireError) as caught:
        table_set_from(data)
    assert caught.value.reason is reason
    assert caught.value.offset == offset or offset is None
    assert 0 <= caught.value.offset <= 8 * len(data)


def test_too_large_a_file() -> None:
    """A file over the limit is refused unread."""
    with pytest.raises(WireError) as caught:
        table_set_from(bytes(MAX_TABLE_SET_BYTES + 1))
    assert (caught.value.reason, caught.value.offset) == (Refusal.TOO_LARGE, 8 * MAX_TABLE_SET_BYTES)


def test_every_cut_is_refused() -> None:
    """A file that lost its end is refused where it ends, whichever end that is."""
    whole = table_set_bytes(in_order(40, heads=(3, 8), widths=narrow))
    for data in (DATA, whole):
        for end in range(len(data)):
            with pytest.raises(WireError) as caught:
                table_set_from(data[:end])
            assert (caught.value.reason, caught.value.offset) == (Refusal.TRUNCATED, 8 * end)


def test_every_byte_counts() -> None:
    """A file with any one byte changed is another set or refused: never the same."""
    for place in range(len(DATA)):
        for value in {0, 1, 2, 3, 18, 19, 255, DATA[place] ^ 1} - {DATA[place]}:
            changed = DATA[:place] + bytes([value]) + DATA[place + 1 :]
            try:
                found = table_set_from(changed)
            except WireError:
                continue
            assert found != BY_HAND
            assert table_set_bytes(found) == changed


@settings(max_examples=50)
@given(tables=table_sets(vocab_size=64), data=st.data())
def test_cuts_and_tails_of_odd_files(tables: TableSet, data: st.DataObject) -> None:
    """Files of any set are refused when cut anywhere, or when something stands behind them."""
    whole = table_set_bytes(tables)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0", whole + whole):
        with pytest.raises(WireError):
            table_set_from(wrong)
