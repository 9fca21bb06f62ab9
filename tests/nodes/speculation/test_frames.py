"""Sizes on the wire are those of real frames, scaled where rows of text were seen, and found again."""

from dataclasses import replace
from itertools import islice
from math import ceil

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness.tables import FINGERPRINT, usual_set

from draftwire.codecs.blocks import HEADER_BITS, encode_ranked, encode_rows
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import Incarnation, SparseLogits
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import Rung, Table, TableSet
from draftwire.nodes.speculation.frames import (
    around_rows_bits,
    on_link_bits,
    row_bits,
    rung_bits,
    true_frames,
)
from draftwire.nodes.speculation.sampling import sparsify


def test_the_same_question_has_the_same_frames() -> None:
    """One object, so that forecasts find the sizes that they remember by it."""
    assert true_frames(vocab_size=4096, row_scale=0.8) is true_frames(vocab_size=4096, row_scale=0.8)


def test_only_rows_are_scaled() -> None:
    """What surrounds the rows, Drafts and Commits stay as they are."""
    whole, half = true_frames(vocab_size=4096), true_frames(vocab_size=4096, row_scale=0.5)
    around = around_rows_bits(vocab_size=4096)
    row = row_bits(k=32, vocab_size=4096)
    assert half.rows_bits(32, 4) == on_link_bits((around + 2 * row) / 8)
    assert whole.rows_bits(32, 4) == on_link_bits((around + 4 * row) / 8)
    assert half.draft_bits(32, 4) == whole.draft_bits(32, 4)
    assert half.commit_bits(4) == whole.commit_bits(4)


def test_at_temperature_0_no_rows_travel() -> None:
    """Ids only: rows take no bits, and not even a message."""
    assert true_frames(vocab_size=4096, rows=False).rows_bits(320, 16) == 0


def test_a_message_costs_its_packets() -> None:
    """8 bytes a message and 66 a packet of 1448: a byte more is another packet, and nothing is one too."""
    assert [on_link_bits(size) / 8 for size in (0, 1, 1448, 1449)] == [74, 75, 1522, 1589]
    assert on_link_bits(40_000) / 8 == 40_000 + 8 + 28 * 66
    frames, row = true_frames(vocab_size=4096), row_bits(k=4096, vocab_size=4096)
    size = (around_rows_bits(vocab_size=4096) + 16 * row) / 8
    assert frames.rows_bits(4096, 16) == 8 * (size + 8 + 66 * ceil(size / 1448))
    assert size > 10 * 1448


# Rows spelt with a set --------------------------------------------------------------------------------------

V = 2000
RUNGS = (2, 8, 16, 32, 64, 128, 320)
FRONT = 600


def text(seed: int, positions: int) -> list[NDArray[np.float32]]:
    """Logits of a draft whose text has three topics, each with its own frequent ids."""
    ranks = np.array([np.random.default_rng(topic).permutation(V) + 1 for topic in range(3)])
    rng = np.random.default_rng(seed)
    topics = rng.integers(3, size=positions)
    return [(rng.standard_normal(V) - 1.4 * np.log(ranks[topic])).astype(np.float32) for topic in topics]


def rows_of(logits: list[NDArray[np.float32]], k: int) -> list[Row]:
    return [sparsify(one, None, k=k, temperature=1.0, vocab_size=V) for one in logits]


def bits_of(rows: list[Row], tables: TableSet) -> float:
    """Of a row, on average over blocks of 4, padding left out as well as it can be from outside."""
    blocks = [rows[i : i + 4] for i in range(0, len(rows), 4)]
    return sum(8 * len(encode_ranked(block, tables)) - HEADER_BITS - 3.5 for block in blocks) / len(rows)


def learnt(logits: list[NDArray[np.float32]]) -> TableSet:
    """One table a rung, the ids by how often they occur: plain, but measured as a set is."""
    kept = np.argsort(-np.array(logits), axis=1)
    order = np.argsort(-np.bincount(kept[:, :320].reshape(-1), minlength=V), kind="stable").astype(np.int32)
    rungs = []
    for k in RUNGS:
        shares = np.bincount(kept[:, :k].reshape(-1), minlength=V)[order] / len(logits)
        head = int((shares[:FRONT] > 0.25).sum())
        table = Table(front=np.arange(FRONT, dtype=np.int32), head=head, widths=buckets(shares[head:FRONT]))
        rungs.append(Rung(k=k, tables=(table,), tail_widths=buckets(shares[FRONT:]), row_bits=0))
    found = TableSet(vocab_size=V, fingerprint=FINGERPRINT, label="text", order=order, rungs=tuple(rungs))
    sizes = [round(bits_of(rows_of(logits, k), found)) for k in RUNGS]
    sized = [replace(rung, row_bits=bits) for rung, bits in zip(found.rungs, sizes, strict=True)]
    return replace(found, rungs=tuple(sized))


def buckets(shares: NDArray[np.float64]) -> tuple[int, ...]:
    """Widths: the largest that expects 0.9 members at most, by ranks of falling share."""
    widths, at = list[int](), 0
    while at < len(shares):
        width = 0
        while width < 11 and shares[at : at + (2 << width)].sum() <= 0.9:
            width += 1
        widths.append(width)
        at += 1 << width
    return tuple(widths)


def test_rows_of_a_set_s_text_are_as_large_as_said() -> None:
    """On new text of the same kind: within 3 % at its rungs, within 5 % between them and above the last."""
    tables, fresh = learnt(text(1, 160)), text(2, 160)
    for k in (*RUNGS, 5, 12, 24, 45, 90, 200, 450):
        told, real = row_bits(k=k, vocab_size=V, tables=tables), bits_of(rows_of(fresh, k), tables)
        assert told == pytest.approx(real, rel=0.03 if k in RUNGS else 0.05), k
        assert told < (0.9 if 32 <= k <= 320 else 1.0) * row_bits(k=k, vocab_size=V), k


def test_a_frame_of_a_set_s_text_is_as_long_as_said() -> None:
    """Envelope, block's header and four rows: within 3 %, overhead on the link included."""
    tables, fresh = learnt(text(1, 160)), text(3, 160)
    frames = true_frames(vocab_size=V, tables=tables)
    for k in (8, 64, 320):
        rows, sizes = iter(rows_of(fresh, k)), []
        while block := tuple(islice(rows, 4)):
            message = SparseLogits(
                incarnation=Incarnation(boot=1, counter=1), draft_epoch=1, start=9, rows=block
            )
            sizes.append(len(encode_frame(message, session=1, sequence=1, tables=tables)))
        real = np.mean([on_link_bits(size) for size in sizes])
        assert real == pytest.approx(frames.rows_bits(k, 4), rel=0.03)


def test_outside_a_set_s_rungs() -> None:
    """Below the first rung rows travel plain; a whole row that is dense knows no tables."""
    tables = usual_set(5000, first=8)
    for k in (1, 7, 5000):
        assert row_bits(k=k, vocab_size=5000, tables=tables) == row_bits(k=k, vocab_size=5000)
    rows = rows_of(text(1, 2), 1)
    assert encode_rows(rows, tables=usual_set(V, first=2)) == encode_rows(rows)
    assert row_bits(k=8, vocab_size=5000, tables=tables) == 80
    assert row_bits(k=4096, vocab_size=5000, tables=tables) == 40_960


def test_sizes_go_by_the_set() -> None:
    """The same object for sets of the same sizes, another for others, and rows alone differ."""
    tables = usual_set(4096)
    larger = replace(tables, rungs=tuple(replace(one, row_bits=2 * one.row_bits) for one in tables.rungs))
    frames = true_frames(vocab_size=4096, tables=tables)
    assert frames is true_frames(vocab_size=4096, tables=usual_set(4096))
    assert frames is not true_frames(vocab_size=4096, tables=larger)
    assert frames.draft_bits(32, 4) == true_frames(vocab_size=4096).draft_bits(32, 4)
    around = around_rows_bits(vocab_size=4096)
    assert frames.rows_bits(32, 4) == on_link_bits((around + 4 * 320) / 8)
    assert true_frames(vocab_size=4096, tables=larger).rows_bits(32, 4) == frames.rows_bits(32, 8)
    assert rung_bits(None) == ()


def test_a_set_that_does_not_say_how_large_its_rows_are() -> None:
    """0 stands for that: rungs that do say stand for their neighbours, and plain rows for a whole set."""
    usual = usual_set(4096)
    sizes = [0 if rung.k == 32 else 7 * rung.k for rung in usual.rungs]
    sized = [replace(rung, row_bits=bits) for rung, bits in zip(usual.rungs, sizes, strict=True)]
    some = replace(usual, rungs=tuple(sized))
    silent = replace(usual, rungs=tuple(replace(one, row_bits=0) for one in usual.rungs))
    assert row_bits(k=32, vocab_size=4096, tables=some) == pytest.approx(7 * 32)
    assert true_frames(vocab_size=4096, tables=silent) is true_frames(vocab_size=4096)
