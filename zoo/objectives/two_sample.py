"""Whether draws agree with rows: what fits by anything but a likelihood are stopped and chosen by.

Two statistics of the features of rows and of as many draws, added: the share of rows that draws reach (Naeem et al.
2020), which sees what is wrong nearby, less 100 times the unbiased squared maximum mean discrepancy (Gretton et al.
2012) under Cauchy kernels of several widths, which sees whole parts; a mean over several draws of each row, for the
noise of one hides what a fit gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.objectives.samples import drawn_rows
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model

WIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
"""Of the kernels, in median distances between rows."""
MOST, NEIGHBOURS = 500, 5
COLLAPSED = 0.6
"""Share of rows reached, of those that other rows would reach, below which draws have left modes out."""


class Sampled(nn.Module):
    """What objectives that are not a likelihood have in common: by its draws a model fitted so is stopped and chosen.

    repeats  draws of each row, that a look compares
    looks    how many looks compare, at most; None: all
    least    validation rows: where they are fewer nothing is compared, and the last state is kept
    gain     by which a look must be better than the best to be kept; below 0, of looks that are as good the last is
    """

    withdraws: tuple[str, ...] = ("score", "impute")
    repeats: int = 6
    looks: int | None = None
    least: int = 0
    gain: float = 1e-4

    def agreement(self, model: Model, rows: Rows) -> Tensor:
        """The share of rows that draws reach, less 100 times their discrepancy; a scalar, `EXPECTED` at best but for
        noise."""
        each = [self.beside(model, rows) for _ in range(self.repeats)]
        return torch.stack([coverage(x, y) - 100 * discrepancy(x, y, weight) for x, y, weight in each]).mean()

    def watch(self, model: Model, rows: Rows) -> dict[str, float]:
        """What a look at the fit tells: `coverage`, the share of rows that draws reach, and `precision`, the share of
        draws that rows reach."""
        x, y, _ = self.beside(model, rows)
        return {"coverage": float(coverage(x, y)), "precision": float(precision(x, y))}

    def beside(self, model: Model, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """What is compared: features of some rows, those of as many draws, and their weights."""
        return beside(model, rows)

    def notes(self, look: dict[str, float]) -> list[str]:
        """What is to be said of the fitted model, given what was watched of it."""
        found = look.get("coverage", 1.0)
        if found >= COLLAPSED * EXPECTED:
            return []
        what = f"draws reach only {found:.0%} of the validation rows ({EXPECTED:.0%} if they were alike)"
        near = look.get("precision", 0.0)
        if near >= COLLAPSED * EXPECTED:
            return [f"{what}, and {near:.0%} of them are near rows: they have collapsed, and leave the others out"]
        return [f"{what}, and {near:.0%} of them are near rows: they lie beside these"]


class DearlySampled(Sampled):
    """Those that keep a likelihood, or a bound or an estimate of it, and whose draws take many passes of a network.

    Draws tell two good looks apart by no more than noise, and the later one has the lower learning rate.
    """

    withdraws = ()
    repeats, looks, least, gain = 3, 8, 20, -0.03


EXPECTED = 1 - 0.5**NEIGHBOURS
"""Coverage, in expectation, where rows and as many draws are of one distribution."""


def beside(model: Model, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Features of some rows and of a draw beside each, with their given columns, and their weights."""
    if rows.n > MOST:
        rows = rows.take(torch.randperm(rows.n, device=rows.given.device)[:MOST])
    drawn = drawn_rows(model, rows)
    return (
        torch.cat([rows.features(), rows.given], 1),
        torch.cat([drawn.features(), rows.given], 1),
        rows.weight,
    )


def discrepancy(
    x: Tensor, y: Tensor, weight: Tensor, widths: Sequence[float] = WIDTHS, other: Tensor | None = None
) -> Tensor:
    """Unbiased squared MMD of features (n, F) of rows and draws, of weights (n,); `other`: those of the draws, if they
    are others."""
    xx, yy, xy = torch.cdist(x, x), torch.cdist(y, y), torch.cdist(x, y)
    unit = xx.detach().median().clamp_min(1e-6)

    def kernel(distance: Tensor) -> Tensor:
        each = [1 / (1 + (distance / (width * unit)).square()) for width in widths]
        return torch.stack(each).mean(0)

    other = weight if other is None else other
    return apart(kernel(xx), weight) + apart(kernel(yy), other) - 2 * across(kernel(xy), weight, other)


def energy_distance(x: Tensor, y: Tensor, weight: Tensor, other: Tensor | None = None) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'| of features (n, F), without bias. Szekely & Rizzo 2013."""
    other = weight if other is None else other
    pairs = apart(torch.cdist(x, x), weight) + apart(torch.cdist(y, y), other)
    return 2 * across(torch.cdist(x, y), weight, other) - pairs


def pulls(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """What each draw adds to the energy distance (n,): 2 E|x - y_i| - 2 E|y' - y_i|, y' any other draw. With it as the
    reward the gradient of a draw's log-mass is, in expectation, that of the distance."""
    w = weight.to(x)
    own = torch.cdist(y, y) @ w / (w.sum() - w).clamp_min(1e-12)
    return 2 * (w @ torch.cdist(x, y)) / w.sum() - 2 * own


def apart(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of values (n, n) over pairs of different rows."""
    w = weight.to(values)
    pairs = w.sum().square() - w.square().sum()
    return (w @ (values - values.diagonal().diag()) @ w) / pairs.clamp_min(1e-12)


def across(values: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """Mean of values (n, n) over all pairs."""
    w, v = weight.to(values), other.to(values)
    return (w @ values @ v) / (w.sum() * v.sum()).clamp_min(1e-12)


def coverage(x: Tensor, y: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Share of rows x that have a draw y no farther than their k-th nearest row. Naeem et al. 2020."""
    return (torch.cdist(x, y).amin(1) <= _reach(x, neighbours)).double().mean()


def precision(x: Tensor, y: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Share of draws y no farther from some row x than that is from its k-th nearest. Kynkaanniemi et al. 2019."""
    return (torch.cdist(y, x) <= _reach(x, neighbours)).any(1).double().mean()


def _reach(x: Tensor, neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest; without end of a row alone."""
    k = min(neighbours, len(x) - 1)
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values if k > 0 else x.new_full((len(x),), torch.inf)
