"""A flow gains nothing by spiking on ties: rounding a column costs it what rounding takes, and no more.

A model fitted to rounded rows, and one fitted to the same rows before they were rounded, are scored on the rounded
rows by averages over their cells. The first may not be ahead by spiking; nor should it be far behind.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from zoo.errors import ZooWarning
from zoo.estimator import Estimator
from zoo.table.infer import infer_schema
from zoo.table.split import split

N = 3000


def smooth() -> pd.DataFrame:
    """Three continuous columns of a size that 0.1, 1 and 10 are sensible steps for."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 2))
    return pd.DataFrame(
        {
            "a": np.sin(2 * z[:, 0]) + 0.3 * z[:, 1],
            "b": 10 * z[:, 0] + 3 * rng.normal(size=N),
            "c": 100 * (z[:, 1] + 0.5 * z[:, 0] ** 2) + 20 * rng.normal(size=N),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nsf", "chain"])
@pytest.mark.parametrize("steps", [(0.1, 1.0, 10.0)])
def test_a_flow_does_not_gain_by_spiking(model: str, steps: tuple[float, ...]) -> None:
    """Within three paired standard errors, and a fiftieth of a nat for the noise of two fits."""
    frame = smooth()
    rounded = pd.DataFrame({name: np.round(frame[name] / s) * s for name, s in zip(frame, steps, strict=True)})
    schema = infer_schema(frame, kinds={"*": "continuous"})
    lattice = schema
    for name, s in zip(frame, steps, strict=True):
        lattice = lattice.with_column(name, step=s)
    parts = split(N, 0)
    options = {"settings": {"fit.steps": 1200}, "device": "cpu"}
    on_rounded = Estimator(model, **options).fit_parts(
        rounded.iloc[parts.train], rounded.iloc[parts.validation], lattice
    )
    on_smooth = Estimator(model, **options).fit_parts(frame.iloc[parts.train], frame.iloc[parts.validation], schema)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        held = rounded.iloc[parts.test]
        mine = on_rounded.log_likelihood(held, 200).log_likelihood
        other = by_cells(on_smooth, held, lattice)
    difference = mine - other
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert abs(difference.mean()) < 3 * error + 0.02


def by_cells(estimator: Estimator, frame: pd.DataFrame, lattice: object, draws: int = 400) -> np.ndarray:
    """Log of the average density over the cell of each row, by uniform draws inside it."""
    rng = np.random.default_rng(1)
    steps = np.array([lattice[name].step for name in frame])  # type: ignore[index]
    logs = []
    for _ in range(draws):
        inside = frame + (rng.random(frame.shape) - 0.5) * steps
        logs.append(estimator.score_samples(inside))
    return np.logaddexp.reduce(logs, axis=0) - np.log(draws)
