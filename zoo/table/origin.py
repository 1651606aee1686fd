"""What a table that Python held has and text has not: labels that are no text, and categories of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zoo.table.cells import label


@dataclass(frozen=True)
class Origin:
    """Labels of the columns of a table, and the dtypes of its categorical ones, by the text of their label."""

    labels: pd.Index
    categories: dict[str, pd.CategoricalDtype]

    @classmethod
    def of(cls, source: Any) -> Origin | None:
        """The origin of a pandas frame or of columns by name; none of anything else."""
        if isinstance(source, pd.DataFrame):
            dtypes = {str(name): dtype for name, dtype in zip(source.columns, source.dtypes, strict=True)}
            own = {name: dtype for name, dtype in dtypes.items() if isinstance(dtype, pd.CategoricalDtype)}
            return cls(source.columns, own)
        return cls(pd.Index(list(source)), {}) if isinstance(source, Mapping) else None

    def restore(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame of some of the columns, with the labels and the categories that they had."""
        cells = {name: self._categorical(frame[name]) for name in frame}
        out = pd.DataFrame(cells, index=frame.index)
        place = {str(name): i for i, name in enumerate(self.labels)}
        if all(name in place for name in frame):
            out.columns = self.labels.take([place[str(name)] for name in frame])
        return out

    def _categorical(self, cells: pd.Series) -> pd.Series:
        dtype = self.categories.get(str(cells.name))
        own = {label(value): value for value in dtype.categories} if dtype is not None else {}
        texts = [label(value) for value in cells]
        if dtype is None or not set(texts) <= set(own):
            return cells  # a level never seen is in no category
        return pd.Series(pd.Categorical([own[text] for text in texts], dtype=dtype), index=cells.index)
