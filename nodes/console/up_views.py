"""The sessions of `up` as people and programs see them: a live table, a line, the end, a JSON object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from draftwire.nodes.console.fairness import jain_fairness
from draftwire.nodes.console.live import shown
from draftwire.nodes.console.up_sessions import Session, State, Witness

LINES_BESIDE: Final = 8
"""Of a screen, beside the rows of the live table."""

PAGE_S: Final = 5.0
"""Where a screen has not enough lines for all sessions, others are shown after so long."""

LEAST_ANSWER: Final = 16
"""Characters of an answer that are worth a column."""

STYLES: Final = {State.ANSWERING: "green", State.OPENING: "yellow", State.FAILED: "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One of a table that fits its screen."""

    heading: str
    cells: Sequence[str | Text]
    justify: Literal["left", "right"] = "right"
    spare: int = 0
    "which goes first where there are too few characters: the highest; 0: it stays"
    least: int | None = None
    "characters, of one that takes what the others leave; None: as many as its cells have"

    @property
    def width(self) -> int:
        """Characters, with the space between it and the next."""
        return 2 + (max(map(len, (self.heading, *self.cells))) if self.least is None else self.least)


def live_table(
    sessions: Sequence[Session], witness: Witness, now_s: float, *, width: int, height: int
) -> RenderableType:
    """A row a session and a line of all; of more than the screen has lines for, those that failed first, and
    the others in turn.

    width, height: of the screen, in characters.
    """
    rows = _in_turn(sessions, max(1, height - LINES_BESIDE), now_s)
    air = witness.air_shares()
    speeds = {one.name: one.tokens_per_s(now_s) for one in rows}
    tokens = sum(one.tokens_per_s(now_s) for one in sessions)

    def share(one: Session) -> float:
        if air:
            return air.get(one.name, 0.0)
        return speeds[one.name] / tokens if tokens else 0.0

    columns = [
        Column(heading="device", cells=[one.name for one in rows], justify="left"),
        Column(
            heading="",
            cells=[Text(one.state.value, STYLES.get(one.state, "default")) for one in rows],
            justify="left",
        ),
        *_plan_columns(rows),
        Column(heading="done", cells=[str(one.answered) for one in rows], spare=5),
        Column(heading="tok/s", cells=[f"{speeds[one.name]:.1f}" for one in rows]),
        Column(
            heading="% air" if air else "% tok", cells=[f"{100 * share(one):.0f}" for one in rows], spare=2
        ),
        Column(
            heading="answer",
            cells=[_last_cell(one) for one in rows],
            justify="left",
            spare=1,
            least=LEAST_ANSWER,
        ),
    ]
    rest = len(sessions) - len(rows)
    below = [Text(f"and {rest} more")] if rest else []
    overall = Text(overall_words(sessions, witness, now_s), style="bold")
    return Group(fitting_table(columns, width=width), *below, overall)


def _in_turn(sessions: Sequence[Session], most: int, now_s: float) -> Sequence[Session]:
    """So many of them: those that failed, then a page of the others, each PAGE_S another one."""
    if len(sessions) <= most:
        return sessions
    failed = [one for one in sessions if one.state is State.FAILED][:most]
    others = [one for one in sessions if one.state is not State.FAILED]
    room = most - len(failed)
    begins = int(now_s // PAGE_S) * room % len(others) if others else 0
    page = (others[begins:] + others[:begins])[:room]
    return [*failed, *sorted(page, key=others.index)]


def overall_words(sessions: Sequence[Session], witness: Witness, now_s: float) -> str:
    """The last seconds of all sessions in a line; a short one where nobody is asked anything."""
    held_up = sum(one.under_way and bool(one.busy()) for one in sessions)
    asked = [one for one in sessions if one.under_way]
    failed = [one for one in sessions if one.state is State.FAILED]
    speed = sum(one.tokens_per_s(now_s) for one in sessions)
    others = {"wait for room": held_up, "failed": len(failed)}
    parts = [f"{len(asked) - held_up} of {len(sessions)} answer"]
    words = ", ".join(parts + [f"{many} {what}" for what, many in others.items() if many])
    if not asked and not speed:
        return words
    company = witness.sessions_a_pass(now_s)
    fairness = jain_fairness([one.tokens_per_s(now_s) for one in (*asked, *failed)])
    return (
        f"{words} | {speed:.1f} tok/s"
        f" | {witness.passes_per_s(now_s):.1f} passes a second, {shown(company, '.1f')} sessions a pass"
        f" | fairness {shown(fairness, '.2f')}"
    )


def final_table(sessions: Sequence[Session], now_s: float, *, width: int) -> Table:
    """What came of each session. `width`: of the screen, in characters."""
    columns = [
        Column(heading="device", cells=[one.name for one in sessions], justify="left"),
        *_plan_columns(sessions),
        Column(heading="done", cells=[str(one.answered) for one in sessions]),
        Column(heading="failed", cells=[str(one.failed) for one in sessions]),
        Column(heading="tokens", cells=[str(one.tokens) for one in sessions], spare=2),
        Column(heading="tok/s", cells=[shown(one.mean_tokens_per_s(now_s), ".1f") for one in sessions]),
        *(
            Column(heading=heading, cells=[f"{one.count(name) / 1e3:.0f}" for one in sessions], spare=6)
            for heading, name in (("kB up", "bytes_up"), ("kB down", "bytes_down"))
        ),
    ]
    return fitting_table(columns, width=width)


def fitting_table(columns: Sequence[Column], *, width: int) -> Table:
    """The columns that there is room for; where even those that stay are too wide, the first is not cut."""
    left = columns
    while sum(one.width for one in left) > width and (most := max(one.spare for one in left)):
        left = [one for one in left if one.spare != most]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, one in enumerate(left):
        table.add_column(
            one.heading,
            justify=one.justify,
            no_wrap=True,
            overflow="ellipsis",
            ratio=None if one.least is None else 1,
            min_width=one.width - 2 if place == 0 else None,
        )
    room = width - 2 - sum(one.width for one in left if one.least is None)
    for row in zip(*(one.cells for one in left), strict=True):
        table.add_row(*(_cut(cell, one, room) for cell, one in zip(row, left, strict=True)))
    return table


def _cut(cell: str | Text, column: Column, room: int) -> Text:
    """Of an answer what there is room for: its end is what is new."""
    if isinstance(cell, Text):
        return cell
    return Text(cell if column.least is None else _tail(cell, room))


def final_words(fields: Mapping[str, Any]) -> str:
    """The object of `up_fields` in a line."""
    speed = shown(fields["total_tok_s"], ".1f")
    return (
        f"{fields['tokens']} tokens in {fields['seconds']:.1f} s: {speed} tok/s"
        f" | {shown(fields['passes_per_s'], '.1f')} passes a second, "
        f"{shown(fields['sessions_a_pass'], '.1f')} sessions a pass"
        f" | fairness {shown(fields['jain_fairness'], '.2f')}"
        + (" | paced to the paper's hardware" if fields["paced"] else "")
    )


def up_fields(
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
    speeds = [one.mean_tokens_per_s(now_s) or 0.0 for one in sessions if one.has_asked]
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


def _plan_columns(sessions: Sequence[Session]) -> tuple[Column, ...]:
    """Of the last plan; alpha is of all requests. They go together: K says little without g."""
    gammas = ["-" if one.gamma is None else str(one.gamma) for one in sessions]
    return (
        Column(heading="alpha", cells=[shown(one.alpha, ".2f") for one in sessions], spare=3),
        Column(heading="  K", cells=[shown(one.k) for one in sessions], spare=4),
        Column(heading=" g", cells=gammas, spare=4),
    )


def _last_cell(session: Session) -> str | Text:
    """Why there is no answer, or its text."""
    if session.state is State.FAILED:
        return Text(session.reason, "red")
    if session.state is State.OPENING and session.busy():
        return Text(session.busy(), "yellow")
    return session.text


def _tail(text: str, most: int) -> str:
    """The end of a text, in one line."""
    words = " ".join(text.split())
    return words if len(words) <= most else "…" + words[1 - most :]


__all__ = ["final_table", "final_words", "live_table", "overall_words", "up_fields"]
