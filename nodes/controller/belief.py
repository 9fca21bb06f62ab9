"""What a controller believes about one device's link, models and acceptance when it makes a plan.

A record holds one belief a decision, so that `draftwire explain` can ask what every other choice would have
given.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Estimates, and what the plan made from them was expected to bring."""

    alphas: Mapping[int, float]
    "K -> alpha, for each K that was considered"
    uplink_bps: float
    rtt_s: float
    "there and back for an empty message, what the device needs to answer it included"
    draft_step_s: float
    "one drafted token"
    target_step_s: float
    "the pass of no drafted token"
    target_per_token_s: float
    "more for each drafted token in the pass"
    overhead_s: float
    "the BS's own time a step: Draft to pass, test to Commit"
    row_scale: float
    "bits of the rows seen over those that the model of frames expects"
    vocab_size: int
    tokens_per_s: float
    "expected of the plan"
    alone_tokens_per_s: float
    "expected of the target alone"
    reason: str
    "`best`, `explore` (a larger K, to see what lies above), `alone`, `retry` (a draft after a time alone), `pinned`"

    def fields(self) -> dict[str, Any]:
        """Plain values, as a record holds them."""
        return asdict(self) | {"alphas": {str(k): alpha for k, alpha in self.alphas.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Back from `fields`. Raises KeyError, TypeError or ValueError for anything else."""
        alphas = {int(k): float(alpha) for k, alpha in fields["alphas"].items()}
        names = (name for name in cls.__dataclass_fields__ if name != "alphas")
        return cls(alphas=alphas, **{name: fields[name] for name in names})


__all__ = ["Belief"]
