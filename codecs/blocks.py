"""A block of 1 to 32 rows <-> bytes. The rows share vocabulary size V, K and profile.

    byte 0      mode (high 4 bits), weight profile (low 4 bits)
    byte 1      R, the number of rows
    bytes 2-4   V
    bytes 5-7   K

Mode 0, plain (profiles 0 and 1), then goes on bit by bit, rows in order, a row's entries by rising id:

    1. per row, 5 bits: its Rice parameter l; 6 bits: its tail
    2. per entry, a run of gap >> l; the gap is the number of ids skipped since the entry before
    3. per entry, a run of its coarse level
    4. per entry, a field of l bits: the rest of the gap
    5. per refined entry, a field of s bits: the low bits of its fine level
    6. 0 bits up to a whole byte

Mode 2, dense (profile 2, K = V): R * V levels of 16 bits. Mode 1 is kept for rank tables.

All of this is canonical: what decodes re-encodes to the same bytes. docs/wire.md has the full rules.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from draftwire.codecs.bits import Bits, bits_of_fields, bits_of_runs, fields_of_bits, runs_of_bits
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_VOCAB_SIZE
from draftwire.codecs.rows import NO_TAIL, Row, check_shape, check_tail, faults, rows_of_valid
from draftwire.codecs.weights import COARSE_LEVELS, Integers, Profile, low_bits, refined

HEADER = struct.Struct(">BB3s3s")
HEADER_BITS = 8 * HEADER.size
PARAMETER_BITS = 5
TAIL_BITS = 6


class Mode(IntEnum):
    """How the rest of a block is spelt."""

    PLAIN = 0
    TABLES = 1
    "reserved; refused by this version"
    DENSE = 2


_PROFILES = {Mode.PLAIN: (Profile.SMALL, Profile.LARGE), Mode.DENSE: (Profile.DENSE,)}


def encode_rows(rows: Sequence[Row]) -> bytes:
    """The one spelling of a block. Raises LocalError for no rows, too many, or unlike V, K or profile."""
    if not rows:
        raise LocalError(field="rows", value=rows, remedy="a block has at least one row")
    first = rows[0]
    check_shape(profile=first.profile, vocab_size=first.vocab_size, k=len(first), rows=len(rows))
    for i, row in enumerate(rows):
        if (row.vocab_size, len(row), row.profile) != (first.vocab_size, len(first), first.profile):
            raise LocalError(
                field=f"rows[{i}]", value=row, remedy=f"must have V, K and profile of rows[0]: {first}"
            )
    mode = Mode.DENSE if first.profile is Profile.DENSE else Mode.PLAIN
    header = HEADER.pack(
        mode << 4 | first.profile,
        len(rows),
        first.vocab_size.to_bytes(3, "big"),
        len(first).to_bytes(3, "big"),
    )
    if mode is Mode.DENSE:
        return header + np.stack([row.levels for row in rows]).astype(">u2").tobytes()
    return header + np.packbits(np.concatenate(plain_sections(rows))).tobytes()


def decode_rows(data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
    """The rows of a block; WireError, offset in bits from its start, for all but the one spelling.

    `vocab_size` is what the reader expects; None takes what the block names.
    """
    if len(data) < HEADER.size:
        raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(data), detail="a block begins with 8 bytes")
    kinds, row_count, v, k = HEADER.unpack_from(data)
    mode, profile = _mode_and_profile(kinds)
    named_v, entries = int.from_bytes(v, "big"), int.from_bytes(k, "big")
    try:
        check_shape(profile=profile, vocab_size=named_v, k=entries, rows=row_count)
    except LocalError as error:
        raise WireError(reason=Refusal.LIMIT, offset=8, detail=str(error)) from None
    if vocab_size is not None and vocab_size != named_v:
        detail = f"rows over {named_v} ids where {vocab_size} are expected"
        raise WireError(reason=Refusal.VOCABULARY, offset=16, detail=detail)
    shape = (row_count, entries)
    if mode is Mode.DENSE:
        _check_length(len(data), HEADER.size + 2 * row_count * entries, HEADER.size + 2 * row_count * entries)
        levels = np.frombuffer(data, ">u2", offset=HEADER.size).astype(np.int64).reshape(shape)
        ids, tails = np.broadcast_to(np.arange(entries), shape), [NO_TAIL] * row_count
    else:
        ids, levels, tails = _decode_plain(data, shape, profile, named_v)
    for rule, wrong in faults(ids, levels, profile=profile, vocab_size=named_v):
        if wrong.any():
            row, entry = divmod(int(wrong.argmax()), wrong.shape[1])
            raise WireError(
                reason=Refusal.RANGE, offset=HEADER_BITS, detail=f"row {row}, entry {entry}: {rule}"
            )
    return rows_of_valid(vocab_size=named_v, profile=profile, ids=ids, levels=levels, tails=tails)


def plain_sections(rows: Sequence[Row]) -> tuple[Bits, ...]:
    """Sections 1 to 5 of plain rows that share V, K and profile."""
    profile = rows[0].profile
    levels = np.stack([row.levels for row in rows])
    ids: Integers = np.stack([row.ids for row in rows])
    gaps: Integers = np.diff(ids, axis=1, prepend=-1) - 1
    parameters = rice_parameters(gaps, rows[0].vocab_size)
    tails = np.array([row.tail for row in rows])
    s, widths = low_bits(profile), np.repeat(parameters, gaps.shape[1])
    kept = levels[refined(levels, profile)] & ((1 << s) - 1)
    return (
        bits_of_fields(parameters << TAIL_BITS | tails, np.full(len(rows), PARAMETER_BITS + TAIL_BITS)),
        bits_of_runs((gaps >> parameters[:, None]).reshape(-1)),
        bits_of_runs((levels >> s).reshape(-1)),
        bits_of_fields(gaps.reshape(-1) & ((1 << widths) - 1), widths),
        bits_of_fields(kept, np.full(len(kept), s)),
    )


def rice_parameters(gaps: Integers, vocab_size: int) -> Integers:
    """Per row of `gaps`, shape [R, K], the l that makes sections 2 and 4 shortest, the least if several."""
    k = gaps.shape[1]
    # l + 1 costs K bits more than l and saves at most sum(gaps) / 2**l <= (V - K) / 2**l. So it can only be
    # shorter while 2**l < V / K, and beyond that there is nothing to find.
    candidates = np.arange((vocab_size // k).bit_length() + 1)
    costs = (gaps[:, None, :] >> candidates[:, None]).sum(axis=2) + k * candidates
    parameters: Integers = costs.argmin(axis=1)
    return parameters


def _mode_and_profile(kinds: int) -> tuple[Mode, Profile]:
    try:
        mode = Mode(kinds >> 4)
        profiles = _PROFILES[mode]
    except (ValueError, KeyError):
        detail = (
            f"mode {kinds >> 4}; this version speaks {', '.join(f'{m.value} ({m.name})' for m in _PROFILES)}"
        )
        raise WireError(reason=Refusal.MODE, offset=0, detail=detail) from None
    if kinds & 15 not in profiles:
        detail = f"mode {mode.name} has no weight profile {kinds & 15}"
        raise WireError(reason=Refusal.PROFILE, offset=4, detail=detail)
    return mode, Profile(kinds & 15)


def _check_length(length: int, least: int, most: int) -> None:
    if length < least:
        raise WireError(
            reason=Refusal.TRUNCATED, offset=8 * length, detail=f"these rows take {least} bytes or more"
        )
    if length > most:
        raise WireError(
            reason=Refusal.TRAILING, offset=8 * most, detail=f"these rows take {most} bytes at most"
        )


def _decode_plain(
    data: bytes, shape: tuple[int, int], profile: Profile, v: int
) -> tuple[Integers, Integers, list[int]]:
    """ids and levels of shape [R, K], in which the caller looks for faults; R tails."""
    (rows, k), n, s = shape, shape[0] * shape[1], low_bits(profile)
    start = HEADER_BITS + (PARAMETER_BITS + TAIL_BITS) * rows
    _check_length(len(data), _bytes(start + 2 * n), len(data))
    head = np.unpackbits(np.frombuffer(data, np.uint8, _bytes(start)))[HEADER_BITS:start]
    fields = fields_of_bits(head, np.full(rows, PARAMETER_BITS + TAIL_BITS))
    parameters, tails = fields >> TAIL_BITS, (fields & ((1 << TAIL_BITS) - 1)).tolist()
    if parameters.max() >= MAX_VOCAB_SIZE.bit_length():
        raise WireError(
            reason=Refusal.RANGE, offset=HEADER_BITS, detail=f"a Rice parameter of {parameters.max()}"
        )
    try:
        check_tail(min(tails), k=k, vocab_size=v)
    except LocalError as error:
        raise WireError(reason=Refusal.RANGE, offset=HEADER_BITS, detail=str(error)) from None
    # The least and the most that such rows can take, before the whole is unpacked to 8 times its size.
    rest = k * int(parameters.sum())
    quotients = int(((v - k) >> parameters).sum())
    least = start + 2 * n + rest
    _check_length(len(data), _bytes(least), _bytes(least + quotients + (COARSE_LEVELS - 1 + s) * n))

    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    ones = np.flatnonzero(bits[start:])[: 2 * n]
    if len(ones) < 2 * n:
        raise WireError(
            reason=Refusal.TRUNCATED, offset=len(bits), detail=f"{len(ones)} runs end where {2 * n} must"
        )
    runs = runs_of_bits(ones)
    coarse = runs[n:].reshape(shape)
    place = start + int(ones[-1]) + 1
    mask = refined(coarse << s, profile)
    kept = s * int(mask.sum())
    _check_length(len(data), _bytes(place + rest + kept), _bytes(place + rest + kept))
    if bits[place + rest + kept :].any():
        raise WireError(
            reason=Refusal.NOT_CANONICAL, offset=place + rest + kept, detail="padding that is not 0"
        )

    widths = np.repeat(parameters, k)
    gaps = (runs[:n] << widths) + fields_of_bits(bits[place : place + rest], widths)
    gaps = gaps.reshape(shape)
    ids = np.cumsum(gaps + 1, axis=1) - 1
    levels = coarse << s
    levels[mask] |= fields_of_bits(bits[place + rest : place + rest + kept], np.full(kept // s, s))
    if (ids[:, -1] < v).all() and (parameters != rice_parameters(gaps, v)).any():
        raise WireError(
            reason=Refusal.NOT_CANONICAL,
            offset=HEADER_BITS,
            detail="a Rice parameter that is not the shortest",
        )
    return ids, levels, tails


def _bytes(bits: int) -> int:
    return (bits + 7) // 8


class Packed:
    """This module as a RowCodec: what travels in SparseLogits."""

    name = "packed"

    def encode(self, rows: Sequence[Row]) -> bytes:
        """See encode_rows."""
        return encode_rows(rows)

    def decode(self, data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
        """See decode_rows."""
        return decode_rows(data, vocab_size=vocab_size)


__all__ = ["HEADER_BITS", "Mode", "Packed", "decode_rows", "encode_rows", "plain_sections", "rice_parameters"]
