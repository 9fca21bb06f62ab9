"""Enemies with a key that is allowed, and sessions: drafts that never pass, hints without end, requests
without end, replies that nobody reads, and frames that were captured.
"""

import asyncio
import random
import socket as sockets
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from math import inf
from typing import Final

import zmq

from draftwire.codecs.frame import Frame, encode_frame
from draftwire.codecs.hashes import rows_hash
from draftwire.codecs.limits import MAX_GAMMA, MAX_PROBE_BYTES
from draftwire.codecs.messages import (
    Acceptance,
    Close,
    Commit,
    Draft,
    Finish,
    Incarnation,
    Opened,
    Ping,
    Plan,
    SparseLogits,
)
from draftwire.codecs.probes import Probe
from draftwire.codecs.quantize import quantize
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.bench.enemies_capture import captured
from draftwire.nodes.console.bench.enemies_line import Aim, Attack, Goes, Line, Spoils, opened_by
from draftwire.runtime.session.log import TokenLog

SESSIONS: Final = 4
"""That one liar has at a time."""

PROMPT: Final = tuple(range(1, 25))

LONG_PROMPT: Final = 2000
"""Tokens of each request of the one that only opens."""

AGAIN_S: Final = 0.2
"""Without an answer for so long, a liar draws another block."""

READERS: Final = 16
"""Connections whose replies nobody reads."""


def never_pass(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Real sessions with blocks as wide as the wire has them, of ids that the target does not take.

    Half of them fix gamma, so that the plan allows it; the others draft so much whatever the plan says.
    """
    with zmq.Context() as context, _line(context, aim, spoils) as line:
        liars = [_Liar(line, aim, number=number, fixes=number % 2 == 0) for number in range(SESSIONS)]
        while goes():
            for frame in line.heard(wait_s=0.01):
                for liar in liars:
                    liar.hears(frame)
            for liar in liars:
                liar.looks(time.monotonic())


class _Liar:
    """One request after the other. Its rows call each id certain, so an id stands by p of it alone."""

    def __init__(self, line: Line, aim: Aim, *, number: int, fixes: bool) -> None:
        self._line, self._fixes, self._number = line, fixes, number
        self._row = quantize([0], [0.0], vocab_size=aim.hello.vocab_size)
        self._begin()

    def _begin(self) -> None:
        """A request whose number no other liar has."""
        self._number += SESSIONS
        self._incarnation: Incarnation | None = None
        self._log, self._epoch, self._said_s = TokenLog(PROMPT), 0, -inf
        self._plan = Plan(number=0, k=1, gamma=0, min_draft=0)

    def hears(self, frame: Frame) -> None:
        """Of all that comes by its connection."""
        if frame.session != self._number:
            return
        match frame.message:
            case Opened() as opened:
                self._incarnation, self._plan = opened.incarnation, opened.plan
                self._drafts()
            case Commit() as commit if commit.incarnation == self._incarnation:
                self._takes(commit)

    def looks(self, now_s: float) -> None:
        """Says something where nothing has come for a while."""
        if now_s < self._said_s + AGAIN_S:
            return
        self._said_s = now_s
        if self._incarnation is None:
            gamma = MAX_GAMMA if self._fixes else None
            opened = opened_by(tokens=PROMPT, max_new_tokens=512, gamma=gamma)
            self._line.say(opened, session=self._number)
        else:
            self._drafts()

    def _takes(self, commit: Commit) -> None:
        new = _taken(self._log, commit)
        self._plan = commit.plan
        if commit.finish is not Finish.RUNNING:
            done = Close(incarnation=commit.incarnation, known=len(self._log))
            self._line.say(done, session=self._number)
            self._begin()
        elif new:
            self._drafts()

    def _drafts(self) -> None:
        assert self._incarnation is not None
        self._said_s = time.monotonic()
        width = self._plan.gamma if self._fixes else MAX_GAMMA
        if width == 0:
            ping = Ping(incarnation=self._incarnation, known=len(self._log), stamp=1)
            self._line.say(ping, session=self._number)
            return
        self._epoch += 1
        rows = (self._row,) * width
        draft = Draft(
            incarnation=self._incarnation,
            draft_epoch=self._epoch,
            known=len(self._log),
            start=len(self._log),
            path_hash=self._log.hash_at(len(self._log)),
            plan=self._plan,
            ids=(0,) * width,
            weights=(WEIGHT_SUM,) * width,
            rows_hash=rows_hash(rows),
        )
        told = SparseLogits(
            incarnation=self._incarnation, draft_epoch=self._epoch, start=draft.start, rows=rows
        )
        self._line.say(draft, session=self._number)
        self._line.say(told, session=self._number)


def hint_flood(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """A coupled session whose path is another one with every message, as many of them as go."""
    vocab_size, numbers = aim.hello.vocab_size, random.Random(aim.seed)
    paths = [tuple(numbers.randrange(vocab_size) for _ in range(MAX_GAMMA)) for _ in range(64)]
    opened = opened_by(tokens=PROMPT, max_new_tokens=100_000, acceptance=Acceptance.COUPLED)
    with zmq.Context() as context, _line(context, aim, spoils, queue=64) as line:
        line.say(opened)
        log, incarnation, epoch = TokenLog(PROMPT), None, 0
        while goes():
            for frame in line.heard(wait_s=0.1 if incarnation is None else 0.0):
                if isinstance(frame.message, Opened):
                    incarnation = frame.message.incarnation
                elif isinstance(frame.message, Commit):
                    _taken(log, frame.message)
            if incarnation is None:
                continue
            epoch += 1
            path = Draft(
                incarnation=incarnation,
                draft_epoch=epoch,
                known=len(log),
                start=len(log),
                path_hash=log.hash_at(len(log)),
                plan=Plan(number=0, k=1, gamma=MAX_GAMMA, min_draft=0),
                ids=paths[epoch % len(paths)],
                weights=(),
                rows_hash=bytes(8),
                last=False,
            )
            if not line.say(path):
                line.rest()


def _taken(log: TokenLog, commit: Commit) -> int:
    """How many tokens the log has more, now that it has what the Commit tells."""
    new = max(0, commit.position + len(commit.ids) - len(log))
    if commit.position <= len(log) and new:
        log.append(commit.ids[-new:], commit.origins[-new:])
    return new


def endless_opens(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """A new request with a long prompt in each message; none is ever heard of again."""
    vocab_size, numbers = aim.hello.vocab_size, random.Random(aim.seed)
    prompts = [tuple(numbers.randrange(vocab_size) for _ in range(LONG_PROMPT)) for _ in range(8)]
    with zmq.Context() as context, _line(context, aim, spoils, queue=64) as line:
        number = 0
        while goes():
            number += 1
            opened = opened_by(tokens=prompts[number % len(prompts)], max_new_tokens=4096, seed=number)
            if not line.say(opened, session=number):
                line.rest()
            line.read()


def slow_reader(aim: Aim, spoils: Spoils, goes: Goes) -> None:
    """Connections that ask for large replies and read none of them, so that they pile up where they are."""
    asks = encode_frame(Probe(stamp=1, reply_padding=MAX_PROBE_BYTES), session=0, sequence=0)
    key = aim.key(aim.name)
    with zmq.Context() as context, ExitStack() as stack:
        lines = [
            stack.enter_context(
                Line(context, aim, spoils, key=key, name=f"{aim.name}/{i}", queue=16, small=True)
            )
            for i in range(READERS)
        ]
        while goes():
            if not any([line.send(asks) for line in lines]):
                lines[0].rest()


def replayed(aim: Aim) -> Attack:
    """What an honest device has sent, again: its frames by another key, under its name and under another,
    and by its own key; and the very bytes of its connection, as somebody on the way has them.
    """
    frames, wire = asyncio.run(captured(aim))

    def attack(spoils: Spoils, goes: Goes) -> None:
        mine, its = aim.key(aim.name), aim.key(aim.own_victim)
        with zmq.Context() as context, ExitStack() as stack:
            lines = [
                stack.enter_context(Line(context, aim, spoils, key=key, name=name, stranger=stranger))
                for key, name, stranger in (
                    (mine, aim.name, False),
                    (mine, aim.own_victim, True),
                    (its, aim.own_victim, False),
                )
            ]
            while goes():
                for frame in frames:
                    for line in lines:
                        line.send(frame)
                for line in lines:
                    line.read()
                spoils.stolen += _served_again(aim, wire)

    return attack


def _line(context: zmq.Context[zmq.Socket[bytes]], aim: Aim, spoils: Spoils, *, queue: int = 1000) -> Line:
    """One that has greeted as a device does."""
    line = Line(context, aim, spoils, key=aim.key(aim.name), name=aim.name, queue=queue)
    line.say(aim.hello)
    return line


def _served_again(aim: Aim, wire: Sequence[bytes]) -> bool:
    """Whether the base station takes a connection's bytes for the same connection: READY would say so."""
    with suppress(OSError), sockets.create_connection(aim.place, timeout=0.2) as one:
        one.sendall(b"".join(wire))
        with suppress(TimeoutError):
            heard = b""
            while more := one.recv(4096):
                heard += more
                if b"READY" in heard:
                    return True
    return False


__all__ = [
    "endless_opens",
    "hint_flood",
    "never_pass",
    "replayed",
    "slow_reader",
]
