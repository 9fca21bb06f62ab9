"""The cache: where it lies, and what is said where nothing can be written there."""

from pathlib import Path

import pytest

from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.nodes.models.cache import cache_folder, cached


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DRAFTWIRE_CACHE, then XDG_CACHE_HOME, then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRAFTWIRE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("DRAFTWIRE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "draftwire"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "draftwire"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the cache's folder should be: the path, the reason and the variable that helps."""
    (tmp_path / "taken").write_text("a file")
    wanted = rf"cannot write {tmp_path}/taken/pair: .*; set DRAFTWIRE_CACHE"
    with pytest.raises(UnsupportedModelError, match=wanted):
        cached("pair", lambda folder: None, cache=tmp_path / "taken")


def test_a_disk_that_fills_up_is_told_and_cleaned(tmp_path: Path) -> None:
    """An OSError in the midst of writing becomes the same sentence, and nothing partial stays."""

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UnsupportedModelError, match="No space left"):
        cached("pair", full, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_whoever_was_faster_wins(tmp_path: Path) -> None:
    """Another process that filled the folder meanwhile: its folder is taken, ours is removed."""

    def write(folder: Path) -> None:
        (folder / "ours").write_text("")
        (tmp_path / "pair").mkdir()
        (tmp_path / "pair" / "theirs").write_text("")

    folder = cached("pair", write, cache=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [folder]
