"""Public hypothesis strategies: rows, blocks, sets of tables, messages, frames, and bytes that mean harm.

@given(row_blocks())
def test_my_codec(rows): assert decode(encode(rows)) == rows

@given(table_sets(vocab_size=300), row_blocks(vocab_size=300))
def test_my_mode(tables, rows): ...  # any set of tables, and rows over its vocabulary

@given(hostile_bytes(row_blocks().map(encode)))
def test_my_decoder(data): ...  # a value, or the one typed error
"""

from draftwire.codecs.strategies.blocks import row_blocks, rows, vocab_sizes
from draftwire.codecs.strategies.hostile import frames, hostile_blocks, hostile_bytes, paddings
from draftwire.codecs.strategies.messages import (
    CONTROL_MESSAGES,
    MESSAGES,
    control_messages,
    drafts,
    messages,
    plans,
)
from draftwire.codecs.strategies.sets import table_sets

__all__ = [
    "CONTROL_MESSAGES",
    "MESSAGES",
    "control_messages",
    "drafts",
    "frames",
    "hostile_blocks",
    "hostile_bytes",
    "messages",
    "paddings",
    "plans",
    "row_blocks",
    "rows",
    "table_sets",
    "vocab_sizes",
]
