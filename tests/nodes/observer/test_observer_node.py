"""The observer's node: hears what nodes may tell, and survives whatever else it is sent."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.harness.observers import OBSERVER, WALL_S, Ear, listening
from tests.harness.reports import REPORT
from tests.harness.sockets import run
from tests.harness.spoilt import SpoiltTransport

from draftwire.codecs.control import Event, Json
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.observer.heard import TOLD_BY
from draftwire.nodes.observer.node import IMPOSTOR, UNEXPECTED, UNKNOWN, Sink
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.reporting import Reporter
from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import Endpoint, MemoryNetwork, ZmqTransport

_Connected = Callable[[str], Awaitable[Endpoint]]
_Body = Callable[[_Connected, Counter[str]], Awaitable[None]]
"""Gets what connects to the observer under a name, and how many messages it has refused, by cause."""

ROLES = {"target": Role.TARGET, "phone-1": Role.DEVICE, "channel": Role.CHANNEL, "ctl": Role.CONTROLLER}


def _run(
    body: _Body,
    *sinks: Sink,
    secured: bool = True,
) -> None:
    """Run a body with a started observer."""
    refused = Counter[str]()

    def count(reason: str) -> None:
        refused[reason] += 1

    async def main() -> None:
        async with SpoiltTransport(MemoryNetwork(), impostors=frozenset({"liar"})) as transport:

            async def connected(name: str) -> Endpoint:
                return await transport.connect(OBSERVER, service=Service.OBSERVER, name=name)

            role_of = ROLES.get if secured else None
            async with listening(transport, sinks=sinks, role_of=role_of, refused=count):
                await body(connected, refused)

    run_virtual(main())


def _told(name: str, event: str, /, *, node: str | None = None, **fields: Json) -> bytes:
    said = Event(node=node or name, at_s=1.0, fields={"event": event, **fields})
    return encode_frame(said, session=0, sequence=0)


async def _heard_all(delay_s: float = 1.0) -> None:
    await LoopClock().sleep_until(LoopClock().now_s() + delay_s)


def test_each_role_tells_its_own_events() -> None:
    """An event reaches each sink with the node's name and the observer's time, from the role that tells."""
    ears = Ear(), Ear()
    told = {
        "target": [("step", {"device": "phone-1"}), ("alive", {"role": "target"})],
        "ctl": [("decision", {"device": "phone-1"}), ("alive", {"role": "controller"})],
        "channel": [("link", {}), ("traffic", {}), ("alive", {"role": "channel"})],
        "phone-1": [(one, {"device": "phone-1"}) for one in ("asked", "tokens", "answer")],
    }

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        for name, events in told.items():
            end = await connected(name)
            for event, fields in events:
                end.send(b"", _told(name, event, **fields))
        await _heard_all()
        assert not refused

    _run(body, *ears)
    assert {event["event"] for _, event, _ in ears[0].all} == set(TOLD_BY)
    expected = [(name, event) for name, events in told.items() for event, _ in events]
    for ear in ears:
        assert [(name, event["event"]) for name, event, _ in ear.all] == expected
        assert {at_s for *_, at_s in ear.all} == {0.0}


@pytest.mark.parametrize(
    ("name", "frame", "cause"),
    [
        ("phone-1", _told("phone-1", "step", device="phone-1"), IMPOSTOR),
        ("phone-1", _told("phone-1", "alive", role="target"), IMPOSTOR),
        ("phone-1", _told("phone-1", "alive", role=7), IMPOSTOR),
        ("phone-1", _told("phone-1", "step", node="target"), IMPOSTOR),
        ("phone-1", _told("phone-1", "asked", device="phone-2"), IMPOSTOR),
        ("phone-1", _told("phone-1", "asked"), IMPOSTOR),
        ("phone-1", _told("phone-1", "asked", node="phone-2", device="phone-2"), IMPOSTOR),
        ("target", _told("target", "decision", device="phone-1"), IMPOSTOR),
        ("nobody", _told("nobody", "step"), IMPOSTOR),
        ("liar", _told("liar", "step"), IMPOSTOR),
        ("phone-1", _told("phone-1", "weather"), UNKNOWN),
        ("phone-1", encode_frame(Event(node="phone-1", at_s=0.0, fields={}), session=0, sequence=0), UNKNOWN),
        ("target", encode_frame(REPORT, session=0, sequence=0), UNEXPECTED),
        ("target", b"", Refusal.TRUNCATED),
        ("target", b"\xd3" * 40, None),
    ],
)
def test_what_nobody_may_tell_is_counted_and_reaches_no_sink(
    name: str, frame: bytes, cause: str | None
) -> None:
    """A device can't tell what a target does, nor of another device; what is none of ours has a cause too."""
    ear = Ear()

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        end = await connected(name)
        for _ in range(3):
            end.send(b"", frame)
        await _heard_all()
        assert refused.total() == 3 and cause in (None, *refused)
        good = await connected("target")
        good.send(b"", _told("target", "step"))
        await _heard_all()

    with capture_logs() as logs:
        _run(body, ear)
    assert [event for _, event, _ in ear.all] == [{"event": "step"}], "the next one is heard"
    assert len([log for log in logs if log["event"] == "observer.refused"]) == 1, "said once"


def test_without_keys_names_prove_nothing_and_each_tells_of_itself() -> None:
    """Whatever its role; but no connection speaks for another name, nor a device of another device."""
    ear = Ear()

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        end = await connected("here")
        end.send(b"", _told("here", "step", device="x"))
        end.send(b"", _told("here", "tokens", node="here/01", device="here/01"))
        end.send(b"", _told("here", "step", node="there"))
        end.send(b"", _told("here", "tokens", device="there"))
        await _heard_all()
        assert refused == {IMPOSTOR: 2}

    _run(body, ear, secured=False)
    assert [node for node, *_ in ear.all] == ["here", "here/01"]


def test_a_sink_that_fails_is_told_once_and_the_others_hear_on() -> None:
    """A bug in what shows events is no reason to end."""
    ear = Ear()

    class Broken:
        def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
            raise KeyError(event["event"])

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        end = await connected("target")
        for _ in range(3):
            end.send(b"", _told("target", "step"))
        await _heard_all()
        assert not refused

    with capture_logs() as logs:
        _run(body, Broken(), ear)
    assert len(ear.all) == 3
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["observer.failed"]


def test_a_probe_is_echoed_and_many_are_not() -> None:
    """As the doctor asks; what a connection may have echoed beyond what it sends is bounded."""

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        end = await connected("phone-1/doctor")
        probe = Probe(stamp=7, padding=0, reply_padding=60_000)
        for _ in range(100):
            end.send(b"", encode_frame(probe, session=0, sequence=0))
        await _heard_all()
        answers = [decode_frame((await end.receive()).data).message for _ in range(end.statistics().waiting)]
        assert 10 <= len(answers) < 30
        assert all(isinstance(one, Echo) and one.clock_s == WALL_S for one in answers)

    _run(body)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_hostile_frames_cost_nothing(seed: int) -> None:
    """Any bytes, and frames with bytes turned: each is counted, none ends the node or reaches a sink."""
    ear, rng = Ear(), random.Random(seed)
    good = _told("target", "step", device="phone-1")

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        hostile = await connected("target")
        for _ in range(50):
            spoilt = bytearray(good)
            for _ in range(rng.randrange(1, 4)):
                spoilt[rng.randrange(len(spoilt))] ^= rng.randrange(1, 256)
            hostile.send(b"", bytes(spoilt) if rng.random() < 0.5 else rng.randbytes(rng.randrange(200)))
        await _heard_all()
        assert not ear.all and refused.total() == 50, f"seed {seed}"
        (await connected("target")).send(b"", good)
        await _heard_all()
        assert [event["event"] for _, event, _ in ear.all] == ["step"], f"seed {seed}"

    _run(body, ear)


def _made(folder: Path, name: str, role: Role) -> NodeKeys:
    keyring = Keyring(folder / name)
    return NodeKeys(keyring=keyring, own=keyring.new(name, role=role))


def _roles(observer: NodeKeys) -> Callable[[str], Role | None]:
    """Of a key by its name, as the observer knows them."""

    def role_of(name: str) -> Role | None:
        return next((key.role for key in observer.keyring.trusted() if key.name == name), None)

    return role_of


def _introduce(who: NodeKeys, to: NodeKeys) -> None:
    to.keyring.allow(who.keyring.folder / f"{who.own.public.name}.key", role=who.own.public.role)


def test_a_devices_key_tells_of_that_device_alone(tmp_path: Path) -> None:
    """With keys, over real sockets: under its own name it is heard, as a target or by another it is not, and
    goes into quarantine; who has no key that is allowed gets no word through.
    """
    ear, refused = Ear(), Counter[str]()
    observer, phone, target, stranger = (
        _made(tmp_path, "observer", Role.OBSERVER),
        _made(tmp_path, "phone-1", Role.DEVICE),
        _made(tmp_path, "bs-2", Role.TARGET),
        _made(tmp_path, "stranger", Role.TARGET),
    )
    for one in (phone, target):
        _introduce(one, observer)
    for one in (phone, target, stranger):
        _introduce(observer, one)

    def count(reason: str) -> None:
        refused[reason] += 1

    def reporter(name: str, role: Role, address: str) -> Reporter:
        return Reporter(name=name, role=role, address=address, clock=LoopClock(), logger=get_logger(name))

    async def main() -> None:
        async with (
            ZmqTransport(observer) as there,
            ZmqTransport(phone) as device,
            ZmqTransport(target) as bs,
            ZmqTransport(stranger) as other,
            listening(
                there, address="tcp://127.0.0.1:*", sinks=[ear], role_of=_roles(observer), refused=count
            ) as node,
            reporter("phone-1", Role.DEVICE, node.address).telling(device),
            reporter("bs-2", Role.TARGET, node.address).telling(bs),
            reporter("bs-2", Role.TARGET, node.address).telling(device),
            reporter("stranger", Role.TARGET, node.address).telling(other),
        ):
            liar = reporter("phone-1", Role.TARGET, node.address)
            async with liar.telling(device):
                while len(ear.of("alive")) < 2 or refused[IMPOSTOR] < 2:
                    await asyncio.sleep(0.02)
                for _ in range(30):
                    liar.tell("step", device="phone-1")
                while refused[IMPOSTOR] < 11:
                    await asyncio.sleep(0.02)

    with capture_logs() as logs:
        run(main)
    assert {(node, event["role"]) for node, event, _ in ear.all if event["event"] == "alive"} == {
        ("phone-1", "device"),
        ("bs-2", "target"),
    }
    assert not ear.of("step")
    events = [log["event"] for log in logs]
    assert "transport.quarantined" in events and "transport.key_refused" in events


def test_a_channels_key_tells_of_the_channel_alone(tmp_path: Path) -> None:
    """Elsewhere it may go by any name, as of the devices behind it; here it is no target, no controller, no
    observer and no device, whatever name it connects under, and by its own it is heard.
    """
    ear = Ear()
    observer, channel = _made(tmp_path, "observer", Role.OBSERVER), _made(tmp_path, "channel", Role.CHANNEL)
    _introduce(channel, observer)
    _introduce(observer, channel)
    for name, role in (("target", Role.TARGET), ("controller", Role.CONTROLLER), ("phone-1", Role.DEVICE)):
        _introduce(_made(tmp_path, name, role), observer)
    posed = [
        _told("target", "step", device="phone-1"),
        _told("target/1", "alive", role="target"),
        _told("controller", "decision", device="phone-1"),
        _told("observer", "alive", role="observer"),
        _told("phone-1", "asked", device="phone-1"),
    ]

    async def main() -> None:
        async with (
            ZmqTransport(observer) as there,
            ZmqTransport(channel) as here,
            listening(there, address="tcp://127.0.0.1:*", sinks=[ear], role_of=_roles(observer)) as node,
        ):
            for frame in posed:
                message = decode_frame(frame).message
                assert isinstance(message, Event)
                end = await here.connect(node.address, service=Service.OBSERVER, name=message.node)
                end.send(b"", frame)
                end.send(b"", _told("channel", "traffic"))
            while len(ear.all) < len(posed):
                await asyncio.sleep(0.02)

    with capture_logs() as logs:
        run(main)
    assert {(node, event["event"]) for node, event, _ in ear.all} == {("channel", "traffic")}
    (said,) = [log for log in logs if log["event"] == "observer.refused"]
    assert said["reason"] == IMPOSTOR and said["detail"].startswith("channel can't speak for ")


def test_every_message_that_is_no_event_is_misplaced() -> None:
    """Whoever sends reports or plans here is no node of ours, and comes into quarantine by it."""

    async def body(connected: _Connected, refused: Counter[str]) -> None:
        end = await connected("target")
        for _ in range(2):
            for _ in range(30):
                end.send(b"", encode_frame(REPORT, session=0, sequence=0))
            await _heard_all(0.5)
            assert refused == {UNEXPECTED: 30}, "the second time nothing of it is read"

    _run(body)
