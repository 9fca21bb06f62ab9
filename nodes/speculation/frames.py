"""What draftwire's own messages cost on the link, measured by encoding them.

Plain rows are Zipf rows over random ids. Text is kinder, as its frequent ids lie close together; a controller
that has seen rows of text says by how much (`row_scale`). Rows spelt with a set of tables are taken to be as
large as on the text that it was learnt from: the set says so itself, for the K of each of its rungs.
"""

import math
from functools import lru_cache

import numpy as np

from draftwire.codecs.blocks import HEADER_BITS, encode_rows
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import (
    Commit,
    Draft,
    Incarnation,
    Message,
    Origin,
    Plan,
    SparseLogits,
    StepTimes,
)
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import TableSet
from draftwire.nodes.speculation.cost import Frames
from draftwire.runtime.link import LinkSpec

_INCARNATION = Incarnation(boot=0, counter=0)
_DIGEST = bytes(8)
_PLAN = Plan(number=0, k=1, gamma=1, min_draft=1)
_TIMES = StepTimes(hold_s=0, step_s=0, wait_s=0)
_LINK = LinkSpec()


RungBits = tuple[tuple[int, int], ...]
"Of each rung of a set, by rising K: its K, and the bits of a usual row of it. Empty: rows travel plain."


def rung_bits(tables: TableSet | None) -> RungBits:
    """What a set says of the size of its rows, where it does and not 0; None: plain rows."""
    return () if tables is None else tuple((one.k, one.row_bits) for one in tables.rungs if one.row_bits)


def true_frames(
    *, vocab_size: int, row_scale: float = 1.0, rows: bool = True, tables: TableSet | None = None
) -> Frames:
    """Sizes as draftwire sends them: Draft, one SparseLogits behind it, Commit.

    row_scale multiplies the bits of a row; rows = False: where drafts are hints, and only ids travel; tables:
    the set that both ends agreed on, None for plain rows.
    """
    return frames_of(vocab_size=vocab_size, row_scale=row_scale, rows=rows, rungs=rung_bits(tables))


@lru_cache(maxsize=1024)  # the same object for the same question: forecasts remember sizes by it
def frames_of(
    *,
    vocab_size: int,
    row_scale: float = 1.0,
    plain_scale: float | None = None,
    rows: bool = True,
    rungs: RungBits = (),
) -> Frames:
    """True frames, where of a set no more is known than the size of its rows.

    plain_scale: in place of row_scale, of rows that do not use the set's rungs; None: the same.
    """
    around = around_rows_bits(vocab_size=vocab_size)
    other_scale = row_scale if plain_scale is None or not rungs else plain_scale

    def rows_bits(k: int, n: int) -> float:
        scale = row_scale if _by_rungs(k, rungs) else other_scale
        return on_link_bits((around + n * scale * _row_bits(k, vocab_size, rungs)) / 8)

    return Frames(
        draft_bits=_weighted_draft_bits if rows else _ids_bits,
        rows_bits=rows_bits if rows else lambda k, n: 0,
        commit_bits=_commit_bits,
        rows_in_one=True,
    )


def on_link_bits(size_bytes: float) -> float:
    """What a message of so many bytes takes on a link, with what the link adds to it and to its packets.

    A size that is a mean need not be whole.
    """
    whole = math.ceil(size_bytes)
    return 8.0 * (size_bytes + _LINK.bytes_on_link(whole) - whole)


def row_bits(*, k: int, vocab_size: int, tables: TableSet | None = None) -> float:
    """Bits that one more row of K entries adds to a block.

    Plain: the mean of 4 Zipf rows. With a set: bits an entry between those of the rungs around K, by log K;
    above the last rung its own; below the first rung rows travel plain.
    """
    return _row_bits(k, vocab_size, rung_bits(tables))


@lru_cache(maxsize=1024)
def _row_bits(k: int, vocab_size: int, rungs: RungBits) -> float:
    if _by_rungs(k, rungs):
        known = [math.log(rung) for rung, _ in rungs], [bits / rung for rung, bits in rungs]
        return k * float(np.interp(math.log(k), *known))
    return (8 * len(encode_rows(zipf_rows(k=k, vocab_size=vocab_size, count=4))) - HEADER_BITS) / 4


def _by_rungs(k: int, rungs: RungBits) -> bool:
    return bool(rungs) and rungs[0][0] <= k <= MAX_PLAIN_K


@lru_cache(maxsize=64)
def around_rows_bits(*, vocab_size: int) -> float:
    """Bits of a SparseLogits beside its rows; what a link adds is left out, see `on_link_bits`."""
    smallest = zipf_rows(k=1, vocab_size=vocab_size, count=1)
    whole = 8 * _size_bytes(SparseLogits(incarnation=_INCARNATION, draft_epoch=0, start=0, rows=smallest))
    return whole + HEADER_BITS - 8 * len(encode_rows(smallest))


def zipf_rows(*, k: int, vocab_size: int, count: int) -> tuple[Row, ...]:
    """Rows with q proportional to 1/rank over K random ids; always the same ones."""
    rng = np.random.default_rng(0)
    log_weights = -np.log(np.arange(1, k + 1))
    return tuple(
        quantize(rng.permutation(vocab_size)[:k], log_weights, vocab_size=vocab_size) for _ in range(count)
    )


def _weighted_draft_bits(k: int, gamma: int) -> float:
    return _draft_bits(gamma, True)  # rows travel behind it


def _ids_bits(k: int, gamma: int) -> float:
    return _draft_bits(gamma, False)


@lru_cache(maxsize=256)
def _draft_bits(gamma: int, weighted: bool) -> float:
    return _bits(
        Draft(
            incarnation=_INCARNATION,
            draft_epoch=0,
            known=0,
            start=0,
            path_hash=_DIGEST,
            plan=_PLAN,
            ids=(0,) * gamma,
            weights=(1,) * gamma if weighted else (),
            rows_hash=_DIGEST,
        )
    )


@lru_cache  # a controller asks for the target's own, gamma = 0, with every plan
def _commit_bits(gamma: int) -> float:
    ids = (0,) * (gamma + 1)  # a whole block and its bonus: the longest answer
    return _bits(
        Commit(
            incarnation=_INCARNATION,
            position=0,
            log_hash=_DIGEST,
            ids=ids,
            origins=(Origin.ACCEPTED,) * len(ids),
            tested_epoch=0,
            accepted=gamma,
            seen=gamma,
            plan=_PLAN,
            times=_TIMES,
        )
    )


def _bits(message: Message) -> float:
    return on_link_bits(_size_bytes(message))


def _size_bytes(message: Message) -> int:
    return len(encode_frame(message, session=0, sequence=0))


__all__ = [
    "RungBits",
    "around_rows_bits",
    "frames_of",
    "on_link_bits",
    "row_bits",
    "rung_bits",
    "true_frames",
    "zipf_rows",
]
