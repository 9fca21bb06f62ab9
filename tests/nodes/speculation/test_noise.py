"""Noise: each outcome has its probability, each key its own numbers, the same on every machine."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.speculation.noise import NOISE_VERSION, Key, PhiloxNoise, Purpose

NOISE = PhiloxNoise()
KEYS = [
    Key(0, 0, 0, Purpose.DRAFT),
    Key(1, 1, 5, Purpose.ACCEPT),
    Key(20251125, 7, 1000, Purpose.DRAFT),
    Key(2**64 - 1, 2**32 - 1, 2**32 - 1, Purpose.TARGET),
]

# --------------------------------------------------------------------------- the same on every machine

MASK = 2**64 - 1


def philox(key: Key, count: int) -> list[int]:
    """Philox 4x64 with 10 rounds, as its authors write it; the counter's first word begins at 1."""
    words: list[int] = []
    for draw in range(1, 2 + count // 4):
        c = [draw, key.position, 0, 0]
        k = [key.seed, key.purpose << 32 | key.draft_epoch]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [b >> 64 ^ c[1] ^ k[0], b & MASK, a >> 64 ^ c[3] ^ k[1], a & MASK]
            k = [k[0] + 0x9E3779B97F4A7C15 & MASK, k[1] + 0xBB67AE8584CAA73B & MASK]
        words += c
    return words[:count]


def uniform(key: Key) -> int:
    """The key's u times 2**53, found by asking for acceptances at q = 1."""
    low, high = 0, 2**53
    while high - low > 1:
        middle = (low + high) // 2
        if NOISE.accepts(key, middle * 2.0**-53, WEIGHT_SUM):
            high = middle
        else:
            low = middle
    return low


def test_golden_words() -> None:
    """The first word of four keys, as noise version 1 fixed them: another number is another version."""
    assert NOISE_VERSION == 1
    assert [philox(key, 1)[0] for key in KEYS] == [
        0x68F2A1CB1907A6F3,
        0x13246B1363B2C09C,
        0xD63A366BF74875A6,
        0x70A0B11C62961C3D,
    ]


def test_golden_outcomes() -> None:
    """Drawn ids and verdicts of consecutive positions, as noise version 1 fixed them."""
    weights = np.array([1, 2**23, 2**23 - 1])
    drafted = [NOISE.draw_weights(Key(3, 1, i, Purpose.DRAFT), weights) for i in range(24)]
    accepted = [NOISE.accepts(Key(3, 1, i, Purpose.ACCEPT), 0.25, 2**23) for i in range(16)]
    drawn = [NOISE.draw_masses(Key(3, 0, i, Purpose.TARGET), np.arange(1.0, 8.0)) for i in range(24)]
    assert drafted == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1, 1]
    assert [int(a) for a in accepted] == [1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    assert drawn == [6, 4, 5, 5, 4, 6, 0, 3, 4, 1, 6, 6, 2, 5, 5, 1, 6, 6, 5, 6, 3, 3, 4, 1]


@pytest.mark.parametrize("key", KEYS)
def test_numbers_are_those_of_a_second_implementation(key: Key) -> None:
    """Ticket, u and race of a key follow from Philox as published, written down a second time."""
    words = philox(key, 9)
    assert uniform(key) == words[0] >> 11
    ticket = words[0] >> 40
    weights = np.array([ticket + 1, WEIGHT_SUM - ticket - 1])
    assert NOISE.draw_weights(key, weights) == 0
    assert NOISE.draw_weights(key, weights + np.array([-1, 1])) == 1
    masses = np.arange(1.0, 10.0)
    race = [-log(((word >> 11) + 0.5) * 2.0**-53) / mass for word, mass in zip(words, masses, strict=True)]
    assert NOISE.draw_masses(key, masses) == race.index(min(race))


def test_keys_never_share_numbers() -> None:
    """Seeds, epochs, positions and purposes, also where their bits could be taken for each other's."""
    numbers = (0, 1, 2, 2**31, 2**32 - 1)
    keys = [
        Key(seed, epoch, position, purpose)
        for seed, epoch, position, purpose in product(
            (0, 1, 2**32, 2**32 + 1, 2**64 - 1), numbers, numbers, Purpose
        )
    ]
    assert len({uniform(key) for key in keys}) == len(keys)


def test_a_key_has_the_same_numbers_whenever_it_is_asked() -> None:
    """Nothing is remembered: the order of questions does not count."""
    masses = np.ones(50)
    once = [NOISE.draw_masses(key, masses) for key in KEYS]
    assert [PhiloxNoise().draw_masses(key, masses) for key in reversed(KEYS)] == once[::-1]


# --------------------------------------------------------------------------------- the right probability


def force(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Every key now has this word."""

    def raw(key: Key, count: int) -> NDArray[np.uint64]:
        return np.full(count, word, np.uint64)

    monkeypatch.setattr("draftwire.nodes.speculation.noise._raw", raw)


def test_draw_weights_is_exact_at_every_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 2**24 tickets the first weights[0] mean index 0, and so on; lower bits do not count."""
    weights = np.array([1, 1, 7, 2**20, 3, 2**23])
    weights = np.append(weights, WEIGHT_SUM - weights.sum())
    edges = np.cumsum(weights)
    for i, (last, weight) in enumerate(zip(edges - 1, weights, strict=True)):
        for ticket in (int(last - weight + 1), int(last)):
            for lower in (0, 2**40 - 1):
                force(monkeypatch, ticket << 40 | lower)
                assert NOISE.draw_weights(KEYS[0], weights) == i


@pytest.mark.parametrize("weight", [1, 3, 2**12 + 1, WEIGHT_SUM])
def test_acceptance_compares_products(monkeypatch: pytest.MonkeyPatch, weight: int) -> None:
    """u q < p, strictly: nothing at p = 0, everything at p >= q, and the edge itself is a rejection."""
    q = weight / WEIGHT_SUM
    force(monkeypatch, 0)
    assert not NOISE.accepts(KEYS[0], 0.0, weight)
    assert NOISE.accepts(KEYS[0], 5e-324, weight)
    force(monkeypatch, 2**64 - 1)
    assert NOISE.accepts(KEYS[0], q, weight) and NOISE.accepts(KEYS[0], 1.0, weight)
    force(monkeypatch, 2**63)  # u = 1/2
    assert not NOISE.accepts(KEYS[0], q / 2, weight)
    assert NOISE.accepts(KEYS[0], float(np.nextafter(q / 2, 1.0)), weight)


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_what_has_no_mass_is_never_drawn(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """Not even where u rounds to 1, or every quotient overflows."""
    force(monkeypatch, word)
    for masses in ([0.0, 0.5, 0.5], [0.0, 5e-324, 0.0], [0.0, 0.0, 1.0]):
        assert masses[NOISE.draw_masses(KEYS[0], np.array(masses))] > 0


def test_masses_are_drawn_in_proportion() -> None:
    """20000 positions, masses that do not sum to 1, one of them 0: chi-square above 0.001."""
    masses = np.array([0.3, 0.0, 1.2, 0.05, 2.0, 0.45])
    drawn = [NOISE.draw_masses(Key(11, 0, i, Purpose.TARGET), masses) for i in range(20000)]
    counts = np.bincount(drawn, minlength=len(masses))
    assert counts[1] == 0
    held = masses > 0
    expected = masses[held] / masses.sum() * len(drawn)
    assert chisquare(counts[held], expected).pvalue > 0.001


def test_weights_are_drawn_in_proportion_over_epochs() -> None:
    """20000 epochs of one position: chi-square above 0.001."""
    weights = np.array([2**21, 2**22, 2**20, WEIGHT_SUM - 7 * 2**20])
    drawn = [NOISE.draw_weights(Key(11, i, 9, Purpose.DRAFT), weights) for i in range(20000)]
    counts = np.bincount(drawn, minlength=len(weights))
    assert chisquare(counts, weights / WEIGHT_SUM * len(drawn)).pvalue > 0.001


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.4), (0.3, 0.35), (0.001, 0.5)])
def test_acceptance_has_its_rate_over_seeds(p: float, q: float) -> None:
    """20000 seeds: min(1, p / q), within four standard deviations."""
    weight = round(q * WEIGHT_SUM)
    n, rate = 20000, min(1.0, p / q)
    accepted = sum(NOISE.accepts(Key(seed, 1, 1, Purpose.ACCEPT), p, weight) for seed in range(n))
    assert abs(accepted - n * rate) < 4 * (n * rate * (1 - rate)) ** 0.5


def test_threads_do_not_meet_each_others_numbers() -> None:
    """Draws made in four threads at once are those of their keys: a BS draws in its loop and its worker."""
    keys = [Key(seed, 1, position, Purpose.TARGET) for seed in range(4) for position in range(300)]
    masses = np.linspace(1.0, 2.0, 50)
    alone = [NOISE.draw_masses(key, masses) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda key: NOISE.draw_masses(key, masses), keys))
    assert together == alone
