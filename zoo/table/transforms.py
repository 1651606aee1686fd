"""Monotone maps of a numeric column onto the real line, each with its inverse and the log of its slope.

A map is a class without state over columns side by side: values (..., C), parameters (C, WIDTH), ends (C,).

    fit(values, lower, step) -> list[float]     parameters of one column from its values (n,)
    forward(v, p), inverse(y, p)                table units to the map's units and back
    log_slope(v, p)                             log dy/dv

Copy `Arcsinh` to add one, and name it in `MAPS` and in `zoo.table.schema.Transform`.
"""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from zoo.table.lattice import spread
from zoo.table.schema import Column

KNOTS = 32
WIDTH = 2 * KNOTS
"""Parameters of a column: as many as the quantile map's knots need."""
MARGIN = 0.15
"""Nats per row that a map must gain, as one Normal, over none."""
ENOUGH, MOST, CELLS = 20, 20_000, 4
"""Rows that a choice needs, rows that it looks at, and cells that a rounded column's spread must have."""
TINY = 1e-300
STRIP = 0.25
"""Width of the strip before an end, in robust standard deviations."""


class Map(Protocol):
    def fit(self, values: np.ndarray, column: Column) -> list[float]: ...

    def forward(self, v: Tensor, p: Tensor) -> Tensor: ...

    def inverse(self, y: Tensor, p: Tensor) -> Tensor: ...

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor: ...


class Identity:
    """y = v."""

    def fit(self, values: np.ndarray, column: Column) -> list[float]:
        return []

    def forward(self, v: Tensor, p: Tensor) -> Tensor:
        return v

    def inverse(self, y: Tensor, p: Tensor) -> Tensor:
        return y

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor:
        return torch.zeros_like(v)


class Log:
    """y = log(v - lower + offset); the offset is the width of a cell, so that a rounded zero has a place."""

    def fit(self, values: np.ndarray, column: Column) -> list[float]:
        return [(column.step or 0.0) - (column.lower or 0.0)]

    def forward(self, v: Tensor, p: Tensor) -> Tensor:
        return (v + p[..., 0]).clamp_min(TINY).log()

    def inverse(self, y: Tensor, p: Tensor) -> Tensor:
        return y.clamp(max=700).exp() - p[..., 0]

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor:
        return -self.forward(v, p)


class Arcsinh:
    """y = arcsinh((v - centre) / width), centre and width those of the column's middle half."""

    def fit(self, values: np.ndarray, column: Column) -> list[float]:
        return [float(np.median(values)), spread(values) or 1.0]

    def forward(self, v: Tensor, p: Tensor) -> Tensor:
        return torch.asinh((v - p[..., 0]) / p[..., 1])

    def inverse(self, y: Tensor, p: Tensor) -> Tensor:
        return p[..., 0] + p[..., 1] * torch.sinh(y.clamp(-700, 700))

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor:
        return -torch.hypot(v - p[..., 0], p[..., 1]).log()


class YeoJohnson:
    """The power family for both signs, of power lambda in [0, 2] about the column's centre. Yeo & Johnson 2000.

    y = ((1 + u)^a - 1) / a above the centre, -((1 - u)^b - 1) / b below, u = (v - centre) / width, a = lambda,
    b = 2 - lambda; log1p where the power is zero.
    """

    def fit(self, values: np.ndarray, column: Column) -> list[float]:
        centre, width = float(np.median(values)), spread(values) or 1.0
        u = np.clip((values - centre) / width, -1e6, 1e6)
        with np.errstate(all="ignore"):
            power = float(stats.yeojohnson_normmax(u)) if u.std() > 0 else 1.0
        return [centre, width, min(max(power if math.isfinite(power) else 1.0, 0.0), 2.0)]

    def forward(self, v: Tensor, p: Tensor) -> Tensor:
        u = (v - p[..., 0]) / p[..., 1]
        return u.sign() * _power(u.abs().log1p(), self._exponent(u, p))

    def inverse(self, y: Tensor, p: Tensor) -> Tensor:
        a = self._exponent(y, p)
        small = a.abs() < 1e-6
        log1p = torch.where(small, y.abs(), (y.abs() * a).log1p() / torch.where(small, 1.0, a))
        return p[..., 0] + p[..., 1] * y.sign() * log1p.clamp(max=700).expm1()

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor:
        u = (v - p[..., 0]) / p[..., 1]
        return (self._exponent(u, p) - 1) * u.abs().log1p() - p[..., 1].log()

    def _exponent(self, u: Tensor, p: Tensor) -> Tensor:
        return torch.where(u >= 0, p[..., 2], 2 - p[..., 2])


def _power(log1p: Tensor, a: Tensor) -> Tensor:
    """((1 + u)^a - 1) / a from log(1 + u); its limit where a is zero."""
    small = a.abs() < 1e-6
    return torch.where(small, log1p, (a * log1p).clamp(max=700).expm1() / torch.where(small, 1.0, a))


class Quantile:
    """The column's own distribution function followed by the Normal's inverse, straight between and beyond its knots.

    Parameters: knots in table units, then in standard deviations.
    """

    def fit(self, values: np.ndarray, column: Column) -> list[float]:
        distinct, counts = np.unique(values, return_counts=True)
        step, width = column.resolution, values.std() or 1.0
        cuts = distinct[:-1] + (step / 2 if step else np.diff(distinct) / 2)
        below = (counts.cumsum()[:-1] + 0.5) / (counts.sum() + 1)
        if len(cuts) > KNOTS:
            near = np.searchsorted(below, np.linspace(below[0], below[-1], KNOTS))
            keep = np.unique(near.clip(max=len(cuts) - 1))
            cuts, below = cuts[keep], below[keep]
        score = stats.norm.ppf(below)
        if len(cuts) < 2:  # one cut, or none: a straight line through it
            middle, at = (cuts[0], score[0]) if len(cuts) else (distinct[0], 0.0)
            cuts, score = middle + width * np.array([-1.0, 1.0]), at + np.array([-1.0, 1.0])
        # as many knots as every other column has: more of the straight line at the upper end
        beyond = cuts[-1] + (cuts[-1] - cuts[-2]) * np.arange(1, KNOTS - len(cuts) + 1)
        slope = (score[-1] - score[-2]) / (cuts[-1] - cuts[-2])
        return [*cuts, *beyond, *score, *(score[-1] + slope * (beyond - cuts[-1]))]

    def forward(self, v: Tensor, p: Tensor) -> Tensor:
        return self._piece(v, p[..., :KNOTS], p[..., KNOTS:])[0]

    def inverse(self, y: Tensor, p: Tensor) -> Tensor:
        return self._piece(y, p[..., KNOTS:], p[..., :KNOTS])[0]

    def log_slope(self, v: Tensor, p: Tensor) -> Tensor:
        return self._piece(v, p[..., :KNOTS], p[..., KNOTS:])[1].log()

    def _piece(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Value and slope at v (n, C) of the broken line through knots (C, KNOTS)."""
        piece = torch.searchsorted(x.contiguous(), v.T.contiguous()).clamp(1, KNOTS - 1)
        x0, x1, y0, y1 = (t.gather(-1, i).T for t in (x, y) for i in (piece - 1, piece))
        slope = (y1 - y0) / (x1 - x0)
        return y0 + (v - x0) * slope, slope


MAPS: dict[str, Map] = {
    "none": Identity(),
    "log": Log(),
    "arcsinh": Arcsinh(),
    "yeo-johnson": YeoJohnson(),
    "quantile": Quantile(),
}


class Walls:
    """w = v + s log(1 - exp(-(v - lower) / s)) - t log(1 - exp(-(upper - v) / t)): the open range onto the real line.

    A straight line but for a strip of a few s (t) before each end, where it is a logarithm, so that a bounded density
    has no mass outside. s (t) = 0: no end there. Parameters (C, 4): s, lower, t, upper.
    """

    STEPS: ClassVar[int] = 80

    @staticmethod
    def fit(values: np.ndarray, lower: float | None, upper: float | None) -> list[float]:
        strip = STRIP * (spread(values) or 1.0)
        return [strip * (lower is not None), lower or 0.0, strip * (upper is not None), upper or 0.0]

    @staticmethod
    def forward(v: Tensor, p: Tensor) -> Tensor:
        a, b = Walls._depths(v, p)
        return v + p[..., 0] * _log1mexp(a) - p[..., 2] * _log1mexp(b)

    @staticmethod
    def log_slope(v: Tensor, p: Tensor) -> Tensor:
        a, b = Walls._depths(v, p)
        return (1 + _odds(a) * (p[..., 0] > 0) + _odds(b) * (p[..., 2] > 0)).log()

    @staticmethod
    def inverse(w: Tensor, p: Tensor) -> Tensor:
        s, lower, t, upper = p.unbind(-1)
        from_below = lower + s * torch.nn.functional.softplus((w - lower) / _positive(s), threshold=40)
        from_above = upper - t * torch.nn.functional.softplus((upper - w) / _positive(t), threshold=40)
        both = (s > 0) & (t > 0)
        one = torch.where(s > 0, from_below, torch.where(t > 0, from_above, w))
        return torch.where(both, Walls._bisect(w, p), one) if bool(both.any()) else one

    @staticmethod
    def _bisect(w: Tensor, p: Tensor) -> Tensor:
        low, high = p[..., 1].expand_as(w), p[..., 3].expand_as(w)
        for _ in range(Walls.STEPS):
            middle = (low + high) / 2
            above = Walls.forward(middle, p) > w
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    @staticmethod
    def _depths(v: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        s, lower, t, upper = p.unbind(-1)
        depth = torch.where(s > 0, (v - lower) / _positive(s), 1.0), torch.where(t > 0, (upper - v) / _positive(t), 1.0)
        return depth[0].clamp_min(TINY), depth[1].clamp_min(TINY)


def _positive(s: Tensor) -> Tensor:
    return torch.where(s > 0, s, 1.0)


def _log1mexp(a: Tensor) -> Tensor:
    return torch.log(-torch.expm1(-a))


def _odds(a: Tensor) -> Tensor:
    return 1 / torch.expm1(a.clamp(max=700))


def choose(values: np.ndarray, column: Column) -> str:
    """The map under which a Normal fits the values (n,) best, if it gains `MARGIN` nats per row over none.

    Ranks take the quantile map; counts, times, cycles and columns of a few values or rows none.
    """
    if column.kind == "ordinal":
        return "quantile" if len(np.unique(values)) > 1 else "none"
    if column.kind in ("count", "time") or column.period is not None or len(values) < ENOUGH:
        return "none"
    if column.step is not None and spread(values) < CELLS * column.step:
        return "none"
    values = values[np.linspace(0, len(values) - 1, min(len(values), MOST)).astype(int)]
    names = ["none", *(["log"] if column.lower is not None else []), "arcsinh", "yeo-johnson"]
    gains = {name: _normal_fit(values, column, name) for name in names}
    best = max(gains, key=lambda name: gains[name])
    return best if gains[best] > gains["none"] + MARGIN else "none"


def _normal_fit(values: np.ndarray, column: Column, name: str) -> float:
    """Mean log-density of the values under the map and the Normal of their moments; minus infinity where it fails."""
    maps = MAPS[name]
    p = torch.tensor(maps.fit(values, column), dtype=torch.float64)
    v = torch.from_numpy(values)
    y = maps.forward(v, p)
    gain = maps.log_slope(v, p).mean() - torch.log(y.std() + TINY)
    return float(gain) if bool(torch.isfinite(y).all() and torch.isfinite(gain)) else -math.inf
