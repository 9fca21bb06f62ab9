"""Distributed speculative decoding: a draft on a device, a target at a base station, a radio link between.

    async with draftwire.connect() as device:
        async for token in device.generate("Why is the sky blue?"):
            print(token.text, end="", flush=True)

What this module offers is imported when it is first used, so that `import draftwire` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from draftwire.nodes.console.api import Generation as Generation
    from draftwire.nodes.console.api import Token as Token
    from draftwire.nodes.console.api import connect as connect
    from draftwire.nodes.console.api import connect_all as connect_all

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Generation", "Token", "connect", "connect_all"):
        from draftwire.nodes.console import api

        return getattr(api, name)
    raise AttributeError(f"module 'draftwire' has no attribute {name!r}")


__all__ = ["Generation", "Token", "__version__", "connect", "connect_all"]
