"""What befalls messages on a channel's links, and what the protocol makes of it."""

from collections import Counter

import pytest
import structlog
from tests.harness.cell import CHANNEL, cell, greedy, request, run, text
from tests.harness.channels import arrivals, channel

from draftwire.nodes.channel.node import Direction
from draftwire.nodes.channel.way import flipped
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.link import LinkDrop, parse_link
from draftwire.runtime.security import Service
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport, Received

COUNT = 200
GREEDY = request(temperature=0.0)


def _carried(words: str) -> tuple[list[bytes], list[Received]]:
    """What went into an uplink, a message each 10 ms, and what came out of it."""
    sent = [number.to_bytes(2, "big") * 20 for number in range(COUNT)]

    async def main() -> list[Received]:
        async with (
            MemoryTransport(MemoryNetwork()) as transport,
            channel(transport, uplink=parse_link(words)) as node,
        ):
            clock = LoopClock()
            target = await transport.bind("memory://target", service=Service.TARGET)
            device = await transport.connect("memory://channel", service=Service.CHANNEL, name="a")
            for number, data in enumerate(sent):
                await clock.sleep_until(number / 100)
                assert device.send(b"", data)
            await clock.sleep_until(COUNT / 100 + 10)
            link = node.statistics().links["a", Direction.UPLINK]
            assert link.offered == link.delivered + sum(link.dropped.values()) == COUNT
            return [await target.receive() for _ in range(target.statistics().received)]

    return sent, run_virtual(main())


def test_a_corrupted_message_differs_in_one_bit() -> None:
    """Each message arrives, whole or with exactly one bit of it flipped; every place can be hit."""
    sent, came = _carried("delay 5ms corrupt 50%")
    wrong = [
        int.from_bytes(before, "big") ^ int.from_bytes(after.data, "big")
        for before, after in zip(sent, came, strict=True)
    ]
    assert {bits.bit_count() for bits in wrong} == {0, 1}
    assert 60 < sum(bits.bit_count() for bits in wrong) < 140
    assert len(set(wrong)) > 60


def test_a_flipped_bit_is_one_of_a_copy() -> None:
    """Counted from the lowest of the first byte; what was sent stays as it was."""
    data = bytes(3)
    assert [flipped(data, bit).hex() for bit in (0, 7, 8, 23)] == ["010000", "800000", "000100", "000080"]
    assert data == bytes(3)


def test_a_duplicated_message_arrives_twice() -> None:
    """Copies are what the model says, each after its original, and no message comes three times."""
    words = "delay 5ms 2ms duplicate 50%"
    sent, came = _carried(words)
    assert set(Counter(one.data for one in came).values()) == {1, 2}
    traffic = [(number / 100, data) for number, data in enumerate(sent)]
    assert [(one.at_s, one.data) for one in came] == arrivals(parse_link(words), traffic)


def test_reordered_messages_arrive_at_the_models_times() -> None:
    """Who skips the delay overtakes; all arrive."""
    words = "delay 50ms reorder 30%"
    sent, came = _carried(words)
    order = [one.data for one in came]
    assert order != sent and sorted(order) == sorted(sent)
    traffic = [(number / 100, data) for number, data in enumerate(sent)]
    assert [(one.at_s, one.data) for one in came] == arrivals(parse_link(words), traffic)


def test_a_lost_message_is_counted_and_the_first_is_said() -> None:
    """What `loss` takes never arrives; the log says so once a direction."""
    with structlog.testing.capture_logs() as logs:
        sent, came = _carried("delay 5ms loss gemodel 10% 30%")
    assert 20 < len(sent) - len(came) < 120
    drops = [(log["direction"], log["cause"]) for log in logs if log["event"] == "channel.drops"]
    assert drops == [("uplink", LinkDrop.LOSS.value)]


@pytest.mark.parametrize(
    "words",
    [
        "rate 2mbit delay 10ms corrupt 10%",
        "rate 2mbit delay 10ms duplicate 30%",
        "rate 2mbit delay 10ms 4ms reorder 30%",
        "rate 2mbit delay 10ms loss 10% duplicate 10% corrupt 5% reorder 10%",
        "rate 2mbit delay 10ms; 200ms rate 0; 1s rate 2mbit; repeat 1500ms",
        "rate 2mbit delay 10ms; 200ms loss 100%; 400ms loss 0%; repeat 700ms",
        "trace lte-like delay 10ms loss 10% arq 8ms",
        "rayleigh 12db 1mhz 20ms delay 10ms",
    ],
)
def test_the_text_is_right_whatever_the_link_does(words: str) -> None:
    """At temperature 0 it is the target's own: what is damaged is refused, what is lost comes again."""

    async def main() -> None:
        async with cell() as bs:
            node = await bs.channel(words)
            device = await bs.device(address=CHANNEL)
            for _ in range(3):
                answer = await text(device, GREEDY)
                assert answer == greedy(bs.pair.target, GREEDY.prompt, GREEDY.max_new_tokens)
            links = node.statistics().links.values()
            if "corrupt" in words:
                assert sum(link.corrupted for link in links) > 0
            if "duplicate" in words:
                assert sum(link.duplicated for link in links) > 0

    run(main())
