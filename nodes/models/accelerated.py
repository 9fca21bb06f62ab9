"""Rows of logits as torch has them, on whatever device: brought to the host, or only the K largest of one."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from draftwire.nodes.models.base import Top

_COLDEST: Final = 1e-30
_HOTTEST: Final = 1e30
"Beyond these a temperature does what it does at the limit, and float32 ends."


def on_host(rows: Tensor) -> NDArray[np.float32]:
    """All of the rows, in float32."""
    host: NDArray[np.float32] = rows.float().cpu().numpy()
    return host


@torch.inference_mode()
def top_of(row: Tensor, *, k: int, temperature: float) -> Top:
    """The K largest of `row`, shape [V], in any float type. See `TopContext.top`.

    K columns, K logits and two sums leave the row's device. Logits are compared in the type that they have.
    Of equal ones at the edge the first are taken: torch.topk makes no promise there, and in half precision
    many are equal. So it is with NaN, which counts as the largest.
    """
    k = min(k, len(row))
    columns = _largest(row, k)
    logits = row[columns].float()
    if temperature == 0 or k == len(row):
        return Top(columns=columns.cpu().numpy(), logits=on_host(logits), left_out=0.0)
    masses = (row.float() - logits.max()).mul_(1 / min(max(temperature, _COLDEST), _HOTTEST)).exp_()
    inside = masses[columns].sum()
    outside = masses.index_fill_(0, columns, 0.0).sum()
    found = on_host(torch.cat([logits, torch.stack([inside, outside])]))
    return Top(
        columns=columns.cpu().numpy(),
        logits=found[:k],
        left_out=float(found[k + 1] / (found[k] + found[k + 1])) if found[k] > 0 else 0.0,
    )


def _largest(row: Tensor, k: int) -> Tensor:
    """The columns of the K largest, rising."""
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=row.device)
    edge = row.topk(k, sorted=False).values.min()
    above, equal = row > edge, row == edge
    kept = above | (equal & (equal.cumsum(0) <= k - above.sum()))
    columns = kept.nonzero().squeeze(1)
    if len(columns) == k:
        return columns
    nan = row.isnan()  # neither above an edge nor equal to one, and itself the edge where one is among the K
    first, others = nan.nonzero().squeeze(1)[:k], (~nan).nonzero().squeeze(1)
    return torch.cat([first, others[_largest(row[others], k - len(first))]]).sort().values


__all__ = ["on_host", "top_of"]
