"""Prometheus' figures, and the table of them in the documentation."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.harness.events import (
    Event,
    answer_event,
    asked_event,
    carried,
    decision_event,
    step_event,
    tokens_event,
    traffic_event,
)

from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.metrics import IDLE_S, MAX_LABELS, OTHER, Metrics

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def heard(*events: Event, node: str = "node") -> Metrics:
    """Metrics that have heard these, a second apart."""
    hearing = Hearing()
    for number, event in enumerate(events):
        hearing.hear(node, event, float(number))
    return hearing.metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Of one series; None: there is none."""
    return metrics.registry.get_sample_value(f"draftwire_{name}", labels)


def test_steps_are_counted() -> None:
    """What a step tells is added up by device, and in buckets of its times."""
    metrics = heard(step_event(), step_event(step_s=0.3), step_event("tablet", drafted=0, seen=0, accepted=0))
    assert value(metrics, "steps_total", device="phone") == 2
    assert value(metrics, "drafted_tokens_total", device="phone") == 8
    assert value(metrics, "tested_tokens_total", device="phone") == 6
    assert value(metrics, "accepted_tokens_total", device="phone") == 4
    assert value(metrics, "draft_bytes_total", device="phone", kind="rows") == 800
    assert value(metrics, "step_seconds_count") == 3
    assert value(metrics, "step_seconds_bucket", le="0.1") == 2
    assert value(metrics, "wait_seconds_count") == 2
    assert value(metrics, "wait_seconds_sum") == 0.002
    alpha = value(metrics, "alpha_ratio", device="phone")
    assert alpha is not None and abs(alpha - 2 / 3) < 1e-9
    assert value(metrics, "alpha_ratio", device="tablet") is None


def test_answers_are_counted() -> None:
    """Tokens by origin, answers by how they ended, and their times."""
    pieces = [("a", "accepted"), ("b", "accepted"), ("c", "bonus")]
    endings = [answer_event(), answer_event(error="gone"), answer_event(finish="strange", first_token_s=None)]
    metrics = heard(asked_event(), tokens_event(pieces=pieces), *endings)
    assert value(metrics, "tokens_total", device="phone", origin="accepted") == 2
    assert value(metrics, "answers_total", device="phone", finish="eos") == 1
    assert value(metrics, "answers_total", device="phone", finish="error") == 1
    assert value(metrics, "answers_total", device="phone", finish=OTHER) == 1
    assert value(metrics, "first_token_seconds_count") == 2
    assert value(metrics, "answer_tokens_per_second_sum") == 90


def test_a_channels_counts_only_rise() -> None:
    """A channel counts from its start; one that begins anew takes nothing away."""
    totals = (1000, 3000, 3000, 500)
    told = [carried(delivered_bytes=total, dropped=total // 100) for total in totals]
    metrics = heard(*(traffic_event(at_s, one) for at_s, one in enumerate(told)))
    assert value(metrics, "link_bytes_total", device="phone", direction="uplink") == 3500
    assert value(metrics, "link_dropped_messages_total", device="phone", direction="uplink") == 35


def test_rates_true_and_estimated() -> None:
    """Both are bits a second; +Inf stands for no limit."""
    metrics = heard(traffic_event(0, carried(rate_bps=None)), decision_event(uplink_bps=2e6))
    assert value(metrics, "link_rate_bps", device="phone", direction="uplink") == float("inf")
    assert value(metrics, "estimated_rate_bps", device="phone") == 2e6


def test_nodes_are_up_or_not() -> None:
    """A node that was heard within 12 s is up."""
    metrics = heard({"event": "alive", "role": "channel"}, node="channel")
    metrics.text(5.0)
    assert value(metrics, "node_up", node="channel", role="channel") == 1
    metrics.text(50.0)
    assert value(metrics, "node_up", node="channel", role="channel") == 0


def test_bad_events_are_counted() -> None:
    """By the node that tells them."""
    metrics = heard({"event": "step"}, {"event": "strange"}, node="bs")
    assert value(metrics, "bad_events_total", node="bs") == 1
    assert value(metrics, "events_total", node="bs") == 2


def test_labels_are_bounded() -> None:
    """However many devices and nodes come, series do not grow without end."""
    hearing = Hearing()
    metrics = hearing.metrics
    for number in range(10 * MAX_LABELS):
        for event in (step_event(f"phone-{number}"), decision_event(f"phone-{number}")):
            hearing.hear(f"node-{number}", event, 0.0)
        hearing.hear(f"node-{number}", traffic_event(0, carried(f"phone-{number}", delivered_bytes=1)), 0.0)
    assert value(metrics, "steps_total", device=OTHER) == 9 * MAX_LABELS
    assert value(metrics, "link_bytes_total", device=OTHER, direction="uplink") == 9 * MAX_LABELS
    families = text_string_to_metric_families(metrics.text(1.0).decode())
    assert max(len(family.samples) for family in families) <= 4 * (MAX_LABELS + 1)


def test_the_target_alone_has_no_k() -> None:
    """A step without drafts has whatever K its plan had, which means nothing."""
    metrics = heard(step_event(k=64, gamma=0, drafted=0, seen=0, accepted=0))
    assert (value(metrics, "k", device="phone"), value(metrics, "gamma", device="phone")) == (0, 0)


def flooded(at_s: float = 0.0) -> Hearing:
    """One key has told under more names than there are labels."""
    hearing = Hearing()
    for number in range(2 * MAX_LABELS):
        name = f"phone/{number}"
        hearing.hear(name, {"event": "alive", "role": "device"}, at_s)
        hearing.hear(name, tokens_event(name), at_s)
    return hearing


def test_one_key_takes_no_label_of_another() -> None:
    """Whoever comes behind a key that took all labels gets one, and that key's others keep theirs."""
    hearing = flooded()
    metrics = hearing.metrics
    assert value(metrics, "tokens_total", device=OTHER, origin="accepted") == MAX_LABELS
    hearing.hear("tablet", tokens_event("tablet"), 1.0)
    assert value(metrics, "tokens_total", device="tablet", origin="accepted") == 1
    assert value(metrics, "tokens_total", device="phone/0", origin="accepted") is None
    hearing.hear("phone/99", tokens_event("phone/99"), 1.0)
    assert value(metrics, "tokens_total", device="phone/1", origin="accepted") == 1
    hearing.hear("tablet/2", tokens_event("tablet/2"), 1.0)
    assert value(metrics, "tokens_total", device="tablet", origin="accepted") == 1


def test_labels_of_the_other_roles_are_their_own() -> None:
    """However many devices come, the target, the channel and the controller are counted by name."""
    hearing = flooded()
    told = {"target": step_event(), "controller": decision_event(), "channel": traffic_event(0, carried())}
    for role, event in told.items():
        hearing.hear(role, event, 1.0)
        hearing.hear(role, {"event": "alive", "role": role}, 1.0)
    for number in range(MAX_LABELS, 2 * MAX_LABELS):
        hearing.hear(f"phone/{number}", {"event": "asked", "role": "target"}, 1.0)
    hearing.metrics.text(2.0)
    for role in told:
        assert value(hearing.metrics, "events_total", node=role) == 2
        assert value(hearing.metrics, "node_up", node=role, role=role) == 1
    assert value(hearing.metrics, "events_total", node=f"phone/{MAX_LABELS}") is None


def test_labels_of_the_silent_are_free_again() -> None:
    """A name that nothing was heard of for an hour gives its label up; one that is heard of does not."""
    hearing = Hearing()
    metrics = hearing.metrics
    for number in range(MAX_LABELS):
        hearing.hear(f"phone-{number}", tokens_event(f"phone-{number}"), 0.0)
    hearing.hear("phone-0", tokens_event("phone-0"), IDLE_S - 1)
    hearing.hear("late", tokens_event("late"), IDLE_S - 1)
    assert value(metrics, "tokens_total", device="late", origin="accepted") is None
    hearing.hear("late", tokens_event("late"), IDLE_S)
    assert value(metrics, "tokens_total", device="late", origin="accepted") == 1
    assert value(metrics, "events_total", node="late") == 1
    assert value(metrics, "tokens_total", device="phone-0", origin="accepted") == 2
    assert value(metrics, "tokens_total", device="phone-1", origin="accepted") is None
    assert value(metrics, "events_total", node="phone-1") is None


def test_the_page_and_the_metrics_say_the_same_alpha() -> None:
    """Both are told of one reckoning."""
    hearing = Hearing()
    for number in range(30):
        hearing.hear("target", step_event(seen=4, accepted=number % 5), float(number))
    now = hearing.observation.feed("phone", None, 30.0)[0]["now"]
    assert isinstance(now, dict) and isinstance(now["alpha"], float)
    alpha = value(hearing.metrics, "alpha_ratio", device="phone")
    assert alpha is not None and abs(alpha - now["alpha"]) < 1e-3


def test_the_documentation_names_every_metric() -> None:
    """The table has each metric with its kind and labels, and none that there is not."""
    text = OPERATIONS.read_text()
    table = text[text.index("### Metrics") :].split("\n## ")[0]
    rows = re.findall(r"^\| `(draftwire_\w+)` \| (\w+) \| (.*?) \|", table, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    there = {
        family.name + "_total" * (family.type == "counter"): family.type
        for family in heard().registry.collect()
    }
    assert {name: kind for name, (kind, _) in documented.items()} == there
    metrics = heard(
        step_event(),
        decision_event(),
        asked_event(),
        tokens_event(),
        answer_event(),
        traffic_event(0, carried()),
        {"event": "step"},
    )
    metrics.text(1.0)
    for family in metrics.registry.collect():
        for sample in family.samples:
            if family.type != "histogram":
                assert set(sample.labels) == set(documented[sample.name][1]), sample.name
