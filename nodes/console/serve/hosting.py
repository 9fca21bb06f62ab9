"""The nodes behind a server, the server before them, and what it says of itself."""

import asyncio
import shlex
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from starlette.routing import BaseRoute

from draftwire.nodes.console.api import ConnectedDevice, connect
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.launch import Launched, launched, on_this_host
from draftwire.nodes.console.observing import observing
from draftwire.nodes.console.serve.app import END_WITHIN_S, Api, Offer, application, has_template
from draftwire.nodes.console.serve.note import Told
from draftwire.nodes.console.starting import unless_lost
from draftwire.runtime.config import ObserverSettings, Topology
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.web.guard import Guard, hosts_of
from draftwire.runtime.web.keys import KEY_VARIABLE
from draftwire.runtime.web.server import bound, served

QUESTION: Final = "Why is the sky blue?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """All nodes of a system, started for this process."""

    device: ConnectedDevice
    nodes: Launched
    page: Sequence[BaseRoute]
    "the observer's routes"


@asynccontextmanager
async def nodes_here(topology: Topology) -> AsyncIterator[Here]:
    """All nodes on this host while the block runs, their observer in this process."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-"))
        system = on_this_host(replace(topology, observer=ObserverSettings()), Path(folder))
        observer = await stack.enter_async_context(observing(system, asks=system.pair.target.model))
        nodes = await stack.enter_async_context(launched(system, progress=say))
        await nodes.ready()
        device = await stack.enter_async_context(connect(system, launch=False, progress=say))
        await stack.enter_async_context(device.dependent_on(nodes))
        yield Here(device=device, nodes=nodes, page=observer.routes)


async def all_here(topology: Topology, *, key: str | None) -> None:
    """The API over all nodes of this host, until cancelled.

    Raises ChildFailedError as soon as one has ended that answers need.
    """
    with await _place(topology) as listener:
        async with nodes_here(topology) as here:
            served_here = _until_told(topology, here.device, listener, key=key, page=here.page)
            await unless_lost(here.nodes, served_here)


async def device_alone(topology: Topology, *, key: str | None) -> None:
    """The API over the device of a file, until cancelled."""
    with await _place(topology) as listener:
        async with connect(topology, launch=False, progress=say) as device:
            await _until_told(topology, device, listener, key=key)


async def _place(topology: Topology) -> socket.socket:
    """Where [serve] says; taken before models are loaded, for which nobody waits to hear that it is taken."""
    return await bound(topology.serve.host, topology.serve.port)


async def _until_told(
    topology: Topology,
    device: ConnectedDevice,
    listener: socket.socket,
    *,
    key: str | None,
    page: Sequence[BaseRoute] = (),
) -> None:
    async with api_served(topology, device, key=key, page=page, listener=listener) as url:
        chat = has_template(device.tokenizer)
        print(_greeting(url, topology, key=key, chat=chat, page=bool(page)), flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def api_served(
    topology: Topology,
    device: ConnectedDevice,
    *,
    key: str | None,
    page: Sequence[BaseRoute] = (),
    listener: socket.socket | None = None,
) -> AsyncIterator[str]:
    """The API of this device, and the page's routes, while the block runs; gives the URL.

    `listener`: the place of [serve], where it has been taken before. Answers under way at the end have
    END_WITHIN_S, or until Ctrl-C is told meanwhile. Raises AddressError where [serve] can't be had.
    """
    offer = Offer(
        pair=topology.pair,
        defaults=topology.sampling,
        max_requests=topology.serve.max_requests,
        wall_s=time.time,
    )
    api, logger, settings = Api(device, offer), get_logger("serve"), topology.serve
    app = application([*api.routes(), *page])
    guarded = Told(Guard(app, hosts=hosts_of(settings.host, key=key), key=key), logger=logger)
    with ExitStack() as stack:
        async with served(
            guarded, host=settings.host, port=settings.port, logger=logger, listener=listener
        ) as url:
            logger.info("serve.ready", url=url, model=offer.model, key=key is not None)
            try:
                yield url
            finally:
                stack.enter_context(_told_again(api.hurry))
                if api.busy:
                    say(f"answers under way have {END_WITHIN_S:g} s; Ctrl-C again ends them")
                await api.end(within_s=END_WITHIN_S)


@contextmanager
def _told_again(hurry: Callable[[], None]) -> Iterator[None]:
    """While the block runs Ctrl-C calls this: as a rule the second one, which would break off the end."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, hurry)
    except (ValueError, RuntimeError, NotImplementedError):  # no main thread, or no signals in this loop
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


def _greeting(url: str, topology: Topology, *, key: str | None, chat: bool, page: bool) -> str:
    """Where it is, what its model is called, and how to ask."""
    model, observer = topology.pair.target.model, topology.observer
    places = [("API", f"{url}/v1"), ("model", model)]
    if page:
        places.append(("page", f"{url}/" if key is None else f"{url}/?key=KEY"))
    elif observer is not None:
        places.append(("page", f"http://{observer.host}:{observer.port}/, the observer's"))
    lines = [f"ready {url}", "", *(f"  {name:<7}{place}" for name, place in places), ""]
    call, path = ("chat.completions", "chat/completions") if chat else ("completions", "completions")
    name, asked = ("messages", f'[{{"role": "user", "content": "{QUESTION}"}}]') if chat else _PROMPT
    lines += [
        f"  curl -N {url}/v1/{path} -H 'Content-Type: application/json'{_header(topology, key)} \\",
        f'    -d \'{{"model": "{model}", "stream": true, "{name}": {asked}}}\'',
        "",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{url}/v1", api_key="{"none" if key is None else "KEY"}")',
        f'  answer = client.{call}.create(model="{model}", {name}={asked})',
        f"  print(answer.choices[0].{'message.content' if chat else 'text'}, answer.usage.draftwire)",
        "",
    ]
    return "\n".join(lines)


_PROMPT: Final = ("prompt", f'"{QUESTION}"')


def _header(topology: Topology, key: str | None) -> str:
    """What a shell adds where there is a key, which itself is no word for a terminal."""
    if key is None:
        return ""
    key_file = topology.serve.key_file
    where = f"${KEY_VARIABLE}" if key_file is None else f"$(cat {shlex.quote(key_file)})"
    return f' -H "Authorization: Bearer {where}"'


__all__ = ["QUESTION", "Here", "all_here", "api_served", "device_alone", "nodes_here"]
