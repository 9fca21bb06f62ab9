"""Real nodes agree on a set of tables, or on none: what rows are spelt with; and no text hangs on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs
from tests.harness.cell import CHANNEL, VOCAB_SIZE, Cell, cell, request, run, text
from tests.harness.policies import Scripted
from tests.harness.tables import in_order

from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import AnyMessage, encode_frame
from draftwire.codecs.messages import Incarnation, SparseLogits, Welcome
from draftwire.codecs.quantize import quantize
from draftwire.codecs.tables import TableSet
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.node import DeviceNode
from draftwire.runtime.session.request import Taken

K = 32
"Of 64 ids: then a bit for each id is shorter than plain rows, whatever the order of ids."

A, B, C = (replace(in_order(VOCAB_SIZE, heads=(VOCAB_SIZE,)), label=label) for label in "abc")
LONG = in_order(VOCAB_SIZE, k=K)
"Its one bucket holds every id: plain is shorter, always."
Sets = Sequence[TableSet]

ROWS = tuple(quantize(range(i, VOCAB_SIZE, 2), np.zeros(K), vocab_size=VOCAB_SIZE) for i in range(2))
LOGGED = ("device.welcomed", "target.request")


async def _answer(bs: Cell, tables: Sets, *, name: str = "dev") -> tuple[tuple[int, ...], Account]:
    account = Account(vocab_size=VOCAB_SIZE)
    return await text(await bs.device(name, tables=tables), request(), account), account


def _alone(theirs: Sets, ours: Sets) -> tuple[tuple[int, ...], Account, set[str]]:
    """One answer of a device with their sets from a BS with ours; and what its reports name."""

    async def main() -> tuple[tuple[int, ...], Account, set[str]]:
        async with cell(serve=False, k=K) as bs:
            bs.tables = ours
            await bs.serve()
            told, account = await _answer(bs, theirs)
            assert not bs.target.refused
            return told, account, {report.tables for report in bs.reports}

    return run(main())


@pytest.mark.parametrize(
    ("theirs", "ours", "agreed"),
    [
        ((A, B), (B, A), A),
        ((A, B), (B, C), B),
        ((A,), (B,), None),
        ((), (A,), None),
        ((A,), (), None),
        ((A, B, C), (C,), C),
    ],
)
def test_the_first_of_the_devices_sets_that_the_bs_has_too(
    theirs: Sets, ours: Sets, agreed: TableSet | None
) -> None:
    """Nobody is refused; the account and every report say what was agreed, and the text is the plain one."""
    plain, without, _ = _alone((), ())
    told, account, reported = _alone(theirs, ours)
    name = "" if agreed is None else agreed.hash.hex()
    assert (told, account.tables, reported) == (plain, name, {name})
    assert (account.rows_bytes == without.rows_bytes) == (agreed is None)
    assert account.row_entries == without.row_entries > 0


@pytest.mark.parametrize(("tables", "heard"), [(A, True), (A, False), (LONG, True)])
def test_reports_name_what_rows_came_in(
    tables: TableSet, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain where the device never heard what was agreed, or where plain was shorter; the account as well."""
    if not heard:
        route = DeviceNode._route

        def deaf(node: DeviceNode, number: int, message: AnyMessage, size: int) -> None:
            if not isinstance(message, Welcome):
                route(node, number, message, size)

        monkeypatch.setattr(DeviceNode, "_route", deaf)

    async def main() -> None:
        policy = Scripted(((K, 4), (1, 2)))
        async with cell(serve=False, policy=policy) as bs:
            bs.tables = (tables,)
            await bs.serve()
            await bs.channel("rate 20kbit delay 5ms")
            account = Account(vocab_size=VOCAB_SIZE)
            await text(await bs.device(address=CHANNEL, tables=(tables,)), request(), account)
            await asyncio.sleep(5)
            agreed = tables.hash.hex()
            came = {(one.k, one.tables) for one in policy.rows}
            assert came == {(K, agreed if heard and tables is A else ""), (1, "")}
            named = {(one.rows_at_s is not None, one.plan.k, one.tables) for one in policy.steps}
            assert {(True, *one) for one in came} <= named
            assert {one[2] for one in named if not one[0]} == {agreed}
            assert account.spelt.total() == account.sparse_frames
            assert set(account.spelt) == {spelling for _, spelling in came}

    run(main())


def test_what_was_agreed_is_logged() -> None:
    """At both ends, as a hash or as a word; by the device once for each life of a BS."""

    async def main() -> None:
        async with cell(serve=False, k=K) as bs:
            bs.tables = (A,)
            await bs.serve()
            device = await bs.device(tables=(A,))
            for _ in range(2):
                await text(device, request())
            bs.tables = ()
            await bs.serve()
            await text(device, request())

    with capture_logs() as logs:
        run(main())
    said = {name: [one["tables"] for one in logs if one["event"] == name] for name in LOGGED}
    name = A.hash.hex()
    assert said == {"device.welcomed": [name, "plain"], "target.request": [name, name, "plain"]}


@pytest.mark.parametrize("after", [3, 9])
@pytest.mark.parametrize(
    ("before_it", "behind_it"), [((A,), ()), ((), (A,)), ((A,), (B,)), ((A, B), (B,)), ((A,), (A,))]
)
def test_a_bs_that_comes_back_with_other_sets(before_it: Sets, behind_it: Sets, after: int) -> None:
    """The request goes on with what the new one has; it can't read, at most, the block that was under way."""

    async def main() -> None:
        account = Account(vocab_size=VOCAB_SIZE)
        async with cell(serve=False, k=K) as bs:
            bs.tables = before_it
            await bs.serve()
            await bs.channel("rate 1mbit delay 30ms")
            device = await bs.device(address=CHANNEL, tables=(A, B))
            taken = list[Taken]()
            async for one in device.answer(request(max_new_tokens=60), account=account):
                taken.append(one)
                if len(taken) == after:
                    bs.tables = behind_it
                    await bs.serve()
            assert [one.position for one in taken] == list(range(3, 63))
            assert account.tables == (behind_it[0].hash.hex() if behind_it else "")
            assert bs.target.refused[Refusal.TABLES] <= 1

    run(main())


def test_devices_with_different_sets_share_a_bs() -> None:
    """Each agrees by itself, at the same time."""

    async def main() -> None:
        async with cell(serve=False, k=K) as bs:
            bs.tables = (A, B)
            await bs.serve()
            answers = await asyncio.gather(
                *(_answer(bs, sets, name=f"dev-{i}") for i, sets in enumerate([(A,), (B,), (C,), ()]))
            )
            assert [account.tables for _, account in answers] == [A.hash.hex(), B.hash.hex(), "", ""]
            assert len({told for told, _ in answers}) == 1
            assert not bs.target.refused

    run(main())


def test_rows_of_a_set_that_a_bs_lacks_are_refused_and_counted() -> None:
    """By themselves: the BS goes on serving."""

    async def main() -> None:
        async with cell(serve=False, k=K) as bs:
            bs.tables = (B,)
            await bs.serve()
            peer = await bs.greeted("odd")
            rows = SparseLogits(
                incarnation=Incarnation(boot=7, counter=1), draft_epoch=1, start=3, rows=ROWS
            )
            peer.say(encode_frame(rows, session=9, sequence=0, tables=A))
            _, account = await _answer(bs, (B,))
            assert account.tables == B.hash.hex()
            assert bs.target.refused == {Refusal.TABLES: 1}

    run(main())
