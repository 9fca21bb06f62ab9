"""A topology as a TOML file; runtime/config.py reads it."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from draftwire.runtime.link import LinkSchedule, LinkSpec
from draftwire.runtime.settings import ChannelSettings, PairSettings, TargetSettings, Topology

DEVICES: Final = "devices"
"""Of [channel]: tables, one a device."""

CELL: Final = "cell"
"""Of [channel]: a table."""

WEIGHTS: Final = "weights"
"""Of [target] and [channel.cell]: a table, a number a device."""

ENDS: Final = ("draft", "target")
"""Of [pair]."""

MODEL_KEYS: Final = ("dtype", "device", "device_map", "revision")
"""Of each end."""


def to_toml(topology: Topology) -> str:
    """A file that describes this topology and no other: parse_topology gives an equal value back."""
    lines = list[str]()
    for section in fields(topology):
        name, settings = section.name, getattr(topology, section.name)
        if settings is None:
            continue
        lines.append(f"[{name}]")
        if isinstance(settings, PairSettings):
            for end in ENDS:
                model = getattr(settings, end)
                lines.append(f"{end} = {toml_value(model.model)}")
                lines += [
                    f"{end}_{key} = {toml_value(value)}"
                    for key in MODEL_KEYS
                    if (value := getattr(model, key)) is not None
                ]
            if settings.tables is not None:
                lines.append(f"tables = [{', '.join(map(toml_value, settings.tables))}]")
        else:
            lines += _keys_of(settings)
        if isinstance(settings, TargetSettings):
            lines += _weight_lines(name, settings.weights)
        if isinstance(settings, ChannelSettings):
            lines += _cell_lines(settings)
            for device, own in settings.devices.items():
                lines += [f"[{name}.{DEVICES}.{toml_value(device)}]", *_keys_of(own)]
        lines.append("")
    return "\n".join(lines)


def _cell_lines(settings: ChannelSettings) -> list[str]:
    if settings.cell is None:
        return []
    lines = [f"[channel.{CELL}]", *_keys_of(settings.cell)]
    return lines + _weight_lines(f"channel.{CELL}", settings.cell.weights)


def _weight_lines(place: str, weights: Mapping[str, float]) -> list[str]:
    lines = [f"{toml_value(device)} = {toml_value(weight)}" for device, weight in weights.items()]
    return [f"[{place}.{WEIGHTS}]", *lines] if lines else []


def _keys_of(settings: Any) -> list[str]:
    return [
        f"{key.name} = {toml_value(value)}"
        for key in fields(settings)
        if key.name not in (DEVICES, CELL, WEIGHTS) and (value := getattr(settings, key.name)) is not None
    ]


def toml_value(value: str | int | float | bool | LinkSpec | LinkSchedule) -> str:
    """As TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | LinkSpec | LinkSchedule):
        # A JSON string is a TOML string, but for DEL, which JSON leaves as it is.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


__all__ = ["CELL", "DEVICES", "ENDS", "MODEL_KEYS", "WEIGHTS", "to_toml", "toml_value"]
