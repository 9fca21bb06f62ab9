"""Schedules as text: what is written is read as it was, and what can't be is refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftwire.codecs.messages import Acceptance
from draftwire.nodes.console.chaos.faults import Fault, Kind, Leg, Scenario, Schedule
from draftwire.nodes.console.chaos.places import (
    AT_ONCE,
    MEMORY_BESIDE,
    MOST_IN_ALL,
    OF_LEGS,
    OF_LINK,
    moments_of,
    nodes_of,
)
from draftwire.nodes.console.chaos.swarm import STEADY, schedule_of
from draftwire.nodes.console.chaos.writing import read, read_file, written
from draftwire.runtime.errors import ConfigurationError

SECONDS = st.floats(0, 3600, allow_subnormal=False)

SECONDS_OF_IT = st.floats(0.001, 3600)

SCENARIOS = st.builds(
    Scenario,
    devices=st.integers(1, 16),
    requests=st.integers(1, 10),
    tokens=st.integers(1, MOST_IN_ALL // 160),
    acceptance=st.sampled_from([Acceptance.REJECTION, Acceptance.COUPLED]),
    temperature=st.floats(0, 10),
    k=st.none() | st.integers(1, 24),
    gamma=st.none() | st.integers(0, 32),
    link=st.sampled_from(["", *STEADY]),
    journal=st.booleans(),
    kv_tokens=st.none() | st.integers(MOST_IN_ALL // 160 + MEMORY_BESIDE, 1 << 30),
    draft_is_target=st.booleans(),
)


@st.composite
def faults(draw: st.DrawFn, scenario: Scenario) -> Fault:
    """One that can be there."""
    possible = [one for one in Kind if nodes_of(scenario, one) and (scenario.link or one not in OF_LINK)]
    kind = draw(st.sampled_from(possible))
    at_s, for_s = draw(SECONDS), draw(SECONDS if kind in AT_ONCE else SECONDS_OF_IT)
    amount = {Kind.COLLAPSE: 1e4, Kind.SLOW: 3.5, Kind.CLOCK: 60.0}.get(kind, 0.0)
    if kind in OF_LEGS:
        if kind is not Kind.PARTITION:
            amount = draw(st.floats(0, 1, exclude_min=True))
        leg = draw(st.sampled_from(Leg))
        return Fault(kind=kind, at_s=at_s, for_s=for_s, leg=leg, amount=amount)
    if kind in OF_LINK:
        return Fault(kind=kind, at_s=at_s, for_s=for_s, amount=amount)
    node = draw(st.sampled_from(nodes_of(scenario, kind)))
    moments = moments_of(node, scenario) if kind is Kind.CRASH else moments_of(node, scenario)[:1]
    moment = draw(st.sampled_from(moments))
    return Fault(kind=kind, at_s=at_s, for_s=for_s, node=node, moment=moment, amount=amount)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any that is possible."""
    scenario = draw(SCENARIOS)
    happening = draw(st.lists(faults(scenario), max_size=5))
    return Schedule(
        seed=draw(st.integers(0, 2**63 - 1)),
        scenario=scenario,
        faults=tuple(sorted(happening, key=lambda fault: fault.at_s)),
    )


@given(schedules())
def test_what_is_written_is_read_as_it_was(schedule: Schedule) -> None:
    """Every field of every possible schedule comes back, numbers to the last bit."""
    assert read(written(schedule)) == schedule


def test_schedules_of_seeds_are_read_as_they_were(tmp_path: Path) -> None:
    """From a file, as a failure prints them."""
    file = tmp_path / "failed.json"
    for seed in range(100):
        file.write_text("  " + written(schedule_of(seed)) + "\n")
        assert read_file(file) == schedule_of(seed), seed


def test_what_is_left_out_is_as_usual() -> None:
    """A file needs no more than what it is about; faults may stand in any order."""
    later = '{"kind": "stall", "at_s": 2, "for_s": 1, "node": "target"}'
    earlier = '{"kind": "stall", "at_s": 1, "for_s": 1, "node": "device-1"}'
    found = read(f'{{"faults": [{later}, {earlier}]}}')
    assert found.scenario == Scenario()
    assert [fault.at_s for fault in found.faults] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "needs fields in braces"),
        ('{"sed": 1}', "sed: nothing has this name; did you mean 'seed'"),
        ('{"seed": "1"}', "seed: '1'; needs a value of type int"),
        ('{"scenario": {"devices": 0}}', "scenario.devices: 0; choose 1 to 16"),
        ('{"scenario": {"devices": true}}', "scenario.devices: True; needs a value of type int"),
        ('{"scenario": {"acceptance": "auto"}}', "scenario.acceptance: 'auto'; choose rejection or coupled"),
        ('{"scenario": {"acceptance": "couple"}}', "scenario.acceptance: 'couple'; did you mean 'coupled'"),
        ('{"scenario": {"link": "rate fast"}}', "scenario.link: "),
        ('{"scenario": {"link": "rate 0"}}', "scenario.link: 'rate 0'; nothing passes it"),
        ('{"scenario": {"link": "loss 100%"}}', "scenario.link: 'loss 100%'; nothing passes it"),
        ('{"scenario": {"link": "corrupt 100%"}}', "scenario.link: 'corrupt 100%'; nothing passes it"),
        ('{"scenario": {"k": 25}}', "scenario.k: 25; choose 1 to 24"),
        ('{"scenario": {"kv_tokens": 31}}', "scenario.kv_tokens: 31; choose 32 to"),
        (
            '{"scenario": {"devices": 16, "requests": 100, "tokens": 13}}',
            "scenario.tokens: 13; 1600 requests may have 20000 in all: choose up to 12",
        ),
        ('{"faults": {}}', "faults: no list, or too long; a list of at most"),
        ('{"faults": [{"at_s": 1}]}', "faults[0].kind: is missing"),
        ('{"faults": [{"kind": "crush", "at_s": 1}]}', "faults[0].kind: 'crush'; did you mean 'crash'"),
        ('{"faults": [{"kind": "crash", "at_s": -1, "node": "target"}]}', "faults[0].at_s: -1.0"),
        ('{"faults": [{"kind": "crash", "at_s": 1}]}', "faults[0].node: ''; known: target, channel"),
        ('{"faults": [{"kind": "crash", "at_s": 1, "node": "device-2"}]}', "faults[0].node: 'device-2'"),
        (
            '{"faults": [{"kind": "crash", "at_s": 1, "node": "channel", "moment": "writing"}]}',
            "faults[0].moment: 'writing'; of this node: now, before_send, after_send",
        ),
        ('{"faults": [{"kind": "drop", "at_s": 1, "leg": "up"}]}', "faults[0].for_s: 0.0; drop has to last"),
        (
            '{"faults": [{"kind": "drop", "at_s": 1, "for_s": 1, "amount": 0.5}]}',
            "faults[0].leg: None; drop needs one",
        ),
        (
            '{"faults": [{"kind": "drop", "at_s": 1, "for_s": 1, "leg": "up"}]}',
            "faults[0].amount: 0.0; of drop: a probability, more than 0",
        ),
        (
            '{"faults": [{"kind": "partition", "at_s": 1, "for_s": 1, "leg": "up", "moment": "writing"}]}',
            "faults[0].moment: 'writing'; partition has none: leave it out",
        ),
        (
            '{"faults": [{"kind": "drop", "at_s": 1, "for_s": 1, "leg": "up", "amount": 5}]}',
            "faults[0].amount: 5.0; of drop: a probability",
        ),
        (
            '{"scenario": {"link": ""}, "faults": [{"kind": "collapse", "at_s": 1, "for_s": 1}]}',
            "faults[0].kind: 'collapse'; needs a link",
        ),
        (
            '{"scenario": {"journal": false}, "faults": '
            '[{"kind": "disk", "at_s": 1, "for_s": 1, "node": "device-1"}]}',
            "faults[0].node: 'device-1'; known: none here",
        ),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(text: str, said: str) -> None:
    """One line: where it stands, what is wrong with it, what to write."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And so is one that has a mistake in it."""
    with pytest.raises(ConfigurationError, match=r"missing\.json: --schedule: No such file"):
        read_file(tmp_path / "missing.json")
    (tmp_path / "odd.json").write_text('{"sed": 1}')
    with pytest.raises(ConfigurationError, match=r"odd\.json: sed: "):
        read_file(tmp_path / "odd.json")
