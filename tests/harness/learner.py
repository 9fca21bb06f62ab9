"""A worst-case controller: every plan is a hash of all that the BS has ever seen of blocks it has tested.

Whatever a controller may learn from reports, some plan of it hangs on less than this does.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from tests.harness.enumerate import EnumeratingNoise
from tests.harness.pair import Direction, SessionPair, World, as_plan
from tests.harness.worlds import request

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import Commit, Draft, Message, Origin, SparseLogits
from draftwire.runtime.session.request import Timing

PLANS = ((1, 2), (2, 1), (3, 3), (2, 0))
"(K, gamma), the target alone among them."
SMALL_PLANS = ((1, 2), (2, 1), (2, 3), (2, 0))
"The same over a vocabulary of 2."


class LearnedPair(SessionPair):
    """Its policy is the worst case. An order is on its way for as long as the same knowledge says."""

    def __init__(
        self,
        *args: Any,
        plans: Sequence[tuple[int, int]] = PLANS,
        salt: int = 0,
        delays_s: Sequence[float] = (0.0,),
        explore_every: int = 0,
        knows_untested: bool = False,
        knows_alone: bool = True,
        **kwargs: Any,
    ) -> None:
        """`delays_s`: of an order, behind the step that it answers; a shorter one may overtake a longer one.

        `explore_every` n: each n-th order asks for the largest K. Two things that no report tells:
        `knows_alone`, ids of tokens that the target decoded by itself; `knows_untested`, what has come of
        blocks before they are tested: an order goes out whenever some of it comes.
        """
        super().__init__(*args, **kwargs)
        self.orders: list[tuple[int, int]] = []
        self._plans, self._salt, self._delays_s = plans, salt, delays_s
        self._explore_every = explore_every
        self._knows_untested, self._knows_alone = knows_untested, knows_alone
        self._blocks: dict[int, list[object]] = {}
        "by epoch: ids, weights, rows and sizes of what has come"
        self._outcomes: list[object] = []
        self._tested = 0

    def _deliver_up(self, message: Message) -> None:
        if isinstance(message, Draft | SparseLogits):
            size = len(encode_frame(message, session=1, sequence=1))
            self._blocks.setdefault(message.draft_epoch, []).append((size, *_content(message)))
        super()._deliver_up(message)
        if self._knows_untested and isinstance(message, Draft | SparseLogits):
            self._decide()

    def _replan(self) -> None:
        target = self.target
        if target is None:
            return
        log = zip(target.log.tokens, target.log.origins, strict=True)
        ids = [x if self._knows_alone or origin is not Origin.ALONE else None for x, origin in log]
        self._outcomes.append((ids, target._accepted, target._seen, target.plan))
        self._decide()

    def _decide(self) -> None:
        """Send an order."""
        target, verdict = self.target, self._verdict
        if target is None:
            return
        tested = 0 if verdict is None else verdict.step.draft_epoch
        self._tested = max(self._tested, target._tested_epoch, tested)
        tested = self._tested
        seen = {e: told for e, told in self._blocks.items() if e <= tested or self._knows_untested}
        known = repr((self._salt, self._outcomes, sorted(seen.items()), self.orders))
        digest = blake2b(known.encode(), digest_size=4).digest()
        k, gamma = self._plans[digest[0] % len(self._plans)]
        if self._explore_every and len(self.orders) % self._explore_every == 0:
            k = max(k for k, _ in self._plans)
        self.orders.append((k, gamma))
        delay_s = self._delays_s[digest[1] % len(self._delays_s)]
        if delay_s == 0:
            target.replan(as_plan((k, gamma)))
        else:
            self.at(self.now_s + delay_s, lambda: self._arrives(k, gamma))

    def _arrives(self, k: int, gamma: int) -> None:
        if self.target is not None:
            self.target.replan(as_plan((k, gamma)))


def _content(message: Draft | SparseLogits) -> tuple[object, ...]:
    if isinstance(message, Draft):
        return message.ids, message.weights, message.plan
    return tuple((row.ids.tolist(), row.weights.tolist(), row.tail) for row in message.rows)


def forgetful(
    within: World, noise: EnumeratingNoise, first: tuple[int, int], at_s: float, *, knows_alone: bool
) -> SessionPair:
    """A BS that restarts before the device has heard of a token; the last order is its new life's plan."""

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        return () if isinstance(message, Commit) and pair.now_s < at_s else (0.1,)

    pair = LearnedPair(
        within,
        request(3),
        noise,
        plan=first,
        plans=SMALL_PLANS,
        link=link,
        target_s=0.1,
        timing=Timing(resend_s=0.3, ping_s=0.3, reopen_after=1),
        knows_alone=knows_alone,
    )

    def restart() -> None:
        pair.restart_target()
        k, gamma = pair.orders[-1] if pair.orders else first
        pair.plan = as_plan((k, gamma))

    pair.at(at_s, restart)
    return pair


__all__ = ["PLANS", "SMALL_PLANS", "LearnedPair", "forgetful"]
