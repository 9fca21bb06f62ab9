"""How much of a log a context has computed."""

from hypothesis import given
from hypothesis import strategies as st

from draftwire.codecs.messages import Origin
from draftwire.nodes.models.prefix import common_prefix
from draftwire.nodes.target.cached import Cached
from draftwire.runtime.session.log import TokenLog

_ids = st.lists(st.integers(0, 2), max_size=4)


@given(st.data())
def test_it_is_what_a_look_at_all_of_it_says(data: st.DataObject) -> None:
    """Passes over logs, with drafts that stand or not, logs that others take the place of in the middle of a
    pass, contexts that are emptied: at every moment as many as both begin with."""
    cached, held, log = Cached(), list[int](), TokenLog([1, 2, 3])
    for _ in range(data.draw(st.integers(1, 12))):
        what = data.draw(st.sampled_from(["read", "step", "another log", "clear"]))
        if what == "clear":
            cached.clear()
            held = []
        elif what == "another log":
            log = TokenLog(data.draw(_ids))
        else:
            begun = log
            tokens = [*log.tokens, *data.draw(_ids)]
            if what == "read":
                tokens = log.tokens[: data.draw(st.integers(cached.of(log), len(log)))]
            if data.draw(st.booleans()):
                log = TokenLog(data.draw(_ids))
                if data.draw(st.booleans()):
                    assert cached.of(log) == common_prefix(held, log.tokens)
            cached.took(tokens, begun)
            held = tokens
        if data.draw(st.booleans()):
            assert cached.of(log) == common_prefix(held, log.tokens)
        new = data.draw(_ids)
        log.append(new, [Origin.ALONE] * len(new))
        if data.draw(st.booleans()):
            assert cached.of(log) == common_prefix(held, log.tokens)
