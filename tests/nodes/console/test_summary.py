"""What people and programs are told of the plans that an answer was made with."""

import pytest

from draftwire.codecs.messages import Plan
from draftwire.nodes.console.summary import summary_line
from draftwire.nodes.device.account import Account
from draftwire.nodes.models.pacing import NativeCompute


@pytest.mark.parametrize(
    ("ks", "gammas", "words"),
    [
        ({32: 9}, {2: 9}, "K 32, gamma 2"),
        ({320: 3, 32: 2, 128: 1}, {5: 1, 2: 5}, "K 32-320, gamma 2-5"),
        ({32: 2}, {0: 7, 2: 2}, "K 32, gamma 0-2"),
        ({}, {0: 7}, "target alone"),
        ({}, {}, "K 16, gamma 4"),
    ],
)
def test_plans_are_told_as_one_value_or_a_range(
    ks: dict[int, int], gammas: dict[int, int], words: str
) -> None:
    """What was used, not what would have come next; before the first step, what is in force."""
    account = Account(vocab_size=64, plan=Plan(number=9, k=16, gamma=4, min_draft=4))
    account.k_used.update(ks)
    account.gamma_used.update(gammas)
    assert summary_line(account, NativeCompute()).endswith(f" | {words}")
