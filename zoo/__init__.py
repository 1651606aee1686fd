"""zoo: a declarative model zoo for density estimation and clustering on your own tables, built on Pyro.

    import zoo
    estimator = zoo.fit("mixture", "wine.csv")
    comparison = zoo.compare("wine.csv")

Importing zoo changes no switch of Pyro or torch; the heavy modules are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.comparison import Comparison, compare
    from zoo.distil import distil
    from zoo.errors import UserError, ZooWarning
    from zoo.estimator import Estimator
    from zoo.registry import Registry
    from zoo.rows.rows import Rows
    from zoo.table.examples import example
    from zoo.table.infer import infer_schema
    from zoo.table.reader import read_table
    from zoo.table.schema import Schema
    from zoo.table.writer import write_table

_WHERE = {
    "Comparison": "zoo.comparison",
    "compare": "zoo.comparison",
    "distil": "zoo.distil",
    "Estimator": "zoo.estimator",
    "UserError": "zoo.errors",
    "ZooWarning": "zoo.errors",
    "Registry": "zoo.registry",
    "Rows": "zoo.rows.rows",
    "Schema": "zoo.table.schema",
    "example": "zoo.table.examples",
    "infer_schema": "zoo.table.infer",
    "read_table": "zoo.table.reader",
    "write_table": "zoo.table.writer",
}

__all__ = [
    "Comparison",
    "Estimator",
    "Registry",
    "Rows",
    "Schema",
    "UserError",
    "ZooWarning",
    "compare",
    "distil",
    "example",
    "fit",
    "infer_schema",
    "load",
    "models",
    "read_table",
    "write_table",
]


def fit(model: str, table: Any, **options: Any) -> Estimator:
    """Fit one model to a table (anything that `read_table` reads: a frame, a path, a URL): an `Estimator`.

    Options that `Estimator` knows (schema, kinds, ignore, given, group, weight, seed, device, time_budget,
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
