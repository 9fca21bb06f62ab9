"""Whoever means harm gets nothing, and what a device is answered is what it would have been answered alone.

Real sockets over loopback, with keys: the base station and its honest device run here, the enemy in a thread.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import zmq
from tests.harness.processes import finished

from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.messages import (
    Acceptance,
    Commit,
    Incarnation,
    Opened,
    Origin,
    Plan,
    Reason,
    Sampling,
)
from draftwire.codecs.messages import StepTimes as Times
from draftwire.codecs.probes import Echo
from draftwire.nodes.console.assemble import build_device
from draftwire.nodes.console.bench.beside import beside
from draftwire.nodes.console.bench.enemies import Found, Met, result
from draftwire.nodes.console.bench.enemies import _show as show
from draftwire.nodes.console.bench.enemies_attack import ENEMIES
from draftwire.nodes.console.bench.enemies_capture import Copying
from draftwire.nodes.console.bench.enemies_line import Aim, Goes, Line, Spoils, opened_by, until
from draftwire.nodes.console.bench.enemies_play import GUEST, EnemiesBenchError, Prowling, _line_of
from draftwire.nodes.console.bench.enemies_station import Look, station_of
from draftwire.nodes.console.bench.enemies_strangers import bloated, samples
from draftwire.nodes.console.chaos.real_nodes import free_addresses
from draftwire.nodes.console.keys import node_transport
from draftwire.nodes.console.starting import run_beside
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import StepTimes
from draftwire.nodes.target.node import TargetNode
from draftwire.runtime.config import PairSettings, SecuritySettings, Topology, to_toml
from draftwire.runtime.security import Keyring, Role
from draftwire.runtime.session.request import Request
from draftwire.runtime.settings import ModelSettings
from draftwire.runtime.telemetry import get_logger

BOUND_S: Final = 30.0
ATTACKS_S: Final = 0.4
PAIR: Final = "synthetic:V=64,seed=1,noise=0.5"
FAST: Final = StepTimes(draft_position_s=0.0, target_s=2e-3)
WANTED: Final = Request(
    prompt=(1, 2, 3),
    sampling=Sampling(temperature=1.0),
    seed=7,
    max_new_tokens=24,
    acceptance=Acceptance.COUPLED,
)
"""Its text is a function of target, prompt and seed."""

STRANGERS: Final = ("unauthenticated", "wrong_key")
CHEAP: Final = ("stolen_identity", "replayed", "flood", "garbage", "huge_counts", "oversize", "never_pass")
OTHERS: Final = tuple(name for name in ENEMIES if name not in (*STRANGERS, *CHEAP))


UNHEARD: Final = ("slow_loris", "slow_reader")
"""They read no message, so what they got is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A base station, and one honest device that it serves."""

    station: TargetNode
    device: DeviceNode
    copying: Copying
    "what the device has sent"
    aim: Aim

    async def text(self) -> list[int]:
        """What the device is answered."""
        return [taken.token async for taken in self.device.answer(WANTED)]

    async def attacked_by(self, name: str, *, seconds: float = ATTACKS_S) -> tuple[Spoils, list[int]]:
        """What an enemy comes to, and what the device is answered meanwhile."""
        attack = await asyncio.to_thread(ENEMIES[name].prepare, self.aim)
        spoils = Spoils()
        attacking = asyncio.create_task(asyncio.to_thread(attack, spoils, until(seconds)))
        text = await self.text()
        await attacking
        return spoils, text

    def refused(self) -> int:
        """Messages of any kind that the base station has not taken."""
        statistics = self.station.statistics()
        assert statistics is not None
        return sum(self.station.refused.values()) + sum(statistics.dropped.values())


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """With keys for all: the device, one whose frames are captured, and the enemy, a device like them."""
    async with AsyncExitStack() as stack:
        keyring = Keyring(folder / "keys")
        for role in (Role.TARGET, Role.CONTROLLER):
            keyring.new(role, role=role)
        for name in ("phone-1", "captured", "mallory"):
            keyring.new(name, role=Role.DEVICE)
        model = ModelSettings(model=PAIR)
        topology = Topology.default()
        topology = replace(
            topology,
            pair=PairSettings(draft=model, target=model, tables=()),
            target=replace(topology.target, address=free_addresses(1)[0]),
            controller=replace(topology.controller, address=f"ipc://{folder}/nobody", k=8, gamma=2),
            device=replace(topology.device, name="phone-1"),
            channel=None,
            security=SecuritySettings(folder=str(keyring.folder)),
        )
        transport = await stack.enter_async_context(node_transport(topology, Role.TARGET))
        station, bound = station_of(topology, transport=transport, times=FAST), asyncio.Event()
        running = asyncio.create_task(station.run(bound.set))
        stack.push_async_callback(_end, running)
        await asyncio.wait_for(bound.wait(), BOUND_S)
        config = folder / "topology.toml"
        config.write_text(to_toml(topology), encoding="utf-8")
        copying = Copying(node_transport(topology, Role.DEVICE))
        stack.push_async_callback(copying.close)
        device, _, compute = build_device(
            topology, transport=copying, logger=get_logger("device"), progress=lambda text: None
        )
        stack.callback(compute.close)
        await run_beside(device, stack)
        aim = Aim(
            address=station.address,
            keys=str(keyring.folder),
            name="mallory",
            victim="phone-1",
            own_victim="captured",
            config=str(config),
            model=PAIR,
        )
        yield Scene(station=station, device=device, copying=copying, aim=aim)
        assert not running.done(), "the base station goes on"


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _played(folder: Path, play: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(BOUND_S), scene(folder) as one:
            await play(one)

    asyncio.run(main())


@pytest.mark.parametrize("name", STRANGERS)
def test_who_has_no_key_that_is_allowed_is_not_even_heard(tmp_path: Path, name: str) -> None:
    """Nothing of a stranger comes to the node, nothing goes back, and the device's text is its own."""

    async def play(one: Scene) -> None:
        before = await one.text()
        spoils, text = await one.attacked_by(name)
        assert text == before
        assert spoils.sent > 0 and spoils.replies == {}
        statistics = one.station.statistics()
        assert statistics is not None
        assert statistics.received + sum(statistics.dropped.values()) <= len(one.copying.frames)

    _played(tmp_path, play)


def _never_steals(folder: Path, name: str) -> None:
    async def play(one: Scene) -> None:
        before = await one.text()
        spoils, text = await one.attacked_by(name)
        assert text == before
        assert spoils.sent > 0
        if name not in UNHEARD:
            assert spoils.stolen == 0, spoils

    _played(folder, play)


INCARNATION: Final = Incarnation(boot=1, counter=1)
PLAN: Final = Plan(number=1, k=1, gamma=2, min_draft=1)
OPENED: Final = Opened(
    device_try=1, incarnation=INCARNATION, known=3, log_hash=bytes(8), pending=None, plan=PLAN
)
COMMIT: Final = Commit(
    incarnation=INCARNATION,
    position=3,
    log_hash=bytes(8),
    ids=(1, 2),
    origins=(Origin.ACCEPTED, Origin.BONUS),
    tested_epoch=1,
    accepted=1,
    seen=1,
    plan=PLAN,
    times=Times(hold_s=0.0, step_s=0.0, wait_s=0.0),
)


@pytest.mark.parametrize("pad_to", [0, 256])
def test_what_comes_of_a_session_that_a_line_never_opened_is_stolen(tmp_path: Path, pad_to: int) -> None:
    """Tokens and sessions that an enemy under its own name has not asked for count as stolen."""
    address = f"ipc://{tmp_path}/station"
    aim = Aim(
        address=address, keys=str(tmp_path), name="mallory", victim="", own_victim="", config="", model=PAIR
    )
    spoils = Spoils()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as station:
        station.set(zmq.LINGER, 0)
        station.bind(address)
        with Line(context, aim, spoils, key=None, name=aim.name) as line:
            line.send(encode_frame(opened_by(tokens=(1, 2, 3)), session=5, sequence=0, pad_to=pad_to))
            assert station.poll(round(1e3 * BOUND_S))
            peer, _ = station.recv_multipart()

            def hears(message: Commit | Opened | Echo, session: int) -> tuple[int, int]:
                station.send_multipart([peer, encode_frame(message, session=session, sequence=0)])
                assert len(list(line.heard(wait_s=BOUND_S))) == 1
                return spoils.tokens, spoils.stolen

            assert hears(OPENED, 5) == (0, 0)
            assert hears(COMMIT, 5) == (2, 0)
            assert hears(COMMIT, 6) == (2, 2)
            assert hears(OPENED, 7) == (2, 3)
            assert hears(Echo(stamp=1, clock_s=0.0), 0) == (2, 3), "anybody may ask for it"


@pytest.mark.parametrize("name", CHEAP)
def test_an_enemy_with_a_key_gets_nothing_of_others(tmp_path: Path, name: str) -> None:
    """No token and no session of another's, and the device's text is as it was without the enemy."""
    _never_steals(tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_an_enemy_that_takes_longer_gets_nothing_either(tmp_path: Path, name: str) -> None:
    """The same of those that need hundreds of connections, or long requests."""
    _never_steals(tmp_path, name)


def test_a_thief_hears_only_that_it_is_no_other(tmp_path: Path) -> None:
    """Under another's name every message but a few that are too many is answered by one word, or by none."""

    async def play(one: Scene) -> None:
        spoils, _ = await one.attacked_by("stolen_identity")
        assert set(spoils.replies) <= {f"Refused.{Reason.IDENTITY.name}"}
        assert one.refused() > 0
        assert one.station.sessions == 1, "the device's own"

    _played(tmp_path, play)


def test_frames_repeated_while_their_request_runs_change_nothing(tmp_path: Path) -> None:
    """Each frame of the device comes again at once by another key, under its name and under another."""

    async def play(one: Scene) -> None:
        before = await one.text()
        spoils, ended = Spoils(), threading.Event()
        echoing = asyncio.create_task(
            asyncio.to_thread(_echo, one.aim, one.copying.frames, spoils, lambda: not ended.is_set())
        )
        texts = [await one.text() for _ in range(3)]
        ended.set()
        await echoing
        assert texts == [before] * 3
        assert spoils.sent > 0 and spoils.stolen == 0, spoils

    _played(tmp_path, play)


def _echo(aim: Aim, frames: list[bytes], spoils: Spoils, goes: Goes) -> None:
    key, sent = aim.key(aim.name), 0
    with (
        zmq.Context() as context,
        Line(context, aim, spoils, key=key, name=aim.victim, stranger=True) as thief,
        Line(context, aim, spoils, key=key, name=aim.name) as other,
    ):
        while goes():
            for frame in frames[sent:]:
                thief.send(frame)
                other.send(frame)
            sent = len(frames)
            thief.read()
            other.read()
            thief.rest()


def test_bent_frames_reach_the_decoders_behind_the_crc(tmp_path: Path) -> None:
    """A frame with a field that is too large is refused for that field, or means another; its CRC fits."""
    aim = Aim(address="", keys=str(tmp_path), name="", victim="", own_victim="", config="", model=PAIR)
    reasons = set[Refusal]()
    for message in samples(aim):
        bent = list(bloated(encode_frame(message, session=1, sequence=1)))
        assert bent, f"{type(message).__name__} has fields"
        for frame in bent:
            try:
                decode_frame(frame)
            except WireError as error:
                reasons.add(error.reason)
    assert Refusal.CHECKSUM not in reasons
    assert {Refusal.LIMIT, Refusal.RANGE, Refusal.TRUNCATED} <= reasons


LOOK: Final = Look(at_s=0.0, loop_cpu_s=0.0, rss_bytes=0, files=0, tasks=0, refused={}, dropped={})
HAD: Final = {"phone-1": 10.0, "phone-2": 10.0}
SPOILS: Final = {"sent": 3, "tokens": 2, "stolen": 0, "replies": {"Echo": 1}}


def _met(without: Mapping[str, float] = HAD, left: float = 0.5, spoils: Mapping[str, Any] = SPOILS) -> Met:
    beside = {name: left * had for name, had in without.items()}
    return Met(
        without=without, first=beside, beside=beside, refused=0, loop_share=0.1, rss_bytes=0, spoils=spoils
    )


def _result(**met: list[Met]) -> dict[str, Any]:
    every = {GUEST: [_met(spoils={})], **met}
    return result(Found(met=every, first=LOOK, last=LOOK, failed=[]), quick=False)


def _missed(found: Mapping[str, Any]) -> set[str]:
    return {name for name, goal in found["goals"].items() if goal["met"] is False}


def test_devices_that_got_nothing_before_an_enemy_came_miss_a_goal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the enemy before left of them tells no loss: none is made up, and the table says so."""
    nothing = dict.fromkeys(HAD, 0.0)
    found = _result(flood=[_met(nothing), _met(left=0.9)], churn=[_met(nothing)])
    assert found["starved"] == 2 and _missed(found) == {"starved"}
    assert found["by_enemy"]["flood"]["loss_pct"] == pytest.approx(10.0)
    assert found["by_enemy"]["churn"]["loss_pct"] is None and found["by_enemy"]["churn"]["starved"] == 1
    show(found)
    assert "starved 2" in capsys.readouterr().out
    alone = _result(churn=[_met(nothing)])
    assert alone["others_loss_pct"] is None and "starved" in _missed(alone)


def test_an_enemy_that_had_to_be_killed_is_not_taken_for_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """What it got is not known, which misses a goal; what the others got is counted."""
    found = _result(flood=[_met(left=1.0), _met(left=1.0, spoils={})], churn=[_met(left=1.0)])
    assert found["killed"] == 1 and _missed(found) == {"killed"}
    assert found["by_enemy"]["flood"]["stolen"] is None and found["by_enemy"]["churn"]["stolen"] == 0
    show(found)
    assert "killed" in capsys.readouterr().out
    thief = _result(flood=[_met(left=1.0, spoils={**SPOILS, "stolen": 4}), _met(left=1.0, spoils={})])
    assert thief["stolen"] == 4 and _missed(thief) == {"stolen", "killed"}


def test_a_process_that_ends_by_itself_is_told_with_its_last_lines(tmp_path: Path) -> None:
    """Neither an enemy that crashes nor a node that does is one that got nothing, or one that is slow."""
    log = tmp_path / "log"
    log.write_text("one\nTraceback\n  here\nValueError: 3\n")

    async def main() -> None:
        async with beside("this", log=None) as process:  # prints a poem, reads nothing
            assert process.stdout is not None
            await process.stdout.read()
            with pytest.raises(
                EnemiesBenchError, match="flood has ended: Traceback /   here / ValueError: 3"
            ):
                await Prowling(process, "flood", log).end()
            with pytest.raises(EnemiesBenchError, match="the controller has ended: Traceback"):
                await _line_of(process, "the controller", log)

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_benchmark(tmp_path: Path) -> None:
    """It meets every enemy, no honest request fails, nothing is stolen, and the last line is its JSON."""
    ran = finished("bench", "enemies", "--quick", "--json", temporary=tmp_path, within_s=300)
    assert ran.returncode == 0, ran.stderr
    found = orjson.loads(ran.stdout.splitlines()[-1])
    assert set(found["by_enemy"]) == set(ENEMIES)
    assert found["failed"] == 0, found["why_failed"]
    assert found["stolen"] == found["killed"] == 0, found["by_enemy"]
    assert all(one["sent"] > 0 for one in found["by_enemy"].values())
    assert found["others_loss_pct"] == max(one["loss_pct"] for one in found["by_enemy"].values())
