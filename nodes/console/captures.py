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


def check_capture(path: Path | None, topology: Topology) -> None:
    """Raise ConfigurationError, naming --capture, where there is no channel, or the file can't be written."""
    if path is None:
        return
    if topology.channel is None:
        raise ConfigurationError(
            "this topology has no channel, and frames are captured there",
            key="--capture",
            remedy="add a section [channel] to the file",
        )
    check_writable(path, key="--capture")


__all__ = ["add_capture_argument", "check_capture"]
