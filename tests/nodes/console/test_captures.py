"""`--capture`: refused before anything runs where nothing could be captured."""

from pathlib import Path

import orjson
import pytest

from draftwire.nodes.channel.capture import told_of_end
from draftwire.nodes.console.cli import main

NO_CHANNEL = '[target]\naddress = "tcp://127.0.0.1:1"\n[security]\nplain = true\n'
NO_LINK = '[channel]\naddress = "ipc://{folder}/c"\n[target]\naddress = "ipc://{folder}/t"\n'


@pytest.mark.parametrize("command", [("generate", "hello", "--config"), ("up",)], ids=["generate", "up"])
def test_without_a_channel(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames are seen by the channel alone: a topology without one is an error that says what to add."""
    config, capture = tmp_path / "t.toml", tmp_path / "c.jsonl"
    config.write_text(NO_CHANNEL)
    assert main([*command, str(config), "--capture", str(capture)]) == 2
    error = capsys.readouterr().err
    assert "--capture: this topology has no channel" in error and "[channel]" in error
    assert not capture.exists()


@pytest.mark.parametrize("command", [("generate", "hello", "--config"), ("up",), ("channel", "--config")])
def test_a_file_that_cannot_be(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option and the file are named."""
    config = tmp_path / "t.toml"
    config.write_text(NO_LINK.format(folder=tmp_path))
    assert main([*command, str(config), "--capture", str(tmp_path / "none" / "c")]) == 2
    assert "--capture: " in capsys.readouterr().err


def test_one_file_for_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A capture is no record and no journal: refused before anything is started, or written."""
    path, link = tmp_path / "c", tmp_path / "l"
    link.symlink_to(path)
    for option in ("--record", "--journal"):
        for other in (path, link, tmp_path / "." / "c"):
            assert main(["generate", "hello", option, str(other), "--capture", str(path)]) == 2
            error = capsys.readouterr().err
            assert f"--capture: '{path}' is the file of {option}" in error
            assert not path.exists()


def test_a_capture_that_ends_is_told() -> None:
    """From its channel's events, whatever else stands there."""
    event = {"event": "channel.capture_ended", "path": "/c", "frames": 1, "detail": "the disk is full"}
    log = b"[1]\nx\n" + orjson.dumps({"event": "channel.link"}) + b"\n" + orjson.dumps(event) + b"\n"
    assert told_of_end(log) == "the capture '/c' has ended after 1 frame: the disk is full"
    assert told_of_end(b"") == told_of_end(b"x\n{}\n") == ""
