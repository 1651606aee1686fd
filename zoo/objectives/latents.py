"""Adversaries in the space of latents: they tell the guide's draws from the prior's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.bounds import Positive, Share, Weight
from zoo.log_weights import log_weights
from zoo.networks.mlp import MLP
from zoo.objectives.adversarial import beside, entropy, needs, unlike, weighted
from zoo.objectives.critic import Critic
from zoo.objectives.samples import inferred, run
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import Sampled
from zoo.rows.rows import Rows
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model


class Game(Sampled):
    """A critic of latents and the model that it judges, each with a turn."""

    rate: float
    betas: tuple[float, float]
    critic: Critic
    right = 1.0
    """The sign of the critic's score of latents of the prior."""

    def turns(self, model: Model) -> Iterator[Turn]:
        critic = list(self.critic.parameters())
        yield Turn(critic, lambda rows: self.critic_loss(model, rows), 1, self.rate, self.betas, name="critic")
        own = list(model.fitted_parameters())
        yield Turn(own, lambda rows: self.loss(model, rows), betas=self.betas, name="model")

    def critic_loss(self, model: Model, rows: Rows) -> Tensor:
        """What the critic minimises, a scalar."""
        raise NotImplementedError

    def score(self, z: Tensor, rows: Rows) -> Tensor:
        """What the critic says of latents (n,)."""
        raise NotImplementedError

    def watch(self, model: Model, rows: Rows) -> dict[str, float]:
        """Also `critic_accuracy`: the share of latents that the critic tells."""
        prior, z = both(model, rows)
        told = (self.right * self.score(prior, rows) > 0).double(), (self.right * self.score(z, rows) <= 0).double()
        return {**super().watch(model, rows), "critic_accuracy": float(torch.cat(told).mean())}

    def loss(self, model: Model, rows: Rows) -> Tensor:
        """What the model minimises, a scalar."""
        raise NotImplementedError


def both(model: Model, rows: Rows) -> tuple[Tensor, Tensor]:
    """Latents of the prior, and those that the guide infers of the rows, side by side (n, dim) each."""
    return beside(run(model.program, rows).latents, model), beside(inferred(model, rows), model)


class Aggregated(Game):
    """Rows are told well by their latents, and a critic cannot tell these, of all rows, from the prior's draws:

    - E[log p(x | z)] + weight (- log D(z)),  z ~ q(z | x)          # Makhzani et al. 2016

    Nothing holds the guide to each row's posterior: it is as narrow as it likes, and importance weights under it miss
    most of the density of a row. So no number is claimed.
    """

    def __init__(
        self,
        network: Callable[[int, int], nn.Module] = MLP,
        weight: Weight = 1.0,
        rate: Positive = 1.0,
        betas: tuple[Share, Share] = (0.5, 0.9),
    ):
        super().__init__()
        self.network, self.weight, self.rate, self.betas = network, weight, rate, (betas[0], betas[1])

    def prepare(self, model: Model) -> None:
        needs(model, "encoder")
        dim = sum(site.event_shape.numel() for site in model.sites.continuous)
        self.critic = Critic(0, dim + model.schema.given, self.network)

    def critic_loss(self, model: Model, rows: Rows) -> Tensor:
        with torch.no_grad():
            prior, z = both(model, rows)
        return weighted(entropy(self.score(prior, rows), self.score(z, rows)), rows)

    def loss(self, model: Model, rows: Rows) -> Tensor:
        """A scalar: nats per row of the reconstruction, and of the game by its weight."""
        w = log_weights(model.program, model.guide, rows)
        z = beside({name: site["value"] for name, site in samples(w.trace).items()}, model)
        return weighted(self.weight * unlike(self.score(z, rows)).double() - w.likelihood.mean(0), rows)

    def score(self, z: Tensor, rows: Rows) -> Tensor:
        out: Tensor = self.critic(torch.cat([z, rows.given], 1))
        return out


class DensityRatio(Game):
    """The ELBO with a guide that has no density: a critic's score T(x, z), fitted to tell z ~ q(z | x) from z ~ p(z),
    stands for log q(z | x) - log p(z).

    E_q[log p(x | z) - T(x, z)]                                     # Mescheder, Nowozin & Geiger 2017

    T is an estimate that errs in either direction, so this is no bound, and no number is claimed.
    """

    right = -1.0

    def __init__(
        self,
        network: Callable[[int, int], nn.Module] = MLP,
        rate: Positive = 1.0,
        betas: tuple[Share, Share] = (0.5, 0.9),
    ):
        super().__init__()
        self.network, self.rate, self.betas = network, rate, (betas[0], betas[1])

    def prepare(self, model: Model) -> None:
        needs(model, "encoder")
        schema = model.schema
        dim = sum(site.event_shape.numel() for site in model.sites.continuous)
        self.critic = Critic(0, dim + schema.n_features + schema.given, self.network)

    def critic_loss(self, model: Model, rows: Rows) -> Tensor:
        with torch.no_grad():
            prior, z = both(model, rows)
        return weighted(softplus(-self.score(z, rows)) + softplus(self.score(prior, rows)), rows)

    def loss(self, model: Model, rows: Rows) -> Tensor:
        """A scalar: minus the estimate, nats per row."""
        w = log_weights(model.program, model.guide, rows)
        z = beside({name: site["value"] for name, site in samples(w.trace).items()}, model)
        return weighted(self.score(z, rows).double() - w.likelihood.mean(0), rows)

    def score(self, z: Tensor, rows: Rows) -> Tensor:
        """T (n,), of latents and the rows that they are of."""
        out: Tensor = self.critic(torch.cat([z, rows.features(), rows.given], 1))
        return out
