"""zoo: a declarative model zoo for density estimation and clustering on your own tables, built on Pyro.

    import zoo
    estimator = zoo.fit("mixture", "wine.csv")
    comparison = zoo.compare("wine.csv")

Importing zoo changes no switch of Pyro or torch; the heavy modules are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.between import difference
    from zoo.comparison import Comparison, compare
    from zoo.distilled import distil
    from zoo.errors import UserError, ZooWarning
    from zoo.estimator import Estimator
    from zoo.evaluate.disentanglement import disentanglement
    from zoo.evaluate.quality.judge import Quality
    from zoo.laws import check
    from zoo.recovery import recover
    from zoo.registry import Registry
    from zoo.rows.rows import Rows
    from zoo.simulation import sbc
    from zoo.stacks import stack
    from zoo.table.examples import example
    from zoo.table.infer import infer_schema
    from zoo.table.reader import read_table
    from zoo.table.schema import Schema
    from zoo.table.writer import write_table

_WHERE = {
    "Comparison": "zoo.comparison",
    "check": "zoo.laws",
    "compare": "zoo.comparison",
    "difference": "zoo.between",
    "disentanglement": "zoo.evaluate.disentanglement",
    "distil": "zoo.distilled",
    "stack": "zoo.stacks",
    "Estimator": "zoo.estimator",
    "Quality": "zoo.evaluate.quality.judge",
    "UserError": "zoo.errors",
    "ZooWarning": "zoo.errors",
    "Registry": "zoo.registry",
    "Rows": "zoo.rows.rows",
    "Schema": "zoo.table.schema",
    "example": "zoo.table.examples",
    "infer_schema": "zoo.table.infer",
    "recover": "zoo.recovery",
    "sbc": "zoo.simulation",
    "read_table": "zoo.table.reader",
    "write_table": "zoo.table.writer",
}

__all__ = [
    "Comparison",
    "Estimator",
    "Quality",
    "Registry",
    "Rows",
    "Schema",
    "UserError",
    "ZooWarning",
    "check",
    "compare",
    "difference",
    "disentanglement",
    "distil",
    "example",
    "fit",
    "infer_schema",
    "judge",
    "load",
    "models",
    "read_table",
    "recover",
    "sbc",
    "stack",
    "write_table",
]


def fit(model: str, table: Any, **options: Any) -> Estimator:
    """Fit one model to a table (anything that `read_table` reads: a frame, a path, a URL): an `Estimator`.

    Options that `Estimator` knows (schema, kinds, units, ignore, given, group, weight, seed, device, time_budget,
    models_file) go to it; every other one is a setting of the model: zoo.fit("vae", df, dim=4). A dotted setting goes
    in `settings={"fit.epochs": 20}`.
    """
    from zoo.arguments import pairs_in
    from zoo.estimator import Estimator

    known = set(Estimator().get_params()) - {"model", "settings"}
    settings = {
        **pairs_in(options.pop("settings", None), "settings"),
        **{k: options.pop(k) for k in list(options) if k not in known},
    }
    return Estimator(model, settings=settings, **options).fit(table)


def judge(
    real: Any,
    synthetic: Any,
    *,
    train: Any = None,
    target: str | None = None,
    modes: Any = None,
    seed: int = 0,
    schema: Any = None,
    **asked: Any,
) -> Quality:
    """Measure synthetic rows beside real ones: a `Quality`, with real rows and independent columns beside every figure.

    Tables are anything that `read_table` reads. train: the rows that the synthetic ones were made from; target: a
    column to predict from the others; modes: (centres, sigma) of numeric columns, where modes are known; schema, or
    kinds, units, ignore, given, group, weight: what each column is, as for `fit`.
    """
    from zoo.arguments import seed_in
    from zoo.errors import quiet
    from zoo.evaluate.quality.judge import judge as judged
    from zoo.table.infer import schema_for
    from zoo.table.reader import read_table

    frame, made = read_table(real), read_table(synthetic)
    known = None if train is None else read_table(train)
    if known is None:
        whole = frame
    else:
        import pandas as pd

        whole = pd.concat([known, frame], ignore_index=True)
    found = schema_for(whole, schema, **asked)
    with quiet():  # what is to be said of these cells was said of the whole table
        return judged(frame, made, found, train=known, target=target, modes=modes, seed=seed_in(seed))


def load(path: Any, **options: Any) -> Estimator:
    """A fitted estimator from a run folder; of a comparison, its best model. Executes nothing from the folder."""
    from zoo.estimator import Estimator

    return Estimator.load(path, **options)


def models(models_file: str | None = None) -> Registry:
    """The registry: names to recipes."""
    from zoo.registry import Registry

    return Registry.load(models_file)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
