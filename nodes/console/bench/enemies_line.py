"""What enemies stand on: where to aim, a connection of ZeroMQ's own without our transport, and its spoils."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Self

import zmq

from draftwire.codecs.bodies import KINDS
from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import PROTOCOL_VERSION, AnyMessage, Frame, decode_frame, encode_frame
from draftwire.codecs.messages import Acceptance, Commit, Hello, Open, Opened, Refused, Sampling
from draftwire.codecs.padding import PADDED
from draftwire.codecs.probes import Echo
from draftwire.nodes.models.catalogue import load_tokenizer
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.runtime.security import KeyPair, Keyring, Role
from draftwire.runtime.transport.addresses import host_of
from draftwire.runtime.transport.base import NONCE_BYTES, routing_id

KIND: Final = slice(1, 2)
SESSION: Final = slice(2, 6)
"""Where a frame has its kind, and its session's number."""

OPENS: Final = (bytes([KINDS[Open]]), bytes([KINDS[Open] | PADDED]))
"""Kinds of a frame that asks for a session."""

READ_AT_ONCE: Final = 256
"""Messages between two looks at the clock."""


@cache
def hello_of(model: str) -> Hello:
    """What a device says of a pair without tables."""
    tokenizer = load_tokenizer(model, end="target")
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        noise_version=NOISE_VERSION,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What every enemy knows, as JSON between processes."""

    address: str
    "of the base station, or of what stands in its place"
    keys: str
    "folder with the public key of the base station, and the keys that enemies have come by"
    name: str
    "of an enemy with a key that is allowed: the key's too"
    victim: str
    "name of an honest device"
    own_victim: str
    "name, and key, of a device whose frames were captured"
    config: str
    "topology file, for those who first play an honest device"
    model: str
    "name of the pair"
    seed: int = 0

    @property
    def hello(self) -> Hello:
        """That the base station agrees with."""
        return hello_of(self.model)

    def key(self, name: str) -> KeyPair:
        """One that is here."""
        return Keyring(Path(self.keys)).own_key(Role.DEVICE, name)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, for those that speak TCP alone."""
        return host_of(self.address), int(self.address.rpartition(":")[2])

    @property
    def server_key(self) -> bytes:
        """What anybody knows of the base station."""
        return Keyring(Path(self.keys)).server_key(Role.TARGET).public.encode()


@dataclass(slots=True, kw_only=True)
class Spoils:
    """What an enemy has sent, and what came of it."""

    sent: int = 0
    "messages; bytes or connections of those that speak TCP alone"
    refused: int = 0
    "not sent: its own queue had no room, as nobody read at the other end"
    replies: dict[str, int] = field(default_factory=dict)
    "messages of the base station, by kind; Refused by reason"
    tokens: int = 0
    "of requests of its own"
    stolen: int = 0
    "tokens of others, or sessions that are not its own"

    def took(self, message: AnyMessage, *, stranger: bool, asked: bool = True) -> None:
        """`stranger`: whoever gets this has no right to anything, so whatever serves is stolen.

        Not `asked`: it is of a session that this line has not opened, so a session or a token is.
        """
        kind = type(message).__name__
        if isinstance(message, Refused):
            kind = f"Refused.{message.reason.name}"
        self.replies[kind] = self.replies.get(kind, 0) + 1
        tokens = len(message.ids) if isinstance(message, Commit) else 0
        if stranger:
            serves = not isinstance(message, Refused | Echo)
        else:
            serves = not asked and isinstance(message, Opened | Commit)
        if serves:
            self.stolen += max(1, tokens)
        elif not stranger:
            self.tokens += tokens


REST_MS: Final = 2


class Line:
    """One connection: a DEALER with any name, any key, or none. Nothing that it does waits."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        aim: Aim,
        spoils: Spoils,
        *,
        key: KeyPair | None,
        name: str,
        stranger: bool = False,
        queue: int = 1000,
        reconnect_ms: int = 100,
        small: bool = False,
    ) -> None:
        """`queue`: messages that wait at this end, either way. `stranger`: see Spoils.took. `small`: TCP's
        own buffer of what has not been read is as small as it can be.
        """
        self.spoils, self._stranger = spoils, stranger
        self._asked = set[bytes]()
        """Session numbers of the requests it has sent, as a frame spells them."""
        self._socket = socket = context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, queue)
        socket.set(zmq.RCVHWM, queue)
        socket.set(zmq.RECONNECT_IVL, reconnect_ms)
        if small:
            socket.set(zmq.RCVBUF, 4096)
        socket.set(zmq.IDENTITY, routing_id(name, os.urandom(NONCE_BYTES)))
        if key is not None:
            socket.set(zmq.CURVE_PUBLICKEY, key.public.public.encode())
            socket.set(zmq.CURVE_SECRETKEY, key.secret.encode())
            socket.set(zmq.CURVE_SERVERKEY, aim.server_key)
        socket.connect(aim.address)

    def send(self, data: bytes) -> bool:
        """False: this end's own queue is full, which is all that the other one does about a flood."""
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            self.spoils.refused += 1
            return False
        self.spoils.sent += 1
        if data[KIND] in OPENS:
            self._asked.add(data[SESSION])
        return True

    def send_frames(self, frame: bytes, count: int) -> bool:
        """One message of so many frames; as `send`. They share their memory here."""
        try:
            self._socket.send_multipart([frame] * count, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.spoils.refused += 1
            return False
        self.spoils.sent += 1
        return True

    def say(self, message: AnyMessage, *, session: int = 1) -> bool:
        """A message in its frame."""
        return self.send(encode_frame(message, session=session, sequence=0))

    def heard(self, *, wait_s: float = 0.0) -> Iterator[Frame]:
        """What has come; waits so long for the first."""
        if wait_s and not self._socket.poll(round(1e3 * wait_s)):
            return
        for _ in range(READ_AT_ONCE):
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            with suppress(WireError):
                frame = decode_frame(data)
                asked = data[SESSION] in self._asked
                self.spoils.took(frame.message, stranger=self._stranger, asked=asked)
                yield frame

    def read(self) -> None:
        """Count what has come."""
        for _ in self.heard():
            pass

    def rest(self) -> None:
        """Wait a moment for room in the queue: whoever spins takes processor time from itself alone."""
        self._socket.poll(REST_MS, zmq.POLLOUT)

    def close(self) -> None:
        """At once."""
        self._socket.close(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Enemy:
    """One kind."""

    summary: str
    prepare: "Callable[[Aim], Attack]"
    "what it needs before it attacks, while nobody measures"


Goes = Callable[[], bool]
"""Whether the attack goes on."""


Attack = Callable[[Spoils, Goes], None]


def until(end_s: float) -> Goes:
    """For so long from now."""
    deadline_s = time.monotonic() + end_s
    return lambda: time.monotonic() < deadline_s


def opened_by(
    *,
    tokens: tuple[int, ...],
    seed: int = 0,
    max_new_tokens: int = 64,
    gamma: int | None = None,
    acceptance: Acceptance = Acceptance.REJECTION,
    device_try: int = 1,
) -> Open:
    """A request like any other."""
    return Open(
        device_try=device_try,
        seed=seed,
        sampling=Sampling(temperature=1.0),
        max_new_tokens=max_new_tokens,
        stop=(),
        prompt_length=len(tokens),
        tokens=tokens,
        draft_epoch=0,
        pinned_k=1 if gamma else None,
        pinned_gamma=gamma,
        acceptance=acceptance,
    )


__all__ = ["Aim", "Attack", "Enemy", "Goes", "Line", "Spoils", "hello_of", "opened_by", "until"]
