"""Data-plane messages: their own checks."""

from dataclasses import replace
from typing import Any

import pytest
from tests.codecs.golden_cases import CASES

from draftwire.codecs.errors import LocalError
from draftwire.codecs.messages import Acceptance, Origin, Plan, Sampling

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("hello", {"vocab_size": 1}),
    ("hello", {"vocab_size": 262_145}),
    ("hello", {"protocol_version": -1}),
    ("hello", {"fingerprint": b"1234567"}),
    ("welcome", {"boot": 2**32}),
    ("refused", {"detail": "x" * 1025}),
    ("refused", {"detail": "\ud800"}),
    ("refused", {"device_try": 2**32}),
    ("refused", {"device_try": -1}),
    ("open", {"seed": 2**64}),
    ("open", {"seed": -1}),
    ("open", {"tokens": (), "prompt_length": 0}),
    ("open", {"tokens": (262_144,), "prompt_length": 1}),
    ("open", {"tokens": (-1,), "prompt_length": 1}),
    ("open", {"prompt_length": 0}),
    ("open", {"prompt_length": 1000}),
    ("open", {"stop": ("x",) * 17}),
    ("open", {"pinned_k": 0}),
    ("open", {"pinned_k": 262_145}),
    ("open", {"pinned_gamma": -1}),
    ("open", {"pinned_gamma": 33}),
    ("open", {"pinned_min_draft": -1}),
    ("open", {"pinned_min_draft": 33}),
    ("open", {"outstanding": True, "acceptance": Acceptance.COUPLED}),
    ("open", {"outstanding": True, "acceptance": Acceptance.AUTO}),
    ("opened", {"log_hash": b""}),
    ("opened", {"acceptance": Acceptance.AUTO}),
    ("draft", {"weights": (1,)}),
    ("draft", {"weights": (0, 1, 1)}),
    ("draft", {"weights": (1, 1, 2**24 + 1)}),
    ("draft", {"ids": (1,) * 33, "weights": ()}),
    ("draft", {"start": -1}),
    ("draft", {"token_s": float("inf")}),
    ("draft", {"token_s": float("nan")}),
    ("draft", {"token_s": -1e-9}),
    ("draft", {"last": False}),
    ("draft_nothing_more", {"last": False}),
    ("sparse_logits_plain", {"rows": ()}),
    ("sparse_logits_request", {"positions": ()}),
    ("sparse_logits_request", {"positions": (2**32,)}),
    ("commit", {"origins": (Origin.BONUS,)}),
    ("commit", {"accepted": 3, "seen": 2}),
    ("commit", {"seen": 33}),
    ("ping", {"stamp": 2**64}),
    ("pong", {"stamp": -1}),
    ("cancel", {"known": 2**32}),
    ("close", {"known": -1}),
    ("hello", {"tables": (bytes(8),) * 9}),
    ("hello", {"tables": (bytes(7),)}),
    ("welcome", {"tables": bytes(9)}),
    ("open", {"life": 2**32}),
    ("open", {"life": -1}),
    ("probe", {"stamp": 2**64}),
    ("probe", {"padding": 2**16}),
    ("probe", {"reply_padding": -1}),
    ("echo", {"padding": 2**16}),
    ("echo", {"clock_s": -1.0}),
    ("echo", {"clock_s": float("nan")}),
    ("echo", {"clock_s": float("inf")}),
]


@pytest.mark.parametrize("name, fields", WRONG, ids=str)
def test_messages_check_themselves(name: str, fields: dict[str, Any]) -> None:
    """A message whose field is out of range can't be built; the error is our own side's."""
    with pytest.raises(LocalError):
        replace(CASES[name], **fields)


@pytest.mark.parametrize(
    "k, gamma, min_draft", [(0, 1, 1), (262_145, 1, 1), (8, 33, 1), (8, -1, 0), (8, 4, 5)]
)
def test_plans_check_themselves(k: int, gamma: int, min_draft: int) -> None:
    """A plan has K >= 1, gamma <= 32 and min_draft <= gamma."""
    with pytest.raises(LocalError):
        Plan(number=0, k=k, gamma=gamma, min_draft=min_draft)


@pytest.mark.parametrize(
    "fields, wrong",
    [
        ({"uplink_bps": 2**32}, "uplink_bps"),
        ({"uplink_bps": -1}, "uplink_bps"),
        ({"blockwise": True, "early_stop": True}, "early_stop"),
    ],
)
def test_what_plans_may_say(fields: dict[str, Any], wrong: str) -> None:
    """A rate has 32 bits, and what is tested as a block is never stopped early; the error names the field."""
    with pytest.raises(LocalError) as caught:
        Plan(number=0, k=8, gamma=4, min_draft=4, **fields)
    assert caught.value.field == wrong


@pytest.mark.parametrize(
    "fields",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_p": 0.0},
     {"top_p": 1.1}, {"top_p": float("nan")}, {"top_k": -1}],
)  # fmt: skip
def test_sampling_checks_itself(fields: dict[str, Any]) -> None:
    """Temperature is finite and not negative, top_p in (0, 1], top_k not negative."""
    with pytest.raises(LocalError):
        Sampling(**{"temperature": 1.0, **fields})
