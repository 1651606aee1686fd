"""A VAE first, then a diffusion of its latents. Vahdat, Kreis & Kautz 2021; Zhang et al. 2024."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.bounds import Share, Weight
from zoo.errors import UserError
from zoo.objectives.elbo import Elbo, posterior_draws
from zoo.objectives.samples import inferred
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import DearlySampled
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class LatentDiffusion(DearlySampled):
    """-ELBO of program and guide under a standard Normal prior, then denoising of draws of the rows' latents.

    settle  share of the planned steps after which the prior is fitted, and nothing else
    beta    weight of the divergence in the first part: less than 1 lets latents hold more, and the prior has to tell
            more; the bound that is reported is that of the whole, under the fitted prior
    anneal  share of the planned steps over which beta grows from 0
    """

    def __init__(self, settle: Share = 0.4, beta: Weight = 0.3, anneal: Share = 0.0):
        super().__init__()
        self.settle, self.bound = settle, Elbo(settle=settle, beta=beta, anneal=anneal)

    @property
    def progress(self) -> Tensor:
        return self.bound.progress

    @property
    def settled(self) -> bool:
        return self.bound.settled

    def prepare(self, model: Model) -> None:
        if not hasattr(getattr(model.program, "prior", None), "loss"):
            what = f"model {model.recipe.model!r}: objective 'latent-diffusion' fits a prior by denoising"
            raise UserError(what, 'say program = { use = "latent", prior = "diffusion" }')

    def turns(self, model: Model) -> Iterator[Turn]:
        prior = list(model.program.prior.parameters())
        of_prior = {id(p) for p in prior}
        others = [p for p in model.fitted_parameters() if id(p) not in of_prior]
        yield Turn(others, lambda rows: self.bound.loss(model, rows), span=(0.0, self.settle))
        yield Turn(
            prior,
            lambda rows: (rows.weight * self._denoising(model, rows)).sum() / rows.n,
            span=(self.settle, 1.0),
            begin=lambda rows: model.program.prior.settle(posterior_draws(model, rows)),
        )

    def _denoising(self, model: Model, rows: Rows) -> Tensor:
        prior: Any = model.program.prior
        with torch.no_grad():
            z = inferred(model, rows)["z"]
        loss: Tensor = prior.loss(z, rows.given)
        return loss
