"""Where two sequences part."""

from hypothesis import given
from hypothesis import strategies as st

from draftwire.nodes.models.prefix import BLOCK, common_prefix

_tokens = st.integers(0, 2)
_texts = st.lists(_tokens, max_size=8)


@given(_texts, _texts, _texts, st.sampled_from([0, 1, BLOCK - 1, BLOCK, 3 * BLOCK]), st.data())
def test_a_common_prefix_is_as_long_as_it_can_be(
    shared: list[int], left: list[int], right: list[int], far: int, data: st.DataObject
) -> None:
    """Whatever stands in front, of lists and tuples alike, and wherever one begins to look."""
    both = [7] * far + shared
    one, other = both + left, both + right
    plain = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), None)
    length = min(len(one), len(other)) if plain is None else plain
    known = data.draw(st.integers(0, length))
    assert common_prefix(one, other, known=known) == length
    assert common_prefix(tuple(one), other, known=known) == length
