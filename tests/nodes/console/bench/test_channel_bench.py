"""`draftwire bench channel`: its figures from measurements written by hand, and short runs of a channel."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.nodes.console.bench import channel as bench
from draftwire.nodes.console.bench.channel import (
    QUICK,
    Delays,
    Measured,
    delays_beside_load,
    result,
)
from draftwire.nodes.console.bench.channel_ends import (
    ChannelBenchError,
    Crossed,
    as_they_come,
    channel_between,
    lateness_s,
)
from draftwire.nodes.console.bench.channel_kernel import (
    HEADER_BYTES,
    Crossing,
    Packet,
    bursts,
    compare,
    mixed_packets,
)
from draftwire.nodes.console.bench.channel_show import LINES, show
from draftwire.runtime.clock import PunctualLoop
from draftwire.runtime.link import LinkDrop, parse_link


def _measured() -> Measured:
    """Two repeats; the worst rate is one that is too slow."""
    return Measured(
        rate_error_pct={0.1: [0.1, 0.3], 5.0: [-0.9, -0.5], 20.0: [0.6, 0.6]},
        idle=[
            Delays(handed_over_s=[0.0001] * 98 + [0.002] * 2, far_s=[0.001] * 100),
            Delays(handed_over_s=[0.0003] * 98 + [0.004] * 2, far_s=[0.003] * 100),
        ],
        cpu_us_paced=[100.0, 120.0],
        cpu_us_flood=[20.0, 30.0],
        flood_per_s=[9000.0, 11000.0],
        through_ms=[0.5, 0.9],
        without_ms=[0.1, 0.3],
        kernel_error_ms={1: [0.02, 0.09], 20: [0.05, 0.01]},
        load_average=[0.5, 1.5],
    )


def test_figures_are_medians_of_repeats_and_the_worst_rate_counts() -> None:
    """A rate that is too slow is as wrong as one that is too fast; an added trip is of one repeat."""
    found = result(_measured(), quick=False)
    assert found["rate_error_pct"] == pytest.approx(0.7)
    assert found["spreads"]["rate_error_pct"] == pytest.approx({"median": 0.7, "least": 0.5, "most": 0.9})
    assert {mbit: one["median"] for mbit, one in found["rate_error_by_mbit"].items()} == pytest.approx(
        {"0.1": 0.2, "5": -0.7, "20": 0.6}
    )
    assert found["delay_error_ms_p50"] == pytest.approx(0.2)
    assert found["delay_error_ms_p99"] == pytest.approx(3)
    with pytest.raises(ChannelBenchError, match="no message"):
        result(replace(_measured(), idle=[Delays(handed_over_s=[], far_s=[])]), quick=False)
    assert found["far_error_ms_p99"] == pytest.approx(2)
    assert found["cpu_us_per_msg"] == 25
    assert found["capacity_msgs_per_s"] == 10_000
    assert found["added_rtt_ms"] == pytest.approx(0.5)
    assert found["spreads"]["added_rtt_ms"] == pytest.approx({"median": 0.5, "least": 0.4, "most": 0.6})
    assert found["kernel_departure_error_ms_p50"] == pytest.approx((0.05 + 0.09) / 2)
    assert found["kernel_reason"] is None


def test_what_was_not_measured_is_null_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Without root there is no kernel, without the pair nothing runs beside; the table says both."""
    measured = replace(_measured(), kernel_reason="needs root", busy_reason="no weights", cpu_us_flood=[])
    found = result(measured, quick=True)
    for name in ("kernel_departure_error_ms_p50", "delay_error_ms_p99_busy", "cpu_us_per_msg"):
        assert found[name] is None, name
    assert (found["kernel_reason"], found["busy_reason"]) == ("needs root", "no weights")
    show(found)
    said = capsys.readouterr().out
    assert "needs root" in said
    assert "no weights" in said


def test_the_table_has_every_figure_and_tells_goals_that_are_missed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each figure of the object has its line; one beyond its goal, either way, is marked."""
    found = result(_measured(), quick=False)
    assert {line.name for line in LINES} == found["spreads"].keys()
    show(found)
    said = capsys.readouterr().out
    assert [line.split("  ")[0].strip() for line in said.splitlines() if "missed" in line] == [
        "channel's lateness, p99, ms"  # of 3 ms
    ]
    assert said.count(" met") == 6
    show(result(replace(_measured(), flood_per_s=[4000.0]), quick=False))
    assert capsys.readouterr().out.count("missed") == 2


def test_goals_are_told_to_programs_too() -> None:
    """Each goal with whether it is met, either way round; what was not measured meets and misses nothing."""
    goals = result(replace(_measured(), cpu_us_flood=[]), quick=False)["goals"]
    assert goals["delay_error_ms_p99"] == {"at_most": 0.5, "met": False}
    assert goals["capacity_msgs_per_s"] == {"at_least": 5000, "met": True}
    assert goals["cpu_us_per_msg"] == {"at_most": 50, "met": None}
    assert not {name for name in goals if name.startswith("far") or "paced" in name}


def test_what_has_goals_stands_beside_what_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    """The channel's own lateness and what the receiver sees, and both costs, one under the other."""
    show(result(replace(_measured(), busy=_measured().idle), quick=False))
    said = capsys.readouterr().out
    lines = [line.strip() for line in said.splitlines()]
    for name, beside in (("channel's lateness", "at the receiver"), ("CPU a message", "at 2000/s")):
        at = [number for number, line in enumerate(lines) if line.startswith(name)]
        assert at, name
        for number in at:
            assert "<=" in lines[number]
            assert lines[number + 1].startswith(beside)
            assert "<=" not in lines[number + 1]
    assert "both hops" in said
    assert "one wake-up serves many" in said


def test_a_rate_counts_what_the_model_counts() -> None:
    """Between first and last delivery, overhead of each packet included, the first message left out."""
    words = "rate 1mbit overhead 8b 66b"
    sizes = [100, 1000, 2000]
    on_link = [parse_link(words).bytes_on_link(size) for size in sizes]
    assert on_link == [174, 1074, 2140]
    crossed = Crossed(
        words=words,
        sizes_bytes=sizes,
        sent_s=[5.0] * 3,
        came_s=[6.0, 6.5, 8.0],
        cpu_s=None,
    )
    assert crossed.rate_bps == pytest.approx(8 * (1074 + 2140) / 2)
    assert crossed.per_s == 1


def test_far_errors_are_against_the_model_that_the_sender_tells() -> None:
    """A message that comes when the model delivers it has none; one that is late has its lateness."""
    words = "rate 1mbit delay 10ms overhead 0b 0b"
    crossed = Crossed(
        words=words,
        sizes_bytes=[1250, 1250],
        sent_s=[100.0, 100.005],
        came_s=[100.02, 100.033],
        cpu_s=None,
    )
    assert crossed.far_errors_s() == pytest.approx([0.0, 0.003], abs=1e-9)


def test_the_kernel_is_compared_packet_by_packet() -> None:
    """Late is an error of that packet, lost is lost, and what only one of both lost is seen."""
    size = 1000 - HEADER_BYTES
    crossing = Crossing(
        words="rate 1mbit burst 1600b limit 3000b",
        packets=[Packet(at_s=0.0, payload_bytes=size)] * 6,
        sent_s=[0.0] * 6,
        # The first leaves at once, 600 bytes of the bucket are left: 8 ms a packet, 3.2 ms for the second.
        arrived_s={0: 0.0001, 1: 0.0032, 2: 0.0132},
    )
    found = compare(crossing)
    assert found.errors_s == pytest.approx([0.0001, 0.0, 0.002], abs=1e-9)
    assert found.model_order == [0, 1, 2, 3]
    assert found.kernel_lost == {3, 4, 5}
    assert found.model_lost == {4: LinkDrop.LIMIT_BYTES, 5: LinkDrop.LIMIT_BYTES}


def test_packets_are_the_same_for_a_seed_and_take_their_share() -> None:
    """A seed gives the same packets; over many the rate is used as far as was asked for."""
    packets = mixed_packets(rate_bps=1e6, load=0.8, number=4000, seed=2)
    assert packets == mixed_packets(rate_bps=1e6, load=0.8, number=4000, seed=2)
    used = 8 * sum(packet.payload_bytes for packet in packets) / (1e6 * packets[-1].at_s)
    assert used == pytest.approx(0.8, rel=0.05)
    assert [one.at_s for one in bursts(every_s=0.5, number=2, of=2, payload_bytes=9)] == [0, 0, 0.5, 0.5]
    times = [at_s for at_s, _ in as_they_come(per_s=100, seconds=20, sizes_bytes=(1, 2), seed=3)]
    assert times == sorted(times)
    assert len(times) == pytest.approx(2000, rel=0.1)


def test_a_channel_carries_what_is_asked_and_tells_how_late_it_was(tmp_path: Path) -> None:
    """Through a real process: every message comes, in order, with its cost; its record has each lateness."""
    record = tmp_path / "record.jsonl"

    async def main() -> tuple[Crossed, Crossed]:
        async with asyncio.timeout(60), channel_between("rate 20mbit delay 2ms 1ms", record=record) as ends:
            paced = await ends.paced(sizes_bytes=[100, 8000, 100], at_s=[0.0, 0.0, 0.01])
            return paced, await ends.flood(sizes_bytes=[1000] * 200, ahead=64)

    with asyncio.Runner(loop_factory=PunctualLoop) as runner:
        paced, flood = runner.run(main())
    assert len(lateness_s(record)) == 203
    assert min(lateness_s(record)) >= 0
    assert all(error_s > 0 for error_s in paced.far_errors_s())
    # No faster than the link, whatever the machine does; to a message that came late at the beginning.
    assert 0 < flood.rate_bps < 1.2 * 20e6
    if sys.platform == "linux":
        assert flood.cpu_s is not None
        assert flood.cpu_s > 0


def test_a_channel_without_a_delay_answers_both_ways() -> None:
    """Round trips through a link that does nothing and past it, one of each in turn."""

    async def main() -> tuple[list[float], list[float]]:
        async with asyncio.timeout(60), channel_between("") as ends:
            await ends.meet()
            return await ends.trips_s(5, size_bytes=100)

    with asyncio.Runner(loop_factory=PunctualLoop) as runner:
        through_s, without_s = runner.run(main())
    assert len(through_s) == len(without_s) == 5
    assert min(*through_s, *without_s) > 0


def test_a_pair_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing runs beside there are no such delays, but the last word of what should have run."""
    monkeypatch.setattr(bench, "LOAD", "draftwire.nodes.console.bench.bus_echo")  # which lacks its argument
    measured = Measured()
    asyncio.run(delays_beside_load(measured, QUICK, lambda name: None))
    assert measured.busy == []
    assert measured.busy_reason == "the shipped pair does not answer: IndexError: list index out of range"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_command_prints_one_json_object() -> None:
    """Standard output holds the object alone, with every figure, its spread and the conditions."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "draftwire", "bench", "channel", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=360,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["quick"]
    for line in LINES:
        reason = found["kernel_reason"] if "kernel" in line.name else found["busy_reason"]
        assert found[line.name] is not None or reason, line.name
    assert {"cpu", "cores", "python", "pyzmq", "libzmq", "load_average"} <= set(found)
