"""Where the fields of a frame stand, as a list of cuts for each kind: docs/wire.md, in order.

What is cut stays cut when the bytes end too early: nothing here judges, `decode_frame` does.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

import orjson

from draftwire.codecs.blocks import Mode
from draftwire.codecs.bodies import FREE_GAMMA, FREE_K, KINDS
from draftwire.codecs.control import CONTROL_KINDS
from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import ENVELOPE_BYTES
from draftwire.codecs.limits import MAX_CONTROL_DEPTH
from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Hello,
    Open,
    Opened,
    Ping,
    Pong,
    Reason,
    Refused,
    SparseLogits,
    SparseLogitsRequest,
    Welcome,
)
from draftwire.codecs.padding import PADDED, unpadded
from draftwire.codecs.probes import Echo, Probe
from draftwire.codecs.reader import Reader
from draftwire.codecs.tables import TAG_BYTES
from draftwire.codecs.weights import Profile

KIND_NAMES: Final[dict[int, str]] = {
    number: message.__name__ for kinds in (KINDS, CONTROL_KINDS) for message, number in kinds.items()
}
"""What a frame's second byte says."""

Value = int | float | bytes | str | tuple[int, ...] | None | bool | list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field."""

    name: str
    "as docs/wire.md has it; those of a value that bodies share have its name and a dot before"
    start: int
    "bits from the first bit of all"
    end: int
    "bits; the first one behind it"
    value: Value
    "as it is spelt: times in the wire's own unit, enumerations as numbers"
    meaning: str = ""
    "what that stands for, where the value alone does not say it"


class Knife:
    """Cuts fields off the front; what is cut stays when the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self.reader = data, Reader(data)
        self.length = len(data)
        "of all but padding"
        self.fields: list[Field] = []
        self.block_at: int | None = None
        "bit at which a block of rows begins"
        self.tag: bytes | None = None
        "of the tables that it names"

    def whole(self, name: str, count: int, meaning: Callable[[int], str] = lambda value: "") -> int:
        """An unsigned integer of `count` bytes."""
        value = int.from_bytes(self.reader.take(count), "big")
        self.add(name, 8 * count, value, meaning(value))
        return value

    def mode(self) -> int:
        """A block's first byte: mode and profile, 4 bits each."""
        value = self.reader.take(1)[0]
        start, mode, profile = self.reader.offset - 8, value >> 4, value & 15
        for name, half, place, meaning in (
            ("mode", mode, start, _member(Mode)),
            ("profile", profile, start + 4, _member(Profile)),
        ):
            self.fields.append(
                Field(name=name, start=place, end=place + 4, value=half, meaning=meaning(half))
            )
        return mode

    def digest(self, name: str, count: int = 8) -> bytes:
        """Bytes that stand for nothing but themselves."""
        value = self.reader.take(count)
        self.add(name, 8 * count, value)
        return value

    def real(self, name: str) -> None:
        """A binary64."""
        (value,) = struct.unpack(">d", self.reader.take(8))
        self.add(name, 64, value)

    def text(self, name: str) -> None:
        """Its length, and UTF-8."""
        start = self.reader.offset
        value = self.reader.text()
        self.add(name, self.reader.offset - start, value)

    def tokens(self, name: str, count: int, meaning: str = "") -> tuple[int, ...]:
        """`count` of them."""
        value = self.reader.tokens(count)
        if count:
            self.add(name, 24 * count, value, meaning)
        return value

    def zeros(self, count: int) -> None:
        """Padding."""
        value = self.reader.take(count)
        if count:
            self.add("zeros", 8 * count, count, "bytes, not all zero" if value.strip(b"\0") else "bytes")

    def leave_padding(self) -> bytes:
        """Nothing that is cut from here on lies in the padding at the end; empty: it can't be told apart."""
        start = self.reader.offset // 8
        try:
            body, count = unpadded(self._data[start:])
        except WireError:
            return b""
        self.length = start + len(body)
        self.reader = Reader(self._data[: self.length])
        self.reader.take(start)
        return self._data[self.length : self.length + count]

    def padding(self, cut: bytes) -> None:
        """What was left, where all before it has been cut."""
        if cut and self.fields[-1].end == 8 * self.length:
            start, count_at = 8 * self.length, 8 * (self.length + len(cut) - 2)
            for name, first, end, value in (
                ("padding.zeros", start, count_at, len(cut) - 2),
                ("padding.n", count_at, count_at + 16, len(cut)),
            ):
                if first < end:
                    one = Field(name=name, start=first, end=end, value=value, meaning="bytes")
                    self.fields.append(one)

    def incarnation(self) -> None:
        """8 bytes."""
        self.whole("incarnation.boot", 4)
        self.whole("incarnation.counter", 4)

    def plan(self, prefix: str = "plan") -> None:
        """14 bytes."""
        for name, count in (("number", 4), ("k", 3), ("gamma", 1), ("min_draft", 1)):
            self.whole(f"{prefix}.{name}", count)
        self.whole(f"{prefix}.flags", 1, _flags("blockwise", "early_stop"))
        self.whole(f"{prefix}.uplink_bps", 4, lambda bps: "" if bps else "none")

    def add(self, name: str, bits: int, value: Value, meaning: str = "") -> None:
        """What has just been read."""
        end = self.reader.offset
        self.fields.append(Field(name=name, start=end - bits, end=end, value=value, meaning=meaning))


def cut_frame(data: bytes) -> Knife:
    """All fields of a frame that can be cut; those of a block's header too."""
    return _cut(data, _frame)


def cut_block(data: bytes) -> Knife:
    """The header of a block that stands alone, and the rest of it."""
    return _cut(data, _block)


def _cut(data: bytes, layout: Callable[[Knife], None]) -> Knife:
    knife = Knife(data)
    try:
        layout(knife)
    except WireError:  # which a decoder finds too, and says better
        pass
    return knife


def _frame(knife: Knife) -> None:
    knife.whole("version", 1, _version)
    named = knife.whole("kind", 1, _kind)
    kind = named & ~PADDED
    knife.whole("session", 4)
    knife.whole("sequence", 4)
    knife.digest("crc", ENVELOPE_BYTES - knife.reader.offset // 8)
    padding = knife.leave_padding() if named & PADDED else b""
    try:
        if kind in _BODIES:
            _BODIES[kind](knife)
        elif kind in KIND_NAMES:
            _control(knife)
    finally:
        knife.padding(padding)


def _kind(number: int) -> str:
    name = KIND_NAMES.get(number & ~PADDED, "")
    return f"{name}, padded" if name and number & PADDED else name


def _hello(knife: Knife) -> None:
    knife.whole("protocol_version", 2)
    knife.whole("noise_version", 2)
    knife.whole("vocab_size", 3)
    knife.digest("fingerprint")
    for _ in range(knife.whole("n", 1, _told("sets of tables"))):
        knife.digest("tables")


def _welcome(knife: Knife) -> None:
    knife.whole("boot", 4)
    if knife.whole("agreed", 1, lambda flag: "" if flag else "no tables: rows are plain"):
        knife.digest("tables")


def _refused(knife: Knife) -> None:
    knife.whole("reason", 1, _member(Reason))
    knife.whole("device_try", 4)
    knife.whole("retry_ms", 4)
    knife.text("detail")


def _open(knife: Knife) -> None:
    for name, count in (("device_try", 4), ("life", 4), ("seed", 8)):
        knife.whole(name, count)
    knife.real("temperature")
    knife.whole("top_k", 3, lambda k: "" if k else "off")
    knife.real("top_p")
    knife.whole("max_new_tokens", 4)
    knife.whole("pinned_k", 3, lambda k: "free" if k == FREE_K else "")
    for name in ("pinned_gamma", "pinned_min_draft"):
        knife.whole(name, 1, lambda tokens: "free" if tokens == FREE_GAMMA else "")
    knife.whole("acceptance", 1, _member(Acceptance))
    knife.whole("draft_epoch", 4)
    knife.whole("outstanding", 1)
    for _ in range(knife.whole("number of stop strings", 1)):
        knife.text("stop")
    knife.whole("prompt_length", 3)
    knife.tokens("tokens", knife.whole("number of tokens", 3))


def _opened(knife: Knife) -> None:
    knife.whole("device_try", 4)
    knife.incarnation()
    knife.whole("known", 4)
    knife.digest("log_hash")
    knife.whole("acceptance", 1, _member(Acceptance))
    knife.plan()
    if knife.whole("pending", 1):
        knife.whole("pending.draft_epoch", 4)
        knife.whole("pending.start", 4)
        knife.whole("pending.length", 1)
        knife.plan("pending.plan")
        knife.digest("pending.rows_hash")


def _draft(knife: Knife) -> None:
    knife.incarnation()
    for name in ("draft_epoch", "known", "start"):
        knife.whole(name, 4)
    knife.digest("path_hash")
    knife.plan()
    knife.digest("rows_hash")
    knife.whole("token_s", 4, _time)
    flags = knife.whole("flags", 1, _flags("last", "weights"))
    count = knife.whole("n", 1, _told("tokens"))
    knife.tokens("ids", count)
    if flags & 2:
        knife.tokens("weight - 1", count)


def _sparse_logits(knife: Knife) -> None:
    knife.incarnation()
    knife.whole("draft_epoch", 4)
    knife.whole("start", 4)
    _block(knife)


def _sparse_logits_request(knife: Knife) -> None:
    knife.incarnation()
    knife.whole("draft_epoch", 4)
    for _ in range(knife.whole("n", 1, _told("positions"))):
        knife.whole("positions", 4)


def _commit(knife: Knife) -> None:
    knife.incarnation()
    knife.whole("position", 4)
    knife.digest("log_hash")
    knife.whole("tested_epoch", 4)
    knife.whole("accepted", 1)
    knife.whole("seen", 1)
    knife.plan()
    for name in ("hold", "step", "wait"):
        knife.whole(name, 4, _time)
    knife.whole("finish", 1, _member(Finish))
    knife.whole("missing", 1)
    knife.tokens("tagged tokens", knife.whole("n", 3, _told("tagged tokens")), "origin << 20 | token")


def _ping(knife: Knife) -> None:
    _known(knife)
    knife.whole("stamp", 8)


def _pong(knife: Knife) -> None:
    knife.incarnation()
    knife.whole("stamp", 8)


def _known(knife: Knife) -> None:
    knife.incarnation()
    knife.whole("known", 4)


def _probe(knife: Knife) -> None:
    knife.whole("stamp", 8)
    knife.whole("reply_padding", 2)
    knife.zeros(knife.whole("n", 2, _told("bytes of zero")))


def _echo(knife: Knife) -> None:
    knife.whole("stamp", 8)
    knife.real("clock")
    knife.zeros(knife.whole("n", 2, _told("bytes of zero")))


_LAYOUTS: Final[dict[type, Callable[[Knife], None]]] = {
    Hello: _hello,
    Welcome: _welcome,
    Refused: _refused,
    Open: _open,
    Opened: _opened,
    Draft: _draft,
    SparseLogits: _sparse_logits,
    SparseLogitsRequest: _sparse_logits_request,
    Commit: _commit,
    Ping: _ping,
    Pong: _pong,
    Cancel: _known,
    Close: _known,
    Probe: _probe,
    Echo: _echo,
}
_BODIES: Final = {number: _LAYOUTS[message] for message, number in KINDS.items()}


def _control(knife: Knife) -> None:
    """The values of a JSON object, each with its key; of anything else the bytes."""
    start, body = knife.reader.offset, knife.reader.rest()
    document = _canonical(body)
    if body and not document:
        knife.add("body", 8 * len(body), body.decode("utf-8", "replace"))
    for key, value in (document or {}).items():
        end = start + 8 * (len(orjson.dumps({key: value})) - 1)  # with the bracket or comma before it
        knife.fields.append(Field(name=key, start=start, end=end, value=value))
        start = end
    if document:
        knife.fields[-1] = replace(knife.fields[-1], end=8 * knife.length)


def _canonical(body: bytes) -> dict[str, Any] | None:
    """The object that is spelt so and not otherwise; None: it is none, or nests too deep to be taken."""
    try:
        document = orjson.loads(body)
        spelling = orjson.dumps(document)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # it nests deeper than either of them goes
        return None
    shallow = not _deeper(document, MAX_CONTROL_DEPTH + 1)  # with the object around the one that is bounded
    return document if isinstance(document, dict) and shallow and spelling == body else None


def _deeper(value: Any, depth: int) -> bool:
    if not depth:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_deeper(one, depth - 1) for one in inner)


def _block(knife: Knife) -> None:
    knife.block_at = knife.reader.offset
    mode = knife.mode()
    knife.whole("R", 1)
    if mode == Mode.TABLES:
        knife.whole("K", 2)
        knife.tag = knife.digest("tag", TAG_BYTES)
    else:
        knife.whole("V", 3)
        knife.whole("K", 3)
    rest = knife.reader.rest()
    if rest:
        knife.add("rows", 8 * len(rest), len(rest), "bytes, in sections")


def _member(values: type[IntEnum]) -> Callable[[int], str]:
    names = {int(one): one.name.lower().replace("_", " ") for one in values}
    return lambda number: names.get(number, "")


def _told(what: str) -> Callable[[int], str]:
    """Of how many."""
    return lambda count: what


def _version(byte: int) -> str:
    return f"wire version {byte & 15}" if byte >> 4 == 0xD else "not ours"


def _flags(*names: str) -> Callable[[int], str]:
    """By bit, from the lowest."""
    return lambda bits: ", ".join(name for place, name in enumerate(names) if bits >> place & 1)


def _time(microseconds: int) -> str:
    return f"us: {microseconds / 1e6:g} s"


__all__ = ["KIND_NAMES", "Field", "Knife", "Value", "cut_block", "cut_frame"]
