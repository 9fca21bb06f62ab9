"""Short hashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.second_implementation import rows_hash_of

from draftwire.codecs.errors import LocalError
from draftwire.codecs.hashes import EMPTY_LOG_HASH, extend_hash, ids_hash, log_hash, rows_hash
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.strategies import row_blocks

tokens = st.lists(st.integers(0, 2**32 - 1), max_size=20)


@given(first=tokens, second=tokens)
def test_extending_is_hashing_the_whole(first: list[int], second: list[int]) -> None:
    """A log's hash does not depend on how the log was put together."""
    assert extend_hash(log_hash(first), second) == log_hash(first + second)


@given(first=tokens, second=tokens)
def test_other_logs_have_other_hashes(first: list[int], second: list[int]) -> None:
    """Logs, and drafts of other ids, are told apart; a log is never taken for a draft."""
    assert (log_hash(first) == log_hash(second)) == (first == second)
    assert (ids_hash(first) == ids_hash(second)) == (first == second)
    assert log_hash(first) != ids_hash(first)


def test_known_hashes() -> None:
    """The hashes are those of the document, to the bit."""
    assert EMPTY_LOG_HASH == log_hash([]) == bytes.fromhex("c3baae5b3212ef85")
    assert log_hash([1, 2, 3]) == bytes.fromhex("6ed42d250455a009")
    assert ids_hash([1, 2, 3]) == bytes.fromhex("518cbeb838e466e2")


@settings(max_examples=50)
@given(rows=row_blocks(vocab_size=300))
def test_rows_hash_by_the_book(rows: tuple[Row, ...]) -> None:
    """Rows are hashed by vocabulary size, tail, ids and weights, and by nothing else."""
    ids, weights = [r.ids.tolist() for r in rows], [r.weights.tolist() for r in rows]
    expected = rows_hash_of(300, ids, weights, [r.tail for r in rows])
    assert rows_hash(rows) == expected


def test_rows_hash_tells_rows_apart() -> None:
    """Another order, another weight, another vocabulary and another tail are another hash."""
    a, b = quantize([1, 2], [0.0, 1.0], vocab_size=9), quantize([1, 2], [1.0, 0.0], vocab_size=9)
    c = quantize([1, 2], [0.0, 1.0], vocab_size=10)
    d = quantize([1, 2], [0.0, 1.0], vocab_size=9, tail=62)
    assert len({rows_hash(rows) for rows in ([a], [b], [c], [d], [a, b], [b, a], [])}) == 7


@pytest.mark.parametrize("token", [-1, 2**32])
def test_tokens_have_32_bits(token: int) -> None:
    """A token of more than 32 bits is a local error."""
    for hasher in (log_hash, ids_hash):
        with pytest.raises(LocalError):
            hasher([token])
