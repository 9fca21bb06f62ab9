"""Prometheus' figures of all nodes, from the events that an observer hears. Pure: time is an argument.

A label has a bounded number of values: of devices, and of the nodes of each role, MAX_LABELS have their own,
and the others count together as `other`. A name that nothing was heard of for IDLE_S gives its own up to a
new one, and so does one of a key with many, for a key with few.
"""

from collections import Counter as Tally
from collections.abc import Callable
from math import inf
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from draftwire.codecs.messages import Finish
from draftwire.nodes.observer.heard import (
    ROLES,
    Carried,
    Decision,
    Ended,
    Heard,
    Step,
    Tokens,
    Traffic,
)
from draftwire.nodes.observer.names import Names
from draftwire.nodes.observer.presence import Presence

MAX_LABELS: Final = 64
OTHER: Final = "other"

IDLE_S: Final = 3600.0

MAX_COUNTED: Final = 1024
"""Devices whose links' last counts are remembered; what comes back afterwards counts from nothing."""

TIMES_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SPEEDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 200.0, 500.0)
FINISHES: Final = tuple(finish.name.lower() for finish in Finish if finish is not Finish.RUNNING)


M = TypeVar("M", Counter, Gauge)


class Metrics:
    """What is counted, and the text that Prometheus reads."""

    def __init__(self, presence: Presence, *, alpha_of: Callable[[str], float | None]) -> None:
        """`presence`: of all nodes. `alpha_of`: a device's of late, its last step included."""
        # A second series beside each of ours says when it was made, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._of_devices = list[Counter | Gauge]()
        self._make_counters()
        self._make_gauges()
        self._make_histograms()
        self._devices = _Labels(self._forget_device)
        self._nodes = {role: _Labels(self._forget_node) for role in ROLES}
        "by role: however many devices come, no other node shares a label"
        self._presence, self._alpha_of = presence, alpha_of
        self._carried = Names[dict[str, Carried]](MAX_COUNTED)
        "by device, then by direction"

    def heard(self, node: str, role: str, at_s: float) -> None:
        """A node of that role has told something."""
        self._events.labels(self._nodes[role].label(node, at_s)).inc()

    def odd(self, node: str, role: str, at_s: float) -> None:
        """That was not what its name says."""
        self._bad_events.labels(self._nodes[role].label(node, at_s)).inc()

    def take(self, told: Heard, at_s: float) -> None:
        """It was this."""
        match told:
            case Step():
                self._step(told, at_s)
            case Decision():
                self._decision(told, at_s)
            case Traffic():
                for carried in told.links:
                    self._link(carried, at_s)
            case Tokens():
                device = self._devices.label(told.device, at_s)
                for origin, count in Tally(origin for _, origin in told.pieces).items():
                    self._tokens.labels(device, origin).inc(count)
            case Ended():
                self._ended(told, at_s)
            case _:
                pass

    def refused(self, reason: str) -> None:
        """A message came that is no event which its sender may tell; `reason`: one of a fixed few."""
        self._refused.labels(reason).inc()

    def text(self, now_s: float) -> bytes:
        """All figures, in Prometheus' text; which nodes are there, by now."""
        self._node_up.clear()
        for (role, node), up in self._presence.up(now_s).items():
            if node in self._nodes[role]:
                self._node_up.labels(node, role).set(up)
        return generate_latest(self.registry)

    def _make_counters(self) -> None:
        self._events = self._counter("events", "Events heard", "node")
        self._bad_events = self._counter("bad_events", "Events that were not what their name says", "node")
        self._refused = self._counter("refused_messages", "Messages that the observer refused", "reason")
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

    def _kept(self, metric: M, labels: tuple[str, ...]) -> M:
        if "device" in labels:
            self._of_devices.append(metric)
        return metric

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return self._kept(Counter(f"draftwire_{name}_total", what, labels, registry=self.registry), labels)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return self._kept(Gauge(f"draftwire_{name}", what, labels, registry=self.registry), labels)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"draftwire_{name}", what, buckets=buckets, registry=self.registry)

    def _step(self, step: Step, at_s: float) -> None:
        device = self._devices.label(step.device, at_s)
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
            alpha = self._alpha_of(step.device)
            if alpha is not None:
                self._alpha.labels(device).set(alpha)
            self._plan(device, step.k, step.gamma)

    def _decision(self, decision: Decision, at_s: float) -> None:
        device, belief = self._devices.label(decision.device, at_s), decision.belief
        if device != OTHER and belief is not None:  # one gauge can't show what several devices have
            self._estimated.labels(device).set(inf if belief.uplink_bps is None else belief.uplink_bps)

    def _plan(self, device: str, k: int, gamma: int) -> None:
        self._k.labels(device).set(k if gamma else 0)
        self._gamma.labels(device).set(gamma)

    def _link(self, now: Carried, at_s: float) -> None:
        device, direction = self._devices.label(now.device, at_s), now.direction
        carried = self._carried.get(now.device) or {}
        before = carried.get(direction)
        self._carried.put(now.device, carried | {direction: now})
        moved = _grown(now.delivered_bytes, None if before is None else before.delivered_bytes)
        self._link_bytes.labels(device, direction).inc(moved)
        dropped = _grown(now.dropped, None if before is None else before.dropped)
        self._dropped.labels(device, direction).inc(dropped)
        if device != OTHER:
            self._rate.labels(device, direction).set(inf if now.rate_bps is None else now.rate_bps)
            self._queued.labels(device, direction).set(now.queued_bytes)

    def _ended(self, ended: Ended, at_s: float) -> None:
        finish = "error" if ended.failed else ended.detail if ended.detail in FINISHES else OTHER
        self._answers.labels(self._devices.label(ended.device, at_s), finish).inc()
        if ended.first_token_s is not None:
            self._first_s.observe(ended.first_token_s)
        if ended.tokens_per_s is not None:
            self._speed.observe(ended.tokens_per_s)

    def _forget_device(self, name: str) -> None:
        for metric in self._of_devices:
            metric.remove_by_labels({"device": name})

    def _forget_node(self, name: str) -> None:
        if not any(name in labels for labels in self._nodes.values()):  # it may have one in another role
            self._events.remove_by_labels({"node": name})
            self._bad_events.remove_by_labels({"node": name})


class _Labels:
    """Names that have a label of their own."""

    def __init__(self, forget: Callable[[str], None]) -> None:
        """`forget`: is told of a name that has lost its label."""
        self._heard_s = Names[float](MAX_LABELS)
        self._forget = forget

    def __contains__(self, name: str) -> bool:
        return name in self._heard_s

    def label(self, name: str, at_s: float) -> str:
        """Its own, or OTHER."""
        if name not in self._heard_s and self._heard_s.is_full:
            gone = self._idle(at_s) or self._heard_s.owed_to(name)
            if gone is None:
                return OTHER
            self._heard_s.drop(gone)
            self._forget(gone)
        self._heard_s.put(name, at_s)
        return name

    def _idle(self, at_s: float) -> str | None:
        """The name heard of longest ago, if that is long enough."""
        name, heard_s = next(iter(self._heard_s.values.items()))
        return name if at_s - heard_s >= IDLE_S else None


def _grown(now: int, before: int | None) -> int:
    """By how much a count has grown that begins anew with whoever counts."""
    return now if before is None or now < before else now - before


__all__ = ["OTHER", "Metrics"]
