"""Nodes that are started here, in the shape of small shells: what becomes of a command when one ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from draftwire.nodes.console.launch import ChildFailedError, Launched, launched
from draftwire.runtime.config import ObserverSettings, Topology

WORKS = "echo ready; exec cat"
NO_PORT = "echo 'draftwire: http://127.0.0.1:8700: taken' >&2; exit 3"


@asynccontextmanager
async def _nodes(said: list[str], **shells: str) -> AsyncIterator[Launched]:
    """Nodes that work, but for those that do something else."""

    def command(role: str, config: Path) -> Sequence[str]:
        return ("sh", "-c", shells.get(role, WORKS))

    topology = Topology(observer=ObserverSettings())
    async with asyncio.timeout(30.0):
        async with launched(topology, progress=said.append, command=command, observer=True) as nodes:
            yield nodes


async def _said(said: list[str], text: str) -> None:
    while not any(text in line for line in said):
        await asyncio.sleep(0.01)


def test_nodes_go_on_without_an_observer_that_does_not_start() -> None:
    """As where its page's port is taken: one line says why, and the others are ready."""
    said = list[str]()

    async def body() -> None:
        async with _nodes(said, observer=NO_PORT) as nodes:
            await nodes.ready()
            await _said(said, "note: ")

    asyncio.run(body())
    (note,) = [line for line in said if "observer" in line]
    assert note == (
        "note: the observer ended: http://127.0.0.1:8700: taken; all else goes on without it"
    ) and {"target is ready", "controller is ready"} <= {*said}


def test_the_end_of_an_observer_is_told() -> None:
    """Whenever it comes by itself; not when it is stopped with the others, and nobody ends with it."""
    said = list[str]()

    async def body() -> None:
        async with _nodes(said) as nodes:
            await nodes.ready()
            losing = asyncio.create_task(nodes.lost())
            observer = nodes.children[0]
            assert observer.role == "observer" and said[0] == "observer is ready"
            observer.process.kill()
            await _said(said, "note: the observer ended: signal 9 ended it; all else goes on without it")
            assert not losing.done()
            losing.cancel()
        said.clear()
        async with _nodes(said) as nodes:
            await nodes.ready()
        assert not [line for line in said if "note" in line]

    asyncio.run(body())


def test_a_node_that_answers_need_ends_the_command() -> None:
    """With what it said last."""

    async def body() -> None:
        async with _nodes([], target=NO_PORT) as nodes:
            with pytest.raises(ChildFailedError, match=r"the target did not start: http://127.0.0.1:8700"):
                await nodes.ready()

    asyncio.run(body())
