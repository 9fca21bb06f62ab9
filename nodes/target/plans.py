"""Which plan a request begins with, under which acceptance, and what of an order can be followed."""

from dataclasses import dataclass, field, replace
from typing import Final

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, COUPLED, REJECTION, PlanOrder
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Acceptance, Open, Plan
from draftwire.runtime.config import ControllerSettings
from draftwire.runtime.memory import remember
from draftwire.runtime.session.sendable import most_rows

START_K: Final = 32
START_GAMMA: Final = 2
"""Before a controller has spoken: a block that costs little on any link, and tells enough to do better."""

START_HINTS: Final = 4
"""The same where drafts are hints. The target waits for none of them, so more cost no time."""

MAX_DEVICES: Final = 1024
"""Devices whose next plans are remembered; beyond it the oldest begins like one never heard of."""

_NAMED: Final = {REJECTION: Acceptance.REJECTION, COUPLED: Acceptance.COUPLED}


@dataclass(slots=True)
class _Openings:
    """What a controller has said of requests to come."""

    orders: dict[str, PlanOrder] = field(default_factory=dict)
    "by acceptance"
    preferred: str | None = None

    def ordered(self, order: PlanOrder) -> None:
        """The newest word holds. What was preferred stays so until another is: each acceptance has an order
        of its own, and between two of them none may say so.
        """
        self.orders[order.acceptance] = order
        if order.preferred:
            self.preferred = order.acceptance


class FirstPlans:
    """The plans of requests that are yet to come, by device; and what [controller] fixes for all of them."""

    def __init__(self, settings: ControllerSettings, *, vocab_size: int) -> None:
        self._everybody = _Openings()
        self._of_device: dict[str, _Openings] = {}
        self._pins, self._vocab_size = settings, vocab_size

    def ordered(self, order: PlanOrder) -> None:
        """The controller's word for the device's next requests, or for those of devices not heard of."""
        openings = self._everybody
        if order.device != ANY_DEVICE:
            openings = self._of_device.get(order.device) or _Openings()
            remember(self._of_device, order.device, openings, most=MAX_DEVICES)
        openings.ordered(order)

    def chosen(self, device: str) -> Acceptance:
        """Of a request of this device that leaves its acceptance open."""
        known = self._of_device.get(device)
        name = (known and known.preferred) or self._everybody.preferred or COUPLED
        return _NAMED[name]

    def pinned(self, opened: Open) -> Open:
        """The Open with what this BS fixes, where the request itself leaves it open."""
        k, gamma, min_draft = opened.pinned_k, opened.pinned_gamma, opened.pinned_min_draft
        return replace(
            opened,
            pinned_k=self._pins.k if k is None else k,
            pinned_gamma=self._pins.gamma if gamma is None else gamma,
            pinned_min_draft=self._pins.min_draft if min_draft is None else min_draft,
        )

    def first(self, device: str, opened: Open) -> Plan:
        """What this request of the device begins with."""
        acceptance = self.chosen(device) if opened.acceptance is Acceptance.AUTO else opened.acceptance
        hints = opened.sampling.greedy or acceptance is Acceptance.COUPLED
        order = self._order(device, COUPLED if hints else REJECTION)
        return self.followed(order, pinned_k=opened.pinned_k, pinned_gamma=opened.pinned_gamma)

    def patience_s(self, device: str) -> float | None:
        """With `first`, where drafts are hints: how long a free BS waits for them; None: as usual."""
        return self._order(device, COUPLED).patience_s

    def _order(self, device: str, acceptance: str) -> PlanOrder:
        """What a controller said of such requests; else of any, as policies that open one way alone do."""
        heard = [self._of_device[device]] if device in self._of_device else []
        heard.append(self._everybody)
        for name in (acceptance, REJECTION):
            for openings in heard:
                if name in openings.orders:
                    return openings.orders[name]
        return self._start(acceptance)

    def _start(self, acceptance: str) -> PlanOrder:
        """Nobody has said anything."""
        pins, hints = self._pins, acceptance == COUPLED
        gamma = (START_HINTS if hints else START_GAMMA) if pins.gamma is None else pins.gamma
        return PlanOrder(
            device=ANY_DEVICE,
            request=ANY_REQUEST,
            k=START_K if pins.k is None else pins.k,
            gamma=gamma,
            min_draft=0 if hints else gamma,
        )

    def followed(self, order: PlanOrder, *, pinned_k: int | None, pinned_gamma: int | None) -> Plan:
        """The order as a request's first plan, as far as vocabulary, frames and the user's pins allow."""
        k, v = min(order.k, self._vocab_size), self._vocab_size
        if pinned_gamma is not None and pinned_gamma > most_rows(k, v):
            k = MAX_PLAIN_K  # no message holds so many whole rows
        gamma = min(order.gamma, most_rows(k if pinned_k is None else pinned_k, v))
        return Plan(
            number=1,
            k=k,
            gamma=gamma,
            min_draft=min(order.min_draft, gamma),
            blockwise=order.blockwise,
            early_stop=order.early_stop,
            uplink_bps=order.uplink_bps,
        )


__all__ = ["MAX_DEVICES", "START_GAMMA", "START_HINTS", "START_K", "FirstPlans"]
