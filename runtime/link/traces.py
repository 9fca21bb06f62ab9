"""Rates over time from files: Mahimahi traces, CSV of (time, rate, delay), and two that ship.

A link names its trace, by a shipped name or by a path; FindTrace is who finds it. A topology file or a
command line has traces_beside, an order to a running channel has traces_among: no order opens a file there.
"""

import os.path
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.link.curves import MAX_TRACE_S, Opportunities, Steps
from draftwire.runtime.link.quoting import quoted, split_pieces, split_words
from draftwire.runtime.link.spec import MAX_DELAY_S, MAX_RATE_BPS, Curve
from draftwire.runtime.link.units import is_number

if TYPE_CHECKING:
    from draftwire.runtime.link.schedule import LinkSchedule

MAX_TRACE_BYTES: Final = 64 * 2**20
"""Of a file: hours of a fast link, and read within seconds."""

SHIPPED: Final[Mapping[str, str]] = {"lte-like": "lte-like.trace", "nr-like": "nr-like.csv"}
"""Names and their files in data/. All are made up, by scripts/make_traces.py: nobody recorded them."""

_FOLDER: Final = Path(__file__).parent / "data"

_COLUMNS: Final[Mapping[str, tuple[str, float]]] = {
    "time_s": ("time", 1.0),
    "time_ms": ("time", 1e-3),
    "rate_bps": ("rate", 1.0),
    "rate_kbps": ("rate", 1e3),
    "rate_mbps": ("rate", 1e6),
    "delay_s": ("delay", 1.0),
    "delay_ms": ("delay", 1e-3),
}
"""Of a CSV: what stands there, and by how much it is in s and bit/s. All rates are bits, as the names say."""

_HIGHEST: Final[Mapping[str, tuple[float, str]]] = {
    "time": (MAX_TRACE_S, "s"),
    "rate": (MAX_RATE_BPS, "bit/s"),
    "delay": (MAX_DELAY_S, "s"),
}
_LEAST_RATE_BPS: Final = 1.0
"""But 0: what is slower for a whole line of a trace is no measurement."""

_SHOWN: Final = 40
"""Characters of a line that an error repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded curve and how its link names it. Equal by both."""

    name: str
    "as it was written behind the word `trace`: a shipped name, or a path"
    curve: Curve

    @property
    def mean_rate_bps(self) -> float:
        """Bits a second over one round."""
        return self.curve.mean_rate_bps


FindTrace = Callable[[str], Trace]
"""The trace of a name or a path as somebody wrote it; raises ConfigurationError."""


# ------------------------------------------------------------------------------------------- from texts


def parse_mahimahi(text: str, *, name: str) -> Trace:
    """A Mahimahi trace: one line a chance to send 1500 bytes, its time in ms; see docs/link.md.

    Raises ConfigurationError that names the line and the remedy.
    """
    stamps_ms = list[int]()
    before_ms = 0
    for number, line in enumerate(_lines(text, name), start=1):
        digits = line.strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
            raise _no_stamp(name, number, digits)
        stamp_ms = int(digits)
        if stamp_ms < before_ms:
            problem = f"{stamp_ms} ms stands behind {before_ms} ms"
            raise _at(name, number, problem, "sort the stamps")
        before_ms = stamp_ms
        stamps_ms.append(stamp_ms)
    if stamps_ms[-1] == 0:
        problem = "the last stamp is 0 ms, and it ends the round"
        raise _at(name, len(stamps_ms), problem, "end with a stamp of 1 ms or later")
    return Trace(name=name, curve=_curve(name, lambda: Opportunities(stamps_ms)))


def _no_stamp(name: str, number: int, line: str) -> ConfigurationError:
    if not line:
        return _at(name, number, "the line is empty", "leave no line empty")
    if "," in line:
        problem = f"{line[:_SHOWN]!r} is no time in ms"
        return _at(name, number, problem, "name the file .csv if it has columns, with a head line")
    problem = f"{line[:_SHOWN]!r} is no whole number"
    return _at(name, number, problem, "write a time in ms a line, each a chance to send 1500 bytes")


def parse_csv(text: str, *, name: str) -> Trace:
    """A trace with a head line `time_s,rate_bps[,delay_s]`, each line from its time on; the last line only
    ends the round. Raises ConfigurationError that names the line and the remedy.
    """
    rows = [
        (number, line.strip())
        for number, line in enumerate(_lines(text, name), start=1)
        if not line.startswith("#")
    ]
    if not rows:
        raise _at(name, 1, "there is no head line", _HEAD)
    columns = _head(name, *rows[0])
    values: dict[str, list[float]] = {kind: [] for kind, _ in columns}
    for place, (number, line) in enumerate(rows[1:], start=2):
        row = _row(name, number, line, columns, ends=place == len(rows))
        if (times_s := values["time"]) and not row["time"] > times_s[-1]:
            problem = f"{row['time']:g} s is not behind {times_s[-1]:g} s, the line before"
            raise _at(name, number, problem, "let the times grow")
        if not times_s and row["time"] != 0:
            problem = f"the first time is {row['time']:g} s"
            raise _at(name, number, problem, "begin at 0: take it off all times")
        for kind, value in row.items():
            values[kind].append(value)
    if len(values["time"]) < 2:
        remedy = "write a step at least, and behind the last one the time that ends the round"
        raise _at(name, rows[-1][0], "there is no step", remedy)
    return Trace(
        name=name, curve=_curve(name, lambda: Steps(values["time"], values["rate"], values.get("delay")))
    )


_HEAD: Final = "begin with 'time_s,rate_bps' or 'time_s,rate_bps,delay_s'"


def _head(name: str, number: int, line: str) -> tuple[tuple[str, float], ...]:
    """What each column is, and its unit."""
    words = [word.strip().lower() for word in line.split(",")]
    if not any(word in _COLUMNS for word in words):
        raise _at(name, number, f"{line[:_SHOWN]!r} is no head line", _HEAD)
    for word in words:
        if word not in _COLUMNS:
            raise _at(name, number, f"no column {word[:_SHOWN]!r}", nearest(word, tuple(_COLUMNS)))
    columns = tuple(_COLUMNS[word] for word in words)
    kinds = [kind for kind, _ in columns]
    for kind in ("time", "rate", "delay"):
        if kinds.count(kind) > 1:
            problem = f"there are {kinds.count(kind)} columns of the {kind}"
            raise _at(name, number, problem, "keep one of them")
        if kind not in kinds and kind != "delay":
            raise _at(name, number, f"there is no column of the {kind}", _HEAD)
    return columns


def _row(
    name: str, number: int, line: str, columns: tuple[tuple[str, float], ...], *, ends: bool
) -> dict[str, float]:
    """Its values in s and bit/s; of the line that ends the round the time alone, which may stand alone."""
    fields = line.split(",")
    if not line:
        raise _at(name, number, "the line is empty", "leave no line empty")
    if len(fields) != len(columns) and not (ends and len(fields) == 1 and columns[0][0] == "time"):
        problem = f"{line[:_SHOWN]!r} has {len(fields)} values, and the head {len(columns)}"
        raise _at(name, number, problem, "write one for each column")
    found = dict[str, float]()
    for (kind, unit), field in zip(columns, fields, strict=False):
        if ends and kind != "time":
            continue
        highest, named = _HIGHEST[kind]
        if not is_number(field.strip()):
            problem = f"{field.strip()[:_SHOWN]!r} is no number"
            raise _at(name, number, problem, f"write the {kind} in digits")
        value = float(field) * unit
        least = _LEAST_RATE_BPS if kind == "rate" else 0.0
        if not (least <= value <= highest or float(field) == 0):
            problem = f"a {kind} of {value:g} {named} is out of range"
            span = f"{least:.0f} to {highest:.0f} {named}"
            raise _at(name, number, problem, f"write {span}, or 0" if least else f"write {span}")
        found[kind] = value
    return found


def _lines(text: str, name: str) -> list[str]:
    """Without what ends the last one. Raises ConfigurationError where there is none."""
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")
    if lines == [""]:
        remedy = "write lines as docs/link.md shows them"
        raise ConfigurationError(f"{name!r} is empty", key="trace", remedy=remedy)
    return lines


def _curve(name: str, make: Callable[[], Curve]) -> Curve:
    try:
        return make()
    except ConfigurationError as error:
        raise ConfigurationError(f"{name!r}: {error.problem}", key="trace", remedy=error.remedy) from None


def _at(name: str, number: int, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{name!r}, line {number}: {problem}", key="trace", remedy=remedy)


# ------------------------------------------------------------------------------------------- from files


def trace_at(path: Path | str) -> Trace:
    """The trace of a file, named by its path; `.csv` is CSV, and everything else a Mahimahi trace.

    Raises ConfigurationError for what can't be read, is larger than MAX_TRACE_BYTES, or is no trace.
    """
    try:
        there = os.stat(path)
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise _unreadable(path, getattr(error, "strerror", None) or "no path") from None
    if not stat.S_ISREG(there.st_mode):  # a pipe or a device would be read for ever
        raise _unreadable(path, "no file")
    if there.st_size > MAX_TRACE_BYTES:
        raise ConfigurationError(
            f"{str(path)!r} has {there.st_size / 2**20:.0f} MiB",
            key="trace",
            remedy=f"cut it to {MAX_TRACE_BYTES // 2**20} MiB, it is repeated anyway",
        )
    return _read(str(path), there.st_mtime_ns, there.st_size)


def traces_beside(folder: Path | str = ".") -> FindTrace:
    """Who finds shipped traces, and files from a folder on; a trace of a file is named by its absolute path,
    so that it is found from everywhere.
    """

    def find(name: str) -> Trace:
        if name in SHIPPED:
            return shipped_trace(name)
        return trace_at(_absolute(folder, name))

    return find


def traces_among(schedules: "Iterable[LinkSchedule]") -> FindTrace:
    """Who finds shipped traces, and those of these schedules by the names that they have; opens no file."""
    links = [step.link for schedule in schedules for step in schedule.steps]
    named = {link.trace.name: link.trace for link in links if link.trace is not None}

    def find(name: str) -> Trace:
        return named[name] if name in named else shipped_trace(name)

    return find


def with_paths_from(folder: Path | str, text: str) -> str:
    """The words of a link or a schedule with absolute paths in place of those from a folder."""
    try:
        pieces = [split_words(piece) for piece in split_pieces(text)]
    except ConfigurationError:
        return text  # whoever reads it says why
    named = False
    for words in pieces:
        for at, word in enumerate(words[1:], start=1):
            if words[at - 1].lower() == "trace" and word not in SHIPPED:
                words[at], named = _absolute(folder, word), True
    return "; ".join(" ".join(map(quoted, words)) for words in pieces) if named else text


def _absolute(folder: Path | str, name: str) -> str:
    return os.path.abspath(os.path.join(folder, os.path.expanduser(name)))


def shipped_trace(name: str) -> Trace:
    """A trace of this package. Raises ConfigurationError for what is none, a path above all."""
    if name not in SHIPPED:
        problem = f"{name!r} is no trace that ships, and files are named in a topology file or with --link"
        raise ConfigurationError(problem, key="trace", remedy=nearest(name, tuple(SHIPPED)))
    return _shipped(name)


@lru_cache
def _shipped(name: str) -> Trace:
    return Trace(name=name, curve=trace_at(_FOLDER / SHIPPED[name]).curve)


@lru_cache(maxsize=32)
def _read(path: str, changed_ns: int, size_bytes: int) -> Trace:
    """As `trace_at`; a file that has not changed is read once."""
    try:
        with open(path, "rb") as file:
            text = file.read(size_bytes).decode("utf-8")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "not UTF-8 text") from None
    parse = parse_csv if path.lower().endswith(".csv") else parse_mahimahi
    return parse(text, name=path)


def _unreadable(path: Path | str, reason: str) -> ConfigurationError:
    names = " or ".join(sorted(SHIPPED))
    remedy = f"name a file that can be read, or a trace that ships: {names}"
    return ConfigurationError(f"{str(path)!r}: {reason}", key="trace", remedy=remedy)


__all__ = [
    "MAX_TRACE_BYTES",
    "SHIPPED",
    "FindTrace",
    "Trace",
    "parse_csv",
    "parse_mahimahi",
    "shipped_trace",
    "trace_at",
    "traces_among",
    "traces_beside",
    "with_paths_from",
]
