"""What the guides of global latents share: one vector of reals for all of them.

    u ~ q,  theta = T(u)        # T: site by site, from the reals to the support of the site

To write one, copy `normal.py`: a guide says what `q` is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import biject_to

from zoo.errors import UserError
from zoo.guides.exact import exact
from zoo.log_weights import log_weights
from zoo.rows.rows import Rows
from zoo.sites import Site, Sites
from zoo.table.schema import Schema

RowGuide = Callable[[Schema, nn.Module, Sites], nn.Module]
VIEWS = 50
AUXILIARY = "globals"
"""The name of the site of u in the guide's trace."""


@dataclass(frozen=True)
class Part:
    """One site's share of u: its span there, and its shape before the transform."""

    site: Site
    span: slice
    shape: torch.Size

    @property
    def transform(self) -> Any:
        return biject_to(self.site.support)

    def value(self, u: Tensor) -> Tensor:
        """The site's value of a whole vector (size,)."""
        value: Tensor = self.transform(u[self.span].reshape(self.shape))
        return value

    def log_jacobian(self, u: Tensor, value: Tensor) -> Tensor:
        """log |dT/du| for each member of the site's plates."""
        log = self.transform.log_abs_det_jacobian(u[self.span].reshape(self.shape), value)
        extra = log.dim() - (value.dim() - len(self.site.event_shape))
        return log.flatten(log.dim() - extra).sum(-1) if extra else log


class Globals(nn.Module):
    """Base of the guides of latents that belong to no row; those of rows, where there are any, go to `guide`.

    start   (size,) where u begins: the sites' dry-run values, until the program's `initialise` says better
    views   draws of theta over which the density of a row is averaged
    """

    point = False
    """Whether q is a single value: the number of a row is then that of a plain density."""

    def __init__(self, schema: Schema, program: nn.Module, sites: Sites, guide: RowGuide = exact, views: int = VIEWS):
        super().__init__()
        self.views = views
        discrete = [site.name for site in sites.globals if site.discrete]
        if discrete:
            what = f"this guide cannot infer the discrete global latents {discrete}"
            raise UserError(what, "sum them out or relax them")
        self.parts = list(_parts(sites.globals))
        self.size = self.parts[-1].span.stop if self.parts else 0
        self.rows = guide(schema, program, sites) if sites.continuous else None
        self.start = self._unconstrained({})
        self.at: Tensor | None = None

    # ---- what a guide says

    def posterior(self) -> Any:
        """q: a distribution over u (size,), with `rsample`."""
        raise NotImplementedError

    def start_at(self, values: Mapping[str, Tensor]) -> None:
        """Begin at these values of the sites; the others stay where they are."""
        self.start = self._unconstrained(values)

    def fitted(self) -> Any:
        """q as a fit samples it: as it is, or with gradients that are less noisy."""
        return self.posterior()

    # ---- what follows

    def forward(self, rows: Rows) -> None:
        q = self.fitted() if self.at is None else dist.Delta(self.at, event_dim=1)
        values = self.place(pyro.sample(AUXILIARY, q)) if self.size else {}
        if self.rows is not None:
            self.rows(rows, **values)

    @property
    def integrates(self) -> bool:
        """Whether `log_joint` is a function of u alone: no latent of a row is left that has to be drawn."""
        return self.rows is None or bool(getattr(self.rows, "exact", False))

    def log_joint(self, program: nn.Module, rows: Rows, u: Tensor) -> Tensor:
        """log p(rows, u), a scalar: by u's own measure, latents of rows integrated out."""
        self.at = u
        try:
            w = log_weights(program, self, rows)
        finally:
            self.at = None
        return (rows.weight * w.rows[0]).sum() + w.globals

    def place(self, u: Tensor) -> dict[str, Tensor]:
        """The sites at one u, by name; each carries its part of the density's change of variables."""
        values: dict[str, Tensor] = {}
        plates: dict[str, Any] = {}
        for part in self.parts:
            value = part.value(u)
            for plate in part.site.plates:
                plates.setdefault(plate.name, pyro.plate(plate.name, plate.size, dim=plate.dim))
            with contextlib.ExitStack() as around:
                for plate in part.site.plates:
                    around.enter_context(plates[plate.name])
                log = -part.log_jacobian(u, value)
                q = dist.Delta(value, log, event_dim=len(part.site.event_shape))
                values[part.site.name] = pyro.sample(part.site.name, q)
        return values

    def _unconstrained(self, values: Mapping[str, Tensor]) -> Tensor:
        flat = [self._inverse(part, values) for part in self.parts]
        return torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)

    def _inverse(self, part: Part, values: Mapping[str, Tensor]) -> Tensor:
        value = values.get(part.site.name, part.site.value).detach().double().cpu()
        u: Tensor = part.transform.inv(value.expand(part.site.value.shape))
        return u.flatten()


def _parts(sites: tuple[Site, ...]) -> Iterator[Part]:
    begin = 0
    for site in sites:
        shape = biject_to(site.support).inv(site.value).shape
        yield Part(site, slice(begin, begin + shape.numel()), shape)
        begin += shape.numel()
