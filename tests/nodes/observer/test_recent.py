"""Sliding figures: bytes that flow."""

import pytest

from draftwire.nodes.observer.recent import Flow


def test_what_was_told_behind_a_pause_is_no_trickle() -> None:
    """Traffic is told each 0.5 s while there is any: what comes after a minute of nothing came just now."""
    flow = Flow()
    flow.observe(1000, counted_s=100.0, at_s=0.0)
    flow.observe(6000, counted_s=160.0, at_s=60.0)
    assert flow.value(60.0) == pytest.approx(10_000)


def test_two_counts_at_once_are_no_endless_rate() -> None:
    """Counts that lie closer together than any that are told stand for 50 ms each."""
    flow = Flow()
    flow.observe(0, counted_s=1.0, at_s=1.0)
    flow.observe(1000, counted_s=1.0, at_s=1.0)
    assert flow.value(1.0) == pytest.approx(20_000)
