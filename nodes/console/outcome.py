"""What an experiment varies, and what comes of it: settings, scenes, outcomes, as values and in records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import orjson

from draftwire.nodes.console.api import Generation
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
    """How K and gamma are chosen for a request."""

    name: str
    k: int | None = None
    "entries of each row; None: the controller's choice"
    gamma: int | None = None
    "drafted tokens a step; None: the controller's choice; 0: the target alone"

    @property
    def is_auto(self) -> bool:
        """Whether the controller chooses anything."""
        return self.gamma is None or (self.gamma > 0 and self.k is None)


AUTO: Final = Setting(name="auto")
ALONE: Final = Setting(name="target alone", gamma=0)


def fixed(k: int, gamma: int) -> Setting:
    """One K and one gamma for the whole request."""
    return Setting(name=f"K {k}, gamma {gamma}", k=k, gamma=gamma)


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
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Back from `fields`. Raises KeyError or TypeError for anything else."""
        values = {name: fields[name] for name in cls.__dataclass_fields__}
        values["setting"] = Setting(**fields["setting"])
        values["scene"] = Scene(**fields["scene"])
        values["token_ids"] = tuple(fields["token_ids"])
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
    )


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
    "ALONE",
    "AUTO",
    "OUTCOME_EVENT",
    "PROMPT",
    "Outcome",
    "Scene",
    "Setting",
    "append_event",
    "fixed",
    "outcome_of",
]
