"""The scikit-learn face of a model."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from zoo import run
from zoo.arguments import names_in, pairs_in, seconds_in, seed_in, whole
from zoo.drawing import drawing
from zoo.errors import UserError, ZooWarning, nearest, quiet
from zoo.evaluate import posterior
from zoo.evaluate.annealed import STEPS
from zoo.evaluate.calibration import calibrated
from zoo.evaluate.card import BoundCard, bound_card
from zoo.evaluate.clusters import Clusters
from zoo.evaluate.fixed import draws_of_globals
from zoo.evaluate.imputation import best_guess
from zoo.evaluate.latents import decoded, held
from zoo.evaluate.leave_one_out import DRAWS, LeaveOneOut, fitted_rows, has_posterior, leave_one_out
from zoo.evaluate.likelihood import Scores, score
from zoo.evaluate.stability import Stability, stability
from zoo.evaluate.translation import translated
from zoo.evaluate.unusual import surprise, tail_probability
from zoo.fitting.choose import Outcome, chosen, fit_recipe, pick_device
from zoo.fitting.loop import Fitted, Progress
from zoo.fitting.source import Source, Streamed
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.table.check import check_parts
from zoo.table.codec import Codec, Encoded
from zoo.table.fill import filled
from zoo.table.frames import has_names
from zoo.table.given import given_table, warn_beyond, warn_unfilled, with_given
from zoo.table.infer import as_schema, schema_for
from zoo.table.origin import Origin
from zoo.table.reader import read_like, read_table
from zoo.table.schema import Column, Schema
from zoo.table.split import split
from zoo.table.stream import SOME, Stream, streamed

WEIGHT = "sample_weight"
SILENCE_ROWS = 2000
MERGED_ROWS, MERGED_VIEWS = 20_000, 20
"""Rows that say which components are one cluster, a fifth of them where the density is a bound; and draws of latents
that belong to no row, of many more by which rows are told their clusters."""


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
    schema       what each column is, or the path of that as TOML; inferred from the table where it is None
    kinds        {glob: kind} that overrule the inference, e.g. {"*": "continuous"}
    units        {glob: unit}: numbers of one unit share a scale, as pixels or intensities do, e.g. {"p*": "grey"}
    ignore       glob, or globs, of columns to leave out
    given        column, or columns, to condition upon
    group, weight  names of the group and the weight column
    seed         of every random choice: a whole number from 0 to 2**63 - 1
    device       "auto", "cpu" or "cuda"
    time_budget  seconds, or "90s", "10m", "1h", after which fitting stops with the best so far
    models_file  a models.toml of your own, beside the one in the working folder

    Attributes (after `fit`)
    ----------
    schema_, model_ (the torch module), fitted_ (what happened), choices_ (the curve of a setting chosen on validation
    rows), chosen_ (the settings chosen there), clusters_ (how components are merged, and the second best number of
    clusters), n_features_in_, feature_names_in_, reading_ (the options with which the table was read from a file, if
    any). Numbers are nats per row in the table's units; higher is better.
    """

    def __init__(
        self,
        model: str = "mixture",
        *,
        settings: Mapping[str, Any] | None = None,
        schema: Schema | str | Path | None = None,
        kinds: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        ignore: str | Sequence[str] = (),
        given: str | Sequence[str] = (),
        group: str | None = None,
        weight: str | None = None,
        seed: int = 0,
        device: str = "auto",
        time_budget: float | str | None = None,
        models_file: str | None = None,
    ):
        self.model = model
        self.settings = settings
        self.schema = schema
        self.kinds = kinds
        self.units = units
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
        """Fit to a table: most rows fit, a tenth (a fifth below 2,000 rows) stops the fit and chooses settings.

        A Parquet file or folder too large for memory is read part by part.
        """
        self._check_arguments()
        stream, weight, schema = streamed(X), self.weight, self.schema
        frame = read_table(X) if stream is None else stream.some(SOME, self.seed)
        names = list(frame.columns)
        if sample_weight is not None:
            if stream is not None:
                raise UserError("sample_weight cannot go with a table that is read part by part", "name its column")
            frame = _weighted(frame, sample_weight)
            if schema is None:
                weight = WEIGHT
            else:
                schema = as_schema(schema)
                schema = Schema(columns=(*schema.columns, Column(name=WEIGHT, kind="continuous", role="weight")))
        parts = split(len(frame), self.seed, test=False)
        roles = {"ignore": self.ignore, "given": self.given, "group": self.group, "weight": weight}
        asked = {"kinds": self.kinds, "units": self.units, **roles}
        schema = schema_for(frame, schema, **asked)
        check_parts(schema, frame, {"fit": parts.train, "choose": parts.validation})
        train, validation = frame.iloc[parts.train], frame.iloc[parts.validation]
        rest = None if stream is None else stream.leaving_out(validation.index.to_numpy())
        self.fit_parts(train, validation, schema, progress=progress, stream=rest)
        self._fitted_on(names, Origin.of(X))
        return self

    def _check_arguments(self) -> None:
        """Refuse arguments of the wrong type, and a model or settings that there are not, before a table is read."""
        seed_in(self.seed)
        seconds_in(self.time_budget)
        self._recipe()

    def _recipe(self) -> Recipe:
        sets = {"fit.seed": self.seed, **pairs_in(self.settings, "settings")}
        return Registry.load(self.models_file).recipe(self.model, sets).check()

    def fit_parts(
        self,
        train: pd.DataFrame,
        validation: pd.DataFrame | None,
        schema: Schema,
        codec: Codec | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
        stream: Stream | None = None,
        source: Callable[[Model], Source] | None = None,
    ) -> Estimator:
        """Fit on rows that were parted already: what `zoo.compare` calls, so that all models see the same.

        What is to be said of their cells was said of the whole table, in its own rows.
        stream: the table that `train` was drawn from, of which the last fit sees every row.
        source: of the batches of the last fit, if neither rows nor a stream are.
        """
        recipe, budget = self._recipe(), seconds_in(self.time_budget)
        if budget is not None and deadline is None:
            deadline = time.perf_counter() + budget
        device, _ = pick_device(self.device)
        with quiet():
            codec = codec or Codec.fit(schema, train)
            held = None if validation is None else codec.encode(validation)
            encoded = codec.encode(train)
        if stream is not None:
            source = functools.partial(_source, stream, int(self.seed))
        outcome = fit_recipe(recipe, codec, encoded, held, device, deadline, progress, source)
        self._take(outcome, outcome.rows or len(train))
        self._note_unused(recipe)
        self._note_silence(encoded)
        self._cluster(encoded)
        return self

    def _take(self, outcome: Outcome, n_train: int) -> Estimator:
        self.model_: Model = outcome.model
        self.fitted_: Fitted = outcome.fitted
        self.choices_ = outcome.choices
        self.schema_ = outcome.model.schema
        self.n_train_ = n_train
        self.reading_: dict[str, Any] = {}
        self.clusters_: Clusters | None = None
        self._fitted_on([c.name for c in self.schema_.columns])
        return self

    def _note_unused(self, recipe: Recipe) -> None:
        """Say which of the settings asked for change nothing in the program that this table gets."""
        unused = tuple(f"program.{name}" for name in getattr(self.model_.program, "unused", ()))
        asked = [recipe.dotted(key) for key in self.settings or {}]
        void = [key for key in asked if ".".join(key.split(".")[:2]) in unused]
        if void:
            what = type(self.model_.program).__name__.lower()
            self.fitted_.notes.append(f"{', '.join(void)}: not used, for on this table {self.model} is a {what}")
        guide = [key for key in asked if key.split(".")[0] == "guide"]
        if guide and recipe.guide.use != "none" and not self.model_.sites.latents:
            self.fitted_.notes.append(f"{', '.join(guide)}: not used, for {self.model} has no latents to guide")

    def _note_silence(self, encoded: Encoded) -> None:
        """Say which coordinates of the latents hold nothing of the rows that were fitted."""
        model = self.model_
        if "embed" in model.verbs:
            rows = Rows.of(model.codec, model.heads, encoded)
            some = rows.take(torch.arange(min(rows.n, SILENCE_ROWS), device=model.device))
            self.fitted_.notes += [latent.sentence for latent in held(model, some, self.seed) if latent.sentence]

    def _cluster(self, encoded: Encoded) -> None:
        """Merge the components into clusters, by the rows that were fitted."""
        model = self.model_
        if "cluster" not in model.verbs:
            return
        rows = Rows.of(model.codec, model.heads, encoded)
        most = MERGED_ROWS if model.bound(rows.complete) == "exact" else MERGED_ROWS // 5
        if rows.n > most:
            picked = np.random.default_rng(self.seed).choice(rows.n, most, replace=False)
            rows = rows.take(torch.from_numpy(np.sort(picked)).to(model.device))
        found = posterior.cluster_probabilities(model, rows, self.seed, MERGED_VIEWS).cpu().numpy()
        told = not any(key.startswith("program.") and isinstance(v, int) for key, v in self.chosen_.items())
        self.clusters_ = Clusters.of(found, rows.weight.cpu().numpy(), told)

    def _fitted_on(self, names: list[str], origin: Origin | None = None) -> None:
        self._origin = origin
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)

    @property
    def chosen_(self) -> dict[str, Any]:
        """The settings that validation rows chose among those tried; empty where there was nothing to choose."""
        return chosen(self.choices_)

    def set_params(self, **params: Any) -> Estimator:
        """As scikit-learn's; `settings__components` changes one of the settings, so that a grid can go over it."""
        own = {name: params.pop(name) for name in list(params) if name.startswith("settings__")}
        super().set_params(**params)
        if own:
            changed = {name.removeprefix("settings__"): value for name, value in own.items()}
            self.settings = {**(self.settings or {}), **changed}
        return self

    # ---- likelihood

    @able("score")
    def log_likelihood(
        self,
        X: Any,
        particles: int | None = None,
        seconds: float | None = None,
        given: str | Sequence[str] = (),
    ) -> Scores:
        """Log-likelihood of every row, with what kind of number it is and how sure it is.

        seconds  where `particles` are not said, so many fewer than 100, down to 10, as bring it into this time
        given    columns, of those that are modelled, to condition upon: log p(the others | these)
        """
        if particles is not None:
            whole(particles, "particles")
        frame = self._read(X)
        scores = score(self._fitted, self._rows(X, frame), particles, self.seed, seconds)
        weight = self.schema_.role("weight")
        if weight is not None and weight.name != WEIGHT and weight.name not in frame:
            warnings.warn(f"no column {weight.name!r}, the weight: every row counts alike", ZooWarning, stacklevel=2)
        names = names_in(given, "given")
        if not names:
            return scores
        for name in names:
            if name not in self.schema_.names:
                raise UserError(f"cannot condition upon {name!r}", nearest(name, self.schema_.names))
        others = [name for name in self.schema_.names if name not in names]
        alone = score(self._fitted, self._rows(X, frame.assign(**dict.fromkeys(others))), particles, self.seed, seconds)
        rest = self.schema_
        for name in names:
            rest = rest.with_column(name, role="given")
        return scores.given(alone, rest.measure, exact=not self._fitted.pattern_wise)

    @able("score")
    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood (or its bound) of each row (n,)."""
        return self.log_likelihood(X).log_likelihood

    @able("score")
    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood per row."""
        return self.log_likelihood(X).mean

    @able("score")
    def elbo(self, X: Any) -> np.ndarray:
        """Evidence lower bound of each row (n,); equal to the log-likelihood where that is exact."""
        return self.log_likelihood(X).elbo

    @able("score")
    def bound_card(self, X: Any, particles: int = 1000, ais: int = 0, steps: int = STEPS) -> BoundCard:
        """What the number of a table is made of and how tight it is: the ELBO's parts, the ladder of
        importance-weighted bounds up to so many particles, k-hat, and what may be claimed.

        ais: on so many of the rows also annealed importance sampling, by this number of `steps`: bounds that need no
        good guide, from below, and on rows of the model's own from above
        """
        rows = self._rows(X)
        if not rows.n:
            raise UserError("a bound card needs rows, and the table has none")
        particles, ais, steps = whole(particles, "particles"), whole(ais, "ais", 0), whole(steps, "steps")
        return bound_card(self._fitted, rows, particles, self.seed, ais, steps)

    @able("score")
    def loo(self, X: Any, draws: int = DRAWS) -> LeaveOneOut:
        """Leave-one-out cross-validation of a model with a posterior over its parameters, without fitting it again.

        X: the table that it was fitted to, of which the rows set aside are left alone; draws: of the parameters
        """
        frame = self._read(X)
        has_posterior(self._fitted)
        positions = fitted_rows(frame, self._fitted.codec, self.n_train_, int(self.seed))
        rows = self._rows(X, frame.iloc[positions])
        return leave_one_out(self._fitted, rows, whole(draws, "draws"), int(self.seed), positions)

    def fitted_among(self, X: Any) -> int:
        """How many rows of a table were fitted, where it is the table of the fit in its order, or its training rows
        alone; of another table, none are known to be."""
        try:
            return len(fitted_rows(self._read(X), self._fitted.codec, self.n_train_, int(self.seed)))
        except (UserError, AttributeError):  # a stack has no codec of its own
            return 0

    @able("score")
    def tail_probability(self, X: Any, draws: int = 2000) -> np.ndarray:
        """Share of the model's own draws (n,) that are as improbable as each row, or more: an outlier's p-value."""
        return tail_probability(self._fitted, self._rows(X), whole(draws, "draws"), self.seed)

    @able("score")
    def surprise(self, X: Any) -> pd.DataFrame:
        """-log p(cell | the other cells of its row), nats: which cells make a row unusual. Missing cells are blank."""
        frame = self._read(X)
        rows = self._rows(X, frame)
        assert rows.cells is not None
        seen = rows.cells.seen.cpu().numpy()
        nats = np.where(seen, surprise(self._fitted, rows, self.seed), np.nan)
        return pd.DataFrame(nats, columns=list(self.schema_.names), index=frame.index)

    # ---- latents

    @able("cluster")
    def predict_proba(self, X: Any, clusters: int | None = None, components: bool = False) -> np.ndarray:
        """Probability of each cluster (n, K), given the seen cells.

        Where the number of components was chosen on held-out rows, those that share rows are one cluster, as
        `clusters_` says; where it was told, each component is a cluster.
        clusters: so many of them; components: those of the density, not merged
        """
        if clusters is not None:
            clusters = whole(clusters, "clusters")
            if components:
                raise UserError(f"clusters={clusters} merges components, and components=True does not", "say one")
        found = posterior.cluster_probabilities(self._fitted, self._rows(X), self.seed).cpu().numpy()
        if components:
            return found
        # a run of an earlier zoo does not say how to merge: each component is a cluster
        merged = self.clusters_ or Clusters.of(np.eye(found.shape[1]), told=True)
        return merged.merge(found, clusters)

    @able("cluster")
    def predict(self, X: Any, clusters: int | None = None, components: bool = False) -> np.ndarray:
        """The most probable cluster of each row (n,); options as in `predict_proba`."""
        return self.predict_proba(X, clusters, components).argmax(1)

    @able("cluster")
    def stability(self, X: Any, resamples: int = 20, clusters: int | None = None) -> Stability:
        """Whether random halves of these rows, each fitted from the beginning, give the same clusters again."""
        resamples = whole(resamples, "resamples")
        clusters = None if clusters is None else whole(clusters, "clusters")
        model, rows = self._fitted, self._rows(X)
        merged = self.clusters_ or Clusters.of(posterior.cluster_probabilities(model, rows).cpu().numpy(), told=True)
        return stability(model, rows, merged, resamples, self.seed, clusters)

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

    @able("embed")
    def interpolate(self, X: Any, steps: int = 9) -> pd.DataFrame:
        """The typical rows on the straight line between the latents of the two rows of a table (steps rows)."""
        rows = self._rows(X)
        if rows.n != 2:
            raise UserError(f"a line goes from one row to another, and the table has {rows.n}", "give two rows")
        z = self._only_z(rows)
        share = torch.linspace(0, 1, whole(steps, "steps", 2), device=z.device)[:, None].to(z.dtype)
        return self._typical(z[0] + share * (z[1] - z[0]), rows)

    @able("embed")
    def traverse(self, X: Any, latent: int = 0, values: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3)) -> pd.DataFrame:
        """The typical rows as one coordinate of a row's latents, counted from 0, takes these values."""
        rows = self._rows(X)
        if rows.n != 1:
            raise UserError(f"traverse moves one row, got {rows.n}", "give one, as table.head(1)")
        if not np.isfinite(list(values)).all():
            raise UserError(
                f"values = {list(values)} are not all numbers", "leave them out, or give some within 3 of 0"
            )
        z = self._only_z(rows).repeat(len(values), 1)
        z[:, whole(latent, "latent", 0, z.shape[1])] = torch.tensor(list(values), dtype=z.dtype, device=z.device)
        return self._typical(z, rows)

    def _only_z(self, rows: Rows) -> torch.Tensor:
        """Posterior means of z, where a program has no other latent."""
        names = [site.name for site in self.model_.sites.continuous]
        if names != ["z"]:
            raise UserError(f"model {self.model!r} has the latents {', '.join(names)}, and a line is drawn in one, z")
        return posterior.embedding(self.model_, rows, self.seed)

    def _typical(self, z: torch.Tensor, rows: Rows) -> pd.DataFrame:
        like = rows.take(torch.zeros(len(z), dtype=torch.long, device=z.device))
        return self.model_.codec.decode(decoded(self.model_, {"z": z.float()}, like))

    @able("sample")
    def sample(
        self,
        n_samples: int = 1,
        seed: int | None = None,
        given: Any = None,
        truncation: float | None = None,
        effective: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Any:
        """Rows drawn from the fitted density, in the table's units and dtypes.

        given: a table of values to draw at, or values by name, cycled over the draws. Columns that the model is
        conditional upon are needed; without its group, rows are of one never seen. Named columns that it models are
        conditioned upon too: the others are drawn given these, exactly where the model can, else by importance (of a
        table, where the model has no columns that must be given). What is given are columns of the draws.
        truncation: no Normal latent is drawn farther from its mean, in standard deviations: more typical rows, and less
        of their variety.
        settings: of draws alone: a diffusion's `sampler`, `walk`, `variance`, `guidance` (`sampler="ddim"` draws
        in few steps from the fit of ddpm).
        effective: also how many draws the importance weights behind each row are worth, a series; inf where there are
        none.
        """
        model, n = self._fitted, whole(n_samples, "n_samples")
        seed = self.seed if seed is None else seed_in(seed)
        worth = torch.full((n,), torch.inf)
        with drawing(model, settings):
            if not self.schema_.given_columns and given is None:
                drawn = model.codec.decode(posterior.sample(model, n, None, seed, truncation))
            else:
                at = given_table(given, self.schema_)
                warn_beyond(at, model.codec)
                rows = self._rows_at(at.iloc[np.arange(n) % len(at)])
                known = rows.cells is not None and bool(rows.cells.seen.any())
                if known and truncation is not None:
                    raise UserError("truncation is of draws of whole rows, and some columns are given", "leave one out")
                if known:
                    (x,), worth = posterior.completed(model, rows, 1, seed)
                else:
                    x = posterior.sample(model, n, rows, seed, truncation)
                drawn = with_given(model.codec.decode(x), at, self.schema_)
        drawn = self._origin.restore(drawn) if self._origin else drawn
        return (drawn, _sizes(worth, pd.RangeIndex(n))) if effective else drawn

    def _rows_at(self, frame: pd.DataFrame) -> Rows:
        """Rows of which only these columns are there."""
        frame = frame.reset_index(drop=True)
        names = [c.name for c in self.schema_.modelled if c.name not in frame]
        group = self.schema_.role("group")
        names += [group.name] if group is not None and group.name not in frame else []
        blank = pd.DataFrame({name: pd.Series([np.nan] * len(frame), dtype=object) for name in names})
        return self._fitted.rows(pd.concat([blank, frame], axis=1))

    def posterior(self, draws: int = 1000, seed: int | None = None) -> dict[str, np.ndarray]:
        """Draws (draws, ...) of the parameters that have a prior, by the name of their site in the program.

        They are in the units of the fit, not of the table: columns after their transform, less the mean, in standard
        deviations; groups in the order of the column's levels, the last one a group never seen.
        """
        model, draws = self._fitted, whole(draws, "draws")
        if not model.sites.globals:
            what = f"model {self.model!r} is a point: its parameters have no posterior"
            raise UserError(what, "fit one whose parameters have priors, as bayesian-gmm")
        found = draws_of_globals(model, draws, self.seed if seed is None else seed_in(seed))
        return {name: values.cpu().numpy() for name, values in found.items()}

    @able("impute")
    def impute(
        self,
        X: Any,
        draws: int | None = None,
        particles: int = 100,
        spread: bool = False,
        calibrate: bool = False,
        effective: bool = False,
    ) -> Any:
        """The table with its missing cells filled in; index, columns and dtypes stay.

        With draws=None each missing number is the mean of 100 conditional draws (on its lattice) and each missing level
        the most probable one; with draws=m, a list of m completed tables, each one draw.
        spread: also how sure each best guess is, as a second table of the same rows: the standard deviation of a number
        in its own units, the probability of a level; missing where the cell was seen.
        calibrate: numbers are drawn at the ranks at which known cells of this table, hidden for the purpose, lie among
        draws of them, so that a model whose shapes are wrong draws neither too wide nor too narrow; takes six times as
        long.
        effective: also how many draws the importance weights behind each row's are worth, a series, last; inf where
        nothing is missing, or draws are exact. A few mean that draws of the row repeat one another: more `particles`
        help.
        """
        draws, particles = None if draws is None else whole(draws, "draws"), whole(particles, "particles")
        frame = self._read(X)
        rows = self._rows(X, frame)
        warn_unfilled(frame, self.schema_)
        codec = self._fitted.codec
        assert rows.cells is not None
        seen = rows.cells.seen.cpu().numpy()

        def fill(completed: torch.Tensor) -> pd.DataFrame:
            out = filled(frame, codec.decode(completed), seen, self.schema_)
            return out.set_axis(X.columns, axis=1) if isinstance(X, pd.DataFrame) else out

        if draws is not None:
            draw = calibrated if calibrate else posterior.completed
            many, worth = draw(self._fitted, rows, draws, self.seed, particles)
            out: list[Any] = [[fill(one) for one in many]]
        else:
            guess = best_guess(self._fitted, rows, self.seed, particles, calibrate)
            worth, out = guess.effective, [fill(guess.x)]
            if spread:
                out.append(self._spread(frame, rows, guess.spread))
        if effective:
            out.append(_sizes(worth, frame.index))
        return out[0] if len(out) == 1 else tuple(out)

    def _spread(self, frame: pd.DataFrame, rows: Rows, spread: torch.Tensor) -> pd.DataFrame:
        assert rows.cells is not None
        shown = torch.where(rows.cells.seen, torch.nan, spread).cpu().numpy()
        table = pd.DataFrame(shown, columns=list(self.schema_.names), index=frame.index)
        return table[[c.name for c in self.schema_.columns if c.name in table]]

    @able("translate")
    def translate(self, X: Any, to: Any, seed: int | None = None) -> pd.DataFrame:
        """The table with its rows of the other level as rows of the level `to` of the given column.

        Numbers are moved, levels are drawn. Rows of that level stay as they are, missing cells stay missing; index,
        columns and dtypes stay.
        """
        model, frame = self._fitted, self._read(X)
        out = translated(model, frame, to, self.seed if seed is None else seed_in(seed))
        return out.set_axis(X.columns, axis=1) if isinstance(X, pd.DataFrame) else out

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
            "model", self.seed, model=self.model, fit=fit, choices=self.choices_, n_train=self.n_train_,
            reading=self.reading_, **({"clusters": self.clusters_.to_json()} if self.clusters_ else {}), **more,
        )  # fmt: skip
        run.write_model(folder, model, self.fitted_, document)

    @classmethod
    def load(cls, path: str | Path, models_file: str | None = None, device: str = "auto") -> Estimator:
        """A fitted estimator from a run folder (of a comparison: its best model)."""
        model, fitted, document = run.read_model(run.best_model(path), Registry.load(models_file))
        estimator = cls(document["model"], schema=model.schema, seed=document["seed"], device=device)
        model = model.to(pick_device(device)[0])
        estimator._take(Outcome(model, fitted, document["choices"]), document["n_train"])
        estimator.reading_ = document.get("reading", {})
        if "clusters" in document:
            with run.reading(path):
                estimator.clusters_ = Clusters.from_json(document["clusters"])
        return estimator

    def to_arviz(self, X: Any, draws: int = 100, column: str | None = None) -> Any:
        """posterior, log_likelihood, posterior_predictive and observed_data of these rows, as ArviZ reads them: an
        xarray DataTree, and where an ArviZ before 1.0 is installed its InferenceData.

        column: one to check alone, as ArviZ's LOO-PIT wants it
        """
        from zoo.evaluate.arviz import to_arviz

        frame = self._read(X)
        rows = self._rows(X, frame)
        return to_arviz(self._fitted, frame, rows, whole(draws, "draws"), self.seed, column)

    # ---- inside

    @property
    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call `fit` first")
        return self.model_

    def _read(self, X: Any) -> pd.DataFrame:
        """A table to be used: a file is read as the one of the fit was."""
        if not isinstance(X, str | Path) or not self.reading_:
            return read_table(X)
        return read_like(X, self.reading_, self.schema_.names)

    def _rows(self, X: Any, frame: pd.DataFrame | None = None) -> Rows:
        """The rows of a table, which was read already where its frame is given."""
        model = self._fitted
        frame = self._read(X) if frame is None else frame
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


def _source(stream: Stream, seed: int, model: Model) -> Streamed:
    """The batches of a stream for a model; the same in every fit of one seed."""

    def parts(epoch: int) -> Iterator[Rows]:
        for part in stream.parts(seed + epoch):
            with quiet():  # a level never seen is told of where rows are scored
                rows = model.rows(part)
            yield rows

    return Streamed(len(stream), parts)


def _sizes(worth: torch.Tensor, index: pd.Index) -> pd.Series:
    """Draws that those of each row are worth, by row."""
    return pd.Series(worth.double().cpu().numpy(), index, name="effective_size")


def _weighted(frame: pd.DataFrame, weight: Any) -> pd.DataFrame:
    """The table with the weights of its rows as a column."""
    if WEIGHT in frame:
        raise UserError(f"the table has a column {WEIGHT!r} already", f"name it: weight={WEIGHT!r}")
    try:
        values = np.asarray(weight, dtype=float)
    except (TypeError, ValueError):
        raise UserError("sample_weight= takes a number for each row", "give an array of them") from None
    if values.shape != (len(frame),):
        raise UserError(f"sample_weight has shape {values.shape}, and the table {len(frame)} rows", "give one for each")
    return frame.assign(**{WEIGHT: values})
