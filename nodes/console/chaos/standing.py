"""Under rejection the text is free, but the outcome of a block is not: whoever tests it again finds the same.

What a test comes to hangs on the block, the log and the noise alone. So a run need not be repeated to see
that an outcome was forgotten: the tokens that stood behind a log, and what came in the place of a rejected
one, have to be in the text of a device that goes on behind that log. Only the bonus token may be another,
as a later life may test more of the block.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from draftwire.codecs.rows import Row
from draftwire.nodes.console.chaos.faults import Scenario
from draftwire.nodes.console.chaos.models import NOISE, VOCAB_SIZE, rows_behind, rows_of
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import sparsify
from draftwire.nodes.target.served import Served
from draftwire.nodes.target.verifier import Verdict, correct, verify_block
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.target import Step


class Outcome(NamedTuple):
    """What stands behind a log."""

    log: list[int]
    draft_epoch: int
    tokens: list[int]


class Standing:
    """All outcomes of a run, by device and request."""

    def __init__(self, scenario: Scenario) -> None:
        self._draft = rows_of(0.0 if scenario.draft_is_target else NOISE)
        self._outcomes: dict[tuple[str, int], list[Outcome]] = {}

    def tested(self, sessions: Iterable[Served], outcomes: object) -> str:
        """A pass has ended. What of its drafts is not as they were drafted; empty: nothing."""
        if not isinstance(outcomes, list):
            return ""
        verdicts = [one for one in outcomes if isinstance(one, Verdict) and one.step.weights]
        for served in sessions:
            for one in verdicts:
                if one.step is served.session._step:
                    rows = self._rows(one.step, served.session.request)
                    if wrong := _altered(one.step, rows):
                        return f"{served.name} {served.number}: {wrong}"
                    outcome = _outcome(one, rows, served.session.request)
                    self._outcomes.setdefault((served.name, served.number), []).append(outcome)
        return ""

    def _rows(self, step: Step, request: Request) -> list[Row]:
        """As its device has drawn from them."""
        logits = rows_behind(self._draft, [*step.tokens, *step.ids], len(step.ids) + 1)
        temperature = request.sampling.temperature
        return [
            sparsify(one, None, k=step.plan.k, temperature=temperature, vocab_size=VOCAB_SIZE)
            for one in logits[:-1]
        ]

    def forgotten(self, name: str, number: int, log: list[int]) -> str:
        """Which outcome the log of a device has left; empty: none."""
        for outcome in self._outcomes.get((name, number), ()):
            begin = len(outcome.log)
            behind = log[begin : begin + len(outcome.tokens)]
            if behind != outcome.tokens[: len(behind)] and log[:begin] == outcome.log:
                epoch, tokens = outcome.draft_epoch, outcome.tokens
                return f"epoch {epoch} came to {tokens} at {begin}, and its log has {behind} there"
        return ""


def _altered(step: Step, rows: list[Row]) -> str:
    weights = tuple(row.weight_of(token) for row, token in zip(rows, step.ids, strict=True))
    if weights == step.weights:
        return ""
    return f"epoch {step.draft_epoch} is tested with weights {step.weights} of {step.ids}, drawn by {weights}"


def _outcome(verdict: Verdict, rows: list[Row], request: Request) -> Outcome:
    """With what comes in the place of a rejected draft."""
    step, noise = verdict.step, PhiloxNoise()
    if verdict.token is None:
        if step.plan.blockwise:
            verdict = verify_block(verdict, rows, request, noise)
        else:
            verdict = replace(verdict, token=correct(verdict, rows[verdict.accepted], request, noise))
    tokens = list(step.ids[: verdict.accepted])
    if verdict.accepted < len(step.ids) and verdict.token is not None:
        tokens.append(verdict.token)
    return Outcome(list(step.tokens), step.draft_epoch, tokens)


__all__ = ["Standing"]
