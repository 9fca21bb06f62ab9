"""What enters a pass: bounds, turns by weight, and that nobody starves."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from draftwire.nodes.target.batcher import (
    CHUNK,
    CHUNK_ALONE,
    CHUNK_BETWEEN,
    MOST_ROWS,
    Batcher,
    Part,
    Waiting,
)

MOST_STEP = 41
"""A block of 32 behind a log with 8 tokens to compute, and one."""


@st.composite
def _crowds(draw: st.DrawFn, most: int = 40) -> list[Waiting]:
    """Sessions of some devices, each with a step, a log to be read, or both."""
    weights = draw(st.fixed_dictionaries({name: st.sampled_from([0.1, 1.0, 3.0]) for name in "abcdef"}))
    sessions = draw(
        st.lists(
            st.tuples(st.sampled_from("abcdef"), st.integers(0, MOST_STEP), st.integers(0, 900)),
            max_size=most,
        )
    )
    return [
        Waiting(key=key, device=name, rows=rows, unread=unread, weight=weights[name])
        for key, (name, rows, unread) in enumerate(sessions)
        if rows or unread
    ]


def _ready(waiting: list[Waiting]) -> list[Waiting]:
    return [one for one in waiting if one.rows and not one.unread]


@settings(max_examples=50)
@given(st.lists(_crowds(), min_size=1, max_size=6), st.booleans())
def test_a_pass_is_bounded_and_full(crowds: list[list[Waiting]], others: bool) -> None:
    """Steps are whole, of different sessions and within MOST_ROWS; all have room, or nobody left out fits."""
    batcher = Batcher()
    for waiting in crowds:
        parts = batcher.choose(waiting, others=others)
        by_key = {one.key: one for one in waiting}
        assert len({part.key for part in parts}) == len(parts)
        steps = [part for part in parts if not part.reads]
        assert all(part.rows == by_key[part.key].rows for part in steps)
        rows = sum(part.rows for part in steps)
        assert rows <= MOST_ROWS
        chosen = {part.key for part in parts}
        assert all(one.rows > MOST_ROWS - rows for one in _ready(waiting) if one.key not in chosen)
        reads = [part for part in parts if part.reads]
        room = CHUNK if steps else CHUNK_BETWEEN if others or len(waiting) > 1 else CHUNK_ALONE
        assert all(0 < part.rows <= by_key[part.key].unread for part in reads)
        assert sum(part.rows for part in reads) == min(room, sum(one.unread for one in waiting))


@settings(max_examples=25)
@given(st.lists(_crowds(), min_size=1, max_size=6))
def test_equal_crowds_make_equal_passes(crowds: list[list[Waiting]]) -> None:
    """What is chosen hangs on what waits, and has waited, alone."""
    first, second = Batcher(), Batcher()
    for waiting in crowds:
        assert first.choose(waiting, others=True) == second.choose(waiting, others=True)


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=4),
    st.integers(1, MOST_STEP),
    st.integers(5, 30),
)
def test_positions_are_shared_by_weight(weights: list[float], rows: int, passes: int) -> None:
    """Devices that always have more to do than they get: what each has had for its weight differs by no more
    than a pass."""
    batcher, had = Batcher(), Counter[int]()
    each = 2 * MOST_ROWS // rows + 1  # of each device: it could fill two passes
    waiting = [
        Waiting(key=(device, i), device=f"{device}", rows=rows, weight=weight)
        for device, weight in enumerate(weights)
        for i in range(each)
    ]
    for _ in range(passes):
        for part in batcher.choose(waiting, others=True):
            had[part.key[0]] += part.rows  # type: ignore[index]
    shares = [had[device] / weight for device, weight in enumerate(weights)]
    assert max(shares) - min(shares) <= rows / min(weights) + 1e-9  # one step, and so less than a pass


@settings(max_examples=20)
@given(st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """However others come and go, a step of a device of equal weight waits for less than one of each of them
    takes, and one pass."""
    batcher = Batcher()
    names = [f"{i}" for i in range(30)]
    sizes = {name: data.draw(st.integers(1, MOST_STEP), label=name) for name in names}
    away = Counter[str]()
    for _ in range(data.draw(st.integers(1, 40), label="passes")):
        here = {"0"} | data.draw(st.sets(st.sampled_from(names)), label="here")
        waiting = [Waiting(key=name, device=name, rows=sizes[name]) for name in sorted(here)]
        chosen = {part.key for part in batcher.choose(waiting, others=True)}
        for name in names:
            away[name] = away[name] + 1 if name in here and name not in chosen else 0
        # Of 30 devices those that are level come first: at most MOST_STEP of each, then its own.
        assert max(away.values()) <= MOST_STEP * len(names) // (MOST_ROWS - MOST_STEP) + 2


def test_one_that_comes_back_has_no_lead() -> None:
    """After a long time alone, or away, a device begins level: the others are not kept waiting for it."""
    batcher = Batcher()
    crowd = [Waiting(key=f"{i}", device=f"{i}", rows=32) for i in range(16)]
    for _ in range(50):
        batcher.choose(crowd, others=True)
    late = Waiting(key="late", device="late", rows=32)
    served = Counter[object]()
    for _ in range(34):
        served.update(part.key for part in batcher.choose([*crowd, late], others=True))
    assert served["late"] == 16
    assert set(served.values()) == {16}


def test_a_time_with_room_for_all_is_forgotten() -> None:
    """Who had long steps while there was room for all is not made to wait for it when there is none."""
    batcher = Batcher()
    old = Waiting(key="old", device="old", rows=40)
    light = Waiting(key="light", device="light", rows=1)
    for _ in range(500):
        batcher.choose([old, light], others=True)
    crowd = [Waiting(key=f"{i}", device=f"{i}", rows=40) for i in range(12)]
    waits = [
        old.key in {part.key for part in batcher.choose([*crowd, old, light], others=True)} for _ in range(3)
    ]
    assert any(waits)


def test_what_was_left_over_is_soon_forgotten() -> None:
    """A device with short steps, which fit where long ones don't, is not made to wait for all it had so, once
    its steps are long."""
    batcher = Batcher()
    crowd = [Waiting(key=f"{i}", device=f"{i}", rows=40) for i in range(300)]
    for _ in range(500):
        light = [Waiting(key=("l", i), device="light", rows=4) for i in range(4)]
        batcher.choose([*crowd, *light], others=True)
    heavy = Waiting(key="heavy", device="light", rows=40)
    waits = [
        heavy.key in {part.key for part in batcher.choose([*crowd, heavy], others=True)} for _ in range(700)
    ]
    # 300 devices with 6 steps of 40 a pass: two passes' worth are 13 steps, each 50 passes.
    assert any(waits)


def test_a_device_with_many_sessions_has_one_share() -> None:
    """Turns are by device: ten sessions of one get as much as the one of another."""
    batcher = Batcher()
    greedy = [Waiting(key=("greedy", i), device="greedy", rows=40) for i in range(10)]
    modest = Waiting(key="modest", device="modest", rows=40)
    for _ in range(10):
        assert Part("modest", 40, False) in batcher.choose([*greedy, modest], others=True)


def test_a_short_prompt_is_not_stuck_behind_a_long_one() -> None:
    """A prompt of 2000 tokens is being read: one of 40 that comes is read in the next pass, and the long one
    goes on with what is left of it."""
    batcher = Batcher()
    step = Waiting(key="step", device="s", rows=3)
    for _ in range(3):
        long = Waiting(key="long", device="l", unread=2000)
        first = [Part("step", 3, False), Part("long", CHUNK, True)]
        assert batcher.choose([step, long], others=True) == first
    short = Waiting(key="short", device="a", unread=40)
    parts = batcher.choose([step, long, short], others=True)
    assert parts == [Part("step", 3, False), Part("short", 40, True), Part("long", CHUNK - 40, True)]


def test_prompts_are_read_by_turns() -> None:
    """Of several long prompts each is read as much as any other."""
    batcher, left = Batcher(), {f"{i}": 300 for i in range(4)}
    for _ in range(8):
        waiting = [Waiting(key=key, device=key, unread=unread) for key, unread in left.items()]
        for part in batcher.choose(waiting, others=True):
            left[str(part.key)] -= part.rows
    assert max(left.values()) - min(left.values()) <= CHUNK_BETWEEN
    assert sum(left.values()) == 4 * 300 - 8 * CHUNK_BETWEEN
