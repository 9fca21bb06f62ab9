"""Vectorised bit packing. A section of bits is a uint8 array of zeros and ones, first bit first.

Two spellings only, both read without a Python loop: *runs* (that many 0s, then a 1) and *fields* (a fixed
number of bits each, most significant first).
"""

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.errors import Refusal, WireError, bytes_behind
from draftwire.codecs.weights import Integers

Bits = NDArray[np.uint8]

MAX_FIELD_BITS = 25
"Wherever a field of so many bits begins in a byte, it ends within 4."


def bits_of_runs(values: Integers) -> Bits:
    """For each of the n values >= 0: that many 0s, then a 1; n + sum(values) bits."""
    ends = (values + 1).cumsum()
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    bits[ends - 1] = 1
    return bits


def runs_of_bits(ones: Integers) -> Integers:
    """The values whose final 1s stand at the rising places `ones`, counted from the section's first bit."""
    runs = ones.copy()
    runs[1:] -= ones[:-1]
    runs[1:] -= 1
    return runs


def bits_of_fields(values: Integers, widths: Integers) -> Bits:
    """Each value in its own width, 0 <= value < 2**width; sum(widths) bits."""
    bits = values.repeat(widths)
    shifts = widths.cumsum().repeat(widths)
    shifts -= np.arange(1, len(bits) + 1)
    bits >>= shifts
    bits &= 1
    return bits.astype(np.uint8)


def bits_of_equal_fields(values: Integers, width: int) -> Bits:
    """The last `width` bits of each value."""
    if width > len(values):
        return (values[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8).reshape(-1)
    bits = np.empty((len(values), width), np.uint8)
    for i in range(width):
        bits[:, i] = values >> (width - 1 - i) & 1
    return bits.reshape(-1)


def equal_fields_of_bits(bits: Bits, width: int) -> Integers:
    """The values of fields of `width` bits, 1 or more."""
    columns = bits.reshape(-1, width)
    values = columns[:, 0].astype(np.int64)
    for i in range(1, width):
        values <<= 1
        values |= columns[:, i]
    return values


def fields_at(data: bytes, start: int, widths: Integers) -> Integers:
    """The values of the fields that follow each other from bit `start` of `data`, one a width.

    Widths are at most MAX_FIELD_BITS, `start` is at least 32, and the fields end within `data`.
    """
    last_bits = widths.cumsum()
    last_bits += start - 1
    # The 4 bytes that end with a field's last bit hold the whole of it.
    windows = np.ndarray((len(data) - 3,), ">u4", data, 0, (1,))
    values: Integers = windows[(last_bits >> 3) - 3].astype(np.int64)
    values >>= 7 - (last_bits & 7)
    values &= (1 << widths) - 1
    return values


def need(data: bytes, bits: int) -> None:
    """Raise WireError if `data` has fewer bits."""
    if 8 * len(data) < bits:
        detail = f"these rows take {bits} bits or more"
        raise WireError(reason=Refusal.TRUNCATED, offset=8 * len(data), detail=detail)


def check_length(data: bytes, most: int) -> None:
    """Raise WireError if `data` goes on behind the byte that has bit number `most`, counted from 1."""
    if len(data) > -(-most // 8):
        detail = f"these rows take {-(-most // 8)} bytes at most"
        raise WireError(reason=Refusal.TRAILING, offset=8 * -(-most // 8), detail=detail)


def check_end(bits: Bits, end: int) -> None:
    """Raise WireError unless `end` bits are followed by 0 bits up to a whole byte, and nothing else."""
    if len(bits) < end:
        detail = f"these rows take {end} bits"
        raise WireError(reason=Refusal.TRUNCATED, offset=len(bits), detail=detail)
    if len(bits) - end >= 8:
        detail = bytes_behind(len(bits) // 8 - -(-end // 8))
        raise WireError(reason=Refusal.TRAILING, offset=8 * -(-end // 8), detail=detail)
    if bits[end:].any():
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=end, detail="padding that is not 0")


__all__ = [
    "MAX_FIELD_BITS",
    "Bits",
    "bits_of_equal_fields",
    "bits_of_fields",
    "bits_of_runs",
    "check_end",
    "check_length",
    "equal_fields_of_bits",
    "fields_at",
    "need",
    "runs_of_bits",
]
