"""Distributed speculative decoding: a draft on a device, a target at a base station, a radio link between.

Start with `draftwire.nodes.console.api.connect`, or the `draftwire` command.
"""

__version__ = "0.1.0"
