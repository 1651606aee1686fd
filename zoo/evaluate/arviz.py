"""Fitted results as ArviZ reads them."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from zoo.errors import UserError, nearest
from zoo.evaluate import posterior
from zoo.evaluate.fixed import Fixed
from zoo.evaluate.likelihood import score
from zoo.log_weights import LogWeights, log_mean, log_weights
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model

PARTICLES = 32
"""Draws of a row's latents that integrate them out, where there is no closed form."""


def to_arviz(
    model: Model, frame: pd.DataFrame, rows: Rows, draws: int = 100, seed: int = 0, column: str | None = None
) -> Any:
    """`draws` draws on the rows given, as the ArviZ that is installed reads them (see `as_installed`):

    posterior             latents of the guide (global ones, and the continuous ones of each row)
    log_likelihood        "row": log-likelihood of each row given each draw of the global latents, row latents
                          integrated out; the same number for every draw where there are none
    posterior_predictive  as many drawn rows, of the same draws of the global latents, one variable a column: numbers in
                          the table's units (times in days since 1970), levels as their index in the schema
    observed_data         the same columns as observed; NaN where missing

    column: this one alone is predicted and observed, and "row" has its name: so ArviZ's leave-one-out predictive checks
    find the weights of its rows

    Every variable of rows has the dimension `rows`, whose coordinate is the table's index. Draws are one chain; of a
    sampler they are its own chains, thinned where it has more.
    """
    from arviz_base import from_dict

    assert rows.cells is not None
    # xarray takes a slash for a path
    names = [name.replace("/", "∕") for name in model.schema.names]
    observed = _in_units(model, rows.cells.x).where(rows.cells.seen, torch.nan).cpu().numpy()
    latents: dict[str, list[np.ndarray]] = {}
    log_likelihood, predicted = [], []
    fixed = None if model.sites.globals else score(model, rows, seed=seed).log_likelihood
    chains, at = _of_sampler(model, draws)
    with torch.no_grad(), scope(seed):
        for i, u in enumerate(at):
            # at one draw of the global latents everything that follows is of that draw
            view: Any = Fixed(model, u) if model.sites.globals else model
            w = log_weights(view.program, view.guide, rows)
            sites = samples(w.trace)
            for site in model.sites.latents:
                if site.name in w.guide or not site.row:
                    latents.setdefault(site.name, []).append(sites[site.name]["value"].cpu().numpy())
            log_likelihood.append(_of_rows(view, rows, w) if fixed is None else fixed)
            like = rows if model.schema.conditions else None
            predicted.append(_in_units(model, posterior.sample(view, rows.n, like, seed + i)).cpu().numpy())

    def chained(values: list[np.ndarray]) -> np.ndarray:
        return np.stack(values).reshape(chains, -1, *np.shape(values[0]))

    drawn = chained(predicted)
    kept = {name: j for j, name in enumerate(names) if column is None or model.schema.names[j] == column}
    if not kept:
        raise UserError(f"the model has no column {column!r}", nearest(str(column), model.schema.names))
    tree = {
        "log_likelihood": {"row" if column is None else next(iter(kept)): chained(log_likelihood)},
        "posterior_predictive": {name: drawn[..., j] for name, j in kept.items()},
        "observed_data": {name: observed[:, j] for name, j in kept.items()},
    }
    if latents:
        tree = {"posterior": {name: chained(values) for name, values in latents.items()}, **tree}
    attrs = {"/": {"inference_library": "zoo", "model": model.recipe.model, "measure": model.schema.measure}}
    by_row = [s.name for s in model.sites.latents if s.row and s.name in latents]
    made = from_dict(
        tree,
        attrs=attrs,
        coords={"rows": list(range(rows.n)) if isinstance(frame.index, pd.MultiIndex) else frame.index.to_list()},
        dims={name: ["rows"] for name in ("row", *names, *by_row)},
    )
    return as_installed(made)


def as_installed(tree: Any) -> Any:
    """What the functions of the ArviZ that is there take: from 1.0 on, and where only its parts are, an xarray
    DataTree; before, an InferenceData."""
    try:
        old = int(version("arviz").partition(".")[0]) < 1
    except PackageNotFoundError:
        old = False
    if not old:
        return tree
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what comes with its next version
        from arviz import InferenceData
    return InferenceData.from_datatree(tree)


def _of_sampler(model: Model, draws: int) -> tuple[int, list[torch.Tensor | None]]:
    """How many chains, and the draws of u to take, evenly apart in each; of no sampler: one chain of new draws."""
    sampled = getattr(model.guide, "sampled", None)
    if sampled is None:
        return 1, [None] * draws
    chains = int(getattr(model.guide, "chains", 1))
    chains = chains if len(sampled) % chains == 0 and draws >= chains else 1
    each = sampled.reshape(chains, -1, sampled.shape[-1])
    take = torch.linspace(0, each.shape[1] - 1, min(draws // chains, each.shape[1])).round().long()
    return chains, list(each[:, take].flatten(0, 1))


def _of_rows(view: Any, rows: Rows, w: LogWeights) -> np.ndarray:
    """Log-likelihood of each row (n,) under one draw of the global latents."""
    if view.bound(rows.complete) == "exact":
        return np.asarray(w.rows[0].cpu().numpy())
    return np.asarray(log_mean(log_weights(view.program, view.guide, rows, PARTICLES).rows).cpu().numpy())


def _in_units(model: Model, x: torch.Tensor) -> torch.Tensor:
    """Rows (n, D) in codec units with their numbers in the table's."""
    n = len(model.schema.numeric)
    return torch.cat([model.codec.inverse(x[:, :n]), x[:, n:]], -1)
