"""Data-plane messages <-> body bytes. Fixed widths, big-endian; each `_x_bytes` has its `_x_from` below it.

A Draft's size must not depend on its ids: it is sent before anything else of its block, and a size that knew
the ids would let its arrival time choose between outcomes. So there are no variable-length integers here.
"""

from collections.abc import Callable
from math import copysign
from struct import Struct
from typing import Any

from draftwire.codecs.blocks import HEADER, decode_rows, encode_rows, entries_named, tag_of
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.hashes import HASH_BYTES
from draftwire.codecs.limits import (
    MAX_GAMMA,
    MAX_PROBE_BYTES,
    MAX_STOPS,
    MAX_TABLE_SETS,
    MAX_TOKENS,
    MAX_UINT32,
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
from draftwire.codecs.reader import Reader, text_bytes, tokens_bytes
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets

_U8 = Struct(">B")
_U24 = Struct(">3s")
_U32 = Struct(">I")
_PLAN = Struct(">I3sBBBI")
_INCARNATION = Struct(">II")
_HELLO = Struct(">HH3s8s")
_REFUSED = Struct(">BII")
_OPEN = Struct(">IIQd3sdI3sBBBIBB")
_OPENED = Struct(">I8sI8sB")
_PENDING = Struct(">IIB")
_DRAFT = Struct(">8sIII8s14s8sIBB")
_ROWS = Struct(">8sII")
_REQUEST = Struct(">8sIB")
_COMMIT = Struct(">8sI8sIBB14sIIIBB3s")
_KNOWN = Struct(">8sI")
_PING = Struct(">8sIQ")
_PONG = Struct(">8sQ")
_PROBE = Struct(">QHH")
_ECHO = Struct(">QdH")

FREE_K = 0
FREE_GAMMA = 255
"Of a request that leaves them to the controller; FREE_GAMMA of min_draft too."
_PLAN_BLOCKWISE = 1
_PLAN_EARLY_STOP = 2
_DRAFT_LAST = 1
_DRAFT_WEIGHTS = 2
_ORIGIN_SHIFT = 20


class _BodyReader(Reader):
    """A cursor that has the sets of tables with it, for the one body that has rows."""

    def __init__(self, body: bytes, tables: TableSets) -> None:
        super().__init__(body)
        self.tables = tables


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "big")


def _from_u24(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _plan_bytes(plan: Plan) -> bytes:
    flags = (_PLAN_BLOCKWISE if plan.blockwise else 0) | (_PLAN_EARLY_STOP if plan.early_stop else 0)
    return _PLAN.pack(plan.number, _u24(plan.k), plan.gamma, plan.min_draft, flags, plan.uplink_bps)


def _plan_from(reader: Reader, data: bytes) -> Plan:
    number, k, gamma, min_draft, flags, uplink_bps = _PLAN.unpack(data)
    if flags > (_PLAN_BLOCKWISE | _PLAN_EARLY_STOP):
        detail = f"flags {flags} of a plan"
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=reader.offset, detail=detail)
    return Plan(
        number=number,
        k=_from_u24(k),
        gamma=gamma,
        min_draft=min_draft,
        blockwise=bool(flags & _PLAN_BLOCKWISE),
        early_stop=bool(flags & _PLAN_EARLY_STOP),
        uplink_bps=uplink_bps,
    )


def _incarnation_bytes(incarnation: Incarnation) -> bytes:
    return _INCARNATION.pack(incarnation.boot, incarnation.counter)


def _incarnation_from(data: bytes) -> Incarnation:
    boot, counter = _INCARNATION.unpack(data)
    return Incarnation(boot=boot, counter=counter)


def _hello_bytes(m: Hello) -> bytes:
    fixed = _HELLO.pack(m.protocol_version, m.noise_version, _u24(m.vocab_size), m.fingerprint)
    return fixed + _U8.pack(len(m.tables)) + b"".join(m.tables)


def _hello_from(reader: Reader) -> Hello:
    protocol, noise, vocab_size, fingerprint = reader.unpack(_HELLO)
    count = reader.limited("the number of sets of tables", reader.unpack(_U8)[0], MAX_TABLE_SETS)
    return Hello(
        protocol_version=protocol,
        noise_version=noise,
        vocab_size=_from_u24(vocab_size),
        fingerprint=fingerprint,
        tables=tuple(reader.take(HASH_BYTES) for _ in range(count)),
    )


def _welcome_bytes(m: Welcome) -> bytes:
    return _U32.pack(m.boot) + _U8.pack(m.tables is not None) + (m.tables or b"")


def _welcome_from(reader: Reader) -> Welcome:
    boot = reader.unpack(_U32)[0]
    agreed = reader.flag(reader.unpack(_U8)[0])
    return Welcome(boot=boot, tables=reader.take(HASH_BYTES) if agreed else None)


def _refused_bytes(m: Refused) -> bytes:
    return _REFUSED.pack(m.reason, m.device_try, m.retry_ms) + text_bytes(m.detail)


def _refused_from(reader: Reader) -> Refused:
    reason, device_try, retry_ms = reader.unpack(_REFUSED)
    return Refused(
        reason=reader.choice(Reason, reason), device_try=device_try, retry_ms=retry_ms, detail=reader.text()
    )


def _open_bytes(m: Open) -> bytes:
    sampling = m.sampling
    fixed = _OPEN.pack(
        m.device_try,
        m.life,
        m.seed,
        sampling.temperature + 0.0,  # no negative zero
        _u24(sampling.top_k),
        sampling.top_p,
        m.max_new_tokens,
        _u24(FREE_K if m.pinned_k is None else m.pinned_k),
        FREE_GAMMA if m.pinned_gamma is None else m.pinned_gamma,
        FREE_GAMMA if m.pinned_min_draft is None else m.pinned_min_draft,
        m.acceptance,
        m.draft_epoch,
        m.outstanding,
        len(m.stop),
    )
    stops = b"".join(map(text_bytes, m.stop))
    return fixed + stops + _u24(m.prompt_length) + _u24(len(m.tokens)) + tokens_bytes(m.tokens)


def _open_from(reader: Reader) -> Open:
    device_try, life, seed, temperature, top_k, top_p, max_new, *others = reader.unpack(_OPEN)
    pinned, gamma, min_draft, acceptance, draft_epoch, outstanding, stops = others
    k = _from_u24(pinned)
    _positive_zero(reader, temperature)
    flagged = reader.flag(outstanding)
    reader.limited("the number of stop strings", stops, MAX_STOPS)
    stop = tuple(reader.text() for _ in range(stops))
    prompt_length = _from_u24(reader.unpack(_U24)[0])
    count = reader.limited("the number of tokens", _from_u24(reader.unpack(_U24)[0]), MAX_TOKENS)
    return Open(
        device_try=device_try,
        seed=seed,
        sampling=Sampling(temperature=temperature, top_k=_from_u24(top_k), top_p=top_p),
        max_new_tokens=max_new,
        stop=stop,
        prompt_length=prompt_length,
        tokens=reader.tokens(count),
        draft_epoch=draft_epoch,
        outstanding=flagged,
        pinned_k=None if k == FREE_K else k,
        pinned_gamma=None if gamma == FREE_GAMMA else gamma,
        pinned_min_draft=None if min_draft == FREE_GAMMA else min_draft,
        acceptance=reader.choice(Acceptance, acceptance),
        life=life,
    )


def _opened_bytes(m: Opened) -> bytes:
    incarnation = _incarnation_bytes(m.incarnation)
    fixed = _OPENED.pack(m.device_try, incarnation, m.known, m.log_hash, m.acceptance)
    data = fixed + _plan_bytes(m.plan) + _U8.pack(m.pending is not None)
    if m.pending is None:
        return data
    pending = _PENDING.pack(m.pending.draft_epoch, m.pending.start, m.pending.length)
    return data + pending + _plan_bytes(m.pending.plan) + m.pending.rows_hash


def _opened_from(reader: Reader) -> Opened:
    device_try, incarnation, known, log_hash, acceptance = reader.unpack(_OPENED)
    plan = _plan_from(reader, reader.take(_PLAN.size))
    pending = None
    if reader.flag(reader.unpack(_U8)[0]):
        draft_epoch, start, length = reader.unpack(_PENDING)
        pending = PendingBlock(
            draft_epoch=draft_epoch,
            start=start,
            length=length,
            plan=_plan_from(reader, reader.take(_PLAN.size)),
            rows_hash=reader.take(8),
        )
    return Opened(
        device_try=device_try,
        incarnation=_incarnation_from(incarnation),
        known=known,
        log_hash=log_hash,
        pending=pending,
        plan=plan,
        acceptance=reader.choice(Acceptance, acceptance),
    )


def _draft_bytes(m: Draft) -> bytes:
    flags = (_DRAFT_LAST if m.last else 0) | (_DRAFT_WEIGHTS if m.weights else 0)
    fixed = _DRAFT.pack(
        _incarnation_bytes(m.incarnation),
        m.draft_epoch,
        m.known,
        m.start,
        m.path_hash,
        _plan_bytes(m.plan),
        m.rows_hash,
        _microseconds(m.token_s),
        flags,
        len(m.ids),
    )
    return fixed + tokens_bytes(m.ids) + tokens_bytes([weight - 1 for weight in m.weights])


def _draft_from(reader: Reader) -> Draft:
    incarnation, draft_epoch, known, start, path_hash, plan, *others = reader.unpack(_DRAFT)
    rows_hash, token_us, flags, count = others
    reader.limited("the number of drafted ids", count, MAX_GAMMA)
    if flags > (_DRAFT_LAST | _DRAFT_WEIGHTS) or (flags & _DRAFT_WEIGHTS and not count):
        detail = f"flags {flags} with {count} ids"
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=reader.offset, detail=detail)
    ids = reader.tokens(count)
    weights = tuple(w + 1 for w in reader.tokens(count)) if flags & _DRAFT_WEIGHTS else ()
    return Draft(
        incarnation=_incarnation_from(incarnation),
        draft_epoch=draft_epoch,
        known=known,
        start=start,
        path_hash=path_hash,
        plan=_plan_from(reader, plan),
        ids=ids,
        weights=weights,
        rows_hash=rows_hash,
        token_s=token_us / 1e6,
        last=bool(flags & _DRAFT_LAST),
    )


def _sparse_logits_bytes(m: SparseLogits, tables: TableSet | None = None) -> bytes:
    fixed = _ROWS.pack(_incarnation_bytes(m.incarnation), m.draft_epoch, m.start)
    return fixed + encode_rows(m.rows, tables=tables)


def _sparse_logits_from(reader: _BodyReader) -> SparseLogits:
    incarnation, draft_epoch, start = reader.unpack(_ROWS)
    place = reader.offset
    try:
        rows = decode_rows(reader.rest(), tables=reader.tables)
    except WireError as error:
        raise error.shifted(place) from None
    return SparseLogits(
        incarnation=_incarnation_from(incarnation), draft_epoch=draft_epoch, start=start, rows=rows
    )


def rows_tag_of(body: bytes) -> bytes | None:
    """See tag_of; of a valid body of SparseLogits."""
    return tag_of(body[_ROWS.size :])


def entries_named_in(frame: bytes, *, start: int) -> int:
    """See entries_named; of what may be a body of SparseLogits, which begins there in a frame."""
    block = start + _ROWS.size
    return entries_named(frame[block : block + HEADER.size])


def _sparse_logits_request_bytes(m: SparseLogitsRequest) -> bytes:
    fixed = _REQUEST.pack(_incarnation_bytes(m.incarnation), m.draft_epoch, len(m.positions))
    return fixed + b"".join(map(_U32.pack, m.positions))


def _sparse_logits_request_from(reader: Reader) -> SparseLogitsRequest:
    incarnation, draft_epoch, count = reader.unpack(_REQUEST)
    reader.limited("the number of positions", count, MAX_GAMMA)
    return SparseLogitsRequest(
        incarnation=_incarnation_from(incarnation),
        draft_epoch=draft_epoch,
        positions=tuple(reader.unpack(_U32)[0] for _ in range(count)),
    )


def _microseconds(seconds: float) -> int:
    return min(round(seconds * 1e6), MAX_UINT32)


def _commit_bytes(m: Commit) -> bytes:
    fixed = _COMMIT.pack(
        _incarnation_bytes(m.incarnation),
        m.position,
        m.log_hash,
        m.tested_epoch,
        m.accepted,
        m.seen,
        _plan_bytes(m.plan),
        _microseconds(m.times.hold_s),
        _microseconds(m.times.step_s),
        _microseconds(m.times.wait_s),
        m.finish,
        m.missing,
        _u24(len(m.ids)),
    )
    return fixed + tokens_bytes([o << _ORIGIN_SHIFT | i for o, i in zip(m.origins, m.ids, strict=True)])


def _commit_from(reader: Reader) -> Commit:
    incarnation, position, log_hash, tested, accepted, seen, plan, *others = reader.unpack(_COMMIT)
    hold, step, wait, finish, missing, count = others
    reader.limited("the number of tokens", _from_u24(count), MAX_TOKENS)
    tagged = reader.tokens(_from_u24(count))
    return Commit(
        incarnation=_incarnation_from(incarnation),
        position=position,
        log_hash=log_hash,
        ids=tuple(tag & ((1 << _ORIGIN_SHIFT) - 1) for tag in tagged),
        origins=tuple(reader.choice(Origin, tag >> _ORIGIN_SHIFT) for tag in tagged),
        tested_epoch=tested,
        accepted=accepted,
        seen=seen,
        plan=_plan_from(reader, plan),
        times=StepTimes(hold_s=hold / 1e6, step_s=step / 1e6, wait_s=wait / 1e6),
        finish=reader.choice(Finish, finish),
        missing=reader.flag(missing),
    )


def _ping_bytes(m: Ping) -> bytes:
    return _PING.pack(_incarnation_bytes(m.incarnation), m.known, m.stamp)


def _ping_from(reader: Reader) -> Ping:
    incarnation, known, stamp = reader.unpack(_PING)
    return Ping(incarnation=_incarnation_from(incarnation), known=known, stamp=stamp)


def _pong_bytes(m: Pong) -> bytes:
    return _PONG.pack(_incarnation_bytes(m.incarnation), m.stamp)


def _pong_from(reader: Reader) -> Pong:
    incarnation, stamp = reader.unpack(_PONG)
    return Pong(incarnation=_incarnation_from(incarnation), stamp=stamp)


def _known_bytes(m: Cancel | Close) -> bytes:
    return _KNOWN.pack(_incarnation_bytes(m.incarnation), m.known)


def _cancel_from(reader: Reader) -> Cancel:
    incarnation, known = reader.unpack(_KNOWN)
    return Cancel(incarnation=_incarnation_from(incarnation), known=known)


def _close_from(reader: Reader) -> Close:
    incarnation, known = reader.unpack(_KNOWN)
    return Close(incarnation=_incarnation_from(incarnation), known=known)


def _probe_bytes(m: Probe) -> bytes:
    return _PROBE.pack(m.stamp, m.reply_padding, m.padding) + bytes(m.padding)


def _probe_from(reader: Reader) -> Probe:
    stamp, reply_padding, padding = reader.unpack(_PROBE)
    _zeros(reader, padding)
    return Probe(stamp=stamp, padding=padding, reply_padding=reply_padding)


def _echo_bytes(m: Echo) -> bytes:
    return _ECHO.pack(m.stamp, m.clock_s + 0.0, m.padding) + bytes(m.padding)


def _echo_from(reader: Reader) -> Echo:
    stamp, clock_s, padding = reader.unpack(_ECHO)
    _positive_zero(reader, clock_s)
    _zeros(reader, padding)
    return Echo(stamp=stamp, clock_s=clock_s, padding=padding)


def _zeros(reader: Reader, count: int) -> None:
    reader.limited("the padding", count, MAX_PROBE_BYTES)
    if reader.take(count).strip(b"\0"):
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=reader.offset, detail="padding that is not zero")


def _positive_zero(reader: Reader, value: float) -> None:
    if value == 0 and copysign(1, value) < 0:
        raise WireError(reason=Refusal.NOT_CANONICAL, offset=reader.offset, detail="a negative zero")


_BODIES: dict[int, tuple[type, Callable[[Any], bytes], Callable[[_BodyReader], Message]]] = {
    1: (Hello, _hello_bytes, _hello_from),
    2: (Welcome, _welcome_bytes, _welcome_from),
    3: (Refused, _refused_bytes, _refused_from),
    4: (Open, _open_bytes, _open_from),
    5: (Opened, _opened_bytes, _opened_from),
    6: (Draft, _draft_bytes, _draft_from),
    7: (SparseLogits, _sparse_logits_bytes, _sparse_logits_from),
    8: (SparseLogitsRequest, _sparse_logits_request_bytes, _sparse_logits_request_from),
    9: (Commit, _commit_bytes, _commit_from),
    10: (Ping, _ping_bytes, _ping_from),
    11: (Pong, _pong_bytes, _pong_from),
    12: (Cancel, _known_bytes, _cancel_from),
    13: (Close, _known_bytes, _close_from),
    14: (Probe, _probe_bytes, _probe_from),
    15: (Echo, _echo_bytes, _echo_from),
}

KINDS: dict[type, int] = {message: kind for kind, (message, _, _) in _BODIES.items()}
"Message class -> its number on the wire."


def encode_body(message: Message, tables: TableSet | None = None) -> bytes:
    """The body of a data-plane message; rows are spelt with `tables` where that is shorter."""
    if isinstance(message, SparseLogits):
        return _sparse_logits_bytes(message, tables)
    return _BODIES[KINDS[type(message)]][1](message)


def decode_body(kind: int, body: bytes, tables: TableSets = NO_TABLES) -> Message:
    """The message of this kind, a value of KINDS. WireError has its offset from the body's start."""
    reader = _BodyReader(body, tables)
    try:
        message = _BODIES[kind][2](reader)
    except LocalError as error:  # a field, well formed, that the message does not take
        raise WireError(reason=Refusal.RANGE, offset=reader.offset, detail=str(error)) from None
    reader.end()
    return message


__all__ = ["FREE_GAMMA", "FREE_K", "KINDS", "decode_body", "encode_body", "entries_named_in", "rows_tag_of"]
