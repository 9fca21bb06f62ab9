"""What stands around the words of a link where a command of tc was pasted, and words of tc that it lacks."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from draftwire.runtime.errors import ConfigurationError, nearest

KINDS: Final = ("netem", "tbf")
"""The qdiscs that a link can be; both of them is a link too."""

_PROMPTS: Final = ("$", "#", "sudo", "&&")
_VERBS: Final = ("add", "change", "replace")
_PLACED: Final = ("dev", "parent", "handle")
"""Where it hangs, each with a value; `root` has none."""

_OTHER_KINDS: Final = (
    *("htb", "hfsc", "cbq", "drr", "qfq", "ets", "prio", "mq", "mqprio", "multiq", "taprio"),
    *("fq", "fq_codel", "codel", "cake", "pie", "fq_pie", "red", "gred", "sfq", "sfb", "choke"),
    *("pfifo", "bfifo", "pfifo_fast", "pfifo_head_drop", "noqueue", "ingress", "clsact", "etf", "cbs"),
)

_HANGS: Final = (
    "says where a qdisc hangs, and a link hangs nowhere",
    "leave it out, or paste the whole command, 'tc qdisc add ...'",
)
_OVERHEAD: Final = "leave it out; 'overhead MESSAGE [PACKET [SIZE]]' says what messages and packets cost"

UNSUPPORTED: Final[Mapping[str, tuple[str, str]]] = {
    "slot": (
        "makes a link wait for slots, and this one sends whenever it can",
        "leave it out; 'trace FILE' gives a link that sends when it says",
    ),
    "ecn": (
        "marks packets in place of losing them, and messages have nothing to mark",
        "leave it out: what 'loss' says is lost",
    ),
    "seed": (
        "is not said for a link: the channel has one for all of its own",
        "leave it out and write '[channel] seed' in the topology file",
    ),
    "peakrate": (
        "is a second bucket, and a link has one at most",
        "leave it out; with 'burst 0' a link never exceeds its rate",
    ),
    "minburst": ("is the size of peakrate's bucket, and there is none", _OVERHEAD),
    "mtu": ("is the size of peakrate's bucket, and there is none", _OVERHEAD),
    "mpu": ("is a least size of packets, and there is none", _OVERHEAD),
    "linklayer": ("counts the cells of a link layer, and there are none", _OVERHEAD),
    "atm": ("counts the cells of a link layer, and there are none", _OVERHEAD),
    "jitter": ("is no word of its own", "write it behind the delay: 'delay 20ms 2ms'"),
    "correlation": ("is no word of its own", "write it behind the value: 'delay 20ms 2ms 25%'"),
    **dict.fromkeys(_OTHER_KINDS, ("is a qdisc that no link is: it has one queue", "write 'netem' or 'tbf'")),
    **dict.fromkeys((*_PLACED, "root"), _HANGS),
}
"""Words that tc knows and a link does not: why, and what to write."""


def begins_command(word: str) -> bool:
    """Whether a command of tc begins here, and not the words of a link."""
    return word in (*_PROMPTS, "ip", "tc", "qdisc") or word.endswith("/tc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of tc up to the words of its qdisc."""

    verb: str
    "add, change or replace"
    kind: str
    "netem or tbf"
    device: str = ""
    "where it hangs, and the network namespace if one is said; empty: not said"
    place: str = ""
    "there: `root`, or its parent; empty: not said"


def take_command(words: deque[str]) -> Command:
    """Take a command off, up to its `netem` or `tbf`, which stays. Abbreviations are tc's.

    Raises ConfigurationError for one that makes and changes no link.
    """
    namespace = _skip_prompts(words)
    if words and (words[0] == "tc" or words[0].endswith("/tc")):
        words.popleft()
        namespace = _skip_options(words) or namespace
    _expect(words, ("qdisc",), "only a qdisc is a link")
    verb = _expect(words, _VERBS, "the command makes no link")
    said = dict[str, str]()
    while words and words[0].lower() not in KINDS:
        word = words.popleft().lower()
        if word in _PLACED and words:
            said[word] = words.popleft()
        elif word == "root":
            said["parent"] = word
        else:
            why, remedy = UNSUPPORTED.get(word, ("is no qdisc that a link can be", nearest(word, KINDS)))
            if word in _PLACED:
                why, remedy = "lacks its value", f"write it, or begin with {KINDS[0]!r}"
            raise ConfigurationError(f"{word!r} {why}", key="tc", remedy=remedy)
    if not words:
        raise ConfigurationError(
            "the command names no qdisc", key="tc", remedy="go on with 'netem' or 'tbf' and its words"
        )
    device = said.get("dev", "")
    if device and namespace:
        device += f" in {namespace}"
    return Command(verb=verb, kind=words[0].lower(), device=device, place=said.get("parent", ""))


def _skip_prompts(words: deque[str]) -> str:
    """The network namespace that `ip netns exec` stands for; empty: none."""
    namespace = ""
    while words and words[0].lower() in (*_PROMPTS, "ip"):
        if words.popleft().lower() == "ip":
            if len(words) < 3 or (words.popleft(), words.popleft()) != ("netns", "exec"):
                raise ConfigurationError("'ip' makes no link", key="tc", remedy=_BEGIN)
            namespace = words.popleft()
    return namespace


def _skip_options(words: deque[str]) -> str:
    """Those between tc and what it is to do; the network namespace among them."""
    namespace = ""
    while words and words[0].startswith("-"):
        if words.popleft() in ("-n", "-netns") and words:
            namespace = words.popleft()
    return namespace


def _expect(words: deque[str], known: tuple[str, ...], problem: str) -> str:
    """The next word in full, one of these."""
    word = words.popleft() if words else ""
    if not word:
        raise ConfigurationError("the command breaks off", key="tc", remedy=_BEGIN)
    for one in known:
        if one.startswith(word.lower()):
            return one
    deletes = known is _VERBS and "delete".startswith(word.lower())
    remedy = "write 'delay 0', a link that does nothing" if deletes else _BEGIN
    raise ConfigurationError(f"{problem}: {word!r}", key="tc", remedy=remedy)


_BEGIN: Final = "write 'tc qdisc add ...'"


__all__ = ["KINDS", "UNSUPPORTED", "Command", "begins_command", "take_command"]
