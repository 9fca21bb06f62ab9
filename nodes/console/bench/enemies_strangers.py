"""Enemies that want no session: no key, a wrong one, another's name, bytes of every kind.

Each is a function of its aim that attacks for as long as `goes` says. It runs in a process of its own.
"""

import errno
import os
import selectors
import socket as sockets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Final

import zmq

from draftwire.codecs.bodies import KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.frame import ENVELOPE_BYTES, encode_frame, sealed
from draftwire.codecs.layouts import cut_frame
from draftwire.codecs.limits import MAX_FRAME_BYTES, MAX_PROBE_BYTES, MAX_TOKENS
from draftwire.codecs.messages import (
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Incarnation,
    Message,
    Opened,
    Origin,
    PendingBlock,
    Ping,
    Plan,
    SparseLogits,
    SparseLogitsRequest,
    StepTimes,
)
from draftwire.codecs.probes import Probe
from draftwire.codecs.quantize import quantize
from draftwire.nodes.console.bench.enemies_line import Aim, Goes, Line, Spoils, opened_by
from draftwire.runtime.security import KeyPair, PublicKey, Role

CONNECTIONS: Final = 300
"""Of the slow-loris: far more than a base station has devices, and below an ordinary limit of open files."""

AT_ONCE: Final = 16
"""Connections that come and go together."""

ENDLESS: Final = 1000
"""Frames of a message: a gigabyte."""

STAYS_S: Final = 0.05
"""How long such a connection stays: a handshake over loopback takes a tenth of it."""

BURST: Final = 64
"""Messages between two looks at the clock."""

GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + bytes(32)
"""ZMTP 3.1: what either end says first."""

NOBODY: Final = Incarnation(boot=0, counter=1)


def unauthenticated(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """No key: connections that come back as often as they are closed, with a request each."""
    with zmq.Context() as context, ExitStack() as stack:
        lines = [
            stack.enter_context(
                Line(context, aim, spoils, key=None, name=f"{aim.name}/{i}", stranger=True, reconnect_ms=1)
            )
            for i in range(2 * AT_ONCE)
        ]
        while goes():
            for line in lines:
                line.say(aim.hello)
                line.say(opened_by(tokens=(1, 2, 3)))
                line.read()
            time.sleep(STAYS_S)


def wrong_key(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """A new key for every try, and none of them is allowed: each costs the base station its mathematics."""
    with zmq.Context() as context:
        while goes():
            with ExitStack() as stack:
                lines = [
                    stack.enter_context(
                        Line(context, aim, spoils, key=_any_key(aim), name=aim.name, stranger=True)
                    )
                    for _ in range(AT_ONCE)
                ]
                _say_and_wait(lines, aim.hello)


def churn(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """A key that is allowed: connects, says Hello, and is gone, under a new routing id each time."""
    key, hello = aim.key(aim.name), aim.hello
    with zmq.Context() as context:
        while goes():
            with ExitStack() as stack:
                lines = [
                    stack.enter_context(Line(context, aim, spoils, key=key, name=aim.name))
                    for _ in range(AT_ONCE)
                ]
                _say_and_wait(lines, hello)


def stolen_identity(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Its own key, and a victim's name: opens, asks after, ends and overtakes the victim's requests."""
    messages: list[Message] = [aim.hello]
    for device_try in (1, 99):
        messages.append(opened_by(tokens=(1, 2, 3), device_try=device_try))
    messages += [
        Ping(incarnation=NOBODY, known=1, stamp=1),
        Cancel(incarnation=NOBODY, known=1),
        Close(incarnation=NOBODY, known=1),
    ]
    frames = [
        encode_frame(message, session=number, sequence=0) for number in range(32) for message in messages
    ]
    with zmq.Context() as context:
        key = aim.key(aim.name)
        with Line(context, aim, spoils, key=key, name=aim.victim, stranger=True) as line:
            _pour(line, frames, goes)


def flood(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """A key that is allowed: small messages of every kind that is cheap to send, as fast as they go."""
    hello = aim.hello
    frames = [
        encode_frame(hello, session=1, sequence=0),
        encode_frame(Probe(stamp=1), session=0, sequence=0),
        encode_frame(Ping(incarnation=NOBODY, known=1, stamp=1), session=1, sequence=0),
        encode_frame(Close(incarnation=NOBODY, known=1), session=2, sequence=0),
        b"\xd0garbage",
    ]
    with zmq.Context() as context, _known(context, aim, spoils) as line:
        _pour(line, frames, goes)


def garbage(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """After an honest greeting: random bytes, and random bodies in envelopes whose CRC is right."""
    frames = [os.urandom(size) for size in (1, 14, 100, 5000)]
    kinds = (*KINDS.values(), *CONTROL_KINDS.values(), 60)
    frames += [_sealed(kind, os.urandom(size)) for kind in kinds for size in (8, 60, 2000)]
    with zmq.Context() as context, _known(context, aim, spoils) as line:
        _pour(line, frames, goes)


def huge_counts(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Every field of every message, one at a time, as large as it can be spelt."""
    honest = [encode_frame(message, session=1, sequence=1) for message in samples(aim)]
    frames = [bent for frame in honest for bent in bloated(frame)]
    with zmq.Context() as context, _known(context, aim, spoils) as line:
        _pour(line, frames, goes)


def oversize(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Frames above the limit, for which the connection is closed; and as many just below it as go through."""
    above = bytes(2 * MAX_FRAME_BYTES)
    vocab_size = aim.hello.vocab_size
    prompt = tuple(i % vocab_size for i in range(MAX_TOKENS))
    below = [
        encode_frame(opened_by(tokens=prompt, max_new_tokens=1), session=7, sequence=0),
        _sealed(KINDS[SparseLogits], os.urandom(MAX_FRAME_BYTES - ENVELOPE_BYTES)),
        encode_frame(Probe(stamp=1, padding=MAX_PROBE_BYTES), session=0, sequence=0),
    ]
    with zmq.Context() as context:
        key = aim.key(aim.name)
        with (
            Line(context, aim, spoils, key=key, name=f"{aim.name}/above", reconnect_ms=1) as huge,
            Line(context, aim, spoils, key=key, name=f"{aim.name}/below", queue=8) as large,
        ):
            large.say(aim.hello)
            while goes():
                huge.send(above)
                for frame in below:
                    if not large.send(frame):
                        large.rest()
                large.read()
                huge.read()


def endless(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Messages of a thousand frames of 1 MiB, which all have to be kept until the last one is there."""
    frame = bytes(MAX_FRAME_BYTES)
    with zmq.Context() as context:
        with Line(context, aim, spoils, key=aim.key(aim.name), name=aim.name, queue=4) as line:
            while goes():
                line.say(aim.hello)
                line.send_frames(frame, ENDLESS)
                line.rest()
                line.read()


def slow_loris(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Connections that say nothing, a byte a second, or half a handshake; each that is closed comes again."""
    with selectors.DefaultSelector() as selector:
        while goes():
            for _ in range(len(selector.get_map()), CONNECTIONS):
                _begin(selector, aim, spoils, kind=spoils.sent % 3)
            for key, _ in selector.select(STAYS_S):
                assert isinstance(key.fileobj, sockets.socket)
                if not _still_there(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, sockets.socket)
                _go_on(key.fileobj, key.data)
        for key in list(selector.get_map().values()):
            assert isinstance(key.fileobj, sockets.socket)
            key.fileobj.close()


# ------------------------------------------------------------------------------------------ their means


def bloated(frame: bytes) -> Iterator[bytes]:
    """The frame with each field of its body in turn all ones, or its length, and a CRC that fits."""
    for field in cut_frame(frame).fields:
        if field.start < 8 * ENVELOPE_BYTES or field.start % 8 or field.name == "zeros":
            continue
        width = (field.end - field.start) // 8 if isinstance(field.value, int) else 2
        bent = bytearray(frame)
        place = field.start // 8
        bent[place : place + width] = b"\xff" * width
        yield sealed(bytes(bent[:10]), bytes(bent[ENVELOPE_BYTES:]))


def samples(aim: Aim) -> list[Message]:
    """One of each kind that has counts, or other fields that may be too large."""
    plan = Plan(number=1, k=3, gamma=2, min_draft=2)
    row = quantize([1, 2, 3], [0.0, -1.0, -2.0], vocab_size=aim.hello.vocab_size)
    block = Draft(
        incarnation=NOBODY,
        draft_epoch=1,
        known=3,
        start=3,
        path_hash=bytes(8),
        plan=plan,
        ids=(1, 2),
        weights=(row.weight_of(1), row.weight_of(2)),
        rows_hash=bytes(8),
    )
    return [
        aim.hello,
        opened_by(tokens=(1, 2, 3), gamma=4),
        block,
        SparseLogits(incarnation=NOBODY, draft_epoch=1, start=3, rows=(row, row)),
        Ping(incarnation=NOBODY, known=3, stamp=1),
        Cancel(incarnation=NOBODY, known=3),
        Close(incarnation=NOBODY, known=3),
        Probe(stamp=1, padding=4, reply_padding=4),
        SparseLogitsRequest(incarnation=NOBODY, draft_epoch=1, positions=(3, 4)),
        Opened(
            device_try=1,
            incarnation=NOBODY,
            known=3,
            log_hash=bytes(8),
            pending=PendingBlock(draft_epoch=1, start=3, length=2, plan=plan, rows_hash=bytes(8)),
            plan=plan,
        ),
        Commit(
            incarnation=NOBODY,
            position=3,
            log_hash=bytes(8),
            ids=(1, 2),
            origins=(Origin.ACCEPTED, Origin.BONUS),
            tested_epoch=1,
            accepted=1,
            seen=1,
            plan=plan,
            times=StepTimes(hold_s=0.0, step_s=0.0, wait_s=0.0),
            finish=Finish.LENGTH,
        ),
    ]


def _sealed(kind: int, body: bytes) -> bytes:
    """A frame of ours but for what its body says."""
    first = encode_frame(Probe(stamp=0), session=1, sequence=1)[:1]
    return sealed(first + bytes([kind]) + (1).to_bytes(4, "big") + (1).to_bytes(4, "big"), body)


def _any_key(aim: Aim) -> KeyPair:
    public, secret = (half.decode() for half in zmq.curve_keypair())
    return KeyPair(public=PublicKey(name=aim.name, role=Role.DEVICE, public=public), secret=secret)


def _known(context: zmq.Context[zmq.Socket[bytes]], aim: Aim, spoils: Spoils) -> Line:
    """A connection that has greeted as a device does."""
    line = Line(context, aim, spoils, key=aim.key(aim.name), name=aim.name)
    line.say(aim.hello)
    return line


def _pour(line: Line, frames: Sequence[bytes], goes: Goes) -> None:
    """All of them again and again, as fast as they go."""
    endless = cycle(frames)
    while goes():
        for _ in range(BURST):
            if not line.send(next(endless)):
                line.rest()
                break
        line.read()


def _say_and_wait(lines: Sequence[Line], message: Message) -> None:
    for line in lines:
        line.say(message)
    deadline_s = time.monotonic() + STAYS_S
    for line in lines:
        for _ in line.heard(wait_s=max(0.0, deadline_s - time.monotonic())):
            pass


@dataclass(slots=True, kw_only=True)
class _Slow:
    """What a connection has still to say."""

    rest: bytes
    by_bytes: bool
    "one a second; else at once"
    at_s: float = 0.0
    "when the next one is due"


def _begin(selector: selectors.BaseSelector, aim: Aim, spoils: Spoils, *, kind: int) -> None:
    one = sockets.socket()
    one.setblocking(False)
    code = one.connect_ex(aim.place)
    if code not in (0, errno.EINPROGRESS):
        one.close()
        return
    spoils.sent += 1
    says = b"" if kind == 0 else GREETING
    selector.register(one, selectors.EVENT_READ, _Slow(rest=says, by_bytes=kind == 1))


def _still_there(one: sockets.socket) -> bool:
    try:
        return bool(one.recv(4096))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _go_on(one: sockets.socket, slow: _Slow) -> None:
    now_s = time.monotonic()
    if not slow.rest or now_s < slow.at_s:
        return
    with suppress(OSError):
        sent = one.send(slow.rest[:1] if slow.by_bytes else slow.rest)
        slow.rest, slow.at_s = slow.rest[sent:], now_s + 1.0


__all__ = [
    "bloated",
    "churn",
    "endless",
    "flood",
    "garbage",
    "huge_counts",
    "oversize",
    "samples",
    "slow_loris",
    "stolen_identity",
    "unauthenticated",
    "wrong_key",
]
