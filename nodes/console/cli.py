"""The `draftwire` command: what it can be asked, and where each answer is."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from inspect import cleandoc
from typing import Final, NoReturn

from draftwire import __version__
from draftwire.codecs.errors import LocalError
from draftwire.nodes.console import (
    bench,
    compare,
    demo,
    doctor,
    explain,
    generate,
    inspect,
    keys,
    link,
    models,
    observe,
    plan,
    roles,
    sweep,
    tables,
    up,
)
from draftwire.nodes.console.chaos import command as chaos
from draftwire.nodes.console.options import told_of_tables_option
from draftwire.nodes.console.serve import command as serve
from draftwire.nodes.console.simulate import command as simulate
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.runtime.errors import DraftwireError

DESCRIPTION = """\
Distributed speculative decoding over a slow radio link (TK-SLT, Zheng and Yang 2025).

A draft model on a device proposes tokens and sends the top-K entries of its rows; a target model at a base
station verifies them. The text is distributed exactly as the target's own, whatever K and the draft length
gamma are: they only change the speed.

  draftwire generate "Why is the sky blue?"                      all four nodes here, the shipped pair
  draftwire generate "..." --link 'rate 1mbit delay 20ms'        over another link
  draftwire generate "..." --acceptance coupled                  ids only: no rows travel, and nobody waits
  draftwire generate "..." --draft ORG/SMALL --target ORG/LARGE  with your own pair
  draftwire up configs/demo.toml                                 all nodes of a file; type prompts
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that can't show a character is no reason to end
    args = parser().parse_args(argv)
    try:
        with told_of_tables_option(args):
            return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the text has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        text = _explained(error)
        if text is None:
            raise
        print(f"draftwire: {one_line(text)}", file=sys.stderr)
        return getattr(error, "exit_code", 2)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="draftwire", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"draftwire {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, add_arguments, run, summary in COMMANDS:
        command = commands.add_parser(
            name,
            help=summary,
            description=cleandoc(run.__doc__ or summary),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)
    return top


COMMANDS = (
    ("generate", generate.add_arguments, generate.run, "answer a prompt with all four nodes on this machine"),
    ("serve", serve.add_arguments, serve.run, "OpenAI's API over a link that you bend, with a live page"),
    ("demo", demo.add_arguments, demo.run, "the shipped pair over an emulated link, beside the target alone"),
    ("plan", plan.add_arguments, plan.run, "best draft length and K: the paper's formulas, and true frames"),
    ("bench", bench.add_arguments, bench.run, "measured here: the controller, links, codec, virtual time"),
    ("compare", compare.add_arguments, compare.run, "fixed settings, the paper's, the controller: one link"),
    ("sweep", sweep.add_arguments, sweep.run, "the paper's Table II on your pair: K, gamma, temperature"),
    ("simulate", simulate.add_arguments, simulate.run, "hundreds of devices in virtual time: a seed, a run"),
    ("chaos", chaos.add_arguments, chaos.run, "schedules of faults in virtual time: what is promised holds"),
    ("explain", explain.add_arguments, explain.run, "a recorded run: what the controller chose, and why"),
    ("inspect", inspect.add_arguments, inspect.run, "frames, captures and records, field by field"),
    ("up", up.add_arguments, up.run, "all nodes of a topology file; answers standard input"),
    ("device", roles.add_device_arguments, roles.run_device, "the draft device alone"),
    ("channel", roles.add_channel_arguments, roles.run_channel, "the channel emulator alone"),
    ("link", link.add_arguments, link.run, "a channel's link: look, change it, or draw one beforehand"),
    ("target", roles.add_target_arguments, roles.run_target, "the target base station alone"),
    ("controller", roles.add_controller_arguments, roles.run_controller, "the controller alone"),
    ("observer", observe.add_arguments, observe.run, "hears what all nodes tell: a page and metrics of it"),
    ("doctor", doctor.add_arguments, doctor.run, "can this machine do its part, and which hop fails"),
    ("keys", keys.add_arguments, keys.run, "keys for separate machines: make, allow, list"),
    ("models", models.add_arguments, models.run, "is a pair worth it: gates, memory, alpha by K, speed"),
    ("tables", tables.add_arguments, tables.run, "rank tables, which make rows shorter: learn, list, show"),
)
"""Name, options, code, and a line of help."""


_LEFT_WORDS: Final = re.compile(r"unrecognized arguments: [^-].*", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; who wants the whole usage asks for --help."""

    def error(self, message: str) -> NoReturn:
        """As argparse: exit code 2."""
        if _LEFT_WORDS.fullmatch(message):
            message += ": a value of several words needs quotes"
        self.exit(2, f"draftwire: {message}; see {self.prog} --help\n")


def one_line(text: str) -> str:
    """A text of several lines as one; of lines with columns the first column."""
    head, *rest = text.splitlines() or [""]
    items = [re.split(r"\s{2,}", line.strip())[0] for line in rest]
    return " ".join([head, ", ".join(item for item in items if item)]).strip()


def _explained(error: Exception) -> str | None:
    """One line for an error that a person can mend; None for a bug."""
    if isinstance(error, DraftwireError | UnsupportedModelError | LocalError):
        return str(error)
    return None


__all__ = ["main", "one_line", "parser"]
