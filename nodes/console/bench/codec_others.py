"""What rows take in other layouts: the paper's, as it is and deflated, and that of a serving system.

The paper sends an index of ceil(log2 V) bits and an FP16 probability for each entry (it counts the FP16
alone). A general compressor gets a block in this layout in each of several orders, and the best counts: it
finds patterns of bytes, and indices packed into bits have few.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from draftwire.nodes.console.bench.codec_text import Block

VALUE_BITS: Final = 16
"An FP16 probability."

FORK_ENTRY_BITS: Final = 48
"An id in 32 bits and an FP16 probability: what a serving system sends that was extended to sparse rows."

Layout = Callable[[Block], bytes]
Compressor = Callable[[bytes], bytes]


def paper_entry_bits(vocab_size: int) -> int:
    """Of an entry of the paper, its index included."""
    return index_bits(vocab_size) + VALUE_BITS


def index_bits(vocab_size: int) -> int:
    """ceil(log2 V)."""
    return (vocab_size - 1).bit_length()


def packed(block: Block) -> bytes:
    """Entry by entry, likeliest first: the index in ceil(log2 V) bits and the FP16 value, no bit between."""
    ids, values = _likeliest_first(block)
    bits = np.concatenate(
        [_bits(ids.reshape(-1), index_bits(block.vocab_size)), _bits(values.reshape(-1), VALUE_BITS)], axis=1
    )
    return np.packbits(bits).tobytes()


def likeliest_columns(block: Block) -> bytes:
    """Row by row, likeliest first: all indices in 2 or 3 bytes each, then all values."""
    return _columns(*_likeliest_first(block), block.vocab_size)


def rising_columns(block: Block) -> bytes:
    """Row by row, by rising id: all indices in 2 or 3 bytes each, then all values."""
    return _columns(block.ids, _values(block), block.vocab_size)


def rising_planes(block: Block) -> bytes:
    """All rows by rising id: the high bytes of all indices, the lower ones, then those of the values."""
    ids, values = block.ids.astype(">u4"), _values(block).astype(">u2")
    planes = [ids.view(np.uint8).reshape(-1, 4)[:, 4 - index_bytes(block.vocab_size) :].T]
    planes.append(values.view(np.uint8).reshape(-1, 2).T)
    return b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)


LAYOUTS: Final[dict[str, Layout]] = {
    "packed": packed,
    "likeliest columns": likeliest_columns,
    "rising columns": rising_columns,
    "rising planes": rising_planes,
}


def index_bytes(vocab_size: int) -> int:
    """Of an index on a whole number of bytes."""
    return (index_bits(vocab_size) + 7) // 8


def _values(block: Block) -> NDArray[np.uint16]:
    """The bits of the FP16 probabilities."""
    return block.exact.astype(np.float16).view(np.uint16)


def _likeliest_first(block: Block) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    order = np.argsort(-block.scores, axis=1, kind="stable")
    return np.take_along_axis(block.ids, order, axis=1), np.take_along_axis(_values(block), order, axis=1)


def _columns(ids: NDArray[np.int32], values: NDArray[np.uint16], vocab_size: int) -> bytes:
    size = index_bytes(vocab_size)
    octets = ids.astype("<u4").view(np.uint8).reshape(*ids.shape, 4)[..., :size]
    return b"".join(
        row.tobytes() + row_values.astype("<u2").tobytes()
        for row, row_values in zip(octets, values, strict=True)
    )


def _bits(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Shape [n, width], most significant first."""
    shifts = np.arange(width - 1, -1, -1)
    return (values[:, None].astype(np.int64) >> shifts & 1).astype(np.uint8)


# ------------------------------------------------------------------------------------- compressors


def deflate(data: bytes) -> bytes:
    """zlib at its highest level, without its header and checksum."""
    compressor = zlib.compressobj(9, wbits=-15)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    """zstd at level 19, without a checksum and the length of the content."""
    import zstandard

    return zstandard.ZstdCompressor(level=19, write_checksum=False, write_content_size=False).compress(data)


COMPRESSORS: Final[dict[str, Compressor]] = {"deflate": deflate, "zstd": zstd}


def compressed_bits(blocks: Sequence[Block], compress: Compressor) -> tuple[float, str]:
    """Bits an entry of these blocks, each compressed by itself, and the layout that they are fewest in."""
    entries = sum(block.ids.size for block in blocks)
    found = {
        name: 8 * sum(len(compress(layout(block))) for block in blocks) / entries
        for name, layout in LAYOUTS.items()
    }
    best = min(found, key=lambda name: found[name])
    return found[best], best


__all__ = [
    "COMPRESSORS",
    "FORK_ENTRY_BITS",
    "LAYOUTS",
    "Compressor",
    "Layout",
    "compressed_bits",
    "deflate",
    "index_bits",
    "paper_entry_bits",
    "zstd",
]
