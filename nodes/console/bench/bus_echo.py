"""The other process of `draftwire bench bus`: echoes on a raw socket and on our transport, with keys or not.

    python -m draftwire.nodes.console.bench.bus_echo KEYS_FOLDER

prints one line, {"raw": ADDRESS, "plain": ADDRESS, "keys": ADDRESS}, and ends when its standard input does.
On our transport a message that begins with COUNT is counted and not answered; one that begins with TELL is
answered with how many were counted since the last, and in how many seconds. The rest is sent back as it is.
"""

import asyncio
import struct
import sys
from pathlib import Path
from typing import Final, NoReturn

import orjson
import zmq
import zmq.asyncio

from draftwire.runtime.security import Keyring, NodeKeys, Role, Service
from draftwire.runtime.transport import Endpoint, ZmqTransport

ECHO: Final = b"E"
COUNT: Final = b"C"
TELL: Final = b"T"
TOLD: Final = struct.Struct("<Qd")
"""How many, and seconds from the first of them to the last."""

ANYWHERE: Final = "tcp://127.0.0.1:*"


async def _raw(socket: zmq.asyncio.Socket) -> NoReturn:
    while True:
        await socket.send_multipart(await socket.recv_multipart())


async def _ours(endpoint: Endpoint) -> NoReturn:
    counted, first_s, last_s = 0, 0.0, 0.0
    while True:
        received = await endpoint.receive()
        kind = received.data[:1]
        if kind == COUNT:
            counted, last_s = counted + 1, received.at_s
            first_s = first_s if counted > 1 else last_s
        elif kind == TELL:
            endpoint.send(received.peer, TOLD.pack(counted, last_s - first_s))
            counted = 0
        else:
            endpoint.send(received.peer, received.data)


async def _serve(folder: Path) -> None:
    keyring = Keyring(folder)
    keys = NodeKeys(keyring=keyring, own=keyring.own_key(Role.TARGET))
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as raw:
        raw.set(zmq.LINGER, 0)
        raw.bind(ANYWHERE)
        async with ZmqTransport() as plain_transport, ZmqTransport(keys) as keys_transport:
            plain = await plain_transport.bind(ANYWHERE, service=Service.TARGET)
            keyed = await keys_transport.bind(ANYWHERE, service=Service.TARGET)
            tasks = [asyncio.create_task(work) for work in (_raw(raw), _ours(plain), _ours(keyed))]
            addresses = {
                "raw": raw.get_string(zmq.LAST_ENDPOINT).rstrip("\0"),
                "plain": plain.address,
                "keys": keyed.address,
            }
            print(orjson.dumps(addresses).decode(), flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))

__all__ = ["COUNT", "ECHO", "TELL", "TOLD"]
