"""Draws with gradients, as a network reads rows: what a critic compares with the table.

A drawn cell is a number moved with its location and scale, or a level spread over all levels at a temperature; a real
one lies anywhere in its cell of the lattice, so that rounding alone does not give a draw away.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zoo.rows.cells import Count, Family, Normal, OneOf
from zoo.rows.columns import ColumnDensity
from zoo.rows.rows import Rows
from zoo.table.codec import FAR


def relaxed(density: ColumnDensity, like: Rows, temperature: float = 0.5, hard: bool = False) -> Tensor:
    """Features (n, n_features) of a draw, as `Rows.features` gives them, with the missing cells of `like`.

    hard: levels are one level, and only their gradients are spread (Jang et al. 2017, straight-through).
    """
    schema, blocks = density.codec.schema, density.codec.schema.blocks
    n = like.n
    levels = [_level(density, b, size, n, temperature, hard) for b, size in enumerate(blocks)]
    seen = torch.ones(n, len(schema.modelled), device=like.given.device) if like.cells is None else like.cells.seen
    flags = seen.float()
    parts = []
    if density.numeric is not None:
        drawn = reparameterised(density.numeric).sample().expand(n, -1)
        for b, j in enumerate(schema.spiked, start=len(schema.categorical)):
            places = density.codec.atom_places[j][: blocks[b] - 1]
            column = levels[b][:, 0] * drawn[:, j] + levels[b][:, 1:].double() @ places
            drawn = torch.cat([drawn[:, :j], column[:, None], drawn[:, j + 1 :]], 1)
        parts.append(drawn.float().clamp(-FAR, FAR))
    parts.append(_yes(density.binary.expand(n, -1), temperature, hard).float())
    plain = len(schema.numeric) + len(schema.binary)
    values = [torch.cat(parts, 1) * flags[:, :plain]]
    for c in range(len(schema.categorical)):
        # the level reserved for the unseen is never drawn
        values.append(levels[c] * flags[:, plain + c, None])
    for b, j in enumerate(schema.spiked, start=len(schema.categorical)):
        values.append(levels[b] * flags[:, j, None])
    return torch.cat([*values, flags], 1)


def real(rows: Rows) -> Tensor:
    """Features of rows, each rounded number anywhere in its cell, but for atoms."""
    assert rows.cells is not None
    cells = rows.cells
    n = cells.lo.shape[-1]
    inside = cells.lo + (cells.hi - cells.lo) * torch.rand_like(cells.lo)
    numeric = torch.where(cells.atom > 0, cells.x[:, :n], inside)
    return replace(rows, cells=cells._replace(x=torch.cat([numeric, cells.x[:, n:]], 1))).features()


def reparameterised(family: Family) -> Family:
    """A family whose draws have gradients: counts are taken as Normals of the same mean and spread."""
    if isinstance(family, OneOf):
        return OneOf(family.where, reparameterised(family.chosen), reparameterised(family.other))
    if isinstance(family, Count):
        variance = family.rate + family.rate.square() / family.size
        return Normal(family.mean(), variance.sqrt() / family.unit)
    return family


def _level(density: ColumnDensity, b: int, size: int, n: int, temperature: float, hard: bool) -> Tensor:
    """A block's levels (n, size), spread."""
    drawable = size - 1 if b < len(density.codec.schema.categorical) else size
    log = density.levels.block(b, drawable).float().expand(n, drawable)
    spread = torch.nn.functional.gumbel_softmax(log, temperature, hard)
    return torch.nn.functional.pad(spread, (0, size - drawable))


def _yes(logits: Tensor, temperature: float, hard: bool) -> Tensor:
    u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + u.log() - (-u).log1p()) / temperature)
    return soft + ((soft > 0.5).to(soft) - soft).detach() if hard else soft
