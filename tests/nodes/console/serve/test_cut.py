"""Texts that end an answer: cut from it, and never shown in part."""

from hypothesis import given
from hypothesis import strategies as st

from draftwire.nodes.console.serve.stops import Cut

LETTERS = st.text("ab", max_size=12)


def test_what_may_be_a_stop_is_held_back() -> None:
    """The beginning of a stop waits until the text says what it is."""
    cut = Cut(["stop", "top!"])
    assert [cut.push(piece) for piece in ("a s", "t", "o", "ne")] == ["a ", "", "", "stone"]
    assert [cut.push(piece) for piece in (" st", "op now", "more")] == [" ", "", ""]
    assert cut.found and cut.finish() == ""


def test_the_first_stop_counts() -> None:
    """Of several the one that begins first ends the text, whatever their order."""
    cut = Cut(["late", "y"])
    assert cut.push("x y late") == "x "


@given(st.lists(LETTERS, max_size=6), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_pieces_join_to_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    """However it is cut into pieces: nothing is lost, nothing of a stop is shown, the end is found."""
    cut = Cut(stops)
    shown = "".join(cut.push(piece) for piece in pieces) + cut.finish()
    text = "".join(pieces)
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert cut.found is bool(ends)
    assert text.startswith(shown)
    if not ends:
        assert shown == text
    else:
        assert not any(stop in shown for stop in stops)
        assert any(text.startswith(stop, len(shown)) for stop in stops)
