"""A topology: one TOML file that describes all nodes, as frozen values.

Every section and every key may be left out. A file that says nothing is Topology.default(): both models and
all nodes on this host, with an emulated link between them.

The section [channel] puts the emulator between devices and target. A file that gives the target's address and
has no [channel] describes a real network: devices connect straight to the target.

Errors name the file, the key, the value, and what to write instead; unknown names get the nearest known one.
"""

import math
import os.path
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from draftwire.runtime.channel_settings import CellSettings, link_or_schedule
from draftwire.runtime.config_writing import DEVICES, ENDS, MODEL_KEYS, WEIGHTS, to_toml, toml_value
from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.link import LinkSpec, with_paths_from
from draftwire.runtime.settings import (
    DEFAULT_KEYS_FOLDER,
    DEFAULT_LINK,
    DTYPES,
    MOST_WASTE,
    POLICIES,
    AcceptanceRule,
    ChannelSettings,
    ComputeSettings,
    ControllerSettings,
    DeviceLinkSettings,
    DeviceSettings,
    ModelSettings,
    ObserverSettings,
    PairSettings,
    Profile,
    SamplingSettings,
    SecuritySettings,
    ServeSettings,
    TargetSettings,
    Topology,
    need,
    shown,
)
from draftwire.runtime.transport.addresses import is_local

_SECTIONS: Final[dict[str, type]] = {
    "pair": PairSettings,
    "target": TargetSettings,
    "channel": ChannelSettings,
    "controller": ControllerSettings,
    "device": DeviceSettings,
    "sampling": SamplingSettings,
    "compute": ComputeSettings,
    "security": SecuritySettings,
    "observer": ObserverSettings,
    "serve": ServeSettings,
}
_WITH_KEY_FILES: Final = ("observer", "serve")
"""Sections that name a file of a key for people."""

_EXAMPLES: Final[Mapping[str, str | float]] = {
    "channel.schedule": "5s rate 1mbit; 10s rate 20mbit; repeat 15s",
    "security.folder": DEFAULT_KEYS_FOLDER,
    "device.max_waste": 0.5,
    **{f"{node}.bind": "tcp://*:5701" for node in ("target", "channel", "controller", "observer")},
    **{f"{node}.key": "bs-2" for node in ("target", "channel", "controller", "observer")},
    **{f"{section}.key_file": "page.key" for section in _WITH_KEY_FILES},
}
"""Of values that are None unless they are written, where a number is none."""

_LINKS: Final = ("uplink", "downlink", "schedule")
"""Of [channel]: what may name traces."""

_PAIR_KEYS: Final = (
    *ENDS,
    *MODEL_KEYS,
    *(f"{end}_{key}" for end in ENDS for key in MODEL_KEYS),
    "tables",
)


def load_topology(path: Path | str) -> Topology:
    """The topology that a file describes; keys' folder and files, sets of tables and links' traces are found
    from the file's own folder.

    Raises ConfigurationError, and nothing else, for any file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(
            reason, remedy="give a TOML file that can be read", source=str(path)
        ) from None
    topology = parse_topology(text, source=str(path), folder=Path(path).parent)
    return with_keys_beside(Path(path), _with_files_beside(Path(path).parent, topology))


def with_keys_beside(path: Path, topology: Topology) -> Topology:
    """The topology of that file, its folder of keys absolute: a copy of the file then means the same keys."""
    if not topology.secured:
        return topology
    folder = os.path.abspath(path.parent / os.path.expanduser(topology.keys_folder))
    return replace(topology, security=replace(topology.security, folder=folder))


def _with_files_beside(folder: Path, topology: Topology) -> Topology:
    """With absolute paths of the files that sections name."""

    def beside(name: str) -> str:
        return os.path.abspath(folder / os.path.expanduser(name))

    changed = dict[str, Any]()
    for name in _WITH_KEY_FILES:
        section = getattr(topology, name)
        if section is not None and section.key_file is not None:
            changed[name] = replace(section, key_file=beside(section.key_file))
    if topology.pair.tables is not None:
        changed["pair"] = replace(topology.pair, tables=tuple(map(beside, topology.pair.tables)))
    return replace(topology, **changed)


def parse_topology(text: str, *, source: str = "", folder: Path | str = ".") -> Topology:
    """The topology that a text describes; `source` is the file to name in errors, `folder` where the traces
    of its links are found from.

    Raises ConfigurationError. A relative folder of keys, file of a key, or file of tables, stays as it is
    written: relative to the working directory.
    """
    try:
        return _topology(tomllib.loads(text), folder)
    except (ValueError, RecursionError) as error:  # tomllib: no TOML, too long a number, nested too deep
        raise ConfigurationError(str(error), remedy="mend the TOML there", source=source) from None
    except ConfigurationError as error:
        raise error.placed(source=source) from None


def _topology(document: Mapping[str, Any], folder: Path | str) -> Topology:
    for name, table in document.items():
        if name not in _SECTIONS:
            owners = [f"{section}.{name}" for section, keys in _known_keys().items() if name in keys]
            remedy = f"write it as {owners[0]}" if owners else nearest(name, tuple(_SECTIONS))
            raise ConfigurationError(f"no section [{name}]", key=name, remedy=remedy)
        if not isinstance(table, dict):
            raise ConfigurationError(f"{shown(table)} is no section", key=name, remedy=f"write [{name}]")
        for key in table:
            if key not in (known := _known_keys()[name]):
                raise ConfigurationError("unknown key", key=f"{name}.{key}", remedy=nearest(key, known))
    if "channel" in document:
        document = {**document, "channel": _with_traces_from(folder, document["channel"])}
    sections = {name: _section(name, table) for name, table in document.items()}
    if "channel" not in document and "address" in document.get("target", {}):
        sections["channel"] = None
    return Topology(**sections)


def _with_traces_from(folder: Path | str, channel: Mapping[str, Any]) -> Mapping[str, Any]:
    """With absolute paths: a node that gets them from another process finds them too."""

    def read(key: str, value: Any) -> Any:
        if key in _LINKS and isinstance(value, str):
            return with_paths_from(folder, value)
        if key == DEVICES and isinstance(value, dict):
            return {
                name: _with_traces_from(folder, own) if isinstance(own, dict) else own
                for name, own in value.items()
            }
        return value

    return {key: read(key, value) for key, value in channel.items()}


def _known_keys() -> dict[str, tuple[str, ...]]:
    return {
        name: _PAIR_KEYS if name == "pair" else tuple(f.name for f in fields(section))
        for name, section in _SECTIONS.items()
    }


def _section(name: str, table: Mapping[str, Any]) -> Any:
    if name == "pair":
        return _pair(table)
    return _build(_SECTIONS[name], {key: (f"{name}.{key}", value) for key, value in table.items()}, name)


def _pair(table: Mapping[str, Any]) -> PairSettings:
    tables = table.get("tables")
    if tables is not None and not (isinstance(tables, list) and all(type(one) is str for one in tables)):
        remedy = 'write for instance tables = ["rows.tables"], or tables = [] for plain rows'
        raise ConfigurationError(f"{shown(tables)} is no list of files", key="pair.tables", remedy=remedy)
    ends = {end: _model(end, table) for end in ENDS}
    try:
        return PairSettings(**ends, tables=None if tables is None else tuple(tables))
    except ConfigurationError as error:
        raise error.placed(key=f"pair.{error.key}") from None


def _model(end: str, table: Mapping[str, Any]) -> ModelSettings:
    written = {"model": (f"pair.{end}", table[end])} if end in table else {}
    for key in MODEL_KEYS:
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
        hint, *_ = (part for part in get_args(hint) if part is not NoneType)
    if hint is CellSettings:
        return _cell(value, place)
    if get_origin(hint) is Mapping:
        return _weights(value, place) if place.endswith(f".{WEIGHTS}") else _device_links(value, place)
    if hint is LinkSpec and isinstance(value, str):
        try:
            return link_or_schedule(value)
        except ConfigurationError as error:
            raise error.placed(key=place) from None
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        names = [member.value for member in hint]
        need(value in names, place, value, nearest(str(value), names))
        return hint(value)
    if hint is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not hint:
        kinds = {
            str: "a text in quotes",
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            LinkSpec: "a text in quotes",
        }
        raise ConfigurationError(f"{shown(value)} is not {kinds[hint]}", key=place, remedy=_example(place))
    return value


def _device_links(tables: Any, place: str) -> Mapping[str, DeviceLinkSettings]:
    """The tables [channel.devices.NAME]."""
    known = tuple(one.name for one in fields(DeviceLinkSettings))
    devices = dict[str, DeviceLinkSettings]()
    for name, table in tables.items() if isinstance(tables, dict) else ((None, tables),):
        if not isinstance(table, dict):
            key = place if name is None else f"{place}.{name}"
            remedy = f"write [{place}.NAME] above the links of the device of that name"
            raise ConfigurationError(f"{shown(table)} is no section", key=key, remedy=remedy)
        for key in table:
            if key not in known:
                raise ConfigurationError(
                    "unknown key", key=f"{place}.{name}.{key}", remedy=nearest(key, known)
                )
        written = {key: (f"{place}.{name}.{key}", value) for key, value in table.items()}
        devices[str(name)] = _build(DeviceLinkSettings, written, f"{place}.{name}")
    return devices


def _cell(table: Any, place: str) -> CellSettings:
    """The table [channel.cell]."""
    known = tuple(one.name for one in fields(CellSettings))
    if not isinstance(table, dict):
        remedy = f"write [{place}] above its keys, {' and '.join(known)}"
        raise ConfigurationError(f"{shown(table)} is no section", key=place, remedy=remedy)
    for key in table:
        if key not in known:
            raise ConfigurationError("unknown key", key=f"{place}.{key}", remedy=nearest(key, known))
    cell: CellSettings = _build(
        CellSettings, {key: (f"{place}.{key}", value) for key, value in table.items()}, place
    )
    return cell


def _weights(table: Any, place: str) -> Mapping[str, float]:
    """The table [target.weights] or [channel.cell.weights]."""
    if not isinstance(table, dict):
        remedy = f'write [{place}] and below it for instance "phone-1" = 2.0'
        raise ConfigurationError(f"{shown(table)} is no section", key=place, remedy=remedy)
    for name, value in table.items():
        if type(value) not in (int, float):
            remedy = f"write for instance {toml_value(name)} = 2.0"
            raise ConfigurationError(f"{shown(value)} is not a number", key=f"{place}.{name}", remedy=remedy)
    return {
        name: math.inf if type(value) is int and abs(value) > 2**53 else float(value)
        for name, value in table.items()
    }


def _example(place: str) -> str:
    section, *_, key = place.split(".")
    default = "auto" if section == "pair" else getattr(_SECTIONS[section](), key, None)
    example = _EXAMPLES.get(f"{section}.{key}", 4) if default is None else default
    return f"write for instance {key} = {toml_value(example)}"


__all__ = [
    "DEFAULT_KEYS_FOLDER",
    "DEFAULT_LINK",
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
    "is_local",
    "load_topology",
    "parse_topology",
    "to_toml",
    "with_keys_beside",
]
