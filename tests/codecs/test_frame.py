"""Frames: the envelope with any message in it."""

from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.golden_cases import CASES, LIFE, sparse_logits

from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.bodies import KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import FrameTooLarge, LocalError, Refusal, WireError
from draftwire.codecs.frame import (
    ENVELOPE_BYTES,
    AnyMessage,
    decode_frame,
    encode_frame,
    rows_tag,
    with_padding,
)
from draftwire.codecs.limits import MAX_FRAME_BYTES, MAX_PADDING, MAX_VOCAB_SIZE
from draftwire.codecs.messages import Open, Ping, SparseLogits, StepTimes
from draftwire.codecs.quantize import quantize
from draftwire.codecs.strategies import (
    CONTROL_MESSAGES,
    MESSAGES,
    control_messages,
    drafts,
    frames,
    hostile_bytes,
    messages,
    paddings,
)

uint32 = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    "strategy", [*MESSAGES.items(), *CONTROL_MESSAGES.items()], ids=lambda pair: pair[0].__name__
)
@settings(max_examples=50)
@given(data=st.data(), session=uint32, sequence=uint32)
def test_round_trip(
    strategy: tuple[type, st.SearchStrategy[AnyMessage]], data: st.DataObject, session: int, sequence: int
) -> None:
    """Every message comes back as it was, under its session and sequence number."""
    message = data.draw(strategy[1])
    frame = decode_frame(encode_frame(message, session=session, sequence=sequence))
    assert frame.message == message
    assert (frame.session, frame.sequence) == (session, sequence)


@settings(max_examples=200)  # test_hostile.py has many more, of frames that were bent otherwise
@given(data=hostile_bytes())
def test_hostile_bytes(data: bytes) -> None:
    """Any bytes are a frame, whose spelling is just these bytes, or the one typed error within them."""
    try:
        frame = decode_frame(data)
    except WireError as error:
        assert 0 <= error.offset <= 8 * len(data)
        assert isinstance(error.reason, Refusal)
        return
    again = encode_frame(frame.message, session=frame.session, sequence=frame.sequence)
    assert with_padding(again, frame.padding) == data


@given(data=frames(), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_refused(data: bytes, place: int, bit: int) -> None:
    """A frame that a link damaged in one bit is never taken for another."""
    damaged = bytearray(data)
    damaged[place % len(data)] ^= 1 << bit
    with pytest.raises(WireError) as caught:
        decode_frame(damaged)
    assert caught.value.reason in (Refusal.CHECKSUM, Refusal.VERSION)


@given(data=st.data(), count=st.integers(0, 32), weighted=st.booleans())
def test_draft_size_depends_on_counts_only(data: st.DataObject, count: int, weighted: bool) -> None:
    """Two Drafts of as many ids take as many bytes, whatever the ids, weights, hashes and plans are."""
    sizes = {
        len(encode_frame(data.draw(drafts(count=count, weighted=weighted)), session=1, sequence=1))
        for _ in range(2)
    }
    assert sizes == {ENVELOPE_BYTES + 56 + count * (6 if weighted else 3)}


@given(message=messages() | control_messages())
def test_kinds_are_all_there(message: AnyMessage) -> None:
    """Each message class has its own number: 1 to 63 on the data plane, 64 to 127 on the control plane."""
    assert set(MESSAGES) == set(KINDS) and set(CONTROL_MESSAGES) == set(CONTROL_KINDS)
    numbers = [*KINDS.values(), *CONTROL_KINDS.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= kind <= 63 for kind in KINDS.values())
    assert all(64 <= kind <= 127 for kind in CONTROL_KINDS.values())
    assert encode_frame(message, session=0, sequence=0)[1] == {**KINDS, **CONTROL_KINDS}[type(message)]


@given(message=messages() | control_messages(), pad_to=st.sampled_from((16, 64, 256, 1000, 4096)))
def test_a_padded_frame_is_a_multiple_long_and_says_the_same(message: AnyMessage, pad_to: int) -> None:
    """Its length tells no more than that; what it says and how its rows are spelt is as without."""
    plain = encode_frame(message, session=7, sequence=8)
    data = encode_frame(message, session=7, sequence=8, pad_to=pad_to)
    assert len(data) % pad_to == 0
    assert len(plain) <= len(data) <= len(plain) + pad_to + 1
    frame = decode_frame(data)
    assert frame == replace(decode_frame(plain), padding=len(data) - len(plain))
    assert rows_tag(data) == rows_tag(plain)


@given(message=messages(), padding=paddings())
def test_padding_of_any_length_is_read(message: AnyMessage, padding: int) -> None:
    """2 bytes to the limit; what is behind the body otherwise is refused."""
    data = with_padding(encode_frame(message, session=7, sequence=8), padding)
    assert decode_frame(data).padding == padding


@pytest.mark.parametrize("count", [-1, 1, MAX_PADDING + 1])
def test_padding_that_cannot_be_spelt(count: int) -> None:
    """A single byte has no room for the count, and more than the limit nobody takes."""
    with pytest.raises(LocalError):
        with_padding(encode_frame(CASES["ping"], session=1, sequence=2), count)


def test_a_frame_near_the_limit_is_not_padded_beyond_it() -> None:
    """It is sent as it is."""
    opening = CASES["open"]
    assert isinstance(opening, Open)
    longest = replace(opening, stop=(), tokens=(1,) * 262_144)
    plain = encode_frame(longest, session=0, sequence=0)
    rest = MAX_FRAME_BYTES - len(plain)
    assert len(encode_frame(longest, session=0, sequence=0, pad_to=4096)) % 4096 == 0
    assert encode_frame(longest, session=0, sequence=0, pad_to=len(plain) + rest + 1) == plain


def test_buffers() -> None:
    """bytes, bytearray and memoryview are read alike."""
    data = encode_frame(CASES["ping"], session=1, sequence=2)
    assert decode_frame(bytearray(data)) == decode_frame(memoryview(data)) == decode_frame(data)


def test_the_largest_frames_meant() -> None:
    """8 dense rows over 49152 ids fit, and so does an Open of a full log."""
    row = quantize(range(49152), [0.0] * 49152, vocab_size=49152)
    assert len(encode_frame(sparse_logits((row,) * 8), session=0, sequence=0)) == 786_470
    opening = CASES["open"]
    assert isinstance(opening, Open)
    full = replace(opening, tokens=(MAX_VOCAB_SIZE - 1,) * 262_144)
    assert decode_frame(encode_frame(full, session=0, sequence=0)).message == full


def test_what_nobody_means_does_not_fit() -> None:
    """Two dense rows of the largest vocabulary are refused before they are sent, and when they come."""
    row = quantize(range(MAX_VOCAB_SIZE), [0.0] * MAX_VOCAB_SIZE, vocab_size=MAX_VOCAB_SIZE)
    with pytest.raises(FrameTooLarge) as caught:
        encode_frame(sparse_logits((row, row)), session=0, sequence=0)
    assert caught.value.value == 1_048_614 > MAX_FRAME_BYTES
    with pytest.raises(WireError) as refused:
        decode_frame(bytes(MAX_FRAME_BYTES + 1))
    assert refused.value.reason is Refusal.TOO_LARGE


@pytest.mark.parametrize("session, sequence", [(-1, 0), (2**32, 0), (0, -1), (0, 2**32)])
def test_numbers_have_32_bits(session: int, sequence: int) -> None:
    """A session or sequence number of more than 32 bits is a local error."""
    with pytest.raises(LocalError):
        encode_frame(Ping(incarnation=LIFE, known=0, stamp=0), session=session, sequence=sequence)


def test_only_messages() -> None:
    """What is no message is a local error."""
    with pytest.raises(LocalError):
        encode_frame("hello", session=0, sequence=0)  # type: ignore[arg-type]


def test_offsets_count_from_the_frame() -> None:
    """An error deep inside a block of rows names the bit of the whole frame."""
    message = CASES["sparse_logits_plain"]
    assert isinstance(message, SparseLogits)
    data = encode_frame(message, session=0, sequence=0)
    block = encode_rows(message.rows)
    assert data.endswith(block)
    data = data[:-1]
    data = data[:10] + crc32(data[14:], crc32(data[:10])).to_bytes(4, "big") + data[14:]
    with pytest.raises(WireError) as caught:
        decode_frame(data)
    assert caught.value.reason is Refusal.TRUNCATED
    assert caught.value.offset == 8 * len(data)


def test_long_times_saturate() -> None:
    """A step time beyond 71 minutes is sent as the longest one: a late row is no reason to fail."""
    commit = replace(CASES["commit"], times=StepTimes(hold_s=1e9, step_s=0.0, wait_s=1e9))  # type: ignore[arg-type]
    decoded = decode_frame(encode_frame(commit, session=0, sequence=0)).message
    assert decoded.times.hold_s == decoded.times.wait_s == (2**32 - 1) / 1e6  # type: ignore[union-attr]
