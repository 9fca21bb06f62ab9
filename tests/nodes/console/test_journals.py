"""--journal and --resume at the command line: what contradicts itself, and what is said when it can't be."""

import argparse
import shlex
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture
from tests.nodes.device.test_journal import entry

from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.journals import _again, opened_journal, told_how_to_go_on
from draftwire.nodes.device.journal import Journal, JournalError

PAIR = ["--draft", "synthetic:", "--target", "synthetic:"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with one open request and one that has ended."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.begin(entry("aaaaaaaa"))
        journal.begin(entry("bbbbbbbb")).end(finish="length")
    return path


def _fails(capfd: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    """The command ends with 2 and one line with these words, before a node is started."""
    try:
        assert main(argv) == 2
    finally:
        structlog.reset_defaults()
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize("command", ["generate", "device"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume", "aaaaaaaa"], ("--resume", "--journal FILE")),
        (["hello", "--journal", "{path}", "--resume", "aaaaaaaa"], ("PROMPT", "aaaaaaaa", "leave it out")),
        (["--journal", "{path}", "--resume", "cccccccc"], ("no request 'cccccccc'", "open: aaaaaaaa")),
        (["--journal", "{path}", "--resume", "bbbbbbbb"], ("bbbbbbbb has ended (length)", "open: aaaaaaaa")),
        (["hello", "--journal", "/dev/full"], ("--journal", "'/dev/full': not a plain file")),
        (["hello", "--journal", "/missing/j"], ("--journal", "No such file")),
        (["--journal", "{path}.typo", "--resume", "aaaaaaaa"], ("--journal", ".typo'", "No such file")),
    ],
)
def test_what_contradicts_itself(
    capfd: pytest.CaptureFixture[str], path: Path, command: str, options: list[str], words: tuple[str, ...]
) -> None:
    """Each is one line that names the option and the remedy; an id that is not open gets those that are."""
    given = [option.format(path=path) for option in options]
    _fails(capfd, [command, *given, *(PAIR if command == "generate" else [])], *words)
    assert list(path.parent.iterdir()) == ([path] if path.exists() else []), "no journal is begun by mistake"


@pytest.mark.parametrize(
    "option",
    [["--k", "4"], ["--temperature", "0"], ["--seed", "0"], ["--stop", "x"], ["--max-new-tokens", "9"]],
)
def test_what_the_journal_has_is_not_given_again(
    capfd: pytest.CaptureFixture[str], path: Path, option: list[str]
) -> None:
    """A request goes on as it began: options of the request are refused beside --resume, not ignored."""
    argv = ["generate", "--journal", str(path), "--resume", "aaaaaaaa", *PAIR, *option]
    _fails(capfd, argv, option[0], "the journal has it, for request aaaaaaaa")


@pytest.mark.parametrize("command", ["device", "generate"])
@pytest.mark.parametrize("option", [["--min-draft", "3"], ["--max-waste", "1"], ["--acceptance", "auto"]])
def test_how_its_drafts_are_is_the_journal_s_too(
    capfd: pytest.CaptureFixture[str], path: Path, command: str, option: list[str]
) -> None:
    """Before anything is said of what they mean beside the acceptance of a file."""
    argv = [command, "--journal", str(path), "--resume", "aaaaaaaa", *option]
    argv += PAIR if command == "generate" else []
    _fails(capfd, argv, option[0], "the journal has it, for request aaaaaaaa")


def test_a_prompt_is_needed_without_resume(capfd: pytest.CaptureFixture[str]) -> None:
    """`generate` alone asks for one."""
    _fails(capfd, ["generate", *PAIR], "PROMPT", "write what to answer")


def test_a_torn_line_is_told(path: Path) -> None:
    """What is cut off is a warning with its size, not an error."""
    with path.open("ab") as file:
        file.write(b'{"event":"tok')
    captured = LogCapture()
    structlog.configure(processors=[captured])
    try:
        with opened_journal(argparse.Namespace(journal=path, resume="aaaaaaaa")) as journal:
            assert journal is not None
    finally:
        structlog.reset_defaults()
    (event,) = captured.entries
    assert (event["event"], event["log_level"], event["bytes"]) == ("device.journal_cut", "warning", 13)


class _Kept:
    """An answer whose request is written down, or can't be."""

    id = "aaaaaaaa"

    def __init__(self, journal: Journal, error: Exception | None = None) -> None:
        self.journal, self._error = journal, error

    def keep(self) -> None:
        if self._error is not None:
            raise self._error
        self.journal.begin(entry(self.id))


def test_kept_is_said_of_what_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """That a request is kept is said once it is, that it stays open if it does; of one that could not be
    written, neither.
    """
    args = argparse.Namespace(journal=tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        full = JournalError(journal.path, "no room", remedy="make some")
        with pytest.raises(JournalError), told_how_to_go_on(_Kept(journal, full), "device", args):  # type: ignore[arg-type]
            raise AssertionError("the answer has begun")
        assert capsys.readouterr().err == ""
        with told_how_to_go_on(_Kept(journal), "device", args):  # type: ignore[arg-type]
            assert journal.is_open("aaaaaaaa")
            assert capsys.readouterr().err == f"request aaaaaaaa is kept in {journal.path}\n"
        said = capsys.readouterr().err
        assert said.startswith("request aaaaaaaa stays open; go on with: draftwire device ")


@pytest.mark.parametrize(
    "argv",
    [
        ["generate", "hello", *PAIR, "--link", "rate 1mbit delay 5ms", "--journal", "my journal", "--k", "3"],
        ["device", "--config", "a b.toml", "--name", "phone-2", "--journal", "j", "hello"],
    ],
)
def test_how_to_go_on_is_the_command_that_does(argv: list[str]) -> None:
    """What is said parses to the same system, with the id in the prompt's place and no more of it."""
    args = parser().parse_args(argv)
    said = shlex.split(shlex.join(_again(argv[0], args, "aaaaaaaa")))
    assert said[0] == "draftwire"
    again = vars(parser().parse_args(said[1:]))
    for key, value in vars(args).items():
        if key not in ("prompt", "resume", "k"):
            assert again[key] == value, key
    assert (again["prompt"], again["resume"], again.get("k")) == (None, "aaaaaaaa", None)
