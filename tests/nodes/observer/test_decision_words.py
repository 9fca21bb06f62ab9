"""Decisions in words: what is told, when, and why."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.harness.events import decision_event

from draftwire.nodes.observer.heard import Decision, read
from draftwire.nodes.observer.words import CLOSE, Teller, digits

Plan = tuple[int, int]


def decision(k: int, gamma: int, **belief: Any) -> Decision:
    """A decision of the controller."""
    told = read(decision_event(k=k, gamma=gamma, **belief))
    assert isinstance(told, Decision)
    return told


def lines(decisions: Sequence[Decision], *, every_s: float = 0.1, sessions: Sequence[int] = ()) -> list[str]:
    """What is told of decisions that follow one another."""
    teller, told = Teller(), list[str]()
    for number, one in enumerate(decisions):
        crowd = sessions[number] if sessions else 1
        words = teller.hear(one, sessions=crowd, now_s=number * every_s)
        told += [words] if words is not None else []
    return told


def change(before: Plan, after: Plan, **belief: Any) -> str:
    """What is told of the second plan, when the belief is otherwise as told."""
    first, second = [decision(*before)] * 20, [decision(*after, **belief)] * 20
    told = lines([*first, *second])
    assert len(told) == 2, told
    return told[1]


SLOW = {"uplink_bps": 1e5, "rtt_s": 0.03}
ALPHAS = {"8": 0.21, "32": 0.31, "320": 0.4}


@pytest.mark.parametrize(
    ("before", "after", "belief", "words"),
    [
        ((320, 4), (24, 4), {"uplink_bps": 0.4e6}, "K 320 -> 24: the link fell to 0.4 Mbit/s"),
        ((32, 4), (320, 4), {"uplink_bps": 150e6}, "K 32 -> 320: the link rose to 150 Mbit/s"),
        ((32, 4), (320, 4), {"uplink_bps": None}, "K 32 -> 320: the link has no limit"),
        ((32, 4), (32, 2), {"alphas": ALPHAS}, "gamma 4 -> 2: acceptance fell to 0.31"),
        ((32, 2), (32, 6), {"rtt_s": 0.12}, "gamma 2 -> 6: the round trip rose to 120 ms"),
        ((32, 6), (32, 2), {"rtt_s": 0.001}, "gamma 6 -> 2: the round trip fell to 1 ms"),
        ((32, 6), (32, 2), {"rtt_s": 0.12}, f"gamma 6 -> 2: {CLOSE}"),
        ((32, 2), (32, 7), {"rtt_s": 0.001}, f"gamma 2 -> 7: {CLOSE}"),
        ((32, 2), (32, 7), {"alphas": ALPHAS}, f"gamma 2 -> 7: {CLOSE}"),
        ((32, 2), (32, 7), {"alphas": {"32": 0.9}}, "gamma 2 -> 7: acceptance rose to 0.90"),
        ((32, 7), (32, 2), {"alphas": {"32": 0.9}}, f"gamma 7 -> 2: {CLOSE}"),
        ((32, 6), (32, 2), {"alphas": ALPHAS, "rtt_s": 0.5}, "gamma 6 -> 2: acceptance fell to 0.31"),
        ((32, 2), (32, 4), {"draft_step_s": 0.02}, f"gamma 2 -> 4: {CLOSE}"),
        ((32, 2), (32, 4), {"draft_step_s": 0.001}, "gamma 2 -> 4: a drafted token fell to 1 ms"),
        ((32, 4), (32, 2), {"target_step_s": 0.2}, f"gamma 4 -> 2: {CLOSE}"),
        ((32, 4), (32, 2), {"target_step_s": 0.02}, "gamma 4 -> 2: the target's pass fell to 20 ms"),
        ((320, 4), (24, 6), {"uplink_bps": 0.4e6}, "K 320 -> 24, gamma 4 -> 6: the link fell to 0.4 Mbit/s"),
        ((32, 4), (32, 2), {"draft_step_s": 0.02}, "gamma 4 -> 2: a drafted token rose to 20 ms"),
        ((32, 2), (32, 4), {"target_step_s": 0.2}, "gamma 2 -> 4: the target's pass rose to 200 ms"),
        ((320, 4), (24, 2), SLOW, "K 320 -> 24, gamma 4 -> 2: the link fell to 0.1 Mbit/s"),
        ((320, 4), (640, 2), {"uplink_bps": 2e5}, f"K 320 -> 640, gamma 4 -> 2: {CLOSE}"),
        ((32, 4), (64, 4), {}, f"K 32 -> 64: {CLOSE}"),
        ((32, 4), (64, 4), {"rtt_s": 0.021, "uplink_bps": 19e6}, f"K 32 -> 64: {CLOSE}"),
        ((32, 4), (8, 4), {"reason": "pinned"}, "K 32 -> 8: the user fixed it"),
        ((32, 0), (32, 2), {"rtt_s": 0.001}, "drafts again, K 32, gamma 2: the round trip fell to 1 ms"),
        ((32, 0), (32, 2), {"rtt_s": 0.9}, f"drafts again, K 32, gamma 2: {CLOSE}"),
        ((32, 0), (32, 2), {"reason": "retry"}, "drafts again: a try after 2 s alone"),
    ],
)
def test_a_change_has_its_cause(before: Plan, after: Plan, belief: dict[str, Any], words: str) -> None:
    """The estimate that moved most, relative to what was told last, is why; what speaks against it is not."""
    assert change(before, after, **belief) == words


def test_the_target_alone_says_what_drafts_would_give() -> None:
    """Two speeds say more than a cause: that of the best drafts is reckoned from the very belief."""
    words = change((32, 4), (32, 0), uplink_bps=1e4, alone_tokens_per_s=17.5, reason="alone")
    drafts = float(words.removeprefix("target alone: drafts would give ").split()[0])
    assert words.endswith("tok/s, the target alone 17.5") and 0 < drafts < 17.5


def test_the_target_alone_in_a_crowd_has_a_cause() -> None:
    """Where each by itself would rather draft, no speed is compared that says the opposite."""
    first, second = [decision(32, 4)] * 20, [decision(32, 0, reason="alone")] * 20
    told = lines([*first, *second], sessions=[1] * 20 + [8] * 20)
    assert told[1] == "target alone, 22.5 tok/s: 8 requests share the target, 1 before"


def test_only_ids() -> None:
    """Where only ids travel K means nothing, and how many ids are waited for does."""
    told = lines([decision(1, 8, rows=False)] * 20 + [decision(320, 4, rows=False, uplink_bps=1e5)] * 20)
    assert told == [
        "gamma 8, waits for all: the first plan, for a link of 20 Mbit/s",
        "gamma 8 -> 4: the link fell to 0.1 Mbit/s",
    ]


def test_a_look_and_a_chance_are_no_change() -> None:
    """Looks at a larger K, and plans that do not stay, are not told."""
    flips = [decision(320, 4), decision(32, 4), decision(32, 5)] * 10
    looks = [decision(640, 4, reason="explore")] * 20
    assert len(lines([decision(32, 4), *flips, *looks])) == 1


def test_a_line_a_second_at_most() -> None:
    """However fast plans change, nobody has to read more than a line a second."""
    plans = [decision((8, 320)[number // 8 % 2], 4) for number in range(200)]
    assert 5 <= len(lines(plans)) <= 20


def test_a_slow_drift_is_told() -> None:
    """A plan that moves by single notches is told when it stays."""
    plans = [decision(32, 4)] * 30 + [decision(64, 4)] * 30 + [decision(128, 4)] * 30
    assert [one.partition(":")[0] for one in lines(plans)[1:]] == ["K 32 -> 64", "K 64 -> 128"]


def test_what_was_pending_has_its_own_cause() -> None:
    """A plan that a request ends with, and the next one minutes later begins with, is told with what was
    believed when it was first chosen.
    """
    teller = Teller()
    before, now = decision(320, 4), decision(24, 4, uplink_bps=0.4e6)
    later = decision(24, 4, uplink_bps=0.4e6, alphas=ALPHAS, rtt_s=9.0)
    times = ((before, 0.0), (before, 1.0), (now, 1.1), (now, 1.2), (later, 300.0), (later, 302.0))
    told = [teller.hear(one, sessions=1, now_s=now_s) for one, now_s in times]
    assert [words for words in told[1:] if words] == ["K 320 -> 24: the link fell to 0.4 Mbit/s"]


def test_a_policy_without_a_model() -> None:
    """A decision that rests on no belief is told as what it is."""
    event = decision_event(k=32, gamma=4) | {"belief": None}
    first, second = read(event), read(event | {"gamma": 1})
    assert isinstance(first, Decision) and isinstance(second, Decision)
    assert lines([first] * 20 + [second] * 20)[1] == "gamma 4 -> 1: a policy without a model"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.4, "0.4"), (0.364, "0.36"), (1.13, "1.1"), (20.0, "20"), (19.96, "20"), (150.2, "150")],
)
def test_few_digits(value: float, words: str) -> None:
    """Two or three digits, and no exponent."""
    assert digits(value) == words


def test_no_exponent_however_small() -> None:
    """A rate of a few bits is no 1e-06 Mbit/s."""
    assert "e" not in digits(3e-6)
