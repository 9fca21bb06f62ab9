"""An observer as commands have it: its node, and the routes by which what it keeps is seen."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryDirectory

import httpx
from starlette.applications import Starlette
from starlette.routing import Route
from tests.harness.sockets import run

from draftwire.codecs.control import Event
from draftwire.codecs.frame import encode_frame
from draftwire.nodes.console.observing import observing
from draftwire.runtime.config import ObserverSettings, Topology
from draftwire.runtime.security import Service
from draftwire.runtime.transport import ZmqTransport


async def _metrics(routes: Sequence[Route]) -> str:
    transport = httpx.ASGITransport(app=Starlette(routes=list(routes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return (await client.get("/metrics")).text


def test_messages_that_are_refused_show_in_the_metrics() -> None:
    """By their cause, each one; what was heard counts as events."""
    here = Event(node="here", at_s=0.0, fields={"event": "alive", "role": "target"})
    frames = [
        b"nothing",
        b"nothing of ours",
        encode_frame(Event(node="there", at_s=0.0, fields=here.fields), session=0, sequence=0),
        encode_frame(Event(node="here", at_s=0.0, fields={"event": "weather"}), session=0, sequence=0),
        encode_frame(here, session=0, sequence=0),
    ]
    told = ""

    async def main() -> None:
        nonlocal told
        settings = ObserverSettings(address=f"ipc://{stack.enter_context(TemporaryDirectory())}/observer")
        topology = replace(Topology.default(), observer=settings)
        async with observing(topology) as observer, ZmqTransport() as transport:
            end = await transport.connect(observer.node.address, service=Service.OBSERVER, name="here")
            for frame in frames:
                end.send(b"", frame)
            while 'draftwire_events_total{node="here"} 1.0' not in told:
                told = await _metrics(observer.routes)
                await asyncio.sleep(0.02)

    with ExitStack() as stack:
        run(main)
    counts = dict(line.rsplit(" ", 1) for line in told.splitlines() if "refused_messages_total{" in line)
    assert counts.pop('draftwire_refused_messages_total{reason="impostor"}') == "1.0"
    assert counts.pop('draftwire_refused_messages_total{reason="unknown"}') == "1.0"
    assert sum(map(float, counts.values())) == 2.0, counts
