"""Short hashes that name logs, drafts and rows. All are BLAKE2b with an 8-byte digest, no key, no salt.

They tell honest peers that they speak of the same thing; 64 bits leave a chance of 2**-64 a comparison.
Inputs begin with an ASCII tag, so that a hash of one kind is never a hash of another. Integers are 32 bits,
big-endian.
"""

import struct
from collections.abc import Sequence
from hashlib import blake2b

from draftwire.codecs.errors import LocalError
from draftwire.codecs.rows import Row

HASH_BYTES = 8

EMPTY_LOG_HASH = blake2b(b"log", digest_size=HASH_BYTES).digest()
"Of a log without tokens."


def extend_hash(log_hash: bytes, tokens: Sequence[int]) -> bytes:
    """The hash of a log one step a token longer: H(log + token) = BLAKE2b("log" | H(log) | token).

    So extending by (a, b) is extending by a, then by b, and costs nothing for what came before.
    """
    try:
        for token in tokens:
            log_hash = blake2b(b"log" + log_hash + token.to_bytes(4, "big"), digest_size=HASH_BYTES).digest()
    except OverflowError:
        raise LocalError(field="tokens", value=token, remedy="must lie in [0, 2**32 - 1]") from None
    return log_hash


def log_hash(tokens: Sequence[int]) -> bytes:
    """The hash of a whole log."""
    return extend_hash(EMPTY_LOG_HASH, tokens)


def ids_hash(ids: Sequence[int]) -> bytes:
    """Of drafted ids, where there are no rows (temperature 0): BLAKE2b("ids" | every id)."""
    try:
        return blake2b(b"ids" + struct.pack(f">{len(ids)}I", *ids), digest_size=HASH_BYTES).digest()
    except struct.error:
        raise LocalError(field="ids", value=ids, remedy="must lie in [0, 2**32 - 1]") from None


def rows_hash(rows: Sequence[Row]) -> bytes:
    """Of rows as distributions: BLAKE2b("rows" | for each row V | K | tail | every id | every weight).

    Whatever mode the rows travel in, and whatever their levels were, distributions that are equal, and have
    equal tails, have equal hashes.
    """
    hasher = blake2b(b"rows", digest_size=HASH_BYTES)
    for row in rows:
        hasher.update(b"".join(n.to_bytes(4, "big") for n in (row.vocab_size, len(row), row.tail)))
        hasher.update(row.ids.astype(">u4").tobytes() + row.weights.astype(">u4").tobytes())
    return hasher.digest()


__all__ = ["EMPTY_LOG_HASH", "HASH_BYTES", "extend_hash", "ids_hash", "log_hash", "rows_hash"]
