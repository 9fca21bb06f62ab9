"""The live line of a run: what the link does, what the controller makes of it, and how fast the text comes.

It reads the record that the nodes are appending to, so it shows what `draftwire explain` will say later.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from draftwire.codecs.control import COUPLED
from draftwire.nodes.console.choices import Choice

SPEED_OVER_S: Final = 2.5
"""The speed shown is over so many seconds: a step alone says little."""


class Tail:
    """The whole lines that a record has gained since the last look."""

    def __init__(self, path: Path, *, most_bytes: int | None = None, from_end: bool = False) -> None:
        """`most_bytes`: of a record that nobody keeps, which is emptied where it has grown beyond. What is
        written in that very moment is lost; whoever appends goes on at the file's beginning. `from_end`: what
        an earlier run has written is not told.
        """
        self._path, self._most_bytes = path, most_bytes
        self._read = path.stat().st_size if from_end else 0

    def events(self) -> Iterator[Mapping[str, Any]]:
        """New events, in order; a line that is still being written waits for the next look.

        What is no event is left out: a run that was killed may have left half a line, and the next one's
        first event stands behind it.
        """
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        if self._most_bytes is not None and self._read > self._most_bytes and whole == data:
            os.truncate(self._path, 0)
            self._read = 0
        for line in whole.splitlines():
            with suppress(orjson.JSONDecodeError):
                event = orjson.loads(line)
                if isinstance(event, dict) and "event" in event:
                    yield event


class Window:
    """What has come in the last seconds."""

    def __init__(self, now_s: float, *, over_s: float) -> None:
        """`over_s`: so many of them."""
        self._began_s, self._over_s = now_s, over_s
        self._came = deque[tuple[float, float]]()
        self._sum = 0.0

    def add(self, now_s: float, amount: float = 1.0) -> None:
        """So much has come now."""
        self._came.append((now_s, amount))
        self._sum += amount

    def a_second(self, now_s: float) -> float:
        """Of it, on average; at first the time is shorter."""
        while self._came and self._came[0][0] < now_s - self._over_s:
            self._sum -= self._came.popleft()[1]
        over_s = min(self._over_s, now_s - self._began_s)
        return self._sum / over_s if over_s > 0 and self._came else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the line says; None: not known yet."""

    true_bps: float | None = None
    believed_bps: float | None = None
    k: int | None = None
    gamma: int | None = None
    "0: the target decodes alone"
    min_draft: int | None = None
    "what a free target waits for, where only ids travel; None: rows travel"
    alpha: float | None = None
    "believed, at this K, or of ids alone"
    passes: int = 0
    "of the target, in which drafts were hints"
    tokens: int = 0
    "that they yielded"
    drafted: int = 0
    "ids that they tested"
    tokens_per_s: float | None = None

    def told(self, event: Mapping[str, Any]) -> "Status":
        """The status after an event of the record."""
        if event["event"] == "link" and event["direction"] == "uplink":
            return replace(self, true_bps=event.get("mean_rate_bps", event["rate_bps"]))
        if event["event"] == "decision":
            belief = event.get("belief") or {}
            alphas = belief.get("alphas", {})
            return replace(
                self,
                k=event["k"],
                gamma=event["gamma"],
                min_draft=None if belief.get("rows", True) else event.get("min_draft", event["gamma"]),
                believed_bps=belief.get("uplink_bps"),
                alpha=alphas.get(str(event["k"])),
            )
        if event["event"] == "step" and (event.get("acceptance") == COUPLED or event["temperature"] == 0):
            return replace(
                self,
                passes=self.passes + 1,
                tokens=self.tokens + event.get("tokens", event["accepted"] + 1),
                drafted=self.drafted + event["drafted"],
            )
        return self

    def __str__(self) -> str:
        return (
            f"link {_megabits(self.true_bps)}, believed {_megabits(self.believed_bps)} Mbit/s | "
            f"{self._plan} | alpha {shown(self.alpha, '.2f')}{self._passes} | "
            f"{shown(self.tokens_per_s, '.1f')} tok/s"
        )

    @property
    def _plan(self) -> str:
        if self.gamma == 0:
            return "target alone"
        if self.min_draft is None or self.gamma is None:
            return f"K {shown(self.k)}, gamma {shown(self.gamma)}"
        return str(Choice(0, self.gamma, self.min_draft))

    @property
    def _passes(self) -> str:
        if not self.tokens:
            return ""
        return (
            f" | {self.drafted / self.passes:.1f} ids a pass, {self.passes / self.tokens:.2f} passes a token"
        )


class Watch:
    """Keeps a Status up to date: `token` for each token that comes, `now` for a look."""

    def __init__(self, record: Path, now_s: Callable[[], float]) -> None:
        self._tail, self._now_s = Tail(record), now_s
        self._window = Window(now_s(), over_s=SPEED_OVER_S)
        self._status = Status()

    def token(self) -> None:
        """A token has come."""
        self._window.add(self._now_s())

    def now(self) -> Status:
        """Everything as it stands."""
        for event in self._tail.events():
            self._status = self._status.told(event)
        return replace(self._status, tokens_per_s=self._window.a_second(self._now_s()))


def shown(value: float | None, form: str = "") -> str:
    """A figure, or a dash."""
    return "-" if value is None else format(value, form)


def _megabits(rate_bps: float | None) -> str:
    return "-" if rate_bps is None else f"{rate_bps / 1e6:.2g}"


__all__ = ["Status", "Tail", "Watch", "Window", "shown"]
