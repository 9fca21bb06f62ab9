"""A real device that is killed in mid-answer and goes on from its journal, with the BS or without it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory

import orjson
import pytest
from tests.harness.cell import greedy
from tests.harness.processes import SYNTHETIC, WITHIN_S, alive, children, finished, started, wait_until
from tests.harness.reference import reference_text

from draftwire.codecs.messages import Sampling
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.models.synthetic import SyntheticPair, SyntheticTokenizer
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.request import Request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")

TOKENS = 80
PROMPT = "hello there"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for temporary files with a short name."""
    with TemporaryDirectory(prefix="dw-") as name:
        yield Path(name)


def _text(temperature: float) -> list[str]:
    """The words of the undisturbed answer."""
    tokenizer, pair = SyntheticTokenizer(64), SyntheticPair(vocab_size=64, seed=1)
    prompt = tuple(tokenizer.encode_prompt(PROMPT))
    if temperature == 0:
        return tokenizer.decode(greedy(pair.target, prompt, TOKENS)).split()
    request = Request(
        prompt=prompt, sampling=Sampling(temperature=temperature), seed=5, max_new_tokens=TOKENS
    )
    draft, target, noise = pair.draft.open(), pair.target.open(), PhiloxNoise()
    return tokenizer.decode(
        reference_text(request, draft, target, k=8, gamma=4, vocab_size=64, noise=noise)
    ).split()


class System:
    """A target and a controller in processes of their own; a device that is started again and again."""

    def __init__(
        self, folder: Path, stack: ExitStack, temperature: float, journal: Path | None = None
    ) -> None:
        self.folder, self.stack = folder, stack
        self.journal = journal or folder / "journal.jsonl"
        with ExitStack() as ports:
            sockets = [ports.enter_context(closing(create_server(("127.0.0.1", 0)))) for _ in range(2)]
            target, controller = (one.getsockname()[1] for one in sockets)
        self.config = folder / "topology.toml"
        self.config.write_text(
            "[pair]\ndraft = 'synthetic:V=64,seed=1'\ntarget = 'synthetic:V=64,seed=1'\n"
            f"[target]\naddress = 'tcp://127.0.0.1:{target}'\n"
            f"[controller]\naddress = 'tcp://127.0.0.1:{controller}'\nk = 8\ngamma = 4\n"
            f"[sampling]\ntemperature = {temperature}\nseed = 5\nmax_new_tokens = {TOKENS}\n"
            "[compute]\nprofile = 'paper'\n"  # so that there is time to die in mid-answer
        )
        self.start("controller")
        self.target = self.start("target")

    def start(self, role: str) -> subprocess.Popen[bytes]:
        node = self.stack.enter_context(started(role, "--config", str(self.config), temporary=self.folder))
        assert node.stdout is not None and node.stdout.readline().startswith(b"ready")
        return node

    def kill_target(self) -> None:
        """The BS loses all it held; another takes its place."""
        self.target.kill()
        self.target.wait(WITHIN_S)
        self.target = self.start("target")

    def options(self, *more: str) -> list[str]:
        return ["--config", str(self.config), "--journal", str(self.journal), *more]

    @property
    def id(self) -> str:
        """Of the one request in the journal."""
        return str(orjson.loads(self.journal.read_bytes().split(b"\n")[0])["id"])

    def how(self) -> Sequence[str]:
        """To ask, or to go on, whichever is due."""
        begun = self.journal.exists() and b"\n" in self.journal.read_bytes()
        return self.options("--resume", self.id) if begun else self.options(PROMPT)

    def life(self, words: int, stop: signal.Signals = signal.SIGKILL) -> tuple[list[str], int, str]:
        """The device, until it has shown so many words more: all that it showed, its code, what it said."""
        with started("device", *self.how(), temporary=self.folder) as device:
            assert device.stdout is not None and device.stderr is not None
            shown, kept = b"", self.kept()
            while len(shown.split()) < kept + words and (chunk := os.read(device.stdout.fileno(), 4096)):
                shown += chunk
            device.send_signal(stop)
            out, err = device.communicate(timeout=WITHIN_S)
            return (shown + out).decode().split(), device.returncode, err.decode()

    def kept(self) -> int:
        """Tokens that the journal has."""
        if not self.journal.exists():
            return 0
        events = [orjson.loads(line) for line in self.journal.read_bytes().split(b"\n")[:-1]]
        return sum(len(event["ids"]) for event in events if event["event"] == "tokens")


def _deaths(folder: Path, temperature: float, words: Sequence[int], *, bs_dies_at: int | None) -> None:
    """Kill the device behind so many words of each life; at the end the text is the undisturbed one."""
    expected = _text(temperature)
    with ExitStack() as stack:
        system = System(folder, stack, temperature)
        before = 0
        for number, count in enumerate(words):
            shown, code, _ = system.life(count)
            assert code == -signal.SIGKILL, (code, number)
            whole = expected[: len(shown)]
            # The last word may be torn: a pipe knows no words.
            assert shown[:-1] == whole[:-1] and whole[-1:] and whole[-1].startswith(shown[-1])
            assert system.kept() >= max(len(shown) - 1, before), "shown, but not kept"
            before = system.kept()
            if number == bs_dies_at:
                system.kill_target()
        ran = finished("device", *system.how(), temporary=folder)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split() == expected
        assert f"{TOKENS - before} tokens behind {before} kept | " in ran.stderr.splitlines()[-1]
        with Journal(system.journal) as journal:
            assert not journal.open_entries()


def test_killed_twice_and_the_bs_between(folder: Path) -> None:
    """kill -9 of the device, of the BS, of the device again: the text is the undisturbed one, at T = 1."""
    _deaths(folder, 1.0, [5, 11], bs_dies_at=0)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_killed_twelve_times_in_a_row(folder: Path, temperature: float) -> None:
    """Twelve kills in a row, the BS's among them, cost time and nothing else."""
    _deaths(folder, temperature, [1, 2, 3, 1, 5, 1, 8, 1, 1, 13, 2, 1], bs_dies_at=6)


@pytest.mark.slow
@pytest.mark.parametrize("words", [1, 2, 7, 30, 70])
def test_kill_points(folder: Path, words: int) -> None:
    """A kill at the beginning, in the middle and near the end, at temperature 1."""
    _deaths(folder, 1.0, [words], bs_dies_at=None)


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_device_that_is_told_to_stop_says_how_to_go_on(folder: Path, stop: signal.Signals) -> None:
    """Stopped in order it leaves its request open, and says the very command that goes on with it."""
    with ExitStack() as stack:
        system = System(folder, stack, 1.0)
        _, code, said = system.life(6, stop)
        assert code == {signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
        assert "Traceback" not in said
        first, last = said.splitlines()
        assert first == f"request {system.id} is kept in {system.journal}"
        assert last.startswith(f"request {system.id} stays open; go on with: draftwire device ")
        ran = finished(*shlex.split(last.partition("go on with: draftwire ")[2]), temporary=folder)
        assert (ran.returncode, ran.stdout.split()) == (0, _text(1.0)), ran.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_device_that_is_told_to_stop_before_it_reaches_the_bs(folder: Path, stop: signal.Signals) -> None:
    """Its answer is not complete either: the code says so, and the request stays open."""
    config, journal = folder / "topology.toml", folder / "journal.jsonl"
    with closing(create_server(("127.0.0.1", 0))) as once:
        port = once.getsockname()[1]
    config.write_text(f"[pair]\ndraft = 'synthetic:'\n[target]\naddress = 'tcp://127.0.0.1:{port}'\n")
    argv = ("device", "--config", str(config), "--journal", str(journal), PROMPT)
    with started(*argv, temporary=folder) as device:
        wait_until(lambda: journal.exists() and b'"state"' in journal.read_bytes(), "the request is sent")
        device.send_signal(stop)
        out, err = device.communicate(timeout=WITHIN_S)
    assert (device.returncode, out) == (143, b"")
    assert err.decode().splitlines()[-1].partition(" ")[2].partition(" ")[2].startswith("stays open; go on")


@pytest.mark.slow
def test_one_journal_for_one_process(folder: Path) -> None:
    """While a device writes to its journal another one is refused, and told who may hold it."""
    with ExitStack() as stack:
        system = System(folder, stack, 0.0)
        with started("device", *system.options(PROMPT), temporary=folder) as device:
            assert device.stdout is not None
            os.read(device.stdout.fileno(), 64)
            second = finished("device", *system.options(PROMPT), temporary=folder)
            assert second.returncode == 2 and second.stdout == ""
            assert "another process writes to it; end the `draftwire device`" in second.stderr


@pytest.mark.slow
def test_without_a_journal_the_device_says_so(folder: Path) -> None:
    """Whoever starts a device without a journal reads at once what that means."""
    with ExitStack() as stack:
        system = System(folder, stack, 0.0)
        ran = finished("device", "--config", str(system.config), PROMPT, temporary=folder)
        assert ran.stdout.split() == _text(0.0)
        assert ran.stderr.splitlines()[0].startswith("no --journal: ")


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system with room for 16 KiB. Skips where none can be mounted."""
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "draftwire-test", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk(folder: Path) -> None:
    """A journal that is full ends the answer with an error; with room again it goes on as if nothing was."""
    with _small_disk(folder) as disk, ExitStack() as stack:
        system = System(folder, stack, 1.0, disk / "journal.jsonl")
        filler = disk / "filler"
        filler.write_bytes(bytes(8192))
        ran = finished("device", *system.options(PROMPT), temporary=folder)
        assert ran.returncode == 1
        assert "the journal can't be written: No space left on device; the request stays open" in ran.stderr
        shown = ran.stdout.split()
        assert 3 < len(shown) < TOKENS and shown == _text(1.0)[: len(shown)]
        assert system.kept() == len(shown)
        filler.unlink()
        ran = finished("device", *system.options("--resume", system.id), temporary=folder)
        assert (ran.returncode, ran.stdout.split()) == (0, _text(1.0)), ran.stderr


@pytest.mark.slow
def test_generate_goes_on_with_nodes_of_its_own(folder: Path) -> None:
    """Four new nodes go on where four killed ones stood; --json has the whole text, and how much was kept."""
    journal = folder / "journal.jsonl"
    options = (*SYNTHETIC[:4], "--profile", "paper", "--journal", str(journal))
    asks = [PROMPT, *options, "--k", "8", "--gamma", "4", "--seed", "5", "--max-new-tokens", str(TOKENS)]
    with started("generate", *asks, temporary=folder) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 64)
        nodes = children(process.pid)
        process.kill()
        process.wait(WITHIN_S)
        wait_until(lambda: not any(alive(pid) for pid in nodes), "the nodes end with their device")
    id = orjson.loads(journal.read_bytes().split(b"\n")[0])["id"]
    ran = finished("generate", *options, "--resume", id, "--json", temporary=folder)
    assert ran.returncode == 0, ran.stderr
    fields = orjson.loads(ran.stdout)
    assert fields["text"].split() == _text(1.0)
    assert fields["resumed_tokens"] > 0
    assert fields["resumed_tokens"] + fields["tokens"] == TOKENS
