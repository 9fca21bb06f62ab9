"""A verification step as the BS reports it."""

from draftwire.codecs.control import StepReport
from draftwire.codecs.messages import Plan

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
    pinned_k=None,
    pinned_gamma=None,
)
