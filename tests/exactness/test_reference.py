"""Token for token: the protocol adds nothing to the speculation it carries."""

from collections.abc import Sequence

import pytest
from tests.harness.pair import Context, Direction, LinkScript, SessionPair, perfect
from tests.harness.reference import reference_text
from tests.harness.worlds import request, world

from draftwire.codecs.messages import Draft, Message
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.runtime.session.request import Timing


def slow(direction: Direction, message: Message, index: int) -> Sequence[float]:
    """A quarter of a second each way."""
    return (0.25,)


def shaky(direction: Direction, message: Message, index: int) -> Sequence[float]:
    """Every third message is lost, every fifth comes twice; nothing is later than the BS's patience."""
    if index % 3 == 1 and index > 3 and not isinstance(message, Draft):
        return ()
    return (0.0, 0.4) if index % 5 == 2 else (0.01 * (index % 7),)


@pytest.mark.parametrize("link", [perfect, slow, shaky])
@pytest.mark.parametrize(("k", "gamma"), [(1, 1), (4, 3), (16, 8)])
def test_text_equals_the_references(link: LinkScript, k: int, gamma: int) -> None:
    """Sixty tokens, fixed K, gamma and seed, over three links."""
    within, wanted = world(16, seed=31), request(60, seed=7)
    timing = Timing(patience_s=1000.0)
    pair = SessionPair(within, wanted, PhiloxNoise(), plan=(k, gamma), link=link, timing=timing)
    pair.run()
    expected = reference_text(
        wanted,
        Context(within.draft),
        Context(within.target),
        k=k,
        gamma=gamma,
        vocab_size=16,
        noise=PhiloxNoise(),
    )
    assert pair.output == expected
