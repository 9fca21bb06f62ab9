"""Make up the traces that ship with the link model, in runtime/link/data: `lte-like` and `nr-like`.

    python scripts/make_traces.py [--out FOLDER]

Nobody recorded them. They have what recordings of such links show: slow shadowing, fast fading, the load of
others, outages, blockages. They are the same on each run.
"""

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from draftwire.runtime.link.traces import SHIPPED

FOLDER: Final = Path(__file__).parents[1] / "runtime" / "link" / "data"

LTE_S: Final = 60
"""A line of a Mahimahi trace is 1500 bytes: two minutes at 9 Mbit/s would be 600 kB."""

LTE_BPS: Final = 9e6
LTE_SEED: Final = 4
NR_S: Final = 120
NR_BPS: Final = 60e6
NR_SEED: Final = 5
NR_STEP_S: Final = 0.02

OPPORTUNITY_BITS: Final = 12_000


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: in the package")
    args = parser.parse_args()

    for name, text in made_traces().items():
        path = args.out / SHIPPED[name]
        path.write_text(text, encoding="ascii")
        print(f"{path}: {len(text) / 1e3:.0f} kB")
    return 0


def made_traces() -> dict[str, str]:
    """The text of each file, by the name of its trace."""
    return {"lte-like": lte_like(), "nr-like": nr_like()}


def lte_like() -> str:
    """A Mahimahi trace of one user in a busy cell: 9 Mbit/s on average, with outages of some 100 ms.

    Shadowing moves over seconds by 2.5 dB, others come and take up to two thirds of the cell, fading is drawn
    anew every 20 ms, and about every 10 s the link is gone for 80 to 400 ms.
    """
    rng = random.Random(LTE_SEED)
    shadow, load = _wandering(rng, LTE_S * 50, keeps=0.99), _holding(rng, LTE_S * 50, 15, 90, 0.33, 1.0)
    gone = _gaps(rng, LTE_S * 50, every=500, shortest=4, longest=20)
    blocks = [
        0.0 if is_gone else 10 ** (0.25 * db) * share * math.log2(1 + 8 * rng.expovariate(1.0))
        for db, share, is_gone in zip(shadow, load, gone, strict=True)
    ]
    rates = _scaled_to(blocks, LTE_BPS)
    stamps, bits = list[int](), 0.0
    for ms in range(LTE_S * 1000):
        bits += rates[ms // 20] / 1000
        chances = int(bits // OPPORTUNITY_BITS)
        bits -= chances * OPPORTUNITY_BITS
        stamps += [ms + 1] * chances
    if stamps[-1] != LTE_S * 1000:  # the last stamp ends the round
        stamps.append(LTE_S * 1000)
    return "".join(f"{stamp}\n" for stamp in stamps)


def nr_like() -> str:
    """A CSV of an uplink in the middle bands of 5G: 60 Mbit/s on average. A body or a corner in the way
    leaves a tenth of the rate for a second or two, and adds to the delay.
    """
    rng = random.Random(NR_SEED)
    steps = round(NR_S / NR_STEP_S)
    shadow = _wandering(rng, steps, keeps=0.98)
    free = list(_blockages(rng, steps))
    rates = _scaled_to(
        [
            (0.08 + 0.92 * line_of_sight**2) * 10 ** (0.12 * db) * (0.8 + 0.4 * rng.random())
            for db, line_of_sight in zip(shadow, free, strict=True)
        ],
        NR_BPS,
    )
    delays_s = [
        0.006 + 0.0025 * rng.random() + (1 - line_of_sight) * (0.008 + 0.012 * rng.random())
        for line_of_sight in free
    ]
    lines = [
        "# 5G-like uplink. MADE UP by scripts/make_traces.py; nobody recorded it.",
        "time_s,rate_bps,delay_s",
        *(
            f"{step * NR_STEP_S:.2f},{round(rate, -4):.0f},{delay_s:.4f}"
            for step, rate, delay_s in zip(count(), rates, delays_s, strict=False)
        ),
        f"{NR_S:.2f}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _wandering(rng: random.Random, length: int, *, keeps: float) -> list[float]:
    """Normal values that forget slowly: each has `keeps` of the one before."""
    values = [rng.gauss(0, 1)]
    while len(values) < length:
        values.append(keeps * values[-1] + math.sqrt(1 - keeps**2) * rng.gauss(0, 1))
    return values


def _holding(
    rng: random.Random, length: int, shortest: int, longest: int, low: float, high: float
) -> Iterator[float]:
    """Uniform values that each hold for a while."""
    left, value = 0, high
    for _ in range(length):
        if not left:
            left, value = rng.randint(shortest, longest), rng.uniform(low, high)
        left -= 1
        yield value


def _gaps(rng: random.Random, length: int, *, every: int, shortest: int, longest: int) -> Iterator[bool]:
    left = 0
    for _ in range(length):
        left -= 1
        if left < 0 and rng.random() < 1 / every:
            left = rng.randint(shortest, longest)
        yield left > 0


def _blockages(rng: random.Random, length: int) -> Iterator[float]:
    """1: line of sight; 0: blocked, for 0.4 to 2.4 s about every 7 s; between them it takes 60 ms."""
    blocked_for, value = 0, 1.0
    for _ in range(length):
        blocked_for -= 1
        if blocked_for < 0 and rng.random() < NR_STEP_S / 7:
            blocked_for = rng.randint(20, 120)
        value += max(-1 / 3, min(1 / 3, (blocked_for <= 0) - value))
        yield value


def _scaled_to(values: Sequence[float], mean: float) -> list[float]:
    factor = mean * len(values) / math.fsum(values)
    return [factor * value for value in values]


if __name__ == "__main__":
    raise SystemExit(main())
