"""Blocks and files of tables of tests/codecs/golden/ that must be refused, by what is wrong with them."""

from tests.codecs.ranked_by_the_book import Sections, packed, spelt
from tests.codecs.test_blocks import DENSE, PLAIN, block, flipped
from tests.codecs.test_ranked_by_hand import (
    DATA,
    ONE_TABLE,
    ROW,
    SAME_BUCKET,
    SET,
    changed,
    header,
    row_at,
    whole_row,
)
from tests.codecs.test_table_sets import REFUSED as FILES

SETS = (SET, ONE_TABLE)
"Of blocks of mode 1: one of 12 ids with a rung of 3 tables from K = 3 on, and the same with one table alone."


def plain_header(*, kinds: int = 0, rows: int = 1, v: int = 10, k: int = 3) -> bytes:
    """PLAIN behind another header."""
    return bytes([kinds, rows]) + v.to_bytes(3, "big") + k.to_bytes(3, "big") + PLAIN[8:]


PLAIN_BLOCKS = {
    "mode 0: nothing at all": b"",
    "mode 0: cut in the header": PLAIN[:7],
    "mode 0: profile 2, which belongs to mode 2": plain_header(kinds=0x02),
    "mode 0: profile 15, which there is not": plain_header(kinds=0x0F),
    "mode 0: no rows": plain_header(rows=0),
    "mode 0: 33 rows": plain_header(rows=33),
    "mode 0: V = 1": plain_header(v=1, k=1),
    "mode 0: V = 262145": plain_header(v=262145),
    "mode 0: K = 0": plain_header(k=0),
    "mode 0: K above V": plain_header(k=11),
    "mode 0: K = 4097": plain_header(v=262144, k=4097),
    "mode 0: cut in the body": PLAIN[:-1],
    "mode 0: a byte of 0 behind the body": PLAIN + b"\0",
    "mode 0: padding that is not 0": flipped(PLAIN, 8 * len(PLAIN) - 1),
    "mode 0: a run without an end": PLAIN[:8] + bytes(len(PLAIN) - 8),
    "mode 0: l = 31": PLAIN[:8] + bytes([31 << 3 | PLAIN[8] & 7]) + PLAIN[9:],
    "mode 0: l = 1 where l = 0 is shorter": block(1, "1" + "1", "0" + "00", v=4, k=1),
    "mode 0: l = 0 where l = 1 is shorter": block(0, "00001" + "1", "00", v=8, k=1),
    "mode 0: l = 1 where l = 0 is as short, and less": block(1, "01" + "1", "0" + "00", v=8, k=1),
    "mode 0: an id that is V": block(0, "001" + "1", "00", v=2, k=1),
    "mode 0: a tail of 62 where K = V": block(0, "11" + "11", "0000", v=2, k=2, tail=62),
    "mode 0: a coarse level of 32": block(0, "11" + "1" + "0" * 32 + "1", "00", v=2, k=2),
    "mode 0: no coarse level of 0": block(0, "1" + "01", "00", v=2, k=1),
    "mode 0: no level of 0": block(0, "1" + "1", "01", v=2, k=1),
    "mode 3, which there is not": plain_header(kinds=0x30),
}

DENSE_BLOCKS = {
    "mode 2: profile 1, which belongs to modes 0 and 1": b"\x21" + DENSE[1:],
    "mode 2: no rows": DENSE[:1] + b"\0" + DENSE[2:8],
    "mode 2: K below V": DENSE[:5] + bytes([0, 0, 1]) + DENSE[8:],
    "mode 2: cut in the body": DENSE[:-1],
    "mode 2: a byte of 0 behind the body": DENSE + b"\0",
    "mode 2: no level of 65535": DENSE[:8] + bytes([0, 0, 255, 254]),
}


def one_table(**sections: str) -> bytes:
    """Ranks 4, 6 and 7 of the first table, spelt otherwise."""
    named: Sections = {name.replace("_", " "): bits for name, bits in sections.items()}
    return packed([ROW], ONE_TABLE, SAME_BUCKET | {"tables and tails": "111111"} | named)


TIED = row_at(0, 1, 4)
"A row that tables 0 and 2 take 9 bits for."

TABLES_BLOCKS = {
    "mode 1: cut in the header": DATA[:7],
    "mode 1: profile 2, which belongs to mode 2": header(kinds=0x12),
    "mode 1: a set that is not here": header(tag=b"none"),
    "mode 1: no rows": header(rows=0),
    "mode 1: 33 rows": header(rows=33),
    "mode 1: K = 0": header(k=0),
    "mode 1: K above V": header(k=13),
    "mode 1: K below the set's first rung": header(k=2),
    "mode 1: nothing behind the header": DATA[:8],
    "mode 1: cut in the body": DATA[:-1],
    "mode 1: a byte of 0 behind the body": DATA + b"\0",
    "mode 1: padding that is not 0": changed(low_bits="00000001"),
    "mode 1: 32 rows in 5 bytes": header(rows=32),
    "mode 1: m = 3 of 3 tables, 0 to 2": changed(tables_and_tails="11010110"),
    "mode 1: m = 1 where table 0 is shorter": packed([ROW], SET, spelt([ROW], SET, [1])),
    "mode 1: m = 2 where table 0 is as short, and the first": packed([TIED], SET, spelt([TIED], SET, [2])),
    "mode 1: a tail of 62 where K = V": whole_row(62),
    "mode 1: head and buckets hold an entry less than K": changed(bucket_counts="11011", bucket_offsets="01"),
    "mode 1: head and buckets hold an entry more than K": changed(head_bitmaps="11", bucket_counts="011011"),
    "mode 1: 4 entries in a bucket of 2": changed(bucket_counts="000011011", bucket_offsets="000001"),
    "mode 1: ranks in a bucket that fall": one_table(bucket_offsets="10" + "00" + "00"),
    "mode 1: a rank twice in a bucket": one_table(bucket_offsets="10" + "10" + "00"),
    "mode 1: a rank where the table's last bucket reaches beyond F": one_table(
        bucket_offsets="00" + "11" + "00"
    ),
    "mode 1: a rank where the last bucket of all reaches beyond V": one_table(
        bucket_counts="1" + "001" + "1" + "01", bucket_offsets="00" + "10" + "001"
    ),
    "mode 1: a coarse level of 32": changed(coarse_levels="101" + "0" * 32 + "1"),
    "mode 1: a run without an end": changed(coarse_levels="101" + "0" * 80, bucket_offsets="", low_bits=""),
    "mode 1: no coarse level of 0": changed(coarse_levels="01010000000001"),
    "mode 1: no level of 0": changed(coarse_levels="111", low_bits="010101"),
}

BLOCKS = PLAIN_BLOCKS | DENSE_BLOCKS | TABLES_BLOCKS
TABLE_FILES = {f"file: {name}": data for name, (data, *_) in FILES.items()}
