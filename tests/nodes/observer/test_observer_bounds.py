"""An observer's bounds: what is forgotten, for whose sake, and who loses nothing."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from tests.harness.events import (
    Event,
    answer_event,
    asked_event,
    decision_event,
    step_event,
    tokens_event,
)

from draftwire.nodes.observer import state
from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.state import Cursor


def heard_all(*events: Event) -> Hearing:
    """What has heard these, 0.6 s apart."""
    heard = Hearing()
    for number, event in enumerate(events):
        heard.hear("phone", event, number * 0.6)
    return heard


def fed(heard: Hearing, now_s: float, device: str | None = None) -> dict[str, Any]:
    """All that is told now."""
    return heard.observation.feed(device, None, now_s)[0]


def answered(heard: Hearing, device: str, at_s: float, *, request: str = "1", text: str = "x" * 1000) -> None:
    """A device has told of a whole answer, of a hundred pieces."""
    heard.hear(device, asked_event(device, request=request), at_s)
    heard.hear(device, tokens_event(device, request=request, pieces=[(text, "alone")] * 100), at_s)
    heard.hear(device, answer_event(device, request=request), at_s)


def held(heard: Hearing, device: str) -> int:
    """Characters that are kept of a device's answers."""
    answers = heard.observation.feed(device, None, 1e3)[0]["answers"]
    return len(orjson.dumps(answers)) if answers else 0


@pytest.mark.parametrize(
    ("what", "most", "event"),
    [
        ("points", 1200, lambda n: step_event()),
        ("decisions", 200, lambda n: decision_event(k=(8, 320)[n // 3 % 2])),
        ("answers", 20, lambda n: asked_event(request=str(n))),
        ("devices", 256, lambda n: step_event(f"phone-{n}")),
    ],
)
def test_everything_is_bounded(what: str, most: int, event: Callable[[int], Event]) -> None:
    """The oldest is forgotten, and a page that has not seen all of it begins anew."""
    heard = heard_all(*(event(n) for n in range(5 * most)))
    assert len(fed(heard, 1e4)[what]) == most
    if what != "devices":
        cursor = Cursor(None, 1, 1)
        assert heard.observation.feed(None, cursor, 1e4)[0]["full"]


def test_answers_of_all_devices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices answer, and what, the oldest answers of those heard longest ago go first."""
    monkeypatch.setattr(state, "MAX_BYTES", 1_000_000)
    heard = Hearing()
    for number in range(20):
        for request in ("1", "2"):
            answered(heard, f"phone-{number % 10}", float(number), request=request + str(number))
    kept = [held(heard, f"phone-{number}") for number in range(10)]
    assert 500_000 < sum(kept) <= 1_000_000
    assert kept[9] > 2 * kept[0] > 0  # of the first there is its last one


@pytest.mark.parametrize(("fill", "names"), [("summaries", 40), ("emoji", 20), ("no text", 5)])
def test_nothing_gets_round_the_bound(monkeypatch: pytest.MonkeyPatch, fill: str, names: int) -> None:
    """Summaries, wide letters and what holds texts count; answers without a piece hold nothing back."""
    monkeypatch.setattr(state, "MAX_BYTES", 2_000_000)
    heard, face = Hearing(), "\U0001f600"
    events: dict[str, Callable[[str], Event]] = {
        "summaries": lambda name: answer_event(name, **{f"s{n}": face * 490 + str(n) for n in range(40)}),
        "emoji": lambda name: tokens_event(
            name, pieces=[(face * 4095 + chr(97 + n), "bonus") for n in range(12)]
        ),
        "no text": lambda name: tokens_event(name, pieces=[("", "bonus")] * 4096),
    }
    tracemalloc.start()
    try:
        for number in range(names):
            name = f"phone/{number}"
            heard.hear(name, asked_event(name, request="empty", prompt=""), 0.0)
            heard.hear(name, orjson.loads(orjson.dumps(events[fill](name))), 0.0)
        assert tracemalloc.get_traced_memory()[0] < 2.8e6
    finally:
        tracemalloc.stop()


def test_a_last_answer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten for another one's sake is never the last answer of a device while others have two."""
    monkeypatch.setattr(state, "MAX_BYTES", 500_000)
    heard = Hearing()
    answered(heard, "phone/1", 0.0)
    before = held(heard, "phone/1")
    for number in range(30):
        answered(heard, "phone/2", 1.0, request=str(number))
        assert held(heard, "phone/1") == before


def test_answers_of_one_key_take_no_room_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that tells more than there is room for forgets its own answers."""
    monkeypatch.setattr(state, "MAX_BYTES", 1_000_000)
    heard = Hearing()
    for request in ("1", "2"):
        answered(heard, "tablet", 0.0, request=request)
    before = held(heard, "tablet")
    for number in range(40):
        answered(heard, f"phone/{number % 20}", 1.0, request=str(number))
    assert held(heard, "tablet") == before


def test_names_of_one_key_hide_no_other() -> None:
    """A device's key may go by any names below its own; those of other keys stay as they are."""
    heard = Hearing()
    for name in ("tablet", "laptop/1"):
        heard.hear(name, asked_event(name, prompt="Honest?"), 0.0)
    for number in range(1000):
        heard.hear(f"phone/{number}", asked_event(f"phone/{number}"), 1.0)
    assert len(fed(heard, 2.0)["devices"]) == 256
    for name in ("tablet", "laptop/1"):
        message = fed(heard, 2.0, name)
        assert [answer["prompt"] for answer in message["answers"]] == ["Honest?"]
        assert message["nodes"]["device"]["state"] == "up"
    heard.hear("watch", asked_event("watch"), 2.0)
    assert "watch" in fed(heard, 2.0)["devices"]


def test_texts_are_bounded() -> None:
    """Of an answer the last 64 K characters stay, and of all answers together so many pieces."""
    long = heard_all(asked_event(), *[tokens_event(pieces=[("x" * 1000, "alone")] * 10)] * 10)
    (answer,) = fed(long, 1.0)["answers"]
    assert sum(len(text) for text, _ in answer["pieces"]) == 65_000
