"""The table of transitions holds what the ends do, and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import pytest
from tests.harness.messages import (
    ALONE,
    PLAN,
    a_block,
    a_draft,
    a_request,
    an_open,
    commit,
    device_in,
    its_rows,
    opened,
    refused,
    target_in,
)
from tests.harness.pair import HELLO
from tests.harness.schedules import QUICK, Schedule, play

from draftwire.codecs.messages import Cancel, Close, Finish, Reason
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.states import DEVICE, TARGET, Device, Target

K = TypeVar("K")
V = TypeVar("V")


class Recording(Mapping[K, V]):
    """A table that remembers what was looked up in it."""

    def __init__(self, table: Mapping[K, V]) -> None:
        self.table = table
        self.reached: set[K] = set()

    def __getitem__(self, key: K) -> V:
        value = self.table[key]
        self.reached.add(key)
        return value

    def __iter__(self) -> Iterator[K]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


SCHEDULES = [
    Schedule(plans=((2, 2), (1, 0)), tokens=8),
    Schedule(plans=((2, 3), (1, 1)), restarts=((0.3, "target"), (0.6, "device")), target_s=0.1),
    Schedule(plans=((2, 4),), down=((0.05,), (), (), (), ()), timing=replace(QUICK, patience_s=0.2)),
    Schedule(plans=((1, 0),), restarts=((0.3, "target"),), ahead=1),
    Schedule(plans=((2, 2),), up=((0.05,), (0.05,), (0.05,), (1.9,), (), ()), device_s=0.8),
]


def the_runs() -> None:
    """Schedules of both ends, then single ends brought to each state and given what they must survive."""
    for schedule in SCHEDULES:
        for temperature in (0.0, 1.0):
            play(schedule, temperature=temperature)

    running = [state for state in Device if state not in (Device.FINISHED, Device.FAILED)]
    block = a_block(1, 1, (2, 3))
    for state in running:
        device_in(state).receive(refused(Reason.TARGET_FAILED), 0.1)
        device_in(state).receive(refused(Reason.UNKNOWN_REQUEST), 0.1)
        end = device_in(state)
        end.receive(commit((7, 2), finish=Finish.EOS), 0.1)
        end = device_in(state)
        end.receive(commit((7, 4)), 0.1)
        end = device_in(state)
        end.receive(commit((7, 4), plan=replace(PLAN, number=2, gamma=0, min_draft=0)), 0.1)
        if state is Device.REDRAWING:
            end = device_in(state)
            end.receive(commit((7, 4, 5), plan=replace(PLAN, number=2, gamma=0, min_draft=0)), 0.1)
            end = device_in(state)
            end.receive(commit((7, 4, 5)), 0.1)
            end = device_in(state)
            end.drawn(block, 0.1)
        if state is Device.WAITING:  # the BS restarts, and the block still counts
            end = device_in(state)
            end.receive(refused(Reason.UNKNOWN_REQUEST), 0.1)
            end.receive(opened(device_try=2), 0.2)

    # Drafts are wanted again, and none may be thrown away.
    end = DeviceSession(replace(a_request(temperature=0.0), max_waste=0.0), HELLO, now_s=0.0)
    end.receive(opened(plan=ALONE), 0.1)
    end.receive(commit((7, 2), plan=replace(PLAN, number=2)), 0.2)

    for place in Target:
        if place is not Target.CLOSED:
            target = target_in(place)
            target.receive(an_open((7, 6), device_try=2), 0.1)
            target = target_in(place)
            target.receive(Cancel(incarnation=target.incarnation, known=1), 0.1)
            target.receive(Close(incarnation=target.incarnation, known=1), 0.1)
            target_in(place).receive(Close(incarnation=target.incarnation, known=1), 0.1)
    target = target_in(Target.WAITING)
    target.receive(its_rows(block), 0.1)
    target.receive(a_draft(block), 0.1)
    step = target.step(0.1)
    assert step is not None
    target.needs_rows(step, range(1), 0.2)
    target.settled(step, 0, 5, 0.2)


def test_every_transition_of_the_tables_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair in the tables happens in a run, so none describes what can't."""
    device, target = Recording(DEVICE), Recording(TARGET)
    monkeypatch.setattr("draftwire.runtime.session.device.DEVICE", device)
    monkeypatch.setattr("draftwire.runtime.session.target.TARGET", target)
    the_runs()
    assert set(DEVICE) - device.reached == set()
    assert set(TARGET) - target.reached == set()


def test_resting_states_are_left_by_nothing() -> None:
    """FINISHED and FAILED of the device and CLOSED of the BS have no way out."""
    assert not {state for state, _ in DEVICE} & {Device.FINISHED, Device.FAILED}
    assert Target.CLOSED not in {state for state, _ in TARGET}
