"""The values that a topology consists of: a frozen section for each node, and checks of what people write.

runtime/config.py reads them from a TOML file, writes them to one, and offers them under its own name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from draftwire.codecs.limits import MAX_GAMMA, MAX_PADDING, MAX_TOKENS, MAX_VOCAB_SIZE
from draftwire.codecs.messages import Acceptance
from draftwire.runtime.channel_settings import (
    DEFAULT_LINK,
    MOST_IN_A_CELL,
    ChannelSettings,
    DeviceLinkSettings,
)
from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.observer_settings import ObserverSettings
from draftwire.runtime.pair_settings import DEFAULT_MODEL, DTYPES, ModelSettings, PairSettings
from draftwire.runtime.security import NAME_SEPARATOR, Service
from draftwire.runtime.serve_settings import ServeSettings
from draftwire.runtime.settings_checks import (
    between,
    check_device_name,
    check_one_of_many,
    check_place,
    checked_weights,
    need,
    of_device,
    shown,
)
from draftwire.runtime.transport.addresses import is_local

DEFAULT_KEYS_FOLDER: Final = "keys"
"""Beside the topology file."""

POLICIES: Final = ("adaptive", "ucb", "pid")

LEAST_PAD_TO: Final = 16
"""Less hides nothing."""

MOST_WASTE: Final = 1000.0
"""Of max_waste: no device drafts so much in vain, so whoever writes more wants no bound."""

MOST_DEVICES: Final = 1024
"""Of one process: each has a socket, and keys of its own to agree on."""


class Profile(StrEnum):
    """How fast the models compute."""

    NATIVE = "native"
    "as fast as the machine goes"
    PAPER = "paper"
    "each step paced to the paper's hardware"


class AcceptanceRule(StrEnum):
    """How drafted tokens are tested above temperature 0, as people write it."""

    REJECTION = "rejection"
    "by the ratio p/q; a row travels with each drafted token"
    COUPLED = "coupled"
    "by equality: both ends pick with one noise, and only ids travel"
    AUTO = "auto"
    "what is expected to be faster on the device's link, chosen when the request begins"

    @property
    def on_the_wire(self) -> Acceptance:
        """As a request says it."""
        return Acceptance[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """[target]: the BS."""

    address: str = "tcp://127.0.0.1:5701"
    "devices, or the channel, connect to it"
    bind: str | None = None
    "what the target binds where that is another address, as behind NAT; None: `address`"
    key: str | None = None
    "name of the key that the target has, where several of its role are allowed; None: the only one"
    max_sessions: int = 16
    "requests served at a time"
    kv_budget_mb: int | None = None
    "memory for keys and values of all requests, in 10**6 bytes; None: half of what is free at the start"
    weights: Mapping[str, float] = field(default_factory=dict)
    "[target.weights]: turns of devices where not all have room in a pass; a name's also hold below it"
    ahead: int = 64
    "tokens the log may grow beyond what a silent device is known to hold"
    forget_s: float = 120.0
    "no word from a device for so long frees the memory of its request; it may still go on, from its own log"
    patience_s: float = 5.0
    "temperature 0: how long a free BS waits for drafts before it decodes a token by itself"
    waste_budget: int = 512
    "drafted positions that a device may have verified for nothing, beyond what its tokens earn; 0: no bound"
    threads: int | None = None
    "of torch; None: its own choice"

    def __post_init__(self) -> None:
        check_place(self.address, self.bind, self.key)
        between("max_sessions", self.max_sessions, 1, 4096)
        between("ahead", self.ahead, 1, 4096)
        between("forget_s", self.forget_s, 1, 86400)
        between("patience_s", self.patience_s, 0, 3600)
        between("threads", self.threads, 1, 1024)
        between("kv_budget_mb", self.kv_budget_mb, 1, 10**9)
        between("waste_budget", self.waste_budget, 0, 10**9)
        object.__setattr__(self, "weights", checked_weights(self.weights))

    @property
    def binds(self) -> str:
        """The address that the target binds."""
        return self.bind or self.address

    def weight_of(self, device: str) -> float:
        """Of a device in turns: its own, else its key's, else 1."""
        return of_device(self.weights, device, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """[controller]: who plans, and what of a plan is fixed for every request of this BS."""

    address: str = "tcp://127.0.0.1:5702"
    "the target connects to it"
    bind: str | None = None
    "what the controller binds where that is another address; None: `address`"
    key: str | None = None
    "name of the key that the controller has; None: the only one of its role"
    policy: str = "adaptive"
    "one of POLICIES, or `package.module:attribute`, a policy of one's own"
    k: int | None = None
    "entries of each sparse row, fixed for requests that fix none themselves; None: the controller chooses"
    gamma: int | None = None
    "drafted tokens a verification step, fixed likewise; 0: the target decodes alone"
    min_draft: int | None = None
    """where drafts are hints (coupled, or temperature 0): drafted tokens that a free target waits for, fixed
    likewise; as many as gamma or more: for all of them"""

    def __post_init__(self) -> None:
        check_place(self.address, self.bind, self.key)
        known = self.policy in POLICIES or all(self.policy.partition(":"))
        remedy = f"write package.module:attribute for one of your own; {nearest(self.policy, POLICIES)}"
        need(known, "policy", self.policy, remedy)
        between("k", self.k, 1, MAX_VOCAB_SIZE)
        between("gamma", self.gamma, 0, MAX_GAMMA)
        between("min_draft", self.min_draft, 0, MAX_GAMMA)

    @property
    def binds(self) -> str:
        """The address that the controller binds."""
        return self.bind or self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """[device]: a draft device."""

    name: str = "device-1"
    "told apart by it: no two devices of a topology may share one; that of its key, or below it: phone-1/test"
    count: int = 1
    "devices in one process, with one draft model; more than one are called NAME/01, NAME/02 and so on"
    threads: int | None = None
    "of torch; None: its own choice"
    reach_s: float = 15.0
    "so long a request looks for the target, a new one or one of a journal"
    absent_s: float = 120.0
    "no word from the target for so long ends a request that it has opened since"
    max_waste: float | None = None
    """where drafts are hints (coupled, or temperature 0): most drafted tokens thrown away for each one of the
    output; None: no bound"""

    def __post_init__(self) -> None:
        check_device_name("name", self.name)
        between("count", self.count, 1, MOST_DEVICES)
        check_device_name("name", self.names[-1])
        between("threads", self.threads, 1, 1024)
        between("reach_s", self.reach_s, 0.1, 3600)
        between("absent_s", self.absent_s, 0.1, 3600)
        between("max_waste", self.max_waste, 0, MOST_WASTE)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all its devices: the name alone of one, else below it, with as many digits each."""
        if self.count == 1:
            return (self.name,)
        digits = max(2, len(str(self.count)))
        return tuple(f"{self.name}{NAME_SEPARATOR}{number:0{digits}}" for number in range(1, self.count + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """[sampling]: how a request is answered where it doesn't say otherwise."""

    temperature: float = 1.0
    "0: always the likeliest token"
    top_k: int = 0
    "0: off"
    top_p: float = 1.0
    "1: off"
    max_new_tokens: int = 128
    seed: int | None = None
    "of all randomness of a request; None: each request draws its own, so that no two share their noise"
    acceptance: AcceptanceRule = AcceptanceRule.REJECTION
    "of drafted tokens; at temperature 0 they are compared, whatever it says"

    def __post_init__(self) -> None:
        between("temperature", self.temperature, 0, 100)
        between("top_k", self.top_k, 0, MAX_VOCAB_SIZE)
        need(0 < self.top_p <= 1, "top_p", self.top_p, "write a number above 0, up to 1")
        between("max_new_tokens", self.max_new_tokens, 1, MAX_TOKENS)
        between("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """[compute]: how fast the models compute."""

    profile: Profile = Profile.NATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """[security]: keys, which every address that other machines can reach needs."""

    folder: str | None = None
    "of this machine's keys and those it allows; used whatever the addresses are. None: `keys`, where needed"
    plain: bool = False
    "no keys and no encryption although other machines can reach an address"
    pad_to: int = 0
    "bytes: device and target pad each frame that they send each other to a multiple of it; 0: no padding"

    def __post_init__(self) -> None:
        remedy = f"write 0 for no padding, or a number from {LEAST_PAD_TO} to {MAX_PADDING - 1}"
        need(self.pad_to == 0 or LEAST_PAD_TO <= self.pad_to < MAX_PADDING, "pad_to", self.pad_to, remedy)
        fits = self.folder is None or (self.folder != "" and "\0" not in self.folder)
        need(fits, "folder", self.folder, "name the folder that `draftwire keys` keeps")
        problem = "true says that nodes use no keys, and [security] folder says where their keys are"
        if self.plain and self.folder is not None:
            raise ConfigurationError(problem, key="plain", remedy="leave one of the two out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """All nodes of one system."""

    pair: PairSettings = field(default_factory=PairSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    channel: ChannelSettings | None = field(default_factory=ChannelSettings)
    "None: devices connect straight to the target"
    controller: ControllerSettings = field(default_factory=ControllerSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    observer: ObserverSettings | None = None
    "None: nobody is told what nodes do"
    serve: ServeSettings = field(default_factory=ServeSettings)

    def __post_init__(self) -> None:
        places = {"target.address": self.target.address}
        if self.channel is not None:
            places |= {"channel.address": self.channel.address, "channel.control": self.channel.control}
        places |= {"controller.address": self.controller.address}
        if self.observer is not None:
            places |= {"observer.address": self.observer.address}
        taken = dict[str, str]()
        for place, address in places.items():
            need(taken.setdefault(address, place) == place, place, address, _has_it(taken[address]))
        # Nodes may well bind alike, each on a machine of its own; but not where others expect another one.
        for node in ("target", "channel", "controller", "observer"):
            bind = getattr(getattr(self, node), "bind", None)
            other = taken.get(bind, f"{node}.address") if bind else f"{node}.address"
            need(other == f"{node}.address", f"{node}.bind", bind, _has_it(other))
        self._check_devices()

    @classmethod
    def default(cls) -> Self:
        """Everything on this host, with an emulated link: what an empty file describes."""
        return cls()

    def need_channel(self, *, remedy: str, key: str = "channel", source: str = "") -> ChannelSettings:
        """[channel]. Raises ConfigurationError, with this remedy, where there is none."""
        if self.channel is None:
            raise ConfigurationError("this topology has no channel", key=key, remedy=remedy, source=source)
        return self.channel

    def need_observer(self, *, source: str = "") -> ObserverSettings:
        """[observer]. Raises ConfigurationError where there is none."""
        if self.observer is None:
            remedy = "add a section [observer] to the file of all nodes"
            raise ConfigurationError(
                "this topology has no observer", key="observer", remedy=remedy, source=source
            )
        return self.observer

    @property
    def secured(self) -> bool:
        """Whether nodes use keys: [security] names their folder, or another machine can reach an address."""
        if self.security.folder is not None:
            return True
        return not self.security.plain and not all(is_local(address) for address in self._addresses())

    @property
    def keys_folder(self) -> Path:
        """Where this machine's keys are, and those it allows; absolute if a file was loaded that needs it."""
        return Path(self.security.folder or DEFAULT_KEYS_FOLDER)

    @property
    def plain_services(self) -> frozenset[Service]:
        """Those without keys although others have them: the channel's control, while it is this host's alone.

        Who is on this host may change the link from any folder, with no key at hand: `draftwire link`.
        """
        local = self.channel is not None and is_local(self.channel.control)
        return frozenset({Service.LINKS}) if local else frozenset()

    @property
    def device_connects_to(self) -> str:
        """The channel's address, or the target's where there is no channel."""
        return self.target.address if self.channel is None else self.channel.address

    def _check_devices(self) -> None:
        """Where one process has many: what is said of one of them is, and their radio isn't too many's."""
        count, cell = self.device.count, None if self.channel is None else self.channel.cell
        if count == 1:
            return
        remedy = f"write at most {MOST_IN_A_CELL}, or leave [channel.cell] out"
        need(cell is None or count <= MOST_IN_A_CELL, "device.count", count, remedy)
        check_one_of_many("target.weights", self.target.weights, self.device.names)
        if self.channel is not None:
            check_one_of_many("channel.devices", self.channel.devices, self.device.names)
        if cell is not None:
            check_one_of_many("channel.cell.weights", cell.weights, self.device.names)

    def _addresses(self) -> tuple[str, ...]:
        target, channel, controller = self.target, self.channel, self.controller
        there = () if channel is None else (channel.address, channel.binds, channel.control)
        if self.observer is not None:
            there = (*there, self.observer.address, self.observer.binds)
        return (target.address, target.binds, controller.address, controller.binds, *there)


def _has_it(place: str) -> str:
    section, _, key = place.partition(".")
    return f"[{section}]{'' if key == 'address' else ' ' + key} has it already"


__all__ = [
    "DEFAULT_KEYS_FOLDER",
    "DEFAULT_LINK",
    "DEFAULT_MODEL",
    "DTYPES",
    "MOST_WASTE",
    "POLICIES",
    "AcceptanceRule",
    "ChannelSettings",
    "ComputeSettings",
    "ControllerSettings",
    "DeviceLinkSettings",
    "DeviceSettings",
    "ModelSettings",
    "ObserverSettings",
    "PairSettings",
    "Profile",
    "SamplingSettings",
    "SecuritySettings",
    "ServeSettings",
    "TargetSettings",
    "Topology",
    "need",
    "shown",
]
