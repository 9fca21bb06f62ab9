"""The link model against its formula and its promises, and the words it is written in."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import DEFAULT_OVERHEAD_BYTES, Link, LinkDrop, LinkSpec, parse_link

specs = st.builds(
    lambda rate_bps, delay_s, share, limit_messages, limit_bytes, overhead_bytes: LinkSpec(
        rate_bps=rate_bps,
        delay_s=delay_s,
        jitter_s=delay_s * share,
        limit_messages=limit_messages,
        limit_bytes=limit_bytes,
        overhead_bytes=overhead_bytes,
    ),
    st.none() | st.just(0.0) | st.floats(1e3, 1e10),
    st.just(0.0) | st.floats(0, 2),
    st.just(0.0) | st.floats(0, 1),
    st.integers(1, 50),
    st.none() | st.integers(1, 20_000),
    st.integers(0, 200),
)
traffic = st.lists(st.tuples(st.just(0.0) | st.floats(0, 0.5), st.integers(0, 5000)), min_size=1, max_size=80)
"pairs of (pause before the message, size)"

Outcome = tuple[float, int, float | LinkDrop]


def _run(spec: LinkSpec, messages: list[tuple[float, int]], seed: int = 1) -> tuple[Link, list[Outcome]]:
    link, now_s, outcomes = Link(spec, random.Random(seed)), 100.0, list[Outcome]()
    for pause_s, size_bytes in messages:
        now_s += pause_s
        outcomes.append((now_s, size_bytes, link.offer(now_s, size_bytes)))
    return link, outcomes


def _delivered(outcomes: list[Outcome]) -> list[tuple[float, int, float]]:
    return [(at, size, out) for at, size, out in outcomes if not isinstance(out, LinkDrop)]


def test_a_message_takes_its_time_on_the_link_then_the_delay() -> None:
    """At 1 Mbit/s and 10 ms, 926 + 74 bytes arrive 8 + 10 ms later; the next waits for the link first."""
    link = Link(parse_link("rate 1mbit delay 10ms"), random.Random(1))
    assert DEFAULT_OVERHEAD_BYTES == 74
    assert link.offer(0.0, 926) == pytest.approx(0.018)
    assert link.offer(0.001, 926) == pytest.approx(0.026)
    assert link.offer(1.0, 926) == pytest.approx(1.018)


@given(specs, traffic)
def test_first_in_first_out(spec: LinkSpec, messages: list[tuple[float, int]]) -> None:
    """However large the jitter, no message is delivered before one that was put in earlier."""
    deliveries = [out for _, _, out in _delivered(_run(spec, messages)[1])]
    assert all(a <= b for a, b in pairwise(deliveries))


@given(specs, traffic)
def test_delay_has_a_floor(spec: LinkSpec, messages: list[tuple[float, int]]) -> None:
    """No message is faster than its own time on the link plus delay minus jitter."""
    for at_s, size_bytes, delivery_s in _delivered(_run(spec, messages)[1]):
        sending_s = 8 * (size_bytes + spec.overhead_bytes) / spec.rate_bps if spec.rate_bps else 0.0
        assert delivery_s >= at_s + sending_s + spec.delay_s - spec.jitter_s - 1e-9


@given(specs, traffic)
def test_delay_never_builds_up(spec: LinkSpec, messages: list[tuple[float, int]]) -> None:
    """A message that finds the link free and the line empty is late by its time, delay and jitter only."""
    previous_s = 0.0
    for at_s, size_bytes, delivery_s in _delivered(_run(spec, messages)[1]):
        sending_s = 8 * (size_bytes + spec.overhead_bytes) / spec.rate_bps if spec.rate_bps else 0.0
        if previous_s <= at_s:
            assert delivery_s <= at_s + sending_s + spec.delay_s + spec.jitter_s + 1e-9
        previous_s = delivery_s


@given(specs, traffic)
def test_no_window_carries_more_than_the_rate(spec: LinkSpec, messages: list[tuple[float, int]]) -> None:
    """Between any two deliveries the link carried at most rate x time, jitter's two ends allowed for."""
    if not spec.rate_bps:
        return
    deliveries = _delivered(_run(spec, messages)[1])
    for first in range(len(deliveries)):
        bits = 0.0
        for _, size_bytes, delivery_s in deliveries[first + 1 :]:
            bits += 8 * (size_bytes + spec.overhead_bytes)
            window_s = delivery_s - deliveries[first][2] + 2 * spec.jitter_s
            assert bits <= spec.rate_bps * (window_s + 1e-9) * (1 + 1e-9)


@given(specs, traffic, st.floats(0, 20))
def test_messages_are_conserved(spec: LinkSpec, messages: list[tuple[float, int]], later_s: float) -> None:
    """At any time offered = delivered + queued + dropped, in messages and bytes, and bounds hold."""
    link, outcomes = _run(spec, messages)
    now_s = outcomes[-1][0] + later_s
    counts = link.statistics(now_s)
    assert counts.offered == len(messages) == counts.delivered + counts.queued + sum(counts.dropped.values())
    assert counts.offered_bytes == counts.delivered_bytes + counts.queued_bytes + counts.dropped_bytes
    assert counts.delivered == sum(out <= now_s for _, _, out in _delivered(outcomes))
    assert sum(counts.dropped.values()) == sum(isinstance(out, LinkDrop) for _, _, out in outcomes)
    assert counts.queued <= spec.limit_messages
    assert spec.limit_bytes is None or counts.queued_bytes <= spec.limit_bytes


@given(specs, traffic, st.integers(1, 5))
def test_looking_at_a_link_changes_nothing(
    spec: LinkSpec, messages: list[tuple[float, int]], looks: int
) -> None:
    """Time may pass in one leap or in many small steps: every delivery is the same."""
    link, now_s, outcomes = Link(spec, random.Random(1)), 100.0, list[Outcome]()
    for pause_s, size_bytes in messages:
        for look in range(looks):
            link.statistics(now_s + pause_s * look / looks)
        now_s += pause_s
        outcomes.append((now_s, size_bytes, link.offer(now_s, size_bytes)))
    assert outcomes == _run(spec, messages)[1]


@given(traffic)
def test_changing_the_rate_leaves_the_jitter_alone(messages: list[tuple[float, int]]) -> None:
    """The n-th message draws the same jitter whatever the rest of the spec is: studies stay comparable."""
    draws = list[float]()

    class Watched(random.Random):
        def random(self) -> float:
            draws.append(super().random())
            return draws[-1]

    for words in ("delay 20ms 20ms limit 1", "rate 5mbit delay 5ms", "rate 0"):
        link = Link(parse_link(words), Watched(7))
        for number, (_, size_bytes) in enumerate(messages):
            link.offer(float(number), size_bytes)
    assert draws == draws[: len(messages)] * 3


def test_jitter_fills_its_range() -> None:
    """Jitter is uniform: mean, spread and extremes are those of delay plus or minus jitter."""
    link = Link(parse_link("delay 20ms 5ms"), np.random.Generator(np.random.Philox(1)))
    delays = [link.offer(float(n), 100) - n for n in range(4000)]  # type: ignore[operator]
    assert min(delays) >= 0.015 and max(delays) <= 0.025
    assert np.mean(delays) == pytest.approx(0.020, abs=3 * 0.005 / np.sqrt(3 * 4000))
    assert np.std(delays) == pytest.approx(0.005 / np.sqrt(3), rel=0.05)


def test_a_full_queue_drops_and_says_so() -> None:
    """Over a limit in messages or bytes the newest is dropped; a delivered message makes room again."""
    link = Link(parse_link("delay 1s limit 2"), random.Random(1))
    assert [link.offer(t, 10) for t in (0.0, 0.1, 0.2, 1.0)] == [1.0, 1.1, LinkDrop.LIMIT_MESSAGES, 2.0]
    link = Link(parse_link("delay 1s limit 100b"), random.Random(1))
    assert [link.offer(0.0, size) for size in (60, 41, 40)] == [1.0, LinkDrop.LIMIT_BYTES, 1.0]
    assert link.statistics(0.5).dropped == {LinkDrop.LIMIT_BYTES: 1}


def test_rate_zero_is_an_outage_and_ends() -> None:
    """In an outage everything is dropped as such; a new spec in use ends it and keeps what was under way."""
    link = Link(parse_link("rate 1mbit delay 1s"), random.Random(1))
    first = link.offer(0.0, 1000)
    link.spec = parse_link("rate 0")
    assert link.offer(0.5, 1000) is LinkDrop.OUTAGE
    link.spec = parse_link("")
    assert link.offer(0.6, 1000) == first  # not before what was sent ahead of it
    assert link.statistics(2.0).delivered == 2


@given(specs)
def test_a_spec_prints_as_the_words_that_make_it(spec: LinkSpec) -> None:
    """Reading back what a spec prints gives that very spec, to the last bit of each number."""
    assert parse_link(str(spec)) == spec


@pytest.mark.parametrize(
    "words",
    [
        "",
        "rate 5mbit delay 20ms 2ms limit 100",
        "rate 20mbit delay 5ms",
        "rate 0",
        "rate 1.5kbit",
        "delay 250us",
        "delay 1.5s 100ms",
        "rate 1gbit limit 64kb overhead 0b",
        "rate 64kbit delay 300ms limit 10 limit 1500b overhead 40b",
    ],
)
def test_canonical_words_print_unchanged(words: str) -> None:
    """A spec in its shortest form prints as it was written."""
    assert str(parse_link(words)) == words


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("RATE 8Mbit", LinkSpec(rate_bps=8e6)),
        ("rate 1mbps", LinkSpec(rate_bps=8e6)),
        ("rate 1kibit", LinkSpec(rate_bps=1024)),
        ("rate 1kibps", LinkSpec(rate_bps=8192)),
        ("rate 9600", LinkSpec(rate_bps=9600)),
        ("delay 20msec 2000usec", LinkSpec(delay_s=0.02, jitter_s=0.002)),
        ("delay 0", LinkSpec()),
        ("limit 2kb", LinkSpec(limit_bytes=2048)),
        ("limit 1m limit 5", LinkSpec(limit_bytes=2**20, limit_messages=5)),
        ("limit 8kbit", LinkSpec(limit_bytes=1024)),
        ("overhead 40", LinkSpec(overhead_bytes=40)),
    ],
)
def test_units_are_those_of_tc(words: str, spec: LinkSpec) -> None:
    """bit and bps, decimal and binary prefixes, times and sizes mean what they mean in tc."""
    assert parse_link(words) == spec


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rat 5mbit", "rat: 'rat' is no word of a link; did you mean 'rate'?"),
        ("rate 5mbit dealy 3ms", "dealy: 'dealy' is no word of a link; did you mean 'delay'?"),
        ("loss 5%", "loss: 'loss' is no word of a link; known: delay, limit, overhead, rate"),
        ("rate", "rate: 'rate' lacks its value; write for instance 'rate 20mbit'"),
        ("rate delay 5ms", "rate: 'rate' lacks its value; write for instance 'rate 20mbit'"),
        ("rate fast", "rate: 'fast' is no number with a unit; write for instance 'rate 20mbit'"),
        ("rate 5mbits", "rate: 'mbits' in '5mbits' is no unit of it; did you mean 'mbit'?"),
        ("rate 5", "rate: rate 5 is out of range; write 100 to 1e+12 bit/s, or 0 for an outage"),
        ("rate -5mbit", "rate: rate -5e+06 is out of range"),
        ("delay 20", "delay: '20' has no unit; write for instance 'delay 20ms'"),
        ("delay -1ms", "delay: delay -0.001 is out of range; write 0 to 60 s"),
        ("delay 2h", "delay: 'h' in '2h' is no unit of it"),
        ("delay 100s", "delay: delay 100 is out of range; write 0 to 60 s"),
        ("delay 2ms 3ms", "jitter: jitter 0.003 is out of range; write 0 to 0.002 s, the delay"),
        ("limit 0", "limit: limit 0 is out of range; write 1 to 1e+06 messages"),
        ("limit 1.5", "limit: '1.5' is no whole number"),
        ("rate 1mbit rate 2mbit", "rate: 'rate' is given twice; leave one of them out"),
    ],
)
def test_errors_name_word_value_and_remedy(words: str, message: str) -> None:
    """Each wrong word or value is an error that says what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        parse_link(words)
    assert str(caught.value).startswith(message)


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["rate", "delay", "5mbit", "2ms", "limit", "9"])).map(" ".join)
)
def test_any_text_is_a_link_or_one_error(text: str) -> None:
    """Whatever stands there, parsing ends in a spec or in ConfigurationError."""
    try:
        assert parse_link(str(parse_link(text))) == parse_link(text)
    except ConfigurationError as error:
        assert error.remedy
