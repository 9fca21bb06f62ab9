"""What the doctor's probes tell, in virtual time: real nodes over links of known rate and delay."""

import asyncio
import random

import pytest
from tests.harness.cell import BS, CHANNEL, CONTROLLER, Cell, cell, hello, run
from tests.harness.policies import Scripted

from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.messages import Reason, Refused, Welcome
from draftwire.codecs.probes import Echo, Probe
from draftwire.nodes.channel.node import ChannelNode, Direction
from draftwire.nodes.console.doctor.figures import rate, spread
from draftwire.nodes.console.doctor.probing import CONTACT_S, Measured, Prober
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.link import parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport
from draftwire.runtime.transport.base import Trouble


async def _prober(
    whole: Cell, address: str, *, service: Service = Service.TARGET, ahead_s: float = 0.0
) -> Prober:
    """From a machine whose clock on the wall is `ahead_s` of that of the nodes."""
    endpoint = await MemoryTransport(whole.network).connect(address, service=service, name="dev/doctor")
    return Prober(endpoint, clock=whole.clock, wall_s=lambda: whole.clock.now_s() + ahead_s)


def _measured(link: str) -> Measured:
    async def main() -> Measured:
        async with cell() as whole:
            await whole.channel(link)
            prober = await _prober(whole, CHANNEL)
            assert isinstance(await prober.contact(), Echo)
            measured = await prober.measure()
            assert measured is not None
            return measured

    return run(main())


@pytest.mark.parametrize(
    ("rate_bps", "delay_s"), [(20e3, 0.005), (0.1e6, 0.02), (1e6, 0.1), (20e6, 0.0025), (400e6, 0.3)]
)
def test_rate_and_round_trip_come_out(rate_bps: float, delay_s: float) -> None:
    """Through a channel of known rate and delay both come out within a few per cent, in both directions."""
    measured = _measured(f"rate {rate_bps / 1e3:g}kbit delay {delay_s * 1e3:g}ms")
    sending_s = 8 * (26 + 32 + 2 * 74) / rate_bps  # a Probe, an Echo, and what a link adds to each
    assert measured.rtt.median_s == pytest.approx(2 * delay_s + sending_s, rel=0.03)
    for found in (measured.uplink, measured.downlink):
        assert found is not None and not found.at_least
        assert found.bps == pytest.approx(rate_bps, rel=0.05)


def test_directions_are_told_apart() -> None:
    """A slow uplink and a fast downlink are each told as they are."""

    async def main() -> Measured | None:
        async with cell() as whole:
            channel = await whole.channel("rate 20mbit delay 5ms")
            channel.set_link(Direction.UPLINK, parse_link("rate 500kbit delay 5ms"))
            return await (await _prober(whole, CHANNEL)).measure()

    measured = run(main())
    assert measured is not None and measured.uplink is not None and measured.downlink is not None
    assert measured.uplink.bps == pytest.approx(0.5e6, rel=0.05)
    assert measured.downlink.bps == pytest.approx(20e6, rel=0.05)


def test_jitter_widens_the_round_trip_and_not_the_rate() -> None:
    """With jitter the round trip has a spread, and the rate still comes out within a fifth."""
    measured = _measured("rate 1mbit delay 20ms 5ms")
    assert measured.rtt.low_s < measured.rtt.median_s < measured.rtt.high_s
    assert measured.uplink is not None and measured.uplink.bps == pytest.approx(1e6, rel=0.2)


def test_no_rate_is_invented_where_there_is_none() -> None:
    """A way without a rate is told as at least something, and that something is large."""
    measured = _measured("delay 5ms")
    for found in (measured.uplink, measured.downlink):
        assert found is not None and found.at_least and found.bps > 1e9


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_within_the_noise_gives_a_bound(seed: int) -> None:
    """The bound lies below the true rate: what is called `at least` is no more than there is."""
    noise, true_bps = random.Random(seed), 50e9
    small = spread([0.020 + noise.gauss(0, 1e-3) for _ in range(9)])
    large = spread([0.020 + 8 * 65535 / true_bps + noise.gauss(0, 1e-3) for _ in range(7)])
    found = rate(small, large, extra_bytes=65535)
    assert found.at_least and found.bps < true_bps, seed


def test_a_clear_difference_gives_the_rate() -> None:
    """8 bits for each byte, over the difference of the medians; an outlier in either changes nothing."""
    small, large = spread([0.02, 0.02, 0.02, 0.5]), spread([0.06, 0.06, 9.0])
    found = rate(small, large, extra_bytes=5000)
    assert found.bps == pytest.approx(1e6) and not found.at_least


@pytest.mark.parametrize("ahead_s", [3600.0, -86400.0])
def test_the_other_clock_is_told(ahead_s: float) -> None:
    """A clock an hour ahead, or a day behind, is told as such, corrected by half of the round trip."""

    async def main() -> Measured | None:
        async with cell() as whole:
            await whole.channel("delay 40ms")
            return await (await _prober(whole, CHANNEL, ahead_s=-ahead_s)).measure()

    measured = run(main())
    assert measured is not None
    assert measured.clock_ahead_s == pytest.approx(ahead_s, abs=1e-6)
    assert measured.clock_error_s == pytest.approx(0.04, abs=1e-6)


def test_the_controller_answers_too() -> None:
    """A probe of the hop from target to controller is answered by the controller."""

    async def main() -> Echo | Refused | Trouble | None:
        async with cell(policy=Scripted([(8, 2)])) as whole:
            return await (await _prober(whole, CONTROLLER, service=Service.CONTROLLER)).contact()

    assert isinstance(run(main()), Echo)


def test_silence_is_told_in_bounded_time() -> None:
    """A channel without a target behind it gives nothing, after CONTACT_S and not later."""

    async def main() -> tuple[object, float]:
        async with cell(serve=False) as whole:
            await whole.channel("rate 1mbit delay 5ms")
            answer = await (await _prober(whole, CHANNEL)).contact()
            return answer, LoopClock().now_s()

    answer, took_s = run(main())
    assert answer is None
    assert took_s == pytest.approx(CONTACT_S, abs=0.1)


def test_first_question_lost() -> None:
    """A link that is out at first costs one more question."""

    async def main() -> tuple[object, float]:
        async with cell() as whole:
            channel = await whole.channel("loss 100%")
            whole.tasks.create_task(_mend(channel))
            answer = await (await _prober(whole, CHANNEL)).contact()
            return answer, LoopClock().now_s()

    async def _mend(channel: ChannelNode) -> None:
        await LoopClock().sleep_until(0.5)
        for direction in Direction:
            channel.set_link(direction, parse_link("rate 1mbit delay 5ms"))

    answer, took_s = run(main())
    assert isinstance(answer, Echo)
    assert 1.0 < took_s < 1.2


@pytest.mark.parametrize(
    ("said", "heard"),
    [(Reason.IDENTITY, Reason.IDENTITY), (Reason.NO_HELLO, None), (Reason.SUPERSEDED, None)],
)
def test_a_refusal_of_something_else_is_no_answer(said: Reason, heard: Reason | None) -> None:
    """A first question is answered by an Echo, or a refusal of us; one of a request is somebody else's."""

    async def main() -> Echo | Refused | Trouble | None:
        network = MemoryNetwork()
        there = await MemoryTransport(network).bind("ipc://bs", service=Service.TARGET)
        here = await MemoryTransport(network).connect("ipc://bs", service=Service.TARGET, name="dev/doctor")
        prober = Prober(here, clock=LoopClock(), wall_s=lambda: 0.0)
        asking = asyncio.create_task(prober.contact())
        asked = await there.receive()
        probe = decode_frame(asked.data).message
        assert isinstance(probe, Probe)
        for message in (Refused(reason=said, detail=""), Echo(stamp=probe.stamp, clock_s=0.0, padding=0)):
            there.send(asked.peer, encode_frame(message, session=0, sequence=0))
        return await asking

    answer = run(main())
    assert (
        answer.reason is heard if isinstance(answer, Refused) else heard is None and isinstance(answer, Echo)
    )


def test_agreement_and_refusals() -> None:
    """A Hello of our own is welcome; of another vocabulary or version it is refused with both values."""

    async def main() -> list[Welcome | Refused | None]:
        async with cell() as whole:
            prober = await _prober(whole, BS)
            return [
                await prober.agree(one)
                for one in (
                    hello(),
                    hello(vocab_size=65),
                    hello(fingerprint=b"12345678"),
                    hello(protocol_version=2),
                )
            ]

    welcome, size, fingerprint, version = run(main())
    assert isinstance(welcome, Welcome)
    assert isinstance(size, Refused) and size.reason is Reason.VOCABULARY
    assert "65" in size.detail and "64" in size.detail
    assert isinstance(fingerprint, Refused) and b"12345678".hex() in fingerprint.detail
    assert isinstance(version, Refused) and version.reason is Reason.PROTOCOL_VERSION
