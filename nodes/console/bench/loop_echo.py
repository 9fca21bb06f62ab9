"""The other process of `draftwire bench loop`: a target model behind a raw socket, and nothing else.

    python -m draftwire.nodes.console.bench.loop_echo ADDRESS BYTES MODEL THREADS

answers each message with so many bytes, behind one pass of the model over POSITIONS positions. The first
eight are the seconds that the pass took. It ends when its standard input does.
"""

import asyncio
import struct
import sys
import time
from typing import Final, NoReturn

import zmq
import zmq.asyncio

from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import load_target

POSITIONS: Final = 3
"""Of a pass: what the target checks two drafts with."""

PROMPT_TOKENS: Final = 48
SECONDS: Final = struct.Struct(">d")


async def _answer(socket: zmq.asyncio.Socket, model: LanguageModel, size: int) -> NoReturn:
    context, tokens = model.open(), [1] * PROMPT_TOKENS
    while True:
        peer, _ = await socket.recv_multipart()
        begun_s = time.perf_counter()
        tokens.append(2)  # as many positions are new as in a step whose drafts were accepted in part
        context.logits(tokens + [3] * (POSITIONS - 1), POSITIONS)
        spent = SECONDS.pack(time.perf_counter() - begun_s)
        await socket.send_multipart([peer, spent.ljust(size, b"\0")])


async def _serve(address: str, size: int, model: LanguageModel) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.bind(address)
        answering = asyncio.create_task(_answer(socket, model, size))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        answering.cancel()
        await asyncio.wait([answering])


if __name__ == "__main__":
    import torch  # not where the constants alone are wanted

    torch.set_num_threads(int(sys.argv[4]))
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), load_target(sys.argv[3])))


__all__ = ["POSITIONS", "PROMPT_TOKENS", "SECONDS"]
