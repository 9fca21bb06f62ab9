"""`draftwire explain RECORD`: what the controller believed, chose and promised, and what came of it."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.choices import (
    ALONE,
    Choice,
    Moment,
    Option,
    few_digits,
    grid,
    options,
    speed_of,
)
from draftwire.nodes.console.explain_devices import (
    SHARED,
    DeviceExplained,
    device_fields,
    devices_table,
    each_device,
)
from draftwire.nodes.console.explanation import PINNED, Explanation, Paths, Slice, explain, pinned_paths
from draftwire.nodes.console.generate import say
from draftwire.nodes.console.plots import check_picture, explanation_figure, save
from draftwire.nodes.console.record import of_device, read_record
from draftwire.nodes.console.timeline import sessions_at
from draftwire.nodes.controller.belief import Belief
from draftwire.runtime.errors import ConfigurationError

TOP = 5
"""Choices shown of one moment."""

EXAMPLES = """\
examples:
  draftwire generate "Tell me a story." --schedule '5s rate 1mbit' --record run.jsonl
  draftwire explain run.jsonl
  draftwire explain run.jsonl --plot run.png
  draftwire explain run.jsonl --at 7.5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire explain`."""
    parser.epilog = EXAMPLES
    parser.add_argument("record", metavar="RECORD", type=Path, help="a file that --record wrote")
    parser.add_argument("--device", metavar="NAME", help="of a record of several: the requests of this one")
    parser.add_argument("--at", type=float, metavar="SECONDS", help="one decision in full: that of this time")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="a picture: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Why the controller chose what it chose: over a recorded run, or at one moment of it."""
    check_picture(args.plot)
    record = whole = read_record(args.record)
    if args.device is not None:
        record = of_device(whole, args.device)
    if (pinned := pinned_paths(record)) is not None and args.at is None and args.plot is None:
        _tell_pinned(pinned, as_json=args.json)
        return 0
    explanation = explain(record)
    devices = sorted({one.device for one in record.steps if not one.pinned})
    _check_one_is_meant(args, devices)
    if len(devices) > 1:
        say(f"note: the requests of {len(devices)} devices; see one over time by --device {devices[0]}")
    for warning in record.warnings:
        say(f"note: {warning}")
    if args.at is not None and not 0 <= args.at <= explanation.traces.seconds:
        raise ConfigurationError(
            f"{args.at:g} s is outside of the record",
            key="--at",
            remedy=f"write 0 to {explanation.traces.seconds:.1f}",
        )
    if args.plot is not None:
        title = summary(explanation).replace("; ", "\n", 1)
        title = f"{args.device}: {title}" if args.device is not None else title
        save(explanation_figure(explanation.traces, title=title), args.plot)
        say(f"picture: {args.plot}")
    if args.at is not None:
        moment = explanation.at(args.at)
        (sessions,) = sessions_at(whole, [moment.clock_s], device=moment.device)
        if args.json:
            print(orjson.dumps(moment_fields(moment) | {"sessions": sessions}).decode(), flush=True)
        else:
            print_moment(Console(), moment, sessions=sessions, shared=explanation.shared)
        return 0
    each = each_device(record, devices) if len(devices) > 1 else ()
    if args.json:
        shown = fields(explanation)
        if each:
            shown["devices"] = [device_fields(one) for one in each]
        print(orjson.dumps(shown).decode(), flush=True)
    elif each:
        print_devices(Console(), explanation, each)
    else:
        times_s = [one.moment.clock_s for one in explanation.slices]
        company = sessions_at(whole, times_s, device=explanation.moments[0].device)
        print_explanation(Console(), explanation, crowded=any(many > 1 for many in company))
    return 0


def _check_one_is_meant(args: argparse.Namespace, devices: Sequence[str]) -> None:
    """Raise ConfigurationError for a time, or a picture over time, of several devices: on one axis their
    requests lie one behind the other, whenever they were.
    """
    for key, value in {"--at": args.at, "--plot": args.plot}.items():
        if value is not None and len(devices) > 1:
            problem = f"the record has {len(devices)} devices, and each has a time of its own"
            raise ConfigurationError(problem, key=key, remedy=f"add --device, for instance {devices[0]}")


def _tell_pinned(paths: Paths, *, as_json: bool) -> None:
    """What drafts came to where there was nothing to choose."""
    if as_json:
        print(orjson.dumps({"ids_only": asdict(paths), "slices": [], "changes": []}).decode(), flush=True)
        return
    for line in (f"{PINNED}, so there is no choice to explain", paths_words(paths)):
        Console().print(line, highlight=False, soft_wrap=True)


# For people -------------------------------------------------------------------------------------------------


def summary(explanation: Explanation, *, devices: int = 1) -> str:
    """One line: how much, how fast, how well foretold. Of several devices all together, then each."""
    requests = "1 request" if explanation.requests == 1 else f"{explanation.requests} requests"
    seconds = f"{explanation.traces.seconds:.1f} s"
    parts = [f"{requests}, {explanation.steps} steps, {seconds}"]
    if devices > 1:
        total = "-" if (speed := explanation.total_tokens_per_s) is None else f"{speed:.1f}"
        parts[0] = f"{requests} of {devices} devices, {explanation.steps} steps"
        parts.append(f"{total} tok/s in all, over {explanation.under_way_s:.1f} s ({seconds} together)")
    measured = explanation.measured
    if measured is not None:
        off = explanation.predicted / measured - 1
        each = "each " if devices > 1 else ""
        parts.append(f"{each}{measured:.1f} tok/s, predicted {explanation.predicted:.1f} ({off:+.0%})")
    parts.append(f"target alone, predicted {explanation.alone:.1f}")
    return "; ".join(parts)


def print_explanation(console: Console, explanation: Explanation, *, crowded: bool = False) -> None:
    """The summary, a table over time, and each change in words. `crowded`: see table_of."""
    _print_summary(console, explanation)
    console.print(table_of(explanation.slices, crowded=crowded, shared=explanation.shared))
    for change in explanation.changes:
        console.print(f"{change.at_s:7.1f} s  {change.words}", highlight=False, soft_wrap=True)
    if not explanation.changes:
        console.print("The choice made most often never changed.")
    _print_if_no_rate(console, explanation)


def print_devices(console: Console, explanation: Explanation, each: Sequence[DeviceExplained]) -> None:
    """The summary of all devices, and a row of each: on one axis nobody could tell them apart."""
    _print_summary(console, explanation, devices=len(each))
    console.print(devices_table(each))
    _print_if_no_rate(console, explanation)


def _print_summary(console: Console, explanation: Explanation, *, devices: int = 1) -> None:
    console.print(summary(explanation, devices=devices), highlight=False, soft_wrap=True)
    if explanation.paths is not None:
        console.print(paths_words(explanation.paths), highlight=False, soft_wrap=True)


def _print_if_no_rate(console: Console, explanation: Explanation) -> None:
    if not explanation.traces.true_bps:
        console.print("No rate of the link was recorded: there was no channel, or it wrote another file.")


def table_of(slices: tuple[Slice, ...], *, crowded: bool = False, shared: bool = False) -> Table:
    """A row a slice: what was chosen most, by what belief, what it promised, and what came.

    `crowded`: whether the base station served others at the same time; `shared`: see Explanation.
    """
    title = "believed / true; next: the best other K, gamma"
    if crowded:
        title += ",\nas if nobody else were there; plans are made for all sessions together"
    if shared:
        title += f"\n{SHARED}"
    if not all(one.moment.belief.rows for one in slices):
        title += "\nwhere only ids travel, g: gamma / what a free target waits for;\n"
        title += "alpha: of drafts that are the target's own"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("to s", "K", "g", "Mbit/s", "RTT ms", "alpha", "t_d ms", "t_v ms", "tok/s", "alone")
    for heading in (*headings, "next tok/s"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for one in slices:
        table.add_row(*_cells(one))
    return table


def paths_words(paths: Paths) -> str:
    """What became of drafts where only ids travelled, in a line."""
    told = (
        f"ids only: {paths.passes / max(1, paths.tokens):.2f} passes a token; "
        f"{paths.tested / paths.passes:.1f} ids came in time for a pass"
    )
    if paths.seen:
        late = f" ({paths.late} too late to help)" if paths.late else ""
        told += f"; of {paths.seen} held against the text {paths.right} were right{late}"
    if paths.drafted is not None:
        told += f"; {paths.drafted} drafted, {paths.wasted} of them wasted"
    return told + ("; the device may stop early" if paths.early_stop > 0.5 else "")


def print_moment(console: Console, moment: Moment, *, sessions: int = 1, shared: bool = False) -> None:
    """One decision: its belief, its best choices, the target alone, and the fixed settings.

    `sessions`: that the base station served then; `shared`: see Explanation.
    """
    belief, with_others = moment.belief, sessions > 1
    whose = f"{moment.device}, " if with_others else ""
    console.print(f"{whose}{moment.at_s:.2f} s: {moment.choice} ({belief.reason})", highlight=False)
    if with_others:
        console.print(
            f"decided for all {sessions} sessions together: what a plan costs the others counts too",
            highlight=False,
            soft_wrap=True,
        )
    own = " while nobody else sends" if shared else ""
    true = "" if moment.true_bps is None else f" (true{own}: {moment.true_bps / 1e6:.3g})"
    console.print(
        f"link {belief.uplink_bps / 1e6:.3g} Mbit/s up{true}, round trip {1e3 * belief.rtt_s:.1f} ms; "
        f"a drafted token {1e3 * belief.draft_step_s:.2f} ms, a pass {1e3 * belief.target_step_s:.1f} ms and "
        f"{1e3 * belief.target_per_token_s:.2f} ms a drafted token",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_acceptance(belief), highlight=False, soft_wrap=True)
    if ordered := _ordered(moment):
        console.print(ordered, highlight=False, soft_wrap=True)
    title = "By this belief, tokens a second" + (",\nas if nobody else were there" if with_others else "")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("choice", no_wrap=True)
    table.add_column("tok/s", justify="right")
    table.add_column("x chosen", justify="right")
    chosen = speed_of(belief, moment.choice)
    for name, speed in _alternatives(moment):
        table.add_row(name, f"{speed:.1f}", f"{speed / chosen:.2f}")
    console.print(table)


def _ordered(moment: Moment) -> str:
    """What the plan says besides where only ids travel; empty: nothing."""
    if moment.belief.rows or not moment.choice.gamma:
        return ""
    parts = []
    if moment.uplink_bps:
        parts.append(f"the device paces itself by {moment.uplink_bps / 1e6:.3g} Mbit/s")
    if moment.choice.min_draft and moment.patience_s is not None:
        parts.append(f"a free target waits {1e3 * moment.patience_s:.0f} ms for drafts at most")
    return "; ".join(parts)


def _acceptance(belief: Belief) -> str:
    if belief.rows:
        return "alpha by K: " + ", ".join(f"{k}: {alpha:.2f}" for k, alpha in belief.alphas.items())
    chances = ", ".join(f"{chance:.2f}" for chance in belief.survives[1:7])
    alpha = next(iter(belief.alphas.values()))
    return (
        f"only ids travel ({'temperature 0' if belief.greedy else belief.acceptance}): a draft is right with "
        f"{alpha:.2f}" + (f"; the first 1, 2, ... of a path all are with {chances}" if chances else "")
    )


def _alternatives(moment: Moment) -> list[tuple[str, float]]:
    best = options(moment.belief)[:TOP]
    rows = [(f"{moment.choice}, chosen", speed_of(moment.belief, moment.choice))]
    rows += [(str(one.choice), one.tokens_per_s) for one in best if one.choice != moment.choice]
    others = [Option(ALONE, speed_of(moment.belief, ALONE)), *grid(moment.belief)]
    shown = {moment.choice, *(one.choice for one in best)}
    return rows + [(str(one.choice), one.tokens_per_s) for one in others if one.choice not in shown]


def _cells(one: Slice) -> tuple[str, ...]:
    belief, choice = one.moment.belief, one.moment.choice
    alpha = belief.alphas.get(choice.k) if belief.rows else next(iter(belief.alphas.values()))
    other = one.alternative
    return (
        f"{one.ends_s:.1f}",
        str(choice.k) if choice.gamma and belief.rows else "-",
        (str(choice.gamma) if choice.min_draft is None else _short(choice))
        + ("?" if belief.reason in ("explore", "retry") else ""),
        "/".join(_mbit(rate) for rate in (belief.uplink_bps, one.moment.true_bps)),
        f"{1e3 * belief.rtt_s:.0f}",
        "-" if alpha is None or not choice.gamma else f"{alpha:.2f}",
        f"{1e3 * belief.draft_step_s:.1f}",
        f"{1e3 * (belief.target_step_s + choice.gamma * belief.target_per_token_s):.0f}",
        f"{one.predicted:.1f}/{'-' if one.measured is None else f'{one.measured:.1f}'}",
        f"{one.alone:.1f}",
        "-" if other is None else f"{_short(other.choice)} {other.tokens_per_s:.1f}",
    )


def _short(choice: Choice) -> str:
    """`32,4`: K and gamma; `8/2`: gamma and what a free target waits for, where only ids travel."""
    return f"{choice.k},{choice.gamma}" if choice.min_draft is None else f"{choice.gamma}/{choice.min_draft}"


def _mbit(rate_bps: float | None) -> str:
    return "-" if rate_bps is None else few_digits(rate_bps / 1e6)


# For programs -----------------------------------------------------------------------------------------------


def fields(explanation: Explanation) -> dict[str, Any]:
    """Plain values; units in the names."""
    return {
        "requests": explanation.requests,
        "steps": explanation.steps,
        "seconds": explanation.traces.seconds,
        "tokens_per_s": explanation.measured,
        "under_way_s": explanation.under_way_s,
        "total_tokens_per_s": explanation.total_tokens_per_s,
        "predicted_tokens_per_s": explanation.predicted,
        "alone_tokens_per_s_predicted": explanation.alone,
        "ids_only": None if explanation.paths is None else asdict(explanation.paths),
        "slices": [
            {
                "begins_s": one.begins_s,
                "ends_s": one.ends_s,
                "share": one.share,
                "predicted_tokens_per_s": one.predicted,
                "measured_tokens_per_s": one.measured,
                "alone_tokens_per_s_predicted": one.alone,
                "decision": moment_fields(one.moment),
            }
            for one in explanation.slices
        ],
        "changes": [asdict(change) for change in explanation.changes],
    }


def moment_fields(moment: Moment) -> dict[str, Any]:
    """One decision: belief, and what its choices promise."""

    def each(some: tuple[Option, ...]) -> list[dict[str, Any]]:
        return [{**_choice_fields(one.choice), "tokens_per_s": one.tokens_per_s} for one in some]

    return {
        "at_s": moment.at_s,
        "device": moment.device,
        **_choice_fields(moment.choice),
        "true_uplink_bps": moment.true_bps,
        "paced_bps": moment.uplink_bps,
        "patience_s": moment.patience_s,
        "belief": moment.belief.fields(),
        "best": each(options(moment.belief)[:TOP]),
        "grid": each(grid(moment.belief)),
        "alone_tokens_per_s": speed_of(moment.belief, ALONE),
    }


def _choice_fields(choice: Choice) -> dict[str, Any]:
    return choice._asdict() | {"k": choice.k or None}


__all__ = [
    "add_arguments",
    "fields",
    "moment_fields",
    "paths_words",
    "print_devices",
    "print_explanation",
    "print_moment",
    "run",
    "summary",
    "table_of",
]
