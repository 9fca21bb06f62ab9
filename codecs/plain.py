"""Mode 0: rows spelt by the gaps between their ids. blocks.py lists the sections; any pair can speak it.

All of it is canonical: what decodes re-encodes to the same bytes.
"""

from collections.abc import Sequence

import numpy as np

from draftwire.codecs.bits import (
    Bits,
    bits_of_equal_fields,
    bits_of_fields,
    bits_of_runs,
    check_end,
    check_length,
    equal_fields_of_bits,
    fields_at,
    need,
    runs_of_bits,
)
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_VOCAB_SIZE
from draftwire.codecs.rows import TAIL_BITS, Row, check_tail, faults, rows_of_valid
from draftwire.codecs.weights import COARSE_LEVELS, Integers, Profile, low_bits, refined

SECTIONS = ("rice parameters and tails", "gap quotients", "coarse levels", "gap remainders", "low bits")

PARAMETER_BITS = 5


def plain_sections(rows: Sequence[Row]) -> tuple[Bits, ...]:
    """Sections 1 to 5 of plain rows that share V, K and profile."""
    profile = rows[0].profile
    levels = np.array([row.levels for row in rows])
    gaps: Integers = np.array([row.ids for row in rows])
    gaps[:, 1:] -= gaps[:, :-1] + 1
    parameters = rice_parameters(gaps, rows[0].vocab_size)
    tails = np.array([row.tail for row in rows])
    s = low_bits(profile)
    kept = levels[refined(levels, profile)] & ((1 << s) - 1)
    return (
        bits_of_equal_fields(parameters << TAIL_BITS | tails, PARAMETER_BITS + TAIL_BITS),
        bits_of_runs((gaps >> parameters[:, None]).reshape(-1)),
        bits_of_runs((levels >> s).reshape(-1)),
        _remainders(gaps, parameters),
        bits_of_equal_fields(kept, s),
    )


def _remainders(gaps: Integers, parameters: Integers) -> Bits:
    """Of every gap the low bits, as many as its row's parameter says; it mostly is one for all rows."""
    first = int(parameters[0])
    if (parameters == first).all():
        return bits_of_equal_fields(gaps.reshape(-1), first)
    widths = parameters.repeat(gaps.shape[1])
    return bits_of_fields(gaps.reshape(-1) & ((1 << widths) - 1), widths)


def rice_parameters(gaps: Integers, vocab_size: int) -> Integers:
    """Per row of `gaps`, shape [R, K], the l that makes sections 2 and 4 shortest, the least if several."""
    k = gaps.shape[1]
    # l + 1 costs K bits more than l and saves at most sum(gaps) / 2**l <= (V - K) / 2**l. So it can only be
    # shorter while 2**l < V / K, and beyond that there is nothing to find.
    candidates = np.arange((vocab_size // k).bit_length() + 1)
    costs = np.add.reduce(gaps[:, None, :] >> candidates[:, None], axis=2) + k * candidates
    parameters: Integers = costs.argmin(axis=1)
    return parameters


def decode_plain(
    data: bytes, *, vocab_size: int, shape: tuple[int, int], profile: Profile, start: int
) -> tuple[Row, ...]:
    """The rows, [R, K], behind a header of `start` bits. WireError for all but their one spelling."""
    (rows, k), n, s = shape, shape[0] * shape[1], low_bits(profile)
    heads_end = start + (PARAMETER_BITS + TAIL_BITS) * rows
    need(data, heads_end + 2 * n)
    heads, tails = _heads(data, rows, start)
    try:
        check_tail(min(tails), k=k, vocab_size=vocab_size)
    except LocalError as error:
        raise WireError(reason=Refusal.RANGE, offset=start, detail=str(error)) from None
    # The least and the most that such rows can take, before the whole is unpacked to 8 times its size.
    rest = k * sum(heads)
    quotients = sum((vocab_size - k) >> head for head in heads)
    least = heads_end + 2 * n + rest
    need(data, least)
    check_length(data, least + quotients + (COARSE_LEVELS - 1 + s) * n)

    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    ones = bits[heads_end:].view(np.bool_).nonzero()[0][: 2 * n]
    if len(ones) < 2 * n:
        detail = f"{len(ones)} runs end where {2 * n} must"
        raise WireError(reason=Refusal.TRUNCATED, offset=len(bits), detail=detail)
    runs = runs_of_bits(ones)
    coarse = runs[n:].reshape(shape)
    rest_at = heads_end + int(ones[-1]) + 1
    mask = refined(coarse << s, profile)
    low_at, kept = rest_at + rest, s * int(np.count_nonzero(mask))
    check_end(bits, low_at + kept)

    parameters = np.array(heads)
    if heads.count(heads[0]) == rows:  # mostly
        gaps = runs[:n] << heads[0]
        if rest:
            gaps |= equal_fields_of_bits(bits[rest_at:low_at], heads[0])
    else:
        widths = parameters.repeat(k)
        gaps = runs[:n] << widths
        gaps += fields_at(data, rest_at, widths)
    gaps = gaps.reshape(shape)
    ids = (gaps + 1).cumsum(axis=1)
    ids -= 1
    levels = coarse << s
    levels[mask] |= equal_fields_of_bits(bits[low_at : low_at + kept], s)
    _check_rows(ids, levels, profile=profile, vocab_size=vocab_size, offset=heads_end)
    if (wrong := parameters != rice_parameters(gaps, vocab_size)).any():
        detail = f"row {int(wrong.argmax())}: a Rice parameter that is not the shortest"
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=start, detail=detail)
    return rows_of_valid(vocab_size=vocab_size, profile=profile, ids=ids, levels=levels, tails=tails)


def _check_rows(
    ids: Integers, levels: Integers, *, profile: Profile, vocab_size: int, offset: int
) -> None:
    """What the spelling itself leaves open: with it ids rise, and low bits stand only where they may."""
    within = ids[:, -1].max() < vocab_size and levels.max() < COARSE_LEVELS << low_bits(profile)
    if within and not levels.min(axis=1).any():
        return
    for rule, wrong in faults(ids, levels, profile=profile, vocab_size=vocab_size):
        if wrong.any():
            row, entry = divmod(int(wrong.argmax()), ids.shape[1])
            detail = f"row {row}, entry {entry}: {rule}"
            raise WireError(reason=Refusal.RANGE, offset=offset, detail=detail)


def _heads(data: bytes, rows: int, start: int) -> tuple[list[int], list[int]]:
    """Rice parameters and tails."""
    width = PARAMETER_BITS + TAIL_BITS
    end = start + width * rows
    heads = int.from_bytes(data[start // 8 : -(-end // 8)], "big") >> -end % 8
    fields = [heads >> width * (rows - 1 - i) & ((1 << width) - 1) for i in range(rows)]
    parameters = [field >> TAIL_BITS for field in fields]
    tails = [field & ((1 << TAIL_BITS) - 1) for field in fields]
    if max(parameters) >= MAX_VOCAB_SIZE.bit_length():
        detail = f"a Rice parameter of {max(parameters)}"
        raise WireError(reason=Refusal.RANGE, offset=start, detail=detail)
    return parameters, tails


__all__ = ["PARAMETER_BITS", "SECTIONS", "decode_plain", "plain_sections", "rice_parameters"]
