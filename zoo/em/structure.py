"""The tree of columns that share the most information. Chow & Liu 1968."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from zoo.rows.rows import Rows

BINS = 12


def chow_liu(rows: Rows) -> tuple[Tensor, Tensor]:
    """The maximum spanning tree of mutual information: `order` and `parent` (D,) as a `zoo.rows.tree.Tree` has them.

    Its root is the column from which the others are fewest steps away.
    """
    shared = information([_binned(rows, j) for j in range(len(rows.schema.modelled))], rows.weight)
    cost = (1 + shared.max() - shared).fill_diagonal_(0).numpy()  # a cost of zero would be no edge
    edges = minimum_spanning_tree(cost)
    order, before = min((_from(edges, j) for j in range(len(cost))), key=lambda tree: _depths(*tree).sum())
    place = np.argsort(order)
    parent = [0, *(place[before[j]] for j in order[1:])]
    return torch.tensor(order, dtype=torch.long), torch.tensor(parent, dtype=torch.long)


def information(codes: list[Tensor], weight: Tensor) -> Tensor:
    """Mutual information (D, D) in nats of columns of codes (n,), -1 where missing, over the rows that have both.

    What as many levels share by chance is taken off. Miller 1955.
    """
    out = torch.zeros(len(codes), len(codes), dtype=torch.float64)
    for i, a in enumerate(codes):
        for j, b in enumerate(codes[:i]):
            both = (a >= 0) & (b >= 0)
            out[i, j] = out[j, i] = _shared(a[both], b[both], weight[both].double())
    return out.clamp_min(0)


def _shared(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mutual information of two columns of codes (n,), by the pairs that there are: levels may be thousands."""
    if not len(a):
        return weight.new_zeros(())
    width = int(b.max()) + 1
    pairs, which = (a * width + b).unique(return_inverse=True)
    total = weight.sum().clamp_min(1e-9)
    p, first, second = (w.bincount(weight) / total for w in (which, a, b))
    apart = first[pairs // width] * second[pairs % width]
    chance = ((first > 0).sum() - 1) * ((second > 0).sum() - 1) / (2 * total)
    return torch.special.xlogy(p, torch.where(p > 0, p / apart, 1.0)).sum() - chance


def _binned(rows: Rows, j: int) -> Tensor:
    """Codes (n,) of the cells of a column, -1 where missing: its levels, or as many even bins."""
    assert rows.cells is not None
    x, seen = rows.cells.x[:, j], rows.cells.seen[:, j]
    known, code = x[seen].unique(return_inverse=True)
    if len(known) > BINS and j < len(rows.schema.numeric):
        at = torch.linspace(0, 1, BINS + 1)[1:-1] * (int(seen.sum()) - 1)
        code = torch.bucketize(x[seen], x[seen].sort().values[at.long()].unique())
    out = torch.full(x.shape, -1)
    out[seen] = code
    return out


def _from(edges: np.ndarray, root: int) -> tuple[np.ndarray, np.ndarray]:
    order, before = breadth_first_order(edges, root, directed=False)
    return order, before


def _depths(order: np.ndarray, before: np.ndarray) -> np.ndarray:
    depth = np.zeros(len(order), dtype=int)
    for j in order[1:]:
        depth[j] = depth[before[j]] + 1
    return depth
