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

from zoo.rows.gaussian import completed, marginal_log_prob, proposed, whole_log_prob
from zoo.rows.importance import effective, not_weighed, resampled
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
        if self.is_complete and not self.codec.schema.spiked:
            return whole(self.base, self._inside(self.cells)) + self.cells.unit.sum(-1)
        seen = plain(self.cells)
        unit = torch.where(seen, self.cells.unit, 0.0).sum(-1)
        if self.closed:
            return masked_log_prob(self.base, self._inside(self.cells), seen) + unit
        # numbers of which none is there integrate to one, whatever the draws say
        return torch.where(seen.any(-1), self.proposed(seen)[1], 0.0) + unit

    def proposed(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Points (n, Dn) of the cells, those not `seen` drawn from the proposal, and their log-density over the
        proposal's (n,), in codec units."""
        assert self.cells is not None
        if self.proposal is None:
            raise ValueError(
                "rows.observe got a joint density that is neither Gaussian nor a t on rows with missing cells: "
                "give it `proposal=`, a MultivariateNormal over the numeric columns"
            )
        y, log_q = self._draw(self._inside(self.cells), seen)
        return y, self.base.log_prob(y) - log_q

    def _draw(self, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`value` (n, Dn) with its unseen cells proposed, and the log-density of what was drawn (n,)."""
        assert self.proposal is not None
        loc, factor, _ = _as_rows(self.proposal)
        return proposed(loc, factor, value, seen)

    def bound(self, complete: bool) -> str:
        """What the number is on a table where no cell is missing, or some are."""
        schema = self.codec.schema
        if not getattr(self.base, "exact", True):
            return "estimate"
        cyclic = any(column.period is not None for column in schema.numeric)
        if schema.has_lattice or cyclic or not (self.closed or (complete and not schema.spiked)):
            return "lower"
        return "exact"

    def _inside(self, cells: Cells) -> Tensor:
        if not self.codec.schema.has_lattice:
            return cells.x[..., : len(self.codec.schema.numeric)]
        return cells.lo + (cells.hi - cells.lo) * torch.rand_like(cells.lo)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.base.expand(self.batch_shape).sample(sample_shape)

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """`value` (n, Dn) with its missing cells drawn given the seen ones."""
        return self.completions(value, seen, 1)[0][0]

    def completions(self, value: Tensor, seen: Tensor, draws: int, particles: int = 0) -> tuple[Tensor, Tensor]:
        """As many completions of `value` (draws, n, Dn); where there is no closed form, by importance resampling
        of proposals, at least as many as `particles`; and how many draws those are worth (n,)."""
        at = self._at(value, seen)
        if self.closed or self.proposal is None:
            drawn = complete_gaussian(self.base.expand(self.batch_shape), *at, draws)
            return torch.where(seen, value, drawn), not_weighed(value)
        many = [self._draw(*at) for _ in range(max(FEWEST_PROPOSALS, particles, draws))]
        log_w = torch.stack([self.base.log_prob(y) - log_q for y, log_q in many])
        pick = resampled(log_w, draws)
        drawn = torch.stack([y for y, _ in many])[pick, torch.arange(len(value), device=value.device)]
        return torch.where(seen, value, drawn), effective(log_w)

    def _at(self, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Points and what of them is known: an atom is no point."""
        return (value, seen) if self.cells is None else (value, plain(self.cells))


FEWEST_PROPOSALS = 64


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
