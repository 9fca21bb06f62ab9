"""Messages of both planes, each kind by itself and all together."""

import hypothesis.strategies as st
import numpy as np
from hypothesis.strategies import DrawFn, SearchStrategy

from draftwire.codecs.control import (
    ANY_DEVICE,
    ANY_REQUEST,
    COUPLED,
    REJECTION,
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
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_LADDER,
    MAX_NAME_LENGTH,
    MAX_PROBE_BYTES,
    MAX_STOPS,
    MAX_TABLE_SETS,
    MAX_UINT32,
    MAX_UINT64,
    MAX_VOCAB_SIZE,
    MIN_VOCAB_SIZE,
)
from draftwire.codecs.messages import (
    Acceptance,
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
from draftwire.codecs.strategies.blocks import row_blocks
from draftwire.codecs.weights import WEIGHT_SUM


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
_pinned_k = st.none() | st.integers(1, MAX_VOCAB_SIZE)
_pinned_tokens = st.none() | st.integers(0, MAX_GAMMA)


@st.composite
def plans(draw: DrawFn) -> Plan:
    """Any plan."""
    gamma = draw(st.integers(0, MAX_GAMMA))
    blockwise, early_stop = draw(st.sampled_from(((False, False), (True, False), (False, True))))
    return Plan(
        number=draw(_uint32),
        k=draw(st.integers(1, MAX_VOCAB_SIZE)),
        gamma=gamma,
        min_draft=draw(st.integers(0, gamma)),
        blockwise=blockwise,
        early_stop=early_stop,
        uplink_bps=draw(_uint32),
    )


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
        last=bool(weights) or not ids or draw(st.booleans()),
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
    acceptance = draw(st.sampled_from(Acceptance))
    return Open(
        device_try=draw(_uint32),
        seed=draw(_uint64),
        sampling=draw(sampling),
        max_new_tokens=draw(_uint32),
        stop=tuple(draw(st.lists(_texts, max_size=MAX_STOPS))),
        prompt_length=draw(st.integers(1, len(tokens))),
        tokens=tokens,
        draft_epoch=draw(_uint32),
        outstanding=acceptance is Acceptance.REJECTION and draw(st.booleans()),
        pinned_k=draw(_pinned_k),
        pinned_gamma=draw(_pinned_tokens),
        pinned_min_draft=draw(_pinned_tokens),
        acceptance=acceptance,
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
        missing=draw(st.booleans()),
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
    Refused: st.builds(
        Refused,
        reason=st.sampled_from(Reason),
        device_try=_uint32,
        detail=_texts,
        retry_ms=_uint32,
    ),
    Open: _opens(),
    Opened: st.builds(
        Opened,
        device_try=_uint32,
        incarnation=_incarnations,
        known=_uint32,
        log_hash=_hashes,
        pending=st.none() | _pending_blocks,
        plan=plans(),
        acceptance=st.sampled_from((Acceptance.REJECTION, Acceptance.COUPLED)),
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

_acceptances = st.sampled_from((REJECTION, COUPLED))
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
    return PlanOrder(
        device=device,
        request=request,
        k=plan.k,
        gamma=plan.gamma,
        min_draft=plan.min_draft,
        blockwise=plan.blockwise,
        early_stop=plan.early_stop,
        uplink_bps=plan.uplink_bps,
        patience_s=draw(st.none() | _duration),
        acceptance=draw(_acceptances),
        preferred=request == ANY_REQUEST and draw(st.booleans()),
    )


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
        coupled=tuple(rng.random(positions).tolist()) if draw(st.booleans()) else (),
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
        pinned_k=_pinned_k,
        pinned_gamma=_pinned_tokens,
        tables=_hex_hashes,
        acceptance=_acceptances,
        tokens=_uint32,
        asked_drafted=_uint32,
        pinned_min_draft=_pinned_tokens,
        resting=st.booleans(),
        pass_sessions=_uint32,
        pass_rows=_uint32,
    ),
    RowsReport: _rows_reports(),
    PlanOrder: _plan_orders(),
    Register: st.builds(
        Register, role=_names, name=_names, vocab_size=st.integers(MIN_VOCAB_SIZE, MAX_VOCAB_SIZE)
    ),
    Event: st.builds(Event, node=_names, at_s=_real, fields=st.dictionaries(_texts, _json, max_size=5)),
    LinkOrder: st.builds(
        LinkOrder, uplink=st.none() | _links, downlink=st.none() | _links, device=st.none() | _names
    ),
    LinkState: st.builds(
        LinkState,
        uplink=_links,
        downlink=_links,
        refused=st.none() | _links,
        devices=st.lists(_names, max_size=3).map(tuple),
    ),
}
"A strategy for each control-plane message."


def messages() -> SearchStrategy[Message]:
    """Any data-plane message."""
    return st.one_of(*MESSAGES.values())


def control_messages() -> SearchStrategy[ControlMessage]:
    """Any control-plane message."""
    return st.one_of(*CONTROL_MESSAGES.values())


__all__ = ["CONTROL_MESSAGES", "MESSAGES", "control_messages", "drafts", "messages", "plans"]
