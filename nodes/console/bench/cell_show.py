"""`draftwire bench cell` as a table."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.bench.cell_figures import COUNTS
from draftwire.nodes.console.bench.goals import verdict


def show(found: Mapping[str, Any]) -> None:
    """For people."""
    console = Console(highlight=False)
    console.print(_by_count(found))
    console.print(_goals(found))
    times = found["capacity_over_colocated"]
    colocated = (
        f"colocated: {found['capacity_rate']:.1f} tokens/s each of 16 sessions here; a base station that "
        f"drafts for them (gamma {found['colocated_gamma']}) has {16 / times:.1f} of them: {times:.2f} times "
        f"as many here, bound {found['capacity_bound']:.2f}"
    )
    gaps = (
        f"pauses between tokens shown, 16 devices, p99: {found['p99_gap_ms']:.0f} ms, "
        f"of the target alone {found['p99_gap_ms_target_only']:.0f} ms"
    )
    conditions = (
        f"target in {found['target_dtype']}, one thread; draft step {found['draft_step_ms']:.2f} ms; "
        f"a plan {found['plan_us']:.0f} us; "
        f"{found['cores']} cores, {found['cpu']}, load average {found['load_average']:.1f}"
    )
    for line in (colocated, gaps, *_others(found), *_real(found), conditions):
        console.print(line, soft_wrap=True, markup=False)


def _by_count(found: Mapping[str, Any]) -> Table:
    table = Table(title="Devices at one base station", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for count in COUNTS:
        table.add_column(str(count), justify="right", no_wrap=True)
    passes = found["pass_times_ms"][found["target_dtype"]]
    lines = (
        ("tokens a second", "total_tok_s", ".1f"),
        ("  the target alone", "target_only_tok_s", ".1f"),
        ("over the target alone", "over_target_only", ".3f"),
        ("  each by itself", "selfish_over_target_only", ".3f"),
        ("  best gamma for all", "best_fixed", ".3f"),
        ("  bound without round trip", "bound_over_target_only", ".3f"),
        ("sessions a pass", "sessions_a_pass", ".1f"),
        ("gamma, mean", "gamma", ".2f"),
        ("K, mean", "k", ".0f"),
    )
    for name, key, form in lines:
        values = [found[key][str(count)] for count in COUNTS]
        table.add_row(name, *("-" if value is None else format(value, form) for value in values))
    for each in ("1", "2", "3"):
        times = [passes[str(count)].get(each) for count in COUNTS]
        told = ("-" if ms is None else f"{ms:.0f}" for ms in times)
        table.add_row(f"pass of {each} position{'' if each == '1' else 's'} each, ms", *told)
    return table


def _goals(found: Mapping[str, Any]) -> Table:
    ratios = found["over_target_only"]
    values = {
        "over_target_only_up_to_4": ("least over the target alone, 1 to 4", min(ratios[n] for n in "124")),
        "over_target_only_at_16": ("over the target alone, 16", ratios["16"]),
        "jain_fairness": ("Jain's fairness, least", found["jain_fairness"]),
    }
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for heading in ("value", "goal", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, (what, value) in values.items():
        table.add_row(what, f"{value:.3f}", *verdict(found["goals"][name]))
    return table


def _others(found: Mapping[str, Any]) -> list[str]:
    return [
        f"over the target alone, {name} (alpha {one['alpha']:.2f}): "
        + ", ".join(f"{count}: {ratio:.2f}" for count, ratio in one["over_target_only"].items())
        for name, one in found["other_pairs"].items()
    ]


def _real(found: Mapping[str, Any]) -> list[str]:
    real = found["real"]
    if real is None:
        return []
    ratios = ", ".join(f"{count}: {ratio:.2f}" for count, ratio in real["over_target_only"].items())
    totals = ", ".join(f"{count}: {total:.1f}" for count, total in real["total_tok_s"].items())
    return [f"real processes: tokens/s {totals}; over the target alone {ratios}"]


__all__ = ["show"]
