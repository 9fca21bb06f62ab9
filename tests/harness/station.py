"""A BS over a packing model in virtual time, with its promises checked at every pass and every turn."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.harness.cell import VOCAB_SIZE, Cell, cell, text
from tests.harness.packing import PackedModel

from draftwire.nodes.models.synthetic import SyntheticModel
from draftwire.nodes.target.contexts import MB
from draftwire.runtime.session.request import Request

TARGET = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1)
ROOM_MB = 5
"""For one of the requests here: a prompt of a few tokens and 40 new ones, 48 tokens with rounding."""

MOST_TURNS = 500
"""Of the BS's loop at one instant: far more than messages call for, so reaching it is a loop that spins."""


@asynccontextmanager
async def station(
    *, model: PackedModel | None = None, kv_budget_mb: int | None = None, **changes: Any
) -> AsyncIterator[tuple[Cell, PackedModel]]:
    """A BS over a packing model. Its memory is checked against what is reserved at every pass, and that its
    loop rests while nothing changes."""
    model = model or PackedModel(TARGET)
    async with cell(model=model, kv_budget_mb=kv_budget_mb, **changes) as bs:

        def check() -> None:
            residency = bs.target._contexts.residency
            served = {one.claim.key: one for one in bs.target._requests}
            assert kv_budget_mb is None or residency.reserved <= kv_budget_mb * MB
            assert model.in_use <= residency.reserved
            assert set(residency.resident) <= served.keys()
            for one in served.values():
                assert (one.context is not None) == (one.claim.key in residency.resident)
                assert one.context is None or one.context.size <= one.claim.size  # type: ignore[attr-defined]

        model.check = check
        _count_turns(bs)
        yield bs, model
        check()


def _count_turns(bs: Cell) -> None:
    work = bs.target._work
    own, turns, at_s = work._pass, 0, 0.0

    async def counted(now_s: float) -> bool:
        nonlocal turns, at_s
        turns, at_s = (turns + 1 if now_s == at_s else 1), now_s
        assert turns < MOST_TURNS, f"{turns} turns of the loop at {now_s} s"
        assert (bs.target._requests.next_deadline_s(now_s) or now_s + 1) > now_s
        return await own(now_s)

    work._pass = counted  # type: ignore[method-assign]


async def alone(wanted: Request, **changes: Any) -> tuple[int, ...]:
    """What a device gets that has the BS to itself."""
    async with station(**changes) as (bs, _):
        return await text(await bs.device(), wanted)


async def all_of(bs: Cell, wanted: Sequence[Request], **changes: Any) -> list[tuple[int, ...]]:
    """The answers to requests of as many devices at the same time."""
    devices = [await bs.device(f"dev-{i}", **changes) for i in range(len(wanted))]
    return list(await asyncio.gather(*(text(one, what) for one, what in zip(devices, wanted, strict=True))))


__all__ = ["MOST_TURNS", "ROOM_MB", "TARGET", "all_of", "alone", "station"]
