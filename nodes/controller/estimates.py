"""What a plan rests on: a belief, made from what is known of a device, its text and the target."""

from collections.abc import Mapping

from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.crowd import Others
from draftwire.nodes.controller.estimators.target_step import TargetStep
from draftwire.nodes.controller.knowledge import PLAIN, DeviceState, Knowledge, TextState
from draftwire.nodes.speculation.frames import rung_bits


def believed(
    known: Knowledge,
    device: DeviceState,
    text: TextState,
    *,
    alphas: Mapping[int, float],
    spelling: str,
    acceptance: str,
    hints: bool,
    greedy: bool,
    passes: TargetStep | None = None,
    others: Others | None = None,
    survives: tuple[float, ...] = (),
) -> Belief:
    """The expected speeds are not known yet. passes: of the target; None: those that a device waits for.
    others: who shares them.
    """
    own = known.passes(beside=False) if passes is None else passes
    target = own if others is None else others
    return Belief(
        alphas=alphas,
        uplink_bps=device.link.bps,
        off_s_per_bit=device.link.off_s_per_bit,
        rtt_s=device.trip.rtt_s,
        draft_step_s=device.draft.step_s,
        target_step_s=target.at_zero_s,
        target_per_token_s=others.cost_s if others is not None and hints else target.slope_s,
        alone_step_s=known.alone_s if others is None else others.alone_s,
        overhead_s=target.overhead_s,
        row_scale=device.rows[spelling].scale,
        plain_scale=device.rows[PLAIN].scale,
        rows=not hints,
        vocab_size=known.vocab_size,
        tables=spelling,
        rung_bits=rung_bits(known.tables(spelling)),
        acceptance=acceptance,
        greedy=greedy,
        survives=survives,
        coupled_alpha=text.coupled.mean(text.whole),
        tokens_per_s=0.0,
        alone_tokens_per_s=0.0,
        reason="best",
    )


__all__ = ["believed"]
