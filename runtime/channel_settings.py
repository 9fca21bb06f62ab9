"""[channel] of a topology: the emulated link, for all devices and for devices of their own; their cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Self

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import (
    LinkSchedule,
    LinkSpec,
    Scheduler,
    parse_link,
    parse_schedule,
    traces_beside,
)
from draftwire.runtime.settings_checks import (
    between,
    check_address,
    check_device_name,
    check_place,
    checked_weights,
    need,
    of_device,
)

DEFAULT_LINK: Final = "rate 20mbit delay 5ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLinkSettings:
    """[channel.devices.NAME]: the links of one device; what is left out is as [channel] says."""

    uplink: LinkSpec | LinkSchedule | None = None
    "device to BS"
    downlink: LinkSpec | LinkSchedule | None = None
    schedule: str | None = None
    "how both change, where they are no schedules themselves; empty: not at all"


MOST_IN_A_CELL: Final = 128
"""Devices: while so many wait, a slot of 1 ms takes the channel a quarter to half of it, each direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSettings:
    """[channel.cell]: one radio that all devices of the channel share, each direction for itself."""

    scheduler: Scheduler = Scheduler.PROPORTIONAL_FAIR
    "who sends in which slot of 1 ms"
    weights: Mapping[str, float] = field(default_factory=dict)
    "[channel.cell.weights]: of devices by name, each also of the names below it; 0.01 to 100, the others' 1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", checked_weights(self.weights))

    def weight_of(self, device: str) -> float:
        """Its share of the air beside one with weight 1."""
        return of_device(self.weights, device, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """[channel]: the emulated link between devices and the target."""

    address: str = "tcp://127.0.0.1:5700"
    "devices connect to it"
    bind: str | None = None
    "what the channel binds where that is another address; None: `address`"
    key: str | None = None
    "name of the key that the channel has; None: the only one of its role"
    control: str = "tcp://127.0.0.1:5703"
    "bound by the channel for orders to change its links"
    uplink: LinkSpec | LinkSchedule = field(default_factory=lambda: parse_link(DEFAULT_LINK))
    "device to BS, in the words of tc; a schedule has two pieces or more"
    downlink: LinkSpec | LinkSchedule = field(default_factory=lambda: parse_link(DEFAULT_LINK))
    schedule: str | None = None
    "how those change that are no schedules, from the first message on; None: not at all"
    devices: Mapping[str, DeviceLinkSettings] = field(default_factory=dict)
    "[channel.devices.NAME]: devices with other links, each also for the names below it without their own"
    cell: CellSettings | None = None
    "[channel.cell]: a radio that all devices share; None: each has its links to itself"
    seed: int = 0
    "of all that is drawn: jitter, losses, fading"
    max_devices: int = 64
    lateness_ms: float = 2.0
    "what the 99th percentile of the channel's own lateness may be; a run above it says so"

    def __post_init__(self) -> None:
        check_place(self.address, self.bind, self.key)
        check_address("control", self.control, met=True)
        need(self.control != self.bind, "control", self.control, "[channel] bind has it already")
        between("seed", self.seed, 0, 2**63 - 1)
        between("max_devices", self.max_devices, 1, 4096)
        between("lateness_ms", self.lateness_ms, 0.01, 10_000)
        for link in (self.uplink, self.downlink):
            self._scheduled(link)
        need(
            not self.schedule or not self._has_schedules,
            "schedule",
            self.schedule,
            "uplink and downlink are schedules themselves: leave it out, or let one of them be a link",
        )
        object.__setattr__(self, "devices", MappingProxyType(dict(self.devices)))
        remedy = f"name at most max_devices, {self.max_devices}, or raise that"
        need(len(self.devices) <= self.max_devices, "devices", len(self.devices), remedy)
        for name in self.devices:
            check_device_name(f"devices.{name}", name)
            try:
                self.for_device(name)
            except ConfigurationError as error:
                raise error.placed(key=f"devices.{name}.{error.key}") from None

    @property
    def binds(self) -> str:
        """The address that the channel binds for devices."""
        return self.bind or self.address

    @property
    def uplink_schedule(self) -> LinkSchedule:
        """What the uplink does over time; of one step where nothing is scheduled."""
        return self._scheduled(self.uplink)

    @property
    def downlink_schedule(self) -> LinkSchedule:
        """The same of the downlink."""
        return self._scheduled(self.downlink)

    def for_device(self, name: str) -> Self:
        """The same channel as a device meets it: its own links in place of the others, and no devices'."""
        own = of_device(self.devices, name, DeviceLinkSettings())
        uplink = self.uplink if own.uplink is None else own.uplink
        downlink = self.downlink if own.downlink is None else own.downlink
        schedule = self.schedule if own.schedule is None else own.schedule
        if own.schedule is None and isinstance(uplink, LinkSchedule) and isinstance(downlink, LinkSchedule):
            schedule = None  # the common one, of which nothing is left
        return replace(self, uplink=uplink, downlink=downlink, schedule=schedule, devices={})

    @property
    def _has_schedules(self) -> bool:
        return isinstance(self.uplink, LinkSchedule) and isinstance(self.downlink, LinkSchedule)

    def _scheduled(self, link: LinkSpec | LinkSchedule) -> LinkSchedule:
        if isinstance(link, LinkSchedule):
            return link
        if not self.schedule:
            return LinkSchedule.constant(link)
        try:
            return _without_files(self.schedule, link)
        except ConfigurationError:
            pass  # it names a file, or is wrong
        try:
            return parse_schedule(self.schedule, after=link, find_trace=traces_beside())
        except ConfigurationError as error:
            raise error.placed(key="schedule") from None


def link_or_schedule(text: str) -> LinkSpec | LinkSchedule:
    """What a direction does, from words; a link where it never changes. Raises ConfigurationError."""
    schedule = parse_schedule(text, find_trace=traces_beside())
    return schedule if len(schedule.steps) > 1 else schedule.steps[0].link


@lru_cache(maxsize=4096)
def _without_files(words: str, link: LinkSpec) -> LinkSchedule:
    """A thousand devices mostly share a link, and a schedule is milliseconds of parsing."""
    return parse_schedule(words, after=link)


__all__ = [
    "DEFAULT_LINK",
    "MOST_IN_A_CELL",
    "CellSettings",
    "ChannelSettings",
    "DeviceLinkSettings",
    "link_or_schedule",
]
