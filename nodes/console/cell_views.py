"""The sessions of a cell as people and programs see them: a live table, a line, the end, a JSON object."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from draftwire.nodes.console.cell_sessions import Session, State, Witness, jain_fairness

LINES_BESIDE: Final = 8
"""Of a screen, beside the rows of the live table."""

COLUMNS_BESIDE: Final = 52
"""The same across, names left out: what is left is the answers'."""

STYLES: Final = {State.ANSWERING: "green", State.OPENING: "yellow", State.FAILED: "red"}


def live_table(
    sessions: Sequence[Session], witness: Witness, now_s: float, *, width: int, height: int
) -> RenderableType:
    """A row a session and a line of all; of more than the screen has lines for, those that failed first.

    width, height: of the screen, in characters.
    """
    most = max(1, height - LINES_BESIDE)
    shown = list(sessions)
    if len(shown) > most:
        shown = sorted(shown, key=lambda one: one.state is not State.FAILED)[:most]
    air = witness.air_shares()
    tokens = sum(one.tokens_per_s(now_s) for one in sessions)
    table = _table(("device", ""), ("tok/s", "% air" if air else "% tok"), ("answer",))
    left = max(10, width - COLUMNS_BESIDE - max(len(one.name) for one in shown))
    for one in shown:
        speed = one.tokens_per_s(now_s)
        share = air.get(one.name, 0.0) if air else (speed / tokens if tokens else 0.0)
        table.add_row(
            one.name,
            Text(one.state.value, STYLES.get(one.state, "default")),
            *_plan_cells(one),
            str(one.answered),
            f"{speed:.1f}",
            f"{100 * share:.0f}",
            _last_cell(one, left),
        )
    rest = len(sessions) - len(shown)
    below = [Text(f"and {rest} more")] if rest else []
    return Group(table, *below, Text(overall_words(sessions, witness, now_s), style="bold"))


def overall_words(sessions: Sequence[Session], witness: Witness, now_s: float) -> str:
    """The last seconds of all sessions in a line."""
    held_up = [one for one in sessions if one.under_way and one.busy()]
    speeds = [one.tokens_per_s(now_s) for one in sessions if one.under_way and one not in held_up]
    failed = sum(one.state is State.FAILED for one in sessions)
    others = {"wait for room": len(held_up), "failed": failed}
    parts = [f"{len(speeds)} of {len(sessions)} answer"]
    company = witness.sessions_a_pass(now_s)
    return ", ".join(parts + [f"{many} {what}" for what, many in others.items() if many]) + (
        f" | {sum(one.tokens_per_s(now_s) for one in sessions):.1f} tok/s"
        f" | {witness.passes_per_s(now_s):.1f} passes a second, {_shown(company, '.1f')} sessions a pass"
        f" | fairness {_shown(jain_fairness(speeds), '.2f')}"
    )


def final_table(sessions: Sequence[Session], now_s: float) -> Table:
    """What came of each session."""
    table = _table(("device",), ("failed", "tokens", "tok/s", "kB up", "kB down"))
    for one in sessions:
        table.add_row(
            one.name,
            *_plan_cells(one),
            str(one.answered),
            str(one.failed),
            str(one.tokens),
            _shown(one.mean_tokens_per_s(now_s), ".1f"),
            f"{one.count('bytes_up') / 1e3:.0f}",
            f"{one.count('bytes_down') / 1e3:.0f}",
        )
    return table


def final_words(fields: Mapping[str, Any]) -> str:
    """The object of `cell_fields` in a line."""
    speed = _shown(fields["total_tok_s"], ".1f")
    return (
        f"{fields['tokens']} tokens in {fields['seconds']:.1f} s: {speed} tok/s"
        f" | {_shown(fields['passes_per_s'], '.1f')} passes a second, "
        f"{_shown(fields['sessions_a_pass'], '.1f')} sessions a pass"
        f" | fairness {_shown(fields['jain_fairness'], '.2f')}"
        + (" | paced to the paper's hardware" if fields["paced"] else "")
    )


def cell_fields(
    sessions: Sequence[Session],
    witness: Witness,
    now_s: float,
    *,
    began_s: float,
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    paced: bool,
) -> dict[str, Any]:
    """What `--json` prints: names as in records, units in the names. `answers`: of each device, by name."""
    seconds, tokens = now_s - began_s, sum(one.tokens for one in sessions)
    speeds = [speed for one in sessions if (speed := one.mean_tokens_per_s(now_s)) is not None]
    air = witness.air_shares(all_along=True)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "total_tok_s": tokens / seconds if seconds > 0 else None,
        "jain_fairness": jain_fairness(speeds),
        "passes_per_s": witness.passes / seconds if seconds > 0 else None,
        "sessions_a_pass": witness.steps / witness.passes if witness.passes else None,
        "paced": paced,
        "devices": [
            {
                "device": one.name,
                "answered": one.answered,
                "failed": one.failed,
                "reason": one.reason or None,
                "tokens": one.tokens,
                "tokens_per_s": one.mean_tokens_per_s(now_s),
                "alpha": one.alpha,
                "k": one.k,
                "gamma": one.gamma,
                "air_share": air.get(one.name, 0.0) if air else None,
                "token_share": one.tokens / tokens if tokens else None,
                **{name: one.count(name) for name in ("drafted", "wasted", "bytes_up", "bytes_down")},
                "answers": list(answers.get(one.name, ())),
            }
            for one in sessions
        ],
    }


def _table(first: Sequence[str], figures: Sequence[str], last: Sequence[str] = ()) -> Table:
    """Columns of words, then the plan and other figures, then what may be cut off."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in first:
        table.add_column(heading, no_wrap=True)
    for heading in ("alpha", "  K", " g", "done", *figures):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in last:
        table.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def _plan_cells(session: Session) -> tuple[str, str, str]:
    gamma = "-" if session.gamma is None else str(session.gamma)
    return _shown(session.alpha, ".2f"), _shown(session.k), gamma


def _last_cell(session: Session, left: int) -> Text:
    """Why there is no answer, or its end."""
    if session.state is State.FAILED:
        return Text(session.reason, "red")
    if session.state is State.OPENING and session.busy():
        return Text(session.busy(), "yellow")
    return Text(_tail(session.text, left))


def _tail(text: str, most: int) -> str:
    """The end of a text, in one line."""
    words = " ".join(text.split())
    return words if len(words) <= most else "…" + words[1 - most :]


def _shown(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)


__all__ = ["cell_fields", "final_table", "final_words", "live_table", "overall_words"]
