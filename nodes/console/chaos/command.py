"""`draftwire chaos`: its options, what runs, what is printed."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console

from draftwire.nodes.console.bars import bar_on
from draftwire.nodes.console.chaos import real_options as real
from draftwire.nodes.console.chaos import soak_options as soak
from draftwire.nodes.console.options import schedules as schedules_option
from draftwire.nodes.console.options import seed as seed_option
from draftwire.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from draftwire.nodes.console.chaos.campaign import Failure, Tally
    from draftwire.nodes.console.chaos.faults import Schedule
    from draftwire.nodes.console.chaos.outcome import Answer, Outcome

DEFAULT_SCHEDULES: Final = 200

MOST_SEED: Final = 2**63 - 1
"""What --seed and --replay take."""

WIDE: Final = 120
"""Columns of a replay that goes to no terminal."""

EXAMPLES = """\
examples:
  draftwire chaos                             200 schedules
  draftwire chaos --schedules 10000 --json    seeds 0 to 9999, one core, some 22 minutes
  draftwire chaos --replay 17                 both ends of that seed's run, side by side
  draftwire chaos --schedule FILE             the same for a schedule that a failure printed
  draftwire chaos --soak 30                   30 virtual hours of devices that come and go: nothing grows
  draftwire chaos --real                      real processes: 20 kills of each node, SIGSTOP, full disks
  draftwire chaos --real --minutes 10         the same nodes at work, with devices that come, go and die

Everything is drawn from the seed: who runs and what is asked, which faults come when. Each schedule is played
twice, and both runs have to be the same to the last message. A failure is told as it comes, with its seed and
a schedule that has been made as small as possible. Exit code 1 if a promise broke; Ctrl-C tells what came.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire chaos`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--schedules", type=schedules_option, metavar="N", help=f"how many; default {DEFAULT_SCHEDULES}"
    )
    parser.add_argument("--seed", type=seed_option, metavar="S", help="of the first; default 0")
    parser.add_argument(
        "--replay", type=seed_option, metavar="SEED", help="play one, with both ends side by side"
    )
    parser.add_argument("--schedule", type=Path, metavar="FILE", help="the same for a schedule in a file")
    soak.add_arguments(parser)
    real.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """The four nodes in virtual time under schedules of faults: crashes, stalls, bad links, full disks.

    Whatever happens: what was shown is never lost, repeated or changed, with ids only the text is that of a
    run without faults, and every request ends. docs/faults.md has all that is promised.
    """
    if real.is_asked(args):
        return real.run(args)
    # Imported when asked for: no other command waits for it.
    from draftwire.nodes.console.chaos.real_setup import ended_in_order

    with ended_in_order():  # so that no journal stays in memory
        return soak.run(args) if soak.is_asked(args) else _run(args)


def _run(args: argparse.Namespace) -> int:
    from draftwire.nodes.console.chaos.swarm import schedule_of
    from draftwire.nodes.console.chaos.writing import read_file

    if args.replay is not None and args.schedule is not None:
        raise ConfigurationError(f"{args.replay} beside --schedule", key="--replay", remedy="give one")
    if args.replay is None and args.schedule is None:
        return _many(args)
    for option in ("schedules", "seed"):
        if getattr(args, option) is not None:
            one = "--replay" if args.schedule is None else "--schedule"
            problem = f"{getattr(args, option)} beside {one}, which plays one"
            raise ConfigurationError(problem, key=f"--{option}", remedy="leave it out")
    return _one(schedule_of(args.replay) if args.schedule is None else read_file(args.schedule), args)


def _many(args: argparse.Namespace) -> int:
    from draftwire.nodes.console.chaos.campaign import Tally, as_fields, run_campaign
    from draftwire.nodes.console.chaos.play import play
    from draftwire.nodes.console.chaos.swarm import schedule_of

    first, wanted = args.seed or 0, DEFAULT_SCHEDULES if args.schedules is None else args.schedules
    if first + wanted > MOST_SEED + 1:
        remedy = f"choose up to {MOST_SEED + 1 - wanted}: {wanted} seeds from there are up to {MOST_SEED}"
        raise ConfigurationError(f"{first}", key="--seed", remedy=remedy)
    tally, interrupted = Tally(wanted=wanted), False
    console = Console(stderr=True)
    with bar_on(console) as bar:
        task = bar.add_task("", total=wanted)

        def progress(tally: "Tally", doing: str) -> None:
            bar.update(task, completed=tally.schedules, description=doing or f"{len(tally.failures)} failed")

        try:
            run_campaign(
                (schedule_of(seed) for seed in range(first, first + wanted)),
                tally,
                play=play,
                told=lambda failure: _tell(failure, console),
                progress=progress,
            )
        except KeyboardInterrupt:
            interrupted = True
    if args.json:
        print(orjson.dumps(as_fields(tally)).decode(), flush=True)
    else:
        print("\n".join(_summary(tally)), flush=True)
    return 130 if interrupted else 0 if tally.held else 1


def _tell(failure: "Failure", console: Console) -> None:
    """What broke and how to look at it; then, the smallest schedule that breaks it."""
    from draftwire.nodes.console.chaos.telling import told, told_scenario
    from draftwire.nodes.console.chaos.writing import written

    seed, small = failure.schedule.seed, failure.shrunk
    if small is None:
        text = [f"seed {seed}: {one.promise}, at {one.at_s:.3f} s: {one.what}" for one in failure.broken[:3]]
        if len(failure.broken) > 3:
            text.append(f"  and {len(failure.broken) - 3} more")
        text.append(f"  look at it: draftwire chaos --replay {seed}")
    else:
        text = [
            f"seed {seed} made small, {len(small.faults)} of {len(failure.schedule.faults)} faults are left:",
            f"  {told_scenario(small.scenario)}",
            *(f"  {told(fault)}" for fault in small.faults),
            "  as a file for draftwire chaos --schedule FILE:",
            written(small),
        ]
    console.print("\n".join(text), markup=False, highlight=False, soft_wrap=True)


def _summary(tally: "Tally") -> list[str]:
    from draftwire.nodes.console.chaos.pooled import NEVER

    faults = ", ".join(f"{kind} {number}" for kind, number in sorted(tally.faults_by_kind.items()))
    chances = {name: chance for name, chance in tally.law.chances().items() if chance is not None}
    lines = [
        f"{tally.schedules} of {tally.wanted} schedules, {tally.virtual_s:.0f} s of virtual time "
        f"in {tally.wall_s:.1f} s, each played twice",
        f"faults: {faults or 'none'}",
        f"answers: {tally.answers}, {tally.tokens} tokens",
    ]
    if tally.recovered_p99_s is not None:
        lines.append(f"next token behind a fault's end: within {tally.recovered_p99_s:.2f} s for 99 %")
    if chances:
        words = ", ".join(f"{name} {chance:.2g}" for name, chance in chances.items())
        lines.append(f"law under rejection, {tally.law.tokens} tokens, chance of such a chi-square: {words}")
    if not tally.law.holds:
        lines.append(f"broken: tokens do not have the target's law: a chance is below {NEVER:g}")
    broken = ", ".join(f"{promise} {number}" for promise, number in sorted(tally.broken.items()))
    seeds = ", ".join(str(one.schedule.seed) for one in tally.failures)
    more = f", seeds {seeds}; runs by promise: {broken}" if seeds else ""
    return [*lines, f"failed: {len(tally.failures)}{more}"]


def _one(schedule: "Schedule", args: argparse.Namespace) -> int:
    from draftwire.nodes.console.chaos.campaign import play_twice
    from draftwire.nodes.console.chaos.play import play

    outcome = play_twice(lambda one: play(one, history=True))(schedule)
    if args.json:
        print(orjson.dumps(_fields_of(schedule, outcome)).decode(), flush=True)
    else:
        _show(schedule, outcome)
    return 1 if outcome.broken else 0


def _show(schedule: "Schedule", outcome: "Outcome") -> None:
    from draftwire.nodes.console.chaos.checks import PROMISES
    from draftwire.nodes.console.chaos.sides import lines
    from draftwire.nodes.console.chaos.telling import told, told_scenario

    print(f"seed {schedule.seed}: {told_scenario(schedule.scenario)}")
    for fault in schedule.faults:
        print(f"  {told(fault)}")
    print()
    console = Console()
    for line in lines(outcome.events, width=console.width if console.is_terminal else WIDE):
        print(line)
    print()
    for answer in outcome.answers:
        end = "" if answer.ended else f", not ended: {answer.reason}"
        print(f"{answer.device}, request {answer.number}: {len(answer.ids)} tokens{end}")
    for one in outcome.broken:
        print(f"broken at {one.at_s:.3f} s: {PROMISES[one.promise]}\n  {one.what}")
    if not outcome.broken:
        print(f"every promise held; trace hash {outcome.trace_hash}")


def _fields_of(schedule: "Schedule", outcome: "Outcome") -> dict[str, Any]:
    from draftwire.nodes.console.chaos.writing import as_fields

    return {
        "schedule": as_fields(schedule),
        "broken": [{"promise": one.promise, "at_s": one.at_s, "what": one.what} for one in outcome.broken],
        "answers": [_answer_fields(one) for one in outcome.answers],
        "trace_hash": outcome.trace_hash,
        "virtual_s": outcome.virtual_s,
        "recovered_s": outcome.recovered_s,
        "events": [{"at_s": one.at_s, "node": one.node, "text": one.text} for one in outcome.events],
    }


def _answer_fields(answer: "Answer") -> dict[str, Any]:
    names = ("device", "number", "ids", "ended", "reason")
    return {name: getattr(answer, name) for name in names}


__all__ = ["add_arguments", "run"]
