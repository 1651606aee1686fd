"""Draws of missing numbers put right by the cells that are known.

A model whose shapes are wrong draws too wide, too narrow or to one side, and does so for known cells as for missing
ones. Each known number is hidden once and drawn like a missing one; its randomised rank u among its draws is uniform
where they are right. With G the distribution function of a column's ranks, a draw at rank v of a missing cell gives way
to the one at rank G^-1(v). Kuleshov, Fenner & Ermon 2018.

Draws keep their order in every cell, and so how cells of a row go together; lattices, atoms and ends stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.evaluate.posterior import Completed, complete, completed
from zoo.rows.rows import Rows
from zoo.scope import scope

if TYPE_CHECKING:
    from zoo.model import Model

FOLDS = 5
"""Parts of the known cells, hidden one after another."""
MOST = 2000
"""Rows whose known cells are hidden."""
PRIOR = 20
"""Cells, spread evenly over the ranks, that count as known beside those of the table."""
POOL = 100
"""Draws of a cell that a draw is taken from, at least."""


def calibrated(model: Model, rows: Rows, draws: int, seed: int = 0, particles: int = POOL) -> Completed:
    """Draws of each row given its seen cells, as `completed` gives them, their numbers calibrated."""
    drawn, worth = completed(model, rows, max(draws, POOL), seed, particles)
    known = ranks(model, rows, seed + 1, particles)
    with torch.no_grad(), scope(seed + 2):
        for j, of_column in enumerate(known):
            missing = (~_seen(rows)[:, j]).nonzero()[:, 0]
            drawn[:, missing, j] = _moved(drawn[:, missing, j], of_column)
    return Completed(drawn[:draws], worth)


def ranks(model: Model, rows: Rows, seed: int = 0, particles: int = POOL) -> list[Tensor]:
    """For each numeric column the randomised ranks, in [0, 1], of its known cells among draws of them."""
    n, device = len(rows.schema.numeric), rows.given.device
    with scope(seed):
        some = rows.take(torch.randperm(rows.n, device=device)[:MOST])
        fold = torch.randint(FOLDS, _seen(some).shape, device=device)
    found: list[list[Tensor]] = [[] for _ in range(n)]
    assert some.cells is not None
    truth = model.codec.inverse(some.cells.x[:, :n])
    for f in range(FOLDS):
        hidden = (fold == f) & _seen(some)
        drawn = complete(model, _without(some, hidden), POOL, seed + f, particles)[..., :n]
        with scope(seed + f):
            rank = _rank(truth, torch.stack([model.codec.inverse(one) for one in drawn]))
        for j, of_column in enumerate(found):
            of_column.append(rank[hidden[:, j], j])
    return [torch.cat(of_column) for of_column in found]


def _rank(truth: Tensor, drawn: Tensor) -> Tensor:
    """Randomised rank of `truth` (...) among draws (m, ...), in [0, 1]."""
    near = 1e-9 * (truth.abs() + 1)
    below, ties = (drawn < truth - near).sum(0), ((drawn - truth).abs() <= near).sum(0)
    return (below + torch.rand_like(truth) * (ties + 1)) / (len(drawn) + 1)


def _moved(drawn: Tensor, known: Tensor) -> Tensor:
    """Draws (m, r) of the cells of a column, each in the place of the one at the rank that the known ranks give it."""
    m = len(drawn)
    order = torch.rand_like(drawn).argsort(dim=0)  # ties in any order
    order = order.gather(0, drawn.gather(0, order).argsort(dim=0, stable=True))
    v = (order.argsort(dim=0) + torch.rand_like(drawn)) / m
    even = (torch.arange(PRIOR, device=drawn.device, dtype=drawn.dtype) + 0.5) / PRIOR
    u = torch.quantile(torch.cat([known.to(drawn.dtype), even]), v.flatten()).reshape(v.shape)
    return drawn.gather(0, order).gather(0, (u * m).long().clamp(0, m - 1))


def _seen(rows: Rows) -> Tensor:
    assert rows.cells is not None
    return rows.cells.seen


def _without(rows: Rows, hidden: Tensor) -> Rows:
    """The rows with cells (n, D) hidden, as if the table had not had them."""
    assert rows.cells is not None
    c, number = rows.cells, hidden[:, : rows.cells.lo.shape[-1]]
    x, lo, hi, unit = (
        torch.where(h, 0.0, t) for h, t in ((hidden, c.x), (number, c.lo), (number, c.hi), (number, c.unit))
    )
    cells = c._replace(x=x, seen=c.seen & ~hidden, lo=lo, hi=hi, unit=unit, atom=torch.where(number, 0, c.atom))
    return replace(rows, cells=cells, complete=False)
