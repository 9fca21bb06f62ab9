"""Messages of the observer's feed for tests of its page: an empty one, and one of a whole evening."""

import math
import random
from typing import Any, Final

from tests.harness.page_stage import Message

DEVICE: Final = "device"
PROMPT: Final = "Why is the sky blue?"
TEXT: Final = (
    "The sky looks blue because of the way air scatters light. Sunlight holds every colour of the "
    "rainbow, and as it passes through the atmosphere it meets molecules of nitrogen and oxygen that "
    "are much smaller than its wavelengths. They scatter short waves far more than long ones, so blue "
    "light is sent in all directions and reaches your eyes from every part of the sky, while red and "
    "yellow pass nearly straight through. At sunset the light takes a longer path, most of the blue is "
    "lost on the way, and what is left is red."
)

RIVERS: Final = "The Danube, the Rhine and the Volga."

LINK: Final[Message] = {
    "uplink": "rate 1mbit delay 20ms 3ms",
    "downlink": "rate 1mbit delay 20ms 3ms",
    "controllable": True,
    "rate_bps": 1e6,
    "delay_s": 0.02,
    "loss": 0.0,
}


def empty(**fields: Any) -> Message:
    """A feed that has heard of nothing, but for `fields`."""
    nothing: Message = {
        "at_s": 0.0,
        "device": None,
        "devices": [],
        "asks": None,
        "nodes": {role: {"state": "unknown", "detail": ""} for role in ROLES},
        "link": None,
        "flow": {},
        "plan": None,
        "now": {"alpha": None, "tokens_per_s": None, "target_only_tokens_per_s": None, "estimated_bps": None},
        "points": [],
        "answers": [],
        "decisions": [],
    }
    return nothing | fields


ROLES: Final = ("device", "channel", "target", "controller")


def flow(
    rate_bps: float | None = 1e6, *, queued_bytes: int = 0, dropped: int = 0, idle: bool = False
) -> Message:
    """Both ways, at about half of the rate up; nothing where it is idle."""
    up = 0.0 if idle else 5e4 if rate_bps is None else rate_bps / 8 * 0.53
    ways = (("uplink", up, 248_310), ("downlink", up / 9, 31_020))
    return {
        name: {
            "bytes_per_s": bytes_per_s,
            "rate_bps": rate_bps,
            "queued_bytes": queued_bytes if name == "uplink" else 0,
            "dropped": dropped if name == "uplink" else 0,
            "total_bytes": total,
        }
        for name, bytes_per_s, total in ways
    }


def points(count: int, *, from_s: float = 0.0) -> list[Message]:
    """One each 0.5 s over a link that goes 20, 1, 0.1, 1 Mbit/s, each for a quarter of the time."""
    coins = random.Random(3)
    made, believed, speed = [], 2e7, 15.0
    for at in range(count):
        rate = (2e7, 1e6, 1e5, 1e6)[4 * at // count]
        believed *= (rate / believed) ** 0.2
        k = (320, 96, 0, 96)[4 * max(0, at - 8) // count]
        gamma = (5, 3, 0, 3)[4 * max(0, at - 8) // count]
        aim = (19.4, 16.4, 13.9, 16.6)[4 * max(0, at - 6) // count] - (4 if rate / believed < 0.4 else 0)
        speed += 0.25 * (aim - speed) + coins.gauss(0, 0.35)
        alone = 14.4 + 0.4 * math.sin(at / 17)
        alpha = 0.41 + 0.06 * math.sin(at / 9) + coins.gauss(0, 0.012)
        made.append(
            {
                "at_s": from_s + at / 2,
                "rate_bps": rate,
                "estimated_bps": believed * (1 + coins.gauss(0, 0.03)),
                "alpha": alpha if gamma else None,
                "k": k or None,
                "gamma": gamma,
                "tokens_per_s": speed,
                "target_only_tokens_per_s": alone,
            }
        )
    return made


def pieces(text: str = TEXT, *, seed: int = 5) -> list[list[str]]:
    """Its words as tokens, with origins that follow each other as in blocks."""
    coins = random.Random(seed)
    made: list[list[str]] = []
    words = text.split(" ")
    while len(made) < len(words):
        block = 0
        while block < 4 and coins.random() < 0.62:
            made.append(["", "accepted"])
            block += 1
        made.append(["", "bonus" if block == 4 else "corrected"])
    tail = max(0, len(words) - 9)
    return [
        [(" " if at else "") + word, "alone" if at >= tail else made[at][1]] for at, word in enumerate(words)
    ]


def answer(request: str = "a1", *, state: str = "running", prompt: str = PROMPT, **fields: Any) -> Message:
    """An answer of the feed; a running one has no summary."""
    done = state != "running"
    summary = {
        "tokens": 97,
        "tokens_per_s": 17.9,
        "target_only_tokens_per_s_estimated": 14.4,
        "alpha": 0.41,
        "bytes_up": 48_310,
        "bytes_down": 6_020,
        "first_token_s": 0.183,
    }
    plain: Message = {
        "request": request,
        "prompt": prompt,
        "state": state,
        "detail": "stop" if done else "",
        "pieces": [],
        "summary": summary if done else None,
    }
    return plain | fields


def evening() -> Message:
    """All that a page can show at once."""
    shown = points(240)
    end_s = shown[-1]["at_s"]
    told = (
        (end_s - 118.0, "K 64 -> 320, gamma 3 -> 5: the link is faster than believed, 18 Mbit/s"),
        (end_s - 85.2, "K 320 -> 96: the link fell to 1.1 Mbit/s"),
        (end_s - 84.1, "gamma 5 -> 3: the link fell to 1 Mbit/s"),
        (end_s - 55.7, "target alone: drafts would give 9.8 tok/s, the target alone 14.5"),
        (end_s - 26.3, "drafts again, K 96, gamma 3: the link rose to 0.8 Mbit/s"),
    )
    last = shown[-1]
    return empty(
        at_s=end_s,
        device=DEVICE,
        devices=[DEVICE],
        asks="SmolLM2-135M-Instruct",
        nodes={
            "device": {"state": "up", "detail": DEVICE},
            "channel": {"state": "up", "detail": ""},
            "target": {"state": "up", "detail": "1 session a pass"},
            "controller": {"state": "up", "detail": ""},
        },
        link=LINK,
        flow=flow(queued_bytes=3_840, dropped=0),
        plan={"k": 96, "gamma": 3, "alone": False, "acceptance": "rejection"},
        now={
            "alpha": last["alpha"],
            "tokens_per_s": last["tokens_per_s"],
            "target_only_tokens_per_s": last["target_only_tokens_per_s"],
            "estimated_bps": last["estimated_bps"],
        },
        points=shown,
        answers=[
            answer("a0", state="done", prompt="Name three rivers in Europe.", pieces=pieces(RIVERS)),
            answer("a1", pieces=pieces()),
        ],
        decisions=[{"at_s": at_s, "text": text} for at_s, text in told],
    )


__all__ = [
    "DEVICE",
    "LINK",
    "PROMPT",
    "RIVERS",
    "TEXT",
    "answer",
    "empty",
    "evening",
    "flow",
    "pieces",
    "points",
]
