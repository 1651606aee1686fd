"""What the latents of a fitted model hold, and what the rows between two rows look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyro.poutine as poutine
import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.evaluate.posterior import by_chunks, embedding
from zoo.log_weights import log_weights
from zoo.rows.columns import ColumnDensity
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model

CHUNK = 4096
SILENT = 0.01
"""Nats: a coordinate of a latent that holds less than this of a row, on average, is silent."""


class Held(NamedTuple):
    """One latent: nats of KL(q || p) that each coordinate holds of a row, on average. A mean of at least SILENT is
    active; the sum bounds what the latent tells of a row (Hoffman & Johnson 2016)."""

    name: str
    nats: list[float]

    @property
    def silent(self) -> list[int]:
        """Coordinates, counted from 1, that hold nothing."""
        return [i for i, nats in enumerate(self.nats, start=1) if nats < SILENT]


def held(model: Model, rows: Rows, seed: int = 0) -> list[Held]:
    """What each row latent holds, by coordinate where guide and prior factorise over them, else as a whole.

    A latent under a summed one (`cluster`) has no closed form and is left out.
    """

    def one(part: Rows) -> Tensor:
        w = log_weights(model.program, model.guide, part, 1)
        names.update({name: w.each[name].shape[-1] if name in w.each else 1 for name in w.prior if name in w.kl})
        return torch.cat([w.each[n][0] if n in w.each else w.kl[n].T for n in names], -1)

    names: dict[str, int] = {}
    if not model.sites.continuous or model.sites.globals or not rows.n:
        return []
    first = rows.take(torch.arange(1, device=rows.given.device))
    with torch.no_grad(), scope(seed):
        if not any(name in log_weights(model.program, model.guide, first, 1).prior for name in model.guide_names):
            return []
    nats = by_chunks(one, rows, seed, CHUNK, model.program)
    mean = (rows.weight[:, None] * nats).mean(0)
    return [Held(name, part.tolist()) for name, part in zip(names, mean.split(list(names.values())), strict=True)]
