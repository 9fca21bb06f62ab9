"""From a topology to nodes: what each of them binds, and the sets of tables that it has."""

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.harness.tables import in_order

from draftwire.codecs.limits import MAX_TABLE_SETS
from draftwire.codecs.tables import by_tag, table_set_bytes
from draftwire.nodes.console.assemble import (
    build_channel,
    build_controller,
    build_device,
    build_devices,
    build_target,
)
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues, Policy
from draftwire.nodes.models.pacing import Compute, PacedCompute
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.models.tables import tables_folder
from draftwire.runtime.clock import run_virtual
from draftwire.runtime.config import parse_topology
from draftwire.runtime.security import Service
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport


def _bound(text: str) -> list[str]:
    """Where target, channel and controller will be bound."""
    topology = parse_topology("[pair]\ndraft = 'synthetic:'\ntarget = 'synthetic:'\n" + text)
    transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
    return [
        build_target(topology, transport=transport, logger=logger, progress=lambda text: None).address,
        build_channel(topology, transport=transport, logger=logger).address,
        build_controller(topology, transport=transport, logger=logger).address,
    ]


def test_nodes_bind_loopback_by_default() -> None:
    """Without a word in the file nothing can be reached from another machine."""
    assert _bound("") == [f"tcp://127.0.0.1:{port}" for port in (5701, 5700, 5702)]


def test_nodes_bind_what_the_file_says() -> None:
    """`bind` where it is written, `address` where not."""
    text = """
        [target]
        address = "tcp://bs.example.org:5701"
        bind = "tcp://*:1"
        [channel]
        address = "tcp://channel.example.org:5700"
        bind = "tcp://eth0:2"
        [controller]
        address = "tcp://10.0.0.4:5702"
        """
    assert _bound(text) == ["tcp://*:1", "tcp://eth0:2", "tcp://10.0.0.4:5702"]


def test_devices_share_a_model_and_wait_apart() -> None:
    """Of 16 paced devices the steps overlap: only the real work is done by one thread, in turn."""
    topology = parse_topology(
        "[pair]\ndraft = 'synthetic:V=64'\ntarget = 'synthetic:V=64'\n[compute]\nprofile = 'paper'\n"
        "[device]\nname = 'cell'\ncount = 16\n"
    )
    loaded = list[str]()
    transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
    built, tokenizer = build_devices(topology, transport=transport, logger=logger, progress=loaded.append)
    threads, under_way = set[int](), list[int]()

    async def steps() -> None:
        begun = 0

        async def step(compute: Compute) -> None:
            nonlocal begun
            begun += 1
            await compute.run("draft", 16, lambda: threads.add(threading.get_ident()))
            under_way.append(begun)
            begun -= 1

        await asyncio.gather(*(step(compute) for _, compute in built))

    asyncio.run(steps())
    for _, compute in built:
        compute.close()
    assert [node.name for node, _ in built] == [f"cell/{number:02}" for number in range(1, 17)]
    assert len({id(node._model) for node, _ in built}) == 1 and tokenizer.vocab_size == 64
    assert len(threads) == 1 and under_way[0] == 16
    assert all(isinstance(compute, PacedCompute) for _, compute in built)


def test_a_channel_has_room_for_all_devices_of_its_file() -> None:
    """All of them share a key; each keeps its connection, also when each has made a new one."""
    topology = parse_topology("[device]\nname = 'cell'\ncount = 16\n[channel]\nmax_devices = 1\n")
    assert topology.channel is not None
    address = topology.channel.address

    async def main() -> None:
        transport, started = MemoryTransport(MemoryNetwork()), asyncio.Event()
        target = await transport.bind(topology.target.address, service=Service.TARGET)
        node = build_channel(topology, transport=transport, logger=get_logger("test"))
        running = asyncio.create_task(node.run(started.set))
        await started.wait()
        for name in topology.device.names * 2:
            end = await transport.connect(address, service=Service.CHANNEL, name=name)
            end.send(b"", b"hello")
            assert (await target.receive()).name == name
        counts = node.statistics()
        assert (counts.devices, counts.connections, counts.refused) == (16, 32, {})
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(main())


def test_both_ends_get_the_sets_that_are_found_for_their_vocabulary() -> None:
    """The device offers them in the order found; a damaged file costs a line in the log, and nothing else."""
    fingerprint = SyntheticTokenizer(64).fingerprint
    sets = [replace(in_order(64), fingerprint=fingerprint, label=label) for label in "ab"]
    files = {"a": table_set_bytes(sets[0]), "b": table_set_bytes(sets[1]), "c": b"no set"}
    tables_folder().mkdir(parents=True, exist_ok=True)
    paths = [tables_folder() / f"{name}.tables" for name in files]
    try:
        for age_s, (path, data) in enumerate(zip(paths, files.values(), strict=True)):
            path.write_bytes(data)
            os.utime(path, (1e9 - age_s, 1e9 - age_s))
        topology = parse_topology("[pair]\ndraft = 'synthetic:V=64'\ntarget = 'synthetic:V=64'\n")
        transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
        with capture_logs() as logs:
            target = build_target(topology, transport=transport, logger=logger, progress=lambda text: None)
            device, _, compute = build_device(
                topology, transport=transport, logger=logger, progress=lambda text: None
            )
    finally:
        for path in paths:
            path.unlink()
    compute.close()
    assert [(one["event"], one["path"]) for one in logs] == [
        (f"{node}.tables_skipped", str(paths[2])) for node in ("target", "device")
    ]
    assert target.tables == device.tables == by_tag(sets)
    assert device.hello.tables == tuple(one.hash for one in sets)


def test_a_base_station_knows_more_sets_than_a_device_offers() -> None:
    """So that what a device offers is among them."""
    fingerprint = SyntheticTokenizer(64).fingerprint
    one, labels = in_order(64), map(str, range(MAX_TABLE_SETS + 1))
    sets = [replace(one, fingerprint=fingerprint, label=label) for label in labels]
    tables_folder().mkdir(parents=True, exist_ok=True)
    paths = [tables_folder() / f"{i}.tables" for i in range(len(sets))]
    try:
        for path, one in zip(paths, sets, strict=True):
            path.write_bytes(table_set_bytes(one))
        topology = parse_topology("[pair]\ndraft = 'synthetic:V=64'\ntarget = 'synthetic:V=64'\n")
        transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
        target = build_target(topology, transport=transport, logger=logger, progress=lambda text: None)
        device, _, compute = build_device(
            topology, transport=transport, logger=logger, progress=lambda text: None
        )
    finally:
        for path in paths:
            path.unlink()
    compute.close()
    assert target.tables == by_tag(sets)
    assert len(device.hello.tables) == MAX_TABLE_SETS


def test_the_controller_gets_the_sets_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any vocabulary, as it learns later which one it is; none where rows are to be plain."""
    sets = [in_order(64), in_order(100)]
    for i, one in enumerate(sets):
        (tmp_path / f"{i}.tables").write_bytes(table_set_bytes(one))
    policy = AdaptivePolicy()
    monkeypatch.setattr("draftwire.nodes.controller.choice.make_policy", lambda name: policy)
    transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
    names = [str(tmp_path / f"{i}.tables") for i in range(2)]
    for named, expected in ((names, by_tag(sets)), ([], {})):
        topology = parse_topology(f"[pair]\ndraft = 'synthetic:'\ntarget = 'synthetic:'\ntables = {named}\n")
        build_controller(topology, transport=transport, logger=logger)
        assert policy.table_sets == expected


def _controller_of(named: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a controller with this policy says at its start where `named` is in [pair] tables."""
    monkeypatch.setattr("draftwire.nodes.controller.choice.make_policy", lambda name: policy)
    text = f"[pair]\ndraft = 'synthetic:'\ntarget = 'synthetic:'\ntables = ['{named}']\n"
    transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
    with capture_logs() as logs:
        build_controller(parse_topology(text), transport=transport, logger=logger)
    return [(one["event"], one["path"]) for one in logs]


def test_a_controller_starts_without_the_sets_that_its_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line in the log; the policy plans with what there is."""
    policy, missing = AdaptivePolicy(), tmp_path / "missing"
    told = _controller_of(missing, policy, monkeypatch)
    assert told == [("controller.tables_skipped", str(missing))]
    assert policy.table_sets == {}


def test_a_policy_that_has_no_use_for_tables_looks_at_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at whether there is one."""
    fixed = FixedPolicy(PlanValues(k=8, gamma=2, min_draft=2))
    assert _controller_of(tmp_path / "missing", fixed, monkeypatch) == []
