"""What is drawn for real processes, and what their checkers find; no process is started."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.bench.recovery import Recovered, result
from draftwire.nodes.console.chaos.outcome import Broken
from draftwire.nodes.console.chaos.real_asked import PROMISES, VOCAB_SIZE, Answering, Asked
from draftwire.nodes.console.chaos.real_faults import NODES, RealKind, drawn
from draftwire.nodes.console.chaos.real_nodes import Process, System
from draftwire.nodes.console.chaos.soak_real import Sample, growth
from draftwire.nodes.console.cli import main
from draftwire.nodes.models.synthetic import SyntheticTokenizer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real processes are stopped as Linux does")

ASKED = Asked(
    number=0, acceptance=Acceptance.COUPLED, temperature=1.0, seed=3, prompt="hello there", tokens=12
)


def test_every_node_is_killed_so_many_times_and_the_seed_settles_the_order() -> None:
    """The counts are those asked for whatever the seed; another seed gives another order."""
    faults = drawn(1, kills=5, stops=2, outages=3)
    counts = Counter((fault.kind, fault.node) for fault in faults)
    assert all(counts[RealKind.KILL, node] == 5 for node in NODES)
    assert all(counts[RealKind.STOP, node] == 2 for node in NODES)
    assert counts[RealKind.LINK, ""] == 3 and len(faults) == 4 * 7 + 3
    assert faults == drawn(1, kills=5, stops=2, outages=3) != drawn(2, kills=5, stops=2, outages=3)
    assert {fault.after_tokens is None for fault in faults} == {True, False}


class Scene:
    """A request whose device's lives are files that a test has written."""

    def __init__(self, folder: Path, asked: Asked = ASKED) -> None:
        self.folder, self.broken = folder, list[Broken]()
        nodes = System(folder, folder / "topology.toml")
        self.answering = Answering(nodes, asked, self.broken.append, 0.0)
        self.tokenizer = SyntheticTokenizer(VOCAB_SIZE)
        self.words = asked.words() if asked.known else ["na"] * asked.tokens

    def life(self, words: list[str], kept: list[str] | None = None) -> set[str]:
        """Look back at a life that has shown these words and kept those; the promises that broke in it."""
        self.broken.clear()
        number = len(self.answering.lives)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        out.write_text(" ".join(words))
        err.write_text("")
        popen = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
        popen.kill()
        popen.wait()
        self.answering.lives.append(Process("device", popen, out, err, 0.0))
        self.journal([self.ids(words if kept is None else kept)])
        self.answering.look_back()
        return {one.promise for one in self.broken}

    def ids(self, words: list[str]) -> list[int]:
        return self.tokenizer.encode_prompt(" ".join(words)) if words else []

    def journal(self, pieces: list[list[int]], *, gap: int = 0) -> None:
        position, lines = 2, [{"event": "request", "id": "abcdefgh"}]
        for piece in filter(None, pieces):
            lines.append({"event": "tokens", "id": "abcdefgh", "position": position, "ids": piece})  # type: ignore[dict-item]
            position += len(piece) + gap
        self.answering.journal.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def test_lives_that_go_on_break_nothing(tmp_path: Path) -> None:
    """Each shows what the one before has shown, and more; what is kept may be ahead of what is shown."""
    scene = Scene(tmp_path)
    assert scene.life(scene.words[:3], scene.words[:5]) == set()
    assert scene.life([], scene.words[:5]) == set()  # killed before it has shown anything again
    assert scene.life(scene.words[:7]) == set()
    assert scene.answering.shown == scene.words[:7]


@pytest.mark.parametrize(
    ("shown", "kept", "broken"),
    [
        pytest.param(lambda w: [*w[:4], w[3], *w[4:6]], None, {"once", "text"}, id="repeated"),
        pytest.param(lambda w: [*w[:2], *w[3:7]], None, {"once", "text"}, id="lost"),
        pytest.param(
            lambda w: [*w[:6], "na" if w[6] != "na" else "ve"],
            lambda w: [*w[:6], "na" if w[6] != "na" else "ve"],
            {"text"},
            id="changed",
        ),
        pytest.param(lambda w: w[:7], lambda w: w[:6], {"journal"}, id="shown before it was kept"),
    ],
)
def test_what_is_lost_repeated_or_changed_is_found(
    tmp_path: Path,
    shown: Callable[[list[str]], list[str]],
    kept: Callable[[list[str]], list[str]] | None,
    broken: set[str],
) -> None:
    """Each breaks the promise that names it."""
    scene = Scene(tmp_path)
    assert scene.life(scene.words[:5]) == set()
    words = shown(scene.words)
    assert scene.life(words, None if kept is None else kept(scene.words)) == broken
    assert broken <= set(PROMISES)


def test_a_gap_in_a_journal_is_found(tmp_path: Path) -> None:
    """Positions follow each other."""
    scene = Scene(tmp_path)
    scene.journal([[1, 2], [3]])
    assert scene.answering.kept_ids() == [1, 2, 3] and not scene.broken
    scene.journal([[1, 2], [3]], gap=1)
    scene.answering.kept_ids()
    assert [one.promise for one in scene.broken] == ["journal"]


def test_the_text_is_known_where_drafts_are_hints() -> None:
    """At temperature 0 and where it is coupled, and a text of another seed is another one."""
    fields: dict[str, Any] = {"number": 1, "prompt": "hello there", "tokens": 12}
    greedy = Asked(acceptance=Acceptance.REJECTION, temperature=0.0, seed=3, **fields)
    drawn_text = Asked(acceptance=Acceptance.REJECTION, temperature=1.0, seed=3, **fields)
    other = Asked(acceptance=Acceptance.COUPLED, temperature=1.0, seed=4, **fields)
    assert ASKED.known and greedy.known and not drawn_text.known
    assert len(ASKED.words()) == 12 and ASKED.words() != other.words()


def _samples(memory_mb: Callable[[float], float], files: Callable[[float], int]) -> list[Sample]:
    return [
        Sample(at_s=float(at_s), memory_mb=memory_mb(at_s), files=files(at_s), threads=3)
        for at_s in range(0, 600, 2)
    ]


@pytest.mark.parametrize(
    ("memory_mb", "files", "flat"),
    [
        pytest.param(lambda s: 60 + min(s, 200) / 10, lambda s: 40 + min(s, 200) // 10, True, id="fills"),
        pytest.param(lambda s: 60 + s / 40, lambda s: 40, False, id="memory leaks"),
        pytest.param(lambda s: 60, lambda s: 40 + s // 20, False, id="files leak"),
    ],
)
def test_what_grows_in_the_second_half_is_not_flat(
    memory_mb: Callable[[float], float], files: Callable[[float], int], flat: bool
) -> None:
    """What fills up in the first half is no leak."""
    found = growth(_samples(memory_mb, files))
    assert found is not None and found["flat"] is flat
    assert growth(_samples(memory_mb, files)[:3]) is None


def test_the_goal_counts_from_ready_on() -> None:
    """A node's own start is told apart; the worst node's 99th percentile is what is judged."""
    slow_start = [Recovered(away_s=0.0, start_s=30.0, after_ready_s=1.0)]
    away = [Recovered(away_s=10.0, start_s=1.0, after_ready_s=2.0)]
    found = result({"target": [*slow_start, *away], "device": slow_start})
    assert found["target"]["worst_s"] == 31.0 and found["target"]["away"]["kills"] == 1
    assert found["device"]["away"] is None
    assert found["worst_p99_s"] == pytest.approx(1.99) and found["goal_met"] is True
    late = [Recovered(away_s=0.0, start_s=1.0, after_ready_s=3.5)]
    assert result({"target": slow_start, "channel": late})["goal_met"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kills", "3"], "--kills: it is of real processes; add --real"),
        (["--minutes", "3"], "--minutes: it is of real processes; add --real"),
        (["--real", "--schedules", "3"], "--schedules: it is of virtual time"),
        (["--real", "--kills", "3", "--minutes", "3"], "--kills: beside --minutes"),
        (["--real", "--minutes", "0"], "--minutes: 0 will not do"),
    ],
)
def test_options_that_contradict_each_other(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is named, with what to do, before anything runs."""
    assert main(["chaos", *words]) == 2
    assert said in capsys.readouterr().err
