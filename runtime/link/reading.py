"""Links from words, as tc writes them: `rate 5mbit delay 20ms 2ms loss 1% limit 100`.

Each word says a whole thing: `delay 20ms` is a delay without jitter, whatever there was before. Whole
commands of tc are links too, see commands.py. Behind `netem` or `tbf` words mean what they mean there.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.link.commands import KINDS, UNSUPPORTED, Command, begins_command, take_command
from draftwire.runtime.link.quoting import split_words
from draftwire.runtime.link.spec import (
    DEFAULT_PACKET_BYTES,
    DEFAULT_PACKET_OVERHEAD_BYTES,
    MAX_LIMIT_MESSAGES,
    Distribution,
    LinkSpec,
)
from draftwire.runtime.link.traces import FindTrace, shipped_trace
from draftwire.runtime.link.units import RATE_UNITS
from draftwire.runtime.link.words import READERS, Reading, in_full

WORDS: Final = tuple(READERS)


def parse_link(
    text: str, *, after: LinkSpec | None = None, find_trace: FindTrace = shipped_trace
) -> LinkSpec:
    """A link from words as tc writes them; an empty text is a link that does nothing.

        rate RATE [BYTES]               5mbit, 80kbps (bytes a second, as in tc); 0: an outage; unlimited
        trace NAME | FILE               a rate over time: lte-like, nr-like, a Mahimahi trace, a .csv
        rayleigh SNR BANDWIDTH TIME     a rate that fades: 15db 5mhz 20ms
        burst BYTES                     what an idle link may send at once; 0 unless given
        delay TIME [JITTER [SHARE]] [distribution uniform | normal | pareto | paretonormal]
        loss [random] SHARE [SHARE] | gemodel SHARE [SHARE [SHARE [SHARE]]] | none    [arq TIME]
        duplicate SHARE [SHARE]         shares are percentages, 1%; the second is the correlation
        corrupt SHARE [SHARE]
        reorder SHARE [SHARE] [gap N]
        limit MESSAGES | BYTES          100, 64kb; both may be given; unlimited: no limit in bytes
        latency TIME                    a limit in bytes: what the rate sends in this time, and the burst;
                                        of what has not left yet, as tbf's limits are
        overhead BYTES [BYTES [BYTES]]  of each message, of each packet, what a packet carries

    What the words leave out is as in `after`, or as in a link that does nothing. `find_trace` finds what
    stands behind `trace`. Raises ConfigurationError that names the word, what is wrong with it, and what to
    write. docs/link.md tells more.
    """
    return link_of_words(split_words(text), after=after, find_trace=find_trace)


def link_of_words(words: list[str], *, after: LinkSpec | None, find_trace: FindTrace) -> LinkSpec:
    """As `parse_link`, of words that are apart already."""
    reading = Reading(left=deque(words), find_trace=find_trace, before=after or LinkSpec())
    while reading.left:
        _read_word(reading)
    return _link(reading)


def _read_word(reading: Reading) -> None:
    word = reading.left[0].lower()
    if begins_command(word):
        _begin(reading, take_command(reading.left))
        return
    reading.left.popleft()
    word = in_full(word, reading.kind)
    if word in KINDS:
        reading.kinds += (word,)
    elif word in READERS:
        READERS[word](reading)
    elif word in UNSUPPORTED:
        why, remedy = UNSUPPORTED[word]
        raise ConfigurationError(f"{word!r} {why}", key=word, remedy=remedy)
    else:
        raise ConfigurationError(f"{word!r} is no word of a link", key=word, remedy=_meant_by(word))


def _meant_by(word: str) -> str:
    """The remedy for a word that is none."""
    name, equals, value = word.partition("=")
    if equals and name in READERS:
        return f"write '{name} {value}', with a space"
    unit = word.lstrip("0123456789.")
    if unit and unit in RATE_UNITS:
        return "write for instance 'rate 5mbit', number and unit in one piece"
    return nearest(word, WORDS)


# --------------------------------------------------------------------------------------- several commands


def _begin(reading: Reading, command: Command) -> None:
    """What was there when the command comes: nothing, for one that makes a link."""
    _check_device(reading, command)
    is_first = not reading.values and not reading.kinds
    is_again = command.place != "" and command.place in reading.places
    if command.verb == "add" and is_again:
        raise ConfigurationError(
            f"there is a qdisc at {command.place!r} already",
            key="tc",
            remedy="write 'change' or 'replace', or for a second one below it 'parent 1:1'",
        )
    if command.verb != "change" and (is_first or (command.verb == "replace" and command.place == "root")):
        reading.begin_after(LinkSpec())
        reading.kinds, reading.places = (), set()
    elif command.verb == "change" or is_again:
        nothing = LinkSpec()
        forgotten = {name: getattr(nothing, name) for name in _FORGOTTEN[command.kind]}
        reading.begin_after(replace(_link(reading), **forgotten))
    reading.places.add(command.place)


def _check_device(reading: Reading, command: Command) -> None:
    reading.device = reading.device or command.device
    if command.device and command.device != reading.device:
        raise ConfigurationError(
            f"there are commands for {reading.device!r} and {command.device!r}, and a link is one way of one",
            key="tc",
            remedy="give each way its own: 'uplink' and 'downlink' in [channel], or 'link set --uplink-only'",
        )


_FORGOTTEN: Final[Mapping[str, tuple[str, ...]]] = {
    "netem": (
        *("delay_s", "jitter_s", "jitter_correlation", "distribution"),
        *("reorder", "reorder_correlation", "reorder_gap", "loss", "arq_s"),
        *("duplicate", "duplicate_correlation", "limit_messages"),
    ),
    "tbf": ("burst_bytes", "limit_bytes", "limit_is_of_queue"),
}
"""What a change of such a qdisc sets anew, said or not; netem keeps its rate and `corrupt`."""


# ------------------------------------------------------------------------------------ words to a LinkSpec


def _link(reading: Reading) -> LinkSpec:
    """What was read, on top of what was before."""
    values = dict(reading.values)
    latency_s = values.pop("latency_s", None)
    more_bytes = values.pop("more_bytes", None)
    _check_parts(reading)
    if more_bytes is not None:  # as tc counts it: above what a packet has in any case
        own_bytes = 0 if "overhead_bytes" in values else DEFAULT_PACKET_OVERHEAD_BYTES
        values["packet_overhead_bytes"] = values.get("packet_overhead_bytes", own_bytes) + more_bytes
    for leading, rest in _RESET.items():
        if leading in values:
            values = {**rest, **values}
    if reading.kinds and "netem" not in reading.kinds and values.get("limit_is_of_queue"):
        values.setdefault("limit_messages", MAX_LIMIT_MESSAGES)  # tbf counts bytes and nothing else
    try:
        link = replace(reading.before, **values)
    except ConfigurationError as error:
        raise _as_of_netem(error) if "netem" in reading.kinds else error from None
    return link if latency_s is None else _with_latency(link, latency_s)


def _as_of_netem(error: ConfigurationError) -> ConfigurationError:
    """With what tc makes of it, where it takes it."""
    if error.key != "jitter":
        return error
    remedy = f"{error.remedy}; tc takes it, and lets through at once what would have a delay below 0"
    return ConfigurationError(error.problem, key=error.key, remedy=remedy)


_RESET: Final[Mapping[str, Mapping[str, Any]]] = {
    "delay_s": {"jitter_s": 0.0, "jitter_correlation": 0.0, "distribution": Distribution.UNIFORM},
    "loss": {"arq_s": None},
    "duplicate": {"duplicate_correlation": 0.0},
    "corrupt": {"corrupt_correlation": 0.0},
    "reorder": {"reorder_correlation": 0.0, "reorder_gap": 1},
    "overhead_bytes": {"packet_overhead_bytes": 0, "packet_bytes": DEFAULT_PACKET_BYTES},
}
"""What is so where the word that says the first doesn't say it."""


def _check_parts(reading: Reading) -> None:
    """Words that are nothing without another one, which may stand anywhere, or in what was before."""
    values, before = reading.values, reading.before
    jitter = "jitter_s" in values or ("delay_s" not in values and before.jitter_s > 0)
    if "distribution" in values and not jitter:
        raise _lacking("distribution", "jitter", "delay 20ms 2ms distribution normal")
    if "reorder_gap" in values and not ("reorder" in values or before.reorder > 0):
        raise _lacking("gap", "reorder", "delay 10ms reorder 25% gap 5")
    if "arq_s" in values and not ("loss" in values or before.loss is not None):
        raise _lacking("arq", "loss", "loss 1% arq 8ms")
    rated = "rate_bps" in values or before.mean_rate_bps is not None
    if values.get("burst_bytes") and not rated:
        raise _lacking(reading.said_by["burst_bytes"], "rate", "rate 1mbit burst 4kb")


def _lacking(word: str, other: str, example: str) -> ConfigurationError:
    remedy = f"write for instance '{example}'"
    return ConfigurationError(f"{word!r} without a {other} says nothing", key=word, remedy=remedy)


def _with_latency(link: LinkSpec, latency_s: float) -> LinkSpec:
    """With the limit that tc reckons from a latency."""
    if not link.rate_bps:
        remedy = "write for instance 'rate 1mbit burst 4kb latency 400ms', or a limit in bytes: 'limit 64kb'"
        raise ConfigurationError("'latency' without a rate says nothing", key="latency", remedy=remedy)
    waiting_bytes = Decimal(repr(link.rate_bps)) / 8 * Decimal(repr(latency_s))
    try:
        return replace(link, limit_bytes=int(waiting_bytes) + link.burst_bytes)
    except ConfigurationError as error:
        problem = f"a latency of {latency_s:g} s makes {error.problem}"
        raise ConfigurationError(problem, key="latency", remedy=error.remedy) from None


__all__ = ["WORDS", "FindTrace", "link_of_words", "parse_link"]
