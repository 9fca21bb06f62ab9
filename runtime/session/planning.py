"""The plan that a BS serves a request by: the controller's word, less what the request fixes."""

from dataclasses import replace

from draftwire.codecs.messages import Plan
from draftwire.runtime.session.request import Request


class Planning:
    """Of one request. The BS numbers its plans, by what changes."""

    def __init__(self, first: Plan, request: Request, *, patience_s: float) -> None:
        """What the request fixes stands in the place of what the controller chose. `patience_s`: with the
        first plan, how long a free BS waits for drafts that are hints.
        """
        self._request = request
        self._next: Plan | None = None
        self._next_patience_s: float | None = None
        self.patience_s = patience_s
        self.plan = self._fitted(first, number=first.number)

    def order(self, plan: Plan, *, patience_s: float | None = None) -> None:
        """The controller's word, whatever its number. It is not in force before the next `turn`.

        `patience_s`: None leaves it as it is.
        """
        self._next, self._next_patience_s = plan, patience_s

    def turn(self) -> None:
        """The newest order comes into force."""
        wanted, self._next = self._next, None
        if wanted is not None:
            if self._next_patience_s is not None:
                self.patience_s = self._next_patience_s
            same = self._fitted(wanted, number=self.plan.number)
            self.plan = same if same == self.plan else replace(same, number=self.plan.number + 1)

    def _fitted(self, plan: Plan, *, number: int) -> Plan:
        """As this request can have it: what its acceptance has no use for is left out."""
        request = self._request
        gamma = plan.gamma if request.gamma is None else request.gamma
        hints, adapts = request.hints, request.gamma is None
        return Plan(
            number=number,
            k=plan.k if request.k is None else request.k,
            gamma=gamma,
            min_draft=self._min_draft(plan, gamma) if hints else gamma,
            blockwise=plan.blockwise and not hints and adapts,  # else a seed has one text, as people expect
            early_stop=plan.early_stop and hints and adapts,
            uplink_bps=plan.uplink_bps if hints else 0,
        )

    def _min_draft(self, plan: Plan, gamma: int) -> int:
        if self._request.min_draft is not None:
            return min(self._request.min_draft, gamma)
        waits_for_all = plan.min_draft == plan.gamma > 0
        return gamma if waits_for_all else min(plan.min_draft, gamma)


__all__ = ["Planning"]
