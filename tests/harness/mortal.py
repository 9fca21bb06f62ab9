"""The nodes of one topology file as real processes, which a test kills, stops and starts again.

    with system(folder, temperature=1.0, tokens=200) as nodes:
        device = nodes.start("device", "hello there")
        nodes.wait_for_tokens(device, 20)
        nodes.kill("target")
        nodes.start("target")
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.cell import VOCAB_SIZE, cell, request, run, text

from draftwire.nodes.console.chaos.real_nodes import (
    SERVERS,
    Process,
    System,
    free_addresses,
    running,
    topology_text,
)
from draftwire.nodes.models.synthetic import SyntheticTokenizer

K, GAMMA, SEED = 8, 4, 5


@contextmanager
def system(folder: Path, *, temperature: float, tokens: int) -> Iterator[System]:
    """Target, controller and channel of one file, on loopback, ready; whatever runs is killed in the end.

    Steps are paced, so that an answer takes about 20 ms a token; K, gamma and the seed are fixed.
    """
    topology = topology_text(
        addresses=free_addresses(4),
        controller=f"k = {K}\ngamma = {GAMMA}\n",
        sampling=f"temperature = {temperature}\nmax_new_tokens = {tokens}\nseed = {SEED}\n",
    )
    with running(folder, topology) as nodes:
        yield nodes


def undisturbed(prompt: str, *, temperature: float, tokens: int) -> list[str]:
    """The words of the answer when nothing goes wrong, in virtual time: a function of what is given here."""
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    wanted = request(
        tuple(tokenizer.encode_prompt(prompt)), temperature=temperature, max_new_tokens=tokens, seed=SEED
    )

    async def main() -> tuple[int, ...]:
        async with cell(k=K, gamma=GAMMA) as bs:
            return await text(await bs.device(), wanted)

    return tokenizer.decode(run(main())).split()


__all__ = ["SERVERS", "Process", "System", "system", "undisturbed"]
