"""Memory with a bound."""

from hypothesis import given
from hypothesis import strategies as st

from draftwire.runtime.memory import remember


@given(st.lists(st.tuples(st.integers(0, 9), st.integers())), st.integers(1, 5))
def test_the_newest_entries_stay(entries: list[tuple[int, int]], most: int) -> None:
    """What is held are the last values of the keys put last, at most so many, the newest last."""
    memory: dict[int, int] = {}
    for key, value in entries:
        remember(memory, key, value, most=most)
    newest_first = dict.fromkeys(key for key, _ in reversed(entries))
    expected = [*newest_first][:most][::-1]
    assert [*memory.items()] == [(key, dict(entries)[key]) for key in expected]
