"""Mode 1 as docs/wire.md has it, one bit at a time, as text, so that any section can be misspelt."""

from collections.abc import Sequence

from draftwire.codecs.blocks import Mode
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import Rung, Table, TableSet
from draftwire.codecs.weights import low_bits

Buckets = list[tuple[int, int, int]]
"(width, first rank, the rank that it ends before), by rising rank."

Sections = dict[str, str]
"Bits of each section of a block, in order."


def buckets_of(rung: Rung, table: Table, v: int) -> Buckets:
    """A table's own buckets, then those that the rung's tables have in common."""
    found, size = [], len(table.front)
    for widths, at, end in ((table.widths, table.head, size), (rung.tail_widths, size, v)):
        for width in widths:
            found.append((width, at, min(at + 2**width, end)))
            at += 2**width
    return found


def ranks_of(ids: Sequence[int], table: Table, tables: TableSet) -> list[int]:
    """The ranks of ids in a table, in the order of the ids."""
    order, front = tables.order.tolist(), table.front.tolist()
    ranks = [order[place] for place in front] + order[len(front) :]
    return [ranks.index(token) for token in ids]


def spelt(rows: Sequence[Row], tables: TableSet, chosen: Sequence[int] | None = None) -> Sections:
    """The sections of a block, as bits; `chosen`: each row's table, in place of the one it must be."""
    k, s = len(rows[0]), low_bits(rows[0].profile)
    rung = [rung for rung in tables.rungs if rung.k <= k][-1]
    width = (len(rung.tables) - 1).bit_length()
    names = (
        "tables and tails",
        "head bitmaps",
        "bucket counts",
        "coarse levels",
        "bucket offsets",
        "low bits",
    )
    found = dict.fromkeys(names, "")
    for i, row in enumerate(rows):
        ids = [ids_spelt(row, rung, table, tables) for table in rung.tables]
        lengths = [sum(map(len, parts)) for parts in ids]
        m = lengths.index(min(lengths)) if chosen is None else chosen[i]
        ranks = ranks_of(row.ids.tolist(), rung.tables[m], tables)
        levels = [level for _, level in sorted(zip(ranks, row.levels.tolist(), strict=True))]
        top = max(levels) >> s
        found["tables and tails"] += (f"{m:0{width}b}" if width else "") + f"{row.tail:06b}"
        found["head bitmaps"] += ids[m][0]
        found["bucket counts"] += ids[m][1]
        found["bucket offsets"] += ids[m][2]
        found["coarse levels"] += "".join("0" * (level >> s) + "1" for level in levels)
        for level in levels:
            if level >> s > top - 4:
                found["low bits"] += f"{level % 2**s:0{s}b}"
    return found


def ids_spelt(row: Row, rung: Rung, table: Table, tables: TableSet) -> tuple[str, str, str]:
    """A row's ids: bitmap of the head, members of each bucket, places in them."""
    ranks = set(ranks_of(row.ids.tolist(), table, tables))
    bitmap = "".join("01"[rank in ranks] for rank in range(table.head))
    counts, offsets = "", ""
    for width, first, end in buckets_of(rung, table, tables.vocab_size):
        members = sorted(ranks & set(range(first, end)))
        counts += "0" * len(members) + "1"
        if width:
            offsets += "".join(f"{rank - first:0{width}b}" for rank in members)
    return bitmap, counts, offsets


def packed(rows: Sequence[Row], tables: TableSet, sections: Sections) -> bytes:
    """The block of these sections."""
    header = bytes([Mode.TABLES << 4 | rows[0].profile, len(rows)]) + len(rows[0]).to_bytes(2, "big")
    bits = "".join(sections.values())
    bits += "0" * (-len(bits) % 8)
    return header + tables.tag + int(bits or "0", 2).to_bytes(len(bits) // 8, "big")
