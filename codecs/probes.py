"""A question that any node answers: is this hop there, how long does a round trip take, how fast is it?

A Probe belongs to no request and changes nothing. Its padding, and that of its Echo, are zeros whose number
alone counts: two sizes of probe tell the rate of a direction, as a longer message takes longer to arrive.
"""

from dataclasses import dataclass
from math import isfinite

from draftwire.codecs.checks import check_range
from draftwire.codecs.errors import LocalError
from draftwire.codecs.limits import MAX_PROBE_BYTES, MAX_UINT64


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Answer this with an Echo of `reply_padding` zeros."""

    stamp: int
    "64 bits; the Echo has it too"
    padding: int = 0
    "zeros behind the fields, bytes"
    reply_padding: int = 0
    "zeros wanted in the Echo, bytes"

    def __post_init__(self) -> None:
        check_range("stamp", self.stamp, 0, MAX_UINT64)
        check_range("padding", self.padding, 0, MAX_PROBE_BYTES)
        check_range("reply_padding", self.reply_padding, 0, MAX_PROBE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The answer to a Probe."""

    stamp: int
    "of the Probe"
    clock_s: float
    "what the clock on the wall of the node that answers shows: seconds since 1970, UTC"
    padding: int = 0
    "as the Probe wanted it, bytes"

    def __post_init__(self) -> None:
        check_range("stamp", self.stamp, 0, MAX_UINT64)
        check_range("padding", self.padding, 0, MAX_PROBE_BYTES)
        if not isfinite(self.clock_s) or self.clock_s < 0:
            raise LocalError(field="clock_s", value=self.clock_s, remedy="must be a number from 0 on")


def echo_of(probe: Probe, clock_s: float) -> Echo:
    """The answer to a Probe, of a node whose clock on the wall shows `clock_s`."""
    return Echo(stamp=probe.stamp, clock_s=clock_s, padding=probe.reply_padding)


__all__ = ["Echo", "Probe", "echo_of"]
