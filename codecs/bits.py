"""Vectorised bit packing. A section of bits is a uint8 array of zeros and ones, first bit first.

Two spellings only, both read without a Python loop: *runs* (that many 0s, then a 1) and *fields* (a fixed
number of bits each, most significant first).
"""

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.weights import Integers, Mask

Bits = NDArray[np.uint8]


def bits_of_runs(values: Integers) -> Bits:
    """For each of the n values >= 0: that many 0s, then a 1; n + sum(values) bits."""
    ends = np.cumsum(values + 1)
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    bits[ends - 1] = 1
    return bits


def runs_of_bits(ones: Integers) -> Integers:
    """The values whose final 1s stand at the rising places `ones`, counted from the section's first bit."""
    return np.diff(ones, prepend=-1) - 1


def bits_of_fields(values: Integers, widths: Integers) -> Bits:
    """Each value in its own width, 0 <= value < 2**width, width <= 32; sum(widths) bits."""
    dtype, mask = _columns(widths)
    octets = values.astype(dtype).view(np.uint8).reshape(len(values), mask.shape[1] // 8)
    return np.unpackbits(octets, axis=1)[mask]


def fields_of_bits(bits: Bits, widths: Integers) -> Integers:
    """The values that stand in `bits`, one a width; len(bits) must be sum(widths)."""
    dtype, mask = _columns(widths)
    spread = np.zeros(mask.shape, np.uint8)
    spread[mask] = bits
    return np.packbits(spread, axis=1).view(dtype).reshape(-1).astype(np.int64)


def _columns(widths: Integers) -> tuple[str, Mask]:
    """The narrowest integer that holds every field, and where in it their bits stand, shape [n, bits]."""
    widest = int(widths.max(initial=0))
    size = 1 if widest <= 8 else 2 if widest <= 16 else 4
    return f">u{size}", np.arange(8 * size) >= 8 * size - widths[:, None]


__all__ = ["Bits", "bits_of_fields", "bits_of_runs", "fields_of_bits", "runs_of_bits"]
