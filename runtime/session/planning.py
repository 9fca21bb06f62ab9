"""The plan that a BS serves a request by: the controller's word, less what the request fixes."""

from bisect import bisect_right
from dataclasses import replace

from draftwire.codecs.messages import Plan
from draftwire.runtime.session.request import Request


class Planning:
    """Of one request. The BS numbers its plans, by what changes."""

    def __init__(
        self, first: Plan, request: Request, *, patience_s: float, length: int, drafts: bool = True
    ) -> None:
        """What the request fixes stands in the place of what the controller chose. `patience_s`: with the
        first plan, how long a free BS waits for drafts that are hints; `length`: of the log that it is in
        force from; `drafts`: see `allow`.
        """
        self._request, self._wanted = request, first
        self._next: Plan | None = None
        self._next_patience_s: float | None = None
        self._allows = self._allowed = drafts
        "now and since the last turn"
        self.patience_s = patience_s
        self.plan = self._fitted(first, number=first.number)
        self._gammas = [(length, self.plan.gamma)]
        "from which length of the log on; by rising length"

    def order(self, plan: Plan, *, patience_s: float | None = None) -> None:
        """The controller's word, whatever its number. It is not in force before the next `turn`.

        `patience_s`: None leaves it as it is.
        """
        self._next, self._next_patience_s = plan, patience_s

    def allow(self, drafts: bool) -> None:
        """Whether plans may ask for drafts at all, from the next `turn` on: else gamma is 0, whoever wants or
        fixes another.
        """
        self._allows = drafts

    def turn(self, length: int) -> None:
        """The newest order comes into force, for a log that has grown so long."""
        wanted, self._next = self._next, None
        if wanted is None and self._allows == self._allowed:
            return
        self._allowed = self._allows
        if wanted is not None:
            self._wanted = wanted
            if self._next_patience_s is not None:
                self.patience_s = self._next_patience_s
        same = self._fitted(self._wanted, number=self.plan.number)
        if same != self.plan:
            self.plan = replace(same, number=self.plan.number + 1)
            if self.plan.gamma != self._gammas[-1][1]:
                self._gammas.append((length, self.plan.gamma))

    def begins_at(self, length: int) -> None:
        """The log is another one, and so long."""
        self._gammas = [(length, self.plan.gamma)]

    def tells(self, length: int) -> None:
        """A device that knows so much of a log that may be longer is told the plan in force now: a block may
        begin there by it, also where the log has gone on from there by another.
        """
        told = (length, max(self.gamma_at(length), self.plan.gamma))
        before = [one for one in self._gammas if one[0] < length]
        self._gammas = [*before, told, *(one for one in self._gammas if one[0] > length)]

    def gamma_at(self, length: int) -> int:
        """Of the plan that a device was told with so much of the log, by a Commit or an Opened.

        It is the most that a block may have that begins there.
        """
        behind = bisect_right(self._gammas, length, key=lambda one: one[0])
        return self._gammas[max(0, behind - 1)][1]

    def _fitted(self, plan: Plan, *, number: int) -> Plan:
        """As this request can have it: what its acceptance has no use for is left out."""
        request = self._request
        gamma = plan.gamma if request.gamma is None else request.gamma
        gamma = gamma if self._allowed else 0
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
