"""Mixtures of trees of discrete states (`zoo.rows.tree.Tree`) by EM.

Expected counts are gradients: of the log-likelihood in the log-masses, and for a leaf in its own log-likelihood.
Dempster, Laird & Rubin 1977; parts of the rows move a running mean of the counts as in Cappe & Moulines 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.em import fit as em
from zoo.em.data import Data, Statistics
from zoo.em.steps import m_step
from zoo.em.structure import chow_liu
from zoo.rows.rows import Rows
from zoo.rows.tree import Tree

BATCH, PASSES, LEAST_STEPS = 1024, 6, 40
FORGET = 0.6
"""Step t forgets the share (t + 2)^-0.6 of the counts so far."""
PRIOR = 30.0
"""Rows' worth of the common tree's step that every state of every tree begins with."""
OWN = 0.8
"""Share of its own rows in a tree's first counts; the rest is all rows'."""
JITTER = 0.5
"""Of the first counts, in logs: states and trees that begin alike would stay alike."""


@dataclass
class Start:
    """order, parent (D,); log_weights (K,), root (K, H), edges (K, D - 1, H, H) logs of masses; leaves (H, full)."""

    order: Tensor
    parent: Tensor
    log_weights: Tensor
    root: Tensor
    edges: Tensor
    leaves: Tensor

    def tree(self, rows: Rows, root: Tensor, edges: Tensor) -> Tree:
        every = torch.zeros(1, dtype=torch.long)
        return Tree(rows, self.leaves, root, edges, self.order, self.parent, every)


@dataclass
class Counts:
    """Sums over rows: root (K, H), edges (K, D - 1, H, H); of the leaves seen, first, second (H, Dn), levels (L, H)."""

    root: Tensor
    edges: Tensor
    seen: Tensor
    first: Tensor
    second: Tensor
    levels: Tensor

    def moved(self, other: Counts, share: float, scale: float) -> Counts:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Counts(*((1 - share) * a + share * scale * b for a, b in pairs))


def fit(rows: Rows, trees: int, states: int) -> Start:
    """`trees` trees of one Chow-Liu shape, with `states` states of every column and leaves in common.

    They start from every column's own states and from the clusters of a mixture.
    """
    rows = rows.cpu()
    data = Data.of(rows, "diagonal")
    order, parent = chow_liu(rows)
    own = _own_states(rows, data, states)
    cluster = em.responsibilities(data, trees) if trees > 1 else torch.ones(rows.n, 1, dtype=torch.float64)
    counts = _first(rows, data, order, parent, own, OWN * cluster + (1 - OWN) * cluster.mean(0))
    start, step = _maximised(data, counts, order, parent), 0
    while step < max(LEAST_STEPS, PASSES * rows.n / BATCH):
        for index in torch.randperm(rows.n).split(BATCH):
            new = _expected(rows.take(index), data.take(index), start)
            counts = counts.moved(new, (step + 2) ** -FORGET * len(index) / min(BATCH, rows.n), rows.n / len(index))
            start, step = _maximised(data, counts, order, parent), step + 1
            if data.late:
                return start
    return start


# ---- the two steps


def _expected(rows: Rows, data: Data, start: Start) -> Counts:
    leaves = start.tree(rows, start.root, start.edges).leaf_logs(rows)
    with torch.enable_grad():
        root, edges, leaves = (t.detach().requires_grad_() for t in (start.root, start.edges, leaves))
        log = start.log_weights[:, None] + start.tree(rows, root, edges).of_trees(leaves)
        total = (rows.weight * log.logsumexp(0)).sum()
        # a table of one column has no edges
        gradients = torch.autograd.grad(total, (root, edges, leaves), allow_unused=True, materialize_grads=True)
    by_root, by_edges, by_leaves = gradients
    return Counts(by_root, by_edges, *_leaf_counts(rows, data, by_leaves[start.order.argsort()]))


def _maximised(data: Data, counts: Counts, order: Tensor, parent: Tensor) -> Start:
    sums = Statistics(
        counts.root.sum(0)[None], counts.seen[None], counts.first[None], counts.second[None], counts.levels[:, None]
    )
    leaves = em.finish(data, m_step(data, sums))
    n_states = counts.root.shape[-1]
    common = counts.edges.sum(0, keepdim=True)
    share = common.sum(-2, keepdim=True) + 1e-3
    common = common + PRIOR * share / share.sum(-1, keepdim=True)
    edges = common
    if len(counts.edges) > 1:
        edges = counts.edges + PRIOR * common / common.sum(-1, keepdim=True)
    root = counts.root + PRIOR / n_states
    return Start(
        order,
        parent,
        root.sum(-1).log().log_softmax(-1),
        root.log().log_softmax(-1),
        edges.log().log_softmax(-1),
        torch.cat([leaves.loc, leaves.rest, leaves.spread], -1),
    )


def _leaf_counts(rows: Rows, data: Data, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What leaves are made from, of the weighted probabilities (D, n, H) of every column's states."""
    schema, n = rows.schema, data.y.shape[1]
    there = data.seen.double()
    features = torch.stack([there, data.y * there, data.y.square() * there], -1)
    seen, first, second = (states[:n].mT @ features.transpose(0, 1)).permute(2, 1, 0)
    levels = torch.zeros(sum(data.sizes) + 1, states.shape[-1], dtype=torch.float64)
    for c, j in enumerate([*range(n, len(schema.modelled)), *schema.spiked]):
        code = data.codes[:, c]
        levels.index_add_(0, torch.where(code >= 0, code, len(levels) - 1), states[j])
    return seen, first, second, levels[:-1]


# ---- where it starts


def _first(rows: Rows, data: Data, order: Tensor, parent: Tensor, own: Tensor, cluster: Tensor) -> Counts:
    """Counts as if every column's state were known from its own cell, and the tree (n, K) from the row's cluster."""
    weighted = own * data.weight[:, None]
    n_states = own.shape[-1]
    edges = torch.zeros(cluster.shape[1], len(order) - 1, n_states, n_states, dtype=torch.float64)
    for place, column in enumerate(order.tolist()[1:]):
        before = own[order[parent[place + 1]]]
        for k, share in enumerate(cluster.T):
            edges[k, place] = (before * share[:, None]).T @ weighted[column]
    root = (cluster * data.weight[:, None]).T @ own[order[0]]
    return Counts(_jittered(root), _jittered(edges), *_leaf_counts(rows, data, weighted))


def _jittered(counts: Tensor) -> Tensor:
    return counts * (JITTER * torch.randn_like(counts)).exp()


def _own_states(rows: Rows, data: Data, states: int) -> Tensor:
    """Probabilities (D, n, H) of every column's states, from its own cell; even where that is missing.

    The states of a number are the components of a mixture of Normals, and one for each atom; those of levels are the
    levels, frequent ones first: some share a state where they are many, each has several where they are few.
    """
    assert rows.cells is not None
    n = data.y.shape[1]
    out = torch.full((len(rows.schema.modelled), rows.n, states), 1 / states, dtype=torch.float64)
    for j, column in enumerate(rows.schema.numeric):
        kernels = max(states - len(column.atoms), 1)
        seen, atom = data.seen[:, j], rows.cells.atom[:, j].cpu()
        if seen.any():
            out[j, seen] = 0.0
            out[j, seen, :kernels] = em.responsibilities(data.column(j), kernels)
        place = (kernels - 1 + atom[atom > 0]).clamp_max(states - 1)
        out[j, atom > 0] = torch.nn.functional.one_hot(place, states).double()
    for c, size in enumerate(data.sizes[: len(rows.schema.discrete)]):
        code = data.codes[:, c]
        known = code[code >= 0] - sum(data.sizes[:c])
        rank = known.bincount(minlength=size).argsort(descending=True).argsort()
        shared = (rank[:, None] % states == torch.arange(states) % size).double()
        out[n + c, code >= 0] = (shared / shared.sum(-1, keepdim=True))[known]
    return out
