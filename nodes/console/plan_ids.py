"""What `draftwire plan` says of requests that send ids only: coupled, and pipelined.

By the model of nodes/speculation/pipeline.py, with one acceptance for every place of a path.
"""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.nodes.speculation.cost import Compute, LinkEstimate
from draftwire.nodes.speculation.frames import true_frames
from draftwire.nodes.speculation.pipeline import Flow, flow, flows, pipelined_plans, synchronous

LONGEST: Final = 16
"""Of a pipelined draft: more ids ahead are hardly ever right."""


EQUAL: Final = 0.003
"""Speeds that differ by less, relatively, are equal: of such pipelined plans that which drafts least wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdsPlan:
    """One plan, and what it is expected to bring."""

    gamma: int
    "how far the device drafts beyond what it knows; 0: the target alone"
    min_draft: int
    "what a free target waits for; gamma: all, both ends take turns"
    flow: Flow

    @property
    def name(self) -> str:
        """For people."""
        if not self.gamma:
            return "target alone"
        if self.min_draft >= self.gamma:
            return f"coupled: gamma {self.gamma}, in turns"
        return f"pipelined: gamma {self.gamma}, waits for {self.min_draft}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdsOnly:
    """The best of each kind."""

    alpha: float
    alone: IdsPlan
    coupled: IdsPlan
    pipelined: IdsPlan

    @property
    def plans(self) -> tuple[IdsPlan, ...]:
        """In the order of the table."""
        return self.alone, self.coupled, self.pipelined

    def speedup(self, plan: IdsPlan) -> float:
        """Over the target alone."""
        return plan.flow.tokens_per_s / self.alone.flow.tokens_per_s


def advise_ids(*, alpha: float, compute: Compute, link: LinkEstimate, vocab_size: int) -> IdsOnly:
    """The best plans of each kind. alpha: how often the two ends' picks are equal, in [0, 1]."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}: give how often picks are equal, from 0 to 1")
    survives = [alpha**k for k in range(MAX_GAMMA + 1)]
    frames = true_frames(vocab_size=vocab_size, rows=False)

    def in_turns(gamma: int) -> IdsPlan:
        brings = synchronous(gamma=gamma, survives=survives, compute=compute, link=link, frames=frames)
        return IdsPlan(gamma=gamma, min_draft=gamma, flow=brings)

    pairs = pipelined_plans(LONGEST)
    found = flows(plans=pairs, survives=survives, compute=compute, link=link, frames=frames)
    good = found.tokens_per_s >= found.tokens_per_s.max() * (1 - EQUAL)
    gamma, min_draft = pairs[int(np.where(good, found.drafted / found.tokens, np.inf).argmin())]
    best = flow(
        gamma=gamma, min_draft=min_draft, survives=survives, compute=compute, link=link, frames=frames
    )
    return IdsOnly(
        alpha=alpha,
        alone=in_turns(0),
        coupled=max(
            (in_turns(gamma) for gamma in range(1, MAX_GAMMA + 1)), key=lambda one: one.flow.tokens_per_s
        ),
        pipelined=IdsPlan(gamma=gamma, min_draft=min_draft, flow=best),
    )


def print_ids(console: Console, ids: IdsOnly) -> None:
    """A table of the three, and what their names say."""
    table = Table(
        title=f"Ids only, if picks are equal with {ids.alpha:g}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("plan", no_wrap=True)
    for heading in ("drafted/tok", "passes/tok", "tok/s", "S"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in ids.plans:
        table.add_row(
            one.name,
            f"{one.flow.drafted_per_token:.2f}",
            f"{one.flow.passes_per_token:.2f}",
            f"{one.flow.tokens_per_s:.1f}",
            f"{ids.speedup(one):.2f}",
        )
    console.print(table)
    console.print("in turns:  the target waits for all gamma ids, the device for each outcome")
    console.print("pipelined: the device drafts on while a free target takes what has come")


def as_json(ids: IdsOnly) -> dict[str, object]:
    """Plain values; units in the names."""
    return {
        "alpha": ids.alpha,
        "plans": [
            {
                "name": one.name,
                "gamma": one.gamma,
                "min_draft": one.min_draft,
                **asdict(one.flow),
                "tokens_per_s": one.flow.tokens_per_s,
                "drafted_per_token": one.flow.drafted_per_token,
                "passes_per_token": one.flow.passes_per_token,
                "speedup": ids.speedup(one),
            }
            for one in ids.plans
        ],
    }


__all__ = ["IdsOnly", "IdsPlan", "advise_ids", "as_json", "print_ids"]
