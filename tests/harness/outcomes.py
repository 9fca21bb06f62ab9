"""Outcomes and records as literals, for tests of what is made of them."""

from pathlib import Path
from typing import Any

import orjson

from draftwire.nodes.console.outcome import Outcome, Scene, Setting

LINK = "rate 20mbit delay 5ms"


def outcome(setting: Setting, *, speed: float = 10.0, **changes: Any) -> Outcome:
    """100 tokens at `speed` a second; half of what was tested is accepted where anything is drafted."""
    drafts = bool(setting.gamma is None or setting.gamma > 0)
    values: dict[str, Any] = {
        "setting": setting,
        "scene": Scene.of(LINK),
        "repeat": 0,
        "seed": 0,
        "temperature": 1.0,
        "started_at_s": 0.0,
        "seconds": 100 / speed,
        "tokens": 100,
        "token_ids": (1, 2),
        "text": "ab",
        "finish": "length",
        "seen": 80 if drafts else 0,
        "accepted": 40 if drafts else 0,
        "steps": 60 if drafts else 100,
        "drafted": 120 if drafts else 0,
        "bytes_up": 5000,
        "bytes_down": 3000,
        "rows_bytes": 2400 if drafts else 0,
        "sparse_frames": 60 if drafts else 0,
        "draft_step_s": 0.004 if drafts else None,
        "target_step_s": 0.04,
        "k_used": setting.k,
        "gamma_used": setting.gamma,
        "vocab_size": 32_000,
    }
    return Outcome(**(values | changes))


def belief(**changes: Any) -> dict[str, Any]:
    """A controller's belief, as a record holds it."""
    values: dict[str, Any] = {
        "alphas": {"8": 0.5, "32": 0.58, "320": 0.62},
        "uplink_bps": 20e6,
        "rtt_s": 0.010,
        "draft_step_s": 0.003,
        "target_step_s": 0.045,
        "target_per_token_s": 0.0005,
        "alone_step_s": 0.044,
        "overhead_s": 0.0005,
        "row_scale": 1.0,
        "rows": True,
        "vocab_size": 32_000,
        "tokens_per_s": 30.0,
        "alone_tokens_per_s": 22.0,
        "off_s_per_bit": [],
        "reason": "best",
    }
    return values | changes


def step(number: int, *, ends_s: float, position: int, **changes: Any) -> dict[str, Any]:
    """A verification step's line."""
    values: dict[str, Any] = {
        "event": "step",
        "device": "device-1",
        "request": 7,
        "step": number,
        "k": 320,
        "gamma": 4,
        "position": position,
        "drafted": 4,
        "seen": 3,
        "accepted": 2,
        "computed": 5,
        "step_s": 0.045,
        "wait_s": 0.0,
        "hold_s": 0.05,
        "draft_bytes": 60,
        "rows_bytes": 900,
        "alone": False,
        "temperature": 1.0,
        "device_step_s": 0.003,
        "ended_at_s": ends_s,
        "pinned_k": None,
        "pinned_gamma": None,
    }
    return values | changes


def decision(number: int, *, at_s: float, k: int, gamma: int, **beliefs: Any) -> dict[str, Any]:
    """A decision's line."""
    return {
        "event": "decision",
        "device": "device-1",
        "request": 7,
        "step": number,
        "at_s": at_s,
        "k": k,
        "gamma": gamma,
        "belief": belief(**beliefs),
    }


def link(
    at_s: float, rate_bps: float | None, direction: str = "uplink", **others: Any
) -> dict[str, Any]:
    """A link's line, as older versions wrote it; `others` are what it has besides."""
    values = {"event": "link", "direction": direction, "link": "rate x", "rate_bps": rate_bps}
    return values | {"delay_s": 0.005, "jitter_s": 0.0, "at_s": at_s} | others


def pipelined_steps(count: int, *, request: int = 9, begins_s: float = 300.0) -> list[dict[str, Any]]:
    """Passes of 50 ms over 0, 1, 2, 0, .. ids, each with one token more; the plan changes halfway."""
    lines, position = list[dict[str, Any]](), 10
    for number in range(count):
        at_s, tested = begins_s + 0.05 * (number + 1), number % 3
        gamma, waits = (8, 0) if 2 * number < count else (4, 4)
        how = {"request": request, "gamma": gamma, "min_draft": waits, "early_stop": True}
        told = {"acceptance": "coupled", "drafted": tested, "seen": 3, "accepted": 2, "tokens": tested + 1}
        lines.append(step(number, ends_s=at_s, position=position, **how, **told, pinned_min_draft=None))
        believes: dict[str, Any] = {"rows": False, "acceptance": "coupled", "greedy": False}
        believes |= {"alphas": {"32": 0.6}, "tokens_per_s": 40.0}
        chances = [0.6**n for n in range(17)]
        made = decision(number, at_s=at_s, k=32, gamma=gamma, survives=chances, **believes)
        lines.append(made | {"request": request, "min_draft": waits, "early_stop": True})
        position += tested + 1
    return lines


def falling_link() -> list[dict[str, Any]]:
    """40 steps of 0.1 s, 3 tokens each; after 2 s the link falls from 20 to 0.1 Mbit/s, the choice too."""
    lines = [link(99.0, 20e6), link(99.0, 20e6, "downlink"), link(102.0, 0.1e6)]
    for number in range(40):
        at_s = 100.1 + 0.1 * number
        fast = number < 20
        k, gamma = (320, 4) if fast else (8, 2)
        lines.append(step(number, ends_s=at_s, position=10 + 3 * number, k=k, gamma=gamma))
        lines.append(decision(number, at_s=at_s, k=k, gamma=gamma, uplink_bps=20e6 if fast else 0.1e6))
    return lines


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    """A record of these lines."""
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path
