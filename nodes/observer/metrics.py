"""Prometheus' figures of all nodes, from the events that an observer hears. Pure: time is an argument.

A label has a bounded number of values: devices beyond the first MAX_LABELS, and nodes likewise, count
together as `other`.
"""

from collections.abc import Mapping
from math import inf
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from draftwire.codecs.control_fields import Json
from draftwire.codecs.messages import Finish
from draftwire.nodes.observer.heard import (
    Alive,
    Asked,
    Carried,
    Decision,
    Ended,
    LinkTold,
    OddEvent,
    Step,
    Tokens,
    Traffic,
    read,
)
from draftwire.nodes.observer.presence import Presence
from draftwire.nodes.observer.recent import Alpha
from draftwire.runtime.memory import remember

MAX_LABELS: Final = 64
OTHER: Final = "other"

MAX_COUNTED: Final = 1024
"""Links and devices whose last counts are remembered; what comes back afterwards counts from nothing."""

TIMES_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SPEEDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 200.0, 500.0)
FINISHES: Final = tuple(finish.name.lower() for finish in Finish if finish is not Finish.RUNNING)


class Metrics:
    """A sink of an observer, and the text that Prometheus reads."""

    def __init__(self) -> None:
        # A second series beside each of ours says when it was made, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._make_counters()
        self._make_gauges()
        self._make_histograms()
        self._devices, self._nodes = _Labels(), _Labels()
        self._presence = Presence()
        self._alphas = dict[str, Alpha]()
        self._carried = dict[tuple[str, str], Carried]()

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        """A node tells this."""
        of_node = self._nodes.label(node)
        self._events.labels(of_node).inc()
        try:
            told = read(event)
        except OddEvent:
            self._bad_events.labels(of_node).inc()
            return
        match told:
            case Alive():
                self._presence.hear(told.role, node, at_s)
            case Step():
                self._presence.hear("target", node, at_s)
                self._step(told)
            case Decision():
                self._presence.hear("controller", node, at_s)
                self._decision(told)
            case Traffic():
                self._presence.hear("channel", node, at_s)
                for carried in told.links:
                    self._link(carried)
            case LinkTold():
                self._presence.hear("channel", node, at_s)
            case Asked():
                self._presence.hear("device", node, at_s)
            case Tokens():
                self._presence.hear("device", node, at_s)
                for _, origin in told.pieces:
                    self._tokens.labels(self._devices.label(told.device), origin).inc()
            case Ended():
                self._presence.hear("device", node, at_s)
                self._ended(told)

    def text(self, now_s: float) -> bytes:
        """All figures, in Prometheus' text; which nodes are there, by now."""
        self._node_up.clear()
        for (role, node), up in self._presence.up(now_s).items():
            label = self._nodes.label(node)
            if label != OTHER:
                self._node_up.labels(label, role).set(up)
        return generate_latest(self.registry)

    def _make_counters(self) -> None:
        self._events = self._counter("events", "Events heard", "node")
        self._bad_events = self._counter("bad_events", "Events that were not what their name says", "node")
        self._steps = self._counter("steps", "Verification steps of the target", "device")
        self._tokens = self._counter("tokens", "Tokens of answers, as devices told them", "device", "origin")
        self._drafted = self._counter("drafted_tokens", "Drafted tokens in blocks that were tested", "device")
        self._tested = self._counter("tested_tokens", "Drafted tokens tested, rejected ones too", "device")
        self._accepted = self._counter("accepted_tokens", "Drafted tokens accepted", "device")
        self._draft_bytes = self._counter("draft_bytes", "Bytes that blocks came in", "device", "kind")
        self._link_bytes = self._counter("link_bytes", "Bytes that links delivered", "device", "direction")
        self._dropped = self._counter(
            "link_dropped_messages", "Messages that links dropped", "device", "direction"
        )
        self._answers = self._counter("answers", "Answers that ended", "device", "finish")

    def _make_gauges(self) -> None:
        self._k = self._gauge("k", "K of the last step, 0: the target alone", "device")
        self._gamma = self._gauge("gamma", "gamma of the last step, 0: the target alone", "device")
        self._alpha = self._gauge("alpha_ratio", "Accepted of the last 40 tested tokens", "device")
        self._rate = self._gauge(
            "link_rate_bps", "True rate of a link now, +Inf: no limit", "device", "direction"
        )
        self._estimated = self._gauge(
            "estimated_rate_bps", "The uplink's rate by the controller's belief, +Inf: no limit", "device"
        )
        self._queued = self._gauge("link_queue_bytes", "Bytes that wait on a link", "device", "direction")
        self._sessions = self._gauge("pass_sessions", "Requests that shared the target's last pass")
        self._node_up = self._gauge("node_up", "1: the node is there, 0: it was", "node", "role")

    def _make_histograms(self) -> None:
        self._step_s = self._histogram("step_seconds", "Passes of the target", TIMES_S)
        self._wait_s = self._histogram("wait_seconds", "Waits for a row behind a pass", TIMES_S)
        self._first_s = self._histogram("first_token_seconds", "From a request to its first token", TIMES_S)
        self._speed = self._histogram(
            "answer_tokens_per_second", "Tokens a second of answers that ended", SPEEDS
        )

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"draftwire_{name}_total", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"draftwire_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"draftwire_{name}", what, buckets=buckets, registry=self.registry)

    def _step(self, step: Step) -> None:
        device = self._devices.label(step.device)
        self._steps.labels(device).inc()
        self._drafted.labels(device).inc(step.drafted)
        self._tested.labels(device).inc(step.seen)
        self._accepted.labels(device).inc(step.accepted)
        self._draft_bytes.labels(device, "draft").inc(step.draft_bytes)
        self._draft_bytes.labels(device, "rows").inc(step.rows_bytes)
        self._sessions.set(step.pass_sessions)
        self._step_s.observe(step.step_s)
        if step.drafted:
            self._wait_s.observe(step.wait_s)
        if device != OTHER:
            alpha = self._alphas.get(step.device) or Alpha()
            remember(self._alphas, step.device, alpha, most=MAX_COUNTED)
            alpha.observe(accepted=step.accepted, seen=step.seen)
            if alpha.value is not None:
                self._alpha.labels(device).set(alpha.value)
            self._plan(device, step.k, step.gamma)

    def _decision(self, decision: Decision) -> None:
        device, belief = self._devices.label(decision.device), decision.belief
        if device != OTHER and belief is not None:  # one gauge can't show what several devices have
            self._estimated.labels(device).set(inf if belief.uplink_bps is None else belief.uplink_bps)

    def _plan(self, device: str, k: int, gamma: int) -> None:
        self._k.labels(device).set(k if gamma else 0)
        self._gamma.labels(device).set(gamma)

    def _link(self, now: Carried) -> None:
        device, direction = self._devices.label(now.device), now.direction
        before = self._carried.get((now.device, direction))
        remember(self._carried, (now.device, direction), now, most=MAX_COUNTED)
        moved = _grown(now.delivered_bytes, None if before is None else before.delivered_bytes)
        self._link_bytes.labels(device, direction).inc(moved)
        dropped = _grown(now.dropped, None if before is None else before.dropped)
        self._dropped.labels(device, direction).inc(dropped)
        if device != OTHER:
            self._rate.labels(device, direction).set(inf if now.rate_bps is None else now.rate_bps)
            self._queued.labels(device, direction).set(now.queued_bytes)

    def _ended(self, ended: Ended) -> None:
        finish = "error" if ended.failed else ended.detail if ended.detail in FINISHES else OTHER
        self._answers.labels(self._devices.label(ended.device), finish).inc()
        if ended.first_token_s is not None:
            self._first_s.observe(ended.first_token_s)
        if ended.tokens_per_s is not None:
            self._speed.observe(ended.tokens_per_s)


class _Labels:
    """Names that have a label of their own: those that came first."""

    def __init__(self) -> None:
        self._known = set[str]()

    def label(self, name: str) -> str:
        """Its own, or OTHER."""
        if name in self._known:
            return name
        if len(self._known) == MAX_LABELS:
            return OTHER
        self._known.add(name)
        return name


def _grown(now: int, before: int | None) -> int:
    """By how much a count has grown that begins anew with whoever counts."""
    return now if before is None or now < before else now - before


__all__ = ["OTHER", "Metrics"]
