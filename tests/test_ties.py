"""A flow gains nothing by spiking on ties: rounding a column costs it what rounding takes, and no more.

A model fitted to rounded rows, and one fitted to the same rows before they were rounded, are scored on the rounded
rows by averages over their cells. The first may not be ahead by spiking; nor should it be far behind.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from zoo.em import fit as em
from zoo.errors import ZooWarning
from zoo.estimator import Estimator
from zoo.table.infer import infer_schema
from zoo.table.split import split
from zoo.terminal import sentence

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
    options = {"settings": {"fit.steps": 500}, "device": "cpu"}
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


def by_cells(estimator: Estimator, frame: pd.DataFrame, lattice: object, draws: int = 200) -> np.ndarray:
    """Log of the average density over the cell of each row, by uniform draws inside it."""
    rng = np.random.default_rng(1)
    steps = np.array([lattice[name].step for name in frame])  # type: ignore[index]
    logs = []
    for _ in range(draws):
        inside = frame + (rng.random(frame.shape) - 0.5) * steps
        logs.append(estimator.score_samples(inside))
    return np.logaddexp.reduce(logs, axis=0) - np.log(draws)


def test_a_dense_bound_shows_how_loose_it_is() -> None:
    """Rounded columns under a joint Gaussian, beside the masses of their cells by Genz's integral.

    The bound's mean is below the truth but for its Monte Carlo error (4 of them: once in 30,000 seeds), one particle is
    loosest, and the gap that is shown is what the bound has gained on it.
    """
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]], size=400)
    frame = pd.DataFrame(np.round(x), columns=["a", "b"])
    schema = infer_schema(frame, kinds={"*": "continuous"}).with_column("a", step=1.0).with_column("b", step=1.0)
    fitted = Estimator("gaussian", device="cpu").fit_parts(frame, None, schema)
    codec, program = fitted.model_.codec, fitted.model_.program
    scale = codec.scale.numpy()
    tril = em.tril(program.spread.detach()).numpy() * scale[:, None]
    normal = multivariate_normal(program.loc.detach().numpy() * scale + codec.loc.numpy(), tril @ tril.T)
    cells = frame.drop_duplicates().to_numpy()
    mass = {tuple(c): float(normal.cdf(c + 0.5, lower_limit=c - 0.5)) for c in cells}
    truth = np.log([mass[tuple(c)] for c in frame.to_numpy()])
    found = {k: fitted.log_likelihood(frame, k) for k in (1, 10, 1000)}
    loose = {k: float(truth.mean()) - scores.mean for k, scores in found.items()}
    assert found[10].bound == "lower"
    for k in (10, 1000):
        assert loose[k] > -4 * found[k].monte_carlo_error
    assert loose[1] > loose[10] > loose[1000] - 4 * found[1000].monte_carlo_error
    assert loose[1000] < 0.01
    shown, error = found[1000].to_json()["gap"], found[1000].monte_carlo_error
    assert shown == pytest.approx(float(truth.mean()) - found[1000].to_json()["elbo"], abs=0.01 + 4 * error)
    assert shown > 0.05
    said = sentence(found[1000].to_json())
    assert "at least" in said
    assert "1000 particles" in said
    assert f"ELBO {found[1000].to_json()['elbo']:.3f}" in said
