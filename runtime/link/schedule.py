"""A link that changes: what one direction does from when on, once or over and over.

    rate 20mbit delay 2ms; 5s rate 1mbit; 10s rate 100kbit; repeat 15s

Pieces stand between semicolons. Each begins with its time, counted from the start of the schedule (the first
may leave out 0s), and then says what changes in the words of a link; what it leaves out stays as in the piece
before. `repeat` comes last: at that time the schedule begins again. A link that never changes is a schedule
of one step.

A trace, or fading, begins with the piece that brings it, and goes on while others leave it as it is: with
`trace lte-like; 10s loss 1%; repeat 20s` for ever, as the round that ends has it too. Pure, as the link model
is: whoever plays a schedule brings the time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final, Self

from draftwire.codecs.limits import MAX_LINK_LENGTH
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link.quoting import split_pieces, split_words
from draftwire.runtime.link.reading import FindTrace, link_of_words
from draftwire.runtime.link.spec import LinkSpec
from draftwire.runtime.link.traces import shipped_trace
from draftwire.runtime.link.units import parse_time, time_words
from draftwire.runtime.link.writing import sending_words

MIN_STEP_S: Final = 0.001
"""Between changes at least: timers are no finer, and no order may keep a channel busy with nothing else."""

MAX_SCHEDULE_S: Final = 1e6
"""Eleven days: longer than any run."""

_NOTHING: Final = "delay 0"
"""Words of a link that does nothing, where there must be some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStep:
    """From a time on, a link."""

    at_s: float
    "since the schedule began"
    link: LinkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPiece:
    """A time in which the link stays what it is, counted from the start of the schedule as all times here."""

    from_s: float
    until_s: float
    "when the link becomes another one; inf: never"
    link: LinkSpec
    began_s: float
    "since when its rate is what it is, at most from_s: time 0 of a trace or of fading"
    rates_before: int
    "how often the rate has become another one by then: tells a fading from one that came before"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSchedule:
    """What one direction of a link does over time; `str` gives words that parse_schedule reads back as it."""

    steps: tuple[LinkStep, ...]
    "the first at 0, the others later and later, MIN_STEP_S apart or more"
    repeat_s: float | None = None
    "the length of a round, above the last step's time; None: the last step lasts for ever"

    def __post_init__(self) -> None:
        if not self.steps or self.steps[0].at_s != 0:
            raise _wrong("the schedule does not begin at 0s", "say what the link is at first")
        for before, step in pairwise(self.steps):
            _check_time(step.at_s, "the piece", before.at_s)
        if self.repeat_s is not None:
            if len(self.steps) == 1:
                raise _wrong("'repeat' has nothing to repeat", "add a piece before it, or leave it out")
            _check_time(self.repeat_s, "the repeat", self.steps[-1].at_s)
        if (length := len(str(self))) > MAX_LINK_LENGTH:
            raise _wrong(f"the schedule has {length} characters", f"at most {MAX_LINK_LENGTH} will do")

    @classmethod
    def constant(cls, link: LinkSpec) -> Self:
        """A link that never changes."""
        return cls(steps=(LinkStep(at_s=0.0, link=link),))

    def __str__(self) -> str:
        first = str(self.steps[0].link)
        if len(self.steps) == 1:
            return first
        pieces = [first or _NOTHING]
        for before, step in pairwise(self.steps):
            words = step.link.words_after(before.link) or sending_words(step.link)
            pieces.append(f"{time_words(step.at_s)} {words}")
        if self.repeat_s is not None:
            pieces.append(f"repeat {time_words(self.repeat_s)}")
        return "; ".join(pieces)

    def pieces(self, from_s: float = 0.0) -> Iterator[LinkPiece]:
        """What holds at `from_s` >= 0, then what follows; without end where something repeats.

        Steps that leave the link as it is divide nothing.
        """
        number = self._step_at(from_s)
        first = self._held_since(number, lambda one, other: one == other)
        began = self._held_since(number, LinkSpec.has_rate_of)
        rates_before = self._rates_before(began)
        while True:
            link, after = self._link(first), self._next_other(first)
            yield LinkPiece(
                from_s=self._begins_s(first),
                until_s=inf if after is None else self._begins_s(after),
                link=link,
                began_s=self._begins_s(began),
                rates_before=rates_before,
            )
            if after is None:
                return
            first = after
            if not self._link(after).has_rate_of(link):
                began, rates_before = after, rates_before + 1

    def _held_since(self, number: int, same: Callable[[LinkSpec, LinkSpec], bool]) -> int:
        """The first of the steps up to this one, without a gap, that are the same as it."""
        link = self._link(number)
        for before in range(number - 1, max(-1, number - 1 - len(self.steps)), -1):
            if not same(self._link(before), link):
                return before + 1
        return 0  # of a whole round all are

    def _rates_before(self, number: int) -> int:
        """Of the steps behind the first and up to this one, those that bring another rate."""
        brings = [not step.link.has_rate_of(before.link) for before, step in pairwise(self.steps)]
        again = not self.steps[0].link.has_rate_of(self.steps[-1].link)
        rounds, step = divmod(number, len(self.steps))
        return rounds * (sum(brings) + again) + sum(brings[:step])

    def _next_other(self, number: int) -> int | None:
        """The next step with another link; None: there is none."""
        end = len(self.steps) if self.repeat_s is None else number + len(self.steps)
        link = self._link(number)
        return next((one for one in range(number + 1, end) if self._link(one) != link), None)

    def _link(self, number: int) -> LinkSpec:
        return self.steps[number % len(self.steps)].link

    def _step_at(self, t_s: float) -> int:
        """The number of the last step that has begun, counted on through the rounds."""
        if self.repeat_s is None:
            return max(0, bisect_right(self.steps, t_s, key=lambda step: step.at_s) - 1)
        # Down from the end of the round, by the very sums that pieces end at: so the one that follows at a
        # time is the one that holds at that time, however the sum was rounded.
        number = (int(max(0.0, t_s) // self.repeat_s) + 1) * len(self.steps)
        while number and self._begins_s(number) > t_s:
            number -= 1
        return number

    def _begins_s(self, number: int) -> float:
        rounds, step = divmod(number, len(self.steps))
        return rounds * (self.repeat_s or 0.0) + self.steps[step].at_s


def parse_schedule(
    text: str, *, after: LinkSpec | None = None, find_trace: FindTrace = shipped_trace
) -> LinkSchedule:
    """A schedule from words, see the top of this file; the words of a link alone are one too.

    What the first piece leaves out is as in `after`, which also holds before a first piece that begins later
    than 0s; without `after` such a piece is refused. `find_trace` as in parse_link. Raises ConfigurationError
    that names the piece, what is wrong with it, and what to write.
    """
    pieces = split_pieces(text)
    steps = [] if after is None else [LinkStep(at_s=0.0, link=after)]
    repeat_s = None
    for number, piece in enumerate(pieces, 1):
        try:
            if repeat_s is not None:
                raise _wrong("nothing may follow 'repeat'", "make it the last piece")
            words = split_words(piece)
            if words and words[0].lower() == "repeat":
                repeat_s = _repeat(words)
                continue
            if not words and len(pieces) > 1:
                raise _wrong("the piece is empty", "leave out the ';' beside it")
            step = _step(words, steps[-1].link if steps else None, find_trace, first=number == 1)
            if not steps and step.at_s > 0:
                raise _wrong("nothing says what the link is before", "begin with it: 'rate 20mbit; 5s ...'")
            if number > 1 or step.at_s > 0:
                _check_time(step.at_s, "the piece", steps[-1].at_s)
            steps = [step] if step.at_s == 0 else [*steps, step]
        except ConfigurationError as error:
            raise (_of_piece(error, number, piece) if len(pieces) > 1 else error) from None
    return LinkSchedule(steps=tuple(steps), repeat_s=repeat_s)


def _step(words: list[str], before: LinkSpec | None, find_trace: FindTrace, *, first: bool) -> LinkStep:
    """A step from the words of its piece; `before` is the link that it changes."""
    at_s = 0.0
    if words and words[0][:1] in tuple("0123456789.+-"):
        at_s = parse_time("time", words[0])
        words = words[1:]
        if not words:
            raise _wrong("the piece says no change", "write for instance '5s rate 1mbit'")
    elif not first:
        raise _wrong("the piece does not begin with its time", "write for instance '5s rate 1mbit'")
    _check_time(at_s, "the piece", None)
    return LinkStep(at_s=at_s, link=link_of_words(words, after=before, find_trace=find_trace))


def _repeat(words: list[str]) -> float:
    if len(words) != 2:
        raise _wrong("'repeat' takes one time", "write for instance 'repeat 15s'")
    return parse_time("repeat", words[1])


def _check_time(at_s: float, what: str, before_s: float | None) -> None:
    """Rounded to nanoseconds: 3 ms and 2 ms are 1 ms apart, whatever their floats are."""
    if not 0 <= at_s <= MAX_SCHEDULE_S:  # NaN fails too
        raise _wrong(f"{what} comes at {at_s:g} s", f"write a time up to {time_words(MAX_SCHEDULE_S)}")
    if before_s is not None and round(at_s - before_s, 9) < MIN_STEP_S:
        earliest = time_words(round(before_s + MIN_STEP_S, 9))
        problem = f"{what} at {time_words(at_s)} follows one at {time_words(before_s)}"
        raise _wrong(problem, f"write a time of {earliest} or later")


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(problem, key="schedule", remedy=remedy)


def _of_piece(error: ConfigurationError, number: int, piece: str) -> ConfigurationError:
    problem = f"piece {number} ({' '.join(piece.split())!r}): {error.problem}"
    return ConfigurationError(problem, key=error.key, remedy=error.remedy)


__all__ = [
    "MAX_SCHEDULE_S",
    "MIN_STEP_S",
    "LinkPiece",
    "LinkSchedule",
    "LinkStep",
    "parse_schedule",
]
