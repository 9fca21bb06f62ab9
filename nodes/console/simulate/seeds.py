"""Where the numbers of a simulation come from: all of them from one seed, each from a stream of its own name.

So a device draws what it draws whoever else is there, and one more device changes nothing of the others.
"""

import hashlib
import random


def number_of(seed: int, *names: object, bits: int = 64) -> int:
    """The number, 0 to 2**bits - 1, of this seed and these names; the same in every process."""
    text = "\0".join(map(str, (seed, *names)))
    digest = hashlib.blake2b(text.encode(), digest_size=(bits + 7) // 8).digest()
    return int.from_bytes(digest, "little") >> (-bits % 8)


def stream_of(seed: int, *names: object) -> random.Random:
    """A generator that nobody else draws from."""
    return random.Random(number_of(seed, *names, bits=128))


__all__ = ["number_of", "stream_of"]
