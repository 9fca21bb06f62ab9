"""One frame for people: its fields by byte, its rows, its tokens."""

from collections.abc import Iterable, Sequence

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftwire.codecs.anatomy import Anatomy, Block, Field
from draftwire.codecs.blocks import Section
from draftwire.codecs.errors import WireError
from draftwire.codecs.rows import NO_TAIL, Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.escape import quoted, safe
from draftwire.nodes.console.inspect.examine import Examined, as_said, first_position, tokens_of
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
    _print_verdict(console, one)
    if anatomy.fields:
        show(console, _fields(anatomy.fields, entries))
    if anatomy.block is not None and anatomy.block.rows:
        _print_block(console, one, anatomy.block, words, entries)
    elif anatomy.block is not None:
        _print_refused_block(console, one, anatomy.block)
    _print_tokens(console, one, words, entries)


def _print_verdict(console: Console, one: Examined) -> None:
    """That it is refused, and where; whether a golden vector wants that."""
    anatomy, wanted = one.anatomy, one.piece.expected
    if anatomy.refused is not None:
        say(console, f"refused, {told(anatomy, anatomy.refused)}", REFUSED)
    if anatomy.mended is not None:
        refused = anatomy.mended.refused
        without = "it would be taken" if refused is None else f"refused, {told(anatomy.mended, refused)}"
        say(console, f"with a crc that fits: {without}", REFUSED)
    if wanted is not None:
        reason, bit = wanted
        fits = "as its vector says" if as_said(one) else f"its vector says otherwise: {reason} at bit {bit}"
        say(console, fits, "" if as_said(one) else REFUSED)


def told(anatomy: Anatomy, refused: WireError) -> str:
    """A refusal, with the byte and the section of a block that it is in."""
    bit = refused.offset
    where = f"bit {bit} (byte {bit // 8})"
    if anatomy.block is not None and (section := anatomy.block.section_at(bit)):
        where += f", in {section}"
    return f"{refused.reason.value} at {where}: {refused.detail}"


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
    per_entry = block.bits / block.entries
    with_frame = 8 * one.anatomy.length / block.entries
    around = "" if one.piece.block else f", {with_frame:.2f} with the frame around"
    say(console, "")
    what = f"{count_of(len(rows), 'row')} of K = {len(rows[0])} over V = {rows[0].vocab_size}"
    say(console, f"{what}: {per_entry:.2f} bits/entry{around}", HEADING)
    _print_spelling(console, one, block)
    show(console, _sections(block))
    first = first_position(one.anatomy)
    for i, row in enumerate(rows):
        say(console, "")
        mass = kept(row.tail, whole=len(row) == row.vocab_size)
        say(console, f"{_row_name(block, i, first)}: {mass}", HEADING)
        _print_row(console, row, one, words, most)


def _print_refused_block(console: Console, one: Examined, block: Block) -> None:
    """What is known of its division, and of its rows."""
    if not block.sections:
        return
    say(console, "")
    shape, stopped = block.outline.shape, block.outline.stopped
    what = "block of rows" if shape is None else f"{count_of(shape[0], 'row')} of K = {shape[1]}"
    say(console, f"{what}, as far as it can be read", HEADING)
    _print_spelling(console, one, block)
    show(console, _sections(block))
    if stopped:
        say(console, f"it ends within {stopped}")
    for i, head in enumerate(block.heads):
        say(console, f"{_row_name(block, i, None)}, tail {head.tail}")


def _print_spelling(console: Console, one: Examined, block: Block) -> None:
    """The set and the rung."""
    if one.tables is not None:
        say(console, f"tables {one.tables.hash.hex()} {quoted(one.tables.label)}", HEADING)
    if block.rung is not None:
        rung = block.rung
        say(console, f"rung of k = {rung.k}: M = {rung.tables}, F = {rung.front}", HEADING)


def _sections(block: Block) -> Table:
    table = plain_table("section", "from bit", "bits", "an entry", "share", left=("section",))
    for part in (*block.sections, Section("all", 0, block.bits)):
        bits = part.end - part.start
        per_entry = f"{bits / block.entries:.2f}" if block.entries else ""
        style = HEADING if part.name == "all" else ""
        share = f"{bits / max(1, block.bits):6.1%}"
        table.add_row(part.name, str(part.start), str(bits), per_entry, share, style=style)
    return table


def _row_name(block: Block, number: int, first: int | None) -> str:
    """Which it is, for which position, and its table or its Rice parameter."""
    parts = [f"row {number}"]
    if first is not None:
        parts.append(f"position {first + number}")
    if block.heads:
        spelt = block.heads[number].number
        parts.append(f"l = {spelt}" if block.rung is None else f"table {spelt} of {block.rung.tables}")
    return ", ".join(parts)


def kept(tail: int, *, whole: bool) -> str:
    """What a row has of the draft's mass, by its tail, which is a range of half a step each way."""
    if whole:
        return f"tail {tail}, all of the draft's mass"
    if tail == NO_TAIL:
        return f"tail {tail}, all but 2**-15.75 of the draft's mass, or more"
    least, most = 2 ** -((tail + 0.5) / 4), 2 ** -((tail - 0.5) / 4)
    if most >= 1:
        return f"tail {tail}, {100 * (1 - least):.0f} % of the draft's mass or less"
    if most > 0.5:
        return f"tail {tail}, {100 * (1 - most):.0f} to {100 * (1 - least):.0f} % of the draft's mass"
    return f"tail {tail}, all but {100 * least:.2g} to {100 * most:.2g} % of the draft's mass"


def shown_q(weight: int) -> str:
    """q of a weight, which is never 0."""
    q = weight / WEIGHT_SUM
    return f"{q:.6f}" if q >= 1e-6 else f"{q:.2e}"


def _print_row(console: Console, row: Row, one: Examined, words: Words, most: int) -> None:
    places = likeliest(row, most)
    texts = words.of([int(row.ids[place]) for place in places], one.vocabulary)
    table = plain_table("q", "weight", "id", "level", "token")
    for place, text in zip(places, texts, strict=True):
        weight = int(row.weights[place])
        table.add_row(
            shown_q(weight), str(weight), str(row.ids[place]), str(row.levels[place]), Text(text or "")
        )
    show(console, table)
    if len(row) > len(places):
        rest = WEIGHT_SUM - sum(int(row.weights[place]) for place in places)
        say(console, f"{shown_q(rest)}  {len(row) - len(places)} more entries (--entries all)", QUIET)


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
        origin = token.part if token.origin is None else token.origin.name.lower()
        middle = shown_q(round(token.q * WEIGHT_SUM)) if token.q is not None else origin
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
