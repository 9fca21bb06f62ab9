"""One topology through real processes and in virtual time: the same tokens, steps and bytes."""

import asyncio

import pytest

from draftwire.nodes.console.bench.simulate_both import (
    Answer,
    in_real_time,
    in_virtual_time,
    requests,
    small_topology,
)

TOKENS = 24


def both(temperature: float) -> tuple[list[Answer], list[Answer]]:
    """The same requests in virtual time and through four processes."""
    topology = small_topology()
    asked = requests(2, tokens=TOKENS, k=32, gamma=3, temperature=temperature)
    virtual = in_virtual_time(topology, asked)
    real = asyncio.run(in_real_time(topology, {"fixed": asked}))
    return virtual, real["fixed"]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_both_ways_say_and_send_the_same(temperature: float) -> None:
    """All randomness is keyed by the request's seed: with K and gamma fixed, nothing but time may differ."""
    virtual, real = both(temperature)
    assert [one.ids for one in virtual] == [one.ids for one in real]
    assert [len(one.ids) for one in real] == [TOKENS, TOKENS]
    assert [one.steps for one in virtual] == [one.steps for one in real]
    assert [one.bytes_up for one in virtual] == [one.bytes_up for one in real]
