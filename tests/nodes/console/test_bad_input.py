"""What people get wrong at the command line: one line naming field, value and remedy, and no trace left."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import structlog
from tests.harness.processes import SYNTHETIC, children
from tests.harness.tables import usual_set

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_FRAME_BYTES
from draftwire.codecs.messages import Incarnation, SparseLogits
from draftwire.codecs.quantize import quantize
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.cli import main, one_line, parser
from draftwire.nodes.device.checks import check_pins
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Keyring, Role

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
pytestmark = needs_proc


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Temporary folders of our own, and no logger left that writes into a captured stream."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    structlog.reset_defaults()


def _fails(capfd: pytest.CaptureFixture[str], argv: list[str], code: int, *words: str) -> None:
    """The command ends with `code` and one line on stderr that holds the words; nothing stays behind."""
    before = children(os.getpid())
    try:
        ended = main(argv)
    except SystemExit as error:  # argparse
        ended = int(error.code or 0)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    ordinary = ("Loading ", "no --journal: ", "note: the channel was late: ")
    said = [line for line in lines if not line.endswith(" is ready") and not line.startswith(ordinary)]
    assert ended == code, err
    assert len(said) == 1, err
    assert said[0].startswith("draftwire: ")
    for word in words:
        assert word in said[0], said[0]
    assert out == ""
    assert children(os.getpid()) <= before


GENERATE = ["generate", "hello", *SYNTHETIC]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--k", "0"], ("--k", "0", "from 1")),
        (["--k", "-3"], ("--k", "-3", "from 1")),
        (["--k", "many"], ("--k", "many", "--help")),
        (["--k", "65"], ("--k", "65", "64")),
        (["--gamma", "-1"], ("--gamma", "-1", "from 0 to 32")),
        (["--gamma", "33"], ("--gamma", "33", "from 0 to 32")),
        (["--acceptance", "coupld"], ("--acceptance", "'coupld'", "rejection, coupled or auto")),
        (["--acceptance", "x.npz"], ("--acceptance", "--recording")),
        (["--min-draft", "2"], ("--min-draft", "2", "choose acceptance coupled or auto")),
        (["--max-waste", "0.5"], ("--max-waste", "0.5", "choose acceptance coupled or auto")),
        (["--acceptance", "coupled", "--min-draft", "33"], ("--min-draft", "33", "from 0 to 32")),
        (["--acceptance", "auto", "--max-waste", "-1"], ("--max-waste", "-1", "write 0 to 1000")),
        (["--acceptance", "auto", "--max-waste", "nan"], ("--max-waste", "nan", "write 0 to 1000")),
        (["--temperature", "-0.5"], ("--temperature", "-0.5", "from 0")),
        (["--temperature", "nan"], ("--temperature", "NaN", "from 0")),
        (["--top-p", "0"], ("--top-p", "0", "above 0")),
        (["--top-k", "-1"], ("--top-k", "-1", "from 0")),
        (["--max-new-tokens", "0"], ("--max-new-tokens", "0", "from 1")),
        (["--seed", "-1"], ("--seed", "-1", "from 0")),
        (["--stop", ""], ("--stop", "''", "1 to 1024")),
        (["--stop", "\udcff", "--journal", "/missing/j"], ("--stop", "character 0", "UTF-8")),
        (["--stop", "x"] * 20, ("--stop", "20 texts", "at most")),
        (["--link", "rat 5mbit"], ("--link", "rat", "'rate'")),
        (["--link", "rate fast"], ("--link", "rate", "fast")),
        (["--link", "delay"], ("--link", "delay", "lacks")),
        (["--dtype", "flot32"], ("--dtype", "flot32", "float32")),
        (["--tables", "/no/such/set"], ("--tables", "/no/such/set", "No such file", "tables learn")),
        (["--tables", "/dev/null"], ("--tables", "/dev/null", "no set of tables", "tables learn")),
        (["--tables", ""], ("--tables", '""', "name a file")),
        (["--tables", "none", "--tables", "x"], ("--tables", "'none' beside other sets", "alone")),
        (["--tables", "x"] * 9, ("--tables", "9", "8 files at most")),
        (["--profile", "papr"], ("--profile", "papr", "paper")),
        (["--tempature", "1"], ("--tempature", "--help")),
        (["--record", "/no/such/folder/file"], ("--record", "/no/such/folder/file", "written")),
        (["--config", "/no/such/file"], ("/no/such/file", "No such file")),
        (["twice", "asked"], ("unrecognized arguments: twice asked: a value of several words needs quotes",)),
    ],
)
def test_bad_options(capfd: pytest.CaptureFixture[str], options: list[str], words: tuple[str, ...]) -> None:
    """A wrong option is one line with the option, the value and what to write; with --json just so."""
    _fails(capfd, [*GENERATE, *options, "--json"], 2, *words)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", ("empty", "write something")),
        ("  \n", ("empty", "write something")),
        ("caf\udce9", ("character 3", "no text", "UTF-8")),  # what Python makes of a Latin-1 argument
    ],
)
def test_prompts_with_nothing_to_answer(
    capfd: pytest.CaptureFixture[str], prompt: str, words: tuple[str, ...]
) -> None:
    """An empty prompt, and one that is no text."""
    _fails(capfd, ["generate", prompt, *SYNTHETIC], 2, "PROMPT", *words)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (["--draft", "nosuch"], ("--draft: There is no model 'nosuch'", "smollm2", "OWNER/MODEL")),
        (["--target", "nosuch"], ("--target: There is no model 'nosuch'", "smollm2", "OWNER/MODEL")),
        (["--draft", ""], ("--draft", "folder")),
        (["--draft", "synthetic:V=one"], ("V is 'one'", "whole number")),
        (["--draft", "synthetic:V=1"], ("synthetic:V=1", "at least 2")),
    ],
)
def test_unknown_models(
    capfd: pytest.CaptureFixture[str], models: list[str], words: tuple[str, ...]
) -> None:
    """A model that does not exist, at either end, is one line that says what a model can be called."""
    _fails(capfd, [*GENERATE, *models], 2, *words)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("synthetic:V=65,seed=1", ("vocabulary size", "64", "65", "one family")),
        pytest.param("tiny:", ("vocabulary size", "64", "259", "one family"), marks=pytest.mark.slow),
    ],
)
def test_unlike_vocabularies(
    capfd: pytest.CaptureFixture[str], target: str, words: tuple[str, ...]
) -> None:
    """Draft and target of different vocabularies: both values and the remedy."""
    _fails(capfd, [*GENERATE, "--target", target], 3, *words)


def test_prompt_beyond_the_context(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A prompt and its answer that exceed the draft's 1024 positions: both counts, the context, a remedy."""
    path = _file(tmp_path, "[pair]\ndraft = 'tiny:'\ntarget = 'tiny:'\n[sampling]\nmax_new_tokens = 200\n")
    _fails(capfd, ["device", "--config", path, "x" * 900], 2, "prompt", "200", "1024", "shorten")


def test_rows_that_no_message_can_carry(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """K between 4096 and V has no form on the wire: the line says so, with what may be written."""
    pair = ["--draft", "synthetic:V=5000", "--target", "synthetic:V=5000"]
    _fails(capfd, ["generate", "hello", *pair, "--k", "4097"], 2, "--k", "4097", "4096", "5000")


def test_whole_rows_that_exceed_a_frame(capfd: pytest.CaptureFixture[str]) -> None:
    """A block of whole rows beyond 1 MiB: the line names K, gamma and what fits."""
    pair = ["--draft", "synthetic:V=40000", "--target", "synthetic:V=40000"]
    argv = ["generate", "hello", *pair, "--k", "40000", "--gamma", "16"]
    _fails(capfd, argv, 2, "--k", "gamma = 16", "40000", "write 13 for gamma", "4096")


@pytest.mark.parametrize(("vocab_size", "gamma"), [(40_000, 13), (32_768, 15), (49_152, 10), (8192, 32)])
def test_whole_rows_up_to_the_limit_are_sent(vocab_size: int, gamma: int) -> None:
    """The largest block that passes the check is one that the codec spells; one row more is refused."""
    check_pins(vocab_size, gamma, vocab_size)
    row = quantize(np.arange(vocab_size), np.zeros(vocab_size), vocab_size=vocab_size)
    incarnation = Incarnation(boot=0, counter=0)
    message = SparseLogits(incarnation=incarnation, draft_epoch=0, start=0, rows=(row,) * gamma)
    assert len(encode_frame(message, session=0, sequence=0)) <= MAX_FRAME_BYTES
    if gamma < 32:
        with pytest.raises(ConfigurationError, match=f"write {gamma} for gamma"):
            check_pins(vocab_size, gamma + 1, vocab_size)


def test_rows_of_a_file_that_no_message_can_carry(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What a file fixes for all requests is checked when a node that knows the vocabulary starts."""
    pair = "[pair]\ndraft = 'synthetic:V=64'\ntarget = 'synthetic:V=64'\n"
    path = _file(tmp_path, f"{pair}[controller]\nk = 65\n")
    for role in ("target", "device"):
        _fails(capfd, [role, "--config", path], 2, "controller.k", "65", "64")


def test_a_policy_that_cannot_be_had(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The controller says which name is wrong and what to write; so does a command that starts one."""
    path = _file(tmp_path, "[controller]\npolicy = 'no_such_module:Policy'\n")
    words = ("controller.policy", "no_such_module", "PYTHONPATH")
    _fails(capfd, ["controller", "--config", path], 2, *words)
    _fails(capfd, [*GENERATE, "--config", path], 2, *words)


def test_an_unwritable_cache(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made on the fly has nowhere to go: the path, the reason and the variable that helps."""
    monkeypatch.setenv("DRAFTWIRE_CACHE", "/proc/nope")
    argv = ["generate", "hello", "--draft", "tiny:", "--target", "tiny:"]
    _fails(capfd, argv, 2, "cannot write /proc/nope/tiny-", "set DRAFTWIRE_CACHE to a folder")


def test_a_file_with_an_unknown_model(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The end whose model does not exist is named by the file's key."""
    for end, role in (("draft", "device"), ("target", "target")):
        path = _file(tmp_path, f"[pair]\n{end} = 'nosuch'\n")
        for argv in ([role, "--config", path], ["generate", "hello", "--config", path]):
            _fails(capfd, argv, 2, f"pair.{end}: There is no model 'nosuch'")


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "topology.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[target]\nadress = 'tcp://127.0.0.1:1'\n", ("target.adress", "unknown key", "'address'")),
        ("[tragets]\n", ("tragets", "'target'")),
        ("[controller]\nk = 'x'\n", ("controller.k", '"x"', "whole number")),
        ("[controller]\ngamma = -1\n", ("controller.gamma", "-1", "from 0 to 32")),
        ("[controller]\npolicy = 'pdi'\n", ("controller.policy", "pdi", "'pid'", "package.module:attribute")),
        ("[pair]\ntables = 'none'\n", ("pair.tables", '"none"', "tables = []")),
        ("[channel]\nuplink = 'speed 5mbit'\n", ("channel.uplink", "speed", "rate")),
        ("not toml", ("mend the TOML",)),
    ],
)
@pytest.mark.parametrize("role", ["generate", "target", "channel", "controller", "device", "up"])
def test_bad_files(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, role: str, text: str, words: tuple[str, ...]
) -> None:
    """Every command that reads a topology says which file and key are wrong, and offers the nearest name."""
    path = _file(tmp_path, text)
    argv = {"generate": ["generate", "hello", "--config", path], "up": ["up", path]}
    _fails(capfd, argv.get(role, [role, "--config", path]), 2, "topology.toml", *words)


def test_a_file_that_cannot_be_read(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Bytes that are no text, and a folder, are named as such."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    _fails(capfd, ["up", str(binary)], 2, "binary.toml", "UTF-8")
    _fails(capfd, ["up", str(tmp_path)], 2, str(tmp_path), "directory")


def _topology(port: int, **changes: str) -> str:
    return (
        "[pair]\ndraft = 'synthetic:'\ntarget = 'synthetic:'\n"
        f"[target]\naddress = 'tcp://127.0.0.1:{port}'\n"
        "[device]\nreach_s = 0.5\n"
        "[controller]\naddress = 'tcp://127.0.0.1:1'\nk = 8\n"
    )


def test_tables_of_another_vocabulary(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that is named must be of the model's vocabulary; both are told, before a socket is opened."""
    path = tmp_path / "small.tables"
    path.write_bytes(table_set_bytes(usual_set(32, tables=1)))
    pair = "[pair]\ndraft = 'synthetic:V=64'\ntarget = 'synthetic:V=64'\n"
    config = _file(tmp_path, f"{pair}[target]\naddress = 'ipc://{tmp_path}/t'\n")
    for role in ("target", "device"):
        argv = [role, "--config", config, "--tables", str(path)]
        _fails(capfd, argv, 2, "--tables: ", "small.tables", "32 ids", "64", "none for plain rows")


def test_a_controller_and_the_doctor_take_tables_too(capfd: pytest.CaptureFixture[str]) -> None:
    """As the nodes with models do, by the same option: what is no set is told of it."""
    _fails(capfd, ["controller", "--tables", "/no/such/set"], 2, "--tables: '/no/such/set': No such file")
    assert main(["doctor", "--tables", "/no/such/set"]) == 1
    assert "--tables: '/no/such/set': No such file" in capfd.readouterr().out


def test_a_busy_port(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A port that somebody else has: which one, and to stop its owner or take another; alone and in `up`."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        path = _file(tmp_path, _topology(port))
        for argv in (["target", "--config", path], ["up", path]):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", argv)
                ended = main(argv)
            err = capfd.readouterr().err
            assert ended == 3, err
            (said,) = [line for line in err.splitlines() if line.startswith("draftwire: ")]
            assert f"127.0.0.1:{port}" in said
            assert "already in use" in said
            assert "Traceback" not in err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{}", "tcp://192.0.2.7:5701", "ipc:///missing/target"])
def test_an_address_that_cannot_be_bound_is_told_before_anything_is_loaded(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A taken port, another machine's address, no folder for a path: known at once, not after minutes."""

    def build_target(*_: object, **__: object) -> None:
        raise AssertionError("a model would be loaded")

    monkeypatch.setattr("draftwire.nodes.console.roles.build_target", build_target)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = address.format(taken.getsockname()[1])
        path = _file(tmp_path, f"[target]\naddress = '{address}'\n[security]\nplain = true\n")
        _fails(capfd, ["target", "--config", path], 3, address, "; ")


def test_a_name_without_a_key_is_told_by_its_option(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where --name gave the name the error is about that option; where the file did, about its key."""
    path = _file(
        tmp_path,
        "[pair]\ndraft = 'synthetic:'\n[device]\nname = 'phone-2'\n[security]\nfolder = 'keys'\n",
    )
    keys = tmp_path / "keys"
    for name, role in (("phone-1", "device"), ("target", "target")):
        Keyring(keys).new(name, role=Role(role))
    _fails(capfd, ["device", "--config", path, "--name", "phone-7", "hi"], 2, "--name: 'phone-7' has no key")
    _fails(capfd, ["device", "--config", path, "hi"], 2, "device.name: 'phone-2' has no key")
    _fails(capfd, ["device", "--config", path, "--name", "a b", "hi"], 2, "--name: ", "a b")


def test_an_absent_target(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody at the target's address: an error after reach_s that names the address and what to look at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as once:
        port = once.getsockname()[1]
    path = _file(tmp_path, _topology(port))
    words = (f"127.0.0.1:{port}", "0.5 s", "is the target running")
    _fails(capfd, ["device", "--config", path, "hello"], 3, *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["link", "set", ""], ("WORDS", "no words", "'delay 0'")),
        (["link", "set", " ", ""], ("WORDS", "no words", "'delay 0'")),
        (["link", "plot", ""], ("SPEC", "no words", "'delay 0'")),
        (["link", "plot", "rate", "1mbit", "delya", "3ms"], ("SPEC", "'delya'", "'delay'")),
        (["link", "plot", "delay 0", "--seconds", "abc"], ("--seconds", "abc", "write 0.01 to 3600")),
        (["link", "plot", "delay 0", "--seconds", "nan"], ("--seconds", "nan", "write 0.01 to 3600")),
    ],
)
def test_bad_links_of_a_command(
    capfd: pytest.CaptureFixture[str], command: list[str], words: tuple[str, ...]
) -> None:
    """An empty link is no order to take the link away; words without quotes are one link."""
    _fails(capfd, command, 2, *words)


def test_a_link_needs_no_quotes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Words that a shell has taken apart are one link, and any seed that a channel has fits."""
    drawn = ["--seconds", "1", "--seed", str(2**63 - 1), "--output", str(tmp_path / "a.svg")]
    said = []
    for spec in (["rate 1mbit delay 5ms"], ["rate", "1mbit", "delay", "5ms"]):
        assert main(["link", "plot", *spec, *drawn]) == 0
        said.append(capfd.readouterr().out)
    assert said[0] == said[1]
    assert said[0].startswith("rate 1mbit delay 5ms\n")


def test_descriptions_are_set_out_plainly() -> None:
    """A docstring of several lines comes without its indent; `link` and `bench` say all they do."""
    (commands,) = [action for action in parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    assert "\nThey have throw-away keys" in (commands.choices["up"].description or "")
    summaries = {one.dest: one.help or "" for one in commands._choices_actions}  # type: ignore[attr-defined]
    assert "draw" in summaries["link"]
    assert "links" in summaries["bench"]


def test_every_option_is_explained() -> None:
    """--help of every command has a sentence on each option; generate's shows examples."""
    (commands,) = [action for action in parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    for name, command in commands.choices.items():
        assert len(command.description or "") > 40, name
        for action in command._actions:
            assert action.help, f"{name}: {action.option_strings or action.dest}"
    assert "examples:" in commands.choices["generate"].format_help()


def test_several_lines_become_one() -> None:
    """A list in a message keeps its first column."""
    assert one_line("No. Known:\n  a    the first\n  b c  the second") == "No. Known: a, b c"
    assert one_line("plain") == "plain"
