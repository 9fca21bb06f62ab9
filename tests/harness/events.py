"""Events as nodes tell them to an observer, whole and with values of one's choice."""

from collections.abc import Sequence

from draftwire.codecs.control_fields import Json

Event = dict[str, Json]


def step_event(device: str = "phone", **values: Json) -> Event:
    """A verification step in which two of three tested tokens were accepted."""
    told: Event = {
        "event": "step",
        "device": device,
        "request": 1,
        "step": 0,
        "k": 32,
        "gamma": 4,
        "drafted": 4,
        "seen": 3,
        "accepted": 2,
        "tokens": 3,
        "step_s": 0.05,
        "wait_s": 0.001,
        "draft_bytes": 100,
        "rows_bytes": 400,
        "acceptance": "rejection",
        "pass_sessions": 1,
    }
    return told | values


def belief_fields(**values: Json) -> Event:
    """A belief over a fast link, as a controller's decision holds it."""
    told: Event = {
        "alphas": {"8": 0.5, "32": 0.6, "320": 0.7},
        "uplink_bps": 20e6,
        "off_s_per_bit": [],
        "rtt_s": 0.02,
        "draft_step_s": 0.003,
        "target_step_s": 0.044,
        "target_per_token_s": 0.0,
        "alone_step_s": 0.044,
        "overhead_s": 0.001,
        "row_scale": 1.0,
        "plain_scale": 1.0,
        "rows": True,
        "acceptance": "rejection",
        "greedy": False,
        "vocab_size": 4096,
        "tables": "",
        "rung_bits": [],
        "tokens_per_s": 40.0,
        "alone_tokens_per_s": 22.5,
        "reason": "best",
    }
    return told | values


def decision_event(device: str = "phone", *, k: int = 32, gamma: int = 4, **belief: Json) -> Event:
    """A plan; `belief`: what is otherwise in belief_fields."""
    return {
        "event": "decision",
        "device": device,
        "request": 1,
        "step": 0,
        "at_s": 0.0,
        "k": k,
        "gamma": gamma,
        "min_draft": gamma,
        "belief": belief_fields(**belief),
    }


def link_event(
    words: str, *, direction: str = "uplink", device: str | None = None, ordered: bool = False
) -> Event:
    """What a link does from now on."""
    return {"event": "link", "direction": direction, "device": device, "ordered": ordered, "link": words}


def traffic_event(at_s: float, *links: Event) -> Event:
    """What links have carried by then, the channel's clock."""
    return {"event": "traffic", "at_s": at_s, "links": list[Json](links)}


def carried(device: str = "phone", **values: Json) -> Event:
    """One link of a traffic event."""
    told: Event = {
        "device": device,
        "direction": "uplink",
        "rate_bps": 1e6,
        "delivered_bytes": 0,
        "dropped": 0,
        "queued_bytes": 0,
    }
    return told | values


def asked_event(device: str = "phone", *, request: str = "1", prompt: str = "Why?") -> Event:
    """An answer begins."""
    return {"event": "asked", "device": device, "request": request, "prompt": prompt, "temperature": 1.0}


def tokens_event(
    device: str = "phone", *, request: str = "1", pieces: Sequence[tuple[str, str]] = (("so ", "accepted"),)
) -> Event:
    """It goes on."""
    told = [list[Json](piece) for piece in pieces]
    return {"event": "tokens", "device": device, "request": request, "pieces": list[Json](told)}


def answer_event(device: str = "phone", *, request: str = "1", **values: Json) -> Event:
    """It ends."""
    told: Event = {"event": "answer", "device": device, "request": request, "text": "so", "finish": "eos"}
    return told | {"tokens_per_s": 30.0, "first_token_s": 0.2, "alpha": 0.6} | values


__all__ = [
    "Event",
    "answer_event",
    "asked_event",
    "belief_fields",
    "carried",
    "decision_event",
    "link_event",
    "step_event",
    "tokens_event",
    "traffic_event",
]
