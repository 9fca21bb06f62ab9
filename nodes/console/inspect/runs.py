"""A record for people: what travelled, an event a line, and what it comes to.

Why the controller chose what it chose, `draftwire explain` says.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from draftwire.nodes.console.choices import Choice, choice_of
from draftwire.nodes.console.escape import safe
from draftwire.nodes.console.inspect.view import HEADING, QUIET, count_of, say
from draftwire.nodes.console.inspect.wrapping import say_behind
from draftwire.nodes.console.record import Decision, LinkChange, Record, Rows, Step


class Moment(NamedTuple):
    """An event in time."""

    at_s: float
    "on the recording host's monotonic clock"
    node: str
    event: str
    words: str


def moments_of(record: Record) -> list[Moment]:
    """Steps, rows, decisions and changes of a link, in order of time."""
    names = _Names(record)
    found = [Moment(one.ended_at_s, "target", "step", _step(one, names)) for one in record.steps]
    found += [Moment(one.rows_at_s, "controller", "rows", _rows(one, names)) for one in _came(record)]
    found += [Moment(one.at_s, "controller", "decision", _decision(one, names)) for one in record.decisions]
    found += [Moment(one.at_s, "channel", "link", _link(one)) for one in record.links]
    return sorted(found, key=lambda one: one.at_s)


def print_run(console: Console, record: Record) -> None:
    """Every event, answers and outcomes behind the others, and the summary."""
    moments = moments_of(record)
    for one in moments:
        at_s = one.at_s - moments[0].at_s
        say_behind(console, Text(f"{at_s:9.4f}  {one.node:10} {one.event:8} "), Text(safe(one.words)))
    for values in _answers(record):
        head = f"{'':9}  {'device':10} {values['event']:8} "
        say_behind(console, Text(head), Text(safe(_answer(values))))
    say(console, summary(record), HEADING)
    if record.cut:
        say(console, "the last line is cut and left out: somebody still writes, or was killed", QUIET)
    if record.torn:
        say(console, f"lines that are torn and left out: {record.torn}; a disk was full", QUIET)


def summary(record: Record) -> str:
    """What all steps come to."""
    values = run_values(record)
    counts = (("requests", "request"), ("steps", "step"), ("drafted", "drafted token"))
    parts = [", ".join(count_of(values[key], what) for key, what in counts)]
    up = values["draft_bytes"] + values["rows_bytes"]
    told = f"{up} B of drafts and rows up"
    if values["bytes_up"] is not None:
        told = f"{values['bytes_up']} B up ({told}), {values['bytes_down']} B down"
    parts.append(told)
    if values["bits_per_entry"] is not None:
        parts.append(f"{values['bits_per_entry']:.2f} bits/entry, frames included")
    for name, key in (("K", "k"), ("gamma", "gamma")):
        if values[key] is not None:
            low, high = values[key]
            parts.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    if values["alpha"] is not None:
        name = "right" if all(one.hints for one in record.steps) else "alpha"
        parts.append(f"{name} {values['alpha']:.2f}")
    return "; ".join(parts)


def run_values(record: Record) -> dict[str, Any]:
    """The same for programs."""
    steps, drawn = record.steps, [one for one in record.steps if one.drafted]
    seen = sum(one.seen for one in steps)
    entries, rows_bits = _rows_size(record)
    answers = list(_answers(record))
    return {
        "requests": len({(one.device, one.request) for one in steps}),
        "steps": len(steps),
        "drafted": sum(one.drafted for one in steps),
        "draft_bytes": sum(one.draft_bytes for one in steps),
        "rows_bytes": rows_bits // 8,
        "bytes_up": sum(one["bytes_up"] for one in answers) if answers else None,
        "bytes_down": sum(one["bytes_down"] for one in answers) if answers else None,
        "bits_per_entry": rows_bits / entries if entries else None,
        "k": _range([one.k for one in drawn]),
        "gamma": _range([one.gamma for one in steps]),
        "alpha": sum(one.accepted for one in steps) / seen if seen else None,
    }


def _came(record: Record) -> Iterator[Rows]:
    """Every message with rows, once: of a path each has two lines, when it comes and when it tells more."""
    single = {(one.device, one.request, one.rows_at_s) for one in record.rows if not one.positions}
    for one in record.rows:
        if not one.positions or (one.device, one.request, one.rows_at_s) not in single:
            yield one


def _rows_size(record: Record) -> tuple[int, int]:
    """Entries, and bits of the frames that they came in, behind their step's report or before it.

    Where drafts are hints a row comes alone, and its step tells nothing of it.
    """
    came = list(_came(record))
    hints = {(one.device, one.request) for one in record.steps if one.hints}
    single = [one for one in came if (one.device, one.request) in hints]
    entries, bits = sum(one.k for one in single), 8 * sum(one.rows_bytes for one in single)
    late = {(one.device, one.request, one.step): one.rows_bytes for one in came}
    for step in record.steps:
        size = step.rows_bytes or late.get((step.device, step.request, step.step), 0)
        if size and step.drafted and not step.hints:
            entries += step.k * step.drafted
            bits += 8 * size
    return entries, bits


class _Names:
    """Of requests: a device, and which of its requests where it has several."""

    def __init__(self, record: Record) -> None:
        self._requests = dict[str, list[int]]()
        events: Sequence[Step | Rows | Decision] = [*record.steps, *record.rows, *record.decisions]
        for one in events:
            known = self._requests.setdefault(one.device, [])
            if one.request not in known:
                known.append(one.request)

    def of(self, one: Step | Rows | Decision) -> str:
        """As few words as tell it from the others; empty where there is one."""
        known = self._requests[one.device]
        name = one.device if len(self._requests) > 1 else ""
        which = f"request {known.index(one.request) + 1}" if len(known) > 1 else ""
        return " ".join(part for part in (name, which) if part)


def _step(one: Step, names: _Names) -> str:
    if one.hints and one.gamma:
        came = f"{count_of(one.drafted, 'draft')} at" if one.drafted else "no draft had come, log of"
        told = f"{Choice(0, one.gamma, one.min_draft)}, {came} {one.position}"
    elif one.alone:
        told = f"target alone, log of {one.position}"
    elif not one.drafted:
        told = f"no drafts, log of {one.position}"
    else:
        told = f"K {one.k}, gamma {one.gamma}, {one.accepted} of {one.drafted} accepted at {one.position}"
    if one.hints and one.seen:
        told = f"{told}, since the step before {one.accepted} of {one.seen} right"
    rows = "" if one.hints else f", {one.rows_bytes} B rows"
    sent = f"{one.draft_bytes} B draft{rows}" if one.drafted else ""
    return _joined(f"{names.of(one)} step {one.step}".strip(), told, sent, f"pass {1e3 * one.step_s:.1f} ms")


def _rows(one: Rows, names: _Names) -> str:
    late_s = one.rows_at_s - one.draft_at_s
    name = f"{names.of(one)} step {one.step}".strip()
    return _joined(name, f"K {one.k}, {one.rows_bytes} B, {1e3 * late_s:.1f} ms behind the draft")


def _decision(one: Decision, names: _Names) -> str:
    chosen = choice_of(one)
    reason = f"({one.belief.reason})" if one.belief is not None else ""
    is_paced = chosen.min_draft is not None and one.uplink_bps
    paced = f"uplink {one.uplink_bps / 1e6:.3g} Mbit/s" if is_paced else ""
    return _joined(f"{names.of(one)} step {one.step}".strip(), f"{chosen} {reason}".strip(), paced)


def _link(one: LinkChange) -> str:
    return f"{one.direction}: {one.link}"


def _answer(values: dict[str, Any]) -> str:
    sent = f"{values['bytes_up']} B up, {values['bytes_down']} B down"
    return _joined(f"{values['tokens']} tokens", sent, str(values["finish"]))


def _answers(record: Record) -> Iterator[dict[str, Any]]:
    """What came of requests, by their devices' account."""
    keys = ("tokens", "bytes_up", "bytes_down", "finish")
    for answer in record.answers:
        if all(isinstance(answer.get(key), int) for key in keys[:3]):
            yield {"event": "answer", **{key: answer.get(key) for key in keys}}
    for one in record.outcomes:
        yield {"event": "outcome", **{key: getattr(one, key) for key in keys}}


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _range(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


__all__ = ["Moment", "moments_of", "print_run", "run_values", "summary"]
