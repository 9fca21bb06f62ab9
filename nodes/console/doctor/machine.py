"""This machine: what is installed on it, and whether the models fit in its memory."""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import zmq

from draftwire import __version__
from draftwire.codecs.frame import PROTOCOL_VERSION, WIRE_VERSION
from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.speculation.noise import NOISE_VERSION

ROOM_BYTES: Final = 400_000_000
"""What torch and the rest of a process take besides the weights, about."""

TIGHT: Final = 0.8
"""Of the memory that is free: beyond this share a load may push other programs out."""

_SHOWN: Final = ("pyzmq", "torch", "transformers")
"""Versions that people are asked for first."""


def look_at_versions() -> list[Check]:
    """What is installed against what draftwire asks for."""
    try:
        wanted = importlib.metadata.requires("draftwire") or []
        python = importlib.metadata.metadata("draftwire")["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        seen = f"draftwire {__version__} runs from a folder, not installed: what it asks for is not known"
        remedy = "pip install -e . in that folder"
        return [Check(name="versions", subject="", status=Status.WARN, seen=seen, remedy=remedy)]
    return judge_versions(
        wanted,
        installed=_version,
        python=platform.python_version(),
        wanted_python=python,
        libzmq=zmq.zmq_version(),
        has_curve=bool(zmq.has("curve")),
    )


def judge_versions(
    wanted: Sequence[str],
    *,
    installed: Callable[[str], str | None],
    python: str,
    wanted_python: str,
    libzmq: str,
    has_curve: bool,
) -> list[Check]:
    """A line for each thing that is too old or absent, or one that says what there is."""
    from packaging.requirements import Requirement  # 40 ms that no other command needs
    from packaging.specifiers import SpecifierSet

    checks = list[Check]()
    if not SpecifierSet(wanted_python).contains(python, prereleases=True):
        seen = f"Python {python}; draftwire needs {wanted_python}"
        checks.append(_unfit("Python", seen, "make the environment anew with such a Python"))
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            seen = f"{version or 'not installed'}; draftwire needs {requirement}"
            checks.append(_unfit(requirement.name, seen, f"pip install '{requirement}'"))
    if not has_curve:
        seen = f"libzmq {libzmq} has no CURVE, so no keys"
        checks.append(_unfit("libzmq", seen, "pip install --force-reinstall --only-binary :all: pyzmq"))
    if checks:
        return checks
    others = ", ".join(f"{name} {installed(name)}" for name in _SHOWN)
    seen = (
        f"draftwire {__version__} (wire {WIRE_VERSION}, protocol {PROTOCOL_VERSION}, noise {NOISE_VERSION}), "
        f"Python {python}, {others}, libzmq {libzmq} with CURVE"
    )
    return [Check(name="versions", subject="", status=Status.OK, seen=seen)]


def _unfit(subject: str, seen: str, remedy: str) -> Check:
    return Check(name="versions", subject=subject, status=Status.FAIL, seen=seen, remedy=remedy)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# ------------------------------------------------------------------------------------------------- memory


def available_bytes() -> int | None:
    """Memory that a new process could have; None where the system does not say, as on macOS."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kilobytes = fields.get("MemAvailable", "").split()
    return 1024 * int(kilobytes[0]) if kilobytes else None


def judge_memory(weights: Mapping[str, int | None], available: int | None) -> Check:
    """Whether the models that are still to be loaded here fit. `weights`: bytes by model; None: not known."""

    def check(status: Status, seen: str, remedy: str = "") -> Check:
        return Check(name="memory", subject="", status=status, seen=seen, remedy=remedy)

    if not weights:
        return check(Status.SKIP, "no model is still to be loaded into this machine's memory")
    if available is None:
        return check(Status.SKIP, "this system does not say what is free")
    unknown = [name for name, size in weights.items() if size is None]
    if unknown:
        return check(Status.SKIP, f"the size of {' and '.join(unknown)} is not known before it is here")
    total = sum(size or 0 for size in weights.values())
    needed = total + ROOM_BYTES
    parts = " and ".join(
        f"{size_words(size or 0)} of weights for the {name}" for name, size in weights.items()
    )
    seen = f"{parts}, {size_words(available)} free"
    smaller = 'end other programs, take smaller models, or write dtype = "bfloat16" in [pair]'
    if total > available:
        return check(Status.FAIL, seen, smaller)
    if needed > TIGHT * available:
        return check(Status.WARN, f"{seen}: tight", smaller)
    return check(Status.OK, seen)


def size_words(size: int) -> str:
    """`269 MB`, `1.4 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB" if size else "0 MB"


__all__ = ["available_bytes", "judge_memory", "judge_versions", "look_at_versions", "size_words"]
