"""`draftwire observer --config FILE`: hears what all nodes tell, and serves a page and metrics of it."""

import argparse
from contextlib import AsyncExitStack
from pathlib import Path

from draftwire.nodes.console.launch import PAGE
from draftwire.nodes.console.roles import add_role_arguments, chosen_topology, run_node
from draftwire.runtime.actor import print_ready, run_actor
from draftwire.runtime.config import ObserverSettings
from draftwire.runtime.security import Role
from draftwire.runtime.telemetry import get_logger, set_up_logging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `draftwire observer`."""
    add_role_arguments(parser)
    parser.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="append all that it hears, JSON lines; prompts and texts are among it",
    )


def run(args: argparse.Namespace) -> int:
    """The observer alone: hears what all nodes tell, and serves a page and metrics of it.

    The file needs a section [observer], at every node: they connect to its `address`. The page is at its
    `host` and `port`. It sees prompts and texts of all devices; nothing waits for it.
    """
    from draftwire.runtime.web.keys import api_key, check_open_to

    topology = chosen_topology(args)
    settings = topology.need_observer(source="" if args.config is None else str(args.config))
    key = api_key(settings.key_file, key="observer.key_file")
    remedy = "write key_file, or set DRAFTWIRE_API_KEY, or leave host out for this machine alone"
    check_open_to(settings.host, key=key, where="observer.host", remedy=remedy)
    set_up_logging()

    async def main() -> None:
        from starlette.applications import Starlette

        from draftwire.nodes.console.observing import build_observer
        from draftwire.runtime.web.guard import Guard, hosts_of
        from draftwire.runtime.web.server import served

        async with AsyncExitStack() as stack:
            observer = build_observer(topology, stack, record=args.record)
            page = Starlette(routes=list(observer.routes))
            app = Guard(page, hosts=hosts_of(settings.host, key=key), key=key)
            url = await stack.enter_async_context(
                served(app, host=settings.host, port=settings.port, logger=get_logger(Role.OBSERVER))
            )
            print_ready(f"{PAGE}{url}/{_key_words(settings, key)}")
            await run_actor(observer.node, transport=observer.transport, drain_s=0.0)

    return run_node(main, args)


def _key_words(settings: ObserverSettings, key: str | None) -> str:
    """Where the key goes, which is no word for a terminal or a log."""
    if key is None:
        return ""
    where = "DRAFTWIRE_API_KEY" if settings.key_file is None else settings.key_file
    return f" (once with ?key= and the key of {where} behind it)"


__all__ = ["add_arguments", "run"]
