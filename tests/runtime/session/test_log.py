"""The log: tokens by position, their origins, and a hash for every length."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from draftwire.codecs.hashes import EMPTY_LOG_HASH, log_hash
from draftwire.codecs.messages import Origin
from draftwire.runtime.session.log import LONG_PROMPT, TokenLog, prompt_hashes

TOKENS = st.lists(st.integers(0, 3), max_size=6)


def grown(prompt: list[int], output: list[int]) -> TokenLog:
    """A log that was appended to token by token."""
    log = TokenLog(prompt)
    for token in output:
        log.append([token], [Origin.ACCEPTED])
    return log


@given(TOKENS, TOKENS)
def test_every_length_has_the_hash_of_its_tokens(prompt: list[int], output: list[int]) -> None:
    """However the tokens came in, the hash of n of them is that of the n tokens alone."""
    log = grown(prompt, output)
    assert len(log) == len(prompt) + len(output)
    assert [log.hash_at(n) for n in range(len(log) + 1)] == [
        log_hash([*prompt, *output][:n]) for n in range(len(log) + 1)
    ]


@given(TOKENS, TOKENS, TOKENS, st.data())
def test_hash_with_is_the_hash_of_what_would_be(
    prompt: list[int], output: list[int], tokens: list[int], data: st.DataObject
) -> None:
    """Asking changes nothing, and what lies behind the position does not count."""
    log = grown(prompt, output)
    position = data.draw(st.integers(0, len(log)))
    before = list(log.tokens)
    assert log.hash_with(position, tokens) == log_hash([*before[:position], *tokens])
    assert log.tokens == before


@given(TOKENS, TOKENS, st.data())
def test_continues_compares_as_far_as_both_reach(
    prompt: list[int], tokens: list[int], data: st.DataObject
) -> None:
    """Tokens agree with a log if no position that both have differs."""
    log = TokenLog(prompt)
    start = data.draw(st.integers(0, len(log)))
    agree = all(prompt[start + i] == token for i, token in enumerate(tokens) if start + i < len(prompt))
    assert log.continues(start, tokens) is agree


def test_origins_and_produced_tell_prompt_from_output() -> None:
    """The prompt is the prompt; output from a record is the target's, unless the record says more."""
    log = TokenLog((5, 6), (7,))
    log.append((8, 9), (Origin.ACCEPTED, Origin.BONUS))
    assert log.origins == [
        Origin.PROMPT,
        Origin.PROMPT,
        Origin.ALONE,
        Origin.ACCEPTED,
        Origin.BONUS,
    ]
    assert (log.prompt_length, log.produced, len(log)) == (2, 3, 5)
    told = TokenLog((5,), (7, 8), (Origin.CORRECTED, Origin.BONUS))
    assert told.origins == [Origin.PROMPT, Origin.CORRECTED, Origin.BONUS]


def test_a_long_prompt_is_hashed_once() -> None:
    """However many requests have it; its log is like any other, and each grows by itself."""
    prompt = tuple(range(LONG_PROMPT))
    prompt_hashes.cache_clear()
    first, second = TokenLog(prompt), TokenLog(list(prompt))
    assert (prompt_hashes.cache_info().misses, prompt_hashes.cache_info().hits) == (1, 1)
    first.append([7], [Origin.ACCEPTED])
    for length in (0, 1, LONG_PROMPT - 1, LONG_PROMPT):
        assert first.hash_at(length) == second.hash_at(length) == log_hash(prompt[:length])
    assert first.hash_at(LONG_PROMPT + 1) == log_hash((*prompt, 7)) == second.hash_with(LONG_PROMPT, [7])
    assert len(second) == LONG_PROMPT and first.produced == 1
    TokenLog(prompt[1:])
    assert prompt_hashes.cache_info().misses == 1  # a short one is not kept


def test_an_empty_log_has_a_hash() -> None:
    """Nothing is a log too."""
    assert TokenLog(()).hash_at(0) == EMPTY_LOG_HASH


def test_each_token_needs_an_origin() -> None:
    """A caller that loses count is stopped."""
    with pytest.raises(ValueError, match="2 tokens have 1 origins"):
        TokenLog((1,)).append((2, 3), (Origin.ACCEPTED,))
