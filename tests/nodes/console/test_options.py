"""Files that options name are looked at before anything runs."""

import os
from pathlib import Path

import pytest

from draftwire.nodes.console.options import check_writable
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
