"""What `draftwire models check` says, line by line as it becomes known, and the same as one JSON object."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.console.doctor.machine import size_words
from draftwire.nodes.console.escape import safe
from draftwire.nodes.console.models.ends import EndSeen, Loaded, Room
from draftwire.nodes.console.models.prediction import Colocated, Predicted, Verdict, rate_words
from draftwire.nodes.console.models.sample import Sampled
from draftwire.nodes.console.models.steps import OVERHEAD_S, Steps

UNSTEADY: Final = 0.2
"""Of the middle half of times, in parts of their median: a quiet machine's stays below 0.1."""


class Teller:
    """Prints to a console, or, for `--json`, keeps everything for the end."""

    def __init__(self, console: Console | None) -> None:
        """`console`: None: nothing is printed."""
        self._console = console
        self.fields: dict[str, Any] = {"problem": ""}
        "what `--json` prints, as far as it is known"

    def seen(self, draft: EndSeen, target: EndSeen) -> None:
        """Both tokenizers."""
        same = (draft.vocab_size, draft.fingerprint) == (target.vocab_size, target.fingerprint)
        self.fields["one_vocabulary"] = same
        for one in (draft, target):
            self.fields[one.end] = {
                "model": one.model,
                "vocab_size": one.vocab_size,
                "fingerprint": one.fingerprint.hex(),
                "chat_template": one.chat_template,
                "weights_bytes": one.weights_bytes,
            }
            self._line(
                f"{one.end} {safe(one.model)}",
                f"{one.vocab_size} ids, fingerprint {one.fingerprint.hex()}, "
                f"{'a' if one.chat_template else 'no'} chat template",
            )
        self._line("vocabulary", "one for both" if same else "two that differ")

    def passed(self, one: Loaded) -> None:
        """A model is loaded, and no gate keeps it out."""
        self.fields[one.seen.end] |= {
            "gates": "passed",
            "context_length": one.context_length,
            "kv_bytes_per_token": one.kv_bytes_per_token,
        }
        size = one.seen.weights_bytes
        parts = [f"gates passed, contexts of {one.context_length} tokens"]
        parts += ["weights not known" if size is None else f"weights {size_words(size)}"] if size != 0 else []
        parts += [f"KV {one.kv_bytes_per_token} bytes a token"] if one.kv_bytes_per_token else []
        self._line(one.seen.end, ", ".join(parts))

    def refused(self, end: str, reason: str) -> None:
        """A gate, or the loader, keeps a model out."""
        self.fields[end] |= {"gates": reason}
        self._line(end, f"refused: {safe(reason)}")

    def room(self, room: Room | None) -> None:
        """Memory for sessions."""
        self.fields["memory"] = None if room is None else {**asdict(room), "sessions": room.sessions}
        if room is None:
            self._line("memory", "the target does not say what its contexts take")
            return
        self._line(
            "memory",
            f"{room.sessions} sessions of {room.context_length} tokens, {size_words(room.session_bytes)} "
            f"each, in {size_words(room.budget_bytes)}, half of what is free here",
        )

    def steps(self, steps: Steps) -> None:
        """Step times."""
        compute = steps.compute
        self.fields["steps"] = {
            "draft_step_s": steps.draft_s,
            "draft_step_measured": not steps.draft_given,
            "target_step_s": steps.alone_s,
            "target_step_measured": not steps.target_given,
            "c": steps.c,
            "passes_s": {str(length): seconds for length, seconds in steps.passes_s},
            "pass_s_at_zero": compute.target_step_s,
            "pass_s_a_drafted_token": compute.target_per_token_s,
            "overhead_s": compute.overhead_s,
            "spread": steps.spread,
        }
        given = steps.draft_given, steps.target_given
        whose = "as told" if all(given) else "in part as told" if any(given) else "of this machine"
        self._line(
            "steps",
            f"a drafted token {1e3 * steps.draft_s:.2f} ms, the target alone {1e3 * steps.alone_s:.1f} ms: "
            f"c = {steps.c:.3f} {whose}",
        )
        passes = ", ".join(f"{1e3 * s:.0f} ms for {g} + 1" for g, s in steps.passes_s if g)
        if passes:
            self._line("", f"a pass takes {passes} tokens")
        if steps.spread > UNSTEADY:
            self._line(
                "", f"times vary by {steps.spread:.0%}: something else is running here, so measure again"
            )
        if not any(given):
            self._line("", "other hardware has another c: --draft-step and --target-step tell its times")

    def sampled(self, sampled: Sampled, *, source: str) -> None:
        """Acceptance by K. `source`: whose text."""
        tables = sampled.tables
        self.fields["acceptance"] = {
            "temperature": sampled.temperature,
            "tokens": sampled.positions,
            "texts": sampled.texts,
            "source": source,
            "tables": None if tables is None else tables.hash.hex(),
            "rows": [asdict(one) for one in sampled.rows],
            "coupled_alpha": sampled.coupled,
        }
        if self._console is None:
            return
        title = f"alpha at temperature {sampled.temperature:g}: {sampled.positions} tokens of {safe(source)}"
        table = _table("K", "alpha", "95 %", "bits a row", "bits an entry")
        for one in sampled.rows:
            bits = one.row_bits
            cells = ("-", "-") if bits is None else (f"{bits:.0f}", f"{bits / one.k:.1f}")
            k = "any" if sampled.by_ids else "V" if one.k == sampled.vocab_size else str(one.k)
            table.add_row(k, f"{one.alpha:.3f}", f"{one.low:.3f} .. {one.high:.3f}", *cells)
        self._say(title)
        self._console.print(table)
        if sampled.by_ids:
            self._say("Temperature 0: only ids travel, and alpha is how often both pick the same token.")
            return
        spelt = "plain"
        if tables is not None:
            spelt = f"spelt with tables {tables.hash.hex()[:8]}, {safe(tables.label)}"
        self._say(f"Rows are {spelt}. Ids alone, coupled: picks are equal with {sampled.coupled:.3f}.")

    def predicted(self, found: Sequence[Predicted], beside: Colocated, *, rtt_s: float) -> None:
        """A line for each rate."""
        self.fields["rtt_s"] = rtt_s
        self.fields["rates"] = [{**asdict(one), "speedup": one.speedup} for one in found]
        self.fields["colocated"] = asdict(beside)
        if self._console is None:
            return
        ids_only = any(one.k is None for one in found)
        title = f"predicted at a round trip of {1e3 * rtt_s:g} ms, tokens a second"
        plan_columns = ("gamma", "waits for") if ids_only else ("K", "gamma")
        table = _table("rate", *plan_columns, "draft", "target alone", "over it", "colocated")
        for one in found:
            star = "" if one.is_faster else "*"
            gamma = f"{one.gamma}{star}"
            plan = (gamma, str(one.min_draft)) if ids_only else (str(one.k), gamma)
            table.add_row(
                rate_words(one.rate_bps),
                *plan,
                f"{one.tokens_per_s:.1f}",
                f"{one.target_only_tokens_per_s:.1f}",
                f"{one.speedup:.2f}",
                f"{beside.tokens_per_s:.1f}",
            )
        self._say(title)
        self._console.print(table)
        if not all(one.is_faster for one in found):
            self._say("* no faster than the target alone, which the controller then lets decode by itself")
        self._say(
            f"Colocated: the draft on the target's machine, gamma {beside.gamma}, whole rows, no link: "
            f"{beside.speedup:.2f} times the target alone{'' if ids_only else ', a bound from above'}."
        )
        self._say(
            f"One session, {1e3 * OVERHEAD_S:g} ms a step for messages within. `draftwire compare` measures."
        )

    def verdict(self, verdict: Verdict) -> None:
        """What it all comes to."""
        self.fields["verdict"] = asdict(verdict)
        self._say(f"\n{verdict.text[0].upper()}{verdict.text[1:]}.")
        if verdict.helps:
            who = "It" if verdict.kind == "never" else "Where it is not, it"
            self._say(f"{who} would be with one of these:")
        for text in verdict.helps:
            self._say(f"  {text}")

    def _line(self, label: str, text: str) -> None:
        self._say(f"{label + ':' if label else '':<12} {text}")

    def _say(self, text: str) -> None:
        if self._console is not None:
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)
            self._console.file.flush()


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


__all__ = ["Teller"]
