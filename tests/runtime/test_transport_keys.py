"""Endpoints with keys: who gets in, under which name, and that nobody else does."""

import asyncio
import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs
from structlog.typing import EventDict
from tests.harness.sockets import run

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, NodeKeys, PublicKey, Role, Service
from draftwire.runtime.transport import Endpoint, Received, TroubleKind, ZmqTransport, connecting
from draftwire.runtime.transport.base import routing_id


class Machines:
    """Keys of several machines, each allowing those that it should."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, role: Role = Role.DEVICE) -> NodeKeys:
        """A machine of its own, with one key."""
        keyring = Keyring(self.folder / name)
        return NodeKeys(keyring=keyring, own=keyring.new(name, role=role))

    def introduce(self, who: NodeKeys, to: NodeKeys) -> None:
        """Copy a public key to another machine, and allow it there."""
        to.keyring.allow(who.keyring.folder / f"{who.own.public.name}.key", role=who.own.public.role)

    def part(self, who: NodeKeys, from_: NodeKeys) -> None:
        """Take it away again."""
        (from_.keyring.folder / "allowed" / f"{who.own.public.name}.key").unlink()

    def acquainted(self, *devices: str) -> tuple[NodeKeys, ...]:
        """A BS and devices that allow each other."""
        target = self.make("target", Role.TARGET)
        made = [self.make(name) for name in devices]
        for device in made:
            self.introduce(device, target)
            self.introduce(target, device)
        return target, *made


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """No keys yet."""
    return Machines(tmp_path)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """What is logged meanwhile."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture(params=["tcp://127.0.0.1:*", "ipc"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Keys hold over ipc as over tcp."""
    return request.param if request.param != "ipc" else f"ipc://{tmp_path}/socket"


async def _heard(bound: Endpoint, device: Endpoint, data: bytes = b"hello") -> Received:
    """What the bound end receives once the device has got through, which may take tries."""
    receiving = asyncio.create_task(bound.receive())
    while not receiving.done():
        device.send(b"", data)
        await asyncio.wait([receiving], timeout=0.05)
    return receiving.result()


def _calls(monkeypatch: pytest.MonkeyPatch, keyring: Keyring, method: str) -> list[object]:
    """Grows with each call of a keyring's method."""
    seen, original = list[object](), getattr(keyring, method)

    def call(*arguments: object) -> object:
        seen.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(keyring, method, call)
    return seen


async def _grown(seen: Sequence[object], length: int) -> None:
    while len(seen) < length:
        await asyncio.sleep(0.01)


async def _trouble(device: Endpoint) -> TroubleKind:
    while (trouble := device.trouble()) is None:
        await asyncio.sleep(0.01)
    return trouble.kind


def test_allowed_keys_talk_both_ways(machines: Machines, address: str) -> None:
    """A device and a BS that allow each other's key exchange messages under the device's proved name."""
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind(address, service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            for data in (b"", b"hello", bytes(2**20)):
                device.send(b"", data)
                received = await bound.receive()
                assert (received.name, received.impostor, received.data) == ("phone-1", "", data)
                assert bound.send(received.peer, data)
                assert (await device.receive()).data == data
            assert device.trouble() is None

    run(main)


def test_an_unlisted_key_gets_in_once_it_is_allowed(
    machines: Machines, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A refused device is told so, the server logs key and remedy once, and allowing it needs no restart."""
    monkeypatch.setattr(connecting, "GAVE_UP_S", (0.05, 0.2))
    target, phone = machines.make("target", Role.TARGET), machines.make("phone-1")
    machines.introduce(target, phone)
    asked = _calls(monkeypatch, target.keyring, "admits")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind(address, service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            device.send(b"", b"let me in")
            assert await _trouble(device) is TroubleKind.DENIED
            trouble = device.trouble()
            assert trouble is not None and trouble.final
            assert trouble.text.endswith(
                "does not allow our key phone-1; on that machine: draftwire keys allow phone-1.key"
            )
            await _grown(asked, 3)  # it has tried again, and was refused again
            again = device.trouble()
            assert again is not None and again.text == trouble.text
            assert again.shown_at_s > trouble.shown_at_s
            assert bound.statistics().received == 0
            machines.introduce(phone, target)
            received = await _heard(bound, device)
            assert (received.name, received.impostor) == ("phone-1", "")
            assert device.trouble() is None
            assert bound.send(received.peer, b"welcome")
            assert (await device.receive()).data == b"welcome"

    run(main)
    (refusal,) = [entry for entry in logs if entry["event"] == "transport.key_refused"]
    assert (refusal["service"], refusal["key"]) == ("target", phone.own.public.public)
    assert "draftwire keys allow" in refusal["remedy"]


def test_a_role_gets_in_only_where_it_belongs(machines: Machines, logs: list[EventDict]) -> None:
    """An allowed key of a role that a service does not admit is refused there; another remedy is logged."""
    (target,) = machines.acquainted()
    controller = machines.make("controller", Role.CONTROLLER)
    machines.introduce(controller, target)
    machines.introduce(target, controller)

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(controller) as here:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="controller")
            device.send(b"", b"hello")
            assert await _trouble(device) is TroubleKind.DENIED
            assert bound.statistics().received == 0

    run(main)
    (refusal,) = [entry for entry in logs if entry["event"] == "transport.key_refused"]
    assert (refusal["name"], refusal["remedy"]) == (
        "controller",
        "a key of role controller has no business here",
    )


def test_a_removed_key_is_refused_at_the_next_connection(machines: Machines) -> None:
    """What stands goes on; whoever connects after the key was taken away is refused."""
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            await _heard(bound, device)
            (target.keyring.folder / "allowed" / "phone-1.key").unlink()
            device.send(b"", b"still here")
            assert (await bound.receive()).data == b"still here"
            again = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            assert await _trouble(again) is TroubleKind.DENIED

    run(main)


def test_a_stolen_name_is_told_and_known(machines: Machines) -> None:
    """An allowed key under another's name arrives marked, each time, and never spoils the real one."""
    target, phone, thief = machines.acquainted("phone-1", "phone-2")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as a, ZmqTransport(thief) as b:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            false = await b.connect(bound.address, service=Service.TARGET, name="phone-1")
            for _ in range(3):
                received = await _heard(bound, false)
                assert received.name == "phone-1"
                assert received.impostor == (
                    "the key of phone-2 can't speak for phone-1: "
                    'write name = "phone-2", or use phone-1\'s key'
                )
            bound.send(received.peer, b"no")
            assert (await false.receive()).data == b"no"
            true = await a.connect(bound.address, service=Service.TARGET, name="phone-1")
            assert (await _heard(bound, true)).impostor == ""
            assert (await _heard(bound, false)).impostor != ""

    run(main)


def test_a_name_below_the_keys_is_its_owners(machines: Machines) -> None:
    """One key connects under its own name and several below it; a name that begins alike is another's."""
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            for name, fine in (("phone-1", True), ("phone-1/doctor", True), ("phone-10", False)):
                device = await here.connect(bound.address, service=Service.TARGET, name=name)
                received = await _heard(bound, device)
                assert (received.name, received.impostor == "") == (name, fine)
                assert received.key == ("phone-1" if fine else "")
                await device.close()

    run(main)


def test_a_channel_vouches_for_the_devices_behind_it(machines: Machines) -> None:
    """A channel's key connects to the BS under any device's name; whose key it is, each message tells."""
    (target,) = machines.acquainted()
    channel = machines.make("channel", Role.CHANNEL)
    machines.introduce(channel, target)
    machines.introduce(target, channel)

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(channel) as between:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            for name in ("phone-1", "phone-2"):
                upstream = await between.connect(bound.address, service=Service.TARGET, name=name)
                for _ in range(2):
                    received = await _heard(bound, upstream)
                    assert (received.name, received.impostor, received.key) == (name, "", "channel")

    run(main)


def test_a_device_finds_out_that_the_server_is_another(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A server with another key gets no message, the device says why, and mends it by another file."""
    monkeypatch.setattr(connecting, "GAVE_UP_S", (0.05, 0.1))
    _, phone = machines.acquainted("phone-1")
    impostor = machines.make("impostor", Role.TARGET)
    machines.introduce(phone, impostor)
    looked = _calls(monkeypatch, phone.keyring, "server_key")

    async def main() -> None:
        async with ZmqTransport(impostor) as there, ZmqTransport(phone) as here:
            bound = await there.bind(address, service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            device.send(b"", b"a secret")
            assert await _trouble(device) is TroubleKind.CLOSED
            trouble = device.trouble()
            assert trouble is not None and not trouble.final
            assert "the key allowed here for role target is not the one that the node" in trouble.text
            assert bound.statistics().received == 0
            (phone.keyring.folder / "allowed" / "target.key").unlink()
            await _grown(looked, len(looked) + 2)  # for a while no key at all is allowed
            assert await _trouble(device) is TroubleKind.REVOKED
            machines.introduce(impostor, phone)
            assert (await _heard(bound, device)).name == "phone-1"
            assert device.trouble() is None

    run(main)


def test_plain_and_keys_do_not_talk(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Where one end uses keys and the other does not, no message passes, and the device says which does."""
    monkeypatch.setattr(connecting, "GAVE_UP_S", (0.01, 0.02))
    target, phone = machines.acquainted("phone-1")

    async def main(server: ZmqTransport, client: ZmqTransport, text: str) -> None:
        async with server, client:
            bound = await server.bind(address, service=Service.TARGET)
            device = await client.connect(bound.address, service=Service.TARGET, name="phone-1")
            device.send(b"", b"hello")
            while (trouble := device.trouble()) is None or trouble.kind is not TroubleKind.MISMATCH:
                await asyncio.sleep(0.01)
                assert trouble is None or trouble.kind is TroubleKind.CLOSED  # it may come before, not final
            assert trouble.final and text in trouble.text
            assert bound.statistics().received == 0

    run(lambda: main(ZmqTransport(target), ZmqTransport(), "it uses keys, and we don't"))
    run(lambda: main(ZmqTransport(), ZmqTransport(phone), "it does not use keys, and we do"))


def test_plain_services_stay_plain(machines: Machines, tmp_path: Path) -> None:
    """For an exempt service a node with keys talks to one without; for others it does not, wherever."""
    (target,) = machines.acquainted()
    exempt = f"ipc://{tmp_path}/plain"

    async def main() -> None:
        async with ZmqTransport(target, plain=[Service.LINKS]) as there, ZmqTransport() as here:
            guarded = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            plain = await there.bind(exempt, service=Service.LINKS)
            device = await here.connect(exempt, service=Service.LINKS, name="anybody")
            assert (await _heard(plain, device)).name == "anybody"
            other = await there.connect(exempt, service=Service.LINKS, name="myself")
            assert (await _heard(plain, other)).name == "myself"
            await plain.close()
            same = await there.bind(exempt, service=Service.TARGET)
            device = await here.connect(exempt, service=Service.TARGET, name="anybody")
            device.send(b"", b"hello")
            assert await _trouble(device) in (TroubleKind.CLOSED, TroubleKind.MISMATCH)
            assert same.statistics().received == 0
            device = await here.connect(guarded.address, service=Service.TARGET, name="anybody")
            device.send(b"", b"hello")
            assert await _trouble(device) in (TroubleKind.CLOSED, TroubleKind.MISMATCH)

    run(main)


def test_a_server_needs_a_key_of_its_role(machines: Machines) -> None:
    """A key that no peer would accept at a service is an error before anything is bound."""
    _, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(phone) as here:
            with pytest.raises(
                ConfigurationError, match=r"role device, .* make one: draftwire keys new target"
            ):
                await here.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with pytest.raises(ConfigurationError, match="no key of role controller is allowed"):
                await here.connect("tcp://127.0.0.1:9", service=Service.CONTROLLER, name="phone-1")

    run(main)


def test_the_server_that_is_named_is_expected(machines: Machines) -> None:
    """With several servers' keys allowed, the one named in NodeKeys is the only one that is talked to."""
    first, phone = machines.acquainted("phone-1")
    second = machines.make("bs2", Role.TARGET)
    machines.introduce(second, phone)
    machines.introduce(phone, second)
    named = replace(phone, server_names={Role.TARGET: "bs2"})

    async def main() -> None:
        async with ZmqTransport(first) as one, ZmqTransport(second) as two, ZmqTransport(named) as here:
            bound = await two.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            assert (await _heard(bound, device)).name == "phone-1"
            other = await one.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(other.address, service=Service.TARGET, name="phone-1")
            assert await _trouble(device) is TroubleKind.CLOSED
        async with ZmqTransport(phone) as here:
            with pytest.raises(ConfigurationError, match="bs2, target; write which one to expect"):
                await here.connect(bound.address, service=Service.TARGET, name="phone-1")

    run(main)


async def _broken(bound: Endpoint, device: Endpoint) -> None:
    """The server ends; the device has noticed."""
    await bound.close()
    await _trouble(device)


def test_a_server_whose_key_was_taken_away_is_not_met_again(machines: Machines) -> None:
    """What stands goes on; once it breaks, nothing is sent to whoever has the old key, by this connection or
    a new one, and the key that is allowed in its place is met without a restart.
    """
    target, phone = machines.acquainted("phone-1")
    after = machines.make("target-2", Role.TARGET)
    machines.introduce(phone, after)

    async def main() -> None:
        async with ZmqTransport(phone) as here, ZmqTransport(after) as new, ZmqTransport(target) as old:
            bound = await old.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            address = bound.address
            device = await here.connect(address, service=Service.TARGET, name="phone-1")
            await _heard(bound, device)
            machines.part(target, phone)
            device.send(b"", b"still here")
            assert (await bound.receive()).data == b"still here"
            await _broken(bound, device)
            bound = await old.bind(address, service=Service.TARGET)
            again = await here.connect(address, service=Service.TARGET, name="phone-1/again")
            for one in (device, again):
                while (trouble := one.trouble()) is None or trouble.kind is not TroubleKind.REVOKED:
                    await asyncio.sleep(0.01)
                assert trouble.final and "its key is no longer allowed here" in trouble.text
                assert not one.send(b"", b"a secret")
            await bound.close()
            assert bound.statistics().received == 0
            bound = await new.bind(address, service=Service.TARGET)
            machines.introduce(after, phone)
            for one in (device, again):
                assert (await _heard(bound, one)).impostor == ""
                assert one.trouble() is None

    run(main)


def test_a_server_whose_key_was_replaced_is_met_with_the_new_one(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that takes the place of another while a connection stands is the one of the next connection, from
    the moment on that the first one breaks.
    """
    monkeypatch.setattr(connecting, "KEYS_LOOKED_AT_S", 3600.0)
    monkeypatch.setattr(connecting, "GAVE_UP_S", (3600.0, 3600.0))
    target, phone = machines.acquainted("phone-1")
    after = machines.make("target-2", Role.TARGET)
    machines.introduce(phone, after)

    async def main() -> None:
        async with ZmqTransport(phone) as here, ZmqTransport(after) as new, ZmqTransport(target) as old:
            bound = await old.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            await _heard(bound, device)
            machines.part(target, phone)
            machines.introduce(after, phone)
            await _broken(bound, device)
            bound = await new.bind(bound.address, service=Service.TARGET)
            assert (await _heard(bound, device)).name == "phone-1"
            assert device.trouble() is None

    run(main)


def test_a_key_taken_away_while_the_server_is_down_counts(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end that finds nobody looks at the key by itself, before anybody comes up there."""
    monkeypatch.setattr("draftwire.runtime.transport.zeromq.RECONNECT_MS", (3_600_000, 3_600_000))
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(phone) as here, ZmqTransport(target) as there:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            await _heard(bound, device)
            await _broken(bound, device)
            machines.part(target, phone)
            while (trouble := device.trouble()) is None or trouble.kind is not TroubleKind.REVOKED:
                await asyncio.sleep(0.01)

    run(main)


def test_a_key_that_is_away_for_a_moment_ends_nothing(machines: Machines, logs: list[EventDict]) -> None:
    """A file that is half copied is trouble and no error, also for a new connection, and over when it is
    whole; another key beside it changes nothing. Where none was ever known it is an error.
    """
    target, phone = machines.acquainted("phone-1")
    path = phone.keyring.folder / "allowed" / "target.key"
    whole = path.read_text()

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            path.write_text(whole[:30])
            with pytest.raises(ConfigurationError, match=r"target\.key: this is no key file"):
                await here.connect("tcp://127.0.0.1:9", service=Service.TARGET, name="phone-1")
            path.write_text(whole)
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
            await _heard(bound, device)
            path.write_text(whole[:30])
            second = await here.connect(bound.address, service=Service.TARGET, name="phone-1/2")
            assert await _trouble(second) is TroubleKind.REVOKED
            path.write_text(whole)
            assert (await _heard(bound, second)).name == "phone-1/2"
            machines.introduce(machines.make("bs-2", Role.TARGET), phone)
            (phone.keyring.folder / "allowed" / "broken.key").write_text("?")
            third = await here.connect(bound.address, service=Service.TARGET, name="phone-1/3")
            assert (await _heard(bound, third)).name == "phone-1/3"

    run(main)
    unusable = [Path(entry["problem"].partition(": ")[0]).name for entry in logs]
    assert unusable == ["target.key", "target.key", "broken.key"]
    assert {entry["event"] for entry in logs} == {"transport.key_unusable"}


def test_admission_goes_on_where_the_log_fails(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A refusal that can't be logged, and a key that can't be judged, are refused; others still get in."""
    target, phone = machines.acquainted("phone-1")
    stranger = machines.make("stranger")
    machines.introduce(target, stranger)
    failures = list[object]()
    known, admits = target.keyring.known, target.keyring.admits

    def fail_to_tell(public: str) -> PublicKey | None:
        if public == stranger.own.public.public:
            raise OSError(errno.EIO, "Input/output error")
        return known(public)

    def fail_to_judge(service: Service, public: str) -> PublicKey | None:
        if public == stranger.own.public.public:
            raise RuntimeError("no idea")
        return admits(service, public)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
        async with (
            ZmqTransport(target) as there,
            ZmqTransport(phone) as here,
            ZmqTransport(stranger) as other,
        ):
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            for method, failing in (("known", fail_to_tell), ("admits", fail_to_judge)):
                monkeypatch.setattr(target.keyring, method, failing)
                refused = await other.connect(bound.address, service=Service.TARGET, name="stranger")
                assert await _trouble(refused) is TroubleKind.DENIED
                device = await here.connect(bound.address, service=Service.TARGET, name=f"phone-1/{method}")
                assert (await _heard(bound, device)).name == f"phone-1/{method}"

    run(main)
    assert [type(one["exception"]) for one in failures] == [OSError, RuntimeError]  # type: ignore[index]


def test_names_are_judged_again_when_forgotten(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of connections is bounded, and forgetting one neither admits nor refuses it."""
    monkeypatch.setattr("draftwire.runtime.transport.admission.CONNECTIONS_KNOWN", 2)
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            connected = [
                await here.connect(bound.address, service=Service.TARGET, name=f"phone-1/{n}")
                for n in range(5)
            ]
            for _ in range(3):
                for number, device in enumerate(connected):
                    received = await _heard(bound, device)
                    assert (received.name, received.impostor) == (f"phone-1/{number}", "")
            assert len(bound._names.known) == 2  # type: ignore[attr-defined]

    run(main)


def test_a_key_that_is_gone_before_the_first_message(machines: Machines) -> None:
    """A connection whose key was taken away before it said anything is an impostor's, not a crash."""
    target, phone = machines.acquainted("phone-1")

    async def main() -> None:
        async with ZmqTransport(target) as there:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
                raw.set(zmq.LINGER, 0)
                raw.set(zmq.IDENTITY, routing_id("phone-1", b"12345678"))
                raw.set(zmq.CURVE_PUBLICKEY, phone.own.public.public.encode())
                raw.set(zmq.CURVE_SECRETKEY, phone.own.secret.encode())
                raw.set(zmq.CURVE_SERVERKEY, target.own.public.public.encode())
                with raw.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                    raw.connect(bound.address)
                    while not monitor.poll(0):
                        await asyncio.sleep(0.01)
                    raw.disable_monitor()
                (target.keyring.folder / "allowed" / "phone-1.key").unlink()
                raw.send(b"hello")
                received = await bound.receive()
                assert (received.name, received.impostor) == (
                    "phone-1",
                    "your key is no longer allowed here",
                )

    run(main)


def test_a_flood_of_strange_keys_is_refused_and_logged_in_bounds(
    machines: Machines, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keys are tried, the log is bounded, and an allowed key gets in beside them."""
    monkeypatch.setattr("draftwire.runtime.transport.admission.KEYS_TOLD", 3)
    target, phone = machines.acquainted("phone-1")
    asked = _calls(monkeypatch, target.keyring, "admits")

    async def main() -> None:
        async with ZmqTransport(target) as there, ZmqTransport(phone) as here:
            bound = await there.bind("tcp://127.0.0.1:*", service=Service.TARGET)
            with zmq.Context() as context:
                sockets = []
                for number in range(10):
                    socket = context.socket(zmq.DEALER)
                    socket.set(zmq.LINGER, 0)
                    socket.set(zmq.IDENTITY, routing_id("phone-1", b"%08d" % number))
                    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
                    socket.curve_serverkey = target.own.public.public.encode()
                    socket.connect(bound.address)
                    socket.send(b"let me in")
                    sockets.append(socket)
                device = await here.connect(bound.address, service=Service.TARGET, name="phone-1")
                assert (await _heard(bound, device)).name == "phone-1"
                await _grown(asked, 11)
                for socket in sockets:
                    socket.close()
            assert bound.statistics().received == device.statistics().sent

    run(main)
    assert len([entry for entry in logs if entry["event"] == "transport.key_refused"]) == 3
