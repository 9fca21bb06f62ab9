"""The words of links: each of them, its units, and that what a link prints is read back as it."""

import pytest
from hypothesis import given, settings
from tests.harness.link_specs import TRACES, find_trace, link_specs

from draftwire.runtime.link import (
    BurstLoss,
    Distribution,
    Fading,
    LinkSpec,
    RandomLoss,
    Trace,
    parse_link,
    shipped_trace,
)
from draftwire.runtime.link.curves import Steps


@given(link_specs())
def test_a_link_prints_as_the_words_that_make_it(link: LinkSpec) -> None:
    """Reading back what a link prints gives that very link, to the last bit of each number."""
    assert parse_link(str(link), find_trace=find_trace) == link


@given(link_specs(), link_specs())
@settings(max_examples=150)
def test_words_after_another_link_read_back(link: LinkSpec, before: LinkSpec) -> None:
    """What a link says after another, read on top of that one, is the link."""
    assert parse_link(link.words_after(before), after=before, find_trace=find_trace) == link
    assert link.words_after(link) == ""


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
        "rate 1mbit burst 4kb limit 64kb",
        "rate unlimited burst 2mb limit 1500b",
        "rate 0 burst 4kb",
        "tbf rate 1mbit burst 4kb limit 64kb",
        "delay 5ms limit 9 overhead 0b tbf rate 1mbit burst 4kb limit 64kb",
        "trace lte-like burst 4kb tbf limit 64kb",
        "rate 0 tbf limit 64kb",
        "delay 20ms 2ms 25% distribution paretonormal",
        "delay 20ms loss 0.1% 25%",
        "loss gemodel 1% 30%",
        "loss gemodel 1% 30% 90%",
        "loss gemodel 1% 30% 90% 0.01%",
        "loss 10% arq 8ms",
        "duplicate 1% 50%",
        "corrupt 0.1%",
        "delay 10ms reorder 25% 50% gap 5",
        "trace lte-like delay 15ms",
        "rayleigh -3db 5mhz 20ms",
        "overhead 8b 40b",
        "overhead 0b 0b 1000b",
    ],
)
def test_canonical_words_print_unchanged(words: str) -> None:
    """A link in its shortest form prints as it was written."""
    assert str(parse_link(words)) == words


@pytest.mark.parametrize(
    ("words", "link"),
    [
        ("RATE 8Mbit", LinkSpec(rate_bps=8e6)),
        ("rate 1mbps", LinkSpec(rate_bps=8e6)),
        ("rate 1kibit", LinkSpec(rate_bps=1024)),
        ("rate 1kibps", LinkSpec(rate_bps=8192)),
        ("rate 1tbit", LinkSpec(rate_bps=1e12)),
        ("rate 0.5gibit", LinkSpec(rate_bps=2**29)),
        ("rate 9600", LinkSpec(rate_bps=9600)),
        ("rate 1e3kbit", LinkSpec(rate_bps=1e6)),
        ("rate unlimited", LinkSpec()),
        ("rate 5kbit 20", LinkSpec(rate_bps=5e3, packet_overhead_bytes=86)),
        ("rate 5kbit -14", LinkSpec(rate_bps=5e3, packet_overhead_bytes=52)),
        ("overhead 0 rate 5kbit 38", LinkSpec(rate_bps=5e3, overhead_bytes=0, packet_overhead_bytes=38)),
        ("rate 5kbit 38 overhead 8b 40b", LinkSpec(rate_bps=5e3, packet_overhead_bytes=78)),
        ("delay 20msec 2000usec", LinkSpec(delay_s=0.02, jitter_s=0.002)),
        ("delay 1sec", LinkSpec(delay_s=1)),
        ("delay 2secs", LinkSpec(delay_s=2)),
        ("delay 0.5us", LinkSpec(delay_s=5e-7)),
        ("delay 100ns", LinkSpec(delay_s=1e-7)),
        ("delay 1.5msec 10nsecs", LinkSpec(delay_s=0.0015, jitter_s=1e-8)),
        ("delay 0", LinkSpec()),
        ("delay 20ms 2ms 25%", LinkSpec(delay_s=0.02, jitter_s=0.002, jitter_correlation=0.25)),
        (
            "distribution Normal delay 20ms 30ms",
            LinkSpec(delay_s=0.02, jitter_s=0.03, distribution=Distribution.NORMAL),
        ),
        ("delay 20ms 2ms distribution uniform", LinkSpec(delay_s=0.02, jitter_s=0.002)),
        ("loss 5%", LinkSpec(loss=RandomLoss(share=0.05))),
        ("loss random 5% 25%", LinkSpec(loss=RandomLoss(share=0.05, correlation=0.25))),
        ("drop 5%", LinkSpec(loss=RandomLoss(share=0.05))),
        ("loss 0", LinkSpec(loss=RandomLoss(share=0.0))),
        ("loss none", LinkSpec()),
        ("loss gemodel 10%", LinkSpec(loss=BurstLoss(to_bad=0.1, to_good=0.9))),
        (
            "loss gemodel 1% 10% 70% .1%",
            LinkSpec(loss=BurstLoss(to_bad=0.01, to_good=0.1, bad_loss=0.7, good_loss=0.001)),
        ),
        ("arq 8ms loss 5%", LinkSpec(loss=RandomLoss(share=0.05), arq_s=0.008)),
        ("duplicate 1% 2%", LinkSpec(duplicate=0.01, duplicate_correlation=0.02)),
        ("corrupt 1% 2%", LinkSpec(corrupt=0.01, corrupt_correlation=0.02)),
        ("gap 5 reorder 25% delay 10ms", LinkSpec(delay_s=0.01, reorder=0.25, reorder_gap=5)),
        ("limit 2kb", LinkSpec(limit_bytes=2048)),
        ("limit 1m limit 5", LinkSpec(limit_bytes=2**20, limit_messages=5)),
        ("limit 16kbit", LinkSpec(limit_bytes=2048)),
        ("limit 1gb", LinkSpec(limit_bytes=2**30)),
        ("limit unlimited", LinkSpec()),
        ("rate 1mbit burst 1600", LinkSpec(rate_bps=1e6, burst_bytes=1600)),
        ("rate 1mbit buffer 32kbit", LinkSpec(rate_bps=1e6, burst_bytes=4096)),
        ("rate 1mbit maxburst 1k", LinkSpec(rate_bps=1e6, burst_bytes=1024)),
        (
            "latency 400ms rate 1mbit",
            LinkSpec(rate_bps=1e6, limit_bytes=50_000, limit_is_of_queue=True),
        ),
        (
            "rate 1mbit burst 4kb latency 400ms",
            LinkSpec(rate_bps=1e6, burst_bytes=4096, limit_bytes=54_096, limit_is_of_queue=True),
        ),
        (
            "delay 5ms tbf limit 3000",
            LinkSpec(delay_s=0.005, limit_bytes=3000, limit_is_of_queue=True, limit_messages=1_000_000),
        ),
        (
            "netem limit 9 tbf limit 3000",
            LinkSpec(limit_bytes=3000, limit_is_of_queue=True, limit_messages=9),
        ),
        ("overhead 40", LinkSpec(overhead_bytes=40, packet_overhead_bytes=0)),
        ("overhead 8 66", LinkSpec()),
        ("overhead 8b 40 1400b", LinkSpec(packet_overhead_bytes=40, packet_bytes=1400)),
        ("trace lte-like", LinkSpec(trace=shipped_trace("lte-like"))),
        ("trace 'nr-like'", LinkSpec(trace=shipped_trace("nr-like"))),
        (
            "rayleigh 15dB 5MHz 20ms",
            LinkSpec(fading=Fading(snr_db=15, bandwidth_hz=5e6, coherence_s=0.02)),
        ),
        ("rayleigh 0 180khz 1s", LinkSpec(fading=Fading(snr_db=0, bandwidth_hz=1.8e5, coherence_s=1))),
    ],
)
def test_words_and_units_mean_what_they_mean_in_tc(words: str, link: LinkSpec) -> None:
    """Each word says what docs/link.md says of it; units are those of tc."""
    assert parse_link(words) == link


@pytest.mark.parametrize(
    ("words", "link"),
    [
        ("rate 1mbit", "rate 1mbit burst 4kb delay 20ms 2ms 25% loss 5% arq 8ms reorder 5% gap 3 limit 9"),
        ("delay 30ms", "rate 5mbit burst 4kb delay 30ms loss 5% arq 8ms reorder 5% gap 3 limit 9"),
        ("loss 1%", "rate 5mbit burst 4kb delay 20ms 2ms 25% loss 1% reorder 5% gap 3 limit 9"),
        ("loss none", "rate 5mbit burst 4kb delay 20ms 2ms 25% reorder 5% gap 3 limit 9"),
        ("reorder 0", "rate 5mbit burst 4kb delay 20ms 2ms 25% loss 5% arq 8ms limit 9"),
        (
            "trace lte-like burst 0 distribution normal arq 1ms gap 2",
            "trace lte-like delay 20ms 2ms 25% distribution normal loss 5% arq 1ms reorder 5% gap 2 limit 9",
        ),
        (
            "rayleigh 0 1mhz 1s limit 1000",
            "rayleigh 0db 1mhz 1s burst 4kb delay 20ms 2ms 25% loss 5% arq 8ms reorder 5% gap 3",
        ),
        (
            "latency 100ms",
            "delay 20ms 2ms 25% loss 5% arq 8ms reorder 5% gap 3 limit 9 "
            "tbf rate 5mbit burst 4kb limit 66596b",
        ),
        (
            "rate unlimited overhead 0",
            "rate unlimited burst 4kb delay 20ms 2ms 25% loss 5% arq 8ms reorder 5% gap 3 limit 9 "
            "overhead 0b",
        ),
    ],
)
def test_a_word_says_its_whole_thing_and_nothing_else(words: str, link: str) -> None:
    """On top of another link a word replaces all that it could have said, and leaves the rest."""
    before = parse_link("rate 5mbit burst 4kb delay 20ms 2ms 25% loss 5% arq 8ms reorder 5% gap 3 limit 9")
    assert str(parse_link(words, after=before)) == link


def test_another_trace_of_the_same_name_is_another_link() -> None:
    """A file that has changed since is named again."""
    link, before = (
        LinkSpec(trace=Trace(name="x", curve=Steps([0, 1], [rate_bps]))) for rate_bps in (1e6, 2e6)
    )
    assert (link.words_after(before), link.words_after(link)) == ("trace x", "")


@pytest.mark.parametrize("name", TRACES)
def test_traces_of_any_name_can_be_written(name: str) -> None:
    """Names with spaces, quotes, semicolons and backslashes come back as they were, and are asked for so."""
    asked = list[str]()
    link = LinkSpec(trace=TRACES[name])

    def find(wanted: str) -> object:
        asked.append(wanted)
        return find_trace(wanted)

    assert parse_link(str(link), find_trace=find) == link  # type: ignore[arg-type]
    assert asked == [name]
