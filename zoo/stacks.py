"""One model of several finished ones: the stack of a comparison as a run like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo import run
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate.stacking import LEAST
from zoo.fitting.choose import Outcome
from zoo.fitting.loop import Fitted
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.targets import Spec

NAME = "stack"
KEPT = ("program", "guide", "objective", "fit")


@dataclass(frozen=True)
class Made:
    """A stack of a run folder, the weights that it has, and its held-out score in the comparison."""

    estimator: Estimator
    weights: dict[str, float]
    score: dict[str, Any] | None = None


def stack(path: str | Path, models_file: str | None = None, device: str = "auto") -> Made:
    """The mixture of the models of a comparison's run folder, by the weights that it found for them."""
    path = Path(path)
    manifest = run.read_manifest(path, "comparison")
    with run.reading(path):
        ranking = run.read_ranking(path, manifest)
        found = ranking.get("stacking")
        if not found:
            raise UserError(
                f"the comparison in {str(path)!r} has no stack: it has fewer than two models with a likelihood, "
                "or an earlier zoo made it",
                "compare more models",
            )
        weights = {str(name): float(w) for name, w in found["weights"].items() if w >= LEAST}
        folders = {name: run.model_folder(path, name) for name in weights}
    estimators = {name: Estimator.load(folder, models_file, "cpu") for name, folder in folders.items()}
    made = mix(estimators, weights, Registry.load(models_file), device)
    measured = {"rows": ranking["rows"]["test"], "measure": made.estimator.schema_.measure}
    score = {key: found.get(key) for key in ("log_likelihood", "standard_error", "bound")} | measured
    return Made(made.estimator, made.weights, score)


def mix(
    estimators: Mapping[str, Estimator], weights: Mapping[str, float], registry: Registry, device: str = "auto"
) -> Made:
    """The mixture of fitted models, by weights; those of next to no weight are left out."""
    kept = {name: float(w) for name, w in weights.items() if w >= LEAST}
    total = sum(kept.values())
    if not kept:
        raise UserError("a stack needs at least one model with a weight")
    kept = {name: w / total for name, w in kept.items()}
    parts = {name: estimators[name].model_ for name in kept}
    first = next(iter(parts.values()))
    for name, part in parts.items():
        if not _alike(first, part):
            raise UserError(f"{name!r} was fitted in other units than the rest", "stack models of one comparison")
    tables = {name: {k: v for k, v in part.recipe.to_table().items() if k in KEPT} for name, part in parts.items()}
    recipe = Recipe(
        NAME,
        Spec(NAME, {"weights": kept, "models": tables}),
        summary=f"The mixture of {len(kept)} models: {', '.join(kept)}",
        reference="Yao, Vehtari, Simpson & Gelman 2018",
        folder=registry.folder,
    )
    model = Model(recipe, Codec(first.schema))
    with torch.no_grad():
        model.codec.load_state_dict(first.codec.state_dict())
        for own, part in zip(model.program.models, parts.values(), strict=True):
            own.load_state_dict(part.state_dict())
    some = next(iter(estimators.values()))
    made = Estimator(NAME, schema=first.schema, seed=some.seed, device=device)
    fitted = Fitted(stopped="models that were finished, weighed by rows that had not fitted them")
    made._take(Outcome(model, fitted), max(estimators[name].n_train_ for name in kept))
    made.reading_ = some.reading_
    return Made(made, kept)


def _alike(one: Model, other: Model) -> bool:
    """Whether two models see a table as the same numbers."""
    ours, theirs = one.codec.state_dict(), other.codec.state_dict()
    alike = one.schema == other.schema and ours.keys() == theirs.keys()
    return alike and all(torch.equal(ours[k].cpu(), theirs[k].cpu()) for k in ours)
