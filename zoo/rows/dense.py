"""A joint density over all numeric columns at once, for tables with rounded columns and missing cells.

A dense density needs a point for every numeric column. Where the table gives less, an unbiased estimate of the row's
likelihood takes its place, so that averaging over particles (repeated rows) tightens a lower bound of the log:

rounded columns   y uniform in the cell: the average of p(y) over the cell is the likelihood, mass / width
missing cells     a Gaussian or multivariate t marginalises them in closed form; any other density has them drawn from
                  a proposal q given the seen ones, and is weighted by 1 / q
atoms             have their mass beside the density, which sees them as missing: with `columns="discrete"` the row's
                  density is that of which cells are atoms, times that of the cells that are not
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import MultivariateNormal, MultivariateStudentT
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from zoo.rows.gaussian import completed, marginal_log_prob, whole_log_prob
from zoo.table.codec import Cells, Codec

Elliptical = MultivariateNormal | MultivariateStudentT


class Dense(TorchDistribution):
    """`base` over the numeric columns (batch, Dn), scored on `cells` where there are any.

    proposal  Gaussian over all numeric columns from which missing cells are proposed; needed only where `base` is
              neither Gaussian nor a multivariate t itself
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        codec: Codec,
        base: Any,
        cells: Cells | None = None,
        complete: bool = True,
        proposal: MultivariateNormal | None = None,
        batch_shape: torch.Size | None = None,
    ):
        self.codec, self.base, self.cells, self.is_complete, self.proposal = codec, base, cells, complete, proposal
        shape = base.batch_shape if batch_shape is None else batch_shape
        super().__init__(shape, torch.Size([len(codec.schema.numeric)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dense:
        return Dense(self.codec, self.base, self.cells, self.is_complete, self.proposal, torch.Size(batch_shape))

    @property
    def closed(self) -> bool:
        """Whether missing cells are marginalised in closed form."""
        return isinstance(self.base, MultivariateNormal | MultivariateStudentT)

    def log_prob(self, value: Tensor) -> Tensor:
        if self.cells is None:
            return self.base.log_prob(value)
        seen = plain(self.cells)
        y = self._inside(self.cells)
        unit = torch.where(seen, self.cells.unit, 0.0).sum(-1)
        if self.is_complete and not self.codec.schema.spiked:
            return whole(self.base, y) + unit
        if self.closed:
            return masked_log_prob(self.base, y, seen) + unit
        if self.proposal is None:
            raise ValueError(
                "rows.observe got a joint density that is neither Gaussian nor a t on rows with missing cells: "
                "give it `proposal=`, a MultivariateNormal over the numeric columns"
            )
        y = complete_gaussian(self.proposal, y, seen)[0]
        log_q = self.proposal.log_prob(y) - masked_log_prob(self.proposal, y, seen)
        return self.base.log_prob(y) - log_q + unit

    def _inside(self, cells: Cells) -> Tensor:
        if not self.codec.schema.has_lattice:
            return cells.x[..., : len(self.codec.schema.numeric)]
        return cells.lo + (cells.hi - cells.lo) * torch.rand_like(cells.lo)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.base.expand(self.batch_shape).sample(sample_shape)

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """`value` (n, Dn) with its missing cells drawn given the seen ones."""
        return self.completions(value, seen, 1)[0]

    def completions(self, value: Tensor, seen: Tensor, draws: int) -> Tensor:
        """(draws, n, Dn). Exact for a Gaussian; otherwise by sampling-importance-resampling from the proposal."""
        there = seen if self.cells is None else plain(self.cells)
        if self.closed or self.proposal is None:
            drawn = complete_gaussian(self.base.expand(self.batch_shape), value, there, draws)
        else:
            drawn = torch.stack([self._resampled(value, there, self.proposal) for _ in range(draws)])
        return torch.where(seen, value, drawn)

    def _resampled(self, value: Tensor, seen: Tensor, proposal: MultivariateNormal, proposals: int = 64) -> Tensor:
        many = value.expand(proposals, *value.shape).flatten(0, 1)
        y = complete_gaussian(proposal, many, seen.repeat(proposals, 1))[0].reshape(proposals, *value.shape)
        log_w = self.base.log_prob(y) - proposal.log_prob(y)
        pick = torch.distributions.Categorical(logits=log_w.T).sample()
        return y[pick, torch.arange(len(value), device=y.device)]


def plain(cells: Cells) -> Tensor:
    """The numeric cells (n, Dn) that were seen and are no atom."""
    return cells.seen[..., : cells.atom.shape[-1]] & (cells.atom == 0)


def _as_rows(base: Elliptical) -> tuple[Tensor, Tensor, Tensor | None]:
    """Location (*B, n or 1, D), factor (*B, n or 1, D, D) and degrees of freedom (*B, n or 1), if any; without a batch
    all rows share them."""
    loc, factor = base.loc, base._unbroadcasted_scale_tril
    loc = loc if loc.dim() > 1 else loc[None]
    df = getattr(base, "df", None)
    return loc, factor if factor.dim() > 2 else factor[None], df if df is None or df.dim() else df[None]


def whole(base: Any, y: Tensor) -> Tensor:
    """Log-density (*B, n) of y (n, D), all cells seen."""
    if isinstance(base, MultivariateStudentT):
        loc, factor, df = _as_rows(base)
        return whole_log_prob(loc, factor, y, df)
    log: Tensor = base.log_prob(y)
    return log


def masked_log_prob(base: Elliptical, y: Tensor, seen: Tensor) -> Tensor:
    """Log-density of the seen cells of y (n, D) under a Gaussian or t with batch (*B, n or 1): (*B, n). Closed form."""
    loc, factor, df = _as_rows(base)
    return marginal_log_prob(loc, factor, y, seen, df)


def complete_gaussian(base: Elliptical, y: Tensor, seen: Tensor, draws: int = 1) -> Tensor:
    """y (n, D) with its unseen cells drawn from the Gaussian or t given the seen ones: (draws, *B, n, D)."""
    loc, factor, df = _as_rows(base)
    return completed(loc, factor, y, seen, df, draws)
