"""Reports in, estimates out: which figure of which report goes to which estimator, and which ones do not.

By device: link, round trip, drafting. By device and spelling: size of rows. By device and temperature:
acceptance. For all: the target's steps. Everything is bounded; what was used least recently is forgotten
first. A StepReport and the RowsReport of the same block come in either order, and nothing that both tell is
counted twice.

Where drafts are hints (coupled, or temperature 0) reports are of passes over whatever had come, and single
rows come now and then. While a device drafts ahead, passes may take longer, where both ends share a machine:
so their times are kept apart from those of passes that it waited for.
"""

from dataclasses import dataclass, field

from draftwire.codecs.control import COUPLED, REJECTION, RowsReport, StepReport
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets, by_hash
from draftwire.nodes.controller.crowd import Crowd, Others
from draftwire.nodes.controller.estimators.acceptance import AcceptanceEstimate
from draftwire.nodes.controller.estimators.coupled import CoupledAcceptance
from draftwire.nodes.controller.estimators.delivered import Delivered
from draftwire.nodes.controller.estimators.draft_step import DraftStep
from draftwire.nodes.controller.estimators.link_rate import LinkRate
from draftwire.nodes.controller.estimators.round_trip import RoundTrip
from draftwire.nodes.controller.estimators.row_size import RowSize
from draftwire.nodes.controller.estimators.target_step import TargetStep
from draftwire.nodes.controller.own_time import MOST_BETWEEN, handling_seconds, own_seconds
from draftwire.nodes.controller.pause import Pause
from draftwire.nodes.controller.recent import Recent
from draftwire.nodes.speculation.acceptance import LADDER
from draftwire.nodes.speculation.frames import on_link_bits
from draftwire.runtime.memory import remember

MAX_DEVICES = 256
MAX_REQUESTS = 1024
MAX_TEMPERATURES = 8
"Of one device."

MAX_SPELLINGS = 4
"Of one device: plain, and sets of tables that it agreed on."

PLAIN = ""
"How reports name plain rows; those with tables, by the hash of their set in hex."

MAX_BLOCKS = 8
"Blocks of a request whose two reports may still be apart."

SILENT_BLOCKS = 8
"Blocks in a row without a RowsReport: this BS sends none, so hits and misses have to do."

FEW_PASSES = 4
"Below, passes of the other kind tell more."

WHOLE = LADDER[-1]
"The K that stands for whole rows."

QUEUE_MARGIN_S = 1e-3
"A Draft that came this close behind rows, its own length counted, may have queued behind them."


@dataclass(slots=True)
class TextState:
    """Of one device at one temperature."""

    acceptance: AcceptanceEstimate = field(default_factory=AcceptanceEstimate)
    coupled: CoupledAcceptance = field(default_factory=CoupledAcceptance)
    pause: Pause = field(default_factory=Pause)
    pause_of_hints: Pause = field(default_factory=Pause)
    delivered: Delivered = field(default_factory=Delivered)
    silent_blocks: int = 0
    alone_tokens: int = 0
    "that the target has decoded since the last draft"

    @property
    def whole(self) -> float:
        """alpha of whole rows."""
        return self.acceptance.alphas((WHOLE,))[WHOLE]


@dataclass(slots=True)
class DeviceState:
    """Of one device."""

    link: LinkRate = field(default_factory=LinkRate)
    trip: RoundTrip = field(default_factory=RoundTrip)
    draft: DraftStep = field(default_factory=DraftStep)
    rows: Recent[str, RowSize] = field(default_factory=lambda: Recent(RowSize, MAX_SPELLINGS))
    "by spelling"
    texts: Recent[float, TextState] = field(default_factory=lambda: Recent(TextState, MAX_TEMPERATURES))
    temperature: float = 1.0
    "of its newest report: what its next request is taken to have"
    spelling: str | None = None
    "of its newest rows: PLAIN or the hash of a set; before any, as agreed; None: it has not been heard of"
    k: int | None = None
    "of its newest plan"
    told_bps: float = 0.0
    "the rate that its plans last named, which is not said anew for every change"
    looks_at_alone: int = 0
    "how often the target alone was timed in vain"
    reports: int = 0
    "of it so far"


@dataclass(slots=True)
class RequestState:
    """Of one request: what plans have to follow on from."""

    temperature: float | None = None
    acceptance: str = REJECTION
    spelling: str | None = None
    "of its newest rows; before any, as agreed; None: it has not been heard of"
    pinned_k: int | None = None
    pinned_gamma: int | None = None
    pinned_min_draft: int | None = None
    gamma: int | None = None
    "of the last plan given"
    plans: int = 0
    "with drafts, given so far"
    looks_left: int = 0
    "steps alone that are still to be made, to time them"
    looked: int = 0
    "how many they were at the last look above K"
    step: int = -1
    ended_at_s: float | None = None
    alone: bool = False
    "whether the newest step was one of the target alone"
    block: int | None = None
    "the step of the newest block"
    rows_at_s: dict[int, float] = field(default_factory=dict)
    "step -> when the rows of its block came"
    waiting: dict[int, int] = field(default_factory=dict)
    "step -> rows in its block, which had not come with its StepReport"
    alone_s: float | None = None
    "a step of the target alone beside other sessions, as of the last plan given; None: there were none"
    promised: float | None = None
    "tokens a second, of the last plan given"
    dry: int = 0
    "passes in a row that had no drafts, though the plan was to draft and the device had not said to rest"
    answered: tuple[float, float] = (0.0, 0.0)
    "when the newest question whose answer was counted was asked, and when the answer came"

    @property
    def hints(self) -> bool:
        """Whether its drafts are hints, as far as reports have told."""
        return self.acceptance == COUPLED or self.temperature == 0


class Knowledge:
    """All that reports have told so far."""

    def __init__(self, *, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.table_sets: TableSets = NO_TABLES
        "those whose sizes are known here, the likeliest first"
        self.target = TargetStep()
        "passes that the device waited for"
        self.beside = TargetStep()
        "passes while it drafted ahead"
        self.crowd = Crowd()
        self.devices: Recent[str, DeviceState] = Recent(DeviceState, MAX_DEVICES)
        self.requests: Recent[tuple[str, int], RequestState] = Recent(RequestState, MAX_REQUESTS)

    def passes(self, *, beside: bool) -> TargetStep:
        """Of the target while the device drafts, or while it waits; where one is not known, the other."""
        wanted, other = (self.beside, self.target) if beside else (self.target, self.beside)
        return wanted if wanted.steps >= min(FEW_PASSES, other.steps) else other

    @property
    def alone_s(self) -> float:
        """A step of the target by itself."""
        return self.target.alone_s if self.target.knows_alone else self.passes(beside=False).alone_s

    def others(self, device: str, *, drafting: bool = True) -> Others | None:
        """Who shares the device's passes, each by its best plan, or without drafts; None: nobody."""
        return self.crowd.others(device, overhead_s=self.target.overhead_s, drafting=drafting)

    def compare(self, device: str, text: TextState, *, temperature: float) -> None:
        """Where the device is new to a busy BS, what the others there have told stands in for a prior."""
        if not text.acceptance.is_new:
            return
        states = [self.devices.known(name) for name in self.crowd.devices_but(device)]
        texts = [state.texts.known(temperature) for state in states if state is not None]
        text.acceptance.guess(one.acceptance.told() for one in texts if one is not None)

    def observe(self, report: StepReport | RowsReport) -> None:
        """Take one report into account."""
        device, request = self.devices[report.device], self.requests[report.device, report.request]
        device.temperature = request.temperature = report.temperature
        device.reports += 1
        if isinstance(report, RowsReport):
            self._spelt(report.tables, report.k, device, request)
            self._rows(report, device, request)
        else:
            self._step(report, device, request)

    def spelling(self, device: DeviceState, request: RequestState) -> str:
        """How the request's rows are spelt, or are likely to be: PLAIN or the hash of a set, in hex."""
        told = device.spelling if request.spelling is None else request.spelling
        if told is not None:
            return told
        # Nothing is known of the device. It most likely has the set that this end has too, if there is no
        # doubt whose: vocabularies of one size are many.
        fitting = [one for one in self.table_sets.values() if one.vocab_size == self.vocab_size]
        sure = len({one.fingerprint for one in fitting}) == 1
        return fitting[0].hash.hex() if sure else PLAIN

    def tables(self, spelling: str) -> TableSet | None:
        """The set of that spelling; None: plain rows, or a set that this end does not have."""
        found = by_hash(self.table_sets, bytes.fromhex(spelling))
        return found if found is not None and found.vocab_size == self.vocab_size else None

    def _spelt(self, spelling: str, k: int, device: DeviceState, request: RequestState) -> None:
        """Rows of this K came so. Below a set's first rung they come plain, which says nothing of other K."""
        expected = self.tables(self.spelling(device, request))
        if spelling == PLAIN and expected is not None and expected.rung_of(k) is None:
            return
        device.spelling = request.spelling = spelling

    def _rows(self, report: RowsReport, device: DeviceState, request: RequestState) -> None:
        text = device.texts[report.temperature]
        text.silent_blocks = 0
        text.acceptance.observe_rows(report)
        text.coupled.observe_rows(report, binding=not request.hints)
        if not report.low:  # one row, right behind the Draft that has its token; what it tells comes later
            self._size(device, report.tables, report.k, 1, report.rows_bytes)
            _spaced(device, report.draft_at_s, report.rows_at_s, report.rows_bytes)
        elif not request.hints:
            count = request.waiting.pop(report.step, None)
            if count:
                self._size(device, report.tables, report.k, count, report.rows_bytes)
            _spacing(device, request, report.step, report.draft_at_s, report.rows_at_s, report.rows_bytes)

    def _step(self, report: StepReport, device: DeviceState, request: RequestState) -> None:
        if report.step <= request.step:  # a BS that lost its memory counts from 0 again
            request.block, request.ended_at_s, request.spelling = None, None, None
            request.rows_at_s.clear()
            request.waiting.clear()
        self.crowd.heard(report)
        request.acceptance = report.acceptance
        if report.rows_at_s is not None:
            self._spelt(report.tables, report.plan.k, device, request)
        elif request.spelling is None:
            device.spelling = request.spelling = report.tables
        text = device.texts[report.temperature]
        request.pinned_k, request.pinned_gamma = report.pinned_k, report.pinned_gamma
        request.pinned_min_draft = report.pinned_min_draft
        device.k = report.plan.k
        passed_s = report.step_s
        if request.ended_at_s is not None:
            passed_s = max(passed_s, report.ended_at_s - request.ended_at_s)
        alone_before = request.alone
        request.step, request.ended_at_s = report.step, report.ended_at_s
        request.alone = report.alone and not (request.hints and report.plan.gamma)
        if request.hints:
            self._hints(report, device, request, text)
        elif report.drafted:
            self._block(report, device, request, text)
        own_s = own_seconds(report, passed_s=passed_s, hints=request.hints)
        if request.promised is not None and request.step:
            acceptance = COUPLED if request.hints else REJECTION
            promised_s = report.tokens / request.promised
            text.delivered.observe(acceptance, seconds=own_s, promised_s=promised_s)
        pause = text.pause_of_hints if request.hints else text.pause
        if request.alone:
            pause.alone(own_s)
            text.alone_tokens += report.tokens
        else:
            text.alone_tokens = 0
            tokens = report.tokens if request.hints else report.accepted + 1
            alone_s = self.alone_s if request.alone_s is None else request.alone_s
            pause.drafted(own_s, tokens=tokens, alone_step_s=alone_s)
        if report.echo_s is not None:
            bits = on_link_bits(report.echo_bytes) + on_link_bits(0)
            _round_trip(device, turnaround_s=report.echo_s, drafting_s=0.0, bits=bits)
        if report.step and report.step_s > 0:  # a request's first pass reads the prompt, with cold caches
            self._pass(report, request, passed_s=passed_s, alone_before=alone_before)

    def _pass(
        self, report: StepReport, request: RequestState, *, passed_s: float, alone_before: bool
    ) -> None:
        """The target's time, and the BS's own around it, where this session has the BS for itself."""
        if report.pass_sessions > 1 or self.crowd.shares(report.device):
            return
        waited = passed_s > MOST_BETWEEN * report.step_s  # for the device, or for another's pass
        if request.alone:
            if alone_before:  # the first one behind a block shares the machine with what that left to do
                self.target.observe_alone(report.step_s if waited else passed_s)
        elif request.hints and not 0 < report.plan.gamma <= report.plan.min_draft:
            at_once = report.plan.min_draft == 0 and not waited
            around_s = passed_s - report.step_s if at_once else None
            self.beside.observe(drafted=report.drafted, step_s=report.step_s, overhead_s=around_s)
            self.target.since_alone += 1
        elif report.drafted:
            around_s = handling_seconds(report)
            self.target.observe(drafted=report.drafted, step_s=report.step_s, overhead_s=around_s)

    def _hints(
        self, report: StepReport, device: DeviceState, request: RequestState, text: TextState
    ) -> None:
        """A pass over drafts that may be dropped freely, none, one or several Drafts of them."""
        expected = report.plan.gamma > 0 and not report.resting
        request.dry = request.dry + 1 if expected and not report.drafted else 0
        if report.seen:
            text.coupled.observe_hits(accepted=report.accepted, seen=report.seen, whole=text.whole)
        if report.device_step_s is not None:
            device.draft.observe(report.device_step_s)
        if report.asked_at_s is None or request.answered == (report.asked_at_s, report.draft_at_s):
            return
        request.answered = report.asked_at_s, report.draft_at_s
        _round_trip(
            device,
            turnaround_s=report.draft_at_s - report.asked_at_s,
            drafting_s=report.asked_drafted * (report.device_step_s or device.draft.step_s),
            bits=on_link_bits(report.draft_bytes) + on_link_bits(report.asked_bytes),
        )

    def _block(
        self, report: StepReport, device: DeviceState, request: RequestState, text: TextState
    ) -> None:
        """A pass over a block that had to be waited for."""
        if report.device_step_s is not None:
            device.draft.observe(report.device_step_s)
        text.silent_blocks += 1
        rows_come = text.silent_blocks <= SILENT_BLOCKS
        if not rows_come:
            text.acceptance.observe_hits(k=report.plan.k, accepted=report.accepted, seen=report.seen)
        if report.asked_at_s is not None and not (rows_come and _queued(report, device, request)):
            _round_trip(
                device,
                turnaround_s=report.draft_at_s - report.asked_at_s,
                drafting_s=report.drafted * (report.device_step_s or device.draft.step_s),
                bits=on_link_bits(report.draft_bytes) + on_link_bits(report.asked_bytes),
            )
        if report.rows_at_s is not None and report.rows_bytes:
            self._size(device, report.tables, report.plan.k, report.drafted, report.rows_bytes)
            _spacing(device, request, report.step, report.draft_at_s, report.rows_at_s, report.rows_bytes)
        else:
            remember(request.waiting, report.step, report.drafted, most=MAX_BLOCKS)
        request.block = report.step

    def _size(self, device: DeviceState, spelling: str, k: int, count: int, rows_bytes: int) -> None:
        device.rows[spelling].observe(
            k=k,
            count=count,
            rows_bytes=rows_bytes,
            vocab_size=self.vocab_size,
            tables=self.tables(spelling),
        )


def _queued(report: StepReport, device: DeviceState, request: RequestState) -> bool:
    """Whether this Draft may have stood behind the rows of the block before it."""
    if request.block is None:
        return False
    rows_at_s = request.rows_at_s.get(request.block)
    if rows_at_s is None:
        return True
    sending_s = on_link_bits(report.draft_bytes) * device.link.s_per_bit
    return rows_at_s > report.draft_at_s - sending_s - QUEUE_MARGIN_S


def _round_trip(device: DeviceState, *, turnaround_s: float, drafting_s: float, bits: float) -> None:
    """Two messages, of `bits` together. They took at least the time of their bits: the rate is no lower.

    Where it was taken for lower, the round trip can't be told from the bits.
    """
    if device.link.at_most((turnaround_s - drafting_s) / bits):
        return
    device.trip.observe(
        turnaround_s=turnaround_s, drafting_s=drafting_s, bits=bits, s_per_bit=device.link.s_per_bit
    )


def _spacing(
    device: DeviceState,
    request: RequestState,
    step: int,
    draft_at_s: float,
    rows_at_s: float,
    rows_bytes: int,
) -> None:
    """One sample of the link a block, from whichever report tells it first."""
    if step in request.rows_at_s:
        return
    remember(request.rows_at_s, step, rows_at_s, most=MAX_BLOCKS)
    _spaced(device, draft_at_s, rows_at_s, rows_bytes)


def _spaced(device: DeviceState, draft_at_s: float, rows_at_s: float, rows_bytes: int) -> None:
    """Rows came behind their Draft."""
    device.link.observe(
        spacing_s=rows_at_s - draft_at_s,
        bits=on_link_bits(rows_bytes),
        at_s=rows_at_s,
        jitter_s=device.trip.jitter_s,
    )


__all__ = ["PLAIN", "DeviceState", "Knowledge", "RequestState", "TextState"]
