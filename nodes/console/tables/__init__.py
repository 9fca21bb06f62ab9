"""`draftwire tables`: learn sets of rank tables, and look at them. What they are: codecs/tables.py."""

import argparse
from collections.abc import Callable
from inspect import getdoc

from draftwire.nodes.console.tables import learn, look

EXAMPLES = """\
examples:
  draftwire tables learn --draft ORG/SMALL --prompts prompts.txt --target ORG/LARGE
  draftwire tables learn --text answers.txt --out my.tables
  draftwire tables show my.tables
  draftwire tables list
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables`."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, help="learn, list or show"
    )

    def action(name: str, act: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name,
            help=summary,
            description=getdoc(act),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(act=act)
        return made

    learn.add_arguments(
        action("learn", learn.run, "learn a set for a draft from text, and say what it saves")
    )
    look.add_list_arguments(action("list", look.run_list, "the sets that are here"))
    look.add_show_arguments(action("show", look.run_show, "what is in a file"))


def run(args: argparse.Namespace) -> int:
    """Rank tables, with which rows travel in fewer bits: learn a set for a draft, list and show sets."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


__all__ = ["add_arguments", "run"]
