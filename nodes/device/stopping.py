"""Early stop at work: what a device learns from Commits, and what one more drafted token would cost it.

The rule is in nodes/speculation/stopping.py. What it has learnt of tokens outlives a request, by temperature;
how many have just stood in a row is each request's own.
"""

from draftwire.nodes.device.running import Running
from draftwire.nodes.speculation.stopping import EarlyStop, Hits
from draftwire.runtime.memory import remember
from draftwire.runtime.session.request import Block

MAX_TEMPERATURES = 8

MAX_REQUESTS = 64
"""Whose runs are remembered; beyond it the one of which nothing was drawn for longest begins a new run."""

SLOPE = 0.01
"""Of a target step: what it is taken to last longer for each drafted token in it. Nobody tells a device."""

ID_BITS = 24
"""That one more id adds to a Draft."""


class Stopping:
    """Of one device, whose requests it hears of one token after another."""

    def __init__(self) -> None:
        self._hits: dict[float, Hits] = {}
        "by temperature, the newest last"
        self._rules: dict[int, EarlyStop] = {}
        "by number of the request, the newest last"

    def after(self, running: Running, block: Block) -> bool:
        """Whether drafting should stop behind `block`, where drafts are hints and the plan allows for it."""
        session, account = running.session, running.account
        ahead, plan = session.ahead, session.plan
        if ahead is None or plan is None:
            return False
        rule = self._rule(running.number, session.request.sampling.temperature)
        for one in ahead.judged:
            rule.observe(one.chance, one.hit)
        ahead.judged.clear()
        tokens_per_s = account.tokens_per_s
        if not plan.early_stop or tokens_per_s is None or session.last_commit is None:
            return False
        cost_s = SLOPE * session.last_commit.times.step_s
        if plan.synchronous:  # the BS waits for what is drawn
            cost_s += block.token_s + (ID_BITS / plan.uplink_bps if plan.uplink_bps else 0.0)
        return rule.stops((*ahead.chances, *block.chances), tokens_per_s=tokens_per_s, token_s=cost_s)

    def _rule(self, number: int, temperature: float) -> EarlyStop:
        hits = self._hits.get(temperature) or Hits()
        remember(self._hits, temperature, hits, most=MAX_TEMPERATURES)
        rule = self._rules.get(number) or EarlyStop(hits)
        remember(self._rules, number, rule, most=MAX_REQUESTS)
        return rule


__all__ = ["Stopping"]
