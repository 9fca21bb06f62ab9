"""What is drawn for real processes, and what their checkers find; no process is started."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.bench.recovery import Recovered, result
from draftwire.nodes.console.chaos import real, soak_real
from draftwire.nodes.console.chaos.outcome import Broken
from draftwire.nodes.console.chaos.real_asked import PROMISES, VOCAB_SIZE, Answering, Asked
from draftwire.nodes.console.chaos.real_faults import NODES, Player, RealFault, RealKind, drawn
from draftwire.nodes.console.chaos.real_nodes import Process, System
from draftwire.nodes.console.chaos.soak_real import LINES_AHEAD, TOKENS, Sample, Soak, Words, growth
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


class Still(System):
    """Its servers are ready, and its device is another program."""

    program: tuple[str, ...] = ("true",)

    def start(self, role: str, *args: str, config: Path | None = None, stdin: int | None = None) -> Process:
        out, err = (self.folder / f"{len(self.started)}.{kind}" for kind in ("out", "err"))
        out.touch()
        err.touch()
        process = Process(role, subprocess.Popen(self.program, stdin=stdin), out, err, time.monotonic())
        self.now[role] = process
        self.started.append(process)
        return process

    def wait_ready(self, *roles: str) -> None:
        pass


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Still]:
    config = tmp_path / "topology.toml"
    config.write_text("[sampling]\n")
    with closing(_Ended(Still(tmp_path, config))) as ended:
        yield ended.nodes


class _Ended:
    def __init__(self, nodes: Still) -> None:
        self.nodes = nodes

    def close(self) -> None:
        self.nodes.end()


@pytest.mark.timeout(60)
def test_where_each_request_is_over_at_once_the_rest_is_not_played(still: Still) -> None:
    """One more is asked, and then it is told how many faults are left."""
    campaign = real.Campaign(still, [], 0, 0.0, Player(still))
    campaign.play(drawn(1, kills=1))
    assert campaign.requests == real.MOST_IDLE and not campaign.played
    assert campaign.broken[-1].promise == "ends" and "12 faults were not played" in campaign.broken[-1].what


def test_an_order_to_the_link_that_hangs_breaks_a_promise(
    still: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a TimeoutError as everything that is waited for, which the campaign tells."""

    def hangs(*_: object, **options: Any) -> None:
        raise subprocess.TimeoutExpired("link", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    fault = RealFault(kind=RealKind.LINK, after_tokens=0, for_s=0.0, words="loss 100%")
    with pytest.raises(TimeoutError, match="the link is not loss 100%"):
        Player(still).play(fault, Answering(still, ASKED, lambda _: None, 0.0), hurried=False)


@pytest.mark.parametrize("module", [real, soak_real])
def test_told_to_stop_it_tells_what_came_so_far(
    module: Any, still: Still, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is printed, says that it is not complete, and Ctrl-C goes on to whoever waits for it."""

    @contextmanager
    def running(*_: object, **__: object) -> Iterator[System]:
        yield still

    def told_to_stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "running", running)
    monkeypatch.setattr(real.Campaign, "play", told_to_stop)
    monkeypatch.setattr(Soak, "work", told_to_stop)
    with pytest.raises(KeyboardInterrupt):
        real.run_real(as_json=True) if module is real else soak_real.run_soak(minutes=1.0, as_json=True)
    assert orjson.loads(capsys.readouterr().out)["complete"] is False


def test_a_device_that_ends_while_it_is_asked_is_named_in_the_result(still: Still) -> None:
    """A pipe that nobody reads any more stops neither the soak nor the end of its nodes."""
    still.program = ("sleep", "60")
    soak = Soak(still, Random(0))
    read, write = os.pipe()
    os.close(read)
    soak.stays.popen.stdin = os.fdopen(write, "wb")
    soak._ask()
    still.end()
    assert [text.partition(":")[0] for text in soak.result()["failed"]] == ["the device has ended"]


def test_the_device_that_stays_is_asked_as_it_answers(still: Still) -> None:
    """Lines are some answers ahead; of what it has written only what is new is read."""
    still.program = ("sleep", "60")
    soak = Soak(still, Random(0))
    soak._ask()
    assert soak._asked == LINES_AHEAD
    soak.stays.out.write_text("na " * TOKENS)
    soak._ask()
    assert soak._asked == LINES_AHEAD + 1 and soak.result()["answers_of_the_one_that_stays"] == 1


def test_words_are_counted_once_whatever_pieces_they_come_in(tmp_path: Path) -> None:
    """A word that is cut in two is one, and what was read is not read again."""
    path = tmp_path / "out"
    path.write_text("na v")
    words = Words(path)
    assert words.count() == 1
    with path.open("a") as file:
        file.write("e ka\n")
    assert words.count() == words.count() == 3
    path.write_bytes(b"\0" * path.stat().st_size + b"mi ")
    assert words.count() == 4


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
    assert found["worst_p99_s"] == pytest.approx(1.99) and found["goals"]["worst_p99_s"]["met"] is True
    late = [Recovered(away_s=0.0, start_s=1.0, after_ready_s=3.5)]
    assert result({"target": slow_start, "channel": late})["goals"]["worst_p99_s"]["met"] is False


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["chaos", "--real"],
            "--real: real processes are stopped, limited and looked at as Linux does; leave",
        ),
        (["chaos", "--real", "--minutes", "1"], "--real: real processes are stopped"),
        (["bench", "recovery"], "bench recovery: real processes are stopped, limited and looked at as Linux"),
    ],
)
def test_off_linux_it_says_what_is_missing(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what was asked for, before anything is started."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told and ("run it on Linux" in told) is (words[0] == "bench")


def test_the_real_nodes_are_imported_where_nothing_can_be_limited() -> None:
    """Only who limits a process needs the module `resource`."""
    text = "import sys; sys.modules['resource'] = None; import draftwire.nodes.console.chaos.real_nodes"
    ran = subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_quick_settles_how_many_deaths(capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once are refused: one of them would mean nothing."""
    assert main(["bench", "recovery", "--quick", "--kills", "5"]) == 2
    assert "--kills: beside --quick" in capsys.readouterr().err
