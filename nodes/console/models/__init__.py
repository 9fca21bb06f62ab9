"""`draftwire models`: what can be known of a pair before anything of it is deployed."""

import argparse
from collections.abc import Callable
from inspect import getdoc

from draftwire.nodes.console.models import check

EXAMPLES = """\
examples:
  draftwire models check smollm2 smollm2
  draftwire models check ORG/SMALL ORG/LARGE --rtt 40ms --rates 500kbit,2mbit,10mbit
  draftwire models check ./draft ./target --draft-step 3.1ms --target-step 44.5ms --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire models`."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, help="check")
    act: Callable[[argparse.Namespace], int] = check.run
    checking = actions.add_parser(
        "check",
        help="whether a pair fits together, and over which links it is worth it",
        description=getdoc(act),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_arguments(checking)
    checking.set_defaults(act=act)


def run(args: argparse.Namespace) -> int:
    """What a pair of models is good for, before it is deployed: whether they fit, and what they bring."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


__all__ = ["add_arguments", "run"]
