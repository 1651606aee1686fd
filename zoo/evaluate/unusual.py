"""How unusual a row is under a model, and which of its cells make it so."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyro.poutine as poutine
import torch
from scipy.special import logsumexp
from torch import Tensor

from zoo.evaluate.likelihood import PARTICLES, ROW_PARTICLES, score
from zoo.evaluate.posterior import by_chunks, sample
from zoo.rows.chain import Chain
from zoo.rows.rows import Rows
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.table.schema import Column

DRAWS = 2000
MOST_LEVELS = 200
"""Of a column that are summed over one by one."""


def tail_probability(
    model: Model, rows: Rows, draws: int = DRAWS, seed: int = 0, particles: int | None = None
) -> np.ndarray:
    """Share of the model's own rows (n,) that are as improbable as each row, or more: an outlier's p-value.

    Uniform on (0, 1) for rows that the model draws. Each row is held against rows with its own missing cells as if it
    were whole, so a row with missing cells is rather too usual. Where rows are conditional, draws are made at theirs.
    """
    like = rows if model.schema.conditions else None
    drawn = sample(model, draws, like, seed)
    at = rows.blank(draws) if like is None else like.take(torch.arange(draws, device=drawn.device) % like.n)
    own = score(model, at.filled(drawn), particles, seed).log_likelihood
    found = score(model, rows, particles, seed).log_likelihood
    below = np.searchsorted(np.sort(own), found, side="right")
    return (below + 1) / (draws + 1)


def surprise(model: Model, rows: Rows, seed: int = 0, particles: int | None = None) -> np.ndarray:
    """-log p(cell | the row's other cells), nats in the column's units (n, D); zero where a cell is missing.

    Where both numbers are bounds their difference is unsure by both errors; it is never below what a mass of one gives.
    """
    assert rows.cells is not None
    whole = score(model, rows, particles, seed).log_likelihood
    out = np.zeros((rows.n, rows.cells.seen.shape[1]))
    for j, column in enumerate(model.schema.modelled):
        there = rows.cells.seen[:, j].cpu().numpy()
        out[there, j] = (_without(model, rows, j, particles, seed) - whole)[there].clip(_least(column))
    return out


def _without(model: Model, rows: Rows, j: int, particles: int | None, seed: int) -> np.ndarray:
    """Log-density (n,) of the rows without column j: of the joint too where the model has a density for each pattern of
    missing cells, since the two densities of a ratio must be of one."""
    assert rows.cells is not None
    column, cells = model.schema.modelled[j], rows.cells
    if model.chained and not column.is_number and column.n_logits <= MOST_LEVELS:
        levels = [cells._replace(x=_with(cells.x, j, v), seen=_with(cells.seen, j, True)) for v in _codes(column)]
        each = [score(model, replace(rows, cells=one), particles, seed).log_likelihood for one in levels]
        return np.asarray(logsumexp(each, axis=0))
    if _is_chain(model):
        draws = particles or PARTICLES

        def summed(part: Rows) -> Tensor:
            assert part.cells is not None
            chain = samples(poutine.trace(model.program).get_trace(part))["x"]["fn"]
            return chain.without(part.cells.x, part.cells.seen, j, draws)

        return by_chunks(summed, rows, seed, max(1, ROW_PARTICLES // draws), model.program).cpu().numpy()
    hidden = replace(rows, cells=cells._replace(seen=_with(cells.seen, j, False)), complete=False)
    return score(model, hidden, particles, seed).log_likelihood


def _is_chain(model: Model) -> bool:
    return isinstance(model.sites.observed.get("x"), Chain) and not model.sites.latents


def _codes(column: Column) -> range:
    """Of every level, the one never seen too where a column has it."""
    return range(max(2, column.n_logits))


def _with(cells: Tensor, j: int, value: float) -> Tensor:
    """The cells (n, D) with this value in column j."""
    out = cells.clone()
    out[:, j] = value
    return out


def _least(column: Column) -> float:
    """The surprise of a cell that is certain: of levels 0, of a rounded column the log of its cell's width."""
    if not column.is_number:
        return 0.0
    return math.log(column.step) if column.step else -math.inf
