"""The scikit-learn face of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from zoo import run
from zoo.errors import UserError, nearest
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import Scores, score
from zoo.fitting.choose import Outcome, fit_recipe, pick_device
from zoo.fitting.loop import Fitted, Progress
from zoo.model import Model
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.table.cells import label, labels
from zoo.table.codec import Codec
from zoo.table.frames import has_names
from zoo.table.infer import infer_schema
from zoo.table.reader import read_table
from zoo.table.schema import Column, Schema
from zoo.table.split import split


class NotAble(UserError, AttributeError):
    """A verb that this model does not have: to scikit-learn a method that is not there, to people a line."""


class able:
    """A method that exists only where the model can do `verb`."""

    def __init__(self, verb: str):
        self.verb = verb

    def __call__(self, method: Callable[..., Any]) -> able:
        self.method, self.__doc__ = method, method.__doc__
        return self

    def __get__(self, estimator: Any, owner: Any = None) -> Any:
        if estimator is None:
            return self.method
        estimator._able(self.verb)
        return self.method.__get__(estimator, owner)


class Estimator(TransformerMixin, DensityMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """One model of the registry, fitted to a table.

    Parameters
    ----------
    model        name in the registry
    settings     settings changed, as `--set`: {"components": 5, "fit.epochs": 20}
    schema       what each column is; inferred from the table where it is None
    kinds        {glob: kind} that overrule the inference, e.g. {"*": "continuous"}
    ignore       globs of columns to leave out
    given        columns to condition upon
    group, weight  names of the group and the weight column
    seed         of every random choice
    device       "auto", "cpu" or "cuda"
    time_budget  seconds after which fitting stops with the best so far
    models_file  a models.toml of your own, beside the one in the working folder

    Attributes (after `fit`)
    ----------
    schema_, model_ (the torch module), fitted_ (what happened), choices_ (the curve of a setting chosen on validation
    rows), n_features_in_, feature_names_in_. Numbers are nats per row in the table's units; higher is better.
    """

    def __init__(
        self,
        model: str = "mixture",
        *,
        settings: Mapping[str, Any] | None = None,
        schema: Schema | None = None,
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        given: Sequence[str] = (),
        group: str | None = None,
        weight: str | None = None,
        seed: int = 0,
        device: str = "auto",
        time_budget: float | None = None,
        models_file: str | None = None,
    ):
        self.model = model
        self.settings = settings
        self.schema = schema
        self.kinds = kinds
        self.ignore = ignore
        self.given = given
        self.group = group
        self.weight = weight
        self.seed = seed
        self.device = device
        self.time_budget = time_budget
        self.models_file = models_file

    # ---- fitting

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, progress: Progress | None = None) -> Estimator:
        """Fit to a table: most rows fit, a tenth (a fifth below 2,000 rows) stops the fit and chooses settings."""
        frame, weight = read_table(X), self.weight
        names = list(frame.columns)
        if sample_weight is not None:
            weight = "sample_weight"
            if weight in names:
                raise UserError(f"the table has a column {weight!r} already", f"name it: weight={weight!r}")
            frame = frame.assign(sample_weight=np.asarray(sample_weight, dtype=float))
        parts = split(len(frame), self.seed, test=False)
        schema = self.schema or infer_schema(
            frame, kinds=self.kinds, ignore=self.ignore, given=self.given, group=self.group, weight=weight
        )
        train, validation = frame.iloc[parts.train], frame.iloc[parts.validation]
        self.fit_parts(train, validation, schema, progress=progress)
        self._fitted_on(names)
        return self

    def fit_parts(
        self,
        train: pd.DataFrame,
        validation: pd.DataFrame | None,
        schema: Schema,
        codec: Codec | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> Estimator:
        """Fit on rows that were parted already: what `zoo.compare` calls, so that all models see the same."""
        sets = {"fit.seed": self.seed, **(self.settings or {})}
        recipe = Registry.load(self.models_file).recipe(self.model, sets).check()
        codec = codec or Codec.fit(schema, train)
        if self.time_budget is not None and deadline is None:
            deadline = time.perf_counter() + self.time_budget
        device, _ = pick_device(self.device)
        held = None if validation is None else codec.encode(validation)
        outcome = fit_recipe(recipe, codec, codec.encode(train), held, device, deadline, progress)
        return self._take(outcome, len(train))

    def _take(self, outcome: Outcome, n_train: int) -> Estimator:
        self.model_: Model = outcome.model
        self.fitted_: Fitted = outcome.fitted
        self.choices_ = outcome.choices
        self.schema_ = outcome.model.schema
        self.n_train_ = n_train
        self._fitted_on([c.name for c in self.schema_.columns])
        return self

    def _fitted_on(self, names: list[str]) -> None:
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)

    # ---- likelihood

    def log_likelihood(self, X: Any, particles: int | None = None) -> Scores:
        """Log-likelihood of every row, with what kind of number it is and how sure it is."""
        if particles is not None and particles < 1:
            raise UserError(f"particles={particles}: expected at least 1")
        return score(self._fitted, self._rows(X), particles, self.seed)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood (or its bound) of each row (n,)."""
        return self.log_likelihood(X).log_likelihood

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood per row."""
        return self.log_likelihood(X).mean

    def elbo(self, X: Any) -> np.ndarray:
        """Evidence lower bound of each row (n,); equal to the log-likelihood where that is exact."""
        return self.log_likelihood(X).elbo

    # ---- latents

    @able("cluster")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each cluster (n, K), given the seen cells."""
        return posterior.cluster_probabilities(self._fitted, self._rows(X), self.seed).cpu().numpy()

    @able("cluster")
    def predict(self, X: Any) -> np.ndarray:
        """The most probable cluster of each row (n,)."""
        return self.predict_proba(X).argmax(1)

    @able("cluster")
    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """The most probable cluster of each row that was fitted (n,)."""
        return self.fit(X, y, **kwargs).predict(X)

    @able("embed")
    def transform(self, X: Any) -> np.ndarray:
        """Posterior mean of the continuous latents (n, dim)."""
        return posterior.embedding(self._fitted, self._rows(X), self.seed).cpu().numpy()

    @able("embed")
    def fit_transform(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """The embedding of the rows that were fitted (n, dim)."""
        return self.fit(X, y, **kwargs).transform(X)

    # ---- draws

    def sample(self, n_samples: int = 1, seed: int | None = None, given: Any = None) -> pd.DataFrame:
        """Rows drawn from the fitted density, in the table's units and dtypes.

        given: a table of the columns conditioned upon, cycled over the draws; needed where the model has such columns.
        """
        model = self._fitted
        like = None
        if self.schema_.given_columns or given is not None:
            like = self._given_rows(given)
        x = posterior.sample(model, n_samples, like, self.seed if seed is None else seed)
        return model.codec.decode(x)

    def _given_rows(self, given: Any) -> Rows:
        columns = [c.name for c in self.schema_.given_columns]
        if not columns:
            raise UserError(f"model {self.model!r} was fitted without given columns", "fit with given=[...] (--given)")
        if given is None:
            needs = f"this model is conditional: sampling needs values of {', '.join(columns)}"
            raise UserError(needs, f"give given= (--given '{columns[0]}=...')")
        frame = read_table(given)
        for column in self.schema_.given_columns:
            _check_given(frame, column)
        blank = pd.DataFrame({c.name: pd.Series([np.nan] * len(frame), dtype=object) for c in self.schema_.modelled})
        group = self.schema_.role("group")
        if group is not None and group.name not in frame:
            blank[group.name] = None
        extra = frame[[c for c in frame if c not in blank]].reset_index(drop=True)
        return self._fitted.rows(pd.concat([blank, extra], axis=1))

    def impute(self, X: Any, draws: int | None = None, particles: int = 100) -> Any:
        """The table with its missing cells filled in; index, columns and dtypes stay.

        With draws=None each missing number is the mean of 50 conditional draws (on its lattice) and each missing level
        the most frequent one; with draws=m, a list of m completed tables, each one draw.
        """
        if draws is not None and draws < 1:
            raise UserError(f"draws={draws}: expected at least 1")
        frame = read_table(X)
        rows = self._rows(X, frame)
        x = posterior.complete(self._fitted, rows, draws or 50, self.seed, particles)
        codec = self._fitted.codec
        if draws is not None:
            return [_fill(frame, codec.decode(one), rows) for one in x]
        n = len(self.schema_.numeric)
        centre = codec.forward(torch.stack([codec.inverse(one[:, :n]) for one in x]).mean(0))
        mode = x[:, :, n:].mode(0).values if x.shape[-1] > n else x[0, :, n:]
        return _fill(frame, codec.decode(torch.cat([centre, mode], -1)), rows)

    # ---- keeping

    def save(self, path: str | Path, **more: Any) -> Path:
        """Write a run folder; `more` goes into its manifest. `zoo.load` reads it without executing anything in it."""
        with run.new_folder(path) as folder:
            self.write(folder, **more)
        return Path(path)

    def write(self, folder: Path, **more: Any) -> None:
        """Write into a folder that is there."""
        model = self._fitted
        fit = {k: v for k, v in asdict(self.fitted_).items() if k != "history"}
        document = run.manifest(
            "model", self.seed, model=self.model, fit=fit, choices=self.choices_, n_train=self.n_train_, **more
        )
        run.write_model(folder, model, self.fitted_, document)

    @classmethod
    def load(cls, path: str | Path, models_file: str | None = None, device: str = "auto") -> Estimator:
        """A fitted estimator from a run folder (of a comparison: its best model)."""
        model, fitted, document = run.read_model(run.best_model(path), Registry.load(models_file))
        estimator = cls(document["model"], schema=model.schema, seed=document["seed"], device=device)
        model = model.to(pick_device(device)[0])
        return estimator._take(Outcome(model, fitted, document["choices"]), document["n_train"])

    def to_arviz(self, X: Any, draws: int = 100) -> Any:
        """An xarray DataTree with posterior, log_likelihood, posterior_predictive and observed_data of these rows."""
        from zoo.evaluate.arviz import to_datatree

        frame = read_table(X)
        return to_datatree(self._fitted, frame, self._rows(X, frame), draws, self.seed)

    # ---- inside

    @property
    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call `fit` first")
        return self.model_

    def _rows(self, X: Any, frame: pd.DataFrame | None = None) -> Rows:
        """The rows of a table, which was read already where its frame is given."""
        model = self._fitted
        frame = read_table(X) if frame is None else frame
        unnamed = not isinstance(X, str | Path) and not has_names(X)
        if unnamed and frame.shape[1] != self.n_features_in_:
            expected = f"Estimator is expecting {self.n_features_in_} features as input"
            raise UserError(f"X has {frame.shape[1]} features, but {expected}", "give the columns of the fit")
        return model.rows(frame)

    def _able(self, verb: str) -> None:
        from zoo.catalogue import able_to, can

        if not (verb in self.model_.verbs if hasattr(self, "model_") else can(self.model, verb, self.models_file)):
            others = ", ".join(able_to(verb, self.models_file))
            raise NotAble(f"model {self.model!r} cannot {verb}", f"models that can: {others}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags


def _check_given(frame: pd.DataFrame, column: Column) -> None:
    """Refuse values to draw at that the model knows nothing of: a column left out, or a level never seen."""
    if column.name not in frame:
        raise UserError(
            f"sampling needs a value of {column.name!r}, and got {', '.join(map(str, frame.columns))}", "give it too"
        )
    unknown = set() if column.is_number else set(labels(frame[column.name]).dropna()) - set(column.levels)
    if unknown:
        level = min(unknown)
        raise UserError(f"column {column.name!r} has no level {level!r} to draw at", nearest(level, column.levels))


def _fill(frame: pd.DataFrame, completed: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """`frame` with the cells that were not seen taken from `completed`."""
    assert rows.cells is not None
    out = frame.copy()
    seen = rows.cells.seen.cpu().numpy()
    for j, name in enumerate(rows.schema.names):
        hidden = ~seen[:, j]
        if hidden.any():
            drawn, where = completed[name].set_axis(out.index), pd.Series(hidden, index=out.index)
            number = rows.schema.modelled[j].is_number
            out[name] = drawn.where(where, out[name]) if number else _fill_levels(out[name], drawn, where)
    return out


def _fill_levels(column: pd.Series, drawn: pd.Series, where: pd.Series) -> pd.Series:
    """`column` with drawn levels as it spells them (1 for "1"); a level that it does not have comes as it is."""
    dtype = column.dtype
    present = dtype.categories if isinstance(dtype, pd.CategoricalDtype) else column.dropna().unique()
    own = {label(value): value for value in present}
    values = drawn[where].astype(object).map(lambda level: own.get(label(level), level))
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = pd.CategoricalDtype([*present, *(set(values) - set(present))], dtype.ordered)
    filled = column.astype(object)
    filled[where] = list(values)
    try:
        return filled.astype(dtype)
    except (TypeError, ValueError):
        return filled.infer_objects()
