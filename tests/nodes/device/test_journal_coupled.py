"""A coupled request that outlives its device: resumed from a journal, in virtual time, with the same text."""

from pathlib import Path

import pytest
from tests.harness.cell import CHANNEL, Cell, cell, request, run, text

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.journal import Journal
from draftwire.runtime.session.request import Request

LINK = "rate 200kbit delay 20ms"
TOKENS = 24


async def _undisturbed(asked: Request) -> tuple[int, ...]:
    async with cell() as bs:
        await bs.channel(LINK)
        return await text(await bs.device(address=CHANNEL), asked)


async def _left_and_resumed(path: Path, asked: Request, *, after: int, restarts: bool) -> tuple[int, ...]:
    """Left after so many tokens, and gone on with by another life of the device; with another BS, if so."""
    async with cell() as bs:
        await bs.channel(LINK)
        await _leave(bs, path, asked, after=after)
        if restarts:
            await bs.serve()
        device = await bs.device(address=CHANNEL)
        with Journal(path) as journal:
            (entry,) = journal.open_entries()
            assert entry.record.acceptance is Acceptance.COUPLED, "settled, whatever was asked for"
            account = Account(vocab_size=64)
            rest = [one.token async for one in device.resume(entry, journal=journal, account=account)]
            assert (account.acceptance, account.hints) == (Acceptance.COUPLED, True)
            assert not journal.open_entries()
        return (*entry.output, *rest)


async def _leave(bs: Cell, path: Path, asked: Request, *, after: int) -> None:
    device = await bs.device(address=CHANNEL)
    with Journal(path) as journal:
        answer = device.answer(asked, journal=journal)
        for _ in range(after):
            await anext(answer)
        await answer.aclose()
    bs.running[-1].cancel()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("acceptance", [Acceptance.COUPLED, Acceptance.AUTO])
def test_a_resumed_coupled_text_is_the_undisturbed_one(
    tmp_path: Path, acceptance: Acceptance, restarts: bool
) -> None:
    """With the BS that has it or one that has forgotten; what AUTO was settled as stands before any token."""
    asked = request(acceptance=acceptance, gamma=8, min_draft=0, max_waste=2.0, max_new_tokens=TOKENS)
    expected = run(_undisturbed(asked))
    assert len(expected) == TOKENS
    for after in (1, 7, TOKENS - 1):
        path = tmp_path / f"j{after}"
        assert run(_left_and_resumed(path, asked, after=after, restarts=restarts)) == expected, after
