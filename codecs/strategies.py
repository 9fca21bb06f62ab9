"""Public hypothesis strategies: rows, blocks, messages, frames, and bytes that mean harm.

    @given(row_blocks())
    def test_my_codec(rows): assert decode(encode(rows)) == rows

    @given(hostile_bytes(row_blocks().map(encode)))
    def test_my_decoder(data): ...  # a value, or the one typed error

Large rows are grown from a few drawn numbers (size, layout, seed): fast to make, and they shrink by size.
"""

from typing import Any
from zlib import crc32

import hypothesis.strategies as st
import numpy as np
from hypothesis.strategies import DrawFn, SearchStrategy

from draftwire.codecs.blocks import encode_rows
from draftwire.codecs.control import (
    ANY_DEVICE,
    ANY_REQUEST,
    ControlMessage,
    Event,
    Json,
    LinkOrder,
    LinkState,
    PlanOrder,
    Register,
    RowsReport,
    StepReport,
)
from draftwire.codecs.frame import ENVELOPE_BYTES, encode_frame
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_LADDER,
    MAX_NAME_LENGTH,
    MAX_PLAIN_K,
    MAX_PROBE_BYTES,
    MAX_STOPS,
    MAX_TABLE_SETS,
    MAX_UINT32,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
    MIN_VOCAB_SIZE,
)
from draftwire.codecs.messages import (
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Hello,
    Incarnation,
    Message,
    Open,
    Opened,
    Origin,
    PendingBlock,
    Ping,
    Plan,
    Pong,
    Reason,
    Refused,
    Sampling,
    SparseLogits,
    SparseLogitsRequest,
    StepTimes,
    Welcome,
)
from draftwire.codecs.probes import Echo, Probe
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import NO_TAIL, Row
from draftwire.codecs.weights import WEIGHT_SUM, Profile

_BLOCK_ENTRIES = 8192
"Most entries of a drawn block: a full one has 131072, and a hundred of those take a minute."

_LAYOUTS = ("first", "last", "even", "random", "clustered")
_SHAPES = ("flat", "one hot", "ties", "zipf", "normal", "huge")


def vocab_sizes() -> SearchStrategy[int]:
    """V, with the sizes at the edges and in use more often than others."""
    return st.one_of(
        st.sampled_from((MIN_VOCAB_SIZE, 3, 255, 256, 4095, 4096, 4097, 32000, 49152, MAX_VOCAB_SIZE)),
        st.integers(MIN_VOCAB_SIZE, MAX_VOCAB_SIZE),
    )


@st.composite
def row_blocks(draw: DrawFn, *, vocab_size: int | None = None) -> tuple[Row, ...]:
    """1 to 32 rows of one V, K and profile: plain with any K, or dense."""
    v = draw(vocab_sizes()) if vocab_size is None else vocab_size
    dense = draw(st.integers(0, 4)) == 0
    k = v if dense else draw(_ks(v))
    count = draw(st.integers(1, max(1, min(MAX_GAMMA, _BLOCK_ENTRIES // k))))
    profile = Profile.DENSE if dense else draw(st.sampled_from((Profile.SMALL, Profile.LARGE)))
    return tuple(draw(_rows(v, k, profile)) for _ in range(count))


@st.composite
def rows(draw: DrawFn, *, vocab_size: int | None = None, k: int | None = None) -> Row:
    """One plain row of any K."""
    v = draw(vocab_sizes()) if vocab_size is None else vocab_size
    profile = draw(st.sampled_from((Profile.SMALL, Profile.LARGE)))
    return draw(_rows(v, draw(_ks(v)) if k is None else k, profile))


def _ks(v: int) -> SearchStrategy[int]:
    most = min(v, MAX_PLAIN_K)
    edges = [k for k in (1, 2, 3, 8, 32, 99, 100, 320, most - 1, most) if 1 <= k <= most]
    return st.one_of(st.sampled_from(edges), st.integers(1, most))


@st.composite
def _rows(draw: DrawFn, v: int, k: int, profile: Profile) -> Row:
    tail = NO_TAIL if k == v else draw(st.integers(0, NO_TAIL))
    if k <= 6 and draw(st.booleans()):  # drawn one by one, so that failures shrink to what matters
        ids = sorted(draw(st.sets(st.integers(0, v - 1), min_size=k, max_size=k)))
        z = draw(st.lists(st.floats(-1e300, 1e300) | st.floats(-50, 50), min_size=k, max_size=k))
        return quantize(ids, z, vocab_size=v, profile=profile, tail=tail)
    layout, shape = draw(st.sampled_from(_LAYOUTS)), draw(st.sampled_from(_SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens, z = _ids(layout, v, k, rng), _log_weights(shape, k, rng)
    return quantize(tokens, z, vocab_size=v, profile=profile, tail=tail)


def _ids(layout: str, v: int, k: int, rng: np.random.Generator) -> Any:
    if layout == "first" or k == v:
        return np.arange(k)
    if layout == "last":
        return np.arange(v - k, v)
    if layout == "even":
        return np.arange(k) * (v // k)
    if layout == "clustered":
        start = int(rng.integers(v - k))
        return np.union1d(np.arange(start, start + k - 1), [v - 1])
    return rng.choice(v, k, replace=False)


def _log_weights(shape: str, k: int, rng: np.random.Generator) -> Any:
    if shape == "flat":
        return np.zeros(k)
    if shape == "one hot":
        return np.where(np.arange(k) == rng.integers(k), 100.0, 0.0)
    if shape == "ties":
        return rng.integers(0, 4, k).astype(float)
    if shape == "zipf":
        return rng.permutation(-np.log(1 + np.arange(k)))
    return rng.normal(size=k) * (4 if shape == "normal" else 1e4)


def _tokens(most: int, least: int = 0) -> SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, MAX_VOCAB_SIZE - 1), min_size=least, max_size=most).map(tuple)


_uint32 = st.integers(0, MAX_UINT32)
_uint64 = st.integers(0, MAX_UINT64)
_hashes = st.binary(min_size=8, max_size=8)
_hex_hashes = st.just("") | _hashes.map(bytes.hex)
_texts = st.text(st.characters(codec="utf-8"), max_size=40)
_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_NAME_LENGTH)
_seconds = st.integers(0, MAX_UINT32).map(lambda microseconds: microseconds / 1e6)
_incarnations = st.builds(Incarnation, boot=_uint32, counter=_uint32)


@st.composite
def plans(draw: DrawFn) -> Plan:
    """Any plan."""
    gamma = draw(st.integers(0, MAX_GAMMA))
    k = draw(st.integers(1, MAX_VOCAB_SIZE))
    return Plan(number=draw(_uint32), k=k, gamma=gamma, min_draft=draw(st.integers(0, gamma)))


@st.composite
def drafts(draw: DrawFn, *, count: int | None = None, weighted: bool | None = None) -> Draft:
    """Any Draft; `count` fixes the number of ids, `weighted` whether each has a weight."""
    ids = draw(_tokens(MAX_GAMMA if count is None else count, count or 0))
    with_weights = draw(st.booleans()) if weighted is None else weighted
    size = len(ids) if with_weights else 0
    weights = draw(st.lists(st.integers(1, WEIGHT_SUM), min_size=size, max_size=size))
    return Draft(
        incarnation=draw(_incarnations),
        draft_epoch=draw(_uint32),
        known=draw(_uint32),
        start=draw(_uint32),
        path_hash=draw(_hashes),
        plan=draw(plans()),
        ids=ids,
        weights=tuple(weights),
        rows_hash=draw(_hashes),
        token_s=draw(_seconds),
        last=draw(st.booleans()),
    )


@st.composite
def _opens(draw: DrawFn) -> Open:
    tokens = draw(_tokens(50, 1))
    sampling = st.builds(
        Sampling,
        temperature=st.floats(0, 1e6).map(lambda t: t + 0.0),
        top_k=st.integers(0, MAX_VOCAB_SIZE),
        top_p=st.floats(0, 1, exclude_min=True),
    )
    return Open(
        device_try=draw(_uint32),
        seed=draw(_uint64),
        sampling=draw(sampling),
        max_new_tokens=draw(_uint32),
        stop=tuple(draw(st.lists(_texts, max_size=MAX_STOPS))),
        prompt_length=draw(st.integers(1, len(tokens))),
        tokens=tokens,
        draft_epoch=draw(_uint32),
        outstanding=draw(st.booleans()),
        pinned_k=draw(st.none() | st.integers(1, MAX_VOCAB_SIZE)),
        pinned_gamma=draw(st.none() | st.integers(0, MAX_GAMMA)),
        life=draw(_uint32),
    )


@st.composite
def _commits(draw: DrawFn) -> Commit:
    ids = draw(_tokens(60))
    seen = draw(st.integers(0, MAX_GAMMA))
    return Commit(
        incarnation=draw(_incarnations),
        position=draw(_uint32),
        log_hash=draw(_hashes),
        ids=ids,
        origins=tuple(draw(st.sampled_from(Origin)) for _ in ids),
        tested_epoch=draw(_uint32),
        accepted=draw(st.integers(0, seen)),
        seen=seen,
        plan=draw(plans()),
        times=draw(st.builds(StepTimes, hold_s=_seconds, step_s=_seconds, wait_s=_seconds)),
        finish=draw(st.sampled_from(Finish)),
    )


_pending_blocks = st.builds(
    PendingBlock,
    draft_epoch=_uint32,
    start=_uint32,
    length=st.integers(1, MAX_GAMMA),
    plan=plans(),
    rows_hash=_hashes,
)
_paddings = st.sampled_from((0, 1, MAX_PROBE_BYTES)) | st.integers(0, 100)
_positive = st.floats(0, allow_infinity=False).map(abs)
_positions = st.lists(_uint32, min_size=1, max_size=MAX_GAMMA).map(tuple)

MESSAGES: dict[type, SearchStrategy[Message]] = {
    Hello: st.builds(
        Hello,
        protocol_version=st.integers(0, 2**16 - 1),
        noise_version=st.integers(0, 2**16 - 1),
        vocab_size=st.integers(MIN_VOCAB_SIZE, MAX_VOCAB_SIZE),
        fingerprint=_hashes,
        tables=st.lists(_hashes, max_size=MAX_TABLE_SETS).map(tuple),
    ),
    Welcome: st.builds(Welcome, boot=_uint32, tables=st.none() | _hashes),
    Refused: st.builds(Refused, reason=st.sampled_from(Reason), device_try=_uint32, detail=_texts),
    Open: _opens(),
    Opened: st.builds(
        Opened,
        device_try=_uint32,
        incarnation=_incarnations,
        known=_uint32,
        log_hash=_hashes,
        pending=st.none() | _pending_blocks,
        plan=plans(),
    ),
    Draft: drafts(),
    SparseLogits: st.builds(
        SparseLogits,
        incarnation=_incarnations,
        draft_epoch=_uint32,
        start=_uint32,
        rows=st.sampled_from((2, 300, 32000)).flatmap(lambda v: row_blocks(vocab_size=v)),
    ),
    SparseLogitsRequest: st.builds(
        SparseLogitsRequest, incarnation=_incarnations, draft_epoch=_uint32, positions=_positions
    ),
    Commit: _commits(),
    Ping: st.builds(Ping, incarnation=_incarnations, known=_uint32, stamp=_uint64),
    Pong: st.builds(Pong, incarnation=_incarnations, stamp=_uint64),
    Cancel: st.builds(Cancel, incarnation=_incarnations, known=_uint32),
    Close: st.builds(Close, incarnation=_incarnations, known=_uint32),
    Probe: st.builds(Probe, stamp=_uint64, padding=_paddings, reply_padding=_paddings),
    Echo: st.builds(Echo, stamp=_uint64, clock_s=_positive, padding=_paddings),
}
"A strategy for each data-plane message."

_real = st.floats(allow_nan=False, allow_infinity=False)
_duration = st.floats(0, 1e9)
_json: SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), MAX_UINT64) | _real | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def _plan_orders(draw: DrawFn) -> PlanOrder:
    plan = draw(plans())
    device = draw(_names | st.just(ANY_DEVICE))
    request = ANY_REQUEST if device == ANY_DEVICE else draw(_uint32)
    return PlanOrder(device=device, request=request, k=plan.k, gamma=plan.gamma, min_draft=plan.min_draft)


@st.composite
def _rows_reports(draw: DrawFn) -> RowsReport:
    positions = draw(st.integers(0, MAX_GAMMA))
    ladder = tuple(sorted(draw(st.sets(st.integers(1, MAX_VOCAB_SIZE), max_size=MAX_LADDER))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lists = {name: tuple(rng.random(positions).tolist()) for name in ("low", "high", "gap", "filled")}
    return RowsReport(
        device=draw(_names),
        request=draw(_uint32),
        step=draw(_uint32),
        temperature=draw(_duration),
        k=draw(st.integers(1, MAX_VOCAB_SIZE)),
        ladder=ladder,
        alphas=tuple(map(tuple, rng.random((positions, len(ladder))).tolist())),
        rows_bytes=draw(_uint32),
        draft_at_s=draw(_real),
        rows_at_s=draw(_real),
        tables=draw(_hex_hashes),
        **lists,
    )


_links = st.text(st.characters(codec="utf-8"), max_size=200)

CONTROL_MESSAGES: dict[type, SearchStrategy[ControlMessage]] = {
    StepReport: st.builds(
        StepReport,
        device=_names,
        request=_uint32,
        step=_uint32,
        plan=plans(),
        position=_uint32,
        drafted=_uint32,
        seen=_uint32,
        accepted=_uint32,
        computed=_uint32,
        step_s=_duration,
        wait_s=_duration,
        hold_s=_duration,
        draft_bytes=_uint32,
        rows_bytes=_uint32,
        draft_at_s=_real,
        rows_at_s=st.none() | _real,
        alone=st.booleans(),
        temperature=_duration,
        device_step_s=st.none() | _duration,
        asked_at_s=st.none() | _real,
        asked_bytes=_uint32,
        ended_at_s=_real,
        echo_s=st.none() | _duration,
        echo_bytes=_uint32,
        pinned_k=st.none() | st.integers(1, MAX_VOCAB_SIZE),
        pinned_gamma=st.none() | st.integers(0, MAX_GAMMA),
        tables=_hex_hashes,
    ),
    RowsReport: _rows_reports(),
    PlanOrder: _plan_orders(),
    Register: st.builds(
        Register, role=_names, name=_names, vocab_size=st.integers(MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
    ),
    Event: st.builds(Event, node=_names, at_s=_real, fields=st.dictionaries(_texts, _json, max_size=5)),
    LinkOrder: st.builds(LinkOrder, uplink=st.none() | _links, downlink=st.none() | _links),
    LinkState: st.builds(LinkState, uplink=_links, downlink=_links, refused=st.none() | _links),
}
"A strategy for each control-plane message."


def messages() -> SearchStrategy[Message]:
    """Any data-plane message."""
    return st.one_of(*MESSAGES.values())


def control_messages() -> SearchStrategy[ControlMessage]:
    """Any control-plane message."""
    return st.one_of(*CONTROL_MESSAGES.values())


def frames() -> SearchStrategy[bytes]:
    """Any message in its envelope."""
    return st.builds(
        lambda message, session, sequence: encode_frame(message, session=session, sequence=sequence),
        messages() | control_messages(),
        _uint32,
        _uint32,
    )


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


__all__ = [
    "CONTROL_MESSAGES",
    "MESSAGES",
    "control_messages",
    "drafts",
    "frames",
    "hostile_blocks",
    "hostile_bytes",
    "messages",
    "plans",
    "row_blocks",
    "rows",
    "vocab_sizes",
]
