"""Energy models: a network says how much likelier a row is than under independent columns, up to a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Positive
from zoo.networks.residual import Residual
from zoo.programs.denoiser import estimates
from zoo.rows.rows import Rows
from zoo.rows.scores import Marginals, NormalScores
from zoo.scope import scope
from zoo.shared import Shared
from zoo.table.schema import Schema

FEWEST = 512
"""Walkers of a draw, however few rows are asked for: they are chosen among."""
DRAWS = 16
"""Places drawn in the cells of a row whose density is a mean over them, and values of cells not seen."""
TRIED = 8
"""Rows at whose given columns log Z is annealed, to say how far off its mean over draws is."""
SEED = 0


class LogZ(NamedTuple):
    """log Z from both sides, as scalars: `low` is below it in expectation, `high` above, and their standard errors."""

    low: float
    high: float
    low_error: float
    high_error: float

    @property
    def taken(self) -> float:
        """The larger, by which a density is not above what the draws say."""
        return max(self.low, self.high)

    @property
    def error(self) -> float:
        """What is between both sides, and the larger standard error."""
        return abs(self.high - self.low) + max(self.low_error, self.high_error)


class Energy(nn.Module):
    """log p(u | given) = f(u, given) + log phi(u) - log Z(given)                            # LeCun et al. 2006

    Numbers and levels are normal scores u (zoo.rows.scores), so f = 0 stands for independent columns. log Z comes from
    annealed importance sampling (Neal 2001), from phi to p, which is below it in expectation, and from draws of p back
    to phi, which is above as far as these are exact (Grosse et al. 2015). The larger is taken, so that the number errs
    downwards. Where columns are given it is a mean over draws of phi for each row, from below: there the number errs
    upwards; annealing at some rows says how far. Cells not seen are summed over draws of phi.

    temperatures  of annealing, for log Z and for draws
    walkers       that estimate log Z
    stride        of a Langevin step with a Metropolis test, times C^(-1/6) for C coordinates
    moves         such steps at each temperature
    """

    def __init__(
        self,
        schema: Schema,
        network: Callable[[int, int], nn.Module] = Residual,
        marginals: Marginals = "scores",
        temperatures: Count = 100,
        walkers: Count = 1000,
        stride: Positive = 0.5,
        moves: Count = 2,
    ):
        super().__init__()
        self.schema = schema
        self.temperatures, self.walkers, self.moves = temperatures, walkers, moves
        self.scores = NormalScores(schema, marginals, levels=True)
        self.stride = stride * max(1, self.scores.width) ** (-1 / 6)
        self.network = network(self.scores.width + schema.given, 1)
        self._known: tuple[Any, LogZ] | None = None

    def initialise(self, rows: Rows) -> bool:
        self.scores.fit(rows)
        return False

    def bound(self, complete: bool) -> str:
        return "estimate"

    def tilt(self, u: Tensor, given: Tensor) -> Tensor:
        """f (n,) of coordinates (n, C)."""
        out: Tensor = self.network(torch.cat([u.float(), given], -1))[:, 0].double()
        return out

    # ---- chains

    def walk(
        self, u: Tensor, given: Tensor, beta: float, steps: int, still: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(u, f(u)) after Metropolis-adjusted Langevin steps that leave phi(u) exp(beta f(u)) as it is.

        still (n, C): coordinates that do not move
        """
        f, slope = self._slope(u, given, beta)
        moving = torch.ones_like(u) if still is None else (~still).to(u)
        e = self.stride**2 / 2
        for _ in range(steps):
            step = e * slope + math.sqrt(2 * e) * torch.randn_like(u)
            other = u + moving * step
            f_other, slope_other = self._slope(other, given, beta)
            there = (moving * (other - u - e * slope)).square().sum(-1)
            back = (moving * (u - other - e * slope_other)).square().sum(-1)
            log = beta * (f_other - f) + 0.5 * (u.square() - other.square()).sum(-1) + (there - back) / (4 * e)
            better = (torch.rand_like(log).log() < log)[:, None]
            u, slope = torch.where(better, other, u), torch.where(better, slope_other, slope)
            f = torch.where(better[:, 0], f_other, f)
        return u, f

    def _slope(self, u: Tensor, given: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        """f, and the gradient of beta f(u) + log phi(u)."""
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            f = self.tilt(at, given)
            (slope,) = torch.autograd.grad(f.sum(), at)
        return f.detach(), beta * slope - u

    def filled(self, rows: Rows, steps: int) -> tuple[Tensor, Tensor]:
        """Coordinates (n, C), those not seen drawn given the others by annealed steps, and log base (n,)."""
        coded = self.scores.encode(rows)
        u = torch.where(coded.seen, coded.u, torch.randn_like(coded.u))
        if not rows.complete:
            for k in range(steps):
                u, _ = self.walk(u, rows.given, (k + 1) / steps, 1, coded.seen)
        return u, coded.base

    # ---- log Z

    def log_z(self) -> LogZ:
        """log Z from both sides, where nothing is given: found once for the parameters as they are."""
        key = tuple(p._version for p in self.parameters())
        if self._known is None or self._known[0] != key:
            with scope(SEED), torch.no_grad():
                nothing = next(self.parameters()).new_zeros(1, self.schema.given)
                self._known = key, self._both_sides(nothing)
        return self._known[1]

    def _both_sides(self, given: Tensor) -> LogZ:
        """Of one row of what is given (1, n_given)."""
        given = given.expand(self.walkers, -1)
        u = torch.randn(self.walkers, self.scores.width, dtype=torch.float64, device=given.device)
        betas = torch.linspace(0, 1, self.temperatures + 1).tolist()
        weight, f = torch.zeros_like(u[:, 0]), self.tilt(u, given)
        for a, b in pairwise(betas):
            weight = weight + (b - a) * f
            u, f = self.walk(u, given, b, self.moves)
        low, low_error = _log_mean(weight)
        u = u[torch.distributions.Categorical(logits=weight).sample((self.walkers,))]
        u, f = self.walk(u, given, 1.0, 10 * self.moves)
        weight = torch.zeros_like(weight)
        for a, b in zip(betas[:-1][::-1], betas[1:][::-1], strict=True):
            u, f = self.walk(u, given, b, self.moves)
            weight = weight + (a - b) * f
        high, high_error = _log_mean(weight)
        return LogZ(low, -high, low_error, high_error)

    def _log_z(self, rows: Rows, particles: int) -> Tensor:
        """log Z for each estimate of each row (particles, n), or one for all (1, 1)."""
        if not rows.given.shape[-1]:
            return torch.full((1, 1), self.log_z().taken, dtype=torch.float64, device=rows.given.device)
        given = rows.given.repeat_interleave(self.walkers, 0)
        each = []
        for _ in range(particles):
            u = torch.randn(len(given), self.scores.width, dtype=torch.float64, device=given.device)
            each.append(self.tilt(u, given).unflatten(0, (rows.n, -1)).logsumexp(-1))
        return torch.stack(each) - math.log(self.walkers)

    def shared_errors(self, rows: Rows) -> list[Shared]:
        """Of log Z, from both sides."""
        if rows.given.shape[-1]:
            return [self._given_error(rows)]
        z = self.log_z()
        sides = f"{z.low:.4g} ± {z.low_error:.2g} from below, {z.high:.4g} ± {z.high_error:.2g} from above"
        return [Shared("log Z", z.error, f"log Z {sides}, the larger taken: the number errs downwards")]

    def _given_error(self, rows: Rows) -> Shared:
        """How far the mean over draws of phi is below annealing, from both sides, at what some rows are given."""
        some = rows.take(torch.linspace(0, rows.n - 1, min(rows.n, TRIED), device=rows.given.device).long())
        with scope(SEED), torch.no_grad():
            own = self._log_z(some, 1)[0]
            sides = [self._both_sides(given[None]) for given in some.given]
        off = torch.tensor([z.taken for z in sides], dtype=torch.float64) - own.cpu()
        error = float(off.mean().abs()) + max(z.error for z in sides)
        says = (
            f"log Z of each row by {self.walkers} draws of independent columns, from below: at {some.n} rows annealing "
            f"is {float(off.mean()):.2g} above ({float(off.max()):.2g} at worst), and the number errs upwards"
        )
        return Shared("log Z", error, says)

    # ---- numbers and draws

    def log_prob(self, rows: Rows, particles: int) -> Tensor:
        """Estimates (particles, n) of log p in table units."""
        drawn = bool(self.scores.sizes) or self.schema.has_lattice or any(c.atoms for c in self.schema.numeric)
        z = self._log_z(rows, particles)
        if rows.complete and not drawn:
            return (self._log_ratio(rows) - z).expand(particles, -1)
        each = estimates(self._log_ratio, rows, particles * DRAWS).unflatten(0, (particles, DRAWS))
        return each.logsumexp(1) - math.log(DRAWS) - z

    def _log_ratio(self, rows: Rows) -> Tensor:
        """f + log base (n,) at a draw of what is not seen of each row."""
        coded = self.scores.encode(rows)
        u = torch.where(coded.seen, coded.u, torch.randn_like(coded.u))
        return self.tilt(u, rows.given) + coded.base

    def sample(self, rows: Rows) -> Tensor:
        """Draws by annealing from phi, the likelier walkers taken more often on the way. Del Moral et al. 2006."""
        chosen = torch.arange(max(rows.n, FEWEST), device=rows.given.device) % max(rows.n, 1)
        given = rows.given[chosen]
        u = torch.randn(len(chosen), self.scores.width, dtype=torch.float64, device=given.device)
        f = self.tilt(u, given)
        log = torch.zeros_like(f)
        alike = not given.shape[-1]
        for k in range(self.temperatures):
            log = log + f / self.temperatures
            share = torch.softmax(log, 0)
            if alike and 1 / share.square().sum() < len(u) / 2:
                place = (torch.arange(len(u), device=u.device) + torch.rand((), device=u.device)) / len(u)
                u = u[torch.searchsorted(share.cumsum(0), place.double()).clamp(max=len(u) - 1)]
                log = torch.zeros_like(log)
            u, f = self.walk(u, given, (k + 1) / self.temperatures, self.moves)
        if alike:
            u = u[torch.distributions.Categorical(logits=log).sample((rows.n,))]
            u, _ = self.walk(u, given[: rows.n], 1.0, 5 * self.moves)
        return self._decoded(u[: rows.n], rows)

    def complete(self, rows: Rows, draws: int) -> Tensor:
        """The cells that are not seen, drawn given those that are (draws, n, D)."""
        u, _ = self.filled(rows.repeat(draws), self.temperatures)
        return self._decoded(u, rows).unflatten(0, (draws, rows.n))

    def _decoded(self, u: Tensor, rows: Rows) -> Tensor:
        return self.scores.decode(u, u.new_zeros(len(u), 0), rows.codec)


def _log_mean(log: Tensor) -> tuple[float, float]:
    """Log of the mean of exp(log) (n,), and its standard error by the delta method."""
    w = (log - log.max()).exp()
    return float(log.max() + w.mean().log()), float(w.std() / w.mean() / math.sqrt(len(w)))
