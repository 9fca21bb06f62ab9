"""What the doctor found, for a person and for a program."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.examine import Report
from draftwire.nodes.console.doctor.figures import Rate
from draftwire.nodes.console.doctor.hops import Found

_MARKS: Final = {
    Status.OK: ("ok", "32"),
    Status.WARN: ("warn", "33"),
    Status.FAIL: ("FAIL", "31;1"),
    Status.SKIP: ("skip", "2"),
}
"""Word and colour."""

_INDENT: Final = " " * 6


class Screen:
    """Standard output, with a line on standard error that says what is going on, on a terminal."""

    def __init__(self, *, silent: bool) -> None:
        """`silent`: nothing of either, since a program reads."""
        self._silent = silent
        self._coloured = sys.stdout.isatty()
        self._live = sys.stderr.isatty() and not silent
        self._shown = False

    def tell(self, check: Check) -> None:
        """Print one check."""
        if not self._silent:
            self._erase()
            print(line(check, coloured=self._coloured), flush=True)

    def progress(self, text: str) -> None:
        """What takes time now; empty: nothing."""
        self._erase()
        if self._live and text:
            print(f"{_INDENT}{text} ...", end="", file=sys.stderr, flush=True)
            self._shown = True

    def end(self, report: Report) -> None:
        """The verdict."""
        self._erase()
        if self._silent:
            print(orjson.dumps(as_json(report)).decode(), flush=True)
            return
        failed = [check for check in report.checks if check.status is Status.FAIL]
        print(f"\n{_verdict(failed)}", flush=True)

    def _erase(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def _verdict(failed: Sequence[Check]) -> str:
    if not failed:
        return "nothing failed"
    count = "one check" if len(failed) == 1 else f"{len(failed)} checks"
    return f"{count} failed, first {failed[0].name} {failed[0].subject}".rstrip()


def line(check: Check, *, coloured: bool) -> str:
    """One line, with what to do about it on a second."""
    word, colour = _MARKS[check.status]
    mark = f"\x1b[{colour}m{word:4}\x1b[0m" if coloured else f"{word:4}"
    what = f"{check.name} {check.subject}".rstrip()
    text = f"{mark}  {what}: {check.seen}"
    return f"{text}\n{_INDENT}> {check.remedy}" if check.remedy else text


def as_json(report: Report) -> dict[str, Any]:
    """Of --json."""
    checks = [
        {
            "name": check.name,
            "subject": check.subject,
            "status": check.status.value,
            "seen": check.seen,
            "remedy": check.remedy,
        }
        for check in report.checks
    ]
    return {"ok": report.ok, "checks": checks, "hops": [_hop(found) for found in report.hops]}


def _hop(found: Found) -> dict[str, Any]:
    hop, measured = found.hop, found.measured
    rtt = None if measured is None else measured.rtt
    return {
        "name": hop.name,
        "from": hop.origin.value,
        "through": None if hop.through is None else hop.through.value,
        "to": hop.destination.value,
        "address": hop.address,
        "keys": found.secured,
        "ok": found.failure is None,
        "failed_at": None if found.failure is None else found.failure.stage.name.lower(),
        "connect_s": found.connected_s,
        "rtt_s": None if rtt is None else rtt.median_s,
        "rtt_low_s": None if rtt is None else rtt.low_s,
        "rtt_high_s": None if rtt is None else rtt.high_s,
        "probes": 0 if rtt is None else rtt.count,
        "uplink": _rate(None if measured is None else measured.uplink),
        "downlink": _rate(None if measured is None else measured.downlink),
        "clock_ahead_s": None if measured is None else measured.clock_ahead_s,
    }


def _rate(rate: Rate | None) -> dict[str, Any] | None:
    return None if rate is None else {"bps": rate.bps, "at_least": rate.at_least}


__all__ = ["Screen", "as_json", "line"]
