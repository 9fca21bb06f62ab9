"""What a BS reports, and what a controller may believe."""

from typing import Any

from draftwire.codecs.control import RowsReport, StepReport
from draftwire.codecs.messages import Plan
from draftwire.nodes.controller.belief import Belief

REPORT = StepReport(
    device="device-1",
    request=7,
    step=3,
    plan=Plan(number=2, k=32, gamma=3, min_draft=3),
    position=40,
    drafted=3,
    seen=3,
    accepted=2,
    computed=4,
    step_s=0.04,
    wait_s=0.001,
    hold_s=0.05,
    draft_bytes=60,
    rows_bytes=400,
    draft_at_s=1.5,
    rows_at_s=1.6,
    alone=False,
    temperature=0.7,
    device_step_s=0.003,
    asked_at_s=1.4,
    asked_bytes=90,
    ended_at_s=1.7,
    echo_s=None,
    echo_bytes=0,
    pinned_k=None,
    pinned_gamma=None,
)
"""A verification step."""

ROWS = RowsReport(
    device="device-1",
    request=7,
    step=3,
    temperature=0.7,
    k=32,
    ladder=(1, 2, 3, 5, 8, 16, 32),
    alphas=((0.1, 0.15, 0.2, 0.22, 0.25, 0.28, 0.3), (0.2, 0.25, 0.3, 0.32, 0.35, 0.38, 0.4)),
    low=(0.28, 0.39),
    high=(0.36, 0.41),
    gap=(0.2, 0.15),
    filled=(0.05, 0.06),
    rows_bytes=400,
    draft_at_s=1.5,
    rows_at_s=1.6,
)
"""And the rows of its block."""


def a_belief(**changes: Any) -> Belief:
    """Plausible estimates."""
    fields: dict[str, Any] = {
        "alphas": {32: 0.4, 320: 0.45},
        "uplink_bps": 1e6,
        "rtt_s": 0.04,
        "draft_step_s": 0.003,
        "target_step_s": 0.04,
        "target_per_token_s": 0.001,
        "alone_step_s": 0.04,
        "overhead_s": 0.0005,
        "row_scale": 1.02,
        "rows": True,
        "vocab_size": 49152,
        "tokens_per_s": 25.0,
        "alone_tokens_per_s": 20.0,
        "reason": "best",
    }
    return Belief(**(fields | changes))
