"""What a controller believes about one device's link, models and acceptance when it makes a plan.

A record holds one belief a decision, so that `draftwire explain` can ask what every other choice would have
given: `belief_forecast` makes the model of cost from it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from draftwire.codecs.control import REJECTION
from draftwire.codecs.limits import MAX_PLAIN_K, MAX_ROW_BITS
from draftwire.nodes.speculation.cost import Compute, Frames, LinkEstimate, forecast_grid
from draftwire.nodes.speculation.frames import RungBits, frames_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Estimates, and what the plan made from them was expected to bring."""

    alphas: Mapping[int, float]
    """K -> alpha, for each K that was considered. Where drafts are hints it is no alpha of rejection, as no
    row is needed: P(equal) as drafts had it of late, and under one K only, that of single rows"""
    uplink_bps: float
    off_s_per_bit: tuple[float, ...] = ()
    "seconds a bit by which such estimates were off, when plans relied on them; empty: by nothing"
    rtt_s: float
    "there and back for an empty message, what the device needs to answer it included"
    draft_step_s: float
    "one drafted token"
    target_step_s: float
    "the pass of no drafted token, as the line through passes with some has it"
    target_per_token_s: float
    "more for each drafted token in the pass"
    alone_step_s: float
    "a pass of the target by itself, whose kernels are often others"
    overhead_s: float
    "the BS's own time a step: Draft to pass, test to Commit"
    row_scale: float
    "bits of the rows seen over those that the model of frames expects, spelt as the next ones will be"
    plain_scale: float = 1.0
    "the same of plain rows: with a set, those of a K below its first rung"
    rows: bool
    "False: drafts are hints (coupled, or temperature 0), so only ids travel and K means next to nothing"
    acceptance: str = REJECTION
    "of the request"
    greedy: bool = False
    "temperature 0: no row ever travels"
    survives: tuple[float, ...] = ()
    """where drafts are hints: how likely the first k of a path are all right, k = 0, 1, ..; behind its end
    the last one's chance goes on"""
    coupled_alpha: float | None = None
    "how often coupled picks are equal, as it was known then; None: nobody asked"
    vocab_size: int
    tables: str = ""
    "hash, in hex, of the set that rows are taken to be spelt with; empty: rows are plain"
    rung_bits: RungBits = ()
    "what that set says of its rows' sizes; empty: sizes of plain rows"
    tokens_per_s: float
    "expected of the plan"
    alone_tokens_per_s: float
    "expected of the target alone"
    drafted_per_token: float = 0.0
    "where drafts are hints: tokens drafted for each one of the output, expected of the plan"
    reason: str
    "`best`, `explore` (to see what `best` does not show), `alone`, `retry` (of drafts, when alone), `pinned`"

    @property
    def compute(self) -> Compute:
        """The models' times, as the model of cost takes them."""
        return Compute(
            draft_step_s=self.draft_step_s,
            target_step_s=self.target_step_s,
            target_per_token_s=self.target_per_token_s,
            overhead_s=self.overhead_s,
            alone_step_s=self.alone_step_s,
        )

    @property
    def link(self) -> LinkEstimate:
        """The link, taken for as fast down as up: only the uplink's rate is measured."""
        return LinkEstimate(
            uplink_bps=self.uplink_bps,
            downlink_bps=self.uplink_bps,
            rtt_s=self.rtt_s,
            off_s_per_bit=self.off_s_per_bit,
        )

    def row_bits(self, k: int) -> float:
        """Of a row of K entries in a block, with the packets that it adds."""
        return self.frames.rows_bits(k, 1) - self.frames.rows_bits(k, 0)

    @property
    def frames(self) -> Frames:
        """Sizes on the wire."""
        return frames_of(
            vocab_size=self.vocab_size,
            row_scale=self.row_scale,
            plain_scale=self.plain_scale,
            rows=self.rows,
            rungs=self.rung_bits,
        )

    def fields(self) -> dict[str, Any]:
        """Plain values, as a record holds them."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"alphas": {str(k): alpha for k, alpha in self.alphas.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Back from `fields`. Raises KeyError, TypeError or ValueError for anything else.

        A record without tables is one of plain rows, of one scale, and one without acceptance is of rejection
        or of temperature 0: older versions had no other.
        """
        alphas = {int(k): float(alpha) for k, alpha in fields["alphas"].items()}
        off = tuple(float(value) for value in fields["off_s_per_bit"])
        made: dict[str, Any] = {
            "alphas": alphas,
            "off_s_per_bit": off,
            "tables": str(fields.get("tables", "")),
            "rung_bits": _rung_bits(fields.get("rung_bits", ())),
            "plain_scale": float(fields.get("plain_scale", fields["row_scale"])),
            "acceptance": str(fields.get("acceptance", REJECTION)),
            "greedy": bool(fields.get("greedy", not fields["rows"])),
            "survives": tuple(float(value) for value in fields.get("survives", ())),
            "coupled_alpha": None if (told := fields.get("coupled_alpha")) is None else float(told),
            "drafted_per_token": float(fields.get("drafted_per_token", 0.0)),
        }
        return cls(**made, **{name: fields[name] for name in cls.__dataclass_fields__ if name not in made})


def _rung_bits(pairs: Sequence[Sequence[int]]) -> RungBits:
    """As a record has them, if a set can say so."""
    rungs = tuple((k, bits) for k, bits in pairs)
    if any(type(value) is not int for rung in rungs for value in rung):
        raise TypeError("rung_bits must be pairs of whole numbers")
    ks = [k for k, _ in rungs]
    if ks != sorted(set(ks)) or any(not 0 < k <= MAX_PLAIN_K for k in ks):
        raise ValueError(f"rung_bits: K must rise, from 1 to {MAX_PLAIN_K}")
    if any(not 0 < bits <= MAX_ROW_BITS for _, bits in rungs):
        raise ValueError(f"rung_bits: a row has 1 to {MAX_ROW_BITS} bits")
    return rungs


def belief_forecast(
    belief: Belief, *, gammas: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tokens and seconds a step of every plan, shape [K, gamma]: K as in belief.alphas, gammas >= 1."""
    return forecast_grid(
        alphas=belief.alphas, gammas=gammas, compute=belief.compute, link=belief.link, frames=belief.frames
    )


__all__ = ["Belief", "belief_forecast"]
