"""Optimal transport between rows and draws."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.bounds import Positive
from zoo.objectives.kernel import Matching
from zoo.rows.relaxed import LEVELS


class Sinkhorn(Matching):
    """Sinkhorn divergence S(x, y) = T(x, y) - T(x, x) / 2 - T(y, y) / 2 of half squared distances. Genevay et al. 2018

    T is the cost of transport with entropic regularisation, which the other terms take back: S is 0 where x and y are
    alike, and never negative. Feydy et al. 2019.
    blur    size of the regularisation, in standard deviations of a column: transport is blind to what is nearer
    levels  spread by default: between levels that are one, transport at a small blur sees no way
    scale   what the blur is multiplied by from one iteration to the next, from the width of the data down
    """

    def __init__(
        self,
        blur: Positive = 0.05,
        scale: Positive = 0.35,
        levels: LEVELS = "gumbel",
        temperature: Positive = 0.5,
    ):
        super().__init__(levels, temperature)
        self.blur, self.scale = blur, scale

    def distance(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return divergence(x, y, weight, self.blur, self.scale)


def divergence(x: Tensor, y: Tensor, weight: Tensor, blur: float, scale: float = 0.35, ends: int = 2) -> Tensor:
    """S(x, y) of features (n, F) that share weights (n,); a scalar, with a gradient in y.

    Its potentials are found by annealed symmetric iterations without gradients, and those of y moved once more with
    them: at the optimum that is the gradient of S.
    ends: iterations at the blur itself.
    """
    log_w = (weight / weight.sum()).to(x).clamp_min(1e-30).log()

    def cost(a: Tensor, b: Tensor) -> Tensor:
        return 0.5 * torch.cdist(a, b).square()

    def move(c: Tensor, potential: Tensor, eps: float) -> Tensor:
        """Soft minimum over the other side: (n,)."""
        return -eps * (log_w + (potential - c) / eps).logsumexp(1)

    x = x.detach()
    xy, xx, yy = cost(y, x).T, cost(x, x), cost(y, y.detach())
    f, g, p, q = (torch.zeros_like(log_w) for _ in range(4))
    with torch.no_grad():
        for eps in ladder(x, y, blur, scale, ends):
            f, g = (f + move(xy, g, eps)) / 2, (g + move(xy.T, f, eps)) / 2
            p, q = (p + move(xx, p, eps)) / 2, (q + move(yy, q, eps)) / 2
        eps = blur**2
        f, p = move(xy, g, eps), move(xx, p, eps)
    g, q = move(xy.T, f, eps), move(yy, q, eps)
    return (log_w.exp() * (f - p + g - q)).sum()


def ladder(x: Tensor, y: Tensor, blur: float, scale: float, ends: int) -> list[float]:
    """Regularisations from the width of the features down to blur^2; as many whatever the batch holds."""
    widest, out = 4.0 * x.shape[1] ** 0.5, []
    while widest > blur:
        out.append(widest**2)
        widest *= scale
    return [*out, *[blur**2] * ends]
