"""The live line of a run: what the link does, what the controller makes of it, and how fast the text comes.

It reads the record that the nodes are appending to, so it shows what `draftwire explain` will say later.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
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

    def __init__(self, path: Path, *, most_bytes: int | None = None) -> None:
        """`most_bytes`: of a record that nobody keeps, which is emptied where it has grown beyond. What is
        written in that very moment is lost; whoever appends goes on at the file's beginning.
        """
        self._path, self._most_bytes = path, most_bytes
        self._read = 0

    def events(self) -> Iterator[Mapping[str, Any]]:
        """New events, in order; a line that is still being written waits for the next look."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        if self._most_bytes is not None and self._read > self._most_bytes and whole == data:
            os.truncate(self._path, 0)
            self._read = 0
        for line in whole.splitlines():
            yield orjson.loads(line)


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
            f"{self._plan} | alpha {_shown(self.alpha, '.2f')}{self._passes} | "
            f"{_shown(self.tokens_per_s, '.1f')} tok/s"
        )

    @property
    def _plan(self) -> str:
        if self.gamma == 0:
            return "target alone"
        if self.min_draft is None or self.gamma is None:
            return f"K {_shown(self.k)}, gamma {_shown(self.gamma)}"
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
        self._came = deque[float]()
        self._began_s = now_s()
        self._status = Status()

    def token(self) -> None:
        """A token has come."""
        self._came.append(self._now_s())

    def now(self) -> Status:
        """Everything as it stands."""
        for event in self._tail.events():
            self._status = self._status.told(event)
        now_s = self._now_s()
        while self._came and self._came[0] < now_s - SPEED_OVER_S:
            self._came.popleft()
        over_s = min(SPEED_OVER_S, now_s - self._began_s)
        return replace(self._status, tokens_per_s=len(self._came) / over_s if over_s > 0 else None)


def _shown(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)


def _megabits(rate_bps: float | None) -> str:
    return "-" if rate_bps is None else f"{rate_bps / 1e6:.2g}"


__all__ = ["Status", "Tail", "Watch"]
