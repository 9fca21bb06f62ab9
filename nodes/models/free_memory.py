"""How much memory is free where a model computes."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_CGROUP_FILES: Final = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Of versions 2 and 1: the bound, what is taken, and in the third file the line of what can be given back."""


@runtime_checkable
class Placed(Protocol):
    """A model that can say where it lies."""

    @property
    def devices(self) -> Collection[str]:
        """As torch names them."""
        ...


def free_bytes(model: object) -> int | None:
    """Free memory of the devices that a model lies on; None: nobody can tell.

    Of several the least counts for each: a model's layers may lie on them in any way.
    """
    devices = model.devices if isinstance(model, Placed) else ()
    free = [_of_host() if device.startswith(("cpu", "meta")) else _of(device) for device in devices]
    told = [one for one in free if one is not None]
    return min(told) * len(told) if told and len(told) == len(free) else None


def _of(device: str) -> int | None:
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def _of_host() -> int | None:
    """What the machine can still give, or the container if that is less."""
    free = [one for one in (_of_machine(_MEMINFO), _of_container(_CGROUP)) if one is not None]
    return min(free, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_container(cgroup: Path) -> int | None:
    """Pages of files are given back when they are needed, so they count as free."""
    for most, used, stat, given_back in _CGROUP_FILES:
        try:
            bound, taken = int((cgroup / most).read_text()), int((cgroup / used).read_text())
            held = dict(line.split() for line in (cgroup / stat).read_text().splitlines())
            return max(0, bound - taken + int(held.get(given_back, 0)))
        except (OSError, ValueError):  # no container of this kind, or "max"
            continue
    return None


__all__ = ["Placed", "free_bytes"]
