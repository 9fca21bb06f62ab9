"""What each of many may spend."""

from hypothesis import given
from hypothesis import strategies as st

from draftwire.runtime.budgets import Budgets


def test_a_burst_is_spent_and_comes_back_at_its_rate() -> None:
    """Of each key for itself; a key that was never heard of, or long ago, has all of it."""
    budgets = Budgets(rate=10, burst=100)
    assert budgets.left("a", 5.0) == 100 and budgets.wait_s("a", 5.0) == 0
    budgets.spend("a", 100, 5.0)
    assert budgets.left("a", 5.0) == 0 and budgets.wait_s("a", 5.0) == 0
    budgets.spend("a", 30, 5.0)
    assert budgets.left("a", 5.0) == -30 and budgets.wait_s("a", 5.0) == 3
    assert budgets.wait_s("a", 7.0) == 1 and budgets.left("a", 12.0) == 40
    assert budgets.left("a", 1e6) == 100 == budgets.left("b", 5.0)


def test_what_is_given_back_is_no_riches() -> None:
    """Whoever is given more than it has spent has its burst, and who has spent nothing is not remembered."""
    budgets = Budgets(rate=10, burst=100)
    budgets.give_back("b", 1)
    budgets.spend("a", 50, 5.0)
    budgets.give_back("a", 20)
    assert budgets.left("a", 5.0) == 70
    budgets.give_back("a", 1e6)
    assert budgets.left("a", 5.0) == 100
    budgets.spend("a", 50, 5.0)
    assert budgets.left("a", 5.0) == 50 and set(budgets._until_s) == {"a"}


@given(spent=st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 9)), max_size=30))
def test_debts_have_a_bound(spent: list[tuple[float, float]]) -> None:
    """However much is spent, it is back after the time of the burst and the debt."""
    budgets, now_s = Budgets(rate=10, burst=100, debt=20), 0.0
    for amount, later_s in spent:
        now_s += later_s
        budgets.spend("a", amount, now_s)
        assert budgets.left("a", now_s) >= -20.001
    assert budgets.left("a", now_s + 12.001) == 100


def test_what_is_remembered_is_bounded() -> None:
    """New keys push out those that spent nothing for longest."""
    budgets = Budgets(rate=10, burst=100, most=3)
    for key in "abcaXY":
        budgets.spend(key, 1, 0.0)
    assert list(budgets._until_s) == ["a", "X", "Y"]
