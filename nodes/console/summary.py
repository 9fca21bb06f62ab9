"""What people and programs are told of an answer: the coloured text, one line, one JSON object."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from draftwire.codecs.messages import Acceptance, Origin, Plan
from draftwire.nodes.console.api import Generation, Token
from draftwire.nodes.device.account import Account
from draftwire.nodes.models.pacing import PAPER, Compute, PacedCompute

STYLES = {
    Origin.ACCEPTED: "green",
    Origin.CORRECTED: "red",
    Origin.BONUS: "cyan",
    Origin.ALONE: "default",
}
"""On a terminal only: drafted and accepted, corrected, bonus, by the target alone."""


OVERRUN = 1.05
"""A paced step also holds the time its result takes to be noticed: a millisecond or two."""


class Printer:
    """Streams an answer to standard output, in colour on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._shown = 0

    def token(self, token: Token) -> None:
        """Print what the token adds."""
        self._shown += len(token.text)
        self._print(token.text, STYLES.get(token.origin, "default"))

    def kept(self, generation: Generation) -> None:
        """Print what a journal had of it, dimmed."""
        self._shown += len(generation.text)
        if generation.text:
            self._print(generation.text, "dim")

    def break_off(self) -> None:
        """Print the end of a line that an answer has begun and will not end."""
        if self._shown:
            self._print("\n", "default")
        self._shown = 0

    def end(self, generation: Generation) -> None:
        """Print what was held back, and a line's end."""
        self._print(generation.text[self._shown :] + "\n", "default")
        self._shown = 0

    def legend(self) -> None:
        """Say what the colours mean, where there are any."""
        if self._console.is_terminal:
            parts = [
                Text(name, STYLES[origin])
                for name, origin in (
                    ("accepted", Origin.ACCEPTED),
                    ("corrected", Origin.CORRECTED),
                    ("bonus", Origin.BONUS),
                )
            ]
            self._console.print(Text(" ").join(parts))

    def _print(self, text: str, style: str) -> None:
        if self._console.is_terminal:
            self._console.print(Text(text, style), end="")
        else:
            self._console.file.write(text)  # as it is: no escape codes, no tabs expanded
        self._console.file.flush()


def summary_line(account: Account, compute: Compute, *, resumed_tokens: int = 0) -> str:
    """The one line behind an answer; `resumed_tokens`: those that a journal had already."""
    parts = [f"{account.tokens} tokens" + (f" behind {resumed_tokens} kept" if resumed_tokens else "")]
    if account.tokens_per_s is not None:
        parts.append(f"{account.tokens_per_s:.1f} tok/s")
    if account.target_only_tokens_per_s is not None:
        parts.append(f"target-only about {account.target_only_tokens_per_s:.1f} ({_estimated_from(account)})")
    name = "right" if account.hints else "alpha"  # of those compared with the text, in time or not
    parts.append(f"{name} -" if account.alpha is None else f"{name} {account.alpha:.2f}")
    up = f"{_size(account.bytes_up)} up"
    if account.drafted and not account.hints:
        up += f" (full rows: {_size(account.bytes_up - account.rows_bytes + account.full_rows_bytes)})"
    parts.append(f"{up}, {_size(account.bytes_down)} down")
    if account.bits_per_entry is not None and not account.hints:
        parts.append(f"rows {account.bits_per_entry:.1f} bits an entry with frames, {_spelling(account)}")
    if account.plan is not None:
        parts.append(_plans(account, account.plan))
    if account.hints and account.drafted:
        parts.append(drafts_words(account))
    overruns = _overruns(account, compute)
    if overruns is not None:
        late = sum(overruns.values())
        parts.append(f"paced to the paper's hardware; {late} steps took longer than that")
    return " | ".join(parts)


def drafts_words(account: Account) -> str:
    """What became of the drafted tokens, where they are hints, and how many passes the target made."""
    under_way = f", {account.outstanding} open" if account.outstanding else ""
    passes = account.passes_per_token or 0.0
    return (
        f"{account.drafted} drafted: {account.used} used, {account.wasted} wasted{under_way}; "
        f"{passes:.2f} passes a token"
    )


def summary_fields(generation: Generation, compute: Compute) -> dict[str, Any]:
    """The same as values; names as in records, units in the names."""
    account = generation.account
    rows = not account.hints  # single rows, where only ids travel: they cost next to nothing
    return {
        "text": generation.text,
        "finish": generation.finish.name.lower(),
        "seed": generation.request.seed,
        "tokens": account.tokens,
        "resumed_tokens": generation.resumed_tokens,
        "tokens_per_s": account.tokens_per_s,
        "first_token_s": None if account.first_token_s is None else account.first_token_s - account.began_s,
        "target_only_tokens_per_s_estimated": account.target_only_tokens_per_s,
        "alpha": account.alpha,
        "steps": account.steps,
        "acceptance": settled(account),
        "drafted": account.drafted,
        "used": account.used,
        "wasted": account.wasted,
        "outstanding": account.outstanding,
        "passes": account.passes,
        "passes_per_token": account.passes_per_token,
        "seen": account.seen,
        "accepted": account.accepted,
        "bytes_up": account.bytes_up,
        "bytes_down": account.bytes_down,
        "draft_bytes": account.draft_bytes,
        "rows_bytes": account.rows_bytes,
        "full_rows_bytes": account.full_rows_bytes if rows else None,
        "sparse_frames": account.sparse_frames,
        "bits_per_entry": account.bits_per_entry if rows else None,
        "tables": account.tables,
        "k": account.plan.k if account.plan is not None and rows else None,
        "gamma": None if account.plan is None else account.plan.gamma,
        "min_draft": None if account.plan is None or not account.hints else account.plan.min_draft,
        "max_waste": generation.request.max_waste,
        "k_used": _counts(account.k_used) if rows else None,
        "gamma_used": _counts(account.gamma_used),
        "min_draft_used": _counts(account.min_draft_used),
        "synchronous": account.synchronous,
        "paced": isinstance(compute, PacedCompute),
        "overruns": _overruns(account, compute),
    }


def settled(account: Account) -> str | None:
    """The request's acceptance; None: no BS has settled it yet."""
    return None if account.acceptance is Acceptance.AUTO else account.acceptance.name.lower()


def _spelling(account: Account) -> str:
    words = f"tables {account.tables[:8]}" if account.tables else "plain"
    most, every = account.spelt[account.tables], account.spelt.total()
    return words if most == every else f"{words} in {most} of {every} messages"


def _plans(account: Account, last: Plan) -> str:
    """K and gamma of the steps, as ranges where they changed on the way; where only ids travel, where plans
    change all the time, the commonest.
    """
    ks, gammas = account.k_used or [last.k], account.gamma_used or [last.gamma]
    if max(gammas) == 0:
        return "target alone"
    if not account.hints:
        return f"K {_range(ks)}, gamma {_range(gammas)}"
    kind = "coupled" if account.acceptance is Acceptance.COUPLED else "ids only (temperature 0)"
    waits = Counter({str(number): times for number, times in account.min_draft_used.items()})
    waits["all"] = account.synchronous
    gamma = Counter(gammas).most_common(1)[0][0]
    plan = f"gamma {gamma}, waits for {waits.most_common(1)[0][0]}" if gamma else "target alone"
    changed = len(gammas) > 1 or len(+waits) > 1
    return f"{kind}, {'mostly ' if changed else ''}{plan}"


def _range(values: Collection[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _counts(used: Mapping[int, int]) -> dict[str, int]:
    """Value -> steps, the smallest value first; keys as JSON has them."""
    return {str(value): used[value] for value in sorted(used)}


def _estimated_from(account: Account) -> str:
    if account.downlink is None:
        return "estimated from step times, the link left out"
    # A slow link's Commits repeat tokens whose acknowledgement is still under way.
    lower = "; measured it may be lower" if account.target_only_may_be_lower else ""
    return f"estimated from step times and the link's rate{lower}"


def _overruns(account: Account, compute: Compute) -> dict[str, int] | None:
    """Paced steps that took longer than they should; the target's as its Commits tell. None: not paced."""
    if not isinstance(compute, PacedCompute):
        return None
    slow = sum(seconds > OVERRUN * PAPER.target_s for seconds in account.step_s)
    return {"draft": compute.overruns["draft"], "target": slow}


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.2f} MB"


__all__ = ["Printer", "drafts_words", "settled", "summary_fields", "summary_line"]
