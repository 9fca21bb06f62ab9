"""What is waited for beside the nodes that were started here."""

import asyncio
from typing import cast

import pytest

from draftwire.nodes.console.launch import ChildFailedError, Launched
from draftwire.nodes.console.starting import unless_lost


class _Nodes:
    """Nodes of which one ends when it is told to."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def lost(self) -> ChildFailedError:
        await self.end.wait()
        return ChildFailedError("target", "", -9, what="ended")


def test_work_ends_with_the_nodes_that_it_needs() -> None:
    """It is cancelled, and cleans up, as soon as one has ended, whatever it waits for."""
    done = list[str]()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cleaned up")

    async def main() -> None:
        nodes = _Nodes()
        working = asyncio.create_task(unless_lost(cast(Launched, nodes), forever()))
        await asyncio.sleep(0)
        nodes.end.set()
        with pytest.raises(ChildFailedError, match="the target ended: signal 9"):
            await working
        assert done == ["cleaned up"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_work_that_ends_by_itself_leaves_nothing_behind() -> None:
    """Its error is its own; nobody waits for the nodes any more, nor where it is cancelled from outside."""

    async def fine() -> None:
        await asyncio.sleep(0)

    async def fails() -> None:
        raise ValueError("no")

    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        nodes = cast(Launched, _Nodes())
        await unless_lost(nodes, fine())
        with pytest.raises(ValueError, match="no"):
            await unless_lost(nodes, fails())
        working = asyncio.create_task(unless_lost(nodes, forever()))
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
