"""Partial pooling: what a group adds to what all groups share."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

SPREAD = -0.7, 1.0
"""Of the log of the groups' spread: mostly between 0.07 and 3.7, in logits or standard deviations."""


def need_group(schema: Schema, what: str) -> None:
    if schema.role("group") is None:
        raise UserError(f"{what} that differ by group need a group column", "name one with --group COLUMN")


def offsets(schema: Schema, name: str, width: int, spreads: int, like: Tensor) -> Tensor:
    """Offsets (groups, width) of every group, drawn from a population; the last group is one never seen.

    spread      ~ LogNormal(-0.7, 1)    # `spreads` of them: one for each of `width`, or one for all
    offset_g    ~ Normal(0, I)
    returned    offset_g * spread       # so that a group without rows keeps the population's own distribution
    """
    place = torch.full((spreads,), SPREAD[0], dtype=torch.float64, device=like.device)
    spread = pyro.sample(f"{name}_spread", dist.LogNormal(place, SPREAD[1]).to_event(1))
    with pyro.plate(f"groups_{name}", schema.groups + 1):
        unit = torch.zeros(width, dtype=torch.float64, device=like.device)
        offset = pyro.sample(f"{name}_offset", dist.Normal(unit, 1.0).to_event(1))
    return offset * spread


def start(rows: Rows, name: str, base: Tensor) -> dict[str, Tensor]:
    """Where the offsets of predictors of the columns begin, and their spreads, one a predictor: what the numeric cells
    of each group lie from `base`, on average, with one row that says nothing added to each group."""
    assert rows.cells is not None
    n = len(rows.schema.numeric)
    base, group = base.cpu(), rows.group.cpu()
    weight = (rows.cells.seen[:, :n].double() * rows.weight[:, None].double()).cpu()
    zeros = torch.zeros(rows.schema.groups + 1, n, dtype=torch.float64)
    total = zeros.index_add(0, group, weight * (rows.cells.x[:, :n].double().cpu() - base[:n]))
    apart = torch.zeros(len(zeros), len(base), dtype=torch.float64)
    apart[:, :n] = total / (1 + zeros.index_add(0, group, weight))
    spread = apart[:-1].square().mean(0).sqrt().clamp(0.1, 3.0)
    return {f"{name}_spread": spread, f"{name}_offset": apart / spread}
