"""Which nodes are there, by what was heard of them and when. Pure."""

from math import inf
from typing import Final

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import ROLES
from draftwire.nodes.observer.names import Names

SILENT_S: Final = 12.0
"""A node says that it is there each 5 s: two are missing."""

MAX_NODES: Final = 256
"""Of a role."""


class Presence:
    """Nodes by role and name."""

    def __init__(self) -> None:
        self._heard_s = {role: Names[float](MAX_NODES) for role in ROLES}

    def hear(self, role: str, node: str, at_s: float) -> None:
        """It told something."""
        self._heard_s[role].put(node, at_s)

    def silent_s(self, role: str, node: str, now_s: float) -> float:
        """For how long nothing was heard of it; inf: nothing ever was, or that is forgotten."""
        heard_s = self._heard_s[role].get(node)
        return inf if heard_s is None else now_s - heard_s

    def up(self, now_s: float) -> dict[tuple[str, str], bool]:
        """(role, node) -> whether it is there."""
        return {
            (role, node): now_s - heard_s < SILENT_S
            for role, nodes in self._heard_s.items()
            for node, heard_s in nodes.values.items()
        }

    def fields(self, role: str, *, device: str | None, detail: str, now_s: float) -> dict[str, Json]:
        """As a feed tells of a role: of the device that is shown, else of whoever was heard last.

        `detail`: what there is to say of it while it is there; empty: its name.
        """
        node = device if role == "device" and device is not None else self._heard_s[role].newest()
        silent_s = inf if node is None else self.silent_s(role, node, now_s)
        if node is None or silent_s == inf:
            return {"state": "unknown", "detail": "nothing was heard of it"}
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
