"""A program made of whole models: their mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import Scores, k_hats, loosest, score
from zoo.evaluate.stacking import stacked
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.rows.rows import Rows
from zoo.shared import worst
from zoo.table.codec import Codec
from zoo.table.schema import Schema

COUNTS = 0.1
"""Share of a row's density from which a model's weights count in the row's k-hat."""


class Stack(nn.Module):
    """m ~ Categorical(weights);  row ~ model m

    Each model is whole, with a guide and likelihoods of its own, and finished: nothing here is fitted. The mixture of
    lower bounds is a lower bound, since log sum w exp(bound) rises with every bound; with importance weights too, whose
    mean is right for each model and so for the mixture, by Jensen. Missing cells are summed out as each model does it.

    models   a recipe for each, by name
    weights  a number for each, of sum one
    """

    def __init__(
        self, schema: Schema, models: Mapping[str, Any] | None = None, weights: Mapping[str, float] | None = None
    ):
        super().__init__()
        recipes: Mapping[str, Recipe] = models or {}
        w = np.array([(weights or {}).get(name, np.nan) for name in recipes])
        if not recipes or set(recipes) != set(weights or {}) or not (w > 0).all() or abs(w.sum() - 1) > 1e-6:
            raise UserError("a stack needs models, and for each a weight above 0, of sum one", "`zoo stack` makes one")
        self.names, self.weights = list(recipes), w / w.sum()
        codec = Codec(schema)
        self.models = nn.ModuleList(Model(recipe, codec) for recipe in recipes.values())

    @property
    def pattern_wise(self) -> bool:
        return any(model.pattern_wise for model in self._models)

    @property
    def _models(self) -> list[Model]:
        return list(self.models)  # type: ignore[arg-type]

    def bound(self, complete: bool) -> str:
        return loosest(model.bound(complete) for model in self._models)

    # ---- likelihood

    def score_rows(
        self, rows: Rows, particles: int | None = None, seed: int = 0, seconds: float | None = None
    ) -> Scores:
        """The number of each row, with what is unsure about it by the share that each model has in its density."""
        late = None if seconds is None else seconds / len(self.weights)
        each = [score(model, _of(model, rows), particles, seed, late) for model in self._models]
        log_p = np.stack([one.log_likelihood for one in each])
        mixed = stacked(log_p, self.weights)
        share = self._shares(log_p)
        shapes = [np.where(of[: len(one)] >= COUNTS, one, 0.0) for one, of in zip(k_hats(each), share, strict=True)]
        return replace(
            each[0],
            log_likelihood=mixed,
            elbo=stacked(np.stack([one.elbo for one in each]), self.weights),
            monte_carlo=np.sqrt(np.square(share * np.stack([one.monte_carlo for one in each])).sum(0)),
            k_hat=np.max(shapes, 0),
            bound=loosest(one.bound for one in each),
            particles=max(one.particles for one in each),
            shared=worst(one.shared for one in each),
        )

    def log_prob(self, rows: Rows, particles: int) -> Tensor:
        """The number of each row (1, n)."""
        found = self.score_rows(rows, particles, int(torch.randint(2**31, ())))
        return torch.from_numpy(found.log_likelihood)[None].to(rows.given.device)

    def _shares(self, log_p: np.ndarray) -> np.ndarray:
        """p(model | row) (M, n); a row that is impossible under all has the weights themselves."""
        with np.errstate(invalid="ignore"):
            log = log_p + np.log(self.weights)[:, None]
            share = np.exp(log - log.max(0))
        share = np.where(np.isfinite(share).all(0), share, self.weights[:, None])
        out: np.ndarray = share / share.sum(0)
        return out

    # ---- draws

    def sample(self, rows: Rows) -> Tensor:
        """A draw of each row (n, D), of a model drawn by the weights."""
        device = rows.given.device
        pick = torch.multinomial(torch.from_numpy(self.weights), rows.n, replacement=True).to(device)
        x = torch.zeros(rows.n, len(rows.schema.modelled), dtype=torch.float64, device=device)
        for m, model in enumerate(self._models):
            index = (pick == m).nonzero()[:, 0]
            if len(index):
                mine = _of(model, rows.take(index))
                x[index] = posterior.sample(model, len(index), mine, _seed()).to(x)
        return x

    def complete(self, rows: Rows, draws: int) -> Tensor:
        """Draws of each row given its seen cells (draws, n, D): of a model drawn by what those cells say of it."""
        log_p = np.stack([score(m, _of(m, rows), None, _seed()).log_likelihood for m in self._models])
        share = torch.from_numpy(self._shares(log_p)).to(rows.given.device)
        pick = torch.multinomial(share.T, draws, replacement=True).T
        x = torch.zeros(draws, rows.n, len(rows.schema.modelled), dtype=torch.float64, device=rows.given.device)
        for m, model in enumerate(self._models):
            index = (pick == m).any(0).nonzero()[:, 0]
            if len(index):
                drawn = posterior.complete(model, _of(model, rows.take(index)), draws, _seed()).to(x)
                x[:, index] = torch.where((pick[:, index] == m)[..., None], drawn, x[:, index])
        return x


def _of(model: Model, rows: Rows) -> Rows:
    """The rows with the likelihoods of one of the models."""
    return replace(rows, codec=model.codec, heads=model.heads)


def _seed() -> int:
    return int(torch.randint(2**31, ()))
