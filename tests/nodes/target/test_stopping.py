"""Where a log ends: stop strings of any length are seen, whatever tokens they fall into."""

from collections.abc import Sequence

import pytest

from draftwire.codecs.limits import MAX_TEXT_BYTES
from draftwire.codecs.messages import Finish
from draftwire.nodes.target.stopping import finish_rule

END, SILENT = 256, 257
"""End of text, and a special token without text."""


class Bytes:
    """A token a byte: the most tokens that a text can have."""

    eos_ids = frozenset({END})

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids."""
        return bytes(token for token in ids if token < END).decode("utf-8", "replace")


def _ends(log: Sequence[int], stop: str) -> list[int]:
    """Lengths of the log's prefixes at which it stops."""
    finish_of = finish_rule(Bytes(), max_new_tokens=10_000, stop=["never in it", stop])
    return [length for length in range(1, len(log) + 1) if finish_of(log[:length], 0) is Finish.STOP]


@pytest.mark.parametrize("stop", ["x", "y" * 60, "é" * 100, "z" * MAX_TEXT_BYTES])
def test_a_stop_string_of_any_length_is_seen(stop: str) -> None:
    """The log stops at the string's last byte, also where it takes more tokens than characters."""
    log = [*b"before it, ", *stop.encode()]
    assert _ends(log, stop) == [len(log)]


def test_tokens_without_text_do_not_hide_it() -> None:
    """Special tokens between its characters push its beginning further back."""
    stop = "ab" * 30
    spoken = list(stop.encode())
    log = [*b"before it, ", *spoken[:20], *[SILENT] * 5, *spoken[20:]]
    assert _ends(log, stop) == [len(log)]


def test_the_prompt_does_not_stop_an_answer() -> None:
    """A stop string that stands in the prompt, or begins in it, is not looked for."""
    finish_of = finish_rule(Bytes(), max_new_tokens=3, stop=["stop"])
    assert finish_of([*b"stop sto", ord("p")], 8) is Finish.RUNNING
    assert finish_of([*b"stop", END], 4) is Finish.EOS
    assert finish_of([*b"stop", *b"abc"], 4) is Finish.LENGTH
