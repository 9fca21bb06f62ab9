"""Links: what one direction does (spec), in words (reading, writing), over time (schedule, traces, fading),
in use (model), and several that share a radio (cell). All of it is pure.
"""

from draftwire.runtime.link.cell import Cell
from draftwire.runtime.link.fading import Fading
from draftwire.runtime.link.model import Link, LinkDrop, LinkStatistics, Passage
from draftwire.runtime.link.reading import FindTrace, parse_link
from draftwire.runtime.link.schedule import LinkPiece, LinkSchedule, LinkStep, parse_schedule
from draftwire.runtime.link.schedulers import Scheduler
from draftwire.runtime.link.shared import SharedLink
from draftwire.runtime.link.spec import (
    DEFAULT_LIMIT_MESSAGES,
    ONE_PACKET_OVERHEAD_BYTES,
    BurstLoss,
    Curve,
    Distribution,
    LinkSpec,
    RandomLoss,
)
from draftwire.runtime.link.streams import Streams, Uniform
from draftwire.runtime.link.traces import (
    Trace,
    parse_csv,
    parse_mahimahi,
    shipped_trace,
    trace_at,
    traces_among,
    traces_beside,
    with_paths_from,
)
from draftwire.runtime.link.units import parse_time, time_words

__all__ = [
    "DEFAULT_LIMIT_MESSAGES",
    "ONE_PACKET_OVERHEAD_BYTES",
    "BurstLoss",
    "Cell",
    "Curve",
    "Distribution",
    "Fading",
    "FindTrace",
    "Link",
    "LinkDrop",
    "LinkPiece",
    "LinkSchedule",
    "LinkSpec",
    "LinkStatistics",
    "LinkStep",
    "Passage",
    "RandomLoss",
    "Scheduler",
    "SharedLink",
    "Streams",
    "Trace",
    "Uniform",
    "parse_csv",
    "parse_link",
    "parse_mahimahi",
    "parse_schedule",
    "parse_time",
    "shipped_trace",
    "time_words",
    "trace_at",
    "traces_among",
    "traces_beside",
    "with_paths_from",
]
