"""Leave-one-out cross-validation of a model with a posterior over its parameters, from one fit.

    elpd_i = log p(y_i | y_-i) = log sum_s w_is p(y_i | theta_s),    w_is ~ 1 / p(y_i | theta_s)

for draws theta_s of the posterior. Draws of a guide q are of another density, and weigh p(theta_s, y) / q(theta_s)
besides. Weights are smoothed by a Pareto tail, whose shape k-hat says whether they are to be trusted.
Vehtari, Gelman & Gabry 2017; Magnusson, Andersen, Jonasson & Vehtari 2019; Vehtari et al. 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyro.poutine as poutine
import torch

from zoo.errors import UserError, quiet
from zoo.evaluate.likelihood import FEWEST_FOR_K_HAT, K_HAT_GOOD, NUMBERS, ROW_PARTICLES, mean, standard_error
from zoo.guides.globals import AUXILIARY
from zoo.log_weights import log_mean, log_weights
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.split import MIN_ROWS, split

if TYPE_CHECKING:
    from zoo.model import Bound, Model

DRAWS, PARTICLES = 1000, 32


@dataclass(frozen=True)
class LeaveOneOut:
    """Each row's log-density given all the others, nats in the table's units.

    row              (n,) log p(y_i | y_-i)
    in_sample        (n,) log p(y_i | y): the same with the row among those fitted
    k_hat            (n,) Pareto shape of each row's weights
    monte_carlo      standard error of elpd by chance in the draws
    guide_k_hat      Pareto shape of p(theta, y) / q(theta), which tells whether a guide's draws can stand for the
                     posterior's; none for a sampler's
    corrected        whether the weights hold that ratio: only where guide_k_hat is good
    positions        of these rows in the table that was given
    """

    row: np.ndarray
    in_sample: np.ndarray
    k_hat: np.ndarray
    weight: np.ndarray
    monte_carlo: float
    guide_k_hat: float | None
    corrected: bool
    draws: int
    positions: np.ndarray
    bound: Bound
    measure: str

    @property
    def elpd(self) -> float:
        """Of all rows together: their sum, as ArviZ has it."""
        return float((self.weight * self.row).sum())

    @property
    def standard_error(self) -> float:
        """Of the sum, over rows."""
        return standard_error(self.row, self.weight) * float(self.weight.sum())

    @property
    def p_loo(self) -> float:
        """How many parameters the fit uses, by what a row gains from having been fitted."""
        return float((self.weight * (self.in_sample - self.row)).sum())

    @property
    def threshold(self) -> float:
        """k-hat above which so many draws are too few for a row."""
        return min(1 - 1 / math.log10(self.draws), K_HAT_GOOD)

    @property
    def unreliable(self) -> int:
        """Rows whose weights are not to be trusted."""
        return int((self.k_hat > self.threshold).sum())

    @property
    def trusted(self) -> bool:
        """Whether the draws are of the posterior, or made so, and no row's weights are bad."""
        return self.unreliable == 0 and (self.guide_k_hat is None or self.corrected)

    @property
    def sentence(self) -> str:
        """What may be claimed, in words."""
        n = len(self.row)
        per_row, error = mean(self.row, self.weight), standard_error(self.row, self.weight)
        said = f"leaving out each of {n} rows in turn: about {per_row:.3f} ± {error:.3f} nats per row"
        said += f" (elpd_loo {self.elpd:.1f} ± {self.standard_error:.1f}, p_loo {self.p_loo:.1f})"
        if self.guide_k_hat is not None:
            ratio = f"k-hat {self.guide_k_hat:.2f} of posterior over guide"
            if self.corrected:
                said += f"; corrected for the guide ({ratio})"
            else:
                said += (
                    f"; NOT corrected for the guide, which is too far from the posterior ({ratio}): this is what its "
                    "own draws say; take guide=multivariate, or guide=nuts"
                )
        if self.unreliable:
            said += f"; k-hat is above {self.threshold:.2f} on {self.unreliable} rows: fit without these to be sure"
        return said

    def to_frame(self, index: pd.Index) -> pd.DataFrame:
        """The numbers of each row as a table; index: of the table that was given."""
        values = {"elpd_loo": self.row, "log_likelihood": self.in_sample, "k_hat": self.k_hat}
        return pd.DataFrame(values, index=index[self.positions])

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self.row), "elpd_loo": self.elpd, "standard_error": self.standard_error, "p_loo": self.p_loo,
            "log_likelihood": mean(self.row, self.weight), "monte_carlo_error": self.monte_carlo,
            "k_hat": float(self.k_hat.max()), "unreliable": self.unreliable, "threshold": self.threshold,
            "guide_k_hat": self.guide_k_hat, "corrected": self.corrected, "trusted": self.trusted,
            "draws": self.draws, "bound": self.bound, "measure": self.measure, "sentence": self.sentence,
        }  # fmt: skip


def has_posterior(model: Model) -> None:
    """Refuse a model whose parameters are points."""
    name = f"model {model.recipe.model!r}"
    if not model.averages:
        what = "is a point: its parameters have no posterior to leave a row out of"
        raise UserError(f"{name} {what}", "fit one whose parameters have priors, as bayesian-gmm, with guide normal")


def leave_one_out(
    model: Model, rows: Rows, draws: int = DRAWS, seed: int = 0, positions: np.ndarray | None = None
) -> LeaveOneOut:
    """Of the rows that the model was fitted to. A sampler's own draws are all taken, whatever `draws` says."""
    has_posterior(model)
    sampled = getattr(model.guide, "sampled", None)
    if sampled is None and draws < FEWEST_FOR_K_HAT:
        raise UserError(f"draws={draws} are too few for a tail", f"give at least {FEWEST_FOR_K_HAT}")
    with torch.no_grad(), scope(seed):
        every = (
            sampled if sampled is not None else torch.stack([model.guide.posterior().sample() for _ in range(draws)])
        )
        found = [_under(model, rows, u) for u in every]
    log_p = np.stack([log for log, _ in found])
    weight = rows.weight.cpu().numpy()
    if sampled is not None:
        chains = int(getattr(model.guide, "chains", 1))
        guide_k, ratio, efficiency = None, np.zeros(len(log_p)), _efficiency(log_p, chains)
    else:
        ratio = log_p @ weight + np.array([apart for _, apart in found])
        guide_k, efficiency = float(smoothed(ratio[None])[1][0]), 1.0
    corrected = guide_k is not None and guide_k <= K_HAT_GOOD
    base = ratio if corrected else np.zeros(len(log_p))
    log_w, k = smoothed(base - log_p.T, efficiency)
    row = _log_sum(log_w + log_p.T)
    whole = smoothed(base[None])[0] if corrected else np.full((1, len(log_p)), -math.log(len(log_p)))
    # what one draw more or less would change: weights and densities enter by their product
    pull = np.exp(log_w) * (np.exp(log_p.T - row[:, None]) - 1)
    exact = model.bound_of_rows(rows.complete) == "exact"
    return LeaveOneOut(
        row,
        _log_sum(whole + log_p.T),
        k,
        weight,
        float(np.sqrt(np.square(weight @ pull).sum() / efficiency)),
        guide_k,
        corrected,
        len(log_p),
        np.arange(rows.n) if positions is None else positions,
        "estimate" if exact else model.bound(rows.complete),
        model.schema.measure,
    )


def _under(model: Model, rows: Rows, u: torch.Tensor) -> tuple[np.ndarray, float]:
    """At one draw of the parameters: log p(y_i | theta) of each row (n,), and log p(theta) - log q(theta)."""
    guide = poutine.condition(model.guide, data={AUXILIARY: u})
    k = 1 if model.bound_of_rows(rows.complete) == "exact" else PARTICLES
    chunk = max(1, min(ROW_PARTICLES, NUMBERS // max(1, rows.full)) // k)
    index = torch.arange(rows.n, device=rows.given.device)
    each = [log_weights(model.program, guide, rows.take(part), k) for part in index.split(chunk)]
    return torch.cat([log_mean(w.rows) for w in each]).cpu().numpy(), float(each[0].globals)


def smoothed(log_w: np.ndarray, efficiency: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-weights (n, draws) with the largest ones put on a Pareto tail, normalised over draws; its shapes (n,)."""
    from arviz_stats.base import array_stats

    with np.errstate(over="ignore"):  # one draw may outweigh all others by any factor
        out, k = array_stats.psislw(-log_w, r_eff=efficiency, axis=-1)
    return np.asarray(out), np.nan_to_num(np.atleast_1d(np.asarray(k, dtype=float)), nan=np.inf)


def _log_sum(log: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp.reduce(log, axis=1))


def _efficiency(log_p: np.ndarray, chains: int) -> float:
    """Independent draws that one of a chain is worth, for the densities of rows (draws, n): the median row's."""
    from arviz_stats.base import array_stats

    each = len(log_p) // chains
    density = np.exp(log_p - log_p.max(0))[: each * chains].reshape(chains, each, -1)
    worth = array_stats.ess(density, chain_axis=0, draw_axis=1, method="mean")
    return float(np.clip(np.nanmedian(worth) / (each * chains), 1e-3, 1.0))


def fitted_rows(frame: pd.DataFrame, codec: Codec, n_train: int, seed: int) -> np.ndarray:
    """Positions of the rows that a model was fitted to, in the table that it was fitted to, or in those rows alone.

    A fit sets rows aside; which, follows from the seed. That they are the same is seen by their means and spreads.
    """
    n = len(frame)
    tried = [np.arange(n)]
    if n >= MIN_ROWS:
        tried += [split(n, seed).train, split(n, seed, test=False).train]
    for positions in tried:
        if len(positions) == n_train and _same(codec, frame.iloc[positions]):
            return positions
    raise UserError(
        f"these {n} rows are not the table of the fit, in its order, nor the {n_train} rows of it that were fitted",
        "give the table that was fitted: a row that was not cannot be left out",
    )


def _same(codec: Codec, frame: pd.DataFrame) -> bool:
    """Whether a codec was made from these rows."""
    with quiet():
        other = Codec.fit(codec.schema, frame)
    ours, theirs = codec.state_dict(), other.state_dict()
    return all(torch.allclose(v.cpu().double(), theirs[k].double(), equal_nan=True) for k, v in ours.items())
