"""Small simulations for tests: a synthetic pair, a handful of devices, seconds of virtual time."""

from dataclasses import replace
from typing import Any

from draftwire.nodes.console.simulate.outcomes import Simulation
from draftwire.nodes.console.simulate.run import simulate
from draftwire.runtime.config import ChannelSettings, ModelSettings, PairSettings, Topology
from draftwire.runtime.link import parse_link

SYNTHETIC = "synthetic:V=64,seed=1,noise=0.5"


def topology(*, link: str = "rate 20mbit delay 5ms", model: str = SYNTHETIC, **changes: Any) -> Topology:
    """A cell with this link both ways, and these changes: `sampling`, `channel` and so on, as fields."""
    ends = ModelSettings(model=model)
    channel = ChannelSettings(uplink=parse_link(link), downlink=parse_link(link))
    base = replace(Topology.default(), pair=PairSettings(draft=ends, target=ends), channel=channel)
    for section, fields in changes.items():
        base = replace(base, **{section: replace(getattr(base, section), **fields)})
    return base


def run(wanted: Topology | None = None, **how: Any) -> Simulation:
    """Two devices for three seconds, unless said otherwise."""
    fields: dict[str, Any] = {"devices": 2, "seconds": 3.0, "seed": 1}
    return simulate(wanted or topology(), **(fields | how))
