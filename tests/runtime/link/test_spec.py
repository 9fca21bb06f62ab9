"""What a link may be: bounds of every field, and what fits together."""

from collections.abc import Callable
from math import nan

import pytest

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import BurstLoss, Distribution, Fading, LinkSpec, RandomLoss, Trace
from draftwire.runtime.link.curves import Steps

TRACE = Trace(name="t", curve=Steps([0, 1], [1e6]))
FADING = Fading(snr_db=10, bandwidth_hz=1e6, coherence_s=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinkSpec(rate_bps=5), "rate: rate 5 is out of range; write 100 to 1000000000000 bit/s, or "),
        (lambda: LinkSpec(rate_bps=-1), "rate: rate -1 is out of range"),
        (lambda: LinkSpec(rate_bps=nan), "rate: rate nan is out of range"),
        (
            lambda: LinkSpec(rate_bps=0, trace=TRACE),
            "trace: rate and trace are given, and a link has one of them; leave 'rate' or 'trace' out",
        ),
        (lambda: LinkSpec(trace=TRACE, fading=FADING), "rayleigh: trace and rayleigh are given"),
        (lambda: LinkSpec(burst_bytes=-1), "burst: burst -1 is out of range"),
        (lambda: LinkSpec(delay_s=61), "delay: delay 61 is out of range; write 0 to 60 s"),
        (lambda: LinkSpec(delay_s=nan), "delay: delay nan is out of range"),
        (
            lambda: LinkSpec(delay_s=0.002, jitter_s=0.003),
            "jitter: jitter 0.003 is out of range; write 0 to 0.002 s, the delay",
        ),
        (
            lambda: LinkSpec(delay_s=0.002, jitter_s=61, distribution=Distribution.PARETO),
            "jitter: jitter 61 is out of range; write 0 to 60 s",
        ),
        (
            lambda: LinkSpec(delay_s=1, jitter_s=1, jitter_correlation=1),
            "delay: correlation 100% is out of range; write 0% to below 100%",
        ),
        (lambda: LinkSpec(delay_s=1, reorder=1.1), "reorder: share 110% is out of range; write 0% to 100%"),
        (lambda: LinkSpec(delay_s=1, reorder_correlation=-0.1), "reorder: correlation -10% is out of range"),
        (lambda: LinkSpec(reorder=0.1), "reorder: there is no delay that a message could skip;"),
        (lambda: LinkSpec(reorder_gap=0), "reorder: gap 0 is out of range; write 1 to 1000000 messages"),
        (lambda: RandomLoss(share=nan), "loss: share nan% is out of range; write 0% to 100%"),
        (lambda: RandomLoss(share=0.1, correlation=1), "loss: correlation 100% is out of range"),
        (lambda: BurstLoss(to_bad=2, to_good=0.5), "loss: gemodel's p 200% is out of range"),
        (lambda: BurstLoss(to_bad=0.5, to_good=-1), "loss: gemodel's r -100% is out of range"),
        (lambda: BurstLoss(to_bad=0, to_good=0, bad_loss=1.5), "loss: gemodel's 1-h 150% is out of range"),
        (lambda: BurstLoss(to_bad=0, to_good=0, good_loss=1.5), "loss: gemodel's 1-k 150% is out of range"),
        (lambda: LinkSpec(arq_s=0.01), "arq: there is no loss to repair; write for"),
        (lambda: LinkSpec(loss=RandomLoss(share=0.1), arq_s=-1), "arq: arq -1 is out of range"),
        (
            lambda: LinkSpec(loss=RandomLoss(share=1), arq_s=0.01),
            "arq: a message that is always lost would be sent again for ever; let less than 100% be lost",
        ),
        (lambda: LinkSpec(duplicate=-0.1), "duplicate: share -10% is out of range"),
        (lambda: LinkSpec(duplicate_correlation=1), "duplicate: correlation 100% is out of range"),
        (lambda: LinkSpec(corrupt=1.01), "corrupt: share 101% is out of range"),
        (lambda: LinkSpec(corrupt_correlation=nan), "corrupt: correlation nan% is out of range"),
        (lambda: LinkSpec(limit_messages=0), "limit: limit 0 is out of range; write 1 to 1000000 messages"),
        (lambda: LinkSpec(limit_bytes=1499), "limit: limit 1499 is out of range; write 1500 to"),
        (lambda: LinkSpec(overhead_bytes=-1), "overhead: overhead -1 is out of range; write 0 to 65536"),
        (lambda: LinkSpec(packet_overhead_bytes=65537), "overhead: overhead 65537 is out of range"),
        (lambda: LinkSpec(packet_bytes=0), "overhead: overhead 0 is out of range; write 64 to 65536"),
    ],
)
def test_a_link_out_of_bounds_is_refused(make: Callable[[], object], message: str) -> None:
    """Each field has bounds, and the error names the word, the value and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("loss", "ends"),
    [
        (BurstLoss(to_bad=0.1, to_good=0.1), True),
        (BurstLoss(to_bad=0.1, to_good=0.0), False),
        (BurstLoss(to_bad=0.1, to_good=0.0, bad_loss=0.9), True),
        (BurstLoss(to_bad=0.1, to_good=0.1, good_loss=1.0), False),
        (BurstLoss(to_bad=0.1, to_good=0.1, good_loss=1.0, bad_loss=0.5), True),
        (BurstLoss(to_bad=0.0, to_good=0.1, good_loss=1.0, bad_loss=0.5), False),
        (RandomLoss(share=0.999), True),
    ],
)
def test_arq_needs_a_state_that_lets_through(loss: RandomLoss | BurstLoss, ends: bool) -> None:
    """Repairs are refused where a state that can last for ever loses everything."""
    assert loss.lets_through is ends
    if ends:
        assert LinkSpec(loss=loss, arq_s=0.01).arq_s == 0.01
    else:
        with pytest.raises(ConfigurationError, match="sent again for ever"):
            LinkSpec(loss=loss, arq_s=0.01)


def test_a_traces_delay_can_be_skipped_and_bounds_no_jitter() -> None:
    """Reordering needs a delay, the trace's or its own; uniform jitter is bound by the word `delay` alone."""
    trace = Trace(name="t", curve=Steps([0, 1], [1e6], [0.02]))
    assert LinkSpec(trace=trace, reorder=0.1).reorder == 0.1
    with pytest.raises(ConfigurationError, match="reorder"):
        LinkSpec(trace=TRACE, reorder=0.1)
    with pytest.raises(ConfigurationError, match=r"jitter 0.005 is out of range; write 0 to 0 s, the delay"):
        LinkSpec(trace=trace, jitter_s=0.005)


def test_a_range_is_written_as_somebody_would_write_it() -> None:
    """Digits, no powers of ten."""
    with pytest.raises(ConfigurationError, match=r"write 1500 to 4294967296 bytes$"):
        LinkSpec(limit_bytes=1)
    with pytest.raises(ConfigurationError, match=r"write 0.0001 to 60 s$"):
        Fading(snr_db=1, bandwidth_hz=1e6, coherence_s=0)


def test_the_mean_rate_is_that_of_its_source() -> None:
    """A rate is itself, a trace and a fading have their mean, and a link without any takes no time."""
    specs = (LinkSpec(rate_bps=0), LinkSpec(trace=TRACE), LinkSpec(fading=FADING), LinkSpec())
    assert [spec.mean_rate_bps for spec in specs] == [0, 1e6, FADING.mean_rate_bps, None]


def test_links_with_one_rate_are_told_from_others() -> None:
    """Whether a change begins a new rate depends on rate, trace and fading alone, by their contents."""
    again = Trace(name="t", curve=Steps([0, 1], [1e6]))
    assert LinkSpec(trace=TRACE, delay_s=1).has_rate_of(LinkSpec(trace=again, burst_bytes=5))
    assert not LinkSpec(rate_bps=1e6).has_rate_of(LinkSpec(trace=TRACE))
    assert not LinkSpec(rate_bps=1e6).has_rate_of(LinkSpec(rate_bps=2e6))
    assert not LinkSpec(fading=FADING).has_rate_of(LinkSpec())
