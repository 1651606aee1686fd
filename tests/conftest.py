"""Small tables, models fitted once for the whole session, and a guard on every global switch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from threadpoolctl import threadpool_limits

from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.schema import Schema

# one thread: small tensors, and the same order of summation everywhere
torch.set_num_threads(1)
threadpool_limits(1)  # numpy's, which else wait for each other's workers


def switches() -> dict[str, Any]:
    """Everything global that zoo could leave changed."""
    return {
        "pyro settings": pyro.settings.get(),
        "pyro parameters": sorted(pyro.get_param_store().keys()),
        "pyro handlers": len(pyro.poutine.runtime._PYRO_STACK),
        "torch validation": torch.distributions.Distribution._validate_args,
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "numpy errors": np.geterr(),
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of one model next to one another: a worker that takes a run of them fits that model once."""
    named = [i for i, item in enumerate(items) if "fitted" in getattr(item, "fixturenames", ()) and _model(item)]
    for i, item in zip(named, sorted((items[i] for i in named), key=_model), strict=True):
        items[i] = item


def _model(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("name", "")) if callspec else ""


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """Seed every generator before a test, and fail one that leaves a switch changed."""
    pyro.set_rng_seed(0)  # random, numpy and torch
    before = switches()
    yield
    after = switches()
    changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert not changed, f"the test left global state changed (before, after): {changed}"


# ---------------------------------------------------------------------------------------------------------- tables


def _continuous(n: int = 200, d: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, d)) @ (np.eye(d) + 0.6 * np.tri(d, k=-1)).T
    z[:, 0] = np.exp(0.4 * z[:, 0])
    z[:, 1] += 0.5 * z[:, 0] ** 2
    return pd.DataFrame(z * [3.0, 0.2, 40.0][:d] + [-5.0, -2.0, 10.0][:d], columns=["a", "b", "c"][:d])


def _mixed(n: int = 200, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    k = rng.integers(3, size=n)
    centre = np.array([-2.0, 0.0, 2.5])[k]
    colours = np.array(["red", "green", "blue", "grün"], dtype=object)
    frame = pd.DataFrame(
        {
            "height": centre + 0.7 * rng.normal(size=n),
            "count": rng.poisson(3 + 2 * k).astype(float),
            "length": np.round(5 + centre + rng.normal(size=n), 1),
            "smoker": (rng.random(n) < np.array([0.2, 0.5, 0.8])[k]).astype(float),
            "colour": colours[(k + (rng.random(n) < 0.3)) % 4],
        }
    )
    hidden = rng.random(frame.shape) < missing
    return frame.where(~hidden)


def _levels(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    k = rng.integers(2, size=n)
    letter = np.where(rng.random(n) < 0.6, k, rng.integers(3, size=n))
    return pd.DataFrame(
        {"answer": np.where(rng.random(n) < 0.2 + 0.5 * k, "yes", "no"), "letter": np.array(["x", "y", "z"])[letter]}
    )


@pytest.fixture(scope="session")
def continuous() -> pd.DataFrame:
    """200 x 3 correlated, skewed floats without ties."""
    return _continuous()


@pytest.fixture(scope="session")
def pair() -> pd.DataFrame:
    """200 x 2 of the same kind: a density that a grid can integrate."""
    return _continuous(d=2)


@pytest.fixture(scope="session")
def complete_mixed() -> pd.DataFrame:
    """200 x 5: a float, an integer, one rounded to 0.1, a binary column, four levels; three clusters."""
    return _mixed()


@pytest.fixture(scope="session")
def mixed() -> pd.DataFrame:
    """The same with 15% of the cells missing."""
    return _mixed(missing=0.15)


@pytest.fixture(scope="session")
def levels() -> pd.DataFrame:
    """200 x 2 without a number: binary, and three levels."""
    return _levels()


@pytest.fixture(scope="session")
def spiked() -> pd.DataFrame:
    """300 x 2: prices on a lattice of 50, half of them one of three, and a number beside them."""
    rng = np.random.default_rng(5)
    price = np.where(rng.random(300) < 0.5, rng.choice([500, 1000, 1500], 300), 50 * rng.poisson(20, 300))
    return pd.DataFrame({"price": price, "weight": price / 500 + rng.normal(size=300)})


@pytest.fixture(scope="session")
def tables(
    continuous: pd.DataFrame,
    pair: pd.DataFrame,
    mixed: pd.DataFrame,
    complete_mixed: pd.DataFrame,
    levels: pd.DataFrame,
    spiked: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    return {
        "continuous": continuous,
        "pair": pair,
        "mixed": mixed,
        "complete_mixed": complete_mixed,
        "levels": levels,
        "spiked": spiked,
    }


# ---------------------------------------------------------------------------------------------------------- models


def small(name: str) -> dict[str, Any]:
    """The settings that keep an entry quick: its `small` table, and the first choice of every grid."""
    recipe = Registry.load()[name].small()
    return {**Registry.load()[name].small_sets, **{key: choices[0] for key, choices in recipe.grid().items()}}


def quiet_schema(frame: pd.DataFrame, **options: Any) -> Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return infer_schema(frame, **options)


@pytest.fixture(scope="session")
def build() -> Callable[..., Model]:
    """build(name or recipe, frame, schema=, codec=, **settings): a small model of the frame's columns, not fitted.

    Settings are dotted (`**{"fit.seed": 1}`). A pair of model and table that is not legal skips the test.
    """

    def _build(
        model: str | Recipe,
        frame: pd.DataFrame,
        schema: Schema | None = None,
        codec: Codec | None = None,
        **settings: Any,
    ) -> Model:
        recipe = model if isinstance(model, Recipe) else Registry.load()[model].with_settings(small(model))
        recipe = recipe.with_settings(settings)
        codec = codec or Codec.fit(schema or quiet_schema(frame), frame)
        return _legal(lambda: Model(recipe, codec))

    return _build


@pytest.fixture(scope="session")
def estimator(tables: dict[str, pd.DataFrame], build: Callable[..., Model]) -> Callable[..., Estimator]:
    """estimator(name, table name, seed=0): fitted to the whole table, once in a session. Not to be changed."""

    @functools.cache
    def _estimator(name: str, table: str, seed: int) -> Estimator:
        frame = tables[table]
        settings = {**small(name), "fit.seed": seed}
        return Estimator(name, settings=settings, seed=seed, device="cpu").fit_parts(frame, None, quiet_schema(frame))

    def get(name: str, table: str, seed: int = 0) -> Estimator:
        build(name, tables[table])
        return _estimator(name, table, seed)

    return get


@pytest.fixture(scope="session")
def fitted(estimator: Callable[..., Estimator]) -> Callable[..., Model]:
    """fitted(name, table name, seed=0): the model of that estimator."""
    return lambda name, table, seed=0: estimator(name, table, seed).model_


def _legal(make: Callable[[], Model]) -> Model:
    try:
        return make()
    except UserError as error:
        pytest.skip(f"not legal: {error}")
