"""How unusual a row is under a model, and which of its cells make it so."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.evaluate.likelihood import score
from zoo.evaluate.posterior import sample
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.table.schema import Column

DRAWS = 2000


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
    least = [_least(column) for column in model.schema.modelled]
    whole = score(model, rows, particles, seed).log_likelihood
    out = np.zeros((rows.n, rows.cells.seen.shape[1]))
    for j in range(out.shape[1]):
        there = rows.cells.seen[:, j].cpu().numpy()
        seen = rows.cells.seen.clone()
        seen[:, j] = False
        hidden = replace(rows, cells=rows.cells._replace(seen=seen), complete=False)
        others = score(model, hidden, particles, seed).log_likelihood
        out[there, j] = (others - whole)[there].clip(least[j])
    return out


def _least(column: Column) -> float:
    """The surprise of a cell that is certain: of levels 0, of a rounded column the log of its cell's width."""
    if not column.is_number:
        return 0.0
    return math.log(column.step) if column.step else -math.inf
