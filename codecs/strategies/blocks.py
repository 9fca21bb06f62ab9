"""Rows and blocks of them. Large rows are grown from a few drawn numbers (size, layout, seed): fast to make,
and they shrink by size."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis.strategies import DrawFn, SearchStrategy

from draftwire.codecs.limits import MAX_GAMMA, MAX_PLAIN_K, MAX_VOCAB_SIZE, MIN_VOCAB_SIZE
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import NO_TAIL, Row
from draftwire.codecs.weights import Profile

_BLOCK_ENTRIES = 8192
"Most entries of a drawn block: a full one has 131072, and a hundred of those take a minute."

_DRAWN_ROWS = 4
"Of a block, one by one; the others are grown from a single number."

_LAYOUTS = ("first", "last", "even", "random", "clustered")
_SHAPES = ("flat", "one hot", "ties", "zipf", "normal", "huge")
_seeds = st.integers(0, 2**32 - 1)


def vocab_sizes() -> SearchStrategy[int]:
    """V, with the sizes at the edges and in use more often than others."""
    return st.one_of(
        st.sampled_from((MIN_VOCAB_SIZE, 3, 255, 256, 4095, 4096, 4097, 32000, 49152, MAX_VOCAB_SIZE)),
        st.integers(MIN_VOCAB_SIZE, MAX_VOCAB_SIZE),
    )


@st.composite
def row_blocks(draw: DrawFn, *, vocab_size: int | None = None) -> tuple[Row, ...]:
    """1 to 32 rows of one V, K and profile: plain with any K, or dense."""
    v = draw(vocab_sizes()) if vocab_size is None else vocab_size
    dense = draw(st.integers(0, 4)) == 0
    k = v if dense else draw(_ks(v))
    count = draw(st.integers(1, max(1, min(MAX_GAMMA, _BLOCK_ENTRIES // k))))
    profile = Profile.DENSE if dense else draw(st.sampled_from((Profile.SMALL, Profile.LARGE)))
    found = [draw(_rows(v, k, profile)) for _ in range(min(count, _DRAWN_ROWS))]
    if count > len(found):
        rng = np.random.default_rng(draw(_seeds))
        found += [_any(v, k, profile, rng) for _ in range(count - len(found))]
    return tuple(found)


@st.composite
def rows(draw: DrawFn, *, vocab_size: int | None = None, k: int | None = None) -> Row:
    """One plain row of any K."""
    v = draw(vocab_sizes()) if vocab_size is None else vocab_size
    profile = draw(st.sampled_from((Profile.SMALL, Profile.LARGE)))
    return draw(_rows(v, draw(_ks(v)) if k is None else k, profile))


def _ks(v: int) -> SearchStrategy[int]:
    most = min(v, MAX_PLAIN_K)
    edges = [k for k in (1, 2, 3, 8, 32, 99, 100, 320, most - 1, most) if 1 <= k <= most]
    return st.one_of(st.sampled_from(edges), st.integers(1, most))


@st.composite
def _rows(draw: DrawFn, v: int, k: int, profile: Profile) -> Row:
    tail = NO_TAIL if k == v else draw(st.integers(0, NO_TAIL))
    if k <= 6 and draw(st.booleans()):  # drawn one by one, so that failures shrink to what matters
        ids = sorted(draw(st.sets(st.integers(0, v - 1), min_size=k, max_size=k)))
        z = draw(st.lists(st.floats(-1e300, 1e300) | st.floats(-50, 50), min_size=k, max_size=k))
        return quantize(ids, z, vocab_size=v, profile=profile, tail=tail)
    layout, shape = draw(st.sampled_from(_LAYOUTS)), draw(st.sampled_from(_SHAPES))
    rng = np.random.default_rng(draw(_seeds))
    tokens, z = _ids(layout, v, k, rng), _log_weights(shape, k, rng)
    return quantize(tokens, z, vocab_size=v, profile=profile, tail=tail)


def _any(v: int, k: int, profile: Profile, rng: np.random.Generator) -> Row:
    """A row of any kind, but for those that are drawn id by id."""
    layout, shape = _LAYOUTS[rng.integers(len(_LAYOUTS))], _SHAPES[rng.integers(len(_SHAPES))]
    tail = NO_TAIL if k == v else int(rng.integers(NO_TAIL + 1))
    tokens, z = _ids(layout, v, k, rng), _log_weights(shape, k, rng)
    return quantize(tokens, z, vocab_size=v, profile=profile, tail=tail)


def _ids(layout: str, v: int, k: int, rng: np.random.Generator) -> Any:
    if layout == "first" or k == v:
        return np.arange(k)
    if layout == "last":
        return np.arange(v - k, v)
    if layout == "even":
        return np.arange(k) * (v // k)
    if layout == "clustered":
        start = int(rng.integers(v - k))
        return np.union1d(np.arange(start, start + k - 1), [v - 1])
    return rng.choice(v, k, replace=False)


def _log_weights(shape: str, k: int, rng: np.random.Generator) -> Any:
    if shape == "flat":
        return np.zeros(k)
    if shape == "one hot":
        return np.where(np.arange(k) == rng.integers(k), 100.0, 0.0)
    if shape == "ties":
        return rng.integers(0, 4, k).astype(float)
    if shape == "zipf":
        return rng.permutation(-np.log(1 + np.arange(k)))
    return rng.normal(size=k) * (4 if shape == "normal" else 1e4)


__all__ = ["row_blocks", "rows", "vocab_sizes"]
