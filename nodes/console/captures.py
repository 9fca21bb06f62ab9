"""`--capture FILE`: every frame that the channel carries, for `draftwire inspect`."""

import argparse
from pathlib import Path

from draftwire.nodes.console.options import check_writable
from draftwire.runtime.config import Topology
from draftwire.runtime.errors import ConfigurationError


def add_capture_argument(parser: argparse._ActionsContainer) -> None:
    """Of every command that starts a channel."""
    parser.add_argument(
        "--capture",
        metavar="FILE",
        type=Path,
        help="append every frame that the channel carries, JSON lines, for `draftwire inspect`; it holds the "
        "text of requests and answers, so only you can read it; at most 1 GiB",
    )


def check_capture(path: Path | None, topology: Topology, **others: Path | None) -> None:
    """Raise ConfigurationError, naming --capture, where there is no channel, or the file can't be written.

    `others`: what else is written, by its option; a file can't be two of them.
    """
    if path is None:
        return
    if topology.channel is None:
        raise ConfigurationError(
            "this topology has no channel, and frames are captured there",
            key="--capture",
            remedy="add a section [channel] to the file",
        )
    for option, other in others.items():
        if other is not None and _is_one_file(path, other):
            raise ConfigurationError(
                f"{str(path)!r} is the file of --{option}", key="--capture", remedy="name another file"
            )
    check_writable(path, key="--capture")


def _is_one_file(one: Path, other: Path) -> bool:
    """Whether both name the same; a device such as /dev/null may be both."""
    if one.exists() and other.exists():
        return one.samefile(other) and one.is_file()
    return one.resolve() == other.resolve()


__all__ = ["add_capture_argument", "check_capture"]
