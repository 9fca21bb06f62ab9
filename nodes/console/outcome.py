"""What an experiment varies, and what comes of it: settings, scenes, outcomes, as values and in records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import orjson

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.console.api import Generation
from draftwire.nodes.console.summary import settled
from draftwire.runtime.config import AcceptanceRule
from draftwire.runtime.link import LinkSchedule, LinkSpec, RandomLoss, parse_schedule, traces_beside
from draftwire.runtime.link.quoting import tidied

PROMPT: Final = (
    "Write a long story about a lighthouse keeper who finds a letter in a bottle. Describe the storm, the "
    "letter, and the journey that follows, in many paragraphs."
)
"""Its answers are long, so that the number of tokens asked for ends them, and no end of text."""

OUTCOME_EVENT: Final = "outcome"
"""The name of a request's line in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How K and gamma, and what goes with them, are chosen for a request."""

    name: str
    k: int | None = None
    "entries of each row; None: the controller's choice"
    gamma: int | None = None
    "drafted tokens a step; None: the controller's choice; 0: the target alone"
    acceptance: str = AcceptanceRule.REJECTION.value
    "one of AcceptanceRule"
    min_draft: int | None = None
    """where drafts are hints: drafted tokens that a free target waits for, ALL: all; None: the controller's
    choice"""

    @property
    def is_auto(self) -> bool:
        """Whether the controller chooses anything."""
        if self.gamma is None:
            return True
        waits = self.acceptance == AcceptanceRule.REJECTION or self.min_draft is not None
        return self.gamma > 0 and not (self.k is not None and waits)

    @property
    def rivals(self) -> bool:
        """Whether it is the one that others are held against, whichever acceptance it has."""
        return self.name == AUTO.name

    def waits_at(self, temperature: float) -> int | None:
        """min_draft, of a request that has one."""
        hints = temperature == 0 or self.acceptance != AcceptanceRule.REJECTION
        return self.min_draft if hints else None


ALL: Final = MAX_GAMMA
"""Of min_draft."""

AUTO: Final = Setting(name="auto")
ALONE: Final = Setting(name="target alone", gamma=0)
COUPLED: Final = Setting(name="coupled", acceptance=AcceptanceRule.COUPLED.value, min_draft=ALL)
PIPELINED: Final = Setting(name="pipelined", acceptance=AcceptanceRule.COUPLED.value)


def auto(acceptance: str) -> Setting:
    """AUTO with an acceptance of its own; `auto` leaves that to the system as well."""
    return Setting(name=AUTO.name, acceptance=str(acceptance))


def fixed(k: int, gamma: int) -> Setting:
    """One K and one gamma for the whole request; at temperature 0, too, both ends take turns."""
    return Setting(name=f"K {k}, gamma {gamma}", k=k, gamma=gamma, min_draft=ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the link does meanwhile."""

    name: str
    link: str
    "of both directions: a link in the words of tc, or a schedule, which begins with each request"

    @classmethod
    def of(cls, link: str) -> Self:
        """Named by its words. Raises ConfigurationError for words that are neither a link nor a schedule."""
        _schedule(link)
        words = tidied(link)
        return cls(name=words, link=words)

    @property
    def schedule(self) -> LinkSchedule:
        """The link as a value; one that never changes is a schedule of one step."""
        return _schedule(self.link)

    @property
    def changes(self) -> bool:
        """Whether the link ever changes."""
        return len(self.schedule.steps) > 1

    @property
    def rate_bps(self) -> float | None:
        """The link's mean rate: over a round, or of what stays once all changes are over. None: no rate."""
        steps, repeat_s = self.schedule.steps, self.schedule.repeat_s
        if repeat_s is None:
            return steps[-1].link.mean_rate_bps
        ends = [*(step.at_s for step in steps[1:]), repeat_s]
        bits = 0.0
        for step, end_s in zip(steps, ends, strict=True):
            rate_bps = step.link.mean_rate_bps
            if rate_bps is None:
                return None
            bits += rate_bps * (end_s - step.at_s)
        return bits / repeat_s

    @property
    def carries_nothing(self) -> bool:
        """Whether, from some time on or always, nothing that is sent arrives: no answer would ever end."""
        steps = self.schedule.steps if self.schedule.repeat_s is not None else self.schedule.steps[-1:]
        return all(step.link.mean_rate_bps == 0 or _loses_all(step.link) for step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request, as its device saw it."""

    setting: Setting
    scene: Scene
    repeat: int
    seed: int
    temperature: float
    started_at_s: float
    "the first Open, on the host's monotonic clock"
    seconds: float
    "from then to the last token"
    tokens: int
    token_ids: tuple[int, ...]
    text: str
    finish: str
    "why it ended: length, eos, ..."
    seen: int
    "drafted tokens tested, the first rejected one of a block included"
    accepted: int
    steps: int
    drafted: int
    bytes_up: int
    "whole frames; what the link adds to a message is left out"
    bytes_down: int
    rows_bytes: int
    "of bytes_up: frames with sparse rows"
    sparse_frames: int
    draft_step_s: float | None
    "one drafted token, the median; None: none was drawn"
    target_step_s: float | None
    "one pass of the target, the median"
    k_used: int | None
    "what most blocks were drawn with; None: none was drawn"
    gamma_used: int | None
    "what most steps were made with, 0: the target alone; None: there was none"
    vocab_size: int
    acceptance: str | None = None
    "that the request was answered with; None: an older record's, or no BS had settled it"
    used: int | None = None
    "drafted tokens in the output that the target has tested; None: not told, as in the next two"
    wasted: int | None = None
    "drafted tokens that do not"
    passes: int | None = None
    "of the target"
    min_draft_used: int | None = None
    "where drafts are hints: what most plans waited for, ALL: all; None: there was none"

    @property
    def passes_per_token(self) -> float | None:
        """Of the target; None: not told."""
        return None if self.passes is None or not self.tokens else self.passes / self.tokens

    @property
    def wasted_per_token(self) -> float | None:
        """Drafted tokens thrown away for each one of the output; None: not told."""
        return None if self.wasted is None or not self.tokens else self.wasted / self.tokens

    @property
    def tokens_per_s(self) -> float:
        """Output tokens over the time from the first Open to the last of them; 0 for none."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def alpha(self) -> float | None:
        """Mean acceptance of a tested token; None: none was tested."""
        return self.accepted / self.seen if self.seen else None

    def fields(self) -> dict[str, Any]:
        """Plain values, as a record holds them."""
        return asdict(self) | {"tokens_per_s": self.tokens_per_s, "alpha": self.alpha}

    @classmethod
    def from_fields(cls, told: Mapping[str, Any]) -> Self:
        """Back from `fields`, where older records lack the last ones. Raises KeyError or TypeError else."""
        values = {name: told[name] for name in _required(cls)} | {
            name: told[name] for name in cls.__dataclass_fields__ if name in told
        }
        values["setting"] = Setting(**told["setting"])
        values["scene"] = Scene(**told["scene"])
        values["token_ids"] = tuple(told["token_ids"])
        return cls(**values)


def outcome_of(
    generation: Generation,
    ids: Sequence[int],
    *,
    setting: Setting,
    scene: Scene,
    repeat: int,
    seed: int,
    temperature: float,
) -> Outcome:
    """What a generation that has ended came to. ids: of its tokens."""
    account = generation.account
    return Outcome(
        setting=setting,
        scene=scene,
        repeat=repeat,
        seed=seed,
        temperature=temperature,
        started_at_s=account.began_s,
        seconds=account.ended_s - account.began_s,
        tokens=account.tokens,
        token_ids=tuple(ids),
        text=generation.text,
        finish=account.finish.name.lower(),
        seen=account.seen,
        accepted=account.accepted,
        steps=account.steps,
        drafted=account.drafted,
        bytes_up=account.bytes_up,
        bytes_down=account.bytes_down,
        rows_bytes=account.rows_bytes,
        sparse_frames=account.sparse_frames,
        draft_step_s=median(account.draft_s) if account.draft_s else None,
        target_step_s=median(account.step_s) if account.step_s else None,
        k_used=_most(account.k_used),
        gamma_used=_most(account.gamma_used),
        vocab_size=account.vocab_size,
        acceptance=settled(account),
        used=account.used,
        wasted=account.wasted,
        passes=account.passes,
        min_draft_used=_most(account.min_draft_used + Counter({ALL: account.synchronous})),
    )


def _required(kind: type) -> list[str]:
    return [one.name for one in fields(kind) if one.default is MISSING]


def _schedule(words: str) -> LinkSchedule:
    return parse_schedule(words, find_trace=traces_beside())


def _loses_all(link: LinkSpec) -> bool:
    if isinstance(link.loss, RandomLoss):
        return link.loss.share == 1
    return link.loss is not None and link.loss.bad_loss == link.loss.good_loss == 1


def _most(steps: Counter[int]) -> int | None:
    return steps.most_common(1)[0][0] if steps else None


def append_event(record: Path, event: str, fields: Mapping[str, Any]) -> None:
    """One line behind what the nodes have written: a single write, so lines never mix."""
    line = orjson.dumps({"event": event, **fields}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    with record.open("ab", buffering=0) as file:
        file.write(line)


__all__ = [
    "ALL",
    "ALONE",
    "AUTO",
    "COUPLED",
    "OUTCOME_EVENT",
    "PIPELINED",
    "PROMPT",
    "Outcome",
    "Scene",
    "Setting",
    "append_event",
    "auto",
    "fixed",
    "outcome_of",
]
