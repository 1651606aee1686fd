"""Annealed importance sampling of the latents of rows: from the guide to the posterior along a path of densities.

    f_b(z) = q(z | x)^(1 - b) p(x, z)^b,    b from 0 to 1
    log w  = sum_t (b_{t+1} - b_t) (log p(x, z_t) - log q(z_t | x)),    z_t by Hamiltonian steps that keep f_{b_t}

The mean of w over chains has the expectation p(x), so that its log lies below log p(x) on average, whatever the guide
misses. The same walk backwards, from a draw of p(z | x), has weights of expectation 1 / p(x): an upper end. An exact
draw of the posterior is there only for rows that the model has drawn itself, together with their latents.
Neal 2001; Grosse, Ghahramani & Adams 2015; Grosse, Ancha & Roy 2016; Wu et al. 2017.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro.poutine as poutine
import torch
from torch import Tensor

from zoo.errors import UserError, line_of
from zoo.log_weights import log_mean, log_weights
from zoo.rows.importance import effective
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import drawn_cells, samples

if TYPE_CHECKING:
    from zoo.model import Model

ROWS, CHAINS, STEPS = 20, 16, 100
LEAPFROGS = 5
STOPS, TRIES, ACCEPTED = 8, 6, 0.8
"""Places on the path at which the length of a leapfrog is found, tries at each, and the share of proposals wanted."""
CARRIED = 0.5
"""Share of the chains that must carry the weight for its standard error to be told from them."""
SPREAD = 64
"""Draws of the guide that say how wide each latent is."""
SIGMOID = 4.0
"""Temperatures are closer at both ends: a logistic curve from -4 to 4. Wu et al. 2017."""


@dataclass(frozen=True)
class Annealed:
    """What annealing says, in nats a row: means over rows, with the standard error of chance in the chains.

    bound                  of rows of the table: at most their log-likelihood, on average
    monte_carlo_error      of it
    carried                chains that its weight lies on, out of `chains`: the median row's effective number
    importance             the importance-weighted bound of the guide alone on the same rows
    lower, upper           of as many rows that the model drew itself: the ends between which their log-likelihood lies
    width, width_error     upper - lower, and its standard error over rows
    accepted               share of proposals accepted
    """

    rows: int
    chains: int
    steps: int
    bound: float
    monte_carlo_error: float
    carried: float
    importance: float
    lower: float
    upper: float
    width: float
    width_error: float
    accepted: float

    @property
    def sentence(self) -> str:
        """What may be claimed, in words."""
        error = f"± {self.monte_carlo_error:.3f} (Monte Carlo)"
        if self.carried < CARRIED * self.chains:
            few = f"{self.carried:.1f} of {self.chains} chains carry the weight, so the ± is too small"
            error += f", but {few}: more steps (--ais-steps) may raise it a good deal"
        rise = self.bound - self.importance
        return (
            f"annealed, on {self.rows} of the rows: at least {self.bound:.3f} {error}, "
            f"{abs(rise):.3f} {'above' if rise >= 0 else 'below'} the importance-weighted bound; "
            f"on {self.rows} rows drawn from the model itself the log-likelihood is between {self.lower:.3f} and "
            f"{self.upper:.3f} ({self.width:.3f} ± {self.width_error:.3f} apart; upper end only on simulated rows)"
        )

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "sentence": self.sentence}


def annealed(
    model: Model, rows: Rows, importance: np.ndarray, chains: int = CHAINS, steps: int = STEPS, seed: int = 0
) -> Annealed:
    """Annealing on these rows, whose importance-weighted bounds (n,) are known, and on as many of the model's own."""
    check(model, rows)
    with scope(seed):
        path = _Path(model, rows, chains, steps)
        log_w = path.forward()
        own, z = simulated(model, rows)
        there = _Path(model, own, chains, steps)
        up, down = log_mean(there.forward()), -log_mean(there.backward(z))
    bound = log_mean(log_w)
    share = (rows.weight / rows.weight.sum()).cpu()
    apart = (down - up).cpu()
    return Annealed(
        rows.n,
        chains,
        steps,
        float((share * bound.cpu()).sum()),
        float((share * monte_carlo(log_w).cpu()).square().sum().sqrt()),
        float(effective(log_w).median()),
        float((share.numpy() * importance).sum()),
        float(up.mean()),
        float(down.mean()),
        float(apart.mean()),
        float(apart.std() / math.sqrt(rows.n)) if rows.n > 1 else math.nan,
        (path.accepted + there.accepted) / 2,
    )


def check(model: Model, rows: Rows) -> None:
    """Refuse what cannot be annealed, and say why."""
    name, instead = f"model {model.recipe.model!r}", "leave --ais out"
    if model.sites.globals:
        raise UserError(f"{name} has a posterior over its parameters, and annealing is of latents of rows", instead)
    if not model.sites.continuous or hasattr(model.program, "log_prob"):
        what = "its latents are discrete, and summed out" if model.sites.latents else "it has no latents"
        raise UserError(f"{name} has nothing to anneal: {what}", instead)
    if model.bound(rows.complete) == "exact":
        raise UserError(f"{name} has nothing to anneal: its number is exact", instead)
    try:
        with scope(0):
            path = _Path(model, rows.take(torch.zeros(2, dtype=torch.long, device=rows.given.device)), 1, 1)
            first, again = path.at(path.start, True), path.at(path.start, True)
            steady = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    except UserError:
        raise
    except Exception as error:  # a flow that cannot be inverted, a guide without a density
        said = line_of(error)
        raise UserError(f"the guide of {name} cannot say the density of any latent: {said}", instead) from error
    if not steady:
        raise UserError(f"{name} says another number for the same latents each time, and cannot be annealed", instead)


def simulated(model: Model, rows: Rows) -> tuple[Rows, dict[str, Tensor]]:
    """As many rows drawn from the model, with the same cells missing, and the latents that they were drawn with."""
    with torch.no_grad():
        blank = rows.blank()
        drawn = samples(poutine.trace(model.program).get_trace(blank))
        x = model.codec.snap(drawn_cells(drawn, blank))
        z = {site.name: drawn[site.name]["value"] for site in model.sites.continuous}
    assert rows.cells is not None
    return rows.filled(x, None if rows.complete else rows.cells.seen), z


def monte_carlo(log_w: Tensor) -> Tensor:
    """Standard error (n,) of the log of the mean weight of the chains (C, n), by the delta method."""
    if len(log_w) < 2:
        return torch.full_like(log_w[0], math.nan)
    w = (log_w - log_w.amax(0)).exp()
    return w.std(0) / w.mean(0) / math.sqrt(len(w))


class _Path:
    """The densities between guide and posterior of some rows, `chains` walkers on each; all walk at once.

    A state is one vector (chains * n, d) of the latents of all sites, one after another.
    """

    def __init__(self, model: Model, rows: Rows, chains: int, steps: int):
        self.model, self.rows, self.chains = model, rows, chains
        self.many = rows.repeat(chains)
        curve = torch.sigmoid(torch.linspace(-SIGMOID, SIGMOID, steps + 1, dtype=torch.float64))
        self.betas = (curve - curve[0]) / (curve[-1] - curve[0])
        self.names = [site.name for site in model.sites.continuous]
        self.accepted = math.nan
        self._lengths: Tensor | None = None
        with torch.no_grad():
            drawn = samples(poutine.trace(model.guide).get_trace(self.many))
            if set(drawn) != set(self.names):
                names = ", ".join(sorted(set(drawn) - set(self.names)))
                raise UserError(f"the guide names discrete latents ({names}), which no step moves", "leave --ais out")
            self.shapes = [drawn[name]["value"].shape[1:] for name in self.names]
            self.start = self._vector({name: drawn[name]["value"] for name in self.names})
            often = samples(poutine.trace(model.guide).get_trace(rows.repeat(SPREAD)))
            every = self._vector({name: often[name]["value"] for name in self.names}).reshape(SPREAD, rows.n, -1)
            self.scale = every.std(0).clamp_min(1e-6).repeat(chains, 1)

    def _vector(self, values: dict[str, Tensor]) -> Tensor:
        return torch.cat([values[name].flatten(1) for name in self.names], 1)

    def at(self, z: Tensor, slope: bool = False, beta: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x, z) - log q(z | x), log f_beta and, where asked for, its gradient, of each walker."""
        parts = z.detach().requires_grad_(slope).split([shape.numel() for shape in self.shapes], 1)
        values = {
            name: part.reshape(-1, *shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
        with torch.set_grad_enabled(slope):
            program = poutine.condition(self.model.program, data=values)
            w = log_weights(program, poutine.condition(self.model.guide, data=values), self.many)
            log_q = sum(w.guide.values(), torch.zeros(()))[0].double()
            ratio = w.rows[0].double()
            log_f = log_q + beta * ratio
            gradient = torch.cat(torch.autograd.grad(log_f.sum(), parts), 1) if slope else z
        return ratio.detach(), log_f.detach(), gradient

    def move(self, z: Tensor, beta: float, length: Tensor) -> tuple[Tensor, Tensor]:
        """One Hamiltonian step (Duane et al. 1987) that keeps f_beta, and how probable it was to be taken.

        length (N,): of a leapfrog, in standard deviations of the guide
        """
        step = self.scale * (length * (0.8 + 0.4 * torch.rand_like(length)))[:, None].to(z.dtype)
        momentum = torch.randn_like(z)
        _, before, slope = self.at(z, True, beta)
        here, energy = z, before - 0.5 * momentum.double().square().sum(1)
        for _ in range(LEAPFROGS):
            momentum = momentum + 0.5 * step * slope
            here = here.detach() + step * momentum
            _, after, slope = self.at(here, True, beta)
            momentum = momentum + 0.5 * step * slope
        change = after - 0.5 * momentum.double().square().sum(1) - energy
        taken = change.exp().clamp_max(1.0).nan_to_num(0.0)
        return torch.where((torch.rand_like(taken) < taken)[:, None], here, z).detach(), taken

    @property
    def lengths(self) -> Tensor:
        """(steps + 1, N) length of a leapfrog at every temperature, of each row: found on a walk of its own, so that
        those that count are not steered by where they are."""
        if self._lengths is None:
            at = torch.linspace(0, len(self.betas) - 1, STOPS).round().long().unique()
            z, length, found = self.start, torch.full((self.rows.n,), 0.5, dtype=torch.float64), []
            length = length.to(z.device)
            for t in at.tolist():
                for turn in range(TRIES):
                    z, taken = self.move(z, float(self.betas[t]), length.repeat(self.chains))
                    share = taken.reshape(self.chains, -1).mean(0)
                    length = (length * (2.0 / (1 + turn) ** 0.5 * (share - ACCEPTED)).exp()).clamp(1e-4, 20.0)
                found.append(length)
            grid = np.stack([length.log().cpu().numpy() for length in found])
            every = [np.interp(np.arange(len(self.betas)), at.numpy(), column) for column in grid.T]
            self._lengths = torch.from_numpy(np.exp(np.stack(every, 1))).to(z.device).repeat(1, self.chains)
        return self._lengths

    def forward(self) -> Tensor:
        """log w (chains, n) of walks from the guide: their mean weight is p(x) on average."""
        order = list(range(len(self.betas)))
        return self._walk(self.start, order)

    def backward(self, z: dict[str, Tensor]) -> Tensor:
        """log w (chains, n) of walks from one draw of the posterior of each row: their mean weight is 1 / p(x)."""
        order = list(range(len(self.betas)))[::-1]
        return self._walk(self._vector(z).repeat(self.chains, 1).to(self.start), order)

    def _walk(self, z: Tensor, order: list[int]) -> Tensor:
        log_w = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        lengths, taken = self.lengths, []
        for now, then in itertools.pairwise(order):
            log_w = log_w + (self.betas[then] - self.betas[now]) * self.at(z)[0]
            if then != order[-1]:
                z, share = self.move(z, float(self.betas[then]), lengths[then])
                taken.append(share.mean())
        self.accepted = float(torch.stack(taken).mean()) if taken else math.nan
        return log_w.reshape(self.chains, -1)
