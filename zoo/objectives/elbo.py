"""Variational bounds, on per-row log-weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from zoo.log_weights import log_mean, log_weights
from zoo.objectives.turn import Turn
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class Elbo(nn.Module):
    """ELBO = E_q[log p(x | z)] - beta KL(q || p), in nats per row; its negative is minimised.

    kl         "analytic" where torch knows a closed form, "sample" otherwise and on request
    particles  draws of the latents for each row
    beta       weight of the divergence of row latents; 1 is the bound, anything else is not
    anneal     share of the planned steps over which beta grows from 0
    shrink     precision of a Normal prior on the weights of the program's affine maps, counted once a table
    """

    progress: Tensor

    def __init__(
        self,
        particles: int = 1,
        kl: Literal["analytic", "sample"] = "analytic",
        beta: float = 1.0,
        anneal: float = 0.0,
        shrink: float = 0.0,
    ):
        super().__init__()
        self.particles, self.kl, self.beta, self.anneal, self.shrink = particles, kl, beta, anneal, shrink
        self.register_buffer("progress", torch.ones(()), persistent=False)

    @property
    def settled(self) -> bool:
        """False while the annealing lasts: what is minimised is then not yet the bound, and cannot stop a fit."""
        return float(self.progress) >= self.anneal

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        """Mean of the rows' negative bounds plus the N-th part of the globals' divergence; a scalar."""
        w = log_weights(model.program, model.guide, rows, self.particles)
        kl = w.kl if self.kl == "analytic" else {k: log - w.prior.get(k, 0.0) for k, log in w.guide.items()}
        divergence = sum(kl.values(), start=torch.zeros_like(w.likelihood))
        beta = self.beta * (self.progress / self.anneal).clamp(max=1.0) if self.anneal else self.beta
        bound = (w.likelihood - beta * divergence).mean(0)
        return -((rows.weight * bound).sum() / rows.n + (w.globals + self._prior(model)) / rows.total)

    def _prior(self, model: Model) -> Tensor | float:
        """Log-density of the weights, up to a constant."""
        if not self.shrink:
            return 0.0
        weights = (m.weight for m in model.program.modules() if isinstance(m, nn.Linear))
        return -0.5 * self.shrink * sum(w.square().sum() for w in weights)


class Iwae(nn.Module):
    """log of the mean importance weight of `particles` draws, in nats per row. Burda et al. 2016."""

    def __init__(self, particles: int = 20):
        super().__init__()
        self.particles = particles

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        w = log_weights(model.program, model.guide, rows, self.particles)
        return -((rows.weight * log_mean(w.rows)).sum() / rows.n + w.globals / rows.total)
