"""A model whose global latents have values: what is left to infer are the latents of rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyro.poutine as poutine
import torch
from torch import Tensor

from zoo.guides.globals import AUXILIARY, VIEWS
from zoo.scope import scope
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Bound, Model

SEED = 0


class Fixed:
    """A model at one draw of its global latents; every verb takes it as it takes a model.

    u: the draw, on the real line; one of the guide's where it is left out
    """

    def __init__(self, model: Model, u: Tensor | None = None):
        rows = model.blank()
        guide = model.guide if u is None else poutine.condition(model.guide, data={AUXILIARY: u})
        zeros = torch.zeros(rows.n, len(rows.schema.modelled), dtype=torch.float64, device=model.device)
        with torch.no_grad():
            drawn = samples(poutine.trace(guide).get_trace(rows.filled(zeros)))
        self.values = {site.name: drawn[site.name]["value"].detach() for site in model.sites.globals}
        self.program: Any = poutine.condition(model.program, data=self.values)
        self.guide: Any = poutine.condition(model.guide, data=self.values)
        self.sites = dataclasses.replace(model.sites, latents=tuple(s for s in model.sites.latents if s.row))
        self.codec, self.schema, self.blank = model.codec, model.schema, model.blank
        self.pattern_wise = model.pattern_wise
        self._bound = model.bound_of_rows

    def bound(self, complete: bool = True) -> Bound:
        return self._bound(complete)


def draws_of_globals(model: Model, draws: int, seed: int = SEED) -> dict[str, Tensor]:
    """Draws (draws, ...) of every latent that belongs to no row, by the name of its site."""
    with scope(seed):
        every = [Fixed(model).values for _ in range(draws)]
    return {name: torch.stack([values[name] for values in every]) for name in (every[0] if every else {})}


def views(model: Any, draws: int = 0, most: int | None = None) -> list[Any]:
    """The model itself where it has no global latents; else at draws of them, as many as the guide says and at least
    `draws`, or at the first `most` of them; at one where the guide is a point.

    The density of a row is the mean over views. They are the same at every call, so that scores and samples agree, and
    rows can be compared.
    """
    if not model.sites.globals:
        return [model]
    with scope(SEED):
        many = max(draws, getattr(model.guide, "views", VIEWS))
        return [Fixed(model) for _ in range(min(many, most or many) if model.averages else 1)]
