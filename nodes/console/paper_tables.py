"""`draftwire plan --paper`: Tables I and II of the paper (arXiv 2509.04576), ours beside its own figures."""

import json
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.nodes.speculation.cost import TIE, best_length, draft_cost_of_k, speedup

# The paper's own figures. Table I is gamma*; a star says S < 1.
PAPER_TABLE_I: Mapping[float, Mapping[float, str]] = {
    0.4: {0.01: "4", 0.1: "2", 0.2: "1", 0.4: "1", 0.6: "1*"},
    0.6: {0.01: "7", 0.1: "3", 0.2: "2", 0.4: "1", 0.6: "1*"},
    0.8: {0.01: "14", 0.1: "6", 0.2: "4", 0.4: "2", 0.6: "1"},
}
PAPER_L = {3: 0.07, 32: 0.0702, 320: 0.0723, 3200: 0.093, 32_000: 0.3}
PAPER_ALPHA = {3: {"T = 0": 0.542, "T = 1": 0.310}, 32_000: {"T = 0": 0.290, "T = 1": 0.439}}
PAPER_C, PAPER_B_FULL, PAPER_V = 0.07, 0.23, 32_000


def table_i() -> dict[float, dict[float, str]]:
    """Ours: alpha -> L -> gamma*, with `*` where S < 1 and `=` where S = 1; the target is alone in both."""
    return {alpha: {cost: _table_i_cell(alpha, cost) for cost in row} for alpha, row in PAPER_TABLE_I.items()}


def _table_i_cell(alpha: float, draft_cost: float) -> str:
    gamma = best_length(alpha=alpha, draft_cost=draft_cost)
    s = speedup(alpha=alpha, gamma=gamma, draft_cost=draft_cost)
    if abs(s - 1) < TIE:
        return f"{gamma}="
    return f"{gamma}*" if s < 1 else f"{gamma}"


def table_ii() -> dict[int, dict[str, float]]:
    """Ours: K -> L, and gamma* and S at each of the paper's temperatures where the paper gives alpha."""
    rows: dict[int, dict[str, float]] = {}
    for k in PAPER_L:
        cost = draft_cost_of_k(k=k, vocab_size=PAPER_V, c=PAPER_C, b_full=PAPER_B_FULL)
        rows[k] = {"L": cost}
        for temperature, alpha in PAPER_ALPHA.get(k, {}).items():
            gamma = best_length(alpha=alpha, draft_cost=cost)
            s = speedup(alpha=alpha, gamma=gamma, draft_cost=cost)
            rows[k] |= {f"{temperature}: gamma*": gamma, f"{temperature}: S": s}
    return rows


def print_paper(console: Console, *, as_json: bool) -> None:
    """Tables I and II, ours beside the paper's."""
    ours_i, ours_ii = table_i(), table_ii()
    if as_json:
        tables = {
            "table_i": {"ours": ours_i, "paper": PAPER_TABLE_I},
            "table_ii": {"ours": ours_ii, "paper": {"L": PAPER_L, "alpha": PAPER_ALPHA}},
        }
        print(json.dumps(tables, indent=2))
        return
    lengths = Table(
        "alpha \\ L",
        title="Table I: gamma*, in brackets the paper's",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for cost in PAPER_TABLE_I[0.4]:
        lengths.add_column(f"{cost:g}", justify="right")
    for alpha, row in ours_i.items():
        lengths.add_row(
            f"{alpha:g}", *(f"{cell} ({PAPER_TABLE_I[alpha][cost]})" for cost, cell in row.items())
        )
    console.print(lengths)
    console.print(
        "* S < 1: the target decodes alone (AS2).\n"
        "= S = 1, as alpha = L: a tie, so alone too. The paper stars one of its two.\n"
    )
    bytes_ = Table(
        title="Table II: 68M draft, 7B target, V = 32000, FP16, 50 Mbit/s",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("K", "L", "(paper)"):
        bytes_.add_column(heading, justify="right", no_wrap=True)
    for temperature in PAPER_ALPHA[3]:
        for heading in ("alpha", "gamma*", "S"):
            bytes_.add_column(f"{temperature}\n{heading}", justify="right", no_wrap=True)
    for k, values in ours_ii.items():
        cells = [str(k), f"{values['L']:.4f}", f"{PAPER_L[k]:.4f}"]
        for temperature in PAPER_ALPHA[3]:
            if k in PAPER_ALPHA:
                gamma, s = values[f"{temperature}: gamma*"], values[f"{temperature}: S"]
                cells += [f"{PAPER_ALPHA[k][temperature]:.3f}", f"{gamma:.0f}", f"{s:.2f}"]
            else:
                cells += ["", "", ""]
        bytes_.add_row(*cells)
    console.print(bytes_)
    console.print("L = c + b_full K / V, c = 0.07, b_full = 0.23. alpha is the paper's.")


__all__ = [
    "PAPER_ALPHA",
    "PAPER_B_FULL",
    "PAPER_C",
    "PAPER_L",
    "PAPER_TABLE_I",
    "PAPER_V",
    "print_paper",
    "table_i",
    "table_ii",
]
