"""What a run folder holds, read when a section of the report asks for it."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.run import model_folder, read_manifest
from zoo.table.schema import Schema

T = TypeVar("T")

SHOWN_ROWS = 3000
DRAWS = (200, 2000)
DRAWN_CELLS = 20_000


@dataclass
class Source:
    """A run folder. problems: the sections that could not be made, and why."""

    folder: Path
    manifest: dict[str, Any]
    models_file: str | None = None
    estimators: dict[str, Estimator] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def attempt(self, section: str, make: Callable[..., T], *arguments: Any) -> T | None:
        """A section, or None with a line on the page: a figure that fails must not cost the user a fitted run."""
        try:
            return make(*arguments)
        except UserError as error:
            self.problems.append((section, str(error)))
        except Exception as error:
            self.problems.append((section, f"{type(error).__name__}: {error}"))
            warnings.warn(f"report: {section} is left out: {type(error).__name__}: {error}", ZooWarning, stacklevel=2)
        return None

    @cached_property
    def schema(self) -> Schema:
        return Schema.read(self.folder / "schema.toml")

    @cached_property
    def comparison(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "comparison.json").read_text(encoding="utf-8"))
        return document

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Log-likelihood of every held-out row; the index is the user's."""
        return pd.read_parquet(self.folder / "scores.parquet")

    @cached_property
    def held_out(self) -> pd.DataFrame | None:
        return self._table("held_out.parquet")

    @cached_property
    def data(self) -> pd.DataFrame | None:
        """Rows of the table to show: those kept from training and the held-out ones."""
        parts = [part for part in (self._table("rows.parquet"), self.held_out) if part is not None]
        if not parts:
            return None
        # columns that are missing throughout one part take the other's dtype
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            frame = pd.concat(parts, ignore_index=True)
        if len(frame) > SHOWN_ROWS:
            frame = frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:SHOWN_ROWS])]
        return frame.reset_index(drop=True)

    def _table(self, name: str) -> pd.DataFrame | None:
        path = self.folder / name
        return pd.read_parquet(path) if path.is_file() else None

    # ---- models

    def folder_of(self, model: str) -> Path:
        return model_folder(self.folder, model) if self.manifest["kind"] == "comparison" else self.folder

    def manifest_of(self, model: str) -> dict[str, Any]:
        return read_manifest(self.folder_of(model))

    def history_of(self, model: str) -> pd.DataFrame | None:
        path = self.folder_of(model) / "history.parquet"
        return pd.read_parquet(path) if path.is_file() else None

    def recipe_of(self, model: str) -> dict[str, Any]:
        """The recipe as plain data."""
        table: dict[str, Any] = tomllib.loads((self.folder_of(model) / "recipe.toml").read_text(encoding="utf-8"))
        return next((v for v in table.values() if isinstance(v, dict)), {})

    def estimator(self, model: str) -> Estimator:
        if model not in self.estimators:
            self.estimators[model] = Estimator.load(self.folder_of(model), self.models_file, device="cpu")
        return self.estimators[model]

    def sample(self, model: str) -> pd.DataFrame:
        """About as many draws as there are rows to show, fewer of a wide table; given columns come from those rows."""
        estimator, data = self.estimator(model), self.data
        n = int(np.clip(DRAWN_CELLS // max(1, len(self.schema.modelled)), *DRAWS))
        return estimator.sample(n, given=data if estimator.schema_.conditions else None)
