"""Variational bounds, on per-row log-weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Share, Weight
from zoo.log_weights import LogWeights, log_mean, log_weights
from zoo.objectives.samples import inferred
from zoo.objectives.turn import Stage, Turn
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model

CHUNK = 4096
POWERS = 3
FREE = 0.01
"""Weight of the divergence before a prior settles."""


class Elbo(nn.Module):
    """ELBO = E_q[log p(x | z)] - beta KL(q || p), in nats per row; its negative is minimised.

    kl         "analytic" where torch knows a closed form, "sample" otherwise and on request
    particles  draws of the latents for each row
    beta       weight of the divergence of row latents; 1 is the bound, anything else is not. Higgins et al. 2017
    anneal     share of the planned steps over which beta grows from 0
    free_bits  nats of divergence in each coordinate of a latent, on average over rows, that cost nothing: no coordinate
               falls silent for their sake. Kingma et al. 2016
    balance    while beta grows, layers of latents pay in proportion to what they hold. Vahdat & Kautz 2020
    shrink     precision of a Normal prior on the weights of the program's affine maps, counted once a table
    spectral   nats for each unit of the largest singular value of an affine map, program's and guide's
    holes      share of the planned steps that follow the others, in which the guide alone is fitted, to rows that have
               lost some of their cells: one that has seen complete rows alone knows nothing of one with a hole, whose
               bound is then tens of nats loose. Were the program fitted to such rows, it would blur for their sake
    settle     share of the planned steps after which the program's prior begins at draws of the rows' latents; until
               then latents cost next to nothing, as in an autoencoder, so that clusters are not pressed together
    """

    progress: Tensor

    def __init__(
        self,
        particles: Count = 1,
        kl: Literal["analytic", "sample"] = "analytic",
        beta: Weight = 1.0,
        anneal: Share = 0.0,
        free_bits: Weight = 0.0,
        balance: bool = False,
        shrink: Weight = 0.0,
        spectral: Weight = 0.0,
        settle: Share = 0.0,
        holes: Share = 0.0,
    ):
        super().__init__()
        self.particles, self.kl, self.beta, self.anneal = particles, kl, beta, anneal
        self.free_bits, self.balance, self.shrink, self.spectral = free_bits, balance, shrink, spectral
        self.settle, self.holes = settle, holes
        self.register_buffer("progress", torch.ones(()), persistent=False)

    @property
    def settled(self) -> bool:
        """False while what is minimised is not yet the bound of the whole program, and cannot stop a fit."""
        return float(self.progress) >= max(self.anneal, self.settle)

    def turns(self, model: Model) -> Iterator[Turn]:
        everything = list(model.fitted_parameters())
        if not self.settle:
            yield Turn(everything, lambda rows: self.loss(model, rows))
            return
        prior = {id(p) for p in model.program.prior.parameters()}
        others = [p for p in everything if id(p) not in prior]
        yield Turn(others, lambda rows: self.loss(model, rows), span=(0.0, self.settle))
        yield Turn(
            everything,
            lambda rows: self.loss(model, rows),
            span=(self.settle, 1.0),
            begin=lambda rows: model.program.prior.settle(posterior_draws(model, rows)),
        )

    def loss(self, model: Model, rows: Rows) -> Tensor:
        """Mean of the rows' negative bounds plus the N-th part of the globals' divergence; a scalar."""
        w = log_weights(model.program, model.guide, rows, self.particles)
        share = rows.weight / rows.n
        bound = (share * w.likelihood.mean(0)).sum() - self._weight() * self._divergence(w, share)
        return -(bound + (w.globals + self._prior(model)) / rows.total) + self._roughness(model)

    def _weight(self) -> Tensor | float:
        """Of the divergence, at this point of the fit."""
        weight = self.beta * (self.progress / self.anneal).clamp(max=1.0) if self.anneal else self.beta
        return torch.where(self.progress < self.settle, FREE, weight) if self.settle else weight

    def afterwards(self, model: Model) -> Stage | None:
        return on_holes(model, self.holes)

    def validate(self, model: Model, rows: Rows, particles: int) -> Tensor:
        """The bound of each row (n,), that which a fit is stopped by."""
        return elbo_of_rows(model, rows, particles)

    def _divergence(self, w: LogWeights, share: Tensor) -> Tensor:
        """Mean KL of the row latents, as the settings count it; a scalar."""
        kl = w.kl if self.kl == "analytic" else {k: log - w.prior.get(k, 0.0) for k, log in w.guide.items()}
        held = {name: (share * value.mean(0)).sum() for name, value in kl.items()}
        if self.free_bits:
            held = {name: self._free(name, value, w, share) for name, value in held.items()}
        if self.balance and len(held) > 1:
            return self._balanced(held)
        return sum(held.values(), start=torch.zeros_like(share).sum())

    def _free(self, name: str, kl: Tensor, w: LogWeights, share: Tensor) -> Tensor:
        if name not in w.each:
            return kl.clamp_min(self.free_bits)
        each = (share[:, None] * w.each[name].mean(0)).sum(0)
        return each.clamp_min(self.free_bits).sum()

    def _balanced(self, held: dict[str, Tensor]) -> Tensor:
        kl = torch.stack(list(held.values()))
        size = kl.detach().abs() + 1e-3
        factor = torch.where(self.progress < self.anneal, size / size.mean(), torch.ones_like(size))
        return (factor * kl).sum()

    def _prior(self, model: Model) -> Tensor | float:
        """Log-density of the weights, up to a constant."""
        if not self.shrink:
            return 0.0
        return -0.5 * self.shrink * sum(w.square().sum() for w in affine(model.program))

    def _roughness(self, model: Model) -> Tensor | float:
        if not self.spectral:
            return 0.0
        maps = [*affine(model.program), *affine(model.guide)]
        return self.spectral * sum(largest_singular_value(w).to(torch.float64) for w in maps)


class Iwae(nn.Module):
    """log of the mean importance weight of `particles` draws, nats per row; `holes` as in `Elbo`. Burda et al. 2016."""

    def __init__(self, particles: Count = 20, holes: Share = 0.0):
        super().__init__()
        self.particles, self.holes = particles, holes

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        w = log_weights(model.program, model.guide, rows, self.particles)
        return -((rows.weight * log_mean(w.rows)).sum() / rows.n + w.globals / rows.total)

    def afterwards(self, model: Model) -> Stage | None:
        return on_holes(model, self.holes)

    def validate(self, model: Model, rows: Rows, particles: int) -> Tensor:
        """The bound of each row (n,)."""
        return log_mean(log_weights(model.program, model.guide, rows, self.particles).rows)


def on_holes(model: Model, share: float) -> Stage | None:
    """The guide's own stage, on batches in most of whose rows cells are hidden; the objective's schedule is over."""
    if not share:
        return None
    settled = deepcopy(model.objective)
    if isinstance(settled, Elbo):
        settled.progress.fill_(1.0)
    turn = Turn(model.guide_parameters(), lambda rows: settled.loss(model, rows.thinned(0.8)))
    return Stage(turn, share, hidden=0.5)


def elbo_of_rows(model: Model, rows: Rows, particles: int) -> Tensor:
    """The ELBO of each row (n,): also what an objective that says nothing else is validated by."""
    return log_weights(model.program, model.guide, rows, particles).rows.mean(0)


def affine(module: nn.Module) -> Iterator[Tensor]:
    """The weights of a module's affine maps."""
    return (m.weight for m in module.modules() if isinstance(m, nn.Linear) and m.weight.numel())


def largest_singular_value(w: Tensor) -> Tensor:
    """Of a matrix, by a few power iterations: at most the true one. Its gradient is that of u' W v."""
    with torch.no_grad():
        v = w.abs().mean(0)  # no matrix has all of its rows orthogonal to this, but for those that are zero
        for _ in range(POWERS):
            u = w @ v
            v = w.T @ (u / u.norm().clamp_min(1e-12))
        u, v = u / u.norm().clamp_min(1e-12), v / v.norm().clamp_min(1e-12)
    return u @ w @ v


def posterior_draws(model: Model, rows: Rows) -> Tensor:
    """A draw of z for each row (n, dim): together they are the density that a prior should have."""
    index = torch.arange(rows.n, device=rows.given.device)
    with torch.no_grad():
        return torch.cat([inferred(model, rows.take(i))["z"] for i in index.split(CHUNK)])
