"""Early stop at work: what a device learns from Commits, and what one more drafted token would cost it.

The rule is in nodes/speculation/stopping.py. What it has learnt outlives a request, by temperature.
"""

from collections import OrderedDict

from draftwire.nodes.device.running import Running
from draftwire.nodes.speculation.stopping import EarlyStop
from draftwire.runtime.session.request import Block

MAX_TEMPERATURES = 8

SLOPE = 0.01
"""Of a target step: what it is taken to last longer for each drafted token in it. Nobody tells a device."""

ID_BITS = 24
"""That one more id adds to a Draft."""


class Stopping:
    """Of one device, whose requests it hears of one token after another."""

    def __init__(self) -> None:
        self._rules: OrderedDict[float, EarlyStop] = OrderedDict()

    def after(self, running: Running, block: Block) -> bool:
        """Whether drafting should stop behind `block`, where drafts are hints and the plan allows for it."""
        session, account = running.session, running.account
        ahead, plan = session.ahead, session.plan
        if ahead is None or plan is None:
            return False
        rule = self._rule(session.request.sampling.temperature)
        for one in ahead.judged:
            rule.observe(one.chance, one.hit)
        ahead.judged.clear()
        tokens_per_s = account.tokens_per_s
        if not plan.early_stop or tokens_per_s is None or session.last_commit is None:
            return False
        cost_s = SLOPE * session.last_commit.times.step_s
        if plan.min_draft >= plan.gamma:  # the BS waits for what is drawn
            cost_s += block.token_s + (ID_BITS / plan.uplink_bps if plan.uplink_bps else 0.0)
        return rule.stops((*ahead.chances, *block.chances), tokens_per_s=tokens_per_s, token_s=cost_s)

    def _rule(self, temperature: float) -> EarlyStop:
        if temperature not in self._rules:
            self._rules[temperature] = EarlyStop()
            if len(self._rules) > MAX_TEMPERATURES:
                self._rules.popitem(last=False)
        self._rules.move_to_end(temperature)
        return self._rules[temperature]


__all__ = ["Stopping"]
