"""Fitted results as ArviZ reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from zoo.evaluate import posterior
from zoo.evaluate.likelihood import score
from zoo.log_weights import log_weights
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model


def to_datatree(model: Model, frame: pd.DataFrame, rows: Rows, draws: int = 100, seed: int = 0) -> Any:
    """An xarray DataTree of one chain of `draws` draws, on the rows given:

    posterior             latents of the guide (global ones, and the continuous ones of each row)
    log_likelihood        "row": log-likelihood of each row; the same number for every draw where no global latent is
                          drawn, else given each draw of the globals
    posterior_predictive  as many drawn rows, one variable a column: numbers in the table's units (times in days since
                          1970), levels as their index in the schema
    observed_data         the same columns as observed; NaN where missing

    Every variable of rows has the dimension `rows`, whose coordinate is the table's index.
    """
    from arviz_base import from_dict

    assert rows.cells is not None
    # xarray takes a slash for a path
    names = [name.replace("/", "∕") for name in model.schema.names]
    observed = _in_units(model, rows.cells.x).where(rows.cells.seen, torch.nan).cpu().numpy()
    latents: dict[str, list[np.ndarray]] = {}
    log_likelihood, predicted = [], []
    fixed = None if model.sites.globals else score(model, rows, seed=seed).log_likelihood
    with torch.no_grad(), scope(seed):
        for i in range(draws):
            w = log_weights(model.program, model.guide, rows)
            sites = samples(w.trace)
            for site in model.sites.latents:
                if site.name in w.guide or not site.row:
                    latents.setdefault(site.name, []).append(sites[site.name]["value"].cpu().numpy())
            log_likelihood.append(w.rows[0].cpu().numpy() if fixed is None else fixed)
            like = rows if model.schema.conditions else None
            predicted.append(_in_units(model, posterior.sample(model, rows.n, like, seed + i)).cpu().numpy())
    drawn = np.stack(predicted)[None]
    tree = {
        "log_likelihood": {"row": np.stack(log_likelihood)[None]},
        "posterior_predictive": {name: drawn[..., j] for j, name in enumerate(names)},
        "observed_data": {name: observed[:, j] for j, name in enumerate(names)},
    }
    if latents:
        tree = {"posterior": {name: np.stack(values)[None] for name, values in latents.items()}, **tree}
    attrs = {"/": {"inference_library": "zoo", "model": model.recipe.model, "measure": model.schema.measure}}
    by_row = [s.name for s in model.sites.latents if s.row and s.name in latents]
    return from_dict(
        tree,
        attrs=attrs,
        coords={"rows": list(range(rows.n)) if isinstance(frame.index, pd.MultiIndex) else frame.index.to_list()},
        dims={name: ["rows"] for name in ("row", *names, *by_row)},
    )


def _in_units(model: Model, x: torch.Tensor) -> torch.Tensor:
    """Rows (n, D) in codec units with their numbers in the table's."""
    n = len(model.schema.numeric)
    return torch.cat([model.codec.inverse(x[:, :n]), x[:, n:]], -1)
