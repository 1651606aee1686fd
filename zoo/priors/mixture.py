"""A mixture of Normals: clusters in the space of latents."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

RESTARTS = 10
FEW = 20_000
"""Rows that say where the clusters begin."""


class Mixture(nn.Module):
    """cluster ~ Categorical(weights),  z ~ Normal(loc[cluster], L[cluster] L[cluster]')    # Jiang et al. 2017 (VaDE)

    L = diag(scale), or with `covariance = "full"` diag(scale) (I + strictly lower). Until it settles at draws of the
    rows' latents every cluster is the standard Normal.
    """

    def __init__(
        self, schema: Schema, dim: int, components: Count = 10, covariance: Literal["diagonal", "full"] = "diagonal"
    ):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.zeros(components, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.lower = nn.Parameter(torch.zeros(components, dim, dim)) if covariance == "full" else None

    def forward(self, rows: Rows) -> Tensor:
        cluster = pyro.sample("cluster", dist.Categorical(logits=self.logits))
        scale = self.log_scale.clamp(-5, 5).exp()
        if self.lower is None:
            return pyro.sample("z", dist.Normal(self.loc[cluster], scale[cluster]).to_event(1))
        tril = scale[:, :, None] * (torch.eye(scale.shape[1], device=scale.device) + self.lower.tril(-1))
        return pyro.sample("z", dist.MultivariateNormal(self.loc[cluster], scale_tril=tril[cluster]))

    def settle(self, z: Tensor) -> None:
        """Begin at the best of several EM fits to draws (n, dim)."""
        few = z[torch.randperm(len(z))[:FEW]].double().cpu().numpy()
        seed = int(torch.randint(2**31, ()))
        k = min(len(self.logits), len(few))
        kind = "diag" if self.lower is None else "full"
        em = GaussianMixture(k, covariance_type=kind, n_init=RESTARTS, reg_covar=1e-4, random_state=seed).fit(few)
        tril = torch.from_numpy(np.linalg.cholesky(em.covariances_) if kind == "full" else em.covariances_)
        scale = tril.diagonal(dim1=-2, dim2=-1) if kind == "full" else tril.sqrt()
        with torch.no_grad():
            self.logits[:k] = torch.from_numpy(em.weights_).log().to(self.logits)
            self.loc[:k] = torch.from_numpy(em.means_).to(self.loc)
            self.log_scale[:k] = scale.log().to(self.log_scale)
            if self.lower is not None:
                self.lower[:k] = (tril / scale[:, :, None]).tril(-1).to(self.lower)
