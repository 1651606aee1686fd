"""How a log-density bends, and the steps of Newton's method where it bends sharply."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SHARP = 0.1
"""A direction narrower than this is one that the data tell of."""
MOST, HALVINGS, NEAR = 8, 10, 0.5

LogDensity = Callable[[Tensor], Tensor]


def settled(f: LogDensity, u: Tensor) -> tuple[Tensor, Tensor]:
    """Where f (size,) -> scalar is highest along its sharp directions, from u on; and minus its Hessian there.

    Newton's method, halving steps that lead down. Directions that f leaves open stay where they are: their highest
    point may be none (a scale that goes to 0 with all that it is the scale of), and says little of where f's mass is.
    """
    value, slope, curvature = bent(f, u)
    for _ in range(MOST):
        values, vectors = torch.linalg.eigh(curvature)
        along = torch.where(values > SHARP**-2, slope @ vectors, 0.0)
        if not bool((along.square() / values.abs().clamp_min(1e-12)).sum() > NEAR):
            break
        step = vectors @ (along / values.clamp_min(SHARP**-2))
        share = _uphill(f, u, step, value)
        if share is None:
            break
        u = u + share * step
        value, slope, curvature = bent(f, u)
    return u, curvature


def _uphill(f: LogDensity, u: Tensor, step: Tensor, value: Tensor) -> float | None:
    """The share of a step, 1 or a half of a half, that leads up."""
    for k in range(HALVINGS):
        if bool(f(u + 0.5**k * step) > value):
            return float(0.5**k)
    return None


def bent(f: LogDensity, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f, its gradient (size,) and minus its Hessian (size, size) at u; a Hessian that is not finite is zero."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        value = f(u)
        (slope,) = torch.autograd.grad(value, u, create_graph=True)
        rows = [torch.autograd.grad(one, u, retain_graph=True)[0] for one in slope]
    hessian = torch.stack(rows).detach()
    curvature = -(hessian + hessian.T) / 2
    return value.detach(), slope.detach(), curvature if curvature.isfinite().all() else torch.zeros_like(curvature)
