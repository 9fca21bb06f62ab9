"""A request to real nodes over all lives of its device, and what is promised of its text.

Where drafts are hints (coupled, or temperature 0) the text is the target's own, which is computed here. Under
rejection the controller's choices, and so when somebody dies, have a part in which text it is: then each life
has to show what the one before it showed, and go on.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

from draftwire.codecs.messages import Acceptance, Sampling
from draftwire.nodes.console.chaos.outcome import Broken
from draftwire.nodes.console.chaos.real_nodes import PAIR, Process, System, until
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.models.catalogue import load_target
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import sample_target, target_distribution
from draftwire.runtime.errors import ConfigurationError

VOCAB_SIZE: Final = 64
"""Of PAIR."""

ENDS_WITHIN_S: Final = 30.0
"""From the last fault's end on: a node's start, the pauses between repeats, and the rest of the text."""

PROMISES: Final = {
    "text": "the text is that of the run without a fault (coupled, or temperature 0)",
    "once": "what was shown stays: each life of a device shows it again, and goes on behind it",
    "journal": "what was shown is in the journal, which ends as the text does",
    "ends": f"every request ends within {ENDS_WITHIN_S:g} s of the last fault, with code 0",
    "told": "what stops a node or a request is told, with its name and what to do",
    "record": "a full disk costs lines of a record, and neither answers nor the lines around them",
    "no_bug": "nobody ends with a traceback",
    "left": "told to stop, nodes end with code 0, and leave no process, port or socket file",
}
"""Of real processes: name -> what is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    number: int
    acceptance: Acceptance
    temperature: float
    seed: int
    prompt: str
    tokens: int

    @property
    def known(self) -> bool:
        """Whether its text is known beforehand."""
        return self.acceptance is Acceptance.COUPLED or self.temperature == 0

    @property
    def name(self) -> str:
        """For people."""
        kind = f"{self.acceptance.name.lower()}, temperature {self.temperature:g}"
        return f"request {self.number} ({kind}, seed {self.seed})"

    def words(self) -> list[str]:
        """Its text without a fault, where it is known."""
        return _words(self)


@lru_cache(maxsize=4)
def _words(asked: Asked) -> list[str]:
    """The target's own text, token by token."""
    tokenizer = SyntheticTokenizer(VOCAB_SIZE)
    sampling, noise = Sampling(temperature=asked.temperature), PhiloxNoise()
    context = load_target(PAIR).open()
    prompt = tokenizer.encode_prompt(asked.prompt)
    ids = list(prompt)
    for position in range(len(prompt), len(prompt) + asked.tokens):
        p = target_distribution(context.logits(ids, 1)[0], sampling)
        ids.append(int(p.argmax()) if sampling.greedy else sample_target(p, asked.seed, position, noise))
    return tokenizer.decode(ids[len(prompt) :]).split()


@dataclass
class Answering:
    """Its device, which may die and go on."""

    nodes: System
    asked: Asked
    broke: Callable[[Broken], None]
    "takes each promise that does not hold"
    began_s: float
    "of the whole run, by the monotonic clock"
    lives: list[Process] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    "by all lives before this one"
    kept: int = 0
    "tokens that the journal had when this life began: it shows these first"

    @property
    def journal(self) -> Path:
        """Its own."""
        return self.nodes.folder / f"journal-{self.asked.number}.jsonl"

    @cached_property
    def config(self) -> Path:
        """The system's file, with this request's sampling."""
        asked, path = self.asked, self.nodes.folder / f"device-{self.asked.number}.toml"
        sampling = (
            f"temperature = {asked.temperature}\nmax_new_tokens = {asked.tokens}\nseed = {asked.seed}\n"
            f"acceptance = '{asked.acceptance.name.lower()}'\n"
        )
        path.write_text(self.nodes.config.read_text().replace("[sampling]\n", f"[sampling]\n{sampling}"))
        return path

    @property
    def device(self) -> Process:
        """The life that it is in."""
        return self.lives[-1]

    def live(self) -> None:
        """Ask, or go on, whichever is due."""
        self.kept = len(self.kept_ids())
        how = ("--resume", self._id()) if self._id() else (self.asked.prompt,)
        self.lives.append(
            self.nodes.start("device", "--journal", str(self.journal), *how, config=self.config)
        )

    def die(self) -> None:
        """The device is killed."""
        self.nodes.kill("device")
        self.look_back()

    def look_back(self) -> None:
        """Check what a life that is over has shown."""
        words, before = self.device.words(), self.shown
        if words[: len(before)] != before[: len(words)]:
            at = next(i for i, (old, new) in enumerate(zip(before, words, strict=False)) if old != new)
            self.breaks("once", f"token {at} was shown as {before[at]!r} and then as {words[at]!r}")
        kept = SyntheticTokenizer(VOCAB_SIZE).decode(self.kept_ids()).split()
        if kept[: len(words)] != words:
            self.breaks("journal", f"{len(words)} tokens shown, and it has others, or only {len(kept)}")
        if self.asked.known and words != self.asked.words()[: len(words)]:
            self.breaks("text", f"a life has shown {' '.join(words)!r}")
        self.shown = max(before, words, key=len)

    def wait_for_news(self, within_s: float = ENDS_WITHIN_S) -> bool:
        """Wait for a token that no life has shown. False: the answer is over. Raises TimeoutError."""
        count = max(self.kept, len(self.device.words()))
        return self.wait_for(count + 1, within_s)

    def wait_for(self, count: int, within_s: float = ENDS_WITHIN_S) -> bool:
        """Wait for so many tokens in this life. False: the answer is over before. Raises TimeoutError."""
        until(
            lambda: len(self.device.words()) >= count or not self.device.runs,
            f"{count} tokens",
            within_s=within_s,
        )
        return len(self.device.words()) >= count and self.device.runs

    def finish(self) -> None:
        """Wait for its end, and check all that is promised of it."""
        try:
            code = self.device.ended(ENDS_WITHIN_S)
        except TimeoutError:
            self.breaks("ends", f"{len(self.device.words())} of {self.asked.tokens} tokens, and it runs on")
            self.die()
            return
        self.look_back()
        if code:
            self.breaks("ends", f"code {code}: {self.device.said().strip()}")
            return
        if len(self.shown) != self.asked.tokens:
            self.breaks("ends", f"{len(self.shown)} tokens in place of {self.asked.tokens}")
        try:
            with Journal(self.journal, new=False) as journal:
                if journal.open_entries():
                    self.breaks("journal", "the answer has ended, and its request is open")
        except ConfigurationError as error:
            self.breaks("journal", str(error))

    def breaks(self, promise: str, what: str) -> None:
        """It does not hold."""
        at_s = time.monotonic() - self.began_s
        self.broke(Broken(promise=promise, at_s=at_s, what=f"{self.asked.name}: {what}"))

    def kept_ids(self) -> list[int]:
        """What the journal has, of whole lines; a gap or a repeat is a promise broken."""
        ids = list[int]()
        prompt = len(SyntheticTokenizer(VOCAB_SIZE).encode_prompt(self.asked.prompt))
        for event in self._events():
            if event["event"] == "tokens":
                if event["position"] != prompt + len(ids):
                    self.breaks("journal", f"position {event['position']} behind {prompt + len(ids)} tokens")
                ids += event["ids"]
        return ids

    def _id(self) -> str:
        """Of the request; empty: it is not written down yet."""
        return next((str(event["id"]) for event in self._events()), "")

    def _events(self) -> list[dict[str, Any]]:
        if not os.path.exists(self.journal):
            return []
        return [orjson.loads(line) for line in self.journal.read_bytes().split(b"\n")[:-1]]


__all__ = ["ENDS_WITHIN_S", "PROMISES", "VOCAB_SIZE", "Answering", "Asked"]
