"""A capture for people: a line a frame, and what all of them come to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftwire.codecs.messages import (
    Acceptance,
    Close,
    Commit,
    Draft,
    Finish,
    Hello,
    Open,
    Opened,
    Origin,
    Refused,
    SparseLogits,
    Welcome,
)
from draftwire.codecs.tables import TAG_BYTES
from draftwire.nodes.console.escape import quoted, safe
from draftwire.nodes.console.inspect.examine import Examined, tokens_of
from draftwire.nodes.console.inspect.view import HEADING, QUIET, REFUSED, count_of, plain_table, say, show
from draftwire.nodes.console.inspect.words import Vocabulary, Words
from draftwire.nodes.console.inspect.wrapping import say_behind
from draftwire.nodes.console.summary import STYLES

SHOWN_TOKENS = 6
"""Texts in a line of the list."""


@dataclass(slots=True)
class Count:
    """Of one kind in one direction."""

    frames: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Rows:
    """Of one mode in all blocks."""

    blocks: int = 0
    rows: int = 0
    entries: int = 0
    bits: int = 0
    "of the blocks"
    frame_bits: int = 0
    "of the frames that they came in"


@dataclass(slots=True)
class Totals:
    """What the frames so far come to."""

    kinds: dict[tuple[str, str], Count] = field(default_factory=dict)
    "by direction and message"
    modes: dict[str, Rows] = field(default_factory=dict)
    "by name"
    tokens: int = 0
    "that Commits had, each once"
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    "by device and session, the position behind the last token of its Commits"
    lost: int = 0
    refused: int = 0
    guessed: bool = False
    "whether there were tokens of which nothing said whose they are"
    began_s: float | None = None
    ended_s: float | None = None

    def add(self, one: Examined) -> None:
        """Count a frame."""
        piece, anatomy = one.piece, one.anatomy
        count = self.kinds.setdefault((piece.direction, anatomy.name), Count())
        count.frames += 1
        count.bytes += anatomy.length
        self.lost += bool(piece.lost)
        self.refused += anatomy.refused is not None
        self.guessed |= one.vocabulary.vocab_size is None and bool(tokens_of(anatomy))
        self.began_s = piece.at_s if self.began_s is None else self.began_s
        self.ended_s = piece.at_s
        if anatomy.block is not None and anatomy.block.rows:
            rows = self.modes.setdefault(mode_of(one), Rows())
            rows.blocks += 1
            rows.rows += len(anatomy.block.rows)
            rows.entries += anatomy.block.entries
            rows.bits += anatomy.block.bits
            rows.frame_bits += 8 * anatomy.length
        if anatomy.frame is not None and isinstance(message := anatomy.frame.message, Commit):
            self._count(message, (piece.device, anatomy.frame.session))

    @property
    def frames(self) -> int:
        """All of them."""
        return sum(count.frames for count in self.kinds.values())

    def _count(self, commit: Commit, request: tuple[str, int]) -> None:
        """The tokens that no earlier Commit had: those sent anew are behind others, and end no later."""
        end = commit.position + len(commit.ids)
        known = self.reached.get(request, 0)
        self.tokens += max(0, end - max(known, commit.position))
        self.reached[request] = max(known, end)

    def bytes_of(self, direction: str) -> int:
        """All frames of a direction."""
        return sum(count.bytes for (way, _), count in self.kinds.items() if way == direction)


def mode_of(one: Examined) -> str:
    """Of a block that has been read."""
    return next((field.meaning for field in one.anatomy.fields if field.name == "mode"), "")


def print_line(console: Console, one: Examined, words: Words, *, began_s: float) -> None:
    """A frame in a line; time counts from `began_s`."""
    piece, anatomy = one.piece, one.anatomy
    at_s = 0.0 if piece.at_s is None else piece.at_s - began_s
    head = Text(f"{one.number:4} {at_s:9.4f} {piece.direction:4} {anatomy.length:5} B {anatomy.name:12}")
    refused = anatomy.refused
    facts = _facts(one, words) if refused is None else Text(safe(f"refused: {refused}"), REFUSED)
    if piece.lost:
        facts.append(safe(f"  lost: {piece.lost}"), REFUSED)
    say_behind(console, head, facts)


def _facts(one: Examined, words: Words) -> Text:
    """What matters of a message, in half a line."""
    frame, block = one.anatomy.frame, one.anatomy.block
    message = None if frame is None else frame.message
    match message:
        case Hello():
            return Text(f"V {message.vocab_size}, {count_of(len(message.tables), 'set')} of tables")
        case Welcome():
            named = "rows plain" if message.tables is None else f"tables {message.tables[:TAG_BYTES].hex()}"
            return Text(named)
        case Open():
            output = len(message.tokens) - message.prompt_length
            behind = f", {output} behind it" if output else ""
            about = f"try {message.device_try}, temperature {message.sampling.temperature:g}"
            asked = _accepted_by(message.acceptance)
            return Text(f"{about}{asked}, prompt of {count_of(message.prompt_length, 'token')}{behind}")
        case Opened():
            about = f"try {message.device_try}{_accepted_by(message.acceptance)}"
            return Text(f"{about}, {count_of(message.known, 'token')} known")
        case Refused():
            return Text(f"{message.reason.name.lower()}: {quoted(message.detail)}")
        case Draft():
            rows = f", K {message.plan.k}" if message.weights else ""
            head = f"at {message.start}{rows}: " if message.ids else f"at {message.start}: no more for now"
            return Text(head).append_text(_texts(one, words))
        case SparseLogits() if block is not None and block.rows:
            size = f"{len(block.rows)} x {len(block.rows[0])} {mode_of(one)}"
            return Text(f"at {message.start}: {size} {block.bits / block.entries:.2f} bits/entry")
        case Commit():
            tested = f"{message.accepted}/{message.seen} " if message.seen else ""
            end = "" if message.finish is Finish.RUNNING else f" {message.finish.name.lower()}"
            lacks = " ids are missing here" if message.missing else ""
            line = Text(f"at {message.position}: {tested}").append_text(_texts(one, words))
            return line.append(end).append(lacks)
        case Close():
            return Text(f"{count_of(message.known, 'token')} known")
    known = getattr(message, "known", None)
    return Text("" if known is None else f"{count_of(known, 'token')} known")


def _accepted_by(acceptance: Acceptance) -> str:
    """Where it is not the usual one."""
    return "" if acceptance is Acceptance.REJECTION else f", {acceptance.name.lower()}"


def _texts(one: Examined, words: Words) -> Text:
    tokens = tokens_of(one.anatomy)
    shown = tokens[:SHOWN_TOKENS]
    texts = words.of([token.id for token in shown], one.vocabulary)
    line = Text()
    for token, text in zip(shown, texts, strict=True):
        style = STYLES.get(token.origin, "") if isinstance(token.origin, Origin) else ""
        line.append(text or str(token.id), style).append(" ")
    return line.append("..." if len(tokens) > len(shown) else "")


def print_totals(console: Console, totals: Totals, words: Words, *, left_out: str) -> None:
    """The summary; `left_out`: a sentence on lines that were, or nothing."""
    seconds = (totals.ended_s or 0.0) - (totals.began_s or 0.0)
    show(console, _table(totals.kinds.items()))
    for name, rows in totals.modes.items():
        say(
            console,
            f"rows, {name}: {rows.rows} in {count_of(rows.blocks, 'block')}, {rows.entries} entries, "
            f"{rows.bits / rows.entries:.2f} bits/entry, {rows.frame_bits / rows.entries:.2f} with frames",
        )
    parts = [f"{count_of(totals.frames, 'frame')} in {seconds:.2f} s"]
    if totals.tokens:
        each = [f"{totals.bytes_of(way) / totals.tokens:.0f} B {way}" for way in ("up", "down")]
        parts.append(f"{count_of(totals.tokens, 'token')} committed, for each {' and '.join(each)}")
    if totals.lost:
        parts.append(f"{totals.lost} lost on the link")
    if totals.refused:
        parts.append(f"{totals.refused} refused")
    say(console, "; ".join(parts), HEADING)
    if totals.guessed and (guess := words.assumed(Vocabulary())):
        say(console, guess, QUIET)
    if left_out:
        say(console, left_out, QUIET)


def _table(kinds: Iterable[tuple[tuple[str, str], Count]]) -> Table:
    """By direction and message, the heaviest first; a line for all of a direction."""
    table = plain_table("way", "message", "frames", "bytes", "mean", "share", left=("way", "message"))
    found = sorted(kinds, key=lambda one: (-ord(one[0][0][:1] or " "), -one[1].bytes))
    for way in dict.fromkeys(way for (way, _), _ in found):
        own = [(name, count) for (one, name), count in found if one == way]
        whole = sum(count.bytes for _, count in own)
        for name, count in own:
            table.add_row(way, *_cells(name, count, whole))
        everything = Count(sum(count.frames for _, count in own), whole)
        table.add_row(way, *_cells("all", everything, whole), style=HEADING)
    return table


def _cells(name: str, count: Count, whole: int) -> Sequence[str]:
    mean = f"{count.bytes / count.frames:.0f}"
    return name, str(count.frames), str(count.bytes), mean, f"{count.bytes / max(1, whole):6.1%}"


__all__ = ["Totals", "print_line", "print_totals"]
