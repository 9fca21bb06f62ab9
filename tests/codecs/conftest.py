"""`row_codec`: tests with it run on each codec. Add yours: `pytest tests/codecs --row-codec mine:Codec`."""

from collections.abc import Sequence
from importlib import import_module

import pytest
from tests.harness.tables import usual_set

from draftwire.codecs.blocks import Mode, Packed, decode_rows, encode_ranked, encode_rows
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.rows import Row, RowCodec
from draftwire.codecs.tables import TableSet
from draftwire.codecs.weights import Profile

_SETS_KEPT = 16
"Of the vocabularies that rows were last spelt over: what is decoded was just encoded."


class Ranked:
    """Mode 1 alone, with a set of tables for every vocabulary; whole rows, which have no tables, as ever."""

    name = "ranked"

    def __init__(self) -> None:
        self._sets: dict[int, TableSet] = {}

    def encode(self, rows: Sequence[Row]) -> bytes:
        """See encode_ranked."""
        if not rows or rows[0].profile is Profile.DENSE:
            return encode_rows(rows)
        return encode_ranked(rows, self._set_over(rows[0].vocab_size))

    def decode(self, data: bytes, *, vocab_size: int | None = None) -> tuple[Row, ...]:
        """See decode_rows. Plain blocks are refused: their rows have another spelling here."""
        known = {tables.tag: tables for tables in self._sets.values()}
        rows = decode_rows(data, vocab_size=vocab_size, tables=known)
        if data[0] >> 4 == Mode.PLAIN:
            raise WireError(reason=Refusal.MODE, offset=0, detail="a plain block")
        return rows

    def _set_over(self, vocab_size: int) -> TableSet:
        if vocab_size not in self._sets:
            self._sets[vocab_size] = usual_set(vocab_size)
            if len(self._sets) > _SETS_KEPT:
                del self._sets[next(iter(self._sets))]
        return self._sets[vocab_size]


def load_row_codec(name: str) -> RowCodec:
    """The object at MODULE:OBJECT; a class is called without arguments."""
    module, separator, attribute = name.partition(":")
    if not separator:
        raise pytest.UsageError(f"--row-codec {name}: must be MODULE:OBJECT, as in my_package.codec:MyCodec")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--row-codec {name}: {error}") from error
    codec: RowCodec = found() if isinstance(found, type) else found
    return codec


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of each row property for each codec."""
    if "row_codec" in metafunc.fixturenames:
        named = map(load_row_codec, metafunc.config.getoption("--row-codec"))
        metafunc.parametrize("row_codec", [Packed(), Ranked(), *named], ids=lambda codec: codec.name)
