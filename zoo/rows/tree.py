"""Rows whose columns hang from a tree of discrete states: exact marginals and conditionals of any columns.

    p(x) = sum_z p(z_root) prod_j p(z_j | z_parent(j)) p(x_j | z_j)

A smooth and decomposable circuit: one pass from the leaves to the root sums over all states, one pass back draws them
given what was seen.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

if TYPE_CHECKING:
    from zoo.rows.rows import Rows

NUMBERS = 1 << 23
"""Beliefs of rows, trees and states at once."""


class Tree(TorchDistribution):
    """Rows (n, D) under one of K trees of the same shape, D states of H values in each.

    rows     whose columns they are, and whose cells `log_prob` scores
    leaves   (H, rows.full) predictor of every column in each of its states
    root     (K, H) log-masses of the first state
    edges    (K, D - 1, H, H) log-masses of every other state (last) given its parent's
    order    (D,) columns from the root on, nearer ones first
    parent   (D,) place of each one's parent in that order; the root's is its own
    which    (..., n or 1) the tree of each row
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        rows: Rows,
        leaves: Tensor,
        root: Tensor,
        edges: Tensor,
        order: Tensor,
        parent: Tensor,
        which: Tensor,
        batch_shape: torch.Size | None = None,
    ):
        self.rows, self.leaves, self.root, self.edges = rows, leaves, root, edges
        self.order, self.parent, self.which = order, parent, which
        shape = torch.Size(np.broadcast_shapes(which.shape, (rows.n,))) if batch_shape is None else batch_shape
        super().__init__(shape, torch.Size([len(order)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Tree:
        parts = (self.rows, self.leaves, self.root, self.edges, self.order, self.parent, self.which)
        return Tree(*parts, batch_shape=torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        rows = self.rows if self.rows.cells is not None else self.rows.filled(value)
        total = torch.cat([self.of_trees(self.leaf_logs(rows.take(i))) for i in self._parts()], -1)
        return total[self.which, torch.arange(rows.n, device=total.device)].expand(self.batch_shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        nothing = self.root.new_zeros(1).expand(len(self.root), len(self.order), self.rows.n, self.root.shape[-1])
        draw = self._columns(self._states(nothing, self.which.expand(self.rows.n)[None])[0])
        return draw.expand(*sample_shape, *self.batch_shape, -1)

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """`value` (n, D) with its unseen cells drawn given all the seen ones."""
        # copies of a row, one for each draw, share what its seen cells say
        once = self.rows.once
        rows, which = once.filled(value[: once.n], seen[: once.n]), self.which.expand(self.rows.n).reshape(-1, once.n)
        states = [self._states(self._beliefs(self.leaf_logs(rows.take(i))), which[:, i]) for i in self._parts(once.n)]
        return torch.where(seen, value, self._columns(torch.cat(states, 1).flatten(0, 1)))

    # ---- from the leaves to the root, and back

    def leaf_logs(self, rows: Rows) -> Tensor:
        """log p(x_j | z_j) (D, n, H), from the root on; zero where the cell was not seen."""
        assert rows.cells is not None
        return rows.heads(self.leaves[:, None], rows.cells).log_cells(rows.cells.x).permute(2, 1, 0)[self.order]

    def of_trees(self, leaf_logs: Tensor) -> Tensor:
        """log p(x | tree) (K, n)."""
        return (self.root[:, None] + self._by_floor(leaf_logs)[0][:, 0]).logsumexp(-1)

    def _beliefs(self, leaves: Tensor) -> Tensor:
        """log p(what hangs from a state | the state) (K, D, n, H)."""
        return torch.cat(self._by_floor(leaves), 1)

    def _by_floor(self, leaves: Tensor) -> list[Tensor]:
        """The beliefs of equally far states together, from the root on."""
        floors = [(0, 1), *self._floors()]
        out: list[Tensor] = []
        message, into = leaves.new_zeros(len(self.root), 0, *leaves.shape[-2:]), self.parent[:0]
        for begin, end in reversed(floors):
            here = leaves[..., begin:end, :, :].expand(len(self.root), -1, -1, -1)
            below = here.index_add(1, into - begin, message)
            out.insert(0, below)
            if begin:
                steps, into = self.edges[:, begin - 1 : end - 1], self.parent[begin:end]
                top = below.detach().amax(-1, keepdim=True).clamp_min(-1e300)
                message = ((below - top).exp() @ steps.exp().mT).log() + top
        return out

    def _states(self, beliefs: Tensor, which: Tensor) -> Tensor:
        """Draws of every state (copies, n, D) in the trees (copies, n), columns in their own order."""
        rows = torch.arange(which.shape[-1], device=beliefs.device)
        states = [_draw(self.root[which] + beliefs[which, 0, rows])]
        for place, parent in enumerate(self.parent.tolist()[1:], start=1):
            step = self.edges[which, place - 1, states[parent]]
            states.append(_draw(step + beliefs[which, place, rows]))
        return torch.stack(states, -1)[..., self.order.argsort()]

    def _columns(self, states: Tensor) -> Tensor:
        """A draw of every column (n, D) in its state."""
        owner = torch.tensor(self.rows.schema.owners, device=states.device)
        predictor = self.leaves[states[:, owner], torch.arange(len(owner), device=states.device)]
        return self.rows.heads(predictor).sample()

    def _parts(self, n: int | None = None) -> tuple[Tensor, ...]:
        """The rows, or n of them, as many at once as keep to memory."""
        size = max(1, NUMBERS // (self.root.numel() * len(self.order)))
        return torch.arange(self.rows.n if n is None else n, device=self.root.device).split(size)

    def _floors(self) -> list[tuple[int, int]]:
        """Places (begin, end) of the states that are equally far from the root, which is left out."""
        depth = [0]
        for parent in self.parent.tolist()[1:]:
            depth.append(depth[parent] + 1)
        begins = [place for place in range(1, len(depth)) if depth[place] != depth[place - 1]]
        return list(itertools.pairwise([*begins, len(depth)]))


def _draw(log: Tensor) -> Tensor:
    """A place along the last dimension, as often as its mass says."""
    return (log - torch.empty_like(log).exponential_().log()).argmax(-1)
