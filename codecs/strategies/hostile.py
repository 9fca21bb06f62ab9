"""Frames, and bytes that mean harm."""

from zlib import crc32

import hypothesis.strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.frame import ENVELOPE_BYTES, encode_frame, with_padding
from draftwire.codecs.limits import MAX_PADDING, MAX_UINT32
from draftwire.codecs.strategies.blocks import row_blocks
from draftwire.codecs.strategies.messages import control_messages, messages


def frames() -> SearchStrategy[bytes]:
    """Any message in its envelope; one in four is padded."""
    return st.builds(
        lambda message, session, sequence, padding: with_padding(
            encode_frame(message, session=session, sequence=sequence), padding
        ),
        messages() | control_messages(),
        st.integers(0, MAX_UINT32),
        st.integers(0, MAX_UINT32),
        paddings(),
    )


def paddings() -> SearchStrategy[int]:
    """Bytes of padding that a frame may have; 0, none, most of the time."""
    some = st.sampled_from((2, 3, 255, MAX_PADDING)) | st.integers(2, MAX_PADDING)
    return st.integers(0, 3).flatmap(lambda number: st.just(0) if number else some)


@st.composite
def hostile_bytes(draw: DrawFn, originals: SearchStrategy[bytes] | None = None) -> bytes:
    """Bytes a decoder must survive: `originals` (default: frames) bent, cut, stretched, spliced; and noise.

    Half of the bent frames get a CRC that fits, so that the harm reaches the decoders behind it.
    """
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    source = frames() if originals is None else originals
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 3))):
        _bend(draw, data, source)
    if originals is None and len(data) >= ENVELOPE_BYTES and draw(st.booleans()):
        data[10:14] = crc32(data[14:], crc32(data[:10])).to_bytes(4, "big")
    return bytes(data)


def _bend(draw: DrawFn, data: bytearray, source: SearchStrategy[bytes]) -> None:
    how = draw(st.sampled_from(("flip", "set", "cut", "grow", "drop", "splice")))
    place = draw(st.integers(0, max(0, len(data) - 1)))
    if draw(st.booleans()):
        place = min(place, draw(st.integers(0, 80)))  # headers sit in front
    if how == "flip" and data:
        data[place] ^= 1 << draw(st.integers(0, 7))
    elif how == "set" and data:
        data[place] = draw(st.sampled_from((0, 1, 127, 128, 254, 255)))
    elif how == "cut":
        del data[place:]
    elif how == "grow":
        data += draw(st.binary(min_size=1, max_size=8))
    elif how == "drop":
        del data[place : place + draw(st.integers(1, 4))]
    elif how == "splice":
        data[place:] = draw(source)[place:]


def hostile_blocks() -> SearchStrategy[bytes]:
    """The same for blocks of rows as they travel in SparseLogits."""
    return hostile_bytes(
        st.sampled_from((2, 300, 32000)).flatmap(lambda v: row_blocks(vocab_size=v)).map(encode_rows)
    )


__all__ = ["frames", "hostile_blocks", "hostile_bytes", "paddings"]
