"""Any links and schedules that can be written: numbers of every size, every impairment, awkward names.

For what reads, writes or carries links. tests/harness/radio.py has links whose behaviour is easy to follow.
"""

from itertools import accumulate
from typing import Final

from hypothesis import strategies as st

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import (
    BurstLoss,
    Distribution,
    Fading,
    LinkSchedule,
    LinkSpec,
    LinkStep,
    RandomLoss,
    Trace,
    shipped_trace,
)
from draftwire.runtime.link.curves import Opportunities, Steps

TRACES: Final = {
    trace.name: trace
    for trace in (
        shipped_trace("lte-like"),
        shipped_trace("nr-like"),
        Trace(name="/traces/drive.up", curve=Opportunities([1, 2, 2, 5])),
        Trace(name="/my traces/it's 5% \"off\"; really.csv", curve=Steps([0, 1, 3], [1e6, 0])),
        Trace(name="rate;limit", curve=Steps([0, 1], [1e6])),
        Trace(name="\\", curve=Steps([0, 1], [1e6], [0.125])),
    )
}
"""With a delay of their own and without."""


def find_trace(name: str) -> Trace:
    """One of TRACES; a FindTrace."""
    if name not in TRACES:
        raise ConfigurationError(f"{name!r} is not there", key="trace", remedy="name one that is")
    return TRACES[name]


shares = st.sampled_from([0.0, 0.01, 0.25, 1.0]) | st.floats(1e-9, 1)
correlations = st.just(0.0) | st.floats(1e-9, 1, exclude_max=True)
times = st.sampled_from([0.0, 0.02]) | st.floats(1e-9, 60)
losses = (
    st.none()
    | st.builds(RandomLoss, share=shares, correlation=correlations)
    | st.builds(BurstLoss, to_bad=shares, to_good=shares, bad_loss=shares, good_loss=shares)
)
fadings = st.builds(
    Fading,
    snr_db=st.integers(-30, 60).map(float) | st.floats(-30, 60),
    bandwidth_hz=st.floats(1e3, 1e10),
    coherence_s=st.floats(1e-4, 60),
)


@st.composite
def link_specs(draw: st.DrawFn) -> LinkSpec:
    """Links of every kind; those that stand for nothing above all are among them."""
    rate_bps = draw(st.none() | st.just(0.0) | st.floats(100, 1e12))
    trace = draw(st.none() | st.sampled_from(list(TRACES.values())))
    fading = draw(st.none() | fadings) if trace is None else None
    delay_s, distribution = draw(times), draw(st.sampled_from(Distribution))
    bound_s = delay_s if distribution is Distribution.UNIFORM else 60.0
    own_delay = trace is not None and trace.curve.delay_s(0.0) is not None
    loss = draw(losses)
    limit_bytes = draw(st.none() | st.integers(1500, 2**32))
    return LinkSpec(
        rate_bps=rate_bps if trace is None and fading is None else None,
        trace=trace,
        fading=fading,
        burst_bytes=draw(st.just(0) | st.integers(0, 2**20)),
        delay_s=delay_s,
        jitter_s=draw(st.just(0.0) | st.floats(0, 1).map(lambda share: share * bound_s)),
        distribution=distribution,
        jitter_correlation=draw(correlations),
        reorder=draw(shares) if delay_s or own_delay else 0.0,
        reorder_correlation=draw(correlations),
        reorder_gap=draw(st.just(1) | st.integers(1, 1000)),
        loss=loss,
        arq_s=draw(st.none() | times) if loss is not None and loss.lets_through else None,
        duplicate=draw(shares),
        duplicate_correlation=draw(correlations),
        corrupt=draw(shares),
        corrupt_correlation=draw(correlations),
        limit_messages=draw(st.sampled_from([1000, 1, 10**6]) | st.integers(1, 10**6)),
        limit_bytes=limit_bytes,
        limit_is_of_queue=limit_bytes is not None and draw(st.booleans()),
        overhead_bytes=draw(st.sampled_from([8, 0, 74])),
        packet_overhead_bytes=draw(st.sampled_from([66, 0, 40])),
        packet_bytes=draw(st.sampled_from([1448, 64, 1000])),
    )


@st.composite
def schedules(
    draw: st.DrawFn,
    *,
    links: st.SearchStrategy[LinkSpec],
    pauses: st.SearchStrategy[float],
    at_most: int = 6,
) -> LinkSchedule:
    """Schedules of these links, so long each, with a `repeat` or without."""
    chosen = draw(st.lists(links, min_size=1, max_size=at_most))
    begins = list(accumulate((draw(pauses) for _ in chosen), initial=0.0))
    repeats = len(chosen) > 1 and draw(st.booleans())
    return LinkSchedule(
        steps=tuple(LinkStep(at_s=at_s, link=link) for at_s, link in zip(begins[:-1], chosen, strict=True)),
        repeat_s=begins[-1] if repeats else None,
    )


__all__ = [
    "TRACES",
    "correlations",
    "fadings",
    "find_trace",
    "link_specs",
    "losses",
    "schedules",
    "shares",
    "times",
]
