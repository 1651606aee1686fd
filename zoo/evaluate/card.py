"""The bound card: everything that says how near a model's number is to the log-likelihood it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.evaluate.annealed import STEPS, Annealed, annealed, check
from zoo.evaluate.fixed import views
from zoo.evaluate.likelihood import K_HAT_GOOD, NUMBERS, ROW_PARTICLES, k_hat, mean, standard_error
from zoo.log_weights import log_weights
from zoo.rows.rows import Rows
from zoo.scope import scope

if TYPE_CHECKING:
    from zoo.model import Bound, Model

LADDER = (1, 10, 100, 1000)
HOLDS = 1.96
"""Monte Carlo errors on each side of a 95% interval."""
SOME_TROUBLE = 0.05
"""Share of rows whose weights may be unreliable before the card claims less."""


class Rung(NamedTuple):
    """The importance-weighted bound of K draws: its mean over rows, and the Monte Carlo error of that mean."""

    particles: int
    bound: float
    monte_carlo_error: float


@dataclass(frozen=True)
class BoundCard:
    """How a bound is made up and how tight it is, in nats per row, means over rows by their weights.

    bound            what the model's number on these rows is
    log_likelihood   the highest rung, or the exact value; standard_error over rows
    elbo             reconstruction - sum of `kl` - global_kl
    reconstruction   E_q[log p(x | latents)], summed latents included
    kl               of each row latent; of one under a summed latent -E[log q] alone, its prior being summed there
    global_kl        of the latents of no row, the N-th part
    ladder           ELBO <= rung of 10 <= rung of 100 ... <= log-likelihood
    extrapolated     where the ladder would end were its error to go on falling as 1 / K; a guess, no bound
    k_hat            quantiles (0.5, 0.95, 1) over rows of the Pareto shape of the weights; unreliable: the share of
                     rows above 0.7
    annealed         what annealed importance sampling says of some rows, where it was asked for
    """

    rows: int
    bound: Bound
    log_likelihood: float
    standard_error: float
    elbo: float
    reconstruction: float
    kl: dict[str, float]
    global_kl: float
    ladder: tuple[Rung, ...]
    extrapolated: float | None
    k_hat: tuple[float, float, float] | None
    unreliable: float | None
    measure: str
    annealed: Annealed | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of chance in the draws: holds the log-likelihood of these rows in 95 of 100 cards, where `trusted`."""
        error = self.ladder[-1].monte_carlo_error
        return (self.log_likelihood - HOLDS * error, self.log_likelihood + HOLDS * error) if self.trusted else None

    @property
    def trusted(self) -> bool:
        """Whether the weights behave on all rows but a few."""
        return self.unreliable is None or self.unreliable <= SOME_TROUBLE

    @property
    def sentence(self) -> str:
        """What may be claimed, in words."""
        value = f"{self.log_likelihood:.3f}"
        if self.bound == "exact":
            return f"exactly {value} nats per row on these rows (± {self.standard_error:.3f} on others like them)"
        rung = self.ladder[-1]
        error = f" ± {rung.monte_carlo_error:.3f} (Monte Carlo)"
        kind = "at least" if self.bound == "lower" else "an estimate:"
        said = f"{kind} {value}{error} nats per row, with {rung.particles} draws"
        if not self.trusted:
            share = f"{self.unreliable:.0%}"
            return f"{said}; k-hat is above {K_HAT_GOOD} on {share} of rows, so more draws may raise it a good deal"
        return said if self.extrapolated is None else f"{said}; extrapolated {self.extrapolated:.3f}"

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "bound": self.bound, "log_likelihood": self.log_likelihood,
            "standard_error": self.standard_error, "elbo": self.elbo, "reconstruction": self.reconstruction,
            "kl": self.kl, "global_kl": self.global_kl, "ladder": [rung._asdict() for rung in self.ladder],
            "extrapolated": self.extrapolated, "k_hat": self.k_hat, "unreliable": self.unreliable,
            "measure": self.measure, "sentence": self.sentence, "interval": self.interval,
            "annealed": None if self.annealed is None else self.annealed.to_json(),
        }  # fmt: skip


class _Parts(NamedTuple):
    """Of some rows: log-weights (K, n), and the terms of the ELBO (n,), by name for the latents."""

    log_w: Tensor
    reconstruction: Tensor
    kl: dict[str, Tensor]


def bound_card(
    model: Model, rows: Rows, particles: int = LADDER[-1], seed: int = 0, ais: int = 0, steps: int = STEPS
) -> BoundCard:
    """The card of a model on some rows, by at most so many draws of the latents for each.

    ais, steps: rows, drawn at random, of which annealing says more, and its temperatures
    """
    bound = model.bound(rows.complete)
    if hasattr(model.program, "log_prob"):
        what = f"model {model.recipe.model!r} says its number itself: there is no ladder of bounds to show"
        raise UserError(what, "`zoo score` gives the number and its Monte Carlo error")
    if ais:
        check(model, rows)
    exact = bound == "exact"
    k = 1 if exact else particles
    chunk = max(1, min(ROW_PARTICLES, NUMBERS // max(1, rows.full)) // k)
    with torch.no_grad(), scope(seed):
        every = views(model)
        index = torch.arange(rows.n, device=rows.given.device)
        each = [_parts(every, rows.take(i), k) for i in index.split(chunk)]
        first = rows.take(index[:1])
        held = log_weights(model.program, model.guide, first, 1).globals if model.sites.globals else torch.zeros(())
    global_kl = -float(held) / rows.total
    log_w = torch.cat([part.log_w for part in each], 1)
    weight = rows.weight.cpu().numpy()
    ladder = tuple(_rung(log_w, size, weight) for size in _sizes(len(log_w)))
    kl = {name: mean(torch.cat([p.kl[name] for p in each]).cpu().numpy(), weight) for name in each[0].kl}
    shapes = np.zeros(0) if exact else k_hat(log_w)
    last = _block_means(log_w, len(log_w))[0].cpu().numpy()
    quantiles = np.quantile(shapes, [0.5, 0.95, 1.0]) if len(shapes) else None
    some = np.sort(np.random.default_rng(seed).permutation(rows.n)[:ais])
    few = rows.take(torch.from_numpy(some).to(index.device))
    return BoundCard(
        rows.n,
        bound,
        mean(last, weight),
        standard_error(last, weight),
        mean(log_w.mean(0).cpu().numpy(), weight) - global_kl,
        mean(torch.cat([part.reconstruction for part in each]).cpu().numpy(), weight),
        kl,
        global_kl,
        ladder,
        None if exact or len(log_w) < LADDER[1] else _extrapolated(log_w, weight),
        None if quantiles is None else (float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        None if not len(shapes) else float((shapes > K_HAT_GOOD).mean()),
        model.schema.measure,
        annealed(model, few, last[some], steps=steps, seed=seed) if ais else None,
    )


def _parts(every: list[Any], rows: Rows, k: int) -> _Parts:
    each = [log_weights(view.program, view.guide, rows, -(-k // len(every))) for view in every]
    log_w = torch.cat([w.rows for w in each])
    reconstruction = torch.stack([w.likelihood.mean(0) for w in each]).mean(0)
    names = each[0].guide
    kl = {name: torch.stack([(w.guide[name] - w.prior.get(name, 0.0)).mean(0) for w in each]).mean(0) for name in names}
    return _Parts(log_w, reconstruction, kl)


def _sizes(k: int) -> list[int]:
    return sorted({size for size in (*LADDER, k) if size <= k})


def _block_means(log_w: Tensor, size: int) -> Tensor:
    """log of the mean weight of each whole block of `size` draws (blocks, n)."""
    blocks = len(log_w) // size
    return log_w[: blocks * size].reshape(blocks, size, -1).logsumexp(1) - math.log(size)


def _rung(log_w: Tensor, size: int, weight: np.ndarray) -> Rung:
    """The bound of `size` draws, over all the blocks of so many that there are."""
    blocks = _block_means(log_w, size)
    if len(blocks) > 1:
        error = blocks.std(0) / math.sqrt(len(blocks))
    else:
        w = (log_w - log_w.amax(0)).exp()
        error = w.std(0) / w.mean(0) / math.sqrt(size) if size > 1 else torch.zeros_like(log_w[0])
    share = weight / max(weight.sum(), 1e-12)
    whole = float(np.sqrt(np.square(share * error.cpu().numpy()).sum()))
    return Rung(size, mean(blocks.mean(0).cpu().numpy(), weight), whole)


def _extrapolated(log_w: Tensor, weight: np.ndarray) -> float:
    """Twice the bound of all draws less that of half of them: exact were the error c / K. Nowozin 2018."""
    whole, half = _block_means(log_w, len(log_w)).mean(0), _block_means(log_w, len(log_w) // 2).mean(0)
    return mean((2 * whole - half).cpu().numpy(), weight)
