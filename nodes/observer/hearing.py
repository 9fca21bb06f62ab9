"""What an observer hears, read once, and handed as typed values to all who keep something of it. Pure."""

from collections.abc import Mapping

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.heard import ROLES, TOLD_BY, OddEvent, read
from draftwire.nodes.observer.metrics import Metrics
from draftwire.nodes.observer.presence import Presence
from draftwire.nodes.observer.state import Observation
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import ALIVE_EVENT


class Hearing:
    """A sink of an observer, with what is kept: for its page, and for Prometheus."""

    def __init__(self) -> None:
        self._presence = Presence()
        self.observation = Observation(self._presence)
        self.metrics = Metrics(self._presence, alpha_of=self.observation.alpha)

    def hear(self, node: str, event: Mapping[str, Json], at_s: float) -> None:
        """A node tells this. What is not what its name says is counted, and changes nothing."""
        role = _role_of(event)
        self.metrics.heard(node, role, at_s)
        try:
            told = read(event)
        except OddEvent:
            self.metrics.odd(node, role, at_s)
            return
        if told is not None:
            self._presence.hear(role, node, at_s)
            self.observation.take(told, at_s)
            self.metrics.take(told, at_s)


def _role_of(event: Mapping[str, Json]) -> str:
    name, said = event.get("event"), event.get("role")
    if name == ALIVE_EVENT and isinstance(said, str) and said in ROLES:
        return said
    teller = TOLD_BY.get(name) if isinstance(name, str) else None
    return (teller or Role.DEVICE).value


__all__ = ["Hearing"]
