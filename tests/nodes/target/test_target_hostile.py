"""What a BS does with senders that do what no honest device does; virtual time."""

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.harness.cell import cell, open_for, request, run, text

from draftwire.codecs.control import Register
from draftwire.codecs.frame import encode_frame, sealed
from draftwire.codecs.messages import Incarnation, Ping
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.target import greeted
from draftwire.nodes.target.greeted import Greeted
from draftwire.runtime.transport import Offence
from draftwire.runtime.transport.echoes import BURST_BYTES
from draftwire.runtime.transport.quarantine import BORNE, FORGIVEN_A_MESSAGE, QUARANTINE_S, WEIGHT

_LIFE = Incarnation(boot=1, counter=1)
_PING = encode_frame(Ping(incarnation=_LIFE, known=1, stamp=1), session=9, sequence=0)

HOSTILE = {
    "foreign": b"\x00 no frame of ours at all",
    "malformed": sealed(_PING[:10], b"\xff" * 7),
    "misplaced": encode_frame(Register(role="target", name="x", vocab_size=64), session=0, sequence=0),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_what_no_device_sends_ends_in_quarantine_and_others_go_on(reason: str) -> None:
    """Its connection is not listened to for 2 s, then again; the text of a device beside it is the same."""

    async def answered(*, with_enemy: bool) -> tuple[int, ...]:
        async with cell() as bs:
            device = await bs.device()
            if not with_enemy:
                return await text(device, request())
            enemy = await bs.greeted("enemy")
            answer = asyncio.create_task(text(device, request()))
            weighs = WEIGHT[Offence(reason)] - FORGIVEN_A_MESSAGE
            for _ in range(int(BORNE / weighs) + 2):
                enemy.say(HOSTILE[reason])
                await asyncio.sleep(0.001)
            enemy.say(Probe(stamp=1))
            await asyncio.sleep(QUARANTINE_S[0] / 2)
            assert enemy.endpoint.statistics().waiting == 0
            await asyncio.sleep(QUARANTINE_S[0])
            enemy.say(Probe(stamp=2))
            assert (await enemy.hear_of(Echo)).stamp == 2
            return await answer

    with capture_logs() as logs:
        assert run(answered(with_enemy=True)) == run(answered(with_enemy=False))
    told = [one for one in logs if one["event"].startswith("transport.")]
    assert [one["event"] for one in told] == ["transport.quarantined", "transport.released"]
    assert (told[0]["peer"], told[0]["reason"], told[1]["dropped"]) == ("enemy", reason, 2)


def test_a_radio_that_damages_every_fifth_frame_is_no_enemy() -> None:
    """A device behind it, however long it talks, is answered whenever its frame is whole."""

    async def main() -> None:
        async with cell() as bs:
            peer = await bs.greeted("phone")
            peer.say(open_for(request()))
            await asyncio.sleep(1)
            for number in range(2000):
                await asyncio.sleep(0.005)
                if number % 5:
                    peer.say(Probe(stamp=number))
                    assert (await peer.hear_of(Echo)).stamp == number
                else:
                    frame = bytearray(_PING)
                    frame[number // 5 % len(frame)] ^= 0x10
                    peer.say(bytes(frame))

    with capture_logs() as logs:
        run(main())
    assert not [one for one in logs if one["event"] == "transport.quarantined"]


def test_short_probes_for_long_echoes_are_bounded() -> None:
    """Of a flood of them no more is answered than the budget; a device beside it is answered at once."""

    async def main() -> None:
        async with cell() as bs:
            enemy, honest = await bs.peer("enemy"), await bs.peer("honest")
            for number in range(100):
                enemy.say(Probe(stamp=number, reply_padding=65_535))
            honest.say(Probe(stamp=7, reply_padding=65_535))
            assert (await honest.hear_of(Echo)).stamp == 7
            assert 10 <= enemy.endpoint.statistics().waiting <= BURST_BYTES // 65_535

    run(main())


def test_whoever_connects_without_end_pushes_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hello of another key is not forgotten for ever new ones of one key; the newest of that stay."""
    monkeypatch.setattr(greeted, "MAX_PEERS", 8)
    known = Greeted()
    known.add(b"honest", "phone/1", b"tables")
    for number in range(100):
        known.add(b"%d" % number, f"enemy/{number}", None)
    assert len(known) == 8 and known.tables(b"honest") == b"tables"
    assert b"99" in known and b"0" not in known and known.tables(b"99") is None
    known.remove(b"honest")
    assert b"honest" not in known and known.tables(b"honest") is None


def test_a_forgotten_hello_costs_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose Hello is pushed out between two requests is answered all the same."""
    monkeypatch.setattr(greeted, "MAX_PEERS", 2)

    async def main() -> None:
        async with cell() as bs:
            device = await bs.device()
            before = await text(device, request())
            for number in range(5):
                await bs.greeted(f"other-{number}")
            assert await text(device, request()) == before

    run(main())
