"""What holds at every moment of a request whose drafts are hints, worked out anew from what passes by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.harness.pair import Direction, Planned, SessionPair, as_plan

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Commit, Draft, Incarnation, Message, Opened, SparseLogits
from draftwire.runtime.session.ahead import ROW_EVERY, Ahead
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.hints import PathHints
from draftwire.runtime.session.request import Block
from draftwire.runtime.session.target import TargetSession

Path = dict[int, int]
"""Drafted ids by position."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of drafted tokens held against a log."""

    seen: int
    hits: int


def judged(paths: Mapping[Any, Path], log: Sequence[int]) -> Counts:
    """Each path up to its first id that is wrong, as far as it is known and the log reaches."""
    seen = hits = 0
    for path in paths.values():
        for position in sorted(path):
            if position >= len(log):
                break
            seen += 1
            if path[position] != log[position]:
                break
            hits += 1
    return Counts(seen, hits)


class RepeatingDevice(DeviceSession):
    """Counts what it says once more because nobody has answered."""

    repeats = 0

    def on_timer(self, now_s: float) -> None:
        """As DeviceSession."""
        before = self._silence.deadline_s
        super().on_timer(now_s)
        self.repeats += now_s >= before


class Watch:
    """Listens to a pair from before its run; `check` at any moment."""

    def __init__(self, pair: SessionPair, plans: Sequence[Planned]) -> None:
        self.pair = pair
        self.most = max(as_plan(plan).gamma for plan in plans)
        self._ahead: Ahead | None = None
        self._target: TargetSession | None = None
        self._drawn: dict[int, Path] = {}
        "by epoch: what stands of this life of the device"
        self._told: dict[tuple[Incarnation, int], Path] = {}
        "by incarnation and epoch: what has come to this life of the BS"
        self._whose: dict[int, Ahead | None] = {}
        self._devices: list[DeviceSession] = []
        self._happened: Counter[str] = Counter()
        pair.on_drawn = self._on_drawn
        self._listen()

    def check(self) -> None:
        """Raises AssertionError."""
        pair = self.pair
        ahead, target = pair.device.ahead, pair.target
        self._meet()
        if ahead is not None:
            produced = pair.device.log.produced
            assert len(ahead.chances) <= self.most, "more outstanding than any plan wants"
            if pair.request.max_waste is not None:
                assert ahead.wasted <= pair.request.max_waste * produced
            assert ahead.wasted >= 0
            assert Counts(ahead.seen, ahead.hits) == judged(self._drawn, pair.device.log.tokens)
        if target is not None and isinstance(target._hints, PathHints):
            self._check_held(target, target._hints)
        happened = self._happened
        asked = sum(happened[what] for what in ("tokens", "commits", "openings"))
        asked += sum(one.repeats for one in self._devices if isinstance(one, RepeatingDevice))
        assert happened["drafts"] <= asked, happened
        assert happened["rows"] <= happened["tokens with rows"]

    def _check_held(self, target: TargetSession, path: PathHints) -> None:
        assert len(path.ids) <= MAX_GAMMA
        log, most = target.log.tokens, judged(self._told, target.log.tokens)
        if path.ids:
            told = self._told[target.incarnation, path.newest_epoch]
            whole = [*log, *path.ids]
            assert all(whole[position] == told[position] for position in told if position < len(whole))
        assert path.seen <= most.seen and path.hits <= most.hits
        assert path.seen - path.hits <= most.seen - most.hits

    def _meet(self) -> None:
        """Lives begin with nothing."""
        if self.pair.device not in self._devices:
            self._devices.append(self.pair.device)
        if self.pair.device.ahead is not self._ahead:
            self._ahead, self._drawn = self.pair.device.ahead, {}
        if self.pair.target is not self._target:
            self._target, self._told = self.pair.target, {}

    def _on_drawn(self, block: Block, kept: bool) -> None:
        self._meet()
        if self._ahead is None:
            return
        self._happened["tokens"] += len(block.ids)
        first = -block.start % ROW_EVERY
        wants = not self.pair.request.sampling.greedy and first < len(block.ids)
        assert (block.row_at, len(block.rows)) == ((first, 1) if wants else (None, 0))
        self._happened["tokens with rows"] += wants
        if kept:
            path = self._drawn.setdefault(block.draft_epoch, {})
            path.update(enumerate(block.ids, block.start))

    def _listen(self) -> None:
        pair, transmit, deliver_up = self.pair, self.pair._transmit, self.pair._deliver_up
        deliver_down = self.pair._deliver_down

        def transmitting(direction: Direction, message: Message) -> None:
            if isinstance(message, Draft) and not message.weights:
                self._happened["drafts"] += 1
                self._check_told(message)
            if isinstance(message, SparseLogits) and pair.device.ahead is not None:
                self._happened["rows"] += 1
                assert len(message.rows) == 1
            transmit(direction, message)

        def delivering_up(message: Message) -> None:
            self._meet()
            target = pair.target
            if isinstance(message, Draft) and target is not None:
                if message.incarnation == target.incarnation and message.ids:
                    path = self._told.setdefault((message.incarnation, message.draft_epoch), {})
                    path.update(enumerate(message.ids, message.start))
            deliver_up(message)

        def delivering_down(message: Message) -> None:
            self._happened["commits"] += isinstance(message, Commit)
            self._happened["openings"] += isinstance(message, Opened)
            deliver_down(message)

        pair._transmit, pair._deliver_up = transmitting, delivering_up  # type: ignore[method-assign]
        pair._deliver_down = delivering_down  # type: ignore[method-assign]

    def _check_told(self, draft: Draft) -> None:
        drawn = self._drawn.get(draft.draft_epoch, {})
        assert all(drawn[position] == x for position, x in enumerate(draft.ids, draft.start))
        if draft.ids:  # what has been drawn and not told before a death may be drawn again
            whose = self._whose.setdefault(draft.draft_epoch, self._ahead)
            assert whose is self._ahead, "an epoch comes twice"


__all__ = ["Counts", "RepeatingDevice", "Watch", "judged"]
