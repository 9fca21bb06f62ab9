"""The benchmark of the loop: a step's time is taken apart without counting anything twice."""

import time

import pytest

from draftwire.codecs.messages import Incarnation, Ping
from draftwire.nodes.console.bench.loop import RAW, result, shares
from draftwire.nodes.console.bench.stopwatch import MODEL, QUANTISE, WORK, Span, stopwatches
from draftwire.nodes.device import running


def _device() -> list[Span]:
    """Two steps of 60 ms: a Commit, a raw trip, a draw with a model inside, a Draft, rows behind it."""
    spans = []
    for at in (0.0, 0.060):
        spans += [
            Span("Commit", at, at + 0.0002),
            Span(RAW, at + 0.0002, at + 0.0012),
            Span(MODEL, at + 0.0020, at + 0.0040),
            Span(QUANTISE, at + 0.0042, at + 0.0043),
            Span(WORK, at + 0.0020, at + 0.0045),
            Span("Draft", at + 0.0046, at + 0.0047),
            Span("SparseLogits", at + 0.0050, at + 0.0090),
        ]
    return [*spans, Span("Commit", 0.120, 0.1202)]


def _bs() -> list[Span]:
    spans = []
    for at in (0.0, 0.060):
        spans += [
            Span("Draft", at + 0.0050, at + 0.0051),
            Span(MODEL, at + 0.0055, at + 0.0555),
            Span(WORK, at + 0.0555, at + 0.0560),
            Span("Commit", at + 0.0570, at + 0.0571),
        ]
    return spans


def test_a_step_taken_apart() -> None:
    """Each part is that of the spans; rows that travel behind the pass cost nothing."""
    steps = shares(_device(), _bs())
    assert len(steps) == 2
    for step in steps:
        assert step.wall_s == pytest.approx(0.059)
        assert step.wire_s == pytest.approx(0.001)
        assert step.draft_model_s == pytest.approx(0.002)
        assert step.target_model_s == pytest.approx(0.050)
        assert step.codec_s == pytest.approx(0.0002 + 0.0001 + 0.0001 + 0.0001 + 0.0001)
        assert step.mathematics_s == pytest.approx(0.0004 + 0.0005)
        assert step.overhead_s == pytest.approx(0.059 - 0.001 - 0.002 - 0.050 - 0.0006)


def test_the_shares_of_a_step_are_all_of_it() -> None:
    """The parts of one step add up to 100 per cent, and overhead is mathematics and the rest."""
    found = result(shares(_device(), _bs()), tokens=3, repeats=1, quick=True)
    assert sum(found["shares"].values()) == pytest.approx(100)
    rest = found["shares"]["mathematics"] + found["shares"]["rest"]
    assert found["loop_overhead_pct"] == pytest.approx(rest)
    assert found["step_ms"] == pytest.approx(59)


def test_target_only_commits_are_no_steps() -> None:
    """Between two Commits without a Draft nothing was drafted, so nothing is measured."""
    assert shares([Span("Commit", 0.0, 0.1), Span("Commit", 1.0, 1.1)], []) == []


def test_stopwatches_leave_the_calls_as_they_were() -> None:
    """Calls are timed while the block runs, by the message they are about, and are themselves again after."""
    original = vars(running)["encode_frame"]
    with stopwatches() as spans:
        began_s = time.monotonic()
        ping = Ping(incarnation=Incarnation(boot=1, counter=1), known=1, stamp=1)
        vars(running)["encode_frame"](ping, session=1, sequence=1)
        (span,) = spans
        assert span.kind == "Ping"
        assert began_s <= span.begun_s <= span.ended_s <= time.monotonic()
    assert vars(running)["encode_frame"] is original
