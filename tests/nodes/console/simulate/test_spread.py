"""Rows of the stand-in are as long as the recorded ones, whatever the recording; who accepts what stays."""

from dataclasses import replace

import numpy as np
import pytest
from tests.harness.fleets import topology

from draftwire.nodes.console.bench.traces import plain_bits, recorded
from draftwire.nodes.console.simulate.pairs import SHIPPED_RECORDINGS, pair_of
from draftwire.nodes.console.simulate.spread import gap_bits, spread_as
from draftwire.nodes.models.recorded import RecordedModel, RecordedPair
from draftwire.nodes.speculation.sampling import sparsify

EVERY = 15


def row_bits(pair: RecordedPair, k: int, *, every: int = EVERY) -> float:
    """Of a plain row, in the mean over the recording."""
    rows = [
        sparsify(pair.rows_at(at)[0], None, k=k, temperature=pair.temperature, vocab_size=pair.vocab_size)
        for at in range(0, len(pair), every)
    ]
    return float(plain_bits(rows).mean())


def stand_in(temperature: float) -> RecordedPair:
    """Behind the models that a simulation gets."""
    model = pair_of(topology(model="smollm2", sampling={"temperature": temperature})).draft
    assert isinstance(model, RecordedModel)
    return model._pair


@pytest.mark.parametrize(("temperature", "off"), [(1.0, 0.05), (0.7, 0.08)])
def test_rows_are_as_long_as_recorded(temperature: float, off: float) -> None:
    """At every K, so that no K is cheaper here than it was: the controller weighs one against the other."""
    trace, pair = recorded(SHIPPED_RECORDINGS[temperature]), stand_in(temperature)
    found = {k: row_bits(pair, k) for k in trace.ladder}
    wanted = dict(zip(trace.ladder, trace.row_bits.mean(axis=0).tolist(), strict=True))
    assert found == pytest.approx(wanted, rel=off)


def test_bits_of_ids() -> None:
    """By hand: four gaps of 0 take a bit each; 5, 899 - 5, ... have 9 low bits, and 6 and 4 ends in unary."""
    ids = np.array([[0, 1, 2, 3], [5, 900, 2000, 4000]])
    assert gap_bits(ids, 4096).tolist() == [4, 6 + 4 + 36]


def test_rows_too_long_for_the_vocabulary_are_as_long_as_can_be() -> None:
    """A recording of plain rows of a large vocabulary: ids from all of the stand-in's."""
    trace = recorded("smollm2")
    some = trace.part(slice(60))
    short = replace(some, row_bits=40.0 * some.row_bits)
    pair = RecordedPair(short.alpha, short.ladder, temperature=1.0)
    found, most = (row_bits(one, 320, every=5) for one in (spread_as(short, pair), pair))
    assert found == pytest.approx(most, rel=0.02)


def test_alpha_is_what_it_was() -> None:
    """Ids move, masses stay: sorted, the rows of both ends are the same ones."""
    spread = stand_in(1.0)
    plain = spread.spread([spread.vocab_size] * len(spread.ladder))
    for place in (0, 1234):
        for before, after in zip(plain.rows_at(place), spread.rows_at(place), strict=True):
            assert (np.sort(before) == np.sort(after)).all()
        likeliest = [set(np.argsort(-one.rows_at(place)[0])[:64].tolist()) for one in (plain, spread)]
        assert likeliest[0] != likeliest[1]


@pytest.mark.parametrize("reaches", [(8, 9), (8, 16, 12), (8, 16, 20), (2, 16, 64), (8, 16, 129)])
def test_reaches_that_can_not_be(reaches: tuple[int, ...]) -> None:
    """One a rung, rising, with room for the ids up to it, within V."""
    pair = RecordedPair(np.full((4, 3), 0.5), (4, 8, 64), temperature=1.0, vocab_size=128)
    with pytest.raises(ValueError, match="reach"):
        pair.spread(reaches)
