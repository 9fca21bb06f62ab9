"""The contexts of a BS's sessions: which of them are in memory, within its budget."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.messages import Open, Reason, Refused
from draftwire.nodes.models.base import LanguageModel, PackingModel
from draftwire.nodes.target.residency import IDLE_S, PARKED, Claim, Residency
from draftwire.nodes.target.served import Served
from draftwire.runtime.clock import Clock

LEAST_RETRY_S: Final = 0.5
MOST_RETRY_S: Final = 10.0
"""What a device that finds no room is told: often enough to find a place soon, and cheap for the BS."""

UNKNOWN_S: Final = 2.0
"""The same where a session has said nothing yet, so that nobody knows how long it will take."""

MB: Final = 10**6


class Contexts:
    """Opens and closes them, evicts who is idle, and has those who go on wait for room."""

    def __init__(
        self,
        model: LanguageModel,
        sessions: Iterable[Served],
        *,
        budget: int | None,
        clock: Clock,
        logger: FilteringBoundLogger,
    ) -> None:
        """`sessions` are those of the BS, at any time; `budget` in bytes, None: no bound."""
        self._model, self._sessions, self._clock, self._log = model, sessions, clock, logger
        self.residency = Residency(budget)

    def claim(self, device: str, opened: Open) -> Claim:
        """What a request can come to take: its prompt, all that it may add, and no draft beyond that."""
        tokens = max(len(opened.tokens), opened.prompt_length + opened.max_new_tokens)
        size = self._model.kv_bytes(tokens) if isinstance(self._model, PackingModel) else 0
        return Claim(key=object(), device=device, size=size)

    def too_large(self, claim: Claim, opened: Open) -> Refused | None:
        """Why the request can never be served here, if it can't."""
        if not self.residency.never(claim.size):
            return None
        assert self.residency.budget is not None
        tokens = f"a prompt of {opened.prompt_length} tokens and {opened.max_new_tokens} new ones"
        return Refused(
            reason=Reason.PROMPT_TOO_LONG,
            detail=(
                f"{tokens} take {_mb(claim.size)} of memory, and this base station has "
                f"{_mb(self.residency.budget)} for all: shorten either, or raise [target] kv_budget_mb"
            ),
            device_try=opened.device_try,
        )

    def admit(self, claim: Claim) -> bool:
        """Room for a new request, made by eviction where need be; False: there is none now.

        One that has it as soon as the pass under way is over need not come again: see `recall`.
        """
        idle_s = {} if self.residency.has_room(claim.size) else self._idle_s()
        grant = self.residency.admit(claim, idle_s)
        if grant is not None:
            self._evict(grant.evicted)
        return grant is not None or self.residency.promise(claim, idle_s)

    def shortage(self, claim: Claim) -> str:
        """Why a request was not admitted."""
        budget, going_on = self.residency.budget, self.residency.waiting
        assert budget is not None
        free = _mb(max(0, budget - self.residency.reserved))
        ahead = f", and {going_on} sessions go first" if going_on else ""
        return f"it takes {_mb(claim.size)} of memory, and {free} of {_mb(budget)} are free{ahead}"

    def recall(self, going_on: Sequence[Served]) -> None:
        """Contexts for sessions that have something to do and none, as far as there is room for them."""
        lacking = {one.claim.key: one for one in going_on if one.context is None}
        if not lacking and not self.residency.waiting:
            return
        idle_s = self._idle_s(busy={one.claim.key for one in going_on})
        for grant in self.residency.recall([one.claim for one in lacking.values()], idle_s):
            self._evict(grant.evicted)
            served = lacking[grant.key]
            self.open(served)
            if served.prefilled:
                self._log.info(
                    "target.recomputed",
                    device=served.name,
                    request=served.number,
                    log_tokens=len(served.session.log),
                )

    def open(self, served: Served) -> None:
        """Its context, if it has been given room."""
        if served.claim.key in self.residency.resident:
            served.context, served.passed_at_s = self._model.open(), self._clock.now_s()

    def close(self, served: Served) -> None:
        """Give its memory back, unless the worker's thread is using it. Idempotent."""
        if not served.computing:
            if served.context is not None:
                served.context.close()
            served.context = None
            served.cached.clear()
            self.residency.release(served.claim.key)

    def _evict(self, keys: Iterable[Hashable]) -> None:
        evicted, now_s = set(keys), self._clock.now_s()
        for served in self._sessions:
            if served.claim.key in evicted:
                self.close(served)
                self._log.info(
                    "target.evicted",
                    device=served.name,
                    request=served.number,
                    idle_s=round(now_s - served.passed_at_s, 3),
                    log_tokens=len(served.session.log),
                    kv_bytes=served.claim.size,
                )

    def _idle_s(self, busy: set[Hashable] | None = None) -> dict[Hashable, float]:
        """Of sessions whose memory may be taken: for how long they have had nothing to do. One that waits for
        rows has nothing to do either: its outcome stands, and hangs on no key.

        `busy`: who has something to do now; None: that is to be found out.
        """
        now_s, idle_s = self._clock.now_s(), dict[Hashable, float]()
        for served in self._sessions:
            if served.context is None or served.computing:
                continue
            key = served.claim.key
            if served.session.parked(now_s):
                idle_s[key] = PARKED
            elif served.has_work(now_s) if busy is None else key in busy:
                idle_s[key] = 0.0
            else:
                idle_s[key] = now_s - served.passed_at_s
        return idle_s

    def next_deadline_s(self, now_s: float) -> float | None:
        """When after `now_s` one who waits may find room without anything else happening, if anybody does."""
        if not self.residency.waiting:
            return None
        changes_s = list[float]()
        for served in self._sessions:
            if served.context is not None:
                changes_s += [served.passed_at_s + IDLE_S, served.session.parks_s]
        return min((one_s for one_s in changes_s if one_s > now_s), default=None)

    def retry_s(self) -> float:
        """After how long there may be room: when the first session should end, or be idle, or parked."""
        now_s, idle_s = self._clock.now_s(), self._idle_s()
        soon_s = [MOST_RETRY_S]
        for served in self._sessions:
            if served.closed or served.session.parked(now_s):
                continue
            ends_s = served.ends_in_s(now_s)
            soon_s += [UNKNOWN_S if ends_s is None else ends_s, served.session.parks_s - now_s]
            if IDLE_S / 2 <= idle_s.get(served.claim.key, 0.0) < IDLE_S:
                soon_s.append(IDLE_S - idle_s[served.claim.key])
        return max(LEAST_RETRY_S, min(soon_s))


def _mb(size: int) -> str:
    return f"{size / MB:.1f} MB"


__all__ = ["LEAST_RETRY_S", "MB", "MOST_RETRY_S", "Contexts"]
