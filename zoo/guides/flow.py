"""A normalizing flow as the posterior of global latents."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from zoo.bounds import Count, Widths
from zoo.guides.exact import exact
from zoo.guides.globals import VIEWS, RowGuide
from zoo.guides.normal import MeanField
from zoo.networks.zuko_parts import coupling_flow
from zoo.sites import Sites
from zoo.table.schema import Schema


class Flow(MeanField):
    """u = loc + scale * f(e), e ~ Normal(0, I), f a coupling spline flow. Durkan et al. 2019."""

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        transforms: Count = 3,
        hidden: Widths = (64,),
        guide: RowGuide = exact,
        views: Count = VIEWS,
    ):
        super().__init__(schema, program, sites, guide, views)
        self.flow = coupling_flow(self.size, transforms, hidden)

    def posterior(self) -> Any:
        return Moved(self.flow(), self.loc, self.scale)

    def fitted(self) -> Any:
        return self.posterior()  # a flow held still would have to be inverted for every draw


class Moved(TorchDistribution):
    """loc + scale * e, e from a flow over (size,)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Any, loc: Tensor, scale: Tensor):
        self.flow, self.loc, self.scale = flow, loc, scale
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.loc + self.scale * self.flow.rsample(sample_shape).double()

    def log_prob(self, value: Tensor) -> Tensor:
        e = ((value - self.loc) / self.scale).float()
        return self.flow.log_prob(e).double() - self.scale.log().sum()
