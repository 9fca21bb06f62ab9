"""The kernel's own token bucket and the model of a link: the same packets and words, the same departures.

Both know when each packet was sent, and the kernel stamps when it arrives, so a loaded machine moves neither.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from draftwire.nodes.console.bench.channel_kernel import (
    Crossing,
    KernelLink,
    KernelLinkError,
    Packet,
    bursts,
    compare,
    kernel_link,
    mixed_packets,
    why_not,
)
from draftwire.runtime.link import LinkDrop

pytestmark = pytest.mark.slow

WITHIN_S: Final = 1e-3
"""The median of errors on an idle machine is below 0.1 ms."""

TRIES: Final = 5
HELD_UP_S: Final = 0.004
"""A sender that was held up for so long has not sent its burst before the queue moved on."""


@pytest.fixture(scope="module")
def link() -> Iterator[KernelLink]:
    """A cable between two namespaces."""
    if reason := why_not():
        pytest.skip(reason)
    with kernel_link() as made:
        yield made


@pytest.mark.parametrize("mbit", [1, 5, 20])
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_packets_leave_when_the_model_says(link: KernelLink, mbit: int, load: float) -> None:
    """Of all sizes and at times as they come, all arrive, in order, each when the model has it leave."""
    packets = mixed_packets(rate_bps=1e6 * mbit, load=load, number=300, seed=mbit)
    found = compare(link.cross(f"rate {mbit}mbit burst 1600b limit 1000000b", packets))
    assert found.kernel_order == found.model_order == list(range(300))
    assert median(abs(error_s) for error_s in found.errors_s) < WITHIN_S


def test_another_link_would_not_pass(link: KernelLink) -> None:
    """Against a model that is a tenth faster, or that sends nothing at once, the same packets are off."""
    packets = mixed_packets(rate_bps=1e6, load=0.9, number=300, seed=4)
    crossing = link.cross("rate 1mbit burst 1600b limit 1000000b", packets)
    for words in ("rate 1100kbit burst 1600b limit 1000000b", "rate 1mbit limit 1000000b"):
        errors_s = compare(replace(crossing, words=words)).errors_s
        assert median(abs(error_s) for error_s in errors_s) > WITHIN_S, words


@pytest.mark.parametrize("payload_bytes", [200, 1000])
def test_a_full_queue_drops_the_same_packets(link: KernelLink, payload_bytes: int) -> None:
    """Bursts longer than the queue: both lose the same packets, by its limit, and none else."""
    packets = bursts(every_s=0.3, number=4, of=40, payload_bytes=payload_bytes)
    limit = 12 * (payload_bytes + 42) + 7
    crossing = _sent_in_time(link, f"rate 500kbit burst 1600b limit {limit}b", packets)
    found = compare(crossing)
    assert found.model_lost
    assert set(found.model_lost.values()) == {LinkDrop.LIMIT_BYTES}
    assert found.kernel_lost == found.model_lost.keys()
    assert found.kernel_order == found.model_order
    assert median(abs(error_s) for error_s in found.errors_s) < WITHIN_S


def _sent_in_time(link: KernelLink, words: str, packets: list[Packet]) -> Crossing:
    """A crossing whose bursts were bursts."""
    for _ in range(TRIES):
        crossing = link.cross(words, packets)
        if crossing.held_up_s < HELD_UP_S:
            return crossing
    pytest.skip(f"{TRIES} times the sender was held up for more than {1e3 * HELD_UP_S:g} ms")


def test_words_that_tc_refuses_are_told(link: KernelLink) -> None:
    """The error has tc's own command."""
    with pytest.raises(KernelLinkError, match=r"tc -n .* tbf rate nothing"):
        link.cross("rate nothing", [Packet(at_s=0.0, payload_bytes=100)])


def test_nothing_is_left_behind() -> None:
    """However the block ends, its namespaces are gone, and the cable with them."""
    if reason := why_not():
        pytest.skip(reason)
    before = _namespaces()
    with pytest.raises(ValueError, match="in the block"), kernel_link():
        assert len(_namespaces() - before) == 2
        raise ValueError("in the block")
    assert _namespaces() == before


def _namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").iterdir() if path.name.startswith(f"dw{os.getpid()}k")}
