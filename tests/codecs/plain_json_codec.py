"""A row codec of one's own, as small as can be: what `--row-codec` asks for, every rule kept."""

from collections.abc import Sequence

import numpy as np
import orjson

from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import Profile


class PlainJson:
    """[V, profile, [[ids, levels, tail], ...]]."""

    name = "plain-json"

    def encode(self, rows: Sequence[Row]) -> bytes:
        """JSON without white space."""
        if not 1 <= len(rows) <= MAX_GAMMA:
            raise LocalError(field="rows", value=len(rows), remedy="must be 1 to 32")
        if len({(row.vocab_size, row.profile, len(row)) for row in rows}) > 1:
            raise LocalError(field="rows", value=rows, remedy="must share V, K and profile")
        arrays = [[row.ids.tolist(), row.levels.tolist(), row.tail] for row in rows]
        return orjson.dumps([rows[0].vocab_size, int(rows[0].profile), arrays])

    def decode(self, data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
        """Build the rows, whose own checks refuse what is wrong; then demand the one spelling."""
        try:
            v, profile, arrays = orjson.loads(data)
            profile = Profile(profile)
            rows = tuple(
                Row(vocab_size=v, profile=profile, ids=np.array(ids), levels=np.array(levels), tail=tail)
                for ids, levels, tail in arrays
            )
            spelling = self.encode(rows)
        except (ValueError, TypeError, OverflowError) as error:
            raise WireError(reason=Refusal.RANGE, offset=0, detail=str(error)) from None
        if spelling != data:
            raise WireError(reason=Refusal.NOT_CANONICAL, offset=0, detail="spelt otherwise")
        if vocab_size not in (None, v):
            raise WireError(reason=Refusal.VOCABULARY, offset=0, detail=f"rows over {v} ids")
        return rows
