"""The picture of a simulation shows the rate that the median device's uplink had."""

from itertools import pairwise

import pytest
from tests.harness.fleets import run, topology

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.simulate.fleet import channel_seed
from draftwire.nodes.console.simulate.picture import Points, uplink_rates
from draftwire.runtime.link import Link, parse_schedule, shipped_trace

FADES_TWICE = "rayleigh 15db 2mhz 20ms; 300ms rate 1mbit; 600ms rayleigh 15db 2mhz 20ms"


def _bits(points: Points, from_s: float, until_s: float) -> float:
    """Of a mean a bin, whose bins end at both times."""
    inside = [(at_s, bps) for at_s, bps in points if from_s <= at_s < until_s]
    return sum(bps * (after - at_s) for (at_s, bps), (after, _) in pairwise([*inside, (until_s, 0.0)]))


def test_a_trace_goes_on_through_the_pieces_that_leave_it() -> None:
    """As on the channel, it does not begin again with a piece that changes something else."""
    wanted = topology(channel={"schedule": "trace lte-like; 500ms delay 6ms"})
    points = uplink_rates(wanted.channel, run(wanted, devices=1, seconds=1.0))
    curve = shipped_trace("lte-like").curve
    assert _bits(points, 0.5, 1.0) == pytest.approx(curve.bits_by(1.0) - curve.bits_by(0.5))
    assert _bits(points, 0.0, 0.5) == pytest.approx(curve.bits_by(0.5))


def test_a_fading_that_comes_again_is_the_links_own() -> None:
    """The blocks of the second one are those that the model draws for it."""
    wanted = topology(channel={"schedule": FADES_TWICE})
    came = run(wanted, devices=1, seconds=0.9)
    assert wanted.channel is not None
    seed = channel_seed(came.seed, came.median_device.bs, wanted.channel)
    first, *others = parse_schedule(FADES_TWICE).steps
    link = Link[None](first.link, streams_of(seed, came.median_device.device, Direction.UPLINK))
    for step in others:
        link.change(step.at_s, step.link)
    assert link.curve is not None
    points = uplink_rates(wanted.channel, came)
    assert _bits(points, 0.6, 0.9) == pytest.approx(link.curve.bits_by(0.3))
    assert _bits(points, 0.6, 0.9) != pytest.approx(_bits(points, 0.0, 0.3), rel=1e-3)


def test_a_link_without_a_rate_for_a_while_has_none() -> None:
    """There is nothing that such a line could show."""
    wanted = topology(channel={"schedule": "rate 1mbit; 100ms rate unlimited"})
    assert uplink_rates(wanted.channel, run(wanted, devices=1, seconds=0.3)) == []
    assert uplink_rates(None, run(wanted, devices=1, seconds=0.1)) == []
