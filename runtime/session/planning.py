"""The plan that a BS serves a request by: the controller's word, less what the request fixes."""

from dataclasses import replace

from draftwire.codecs.messages import Plan
from draftwire.runtime.session.request import Request


class Planning:
    """Of one request. The BS numbers its plans, by what changes."""

    def __init__(self, first: Plan, pins: Request) -> None:
        """`pins`: what the user fixed stands in the place of what the controller chose."""
        self._pins = pins
        self._next: tuple[int, int, int] | None = None
        self.plan = self._numbered(first.number, first.k, first.gamma, first.min_draft)

    def order(self, *, k: int, gamma: int, min_draft: int) -> None:
        """The controller's word. It is not in force before the next `turn`."""
        self._next = (k, gamma, min_draft)

    def turn(self) -> None:
        """The newest order comes into force."""
        wanted, self._next = self._next, None
        if wanted is not None:
            same = self._numbered(self.plan.number, *wanted)
            self.plan = same if same == self.plan else replace(same, number=self.plan.number + 1)

    def _numbered(self, number: int, k: int, gamma: int, min_draft: int) -> Plan:
        pins = self._pins
        fixed = gamma if pins.gamma is None else pins.gamma
        waits_for_all = min_draft == gamma
        return Plan(
            number=number,
            k=k if pins.k is None else pins.k,
            gamma=fixed,
            min_draft=fixed if waits_for_all else min(min_draft, fixed),
        )


__all__ = ["Planning"]
