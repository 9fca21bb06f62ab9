"""Who has memory: never more than there is, by turns, fairly; no clock, no tensors."""

from collections.abc import Hashable

from hypothesis import given, settings
from hypothesis import strategies as st

from draftwire.nodes.target.residency import IDLE_S, PARKED, Claim, Residency, Share, Shares

BUDGET = 100


def _claim(key: Hashable, device: str | None = None, size: int = 40) -> Claim:
    return Claim(key=key, device=device or str(key), size=size)


def _full(*claims: Claim, budget: int = BUDGET) -> Residency:
    """With these sessions in memory."""
    residency = Residency(budget)
    assert all(residency.admit(claim, {}) is not None for claim in claims)
    return residency


def _promised(residency: Residency, device: str) -> bool:
    return residency.promise(_claim(object(), device, 50), {})


_devices = st.sampled_from(["a", "b", "c/1", "c/2", "c/3"])
_idle = st.sampled_from([0.0, 0.3, IDLE_S, 5.0, PARKED])


@settings(max_examples=60)
@given(st.data())
def test_memory_never_exceeds_the_budget(data: st.DataObject) -> None:
    """Any schedule of requests, recalls, ends and idle times: what is reserved stays within the budget; only
    those named as such lose theirs; and who has it, has all it asked for."""
    residency = Residency(BUDGET)
    claims, recalled = dict[int, Claim](), set[int]()
    for number in range(data.draw(st.integers(1, 30), label="events")):
        held = set(residency.resident)
        idle_s = {key: data.draw(_idle) for key in sorted(held, key=str) if data.draw(st.booleans())}
        what = data.draw(st.sampled_from(["admit", "promise", "recall", "end"]))
        evicted = set[Hashable]()
        if what == "admit":
            claim = _claim(number, data.draw(_devices), data.draw(st.integers(0, BUDGET)))
            claims[number] = claim
            grant = residency.admit(claim, idle_s)
            evicted = set(grant.evicted) if grant is not None else set()
            assert (number in residency.resident) == (grant is not None)
            if grant is None:
                del claims[number]
        elif what == "promise":
            claim = _claim(number, data.draw(_devices), data.draw(st.integers(0, BUDGET)))
            if residency.promise(claim, idle_s):
                claims[number] = claim
            assert set(residency.resident) == held
        elif what == "recall":
            wanting = [claim for key, claim in claims.items() if key not in held and data.draw(st.booleans())]
            grants = residency.recall(wanting, idle_s)
            evicted = {key for grant in grants for key in grant.evicted}
            assert {grant.key for grant in grants} <= {claim.key for claim in wanting}
            assert residency.waiting == len(wanting) - len(grants)
            recalled |= {int(str(grant.key)) for grant in grants}
        elif claims:
            key = data.draw(st.sampled_from(sorted(claims)))
            residency.release(key)
            del claims[key]
            held.discard(key)
        assert evicted <= set(idle_s)
        assert held - evicted <= set(residency.resident)
        assert residency.reserved == sum(claims[int(str(key))].size for key in residency.resident) <= BUDGET
        fresh = Shares(claims[int(str(key))].device for key in residency.resident)
        assert all(residency.shares.of(one) == fresh.of(one) for one in ("a", "b", "c/1", "c/2", "c/3"))


@given(st.integers(2, 6))
def test_the_longest_idle_gives_way(count: int) -> None:
    """Of those that are idle, one after the other, and no more than it takes; nobody that is not."""
    residency = _full(*(_claim(i, size=10) for i in range(count)), budget=10 * count)
    idle_s: dict[Hashable, float] = {i: IDLE_S + i if i else IDLE_S / 2 for i in range(count)}
    grant = residency.admit(_claim("new", size=10), idle_s)
    assert grant is not None and grant.evicted == [count - 1]
    assert residency.admit(_claim("large", size=10 * count), idle_s) is None
    assert residency.reserved == 10 * count


def test_nobody_gives_way_for_nothing() -> None:
    """Where all the idle together are not enough, they keep their memory."""
    residency = _full(_claim("a"), _claim("b"))
    assert residency.admit(_claim("new", size=80), {"a": 9.0}) is None
    assert set(residency.resident) == {"a", "b"}


def test_those_who_go_on_come_before_new_ones_in_their_order() -> None:
    """First come, first served, though a later or a new one would fit; one that wants nothing any more is
    passed over."""
    residency = _full(_claim("a", size=60))
    first, second = _claim("first", size=50), _claim("second", size=30)
    assert residency.recall([first], {}) == []
    assert residency.recall([second, first], {}) == []  # although 30 would fit
    assert residency.admit(_claim("new", size=10), {}) is None
    residency.release("a")
    assert [grant.key for grant in residency.recall([second, first], {})] == ["first", "second"]
    residency = _full(_claim("a", size=60))
    residency.recall([first, second], {})
    assert [grant.key for grant in residency.recall([second], {})] == ["second"]


def test_a_device_that_has_too_much_gives_up_some() -> None:
    """Busy as its sessions are, the newest goes where another device has two less; and then no more."""
    residency = _full(*(_claim(f"g{i}", "greedy", 50) for i in range(2)))
    busy: dict[Hashable, float] = {"g0": 0.0, "g1": 0.0}
    assert _promised(residency, "other") and not _promised(residency, "greedy")
    residency.recall([], busy)  # the promise is given up
    grant = residency.admit(_claim("o0", "other", 50), busy)
    assert grant is not None and grant.evicted == ["g1"]
    assert residency.admit(_claim("o1", "other", 50), {"g0": 0.0, "o0": 0.0}) is None
    assert residency.recall([_claim("g1", "greedy", 50)], {"g0": 0.0, "o0": 0.0}) == []
    assert not _promised(residency, "other")


def test_no_more_is_promised_than_can_be_given() -> None:
    """Three of a greedy device's sessions hold all memory: of others that come in its pass two have a place,
    and whoever comes then has to come again; so has a large one, where two would have to go for it."""
    residency = _full(*(_claim(f"g{i}", "greedy", 50) for i in range(3)), budget=150)
    assert not residency.promise(_claim("large", "other", 150), {})
    others = [_claim(f"o{i}", f"dev-{i}", 50) for i in range(4)]
    assert [residency.promise(one, {}) for one in others] == [True, True, False, False]
    assert residency.waiting == 2 and len(residency.resident) == 3
    busy: dict[Hashable, float] = {f"g{i}": 0.0 for i in range(3)}
    assert {grant.key for grant in residency.recall(others[:2], busy)} == {"o0", "o1"}


def test_who_has_more_takes_from_nobody_who_has_less() -> None:
    """An idle session of another device goes to one that has no more than it; a parked one to anybody."""
    residency = _full(_claim("g0", "greedy", 30), _claim("g1", "greedy", 30), _claim("o", "other", 40))
    assert residency.admit(_claim("g2", "greedy", 30), {"o": 9.0}) is None
    assert residency.admit(_claim("n", "new", 30), {"o": 9.0}) is not None
    residency = _full(_claim("g0", "greedy", 30), _claim("g1", "greedy", 30), _claim("o", "other", 40))
    assert residency.admit(_claim("g2", "greedy", 30), {"o": PARKED}) is not None


def test_devices_with_less_go_first() -> None:
    """Who has nothing is served before those that came earlier and have something, also as a new one."""
    residency = _full(_claim("g0", "greedy", 60), budget=100)
    waiting = [_claim("g1", "greedy", 50)]
    assert residency.recall(waiting, {}) == []
    assert residency.admit(_claim("o0", "other", 40), {}) is not None
    residency.release("g0")
    residency.recall(waiting, {})  # 60 are free, and neither has anything then
    assert "g1" in residency.resident


def test_names_below_one_key_share_what_the_key_has() -> None:
    """A key that calls itself many names has one share beside other keys; its names share that equally."""
    names = ["k/1", "k/1", "k/2", "o"]
    assert Shares(names).of("k/1") == Share(3, 2)
    assert Shares(names).of("o") == Share(1, 1)
    residency = _full(_claim("k1", "k/1", 50), _claim("k2", "k/2", 50))
    assert _promised(residency, "o")
    residency = _full(_claim("k1", "k/1", 50), _claim("k2", "k/1", 50))
    grant = residency.admit(_claim("k3", "k/2", 50), {"k1": 0.0, "k2": 0.0})
    assert grant is not None and grant.evicted == ["k2"]


@settings(max_examples=40)
@given(st.lists(_devices, min_size=1, max_size=12), st.integers(1, 6))
def test_giving_up_comes_to_an_end(devices: list[str], places: int) -> None:
    """With everybody busy for ever, memory changes hands until shares are equal, and then no more."""
    claims = [_claim(i, device, 1) for i, device in enumerate(devices)]
    residency = Residency(places)
    moves = 0
    for _ in range(100):
        busy = dict.fromkeys(residency.resident, 0.0)
        grants = residency.recall([one for one in claims if one.key not in residency.resident], busy)
        moves = len(grants)
        if not grants:
            break
    assert moves == 0
    assert len(residency.resident) == min(places, len(claims))


def test_without_a_budget_there_is_room_for_all() -> None:
    """Models that take no memory of their own, or nobody can tell how much there is."""
    residency = Residency(None)
    assert all(residency.admit(_claim(i, size=10**12), {}) is not None for i in range(100))
    assert not residency.never(10**15)
    assert Residency(5).never(6)
