"""Sets of tables and blocks of rows, read from docs/wire.md alone: one bit at a time, without numpy."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from itertools import accumulate

Table = tuple[list[int], int, list[tuple[int, range]], int, dict[int, int]]
# Ids by rank; head; width and ranks of each bucket; bits of any row, and those that an id of its own adds.


class Refused(Exception):
    """Raised when the document has a decoder refuse the bytes."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Refused(what)


class Bits:
    def __init__(self, data: bytes) -> None:
        self.stream, self.place = "".join(f"{byte:08b}" for byte in data), 0

    def field(self, width: int, least: int = 0, most: int = 2**64) -> int:
        start, self.place = self.place, self.place + width
        number = int("0" + self.stream[start : self.place], 2)
        require(self.place <= len(self.stream) and least <= number <= most, f"{least} to {most}")
        return number

    def run(self, most: int = 2**64) -> int:
        start, self.place = self.place, self.stream.find("1", self.place) + 1
        require(start < self.place <= start + most + 1, f"a run of at most {most}")
        return self.place - 1 - start


class Tables(Bits):  # section "Sets of tables"
    def __init__(self, data: bytes) -> None:
        require(len(data) <= 2**26 and data[:8] == b"DWTABLE1", "a file of tables")
        super().__init__(data[8:])
        self.hash = blake2b(b"tables" + data, digest_size=8).digest()
        self.v, self.fingerprint, rungs = self.field(24, 2, 2**18), self.field(64), self.field(8, 1, 32)
        label = bytes(self.field(8) for _ in range(self.field(16, 0, 1024)))
        order, self.rungs = [self.field(24, 0, self.v - 1) for _ in range(self.v)], dict[int, list[Table]]()
        require(label.decode(errors="replace").encode() == label and len(set(order)) == self.v, "text, order")
        for _ in range(rungs):
            k, count = self.field(16, max(self.rungs, default=0) + 1, min(self.v, 4096)), self.field(8, 1, 64)
            size, _row_bits = self.field(16, 0, self.v), self.field(24)
            tail, self.rungs[k] = self.buckets(size, self.v), []
            for _ in range(count):
                head = self.field(16, 0, size)
                own = self.buckets(head, size)
                ids = [order[self.field(16, 0, size - 1)] for _ in range(size)]
                require(len(set(ids)) == size, "each place once")
                bits = dict(zip(ids[head:], [w + 1 for w, ranks in own for _ in ranks], strict=True))
                self.rungs[k].append((ids + order[size:], head, own + tail, head + len(own), bits))
        require(self.place == len(self.stream), "nothing behind the rungs")

    def buckets(self, first: int, end: int) -> list[tuple[int, range]]:
        widths = [self.field(8, 0, 18) for _ in range(self.field(32))]
        *starts, reached = accumulate((2**width for width in widths), initial=first)
        require(all(start < end for start in starts) and end <= reached, "buckets that cover the ranks")
        return [(w, range(start, min(start + 2**w, end))) for w, start in zip(widths, starts, strict=True)]


class Block(Bits):  # section "Blocks of rows"
    def __init__(self, data: bytes, sets: Mapping[bytes, Tables]) -> None:
        super().__init__(data)
        mode, self.profile, count = self.field(4, 0, 2), self.field(4), self.field(8, 1, 32)
        require(self.profile in ((0, 1), (0, 1), (2,))[mode], "a profile of the mode")
        if mode == 1:
            self.k, tag = self.field(16), self.field(32).to_bytes(4, "big")
            require(tag in sets and self.k >= min(sets[tag].rungs), "a set of ours, with a rung for K")
            self.v, self.tables = sets[tag].v, [t for k, t in sets[tag].rungs.items() if k <= self.k][-1]
        else:
            self.v, self.k = self.field(24, 2, 2**18), self.field(24)
        require(self.k == self.v if mode == 2 else 1 <= self.k <= min(self.v, 4096), "a K of the mode")
        self.least_tail, self.sections = 63 if self.k == self.v else 0, {"header": 0}
        self.rows: list[tuple[list[int], list[int], int, list[int]]] = []  # ids, levels, tail, weights
        rows = [(self.plain, self.ranked, self.dense)[mode]() for _ in range(count)]
        for sections in zip(*rows, strict=True):  # all have come to a section; at last, to their ends
            self.sections[sections[0]] = self.place
        require(self.stream[self.place :] in ("0" * n for n in range(8)), "0-bits up to the end of the byte")

    def plain(self) -> Iterator[str]:
        yield "rice parameters and tails"
        parameter, tail = self.field(5), self.field(6, self.least_tail)
        yield "gap quotients"
        quotients = [self.run() for _ in range(self.k)]
        yield "coarse levels"
        coarse = [self.run(31) for _ in range(self.k)]
        yield "gap remainders"
        gaps = [quotient << parameter | self.field(parameter) for quotient in quotients]
        costs = [self.k * n + sum(gap >> n for gap in gaps) for n in range(32)]
        ids = [reached - 1 for reached in accumulate(gap + 1 for gap in gaps)]
        require(costs.index(min(costs)) == parameter and ids[-1] < self.v, "ids below V, by the least l")
        yield "low bits"
        self.add(ids, coarse, tail)

    def ranked(self) -> Iterator[str]:
        yield "tables and tails"
        last = len(self.tables) - 1
        m, tail = self.field(last.bit_length(), 0, last), self.field(6, self.least_tail)
        ids, head, buckets, *_ = self.tables[m]
        yield "head bitmaps"
        ranks = [rank for rank in range(head) if self.field(1)]
        yield "bucket counts"
        counts = [self.run() for _ in buckets]
        yield "coarse levels"
        coarse = [self.run(31) for _ in range(self.k)]
        yield "bucket offsets"
        for (width, bucket), count in zip(buckets, counts, strict=True):
            ranks += [bucket[0] + self.field(width, 0, len(bucket) - 1) for _ in range(count)]
        require(ranks == sorted(set(ranks)) and len(ranks) == self.k, "K rising ranks")
        costs = [least + sum(bits.get(ids[rank], 0) for rank in ranks) for *_, least, bits in self.tables]
        require(costs.index(min(costs)) == m, "the table of the row")
        yield "low bits"
        self.add([ids[rank] for rank in ranks], coarse, tail)

    def dense(self) -> Iterator[str]:
        yield "levels"
        self.add(range(self.v), [self.field(16) for _ in range(self.v)], 63)

    def add(self, ids: Sequence[int], coarse: list[int], tail: int) -> None:
        s, refined = (2, 3, 0)[self.profile], max(coarse) - 3  # dense levels are coarse, and all there is
        levels: Sequence[int] = [c << s | self.field(s if c >= refined else 0) for c in coarse]
        require(max(levels) == 65535 if self.profile == 2 else min(levels) == 0, "the profile's rule")
        ids, levels = zip(*sorted(zip(ids, levels, strict=True)), strict=True)
        self.rows.append((list(ids), list(levels), tail, weights_of(levels, self.profile)))


@cache
def exponential(scale_bits: int, numerator: int, denominator: int) -> int:
    return int(((-Decimal(numerator) / denominator).exp() * 2**scale_bits).to_integral_value())


def weights_of(levels: Sequence[int], profile: int) -> list[int]:  # section "Rows: levels and weights"
    s, top = (2, 3, 0)[profile], max(levels)
    u = [2 * n + (1 if n >> s >= (top >> s) - 3 else 2**s) for n in levels] if profile < 2 else levels
    best = u.index(max(u))
    if profile < 2:
        masses = [exponential(30, (1, 7)[profile] * (u[best] - n), (8, 80)[profile]) for n in u]
    else:
        masses = [exponential(31, top - n >> 8, 8) * exponential(31, top - n & 255, 2048) >> 24 for n in u]
    total = sum(masses)
    weights = [1 + mass * (2**24 - len(levels)) // total for mass in masses]
    weights[best] += 2**24 - sum(weights)
    return weights
