"""Which nodes are there, by what was heard of them and when. Pure."""

from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import ROLES
from draftwire.runtime.memory import remember

SILENT_S: Final = 12.0
"""A node says that it is there each 5 s: two are missing."""

MAX_NODES: Final = 256
"""Of a role."""


class Presence:
    """Nodes by role and name."""

    def __init__(self) -> None:
        self._heard_s: dict[str, dict[str, float]] = {role: {} for role in ROLES}

    def hear(self, role: str, node: str, at_s: float) -> None:
        """It told something."""
        remember(self._heard_s[role], node, at_s, most=MAX_NODES)

    def up(self, now_s: float) -> dict[tuple[str, str], bool]:
        """(role, node) -> whether it is there."""
        return {
            (role, node): now_s - heard_s < SILENT_S
            for role, nodes in self._heard_s.items()
            for node, heard_s in nodes.items()
        }

    def fields(self, role: str, *, device: str | None, detail: str, now_s: float) -> dict[str, Json]:
        """As a feed tells of a role: of the device that is shown, else of whoever was heard last.

        `detail`: what there is to say of it while it is there; empty: its name.
        """
        nodes = self._heard_s[role]
        last = next(reversed(nodes), None)
        node = device if role == "device" and device is not None else last
        if node is None or node not in nodes:
            return {"state": "unknown", "detail": "nothing was heard of it"}
        silent_s = now_s - nodes[node]
        if silent_s < SILENT_S:
            return {"state": "up", "detail": detail or node}
        return {"state": "silent", "detail": f"nothing heard for {_about(silent_s)}"}


def _about(time_s: float) -> str:
    """Roughly: what is shown must not change all the time."""
    if time_s < 60:
        return "some seconds"
    if time_s < 3600:
        return f"{int(time_s // 60)} min"
    return f"{int(time_s // 3600)} h"


__all__ = ["SILENT_S", "Presence"]
