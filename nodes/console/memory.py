"""Memory of a process of this machine, as Linux tells it."""

import os
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int:
    """That is in RAM, of this process or of another; 0 of one that has ended and is not yet collected.

    Raises OSError where there is no such process, or no Linux.
    """
    pages = Path(f"/proc/{'self' if pid is None else pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


__all__ = ["resident_bytes"]
