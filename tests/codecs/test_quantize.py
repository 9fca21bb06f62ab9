"""Log-weights -> rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from draftwire.codecs.errors import LocalError
from draftwire.codecs.quantize import default_profile, quantize
from draftwire.codecs.rows import NO_TAIL, Row, tail_of
from draftwire.codecs.strategies import rows
from draftwire.codecs.weights import WEIGHT_SUM, Profile


def q(row: Row) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = row.weights / WEIGHT_SUM
    return probabilities


def with_tail(row: Row, tail: int) -> Row:
    return Row(vocab_size=row.vocab_size, profile=row.profile, ids=row.ids, levels=row.levels, tail=tail)


@given(
    z=st.lists(st.floats(-20, 20), min_size=1, max_size=300),
    profile=st.sampled_from((Profile.SMALL, Profile.LARGE)),
)
def test_close_to_softmax(z: list[float], profile: Profile) -> None:
    """Wherever mass is, a row's probabilities are within half a step of softmax."""
    row = quantize(range(len(z)), z, vocab_size=300, profile=profile)
    exact = np.exp(np.array(z) - max(z))
    exact /= exact.sum()
    half_a_step = {Profile.SMALL: 0.5, Profile.LARGE: 0.7}[profile]
    heavy = exact > 1e-4
    # Each entry is off by at most half a coarse step, and so is the sum it is divided by.
    assert np.abs(np.log(q(row)[heavy] / exact[heavy])).max() <= 2 * half_a_step + 0.01


def test_dense_is_fine() -> None:
    """A dense row moves no more mass than the one part in 2**24 that each entry may gain or lose."""
    z = np.random.default_rng(0).normal(size=32000) * 3
    row = quantize(np.arange(32000), z, vocab_size=32000, profile=Profile.DENSE)
    exact = np.exp(z - z.max())
    exact /= exact.sum()
    assert np.abs(q(row) - exact).sum() / 2 < 32000 / WEIGHT_SUM


def test_order_does_not_matter() -> None:
    """Entries may come in any order; the row has them by rising id."""
    row = quantize([7, 3, 5], [0.0, -1.0, -2.0], vocab_size=10)
    assert row == quantize([3, 5, 7], [-1.0, -2.0, 0.0], vocab_size=10)
    assert row.ids.tolist() == [3, 5, 7]
    assert row.weight_of(7) == row.weights.max()
    assert row.weight_of(4) == row.weight_of(9) == 0


def test_a_wide_row_keeps_its_top() -> None:
    """A spread beyond the 32 levels is cut off below, so the largest entry keeps its mass."""
    row = quantize([0, 1, 2, 3], [0.0, -60.0, -65.0, -1e308], vocab_size=4)
    assert row.weights.tolist() == [WEIGHT_SUM - 3, 1, 1, 1]


def test_default_profiles() -> None:
    """SMALL below K = 100, LARGE from there, DENSE where a full row is too long to be plain."""
    assert default_profile(k=99, vocab_size=32000) is Profile.SMALL
    assert default_profile(k=100, vocab_size=32000) is Profile.LARGE
    assert default_profile(k=4096, vocab_size=4096) is Profile.LARGE
    assert default_profile(k=4097, vocab_size=4097) is Profile.DENSE


@pytest.mark.parametrize(
    "ids, z, field",
    [
        ([], [], "ids"),
        (range(0), [], "ids"),
        (np.arange(0), [], "k"),
        ([0.5], [0.0], "ids"),
        ([[0]], [[0.0]], "ids"),
        ([0, 1], [0.0], "log_weights"),
        ([0, 1], [0.0, float("nan")], "log_weights[1]"),
        ([0, 1], [float("-inf"), 0.0], "log_weights[0]"),
        ([0, 10], [0.0, 0.0], "ids"),
        ([-1, 1], [0.0, 0.0], "ids"),
        ([4, 2, 4], [0.0, 0.0, 0.0], "ids"),
        (range(11), [0.0] * 11, "k"),
    ],
)
def test_misuse_is_named(ids: object, z: object, field: str) -> None:
    """A wrong argument is a LocalError that names it, its value and what would do."""
    with pytest.raises(LocalError) as caught:
        quantize(ids, z, vocab_size=10)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert "must" in caught.value.remedy or "leave out" in caught.value.remedy


@pytest.mark.parametrize("k, v", [(4097, 32000), (1, 1), (1, 262_145)])
def test_limits(k: int, v: int) -> None:
    """K beyond 4096 below a full row, and V beyond its limits, are refused."""
    with pytest.raises(LocalError):
        quantize(np.arange(k), np.zeros(k), vocab_size=v)


@given(row=rows())
def test_rows_are_values(row: Row) -> None:
    """Equal content is equal and hashes alike, another tail is another row; arrays can't be written."""
    twin = with_tail(row, row.tail)
    assert twin == row
    assert hash(twin) == hash(row)
    if len(row) < row.vocab_size:
        assert with_tail(row, (row.tail + 1) % 64) != row
    for array in (row.ids, row.levels, row.weights, twin.ids):
        with pytest.raises(ValueError):
            array[0] = 1


@pytest.mark.parametrize(
    "ids, levels",
    [
        ([1, 1], [0, 0]),
        ([2, 1], [0, 0]),
        ([0, 9], [0, 0]),
        ([-1, 1], [0, 0]),
        ([0, 1], [1, 2]),
        ([0, 1], [0, 128]),
        ([0, 1], [0, -1]),
        ([0, 1, 2], [0, 1, 20]),
        ([0, 1], [0]),
    ],
)
def test_rows_check_themselves(ids: list[int], levels: list[int]) -> None:
    """A Row that breaks a rule of its fields can't be built."""
    with pytest.raises(LocalError):
        Row(vocab_size=9, profile=Profile.SMALL, ids=np.array(ids), levels=np.array(levels))


@given(st.floats(0, 1))
def test_a_tail_is_the_nearest_step_to_a_mass(mass: float) -> None:
    """Within half a step of 2**0.25 down to 2**-15.75; what lies below counts as nothing left out."""
    tail = tail_of(mass)
    row = quantize([0], [0.0], vocab_size=2, tail=tail)
    if mass < 2**-15.625:
        assert (tail, row.kept_mass) == (NO_TAIL, 1.0)
    elif tail < NO_TAIL:
        assert 2**-0.125 - 1e-9 <= mass / (1 - row.kept_mass) <= 2**0.125 + 1e-9


def test_the_ends_of_the_tails() -> None:
    """All of the mass, half of it, the last step, and nothing at all."""
    assert [tail_of(mass) for mass in (1.0, 0.5, 2**-15.5, 2**-15.75, 1e-9, 0.0)] == [0, 4, 62, 63, 63, 63]
    kept = [quantize([0], [0.0], vocab_size=2, tail=tail).kept_mass for tail in (0, 4, 63)]
    assert kept == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("mass", [-1e-9, 1.001, float("nan"), float("inf")])
def test_a_mass_is_part_of_a_whole(mass: float) -> None:
    """What is no part of a row's mass has no tail."""
    with pytest.raises(LocalError):
        tail_of(mass)


@pytest.mark.parametrize(("k", "tail"), [(2, -1), (2, 64), (9, 62)])
def test_tails_check_themselves(k: int, tail: int) -> None:
    """0 to 63, and nothing lies outside a row of the whole vocabulary."""
    with pytest.raises(LocalError):
        quantize(range(k), range(k), vocab_size=9, tail=tail)
    levels = quantize(range(k), range(k), vocab_size=9).levels
    with pytest.raises(LocalError):
        Row(vocab_size=9, profile=Profile.SMALL, ids=np.arange(k), levels=levels, tail=tail)


@pytest.mark.parametrize("levels", [[0, 0], [65535, -1], [65536, 0]])
def test_dense_rows_check_themselves(levels: list[int]) -> None:
    """A dense row's largest level is the last one."""
    with pytest.raises(LocalError):
        Row(vocab_size=2, profile=Profile.DENSE, ids=np.arange(2), levels=np.array(levels))
