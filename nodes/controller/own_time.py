"""What a step took by itself: the time from Commit to Commit without other sessions' turns at the model.

That time has in it waits for drafts and for rows, the pass, the BS's handling of messages, and the wait for a
model that works for others. A plan answers for all but the last, which any other plan would have met as well;
counted, it would make whatever is in use look slow. No report tells it, so the other parts are added up.

Left out therefore: handling beyond a share of the pass, and a halt of a BS that runs too far ahead of its
device. Counted all the same: another's turn in which the last Draft came that a plan waits for.

Where passes are shared nothing is left out: who has just missed one waits for it, drafts or not, and plans
there reckon with that.
"""

from draftwire.codecs.control import StepReport

MOST_BETWEEN = 1.25
"Passes, from one step that waits for nothing to the next, the BS's own handling of messages included."


def own_seconds(report: StepReport, *, passed_s: float, hints: bool) -> float:
    """Of the `passed_s` since the Commit before; hints: whether drafts need not be waited for."""
    if report.pass_sessions > 1:
        return passed_s
    waits_s = _for_drafts_s(report, passed_s, hints=hints) + _for_rows_s(report)
    return min(passed_s, waits_s + MOST_BETWEEN * report.step_s)


def handling_seconds(report: StepReport) -> float:
    """The BS's own, around a pass that was waiting for no draft."""
    around_s = report.hold_s - report.step_s - report.wait_s
    return min(around_s, (MOST_BETWEEN - 1) * report.step_s)


def _for_drafts_s(report: StepReport, passed_s: float, *, hints: bool) -> float:
    plan = report.plan
    if plan.gamma == 0 or (hints and (plan.min_draft == 0 or report.resting)):
        return 0.0
    if not report.drafted:  # its patience had an end; how long that is, is not told
        return passed_s
    return max(0.0, passed_s - max(report.hold_s, report.step_s))


def _for_rows_s(report: StepReport) -> float:
    if report.rows_at_s is None:  # if there was a wait, then for a row that had to be asked for
        return report.wait_s
    tested_at_s = report.ended_at_s - report.wait_s
    return min(max(0.0, report.rows_at_s - tested_at_s), report.wait_s)


__all__ = ["MOST_BETWEEN", "handling_seconds", "own_seconds"]
