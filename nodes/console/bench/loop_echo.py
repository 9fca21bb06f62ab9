"""The other process of `draftwire bench loop`: answers each message on a raw socket with so many bytes.

    python -m draftwire.nodes.console.bench.loop_echo ADDRESS BYTES

ends when its standard input does.
"""

import asyncio
import sys
from typing import NoReturn

import zmq
import zmq.asyncio


async def _answer(socket: zmq.asyncio.Socket, answer: bytes) -> NoReturn:
    while True:
        peer, _ = await socket.recv_multipart()
        await socket.send_multipart([peer, answer])


async def _serve(address: str, size: int) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.bind(address)
        answering = asyncio.create_task(_answer(socket, bytes(size)))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        answering.cancel()
        await asyncio.wait([answering])


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
