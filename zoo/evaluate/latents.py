"""What the latents of a fitted model hold, and rows made from latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyro.poutine as poutine
import torch
from torch import Tensor

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
    """One latent: the nats of KL(q || p) that each coordinate holds of a row, on average."""

    name: str
    nats: list[float]

    @property
    def silent(self) -> list[int]:
        """Coordinates, counted from 1, that hold nothing."""
        return [i for i, nats in enumerate(self.nats, start=1) if nats < SILENT]

    @property
    def sentence(self) -> str:
        """One line where the latent, or a part of it, is silent; else nothing."""
        if not self.silent:
            return ""
        which = "all" if len(self.silent) == len(self.nats) else ", ".join(map(str, self.silent))
        said = f"coordinates of latent {self.name} that hold nothing of a row (under {SILENT} nats): {which}"
        return f"{said}; fewer will do, or objective.free_bits or a longer objective.anneal wakes them"


def held(model: Model, rows: Rows, seed: int = 0) -> list[Held]:
    """What each row latent holds: by coordinate where guide and prior factorise over them, else as a whole.

    A latent whose prior depends on a summed one (`cluster`) has no divergence of its own, and is left out.
    """
    sums: dict[str, Tensor] = {}
    if model.sites.globals:
        return []
    with torch.no_grad(), scope(seed):
        for index in torch.arange(rows.n, device=rows.given.device).split(CHUNK):
            part = rows.take(index)
            w = log_weights(model.program, model.guide, part, 1)
            for name in w.prior:
                each = w.each[name][0] if name in w.each else w.kl[name][0][:, None]
                sums[name] = sums.get(name, 0.0) + (part.weight[:, None] * each).sum(0)
    return [Held(name, (total / rows.n).tolist()) for name, total in sums.items()]


def decoded(model: Model, latents: dict[str, Tensor], like: Rows) -> Tensor:
    """The typical row (n, D), in codec units, at each value of the latents: means, and most probable levels.

    latents  (n, dim) by name; those not named are drawn
    like     rows whose `given` and `group` are taken
    """
    program = poutine.condition(model.program, data=latents)
    with torch.no_grad(), scope(0):
        sites = samples(poutine.trace(program).get_trace(like.blank()))
    density = sites["x"]["fn"] if "x" in sites else None
    if not isinstance(density, ColumnDensity):
        raise TypeError("only a program that observes a predictor tells columns from latents")
    return model.codec.snap(typical(density, like.n))


def typical(density: ColumnDensity, n: int) -> Tensor:
    """Mean of each numeric column, or the atom that has most mass, and the most probable known level (n, D)."""
    schema = density.codec.schema
    parts = []
    if density.numeric is not None:
        numeric = density.numeric.mean().expand(n, -1).clone()
        for b, j in enumerate(schema.spiked, start=len(schema.categorical)):
            which = density.levels.block(b, schema.blocks[b]).expand(n, -1).argmax(-1)
            place = density.codec.atom_places[j][(which - 1).clamp_min(0)]
            numeric[:, j] = torch.where(which > 0, place, numeric[:, j])
        parts.append(numeric)
    parts += [mass.argmax(-1).double()[:, None].expand(n, 1) for mass in density.masses()]
    return torch.cat(parts, 1)
