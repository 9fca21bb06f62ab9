"""One frame for people: its fields by byte, its rows, its tokens."""

from collections.abc import Iterable, Sequence

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftwire.codecs.anatomy import Block, Field
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.escape import quoted, safe
from draftwire.nodes.console.inspect.examine import Examined, first_position, tokens_of
from draftwire.nodes.console.inspect.values import likeliest
from draftwire.nodes.console.inspect.words import Words
from draftwire.nodes.console.summary import STYLES

HEADING = "bold"
REFUSED = "bold red"
QUIET = "dim"


def print_frame(console: Console, one: Examined, words: Words, *, entries: int) -> None:
    """All of a frame; `entries`: most of a row, and most tokens."""
    anatomy = one.anatomy
    say(console, heading(one), HEADING)
    if anatomy.refused is not None:
        bit = anatomy.refused.offset
        where = f"bit {bit} (byte {bit // 8})"
        say(console, f"refused, {anatomy.refused.reason.value} at {where}: {anatomy.refused.detail}", REFUSED)
    if anatomy.fields:
        show(console, _fields(anatomy.fields, entries))
    if anatomy.block is not None and anatomy.block.rows:
        _print_block(console, one, anatomy.block, words, entries)
    _print_tokens(console, one, words, entries)


def heading(one: Examined) -> str:
    """What it is, how long, and what is known of its way."""
    piece, anatomy = one.piece, one.anatomy
    parts = [f"{piece.name}:" if piece.name else "", f"{anatomy.name}, {count_of(anatomy.length, 'byte')}"]
    if piece.direction:
        parts[0] = f"#{one.number}"
        parts.append(f"{piece.direction}, {piece.device}, at {piece.at_s:.6f} s")
        if piece.lost:
            parts.append(f"lost on the link ({piece.lost})")
    return " ".join([parts[0], ", ".join(parts[1:])]).strip()


def say(console: Console, text: str, style: str = "") -> None:
    """A line without markup or control characters; on a terminal it wraps between words."""
    console.print(Text(safe(text), style), soft_wrap=not console.is_terminal)


def show(console: Console, table: Table) -> None:
    """A table; where no terminal shows it, without the spaces behind its lines."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as lines:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines.get().splitlines()))


def plain_table(*headings: str, left: Iterable[str] = ()) -> Table:
    """Without lines, so that what is copied from it is text; columns are to the right, but `left`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    *others, last = headings
    for name in others:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    table.add_column(last, overflow="fold")
    return table


# Fields -----------------------------------------------------------------------------------------------------


def _fields(fields: Sequence[Field], most: int) -> Table:
    table = plain_table("bytes", "field", "value", left=("field",))
    for field in fields:
        value = Text(_shown_value(field, most))
        if field.meaning:
            value.append(f"  {field.meaning}", QUIET)
        table.add_row(_place(field), Text(safe(field.name)), value)
    return table


def _place(field: Field) -> str:
    """First and last byte; bits behind a point where it has not whole bytes."""
    first, last = field.start // 8, (field.end - 1) // 8
    if field.start % 8 or field.end % 8:
        return f"{first}.{field.start % 8}-{(field.end - 1) % 8}"
    return str(first) if first == last else f"{first}-{last}"


def _shown_value(field: Field, most: int) -> str:
    """As text of one line."""
    value = field.value
    match value:
        case bytes():
            return value.hex()
        case str():
            return quoted(value)
        case tuple():
            return " ".join(map(str, value[:most])) + _more(len(value) - most)
        case list() | dict() | None | bool():
            return safe(orjson.dumps(value).decode())
        case int() if field.name == "version":
            return f"{value:#04x}"
    return repr(value)


# Rows -------------------------------------------------------------------------------------------------------


def _print_block(console: Console, one: Examined, block: Block, words: Words, most: int) -> None:
    rows = block.rows
    named = ""
    if one.tables is not None:
        named = f", tables {one.tables.hash.hex()} {quoted(one.tables.label)}"
    per_entry = block.bits / block.entries
    with_frame = 8 * one.anatomy.length / block.entries
    around = "" if one.piece.block else f", {with_frame:.2f} with the frame around"
    what = f"{count_of(len(rows), 'row')} of K = {len(rows[0])} over V = {rows[0].vocab_size}{named}"
    say(console, "")
    say(console, f"{what}: {per_entry:.2f} bits an entry{around}", HEADING)
    table = plain_table("section", "from bit", "bits", "an entry", "share", left=("section",))
    for part in block.sections:
        bits = part.end - part.start
        share = f"{bits / block.bits:6.1%}"
        table.add_row(part.name, str(part.start), str(bits), f"{bits / block.entries:.2f}", share)
    table.add_row("all", "0", str(block.bits), f"{per_entry:.2f}", f"{1:6.1%}", style=HEADING)
    show(console, table)
    first = first_position(one.anatomy)
    for i, row in enumerate(rows):
        say(console, "")
        say(console, _row_heading(i, row, first), HEADING)
        _print_row(console, row, one, words, most)


def _row_heading(number: int, row: Row, first: int | None) -> str:
    at = "" if first is None else f", position {first + number}"
    kept = "all" if row.kept_mass == 1 else f"{row.kept_mass:.4g}"
    return f"row {number}{at}: tail {row.tail}, so it has {kept} of the draft's mass"


def _print_row(console: Console, row: Row, one: Examined, words: Words, most: int) -> None:
    places = likeliest(row, most)
    texts = words.of([int(row.ids[place]) for place in places], one.vocabulary)
    table = plain_table("q", "id", "level", "token")
    for place, text in zip(places, texts, strict=True):
        weight = int(row.weights[place])
        table.add_row(
            f"{weight / WEIGHT_SUM:.6f}", str(row.ids[place]), str(row.levels[place]), Text(text or "")
        )
    show(console, table)
    if len(row) > len(places):
        rest = 1 - sum(int(row.weights[place]) for place in places) / WEIGHT_SUM
        say(console, f"{rest:.6f}  {len(row) - len(places)} more entries (--entries all)", QUIET)


# Tokens -----------------------------------------------------------------------------------------------------


def _print_tokens(console: Console, one: Examined, words: Words, most: int) -> None:
    tokens = tokens_of(one.anatomy)
    shown = tokens[:most]
    if not shown:
        return
    with_q = any(token.q is not None for token in shown)
    table = plain_table("position", "id", "q" if with_q else "origin", "token", left=("origin",))
    texts = words.of([token.id for token in shown], one.vocabulary)
    for token, text in zip(shown, texts, strict=True):
        style = "" if token.origin is None else STYLES.get(token.origin, "")
        origin = "" if token.origin is None else token.origin.name.lower()
        middle = f"{token.q:.6f}" if token.q is not None else origin
        table.add_row(str(token.position), str(token.id), middle, Text(text or "", style))
    say(console, "")
    show(console, table)
    if len(tokens) > len(shown):
        say(console, f"{count_of(len(tokens) - len(shown), 'more token')} (--entries all)", QUIET)
    if any(text is not None for text in texts) and (guess := words.assumed(one.vocabulary)):
        say(console, guess, QUIET)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def count_of(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {what}" + ("" if count == 1 else "s")


__all__ = ["HEADING", "QUIET", "REFUSED", "count_of", "heading", "plain_table", "print_frame", "say", "show"]
