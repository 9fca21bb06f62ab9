"""The benchmark of the loop: a step's time is taken apart without counting anything twice."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.harness.processes import WITHIN_S, alive, children, wait_until

from draftwire.codecs.messages import Incarnation, Ping
from draftwire.nodes.console.bench import loop
from draftwire.nodes.console.bench.loop import LoopError, raw_echo, result, shares
from draftwire.nodes.console.bench.stopwatch import MODEL, QUANTISE, WORK, Span, stopwatches, timed_model
from draftwire.nodes.device import running
from draftwire.nodes.models.base import Ask, PackingModel
from draftwire.nodes.models.catalogue import load_target
from draftwire.runtime.config import ModelSettings, PairSettings, Topology, to_toml

MODEL_NAME = ModelSettings(model="synthetic:V=64,seed=1")
PAIR = Topology(pair=PairSettings(draft=MODEL_NAME, target=MODEL_NAME))


def _device() -> list[Span]:
    """Two steps of 60 ms: a Commit, a draw with a model inside, a Draft, rows behind it."""
    spans = []
    for at in (0.0, 0.060):
        spans += [
            Span("Commit", at, at + 0.0002),
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
        assert step.wall_s == pytest.approx(0.060)
        assert step.draft_model_s == pytest.approx(0.002)
        assert step.target_model_s == pytest.approx(0.050)
        assert step.codec_s == pytest.approx(0.0002 + 0.0001 + 0.0001 + 0.0001 + 0.0001)
        assert step.mathematics_s == pytest.approx(0.0004 + 0.0005)
        assert step.overhead_s(0.001) == pytest.approx(0.060 - 0.001 - 0.002 - 0.050 - 0.0006)


def test_the_shares_of_a_step_are_all_of_it() -> None:
    """The parts of one step add up to 100 per cent, and overhead is mathematics and the rest."""
    found = result(shares(_device(), _bs()), [0.0005, 0.001, 0.0015], tokens=3, repeats=1, quick=True)
    assert sum(found["shares"].values()) == pytest.approx(100)
    rest = found["shares"]["mathematics"] + found["shares"]["rest"]
    assert found["loop_overhead_pct"] == pytest.approx(rest)
    assert found["step_ms"] == pytest.approx(60)
    assert found["parts_ms"]["wire"] == pytest.approx(1)


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


def test_a_shared_pass_is_one_span() -> None:
    """A timed model shares passes where the model does, and answers as it does."""
    made = load_target("tiny:seed=1")
    spans: list[Span] = []
    timed = timed_model(made, spans)
    assert isinstance(timed, PackingModel)
    assert isinstance(made, PackingModel)
    assert timed.kv_bytes(9) == made.kv_bytes(9)
    contexts = timed.open(), timed.open()
    asks = [Ask(context=one, tokens=[1, 2, 3], rows=2) for one in contexts]
    found = timed.together(asks)
    assert [span.kind for span in spans] == [MODEL]
    assert [rows.shape for rows in found] == [(2, timed.vocab_size)] * 2
    contexts[0].close()
    with pytest.raises(ValueError, match="closed context"):
        timed.together(asks)
    assert not isinstance(timed_model(load_target("synthetic:V=8"), spans), PackingModel)


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, for a socket."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


@pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
def test_an_echo_that_dies_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw round trip to a process that was killed ends with a reason, instead of never."""
    before = children(os.getpid())

    async def main() -> None:
        async with raw_echo(folder, PAIR, sent=100, answered=50) as trip:
            assert await trip() > 0
            monkeypatch.setattr(loop, "ANSWER_WITHIN_S", 0.2)
            (echo,) = children(os.getpid()) - before
            os.kill(echo, signal.SIGKILL)
            await trip()

    with pytest.raises(LoopError, match=r"no answer .* within 0\.2 s"):
        asyncio.run(asyncio.wait_for(main(), WITHIN_S))


@pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
def test_the_echo_ends_with_whoever_started_it(folder: Path) -> None:
    """Killed without a chance to clean up, the benchmark leaves no process behind."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from draftwire.nodes.console.bench.loop import raw_echo\n"
        "from draftwire.runtime.config import parse_topology\n"
        "pair = parse_topology(sys.argv[2])\n"
        "async def main():\n"
        "    async with raw_echo(Path(sys.argv[1]), pair, sent=100, answered=50):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-P", "-c", code, str(folder), to_toml(PAIR)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        (echo,) = children(parent.pid)
        parent.kill()
    try:
        wait_until(lambda: not alive(echo), "the echo ends")
    finally:
        if alive(echo):
            os.kill(echo, signal.SIGKILL)
