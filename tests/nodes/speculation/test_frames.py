"""Sizes on the wire are those of real frames, scaled where rows of text were seen, and found again."""

import pytest

from draftwire.nodes.speculation.frames import around_rows_bits, row_bits, true_frames


def test_the_same_question_has_the_same_frames() -> None:
    """One object, so that forecasts find the sizes that they remember by it."""
    assert true_frames(vocab_size=4096, row_scale=0.8) is true_frames(vocab_size=4096, row_scale=0.8)


def test_only_rows_are_scaled() -> None:
    """What surrounds the rows, Drafts and Commits stay as they are."""
    whole, half = true_frames(vocab_size=4096), true_frames(vocab_size=4096, row_scale=0.5)
    around = around_rows_bits(vocab_size=4096)
    assert half.rows_bits(32, 4) - around == pytest.approx((whole.rows_bits(32, 4) - around) / 2)
    assert whole.rows_bits(32, 4) == pytest.approx(around + 4 * row_bits(k=32, vocab_size=4096))
    assert half.draft_bits(32, 4) == whole.draft_bits(32, 4)
    assert half.commit_bits(4) == whole.commit_bits(4)


def test_at_temperature_0_no_rows_travel() -> None:
    """Ids only: rows take no bits, and not even a message."""
    assert true_frames(vocab_size=4096, rows=False).rows_bits(320, 16) == 0
