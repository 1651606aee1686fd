"""Diffusion as the density of latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from zoo.bounds import Count, Natural
from zoo.flows.angle import UNTOLD, exact, guided, ladder, measure, move
from zoo.networks.residual import Residual
from zoo.rows.rows import Rows
from zoo.rows.scores import log_phi
from zoo.shared import Shared, of_solver
from zoo.table.schema import Schema

FIRST, LAST = 0.003, 20.0
FREQUENCIES = 6
TRIED = 200
"""Latents at which the solver is tried."""


class Diffusion(nn.Module):
    """e ~ Normal(0, I),  z = what e becomes along the flow from noise to latents, given          # Vahdat et al. 2021

    Until it settles at draws of the rows' latents it is the standard Normal.

    waves     octaves of sines and cosines by which the network reads every latent, of 1, 2, 4 ... radians a deviation
    walk      steps of a draw, by Heun's method
    solver    steps of a log-density, by the Runge-Kutta method
    guidance  draws lean on what is given by so much more than 1. Ho & Salimans 2022
    """

    of_draws = ("walk", "guidance")
    centre: Tensor
    spread: Tensor
    waves: Tensor
    ripples: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: int,
        network: Callable[[int, int], nn.Module] = Residual,
        walk: Count = 40,
        solver: Count = 16,
        waves: Natural = 4,
        guidance: float = 1.0,
    ):
        super().__init__()
        self.dim, self.walk, self.solver, self.guidance = dim, walk, solver, guidance
        told = schema.given + bool(schema.given)
        self.network = network(dim + 2 * waves * dim + 1 + 2 * FREQUENCIES + told, dim)
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.settled = False
        self.register_buffer("ripples", 2.0 ** torch.arange(waves), persistent=False)
        self.register_buffer("waves", torch.logspace(-1, math.log10(2 * math.pi), FREQUENCIES), persistent=False)

    def forward(self, rows: Rows) -> Tensor:
        if not self.settled:
            at = torch.zeros(self.dim, device=rows.given.device)
            return pyro.sample("z", dist.Normal(at, 1.0).to_event(1))
        return pyro.sample("z", Carried(self, rows.given))

    def settle(self, z: Tensor) -> None:
        self.centre.copy_(z.mean(0))
        self.spread.copy_(z.std(0).clamp_min(1e-3))
        self.settled = True

    # of which Python asks at every step, so that it is no tensor: to read one would forbid capture
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.settled)

    def set_extra_state(self, state: Tensor) -> None:
        self.settled = bool(state)

    def velocity(self, u: Tensor, angle: Tensor, given: Tensor, tell: Tensor | None = None) -> Tensor:
        """E[cos(a) e - sin(a) z | u] (n, dim) of standardised latents; `tell` (n, 1): 0 where it is not to know what is
        given."""
        noise = angle.tan().log().clamp(-7, 7).float()[:, None]
        ripples = (u.float()[:, :, None] * self.ripples).flatten(1)
        parts = [u.float(), ripples.sin(), ripples.cos()]
        if given.shape[-1]:
            tell = torch.ones_like(given[:, :1]) if tell is None else tell
            parts += [given * tell, tell]
        parts += [noise / 7, (noise * self.waves).sin(), (noise * self.waves).cos()]
        out: Tensor = self.network(torch.cat(parts, -1)).to(u.dtype)
        return out

    def guided(self, u: Tensor, angle: Tensor, given: Tensor) -> Tensor:
        """The velocity, and what is given moves it so much more."""
        told = self.velocity(u, angle, given)
        if not given.shape[-1] or self.guidance == 1.0:
            return told
        other = self.velocity(u, angle, given, torch.zeros_like(given[:, :1]))
        return guided(told, other, self.guidance)

    def loss(self, z: Tensor, given: Tensor) -> Tensor:
        """Squared error of the noise told (n,), over noise to signal from 0.003 to 20."""
        z = (z - self.centre) / self.spread
        place = (torch.rand((), device=z.device) + torch.randperm(len(z), device=z.device) / len(z)).remainder(1.0)
        a = (FIRST * (LAST / FIRST) ** place).atan()
        noise = torch.randn_like(z)
        c, s = a.cos()[:, None], a.sin()[:, None]
        tell = (torch.rand(len(z), 1, device=z.device) >= UNTOLD).float() if given.shape[-1] else None
        error = self.velocity(c * z + s * noise, a, given, tell) - (c * noise - s * z)
        return a.cos().square() * error.square().mean(-1)

    def shared_errors(self, rows: Rows) -> list[Shared]:
        """Of the solver, at draws of latents: how far half as many steps are off."""
        if not self.settled or not rows.n:
            return []
        density = Carried(self, rows.given[torch.linspace(0, rows.n - 1, min(rows.n, TRIED)).long()])
        z = density.sample()
        off = density.along(z, self.solver) - density.along(z, max(1, self.solver // 2))
        return [of_solver(off, self.solver, ", of latents, divergence exact")]


class Carried(TorchDistribution):
    """Latents (n, dim) that the flow of a diffusion carries noise to."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, prior: Diffusion, given: Tensor):
        self.prior, self.given = prior, given
        super().__init__(torch.Size([len(given)]), torch.Size([prior.dim]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Carried:
        n = torch.Size(batch_shape).numel()
        return self if n == len(self.given) else Carried(self.prior, self.given.expand(n, -1))

    def _angles(self, steps: int) -> Tensor:
        return ladder(math.atan(FIRST), math.atan(LAST), steps).to(self.given.device)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        prior, many = self.prior, torch.Size(sample_shape).numel()
        given = self.given.repeat(many, 1)
        u = torch.randn(len(given), prior.dim, device=given.device)

        def velocity(u: Tensor, a: Tensor) -> Tensor:
            return prior.guided(u, a, given)

        with torch.no_grad():
            z = prior.centre + prior.spread * move(velocity, u, self._angles(prior.walk).flip(0).float())
        return z.reshape(*sample_shape, len(self.given), prior.dim)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.along(value, self.prior.solver)

    def along(self, value: Tensor, solver: int) -> Tensor:
        """The log-density by so many steps."""
        prior, shape = self.prior, value.shape[:-1]
        z = ((value - prior.centre) / prior.spread).reshape(-1, prior.dim).double()
        given = self.given.repeat(len(z) // max(len(self.given), 1), 1)
        angles = self._angles(solver)
        rate = exact(lambda u, a: prior.velocity(u, a, given), prior.dim)
        end, total = measure(rate, angles[0].cos() * z, angles)
        log = log_phi(end).sum(-1) + total + prior.dim * angles[0].cos().log() - prior.spread.log().sum()
        return log.reshape(shape)
