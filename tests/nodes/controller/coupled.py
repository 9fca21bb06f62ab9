"""A pair and its policy for tests of requests whose drafts are hints, and reports of such."""

from functools import cache

from draftwire.codecs.control import COUPLED, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.console.bench.traces import AcceptanceTrace, Recipe, synthetic
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.policy import PlanValues

DEVICE = "device-1"


@cache
def trace() -> AcceptanceTrace:
    """A pair whose coupled picks are equal in two of three cases."""
    return synthetic(Recipe(name="small", seed=3, zipf=1.3, noise=0.8, vocab_size=256, positions=300))


def policy() -> AdaptivePolicy:
    return AdaptivePolicy(vocab_size=trace().vocab_size, ladder=trace().ladder)


def belief_of(plan: PlanValues) -> Belief:
    assert plan.belief is not None
    return plan.belief


def coupled_report(step: int, *, seen: int, accepted: int, **values: object) -> StepReport:
    """A pass of a coupled request, on a link of 10 ms and 20 Mbit/s."""
    ended_s = 0.05 * (step + 1)
    usual: dict[str, object] = {
        "device": DEVICE,
        "request": 1,
        "step": step,
        "plan": Plan(number=1, k=32, gamma=8, min_draft=0),
        "position": step,
        "drafted": seen,
        "seen": seen,
        "accepted": accepted,
        "computed": seen + 1,
        "step_s": 0.0445 + seen * 0.0005,
        "wait_s": 0.0,
        "hold_s": 0.05,
        "draft_bytes": 70,
        "rows_bytes": 0,
        "draft_at_s": ended_s - 0.045,
        "rows_at_s": None,
        "alone": not seen,
        "temperature": 1.0,
        "device_step_s": 0.003,
        "asked_at_s": ended_s - 0.045 - 0.0135,
        "asked_bytes": 80,
        "asked_drafted": 1,
        "ended_at_s": ended_s,
        "echo_s": None,
        "echo_bytes": 0,
        "pinned_k": None,
        "pinned_gamma": None,
        "acceptance": COUPLED,
        "tokens": accepted + 1,
    }
    return StepReport(**(usual | values))  # type: ignore[arg-type]
