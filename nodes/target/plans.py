"""Which plan a request begins with, and what of an order can be followed."""

from dataclasses import replace
from typing import Final

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, PlanOrder
from draftwire.codecs.limits import MAX_PLAIN_K
from draftwire.codecs.messages import Open, Plan
from draftwire.runtime.config import ControllerSettings
from draftwire.runtime.memory import remember
from draftwire.runtime.session.sendable import most_rows

START_K: Final = 32
START_GAMMA: Final = 2
"""Before a controller has spoken: a block that costs little on any link, and tells enough to do better."""

MAX_DEVICES: Final = 1024
"""Devices whose next plan is remembered; beyond it the oldest begins like one never heard of."""


class FirstPlans:
    """The plans of requests that are yet to come, by device; and what [controller] fixes for all of them."""

    def __init__(self, settings: ControllerSettings, *, vocab_size: int) -> None:
        k = START_K if settings.k is None else settings.k
        gamma = START_GAMMA if settings.gamma is None else settings.gamma
        self._everybody = PlanOrder(
            device=ANY_DEVICE, request=ANY_REQUEST, k=k, gamma=gamma, min_draft=gamma
        )
        self._of_device: dict[str, PlanOrder] = {}
        self._pins, self._vocab_size = settings, vocab_size

    def ordered(self, order: PlanOrder) -> None:
        """The controller's word for the device's next requests, or for those of devices not heard of."""
        if order.device == ANY_DEVICE:
            self._everybody = order
            return
        remember(self._of_device, order.device, order, most=MAX_DEVICES)

    def pinned(self, opened: Open) -> Open:
        """The Open with what this BS fixes, where the request itself leaves it open."""
        k, gamma = opened.pinned_k, opened.pinned_gamma
        return replace(
            opened,
            pinned_k=self._pins.k if k is None else k,
            pinned_gamma=self._pins.gamma if gamma is None else gamma,
        )

    def first(self, device: str, opened: Open) -> Plan:
        """What this request of the device begins with."""
        order = self._of_device.get(device, self._everybody)
        pins = {"pinned_k": opened.pinned_k, "pinned_gamma": opened.pinned_gamma}
        return Plan(number=1, **self.followed(order, **pins))

    def followed(
        self, order: PlanOrder, *, pinned_k: int | None, pinned_gamma: int | None
    ) -> dict[str, int]:
        """What of an order vocabulary, frames and the user's pins allow: k, gamma and min_draft by name."""
        k, v = min(order.k, self._vocab_size), self._vocab_size
        if pinned_gamma is not None and pinned_gamma > most_rows(k, v):
            k = MAX_PLAIN_K  # no message holds so many whole rows
        gamma = min(order.gamma, most_rows(k if pinned_k is None else pinned_k, v))
        return {"k": k, "gamma": gamma, "min_draft": min(order.min_draft, gamma)}


__all__ = ["MAX_DEVICES", "START_GAMMA", "START_K", "FirstPlans"]
