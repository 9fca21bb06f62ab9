"""How many bits rows of real text take, relative to the rows that the model of frames was measured with.

A decayed mean over about 20 blocks, all spelt alike: knowledge.py keeps one for plain rows and one for each
set of tables. Plain: Zipf rows over random ids are an upper end, as frequent ids of text lie close together.
Expected error: a few percent at the K in use, and up to 10 % at another K. With a set: rows are expected to
be as large as on the text that it was learnt from, so the scale says how foreign the text at hand is.
"""

from draftwire.codecs.tables import TableSet
from draftwire.nodes.speculation.frames import around_rows_bits, row_bits

DECAY = 0.95
STEP = 0.05
"The scale is told in steps, so that a forecast finds its sizes where it left them."

MIN_SCALE, MAX_SCALE = 0.2, 5.0


class RowSize:
    """Of one device's rows, of one spelling."""

    def __init__(self) -> None:
        self._seen = self._expected = 0.0

    def observe(
        self, *, k: int, count: int, rows_bytes: int, vocab_size: int, tables: TableSet | None = None
    ) -> None:
        """`count` rows of k entries came in a frame of rows_bytes, spelt with `tables`.

        None: plain rows, or rows of a set that is not known here.
        """
        around = around_rows_bits(vocab_size=vocab_size)
        expected = count * row_bits(k=k, vocab_size=vocab_size, tables=tables)
        seen = max(0.0, 8.0 * rows_bytes - around)
        # Relative to what was expected, so that a block of long rows does not outweigh the ones before it.
        self._seen = DECAY * self._seen + seen / expected
        self._expected = DECAY * self._expected + 1

    @property
    def scale(self) -> float:
        """Bits of a row over those expected, in steps of 0.05."""
        if not self._expected:
            return 1.0
        scale = round(self._seen / self._expected / STEP) * STEP
        return min(max(scale, MIN_SCALE), MAX_SCALE)


__all__ = ["RowSize"]
