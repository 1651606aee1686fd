"""Draws of missing cells: uniform ranks where the model is right, and put right where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from test_cli import worked, zoo

from zoo.estimator import Estimator
from zoo.evaluate.calibration import _moved
from zoo.scope import scope

N, DRAWS = 900, 40


def holed(noise: np.ndarray, rounded: bool = False) -> tuple[pd.DataFrame, pd.Series]:
    """a and b = a + noise, a third of b hidden; what was hidden."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=N)})
    frame["b"] = (frame["a"] + noise).round(1) if rounded else frame["a"] + noise
    hidden = rng.random(N) < 1 / 3
    return frame.assign(b=frame["b"].mask(hidden)), frame["b"][hidden]


def uniform(draws: list[pd.DataFrame], truth: pd.Series) -> float:
    """p-value of the randomised ranks of the truth among its draws being uniform."""
    drawn = np.stack([one.loc[truth.index, "b"] for one in draws])
    below, ties = (drawn < truth.to_numpy() - 1e-9).sum(0), (np.abs(drawn - truth.to_numpy()) < 1e-9).sum(0)
    rank = (below + np.random.default_rng(1).random(len(truth)) * (ties + 1)) / (DRAWS + 1)
    return float(stats.kstest(rank, "uniform").pvalue)


@pytest.mark.parametrize("rounded", [False, True])
def test_a_right_model_draws_uniform_ranks(rounded: bool) -> None:
    """One Gaussian, on a lattice or not, drawn as it is. Failure rate 1e-4 each."""
    frame, truth = holed(0.5 * np.random.default_rng(2).normal(size=N), rounded)
    model = Estimator("gaussian", device="cpu").fit(frame)
    assert uniform(model.impute(frame, draws=DRAWS), truth) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [False, True])
def test_draws_of_a_wrong_model_are_put_right(rounded: bool) -> None:
    """Noise that is narrow in most rows and wide in some, under one Gaussian: its draws are too wide by far.

    Calibrated ranks are uniform but for the error of 600 known ones, which the test does not know of: the statistic
    is larger by a fifth, the failure rate 3e-3 at a p-value of 1e-4 at the most.
    """
    rng = np.random.default_rng(2)
    frame, truth = holed(np.where(rng.random(N) < 0.1, 3.0, 0.1) * rng.normal(size=N), rounded)
    model = Estimator("gaussian", device="cpu").fit(frame)
    assert uniform(model.impute(frame, draws=DRAWS), truth) < 1e-8
    draws = model.impute(frame, draws=DRAWS, calibrate=True)
    assert uniform(draws, truth) > 1e-4
    seen = frame["b"].notna()
    for one in draws:
        assert one["a"].equals(frame["a"])
        assert one.loc[seen, "b"].equals(frame.loc[seen, "b"])
        if rounded:
            np.testing.assert_allclose(one["b"], one["b"].round(1), atol=1e-9)
    plain, guess = model.impute(frame, spread=True)[1], model.impute(frame, spread=True, calibrate=True)[1]
    narrow = guess["b"].median() / plain["b"].median()
    assert 0.2 < narrow < 0.95  # the middle of the draws is narrower, their ends stay


def test_the_command_line_gives_what_python_gives(tmp_path: Path) -> None:
    frame = holed(0.5 * np.random.default_rng(2).normal(size=N))[0].head(60)
    frame.to_csv(tmp_path / "t.csv", index=False)
    Estimator("gaussian", device="cpu").fit(frame).save(tmp_path / "run")
    worked(zoo("impute", tmp_path / "run", tmp_path / "t.csv", "--draws", 2, "--calibrate", "-o", tmp_path / "d.csv"))
    expected = Estimator.load(tmp_path / "run").impute(tmp_path / "t.csv", draws=2, calibrate=True)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "d.csv")["b"], pd.concat(expected)["b"], rtol=1e-12)


def test_right_ranks_move_nothing() -> None:
    """Uniform known ranks leave every draw within two places of its own, each cell by itself."""
    with scope(0):
        drawn = torch.randn(100, 30, dtype=torch.float64)
        moved = _moved(drawn, (torch.arange(5000, dtype=torch.float64) + 0.5) / 5000)
    place = drawn.argsort(0).argsort(0)
    ordered = drawn.sort(0).values
    found = torch.stack(
        [torch.searchsorted(ordered[:, i].contiguous(), moved[:, i].contiguous()) for i in range(30)], 1
    )
    assert int((found - place).abs().max()) <= 2


def test_draws_keep_their_order() -> None:
    """Skewed ranks move all draws of a cell one way, and leave their order."""
    with scope(0):
        drawn = torch.randn(100, 30, dtype=torch.float64)
        moved = _moved(drawn, torch.rand(5000, dtype=torch.float64).square())
    order = drawn.argsort(0)
    assert (moved.gather(0, order).diff(dim=0) >= 0).all()
    assert (moved.median(0).values < drawn.median(0).values).all()
