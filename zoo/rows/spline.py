"""Spline families of numeric columns."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.networks.zuko_parts import rational_quadratic
from zoo.rows.cells import NARROW, log_normal_density, log_normal_mass


class Spline:
    """u = S((x - loc) / scale), u ~ Normal(0, 1), S a monotone rational-quadratic spline on [-5, 5].

    loc, scale (..., Dn); widths, heights (..., Dn, bins); slopes (..., Dn, bins - 1). Outside the box S is the
    identity, so densities and gradients stay finite however far a value lies. `lattice`: some column has cells.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, lattice: bool = True
    ):
        self.loc, self.scale, self.lattice = loc, scale, lattice
        self.spline = rational_quadratic(widths, heights, slopes)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        width = hi - lo
        u, slope = self.spline.call_and_ladj(((x - self.loc) / self.scale).expand(self.loc.shape))
        density = log_normal_density(u) + slope - self.scale.log()
        if not self.lattice:
            return density
        a = self.spline(((lo - self.loc) / self.scale).expand(self.loc.shape))
        b = self.spline(((hi - self.loc) / self.scale).expand(self.loc.shape))
        wide = (b - a) > NARROW
        mass = log_normal_mass(a, torch.where(wide, b, a + 1.0)) - torch.where(wide, width, 1.0).log()
        return torch.where(wide, mass, density)

    def sample(self) -> Tensor:
        return self.loc + self.scale * self.spline.inv(torch.randn_like(self.loc))

    def mean(self) -> Tensor:
        return self.loc + self.scale * self.spline.inv(torch.zeros_like(self.loc))
