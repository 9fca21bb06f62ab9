"""Troubles of a machine that real nodes have to name: no room on its disk, an address that is taken.

A disk is full for one process where the system lets none of its files grow beyond a size (RLIMIT_FSIZE).
"""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson

from draftwire.nodes.console.chaos.real_asked import Answering
from draftwire.nodes.console.chaos.real_nodes import SERVERS, Process, System, until

LARGE_BYTES: Final = 2_000_000
"""Of other lines at the record's beginning: so it is its process's largest file, the first to be full."""

RECORD: Final = "record.jsonl"
"""Of the target, in the folder of a run."""


def prepare_record(folder: Path) -> tuple[str, str]:
    """A record with a beginning, and the option that has the target go on with it."""
    path = folder / RECORD
    line = orjson.dumps({"event": "padding", "text": "x" * 990}) + b"\n"
    path.write_bytes(line * (LARGE_BYTES // len(line)))
    return "--record", str(path)


def full_journal(answering: Answering) -> None:
    """The disk is full for the journal in mid-answer: the device ends and says so; with room it goes on."""
    answering.live()
    answering.wait_for(20)
    answering.device.may_write(answering.journal.stat().st_size + 500)
    code = answering.device.ended()
    said = answering.device.said()
    if not code or "the journal can't be written" not in said or "go on with: " not in said:
        answering.breaks("told", f"a full disk for the journal: code {code}, {said.strip()!r}")
    answering.look_back()
    answering.live()
    answering.finish()


def full_record(nodes: System, answering: Answering, then: Answering) -> None:
    """The disk is full for the target's record, and has room again for the request `then`."""
    path, target = nodes.folder / RECORD, nodes.now["target"]
    answering.live()
    answering.wait_for(20)
    target.may_write(path.stat().st_size + 100)
    answering.finish()
    before = path.stat().st_size
    _want(answering, target, "record.failed")
    target.may_write(-1)
    then.live()
    then.finish()
    _want(then, target, "record.goes_on")
    if path.stat().st_size <= before:
        then.breaks("record", f"there is room, and it stays at {before} bytes")
    broken = [line for line in path.read_bytes().splitlines() if not _is_event(line)]
    if broken:
        then.breaks("record", f"a line of it is {broken[0][:200]!r}")


def full_log(nodes: System, answering: Answering) -> None:
    """Nothing at all can be written by the target, its log either: the answer comes."""
    target = nodes.now["target"]
    answering.live()
    answering.wait_for(20)
    target.may_write(1)
    answering.finish()
    target.may_write(-1)


def taken_port(nodes: System, role: str, address: str, broke: Callable[[str], None]) -> None:
    """Somebody else is bound where a node is started again: it says where, with code 3; later it works."""
    nodes.kill(role)
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with closing(socket.create_server((host, int(port)))):
        refused = nodes.start(role)
        code = refused.ended()
        if code != 3 or address not in refused.said() or "already in use" not in refused.said():
            broke(f"the {role} at a taken port ends with code {code}: {refused.said().strip()!r}")
    nodes.start(role)
    nodes.wait_ready(role)


def bound_by(role: str, addresses: list[str]) -> str:
    """The address of a server, of those that a run has: see real_nodes.topology_text."""
    return addresses[SERVERS.index(role)]


def _want(answering: Answering, process: Process, event: str) -> None:
    try:
        until(lambda: bool(process.logged(event)), event, within_s=10.0)
    except TimeoutError:
        answering.breaks("told", f"no {event} in the log of the {process.role}")


def _is_event(line: bytes) -> bool:
    try:
        event: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(event, dict) and "event" in event


__all__ = ["RECORD", "bound_by", "full_journal", "full_log", "full_record", "prepare_record", "taken_port"]
