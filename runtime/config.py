"""A topology: one TOML file that describes all nodes, as frozen values.

Every section and every key may be left out. A file that says nothing is Topology.default(): both models and
all nodes on this host, with an emulated link between them.

The section [channel] puts the emulator between devices and target. A file that gives the target's address and
has no [channel] describes a real network: devices connect straight to the target.

Errors name the file, the key, the value, and what to write instead; unknown names get the nearest known one.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Self, get_args, get_origin, get_type_hints

from draftwire.codecs.limits import MAX_GAMMA, MAX_NAME_LENGTH, MAX_TOKENS, MAX_VOCAB_SIZE
from draftwire.runtime.errors import AddressError, ConfigurationError, nearest
from draftwire.runtime.link import LinkSpec, parse_link
from draftwire.runtime.link_schedule import LinkSchedule, parse_schedule
from draftwire.runtime.transport.base import MAX_IDENTITY_BYTES, check_address

DTYPES: Final = ("auto", "float32", "float16", "bfloat16")
DEFAULT_MODEL: Final = "smollm2"
DEFAULT_LINK: Final = "rate 20mbit delay 5ms"
POLICIES: Final = ("adaptive", "ucb", "pid")


class Profile(StrEnum):
    """How fast the models compute."""

    NATIVE = "native"
    "as fast as the machine goes"
    PAPER = "paper"
    "each step paced to the paper's hardware"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One end of the pair; written in [pair] with `draft_` or `target_` before the key, or plain for both."""

    model: str = DEFAULT_MODEL
    "`smollm2`, a local folder, a hub id, or a .gguf file"
    dtype: str | None = None
    "of the weights, one of DTYPES; None: as the model's loader judges"
    device: str | None = None
    "as torch names it: cpu, cuda, cuda:1, mps; None: as the loader judges"
    device_map: str | None = None
    "as transformers names it, for a model over several devices; excludes `device`"
    revision: str | None = None
    "of a hub model: branch, tag or commit"

    def __post_init__(self) -> None:
        _need(bool(self.model), "model", self.model, "write smollm2, a folder, a hub id or a .gguf file")
        if self.dtype is not None:
            _need(self.dtype in DTYPES, "dtype", self.dtype, nearest(self.dtype, DTYPES))
        for key in ("device", "device_map", "revision"):
            _need(getattr(self, key) != "", key, "", "leave it out for the default")
        both = self.device is not None and self.device_map is not None
        _need(not both, "device_map", self.device_map, "give either device or device_map")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """[pair]: the two models; they must share a vocabulary."""

    draft: ModelSettings = field(default_factory=ModelSettings)
    target: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """[target]: the BS."""

    address: str = "tcp://127.0.0.1:5701"
    "bound by the target; devices, or the channel, connect to it"
    max_sessions: int = 16
    "requests served at a time"
    ahead: int = 64
    "tokens the log may grow beyond what a silent device is known to hold"
    patience_s: float = 5.0
    "temperature 0: how long a free BS waits for drafts before it decodes a token by itself"
    threads: int | None = None
    "of torch; None: its own choice"

    def __post_init__(self) -> None:
        _check_address("address", self.address)
        _between("max_sessions", self.max_sessions, 1, 4096)
        _between("ahead", self.ahead, 1, 4096)
        _between("patience_s", self.patience_s, 0, 3600)
        _between("threads", self.threads, 1, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """[channel]: the emulated link between devices and the target."""

    address: str = "tcp://127.0.0.1:5700"
    "bound by the channel; devices connect to it"
    control: str = "tcp://127.0.0.1:5703"
    "bound by the channel for orders to change its links; whoever reaches it may"
    uplink: LinkSpec = field(default_factory=lambda: parse_link(DEFAULT_LINK))
    "device to BS, in the words of tc"
    downlink: LinkSpec = field(default_factory=lambda: parse_link(DEFAULT_LINK))
    schedule: str | None = None
    "how both change from the first message on, as parse_schedule takes it; None: not at all"
    seed: int = 0
    "of the jitter"
    max_devices: int = 64

    def __post_init__(self) -> None:
        _check_address("address", self.address)
        _check_address("control", self.control)
        for link in (self.uplink, self.downlink):
            self._scheduled(link)
        _between("seed", self.seed, 0, 2**63 - 1)
        _between("max_devices", self.max_devices, 1, 4096)

    @property
    def uplink_schedule(self) -> LinkSchedule:
        """What the uplink does over time; of one step where nothing is scheduled."""
        return self._scheduled(self.uplink)

    @property
    def downlink_schedule(self) -> LinkSchedule:
        """The same of the downlink."""
        return self._scheduled(self.downlink)

    def _scheduled(self, link: LinkSpec) -> LinkSchedule:
        try:
            return parse_schedule(self.schedule or "", after=link)
        except ConfigurationError as error:
            raise error.placed(key="schedule") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """[controller]: who plans, and what of a plan is fixed for every request of this BS."""

    address: str = "tcp://127.0.0.1:5702"
    "bound by the controller; the target connects to it"
    policy: str = "adaptive"
    "one of POLICIES, or `package.module:attribute`, a policy of one's own"
    k: int | None = None
    "entries of each sparse row, fixed for requests that fix none themselves; None: the controller chooses"
    gamma: int | None = None
    "drafted tokens a verification step, fixed likewise; 0: the target decodes alone"

    def __post_init__(self) -> None:
        _check_address("address", self.address)
        known = self.policy in POLICIES or all(self.policy.partition(":"))
        remedy = f"write package.module:attribute for one of your own; {nearest(self.policy, POLICIES)}"
        _need(known, "policy", self.policy, remedy)
        _between("k", self.k, 1, MAX_VOCAB_SIZE)
        _between("gamma", self.gamma, 0, MAX_GAMMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """[device]: a draft device."""

    name: str = "device-1"
    "told apart by it: no two devices of a topology may share one"
    threads: int | None = None
    "of torch; None: its own choice"
    absent_s: float = 30.0
    "no word from the target for so long ends a request"

    def __post_init__(self) -> None:
        fits = 1 <= len(self.name) <= MAX_NAME_LENGTH and len(self.name.encode()) <= MAX_IDENTITY_BYTES
        _need(fits and self.name.isprintable(), "name", self.name, f"write 1 to {MAX_NAME_LENGTH} characters")
        _between("threads", self.threads, 1, 1024)
        _between("absent_s", self.absent_s, 0.1, 3600)


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

    def __post_init__(self) -> None:
        _between("temperature", self.temperature, 0, 100)
        _between("top_k", self.top_k, 0, MAX_VOCAB_SIZE)
        _need(0 < self.top_p <= 1, "top_p", self.top_p, "write a number above 0, up to 1")
        _between("max_new_tokens", self.max_new_tokens, 1, MAX_TOKENS)
        _between("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """[compute]: how fast the models compute."""

    profile: Profile = Profile.NATIVE


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

    def __post_init__(self) -> None:
        places = {"target.address": self.target.address}
        if self.channel is not None:
            places |= {"channel.address": self.channel.address, "channel.control": self.channel.control}
        places |= {"controller.address": self.controller.address}
        taken = dict[str, str]()
        for place, address in places.items():
            section, _, key = taken.setdefault(address, place).partition(".")
            other = f"[{section}]" if key == "address" else f"[{section}] {key}"
            _need(taken[address] == place, place, address, f"{other} has it already")

    @classmethod
    def default(cls) -> Self:
        """Everything on this host, with an emulated link: what an empty file describes."""
        return cls()

    @property
    def device_connects_to(self) -> str:
        """The channel's address, or the target's where there is no channel."""
        return self.target.address if self.channel is None else self.channel.address


# ------------------------------------------------------------------------------------------- from a file

_SECTIONS: Final[dict[str, type]] = {
    "pair": PairSettings,
    "target": TargetSettings,
    "channel": ChannelSettings,
    "controller": ControllerSettings,
    "device": DeviceSettings,
    "sampling": SamplingSettings,
    "compute": ComputeSettings,
}
_EXAMPLES: Final = {"channel.schedule": "5s rate 1mbit; 10s rate 20mbit; repeat 15s"}
"""Of values that are None unless they are written, where a number is none."""

_ENDS: Final = ("draft", "target")
_MODEL_KEYS: Final = ("dtype", "device", "device_map", "revision")
_PAIR_KEYS: Final = (*_ENDS, *_MODEL_KEYS, *(f"{end}_{key}" for end in _ENDS for key in _MODEL_KEYS))


def load_topology(path: Path | str) -> Topology:
    """The topology that a file describes. Raises ConfigurationError, and nothing else, for any file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(
            reason, remedy="give a TOML file that can be read", source=str(path)
        ) from None
    return parse_topology(text, source=str(path))


def parse_topology(text: str, *, source: str = "") -> Topology:
    """The topology that a text describes; `source` is the file to name in errors."""
    try:
        return _topology(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # tomllib: no TOML, too long a number, nested too deep
        raise ConfigurationError(str(error), remedy="mend the TOML there", source=source) from None
    except ConfigurationError as error:
        raise error.placed(source=source) from None


def _topology(document: Mapping[str, Any]) -> Topology:
    for name, table in document.items():
        if name not in _SECTIONS:
            owners = [f"{section}.{name}" for section, keys in _known_keys().items() if name in keys]
            remedy = f"write it as {owners[0]}" if owners else nearest(name, tuple(_SECTIONS))
            raise ConfigurationError(f"no section [{name}]", key=name, remedy=remedy)
        if not isinstance(table, dict):
            raise ConfigurationError(f"{_shown(table)} is no section", key=name, remedy=f"write [{name}]")
        for key in table:
            if key not in (known := _known_keys()[name]):
                raise ConfigurationError("unknown key", key=f"{name}.{key}", remedy=nearest(key, known))
    sections = {name: _section(name, table) for name, table in document.items()}
    if "channel" not in document and "address" in document.get("target", {}):
        sections["channel"] = None
    return Topology(**sections)


def _known_keys() -> dict[str, tuple[str, ...]]:
    return {
        name: _PAIR_KEYS if name == "pair" else tuple(f.name for f in fields(section))
        for name, section in _SECTIONS.items()
    }


def _section(name: str, table: Mapping[str, Any]) -> Any:
    if name == "pair":
        return PairSettings(draft=_model("draft", table), target=_model("target", table))
    return _build(_SECTIONS[name], {key: (f"{name}.{key}", value) for key, value in table.items()}, name)


def _model(end: str, table: Mapping[str, Any]) -> ModelSettings:
    written = {"model": (f"pair.{end}", table[end])} if end in table else {}
    for key in _MODEL_KEYS:
        for spelling in (f"{end}_{key}", key):
            if spelling in table:
                written[key] = (f"pair.{spelling}", table[spelling])
                break
    if "device_map" in written and f"{end}_device_map" in table and f"{end}_device" not in table:
        written.pop("device", None)  # what is said of one end goes before what is said of both
    if "device" in written and f"{end}_device" in table and f"{end}_device_map" not in table:
        written.pop("device_map", None)
    return _build(ModelSettings, written, "pair")  # type: ignore[no-any-return]


def _build(kind: type, written: Mapping[str, tuple[str, Any]], section: str) -> Any:
    """A section from its keys: field -> (where it is written, value)."""
    hints = get_type_hints(kind)
    values = {name: _typed(value, hints[name], place) for name, (place, value) in written.items()}
    try:
        return kind(**values)
    except ConfigurationError as error:
        place = written.get(error.key, (f"{section}.{error.key}", None))[0]
        raise error.placed(key=place) from None


def _typed(value: Any, hint: Any, place: str) -> Any:
    """The value as the field's type takes it. TOML has no null, so None is said by leaving the key out."""
    if isinstance(hint, UnionType) or get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint is LinkSpec and isinstance(value, str):
        try:
            return parse_link(value)
        except ConfigurationError as error:
            raise error.placed(key=place) from None
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        names = [member.value for member in hint]
        _need(value in names, place, value, nearest(str(value), names))
        return hint(value)
    if hint is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not hint:
        kinds = {
            str: "a text in quotes",
            int: "a whole number",
            float: "a number",
            LinkSpec: "a text in quotes",
        }
        raise ConfigurationError(f"{_shown(value)} is not {kinds[hint]}", key=place, remedy=_example(place))
    return value


def _example(place: str) -> str:
    section, key = place.split(".")
    default = "auto" if section == "pair" else getattr(_SECTIONS[section](), key, None)
    return f"write for instance {key} = {_toml(_EXAMPLES.get(place, 4) if default is None else default)}"


# --------------------------------------------------------------------------------------------- to a file


def to_toml(topology: Topology) -> str:
    """A file that describes this topology and no other: parse_topology gives an equal value back."""
    lines = list[str]()
    for name in _SECTIONS:
        settings = getattr(topology, name)
        if settings is None:
            continue
        lines.append(f"[{name}]")
        if isinstance(settings, PairSettings):
            for end in _ENDS:
                model = getattr(settings, end)
                lines.append(f"{end} = {_toml(model.model)}")
                lines += [
                    f"{end}_{key} = {_toml(value)}"
                    for key in _MODEL_KEYS
                    if (value := getattr(model, key)) is not None
                ]
        else:
            lines += [
                f"{key.name} = {_toml(value)}"
                for key in fields(settings)
                if (value := getattr(settings, key.name)) is not None
            ]
        lines.append("")
    return "\n".join(lines)


def _toml(value: str | int | float | LinkSpec) -> str:
    if isinstance(value, str | LinkSpec):
        # A JSON string is a TOML string, but for DEL, which JSON leaves as it is.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


# ---------------------------------------------------------------------------------------------- checks


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _need(holds: bool, key: str, value: object, remedy: str) -> None:
    if not holds:
        raise ConfigurationError(f"{_shown(value)} will not do", key=key, remedy=remedy)


def _between(key: str, value: float | None, low: float, high: float) -> None:
    if value is not None:
        _need(low <= value <= high, key, value, f"write a number from {low} to {high}")


def _check_address(key: str, address: str) -> None:
    try:
        check_address(address, "tcp", "ipc")
    except AddressError as error:
        problem = f"{_shown(address)}: {error.problem}"
        raise ConfigurationError(problem, key=key, remedy=error.remedy) from None
    free = address.startswith("tcp") and address.rpartition(":")[2] in ("*", "0")
    _need(not free, key, address, "name the port: others connect to it")


__all__ = [
    "ChannelSettings",
    "ComputeSettings",
    "ControllerSettings",
    "DeviceSettings",
    "ModelSettings",
    "PairSettings",
    "Profile",
    "SamplingSettings",
    "TargetSettings",
    "Topology",
    "load_topology",
    "parse_topology",
    "to_toml",
]
