"""Gaussians, and Student's t, of which some coordinates are missing: marginals, and the missing given the others.

All follow from the precision L = inverse covariance, by blocks of the missing coordinates m alone, with d the deviation
from the mean, zero where missing, and g = L d:

    x_o' inv(S_oo) x_o = d' g - g_m' inv(L_mm) g_m        log|S_oo| = log|S| + log|L_mm|
    E[x_m | x_o] = loc_m - inv(L_mm) g_m                  Cov[x_m | x_o] = inv(L_mm)

A multivariate t with df degrees of freedom and the same S has these too, its density a function of the quadratic form,
and given the o coordinates seen it is a t with df + o, its scale matrix times (df + quadratic) / (df + o).

Few patterns of missing cells share one factorisation each; where nearly every row has a pattern of its own, each row
has one of the size of its missing part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHARED_ROWS = 8
"""Rows that a pattern must have on average for patterns to be taken one by one."""
PROPOSAL_DF = 10
"""Degrees of freedom of what proposes missing cells: tails that a density's own seldom exceed."""
BITS = 62
CHUNK = 1 << 22
"""Numbers in the blocks of one chunk of rows."""


@dataclass
class Gap:
    """The missing coordinates of some rows under Gaussians of batch B.

    rows      (r,) which rows
    index     (r or 1, m) their missing coordinates
    there     (r or 1, m) False where a row has fewer than m
    factor    (*B, r or 1, m, m) Cholesky factor of L_mm
    mean      (*B, r, m) of the missing coordinates given the others
    quadratic, log_det   (*B, r) of the seen coordinates
    """

    rows: Tensor
    index: Tensor
    there: Tensor
    factor: Tensor
    mean: Tensor
    quadratic: Tensor
    log_det: Tensor

    def spread(self, draws: int) -> Tensor:
        """Draws of the missing coordinates about their mean (*B, r, m, draws)."""
        noise = torch.randn(*self.mean.shape, draws, dtype=self.mean.dtype, device=self.mean.device)
        factor = self.factor.mT.expand(*self.mean.shape, -1)
        return torch.linalg.solve_triangular(factor, noise, upper=True) if noise.numel() else noise

    def covariance(self) -> Tensor:
        """Cov[x_m | x_o] (*B, r or 1, m, m); zero where a row has fewer than m."""
        both = self.there[:, :, None] & self.there[:, None, :]
        return torch.where(both, torch.cholesky_inverse(self.factor), 0.0)


def gaps(loc: Tensor, factor: Tensor, y: Tensor, seen: Tensor) -> Iterator[Gap]:
    """Rows y (n, D) with seen cells (n, D) under Normal(loc, factor factor'), part by part.

    loc (*B, n or 1, D), factor (*B, n or 1, D, D): one Gaussian for all rows, or one for each.
    """
    precision = torch.cholesky_inverse(factor)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    shared = factor.shape[-3] == 1
    for rows, index, there in _parts(seen, log_det.numel() if shared else log_det[..., 0].numel()):
        mine = slice(None) if shared else rows
        centre = loc if loc.shape[-2] == 1 else loc[..., rows, :]
        d = torch.where(seen[rows], y[rows] - centre, 0.0)
        own = precision[..., mine, :, :]
        g = d @ own[..., 0, :, :] if shared else (own @ d[..., None])[..., 0]
        g_m, loc_m = (t.expand_as(d).gather(-1, index.expand(*d.shape[:-1], -1)) for t in (g, centre))
        both = there[:, :, None] & there[:, None, :]
        block = torch.where(
            both, _block(own, index, shared), torch.eye(index.shape[-1], dtype=y.dtype, device=y.device)
        )
        tril = torch.linalg.cholesky(block)
        g_m = torch.where(there, g_m, 0.0)
        down = torch.cholesky_solve(g_m[..., None], tril.expand(*g_m.shape, -1))[..., 0] if g_m.numel() else g_m
        quadratic = (d * g).sum(-1) - (down * g_m).sum(-1)
        more = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        yield Gap(rows, index, there, tril, loc_m - down, quadratic, log_det[..., mine] + more)


def _block(precision: Tensor, index: Tensor, shared: bool) -> Tensor:
    """The blocks of the missing coordinates index (r or 1, m) of precisions (*B, r or 1, D, D)."""
    if shared:
        return precision[..., 0, :, :][..., index[:, :, None], index[:, None, :]]
    m, d = index.shape[-1], precision.shape[-1]
    shape = precision.shape[:-2]
    rows = precision.gather(-2, index[:, :, None].expand(*shape, m, d))
    return rows.gather(-1, index[:, None, :].expand(*shape, m, m))


def log_density(quadratic: Tensor, log_det: Tensor, size: Tensor | int, df: Tensor | None = None) -> Tensor:
    """Log-density of `size` coordinates by their quadratic form: Normal, or Student's t with df degrees of freedom."""
    if df is None:
        return -0.5 * (quadratic + log_det + math.log(2 * math.pi) * size)
    tail = 0.5 * (df + size) * torch.log1p(quadratic / df) + 0.5 * size * (math.log(math.pi) + df.log())
    return torch.lgamma(0.5 * (df + size)) - torch.lgamma(0.5 * df) - tail - 0.5 * log_det


def whole_log_prob(loc: Tensor, factor: Tensor, y: Tensor, df: Tensor | None = None) -> Tensor:
    """Log-density (*B, n) of y (n, D), every cell seen; `loc` and `factor` as in `gaps`, df (*B, n or 1)."""
    d = (y - loc)[..., None]
    if factor.shape[-3] == 1:  # one factor for all rows: one solve
        white = torch.linalg.solve_triangular(factor[..., 0, :, :], d[..., 0].mT, upper=False).mT
    else:
        white = torch.linalg.solve_triangular(factor.expand(*d.shape[:-2], -1, -1), d, upper=False)[..., 0]
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return log_density(white.square().sum(-1), log_det, y.shape[-1], df)


def marginal_log_prob(loc: Tensor, factor: Tensor, y: Tensor, seen: Tensor, df: Tensor | None = None) -> Tensor:
    """Log-density (*B, n) of the seen cells of y (n, D); `loc` and `factor` as in `gaps`, df (*B, n or 1)."""
    batch = np.broadcast_shapes(loc.shape[:-2], factor.shape[:-3])
    return log_seen(gaps(loc, factor, y, seen), seen, loc.new_zeros(*batch, len(y)), df)


def log_seen(found: Iterable[Gap], seen: Tensor, out: Tensor, df: Tensor | None = None) -> Tensor:
    """Log-density of the seen cells of every row by what was found of its gaps, written into `out` (*B, n)."""
    size = seen.sum(-1)
    for gap in found:
        out[..., gap.rows] = log_density(gap.quadratic, gap.log_det, size[gap.rows], _of(df, gap.rows))
    return out


def _of(df: Tensor | None, rows: Tensor) -> Tensor | None:
    return df if df is None or df.shape[-1] == 1 else df[..., rows]


def completed(loc: Tensor, factor: Tensor, y: Tensor, seen: Tensor, df: Tensor | None = None, draws: int = 1) -> Tensor:
    """y (n, D) with its unseen cells drawn given the seen ones: (draws, *B, n, D). Rows are factorised once."""
    batch = np.broadcast_shapes(loc.shape[:-2], factor.shape[:-3])
    out = torch.where(seen, y, 0.0).expand(draws, *batch, *y.shape).clone()
    for gap in gaps(loc, factor, y, seen):
        spread = gap.spread(draws).movedim(-1, 0)
        if df is not None:
            spread = spread * _widening(gap, seen, df, draws)[..., None]
        drawn = torch.where(gap.there, gap.mean + spread, 0.0)
        part = out[..., gap.rows, :]
        out[..., gap.rows, :] = part.scatter_add(-1, gap.index.expand(*drawn.shape), drawn)
    return out


def proposed(loc: Tensor, factor: Tensor, y: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """y (n, D) with its unseen cells drawn around what the Gaussian says of them given the seen ones, tails a t's with
    `PROPOSAL_DF` degrees of freedom: (*B, n, D); and the log-density of the draw (*B, n). A row's draw is of its own
    random numbers, whatever the other rows have missing."""
    noise = torch.randn_like(y)
    chi_square = torch.randn(len(y), PROPOSAL_DF, dtype=y.dtype, device=y.device).square().sum(-1)
    noise, df = noise * (PROPOSAL_DF / chi_square).sqrt()[:, None], loc.new_full((), PROPOSAL_DF)
    batch = np.broadcast_shapes(loc.shape[:-2], factor.shape[:-3])
    out = torch.where(seen, y, 0.0).expand(*batch, *y.shape).clone()
    log_q = torch.zeros(*batch, len(y), dtype=y.dtype, device=y.device)
    for gap in gaps(loc, factor, y, seen):
        z = torch.where(gap.there, noise[gap.rows, : gap.index.shape[-1]], 0.0)
        turned = gap.factor.mT.expand(*gap.mean.shape, -1)
        spread = torch.linalg.solve_triangular(turned, z.expand(gap.mean.shape)[..., None], upper=True)[..., 0]
        drawn = torch.where(gap.there, gap.mean + spread, 0.0)
        part = out[..., gap.rows, :]
        out[..., gap.rows, :] = part.scatter_add(-1, gap.index.expand(*drawn.shape), drawn)
        log_det = -2 * gap.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_q[..., gap.rows] = log_density(z.square().sum(-1), log_det, gap.there.sum(-1), df)
    return out, log_q


def _widening(gap: Gap, seen: Tensor, df: Tensor, draws: int) -> Tensor:
    """What makes Normal draws of the missing coordinates ones of the t given the others (draws, *B, r)."""
    mine, size = _of(df, gap.rows), seen[gap.rows].sum(-1)
    assert mine is not None
    freedom = (mine + size).expand(draws, *gap.quadratic.shape)
    return ((mine + gap.quadratic) / (2 * torch._standard_gamma(freedom / 2)).clamp_min(1e-30)).sqrt()


def _parts(seen: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(rows, index, there) of rows handled together: those of one pattern, or those with gaps alike in size."""
    if torch.is_grad_enabled():  # a step that is captured cannot look at the data
        index = (~seen).to(torch.int8).argsort(dim=-1, descending=True, stable=True)
        yield torch.arange(len(seen), device=seen.device), index, (~seen).gather(-1, index)
        return
    shared = _alike(seen)
    if len(seen) >= SHARED_ROWS * len(shared):
        for rows in shared:
            index = (~seen[rows[0]]).nonzero()[:, 0][None]
            yield rows, index, torch.ones_like(index, dtype=torch.bool)
        return
    missing = (~seen).sum(-1)
    order = missing.argsort(dim=0, descending=True, stable=True)
    while len(order):
        width = int(missing[order[0]])
        size = max(1, CHUNK // max(1, batch * width**2))
        rows, order = order[:size], order[size:]
        index = (~seen[rows]).to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :width]
        yield rows, index, torch.arange(width, device=seen.device) < missing[rows, None]


def _alike(seen: Tensor) -> list[Tensor]:
    """Rows of `seen` (n, D) that are the same."""
    if seen.shape[-1] > BITS:
        owner, count = torch.unique(seen, dim=0, return_inverse=True, return_counts=True)[1:]
    else:  # by one whole number a row, which is far quicker to sort
        number = (seen.long() << torch.arange(seen.shape[-1], device=seen.device)).sum(-1)
        owner, count = torch.unique(number, return_inverse=True, return_counts=True)[1:]
    return list(owner.argsort(dim=0, stable=True).split(count.tolist()))
