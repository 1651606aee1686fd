"""Draws with gradients, as a network reads rows: what a critic compares with the table.

A drawn cell is a number moved with its location and scale, or a level, of which there are three ways to a gradient
(`LEVELS`); a real one lies anywhere in its cell of the lattice, so that rounding alone does not give a draw away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from zoo.rows.cells import Count, Family, Normal, OneOf
from zoo.rows.columns import ColumnDensity
from zoo.rows.rows import Rows
from zoo.table.codec import FAR, one_hot

LEVELS = Literal["straight-through", "gumbel", "score"]
"""straight-through  one level, its gradient that of the spread one (Bengio et al. 2013; Jang et al. 2017)
gumbel            a level spread over all of them at a temperature (Jang et al. 2017; Maddison et al. 2017)
score             one level without a gradient; the log-mass of what was drawn goes with it (Williams 1992)
"""
LEAST = 1e-20


@dataclass(frozen=True)
class Drawn:
    """features (n, n_features), as `Rows.features` gives them; log_mass (n,) of the seen levels and atoms that were
    drawn, zeros where their gradients are in the features."""

    features: Tensor
    log_mass: Tensor


def relaxed(density: ColumnDensity, like: Rows, levels: LEVELS = "straight-through", temperature: float = 0.5) -> Drawn:
    """A draw of each row of a density of all columns, with the missing cells of `like`."""
    schema, n = density.codec.schema, like.n
    seen = torch.ones(n, len(schema.modelled), device=like.given.device) if like.cells is None else like.cells.seen
    flags = seen.float()
    plain = len(schema.numeric) + len(schema.binary)
    owners = [*range(plain, len(schema.modelled)), *schema.spiked]
    blocks = [_block(density, b, n, levels, temperature) for b in range(len(schema.blocks))]
    yes, log_yes = _yes(density.binary.expand(n, -1), levels, temperature)
    parts = [yes.float()]
    if density.numeric is not None:
        drawn = reparameterised(density.numeric).sample().expand(n, -1)
        for b, j in enumerate(schema.spiked, start=len(schema.categorical)):
            places = density.codec.atom_places[j][: schema.blocks[b] - 1]
            column = blocks[b][0][:, 0] * drawn[:, j] + blocks[b][0][:, 1:].double() @ places
            drawn = torch.cat([drawn[:, :j], column[:, None], drawn[:, j + 1 :]], 1)
        parts.insert(0, drawn.clamp(-FAR, FAR).float())
    values = [torch.cat(parts, 1) * flags[:, :plain]]
    values += [block * flags[:, j, None] for (block, _), j in zip(blocks, owners, strict=True)]
    log_mass = (log_yes * flags[:, len(schema.numeric) : plain]).sum(1)
    for (_, log), j in zip(blocks, owners, strict=True):
        log_mass = log_mass + log * flags[:, j]
    return Drawn(torch.cat([*values, flags], 1), log_mass)


def real(rows: Rows) -> Tensor:
    """Features of rows (n, n_features), each rounded number anywhere in its cell, but for atoms."""
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


def _block(density: ColumnDensity, b: int, n: int, levels: LEVELS, temperature: float) -> tuple[Tensor, Tensor]:
    """A block's levels (n, size), and the log-mass (n,) of the one drawn; the one reserved for the unseen never is."""
    schema = density.codec.schema
    size = schema.blocks[b]
    drawable = size - 1 if b < len(schema.categorical) else size
    log = density.levels.block(b, drawable).float().expand(n, drawable)
    noisy = log - torch.empty_like(log).exponential_().clamp_min(LEAST).log()
    soft = (noisy / temperature).softmax(-1)
    if levels != "gumbel":
        hard = one_hot(noisy.argmax(-1), drawable)
        soft = hard if levels == "score" else hard + (soft - soft.detach())
    mass = (log * soft).sum(-1) if levels == "score" else log.new_zeros(n)
    return torch.nn.functional.pad(soft, (0, size - drawable)), mass


def _yes(logits: Tensor, levels: LEVELS, temperature: float) -> tuple[Tensor, Tensor]:
    """Binary columns (n, Db), and the log-mass of each."""
    u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + u.log() - (-u).log1p()) / temperature)
    hard = (soft > 0.5).to(soft)
    if levels == "score":
        return hard.detach(), torch.nn.functional.logsigmoid((2 * hard.detach() - 1) * logits).float()
    return hard + (soft - soft.detach()) if levels == "straight-through" else soft, torch.zeros_like(logits).float()
