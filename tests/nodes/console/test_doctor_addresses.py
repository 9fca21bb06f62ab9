"""What the doctor makes of addresses: who holds those that this machine binds, and which nodes it has."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from draftwire.nodes.console.doctor import reach
from draftwire.nodes.console.doctor.checks import Status
from draftwire.nodes.console.doctor.hops import Failure, Stage
from draftwire.nodes.console.doctor.ports import Holder, Port, judge_port, ports_of
from draftwire.nodes.console.doctor.reach import Binding, holder_of, is_here, try_to_bind
from draftwire.nodes.console.doctor.whereabouts import roles_by_address
from draftwire.runtime.config import parse_topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Role

SECURED = """
[target]
address = "tcp://10.0.0.7:5701"
"""


# Ports ------------------------------------------------------------------------------------------------------


def _port(text: str, role: Role) -> Port:
    return ports_of(parse_topology(text), [role])[0]


def test_ports_are_those_bound() -> None:
    """`bind` goes before `address`; a channel is asked at its control, which no message passes through."""
    text = (
        SECURED + "bind = 'tcp://*:5799'\n[channel]\naddress = 'tcp://10.0.0.8:5700'\nbind = 'tcp://*:5700'\n"
    )
    target = _port(text, Role.TARGET)
    assert (target.place, target.bind, target.ask) == (
        "[target] bind",
        "tcp://*:5799",
        "tcp://127.0.0.1:5799",
    )
    channel, control = ports_of(parse_topology(text), [Role.CHANNEL])
    assert (channel.bind, channel.ask) == ("tcp://*:5700", control.bind)
    assert not ports_of(parse_topology(text), [Role.DEVICE])
    observer = _port("[observer]\naddress = 'tcp://10.0.0.9:5704'\nbind = 'tcp://*:5704'", Role.OBSERVER)
    assert (observer.place, observer.ask) == ("[observer] bind", "tcp://127.0.0.1:5704")
    assert not ports_of(parse_topology(text), [Role.OBSERVER])


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that this process listens at, and that is none of ours."""
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        yield one.getsockname()[1]


def test_a_held_port(listening: int) -> None:
    """It is seen as held, by whom if that can be told, and what is to be done names the place."""
    port = _port(f"[target]\naddress = 'tcp://127.0.0.1:{listening}'\n", Role.TARGET)
    found = try_to_bind(port.bind)
    assert found.binding is Binding.HELD
    check = judge_port(port, found, process=holder_of(port.bind))
    assert check.status is Status.FAIL and "[target] address" in check.remedy
    assert sys.platform != "linux" or f"another program: process {os.getpid()} " in check.seen
    assert f"ss -ltnp 'sport = :{listening}'" in judge_port(port, found).remedy
    assert judge_port(port, found, holder=Holder.NODE).status is Status.OK
    why = f"{port.ask}: it does not use keys, and we do; mend one of the files"
    locked = judge_port(port, found, holder=Holder.LOCKED, why=why)
    assert locked.status is Status.FAIL and locked.seen.endswith(": it does not use keys, and we do")
    assert (
        locked.remedy.startswith("mend one of the files; ")
        and "or it is a node of `draftwire up`" in locked.remedy
    )


def test_a_free_port_stays_free(listening: int, tmp_path: Path) -> None:
    """The trial leaves nothing behind: it can be made again, and the address be bound afterwards."""
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        port = one.getsockname()[1]
    for address in (
        f"tcp://127.0.0.1:{port}",
        f"tcp://localhost:{port}",
        f"tcp://*:{port}",
        f"tcp://lo:{port}",
    ):
        assert try_to_bind(address).binding is Binding.FREE, address
    socket.create_server(("127.0.0.1", port)).close()
    assert try_to_bind(f"ipc://{tmp_path}/target").binding is Binding.FREE
    assert not list(tmp_path.iterdir())


def test_addresses_that_cannot_be_bound(tmp_path: Path) -> None:
    """An address of another machine, a name nobody knows and a folder that is not there each say so."""
    foreign = try_to_bind("tcp://192.0.2.1:5701")
    assert foreign.binding is Binding.IMPOSSIBLE and 'bind = "tcp://*:5701"' in foreign.remedy
    assert "nowhere.invalid" in try_to_bind("tcp://nowhere.invalid:5701").problem
    assert str(tmp_path / "no") in try_to_bind(f"ipc://{tmp_path}/no/target").problem


def test_addresses_of_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked up as what they are."""
    monkeypatch.setattr(reach, "GREETING_S", 0.2)  # nobody will greet
    if not socket.has_ipv6 or not is_here("tcp://[::1]:5701"):
        pytest.skip("this machine has no IPv6")
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as one:
        address = f"tcp://[::1]:{one.getsockname()[1]}"
        assert try_to_bind(address).binding is Binding.HELD
        found = asyncio.run(reach.connect_time(address))
    assert isinstance(found, Failure) and found.stage is Stage.STRANGER
    assert try_to_bind(address).binding is Binding.FREE
    assert try_to_bind("tcp://[2001:db8::1]:5701").binding is Binding.IMPOSSIBLE


def test_a_held_path(tmp_path: Path) -> None:
    """Somebody who listens at an ipc path holds it; a file that was left behind does not."""
    path = tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        assert try_to_bind(f"ipc://{path}").binding is Binding.FREE
        one.listen()
        assert try_to_bind(f"ipc://{path}").binding is Binding.HELD


def test_a_host_that_drops_what_is_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to a connection at all is told from a refusal: a firewall, not a node that does not run."""
    monkeypatch.setattr(reach, "CONNECT_S", 0.2)
    with ExitStack() as stack:
        full = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        for _ in range(3):  # nobody accepts them, so the next one is not answered
            one = stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        dropped = asyncio.run(reach.connect_time(address))
    assert isinstance(dropped, Failure) and dropped.stage is Stage.UNANSWERED
    refused = asyncio.run(reach.connect_time(address))
    assert isinstance(refused, Failure) and refused.stage is Stage.REFUSED
    unknown = asyncio.run(reach.connect_time("tcp://nowhere.invalid:5701"))
    assert isinstance(unknown, Failure) and unknown.stage is Stage.NAME and "nowhere.invalid" in unknown.text


# Machines ---------------------------------------------------------------------------------------------------

BS, ROUTER, CHANNEL = "tcp://192.0.2.20:5701", "tcp://198.51.100.7:5701", "tcp://192.0.2.30:5700"
PLAIN = "[security]\nplain = true\n"
TWO = f"{PLAIN}[target]\naddress = '{BS}'\n"
THREE = f"{TWO}[channel]\naddress = '{CHANNEL}'\n"
LOCAL_CHANNEL = f"{TWO}[channel]\naddress = 'tcp://127.0.0.1:5700'\n"
BEHIND_NAT = f"{PLAIN}[target]\naddress = '{ROUTER}'\nbind = 'tcp://192.168.1.20:5701'\n"
ANYWHERE = f"{PLAIN}[target]\naddress = '{ROUTER}'\nbind = 'tcp://*:5701'\n"


@pytest.mark.parametrize(
    ("text", "here", "roles"),
    [
        (TWO, BS, "target controller"),
        (TWO, "", "device"),
        (THREE, BS, "target controller"),
        (THREE, CHANNEL, "channel"),
        (THREE, "", "device"),
        (LOCAL_CHANNEL, "", "device channel"),
        (LOCAL_CHANNEL, BS, "target controller"),
        (f"{TWO}[controller]\naddress = 'tcp://192.0.2.40:5702'\n", BS, "target"),
        (BEHIND_NAT, "tcp://192.168.1.20:5701", "target controller"),
        (BEHIND_NAT, "", "device"),
        (ANYWHERE, ROUTER, "target controller"),
        ("", "", "device channel target controller"),
        (f"{TWO}[observer]\naddress = 'tcp://192.0.2.50:5704'\n", "tcp://192.0.2.50:5704", "observer"),
        (f"{TWO}[observer]\naddress = 'tcp://192.0.2.50:5704'\n", BS, "target controller"),
        ("[observer]\n[channel]", "", "device channel target controller observer"),
    ],
)
def test_whose_addresses_are_here(text: str, here: str, roles: str) -> None:
    """Without keys a node runs where its address is; what only its own host reaches, beside its client."""
    found = roles_by_address(parse_topology(text), lambda address: address == here)
    assert {role.value for role in found} == set(roles.split())


@pytest.mark.parametrize("found", [False, None])
def test_whose_addresses_do_not_tell(found: bool | None) -> None:
    """A host that nobody knows tells nothing, nor do all interfaces behind a router: it has to be said."""
    text = ANYWHERE if found is False else TWO
    with pytest.raises(ConfigurationError, match="without keys") as caught:
        roles_by_address(parse_topology(text), lambda address: found)
    assert caught.value.key == "--role" and "--role device" in caught.value.remedy


def test_what_is_here() -> None:
    """Loopback is, an address kept for documentation is not; of a name that nobody knows none can tell."""
    assert is_here("tcp://127.0.0.1:5701") is True
    assert is_here("tcp://192.0.2.1:5701") is False
    assert is_here("tcp://nowhere.invalid:5701") is None
