"""Echoes: round trips seen while the target decodes alone."""

import pytest
from tests.harness.cell import CHANNEL, cell, open_for, request, run, text
from tests.harness.policies import Scripted

from draftwire.codecs.control import StepReport
from draftwire.codecs.messages import Commit, Opened, Ping, Pong
from draftwire.nodes.target.echo import MAX_COMMITS, Echo, Echoes


def test_the_first_word_of_a_length_is_its_echo() -> None:
    """The time runs from the first Commit of a length to the first Ping that knows it, and is told once."""
    echoes = Echoes()
    echoes.sent(4, size=90, at_s=1.0)
    echoes.sent(4, size=95, at_s=1.5)
    echoes.sent(5, size=92, at_s=1.6)
    echoes.heard(4, size=40, at_s=1.7)
    echo = echoes.take()
    assert echo is not None and echo.size == 130
    assert echo.seconds == pytest.approx(0.7)
    assert echoes.take() is None
    echoes.heard(4, size=40, at_s=9.0)
    assert echoes.take() is None


def test_the_newest_echo_counts_and_memory_is_bounded() -> None:
    """Commits of lengths that the device has passed are forgotten, and never more than a bound are kept."""
    echoes = Echoes()
    for length in range(3 * MAX_COMMITS):
        echoes.sent(length, size=90, at_s=float(length))
    assert len(echoes._commits) == MAX_COMMITS
    echoes.heard(3 * MAX_COMMITS - 1, size=40, at_s=1000.0)
    assert echoes.take() == Echo(1000.0 - (3 * MAX_COMMITS - 1), 130)
    assert not echoes._commits


def test_alone_the_reports_tell_the_round_trip() -> None:
    """In a whole system over 15 ms each way, each echo is 30 ms and what the bits of both take."""

    async def main() -> list[StepReport]:
        async with cell(policy=Scripted([(8, 0)])) as bs:
            await bs.channel("rate 1mbit delay 15ms")
            device = await bs.device(address=CHANNEL)
            await text(device, request(max_new_tokens=30))
            return list(bs.reports)

    reports = run(main())
    echoes = [report for report in reports if report.echo_s is not None]
    assert len(echoes) >= 4
    for report in echoes:
        sending_s = 8 * (report.echo_bytes + 2 * 74) / 1e6
        assert report.echo_s == pytest.approx(0.030 + sending_s, abs=1e-3)


def test_a_device_that_comes_back_gives_no_echo() -> None:
    """The time that it was away for is no round trip: with a new try of its request nothing is awaited."""

    async def main() -> list[StepReport]:
        async with cell(policy=Scripted([(8, 0)]), ahead=8) as bs:
            peer = await bs.greeted("dev")
            wanted = request(max_new_tokens=12)
            peer.say(open_for(wanted))
            opened = await peer.hear_of(Opened)
            commit = await peer.hear_of(Commit)
            await bs.clock.sleep_until(bs.clock.now_s() + 10)
            log = (*wanted.prompt, *commit.ids)
            peer.say(open_for(wanted, device_try=2, tokens=log))
            opened = await peer.hear_of(Opened)
            peer.say(Ping(incarnation=opened.incarnation, known=len(log), stamp=1))
            await peer.hear_of(Pong)
            await bs.clock.sleep_until(bs.clock.now_s() + 2)
            return list(bs.reports)

    assert all(report.echo_s is None for report in run(main()))
