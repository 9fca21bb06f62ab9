"""What options say is looked at before anything runs."""

import os
from argparse import ArgumentParser
from pathlib import Path

import pytest

from draftwire.nodes.console.cli import main
from draftwire.nodes.console.options import add_drafting_arguments, check_writable, with_chosen_drafting
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.runtime.config import AcceptanceRule, Topology, parse_topology
from draftwire.runtime.errors import ConfigurationError


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """To open one would wait for a reader that may never come: it is refused at once, by name."""
    os.mkfifo(tmp_path / "p")
    with pytest.raises(ConfigurationError) as caught:
        check_writable(tmp_path / "p", key="--capture")
    assert "--capture" in str(caught.value) and "a pipe" in str(caught.value)


def test_a_file_is_left_as_it_was(tmp_path: Path) -> None:
    """One that is not there is not there afterwards, and what one holds it keeps."""
    check_writable(tmp_path / "new", key="--record")
    (tmp_path / "old").write_bytes(b"kept")
    check_writable(tmp_path / "old", key="--record")
    assert not (tmp_path / "new").exists() and (tmp_path / "old").read_bytes() == b"kept"
    check_writable(Path("/dev/null"), key="--record")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        check_writable(tmp_path, key="--record")


def _drafting(*argv: str, text: str = "") -> Topology:
    parser = ArgumentParser()
    add_drafting_arguments(parser)
    return with_chosen_drafting(parse_topology(text), parser.parse_args(argv))


def test_the_command_line_says_how_drafts_are_taken() -> None:
    """In place of the file's, which stands where nothing is said."""
    chosen = _drafting("--acceptance", "auto", "--max-waste", "0.5", "--min-draft", "0")
    assert (chosen.sampling.acceptance, chosen.device.max_waste) == (AcceptanceRule.AUTO, 0.5)
    file = "[sampling]\nacceptance = 'coupled'\n[device]\nmax_waste = 2\n"
    assert _drafting(text=file) == parse_topology(file)
    chosen = _drafting("--acceptance", "rejection", text=file)
    assert (chosen.sampling.acceptance, chosen.device.max_waste) == (AcceptanceRule.REJECTION, 2.0)


def test_a_target_can_not_wait_for_drafts_that_never_come(capfd: pytest.CaptureFixture[str]) -> None:
    """gamma 0 is the target alone; told before a node is started."""
    argv = ["generate", "x", "--draft", "tiny:", "--target", "tiny:", "--acceptance", "coupled"]
    assert main([*argv, "--gamma", "0", "--min-draft", "3"]) == 2
    assert "--min-draft: 3 drafted tokens to wait for, but gamma is 0" in capfd.readouterr().err


def test_a_device_says_where_its_other_options_are(capfd: pytest.CaptureFixture[str]) -> None:
    """Every option that `generate` has and `device` lacks, within 80 columns."""
    with pytest.raises(SystemExit):
        main(["device", "--help"])
    told = capfd.readouterr().out.partition("is said elsewhere:")[2]
    assert max(map(len, told.splitlines())) <= 80
    for option in ("--temperature", "--seed", "--k", "--gamma", "--link", "--stop", "--json", "--record"):
        assert option in told


@pytest.mark.parametrize("option", ["--min-draft", "--max-waste"])
def test_what_means_nothing_is_not_taken_in_silence(option: str) -> None:
    """Beside rejection above temperature 0; a file's acceptance, or temperature 0, gives it a meaning."""
    with pytest.raises(InvalidRequestError, match=f"{option}: 1.* has no effect with acceptance rejection"):
        _drafting(option, "1")
    _drafting(option, "1", text="[sampling]\nacceptance = 'coupled'\n")
    _drafting(option, "1", text="[sampling]\ntemperature = 0\n")
