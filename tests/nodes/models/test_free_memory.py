"""How much memory is free: of the machine, of a container, and of no device that cannot tell."""

from pathlib import Path

import pytest

from draftwire.nodes.models import free_memory
from draftwire.nodes.models.free_memory import free_bytes


class Placed:
    """A model on some devices."""

    def __init__(self, *devices: str) -> None:
        self.devices = devices


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB free, and no container."""
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    return tmp_path


def test_what_the_machine_has(host: Path) -> None:
    """MemAvailable counts pages of files, which are given back."""
    assert free_bytes(Placed("cpu")) == 8_000_000 * 1024


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_may_have_less(host: Path, version: int) -> None:
    """Its bound without what is taken, where that is less; a container without a bound has the machine's."""
    folder = host if version == 2 else host / "memory"
    folder.mkdir(exist_ok=True)
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }
    most, used, given_back = names[version]
    (folder / most).write_text("5000\n")
    (folder / used).write_text("3000\n")
    (folder / "memory.stat").write_text(f"anon 100\n{given_back} 500\n")
    assert free_bytes(Placed("cpu")) == 2500
    (folder / most).write_text("max\n" if version == 2 else f"{2**63 - 4096}\n")
    assert free_bytes(Placed("cpu")) == 8_000_000 * 1024


def test_of_several_the_least_counts(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer may lie on any of them."""
    free = {"cuda:0": 3000, "cuda:1": 1000}
    monkeypatch.setattr(free_memory, "_of", free.get)
    assert free_bytes(Placed("cuda:0")) == 3000
    assert free_bytes(Placed("cuda:0", "cuda:1")) == 2000
    assert free_bytes(Placed("cuda:0", "xpu:0")) is None


def test_nobody_can_tell(host: Path) -> None:
    """A model that does not say where it lies, or a machine that does not say what it has."""
    assert free_bytes(object()) is None
    (host / "meminfo").unlink()
    assert free_bytes(Placed("cpu")) is None
