"""A frame says how its rows travel, which the message itself does not know."""

import numpy as np
from tests.harness.tables import in_order

from draftwire.codecs.frame import encode_frame, rows_tag
from draftwire.codecs.messages import Close, Incarnation, SparseLogits
from draftwire.codecs.quantize import quantize

V, K = 64, 32
LIFE = Incarnation(boot=1, counter=1)
ROWS = SparseLogits(
    incarnation=LIFE,
    draft_epoch=1,
    start=3,
    rows=tuple(quantize(range(i, V, 2), np.zeros(K), vocab_size=V) for i in range(2)),
)


def test_a_frame_names_the_set_that_its_rows_are_spelt_with() -> None:
    """None for plain rows, also where a set was at hand and plain was shorter, and for other messages."""
    short, long = in_order(V, heads=(V,)), in_order(V)
    tags = [rows_tag(encode_frame(ROWS, session=1, sequence=2, tables=one)) for one in (short, long, None)]
    assert tags == [short.tag, None, None]
    close = Close(incarnation=LIFE, known=0x10101010)
    assert rows_tag(encode_frame(close, session=1, sequence=2)) is None
