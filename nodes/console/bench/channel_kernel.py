"""The kernel as a peer: the same packets through its token bucket and through the model of a link.

Two network namespaces are joined by a cable (veth), with tc's `tbf` at the sender's end, and the model reads
the very words that tc does. It is told when each packet was sent, and when one left the bucket is when the
receiving end's kernel stamped it: the cable itself takes no time. Needs Linux, root, iproute2 and a kernel
with `tbf`; the host's own network stays as it is.
"""

import ctypes
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.runtime.errors import DraftwireError
from draftwire.runtime.link import Link, LinkDrop, parse_link
from draftwire.runtime.punctual import be_punctual

HEADER_BYTES: Final = 14 + 20 + 8
"""Ethernet, IPv4 and UDP, which tbf counts."""

MAX_PAYLOAD_BYTES: Final = 1400
"""One packet on any cable, and below the bucket's size with its headers."""

_NUMBER: Final = struct.Struct(">I")
_STAMP: Final = struct.Struct("@qq")
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_CLONE_NEWNET: Final = 0x40000000
_BUFFER_BYTES: Final = 16 * 2**20
_PORT: Final = 5799
_ADDRESSES: Final = ("10.78.0.1", "10.78.0.2")
_HARDWARE: Final = ("02:00:00:00:00:01", "02:00:00:00:00:02")
_COMMAND_WITHIN_S: Final = 30.0
_ARRIVES_WITHIN_S: Final = 60.0
_SETS: Final = count()


class KernelLinkError(DraftwireError):
    """Raised where a link through the kernel can't be made here, or loses what it must not; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One to send."""

    at_s: float
    "since the first"
    payload_bytes: int
    "4 to MAX_PAYLOAD_BYTES"

    @property
    def bytes_on_link(self) -> int:
        """As tbf counts it."""
        return self.payload_bytes + HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What packets met in the kernel; times are the host's, since the first was sent."""

    words: str
    "of tbf"
    packets: Sequence[Packet]
    sent_s: Sequence[float]
    arrived_s: Mapping[int, float]
    "by the packet's number, in the order in which they arrived; those that never did are absent"

    @property
    def held_up_s(self) -> float:
        """The most that a packet was sent behind its plan: the sender shares its core."""
        return max(sent_s - packet.at_s for packet, sent_s in zip(self.packets, self.sent_s, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The kernel against the model."""

    errors_s: Sequence[float]
    "when each packet that both delivered left the kernel, minus when it left the model"
    kernel_order: Sequence[int]
    "numbers as they arrived"
    model_order: Sequence[int]
    kernel_lost: frozenset[int]
    model_lost: Mapping[int, LinkDrop]


class KernelLink:
    """Made by `kernel_link`."""

    def __init__(self, sender: str, receiver: str) -> None:
        self._sender, self._receiver = sender, receiver

    def cross(self, words: str, packets: Sequence[Packet]) -> Crossing:
        """Send packets through a tbf of these words, which name a rate in bits, a burst and a limit.

        Blocks until all that was not dropped has arrived. Raises KernelLinkError where that takes too long,
        and where tc refuses the words.
        """
        _run("tc", "-n", self._sender, "qdisc", "replace", "dev", "eth0", "root", "tbf", *words.split())
        with ExitStack() as stack:
            receiving = stack.enter_context(_socket_in(self._receiver))
            receiving.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            receiving.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            receiving.settimeout(_ARRIVES_WITHIN_S)
            receiving.bind((_ADDRESSES[1], _PORT))
            sending = stack.enter_context(_socket_in(self._sender))
            # What waits in tbf counts as the socket's: with the usual buffer a long queue would stop it.
            sending.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
            sending.connect((_ADDRESSES[1], _PORT))
            _settle(sending, receiving)
            sent_ns = _in_punctual_thread(sending, packets)
            arrived_ns = _arrivals(sending, receiving, len(packets))
        began_ns = sent_ns[0]
        return Crossing(
            words=words,
            packets=packets,
            sent_s=[1e-9 * (at_ns - began_ns) for at_ns in sent_ns],
            arrived_s={number: 1e-9 * (at_ns - began_ns) for number, at_ns in arrived_ns.items()},
        )


def compare(crossing: Crossing) -> Comparison:
    """Let the model of the same words carry the same packets, sent when they were."""
    spec = parse_link(f"{crossing.words} overhead 0b 0b")  # the packets' headers stand in their sizes
    link: Link[int] = Link(spec, streams_of(0, "kernel", Direction.UPLINK))
    left_s, lost = dict[int, float](), dict[int, LinkDrop]()
    for number, (packet, sent_s) in enumerate(zip(crossing.packets, crossing.sent_s, strict=True)):
        outcome = link.offer(sent_s, packet.bytes_on_link, number)
        if isinstance(outcome, LinkDrop):
            lost[number] = outcome
        else:
            left_s[number] = outcome[0].delivery_s
    return Comparison(
        errors_s=[at_s - left_s[number] for number, at_s in crossing.arrived_s.items() if number in left_s],
        kernel_order=list(crossing.arrived_s),
        model_order=list(left_s),
        kernel_lost=frozenset(range(len(crossing.packets))) - crossing.arrived_s.keys(),
        model_lost=lost,
    )


def mixed_packets(*, rate_bps: float, load: float, number: int, seed: int) -> list[Packet]:
    """Of all sizes, at times as they come, which take this share of the rate; queues build up and end."""
    rng = random.Random(seed)
    at_s, packets = 0.0, list[Packet]()
    for _ in range(number):
        packet = Packet(at_s=at_s, payload_bytes=rng.randint(20, MAX_PAYLOAD_BYTES))
        packets.append(packet)
        mean_s = 8 * (MAX_PAYLOAD_BYTES + 20) / 2 / rate_bps / load
        at_s += rng.expovariate(1 / mean_s)
    return packets


def bursts(*, every_s: float, number: int, of: int, payload_bytes: int) -> list[Packet]:
    """Many at once, again and again: more than a queue takes."""
    times_s = [burst * every_s for burst in range(number)]
    return [Packet(at_s=at_s, payload_bytes=payload_bytes) for at_s in times_s for _ in range(of)]


def why_not() -> str:
    """Why there is no such link here; empty: there is one."""
    try:
        with kernel_link() as link:
            link.cross("rate 5mbit burst 1600b limit 30000b", [Packet(at_s=0.0, payload_bytes=100)])
    except KernelLinkError as error:
        return str(error)
    return ""


@contextmanager
def kernel_link() -> Iterator[KernelLink]:
    """Two namespaces and the cable, removed behind the block. Raises KernelLinkError where they can't be."""
    if sys.platform != "linux" or shutil.which("ip") is None or shutil.which("tc") is None:
        raise KernelLinkError("the kernel's own link needs Linux and iproute2")
    if os.geteuid() != 0:
        raise KernelLinkError("the kernel's own link needs root, for network namespaces")
    prefix = f"dw{os.getpid()}k{next(_SETS)}"
    ends = (f"{prefix}-sender", f"{prefix}-receiver")
    made = list[str]()
    try:
        for end in ends:
            _run("ip", "netns", "add", end)
            made.append(end)
        _run("ip", "-n", ends[0], "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", ends[1])
        for here, there in ((0, 1), (1, 0)):
            _set_up(ends[here], here=here, there=there)
        yield KernelLink(*ends)
    finally:
        for end in made:
            _run("ip", "netns", "delete", end)


def _set_up(end: str, *, here: int, there: int) -> None:
    """An interface whose other end is known without asking, and which says nothing by itself."""
    _run("ip", "netns", "exec", end, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    _run("ip", "-n", end, "link", "set", "eth0", "address", _HARDWARE[here], "gso_max_segs", "1")
    _run("ip", "-n", end, "address", "add", f"{_ADDRESSES[here]}/24", "dev", "eth0")
    _run("ip", "-n", end, "link", "set", "eth0", "up")
    known = ("lladdr", _HARDWARE[there], "nud", "permanent")
    _run("ip", "-n", end, "neighbour", "replace", _ADDRESSES[there], "dev", "eth0", *known)


def _run(*command: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelLinkError(f"`{' '.join(command)}`: {error}") from None
    if ran.returncode != 0:
        raise KernelLinkError(f"`{' '.join(command)}`: {ran.stderr.strip()}")


@contextmanager
def _socket_in(namespace: str) -> Iterator[socket.socket]:
    """A UDP socket there. A socket stays where it was made, so the thread that goes there ends at once."""
    made = list[socket.socket | OSError]()

    def make() -> None:
        system = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", namespace).open("rb") as place:
            if system.setns(place.fileno(), _CLONE_NEWNET) != 0:
                made.append(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
                return
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=make, name=namespace)
    thread.start()
    thread.join()
    if not made or isinstance(made[0], OSError):
        raise KernelLinkError(f"no socket in the namespace {namespace}: {made[0] if made else 'unknown'}")
    with made[0] as one:
        yield one


def _settle(sending: socket.socket, receiving: socket.socket) -> None:
    """Until a packet comes with its stamp: the kernel begins to stamp a little later than it is asked to."""
    deadline_s = time.monotonic() + _ARRIVES_WITHIN_S
    while time.monotonic() < deadline_s:
        sending.send(_NUMBER.pack(0))
        if _received(receiving)[1] is not None:
            time.sleep(0.05)  # the bucket is full again
            return
    raise KernelLinkError("the kernel stamps no packets")


def _in_punctual_thread(sending: socket.socket, packets: Sequence[Packet]) -> list[int]:
    """When each was sent, by the wall clock, which the kernel stamps with."""
    sent_ns = list[int]()

    def send() -> None:
        be_punctual()
        began_s = time.monotonic()
        for number, packet in enumerate(packets):
            ahead_s = began_s + packet.at_s - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
            data = _NUMBER.pack(number).ljust(packet.payload_bytes, b"\0")
            sent_ns.append(time.time_ns())
            sending.send(data)

    thread = threading.Thread(target=send, name="sends packets")
    thread.start()
    thread.join()
    if len(sent_ns) < len(packets):
        raise KernelLinkError("the kernel takes no packets")
    return sent_ns


def _arrivals(sending: socket.socket, receiving: socket.socket, number: int) -> dict[int, int]:
    """Packet -> when it arrived. A last one, sent again until there is room for it, tells that all have."""
    arrived_ns = dict[int, int]()
    receiving.settimeout(0.1)
    deadline_s = time.monotonic() + _ARRIVES_WITHIN_S
    while time.monotonic() < deadline_s:
        sending.send(_NUMBER.pack(number))
        try:
            while True:
                came, at_ns = _received(receiving)
                if came == number:
                    return arrived_ns
                if came in arrived_ns or at_ns is None:
                    raise KernelLinkError(f"packet {came} came twice, or without a stamp")
                arrived_ns[came] = at_ns
        except TimeoutError:
            continue
    raise KernelLinkError(f"packets did not arrive within {_ARRIVES_WITHIN_S:g} s")


def _received(receiving: socket.socket) -> tuple[int, int | None]:
    """A packet's number, and when the kernel received it, ns of the wall clock."""
    data, ancillary, _, _ = receiving.recvmsg(MAX_PAYLOAD_BYTES + 100, socket.CMSG_SPACE(_STAMP.size))
    stamps = [_STAMP.unpack(value) for _, kind, value in ancillary if kind == _SO_TIMESTAMPNS]
    at_ns = stamps[0][0] * 10**9 + stamps[0][1] if stamps else None
    return _NUMBER.unpack_from(data)[0], at_ns


__all__ = [
    "HEADER_BYTES",
    "MAX_PAYLOAD_BYTES",
    "Comparison",
    "Crossing",
    "KernelLink",
    "KernelLinkError",
    "Packet",
    "bursts",
    "compare",
    "kernel_link",
    "mixed_packets",
    "why_not",
]
