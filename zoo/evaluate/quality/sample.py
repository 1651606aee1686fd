"""The cells of rows that are judged, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoo.errors import UserError, nearest
from zoo.table.cells import labels, numeric_values
from zoo.table.schema import Column, Schema

LARGEST = 1e100
"""What a number further out counts as, so that squares stay numbers."""
ON = 1e-6
"""Of a step, within which a number lies on its lattice: 0.1 + 0.2 is 0.3."""


@dataclass(frozen=True)
class Sample:
    """n rows. cells: one array (n,) for each column: numbers in table units, NaN where missing, of a numeric one;
    the place among its levels of any other, -1 where missing and `len(levels)` where it is none of them."""

    columns: tuple[Column, ...]
    cells: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, schema: Schema, where: str = "the table") -> Sample:
        """The rows of a table. A column that is not there, or text in a column of numbers, is a UserError."""
        columns = judged(schema)
        for column in columns:
            if column.name not in frame:
                raise UserError(f"{where} has no column {column.name!r}", nearest(column.name, map(str, frame.columns)))
        return cls(columns, tuple(_read(frame[c.name], c) for c in columns))

    def __len__(self) -> int:
        return len(self.cells[0])

    def take(self, index: np.ndarray | slice) -> Sample:
        return Sample(self.columns, tuple(one[index] for one in self.cells))

    def hide(self, missing: Sequence[np.ndarray]) -> Sample:
        """The same rows with cells missing: a mask (n,) for each column."""
        pairs = zip(self.columns, self.cells, missing, strict=True)
        return Sample(self.columns, tuple(np.where(m, np.nan if c.is_number else -1, v) for c, v, m in pairs))

    @property
    def missing(self) -> list[np.ndarray]:
        """Where cells are missing, a mask (n,) for each column."""
        return [
            np.isnan(v) if c.is_number else np.asarray(v) < 0 for c, v in zip(self.columns, self.cells, strict=True)
        ]

    def shuffled(self, rng: np.random.Generator) -> Sample:
        """Independent columns: the cells of each one in an order of its own."""
        return Sample(self.columns, tuple(rng.permutation(one) for one in self.cells))

    def numbered(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """A matrix (n, D) as trees read it, missing cells not a number, and which of its columns are levels (D,).

        Levels beyond the first `most` of their column count as one.
        """
        out = np.empty((len(self), len(self.columns)))
        for j, (column, values) in enumerate(zip(self.columns, self.cells, strict=True)):
            out[:, j] = values if column.is_number else np.where(values < 0, np.nan, np.minimum(values, most))
        return out, np.array([not c.is_number for c in self.columns])


def judged(schema: Schema) -> tuple[Column, ...]:
    """The columns whose cells are judged: those with a density, and those that it is conditional upon."""
    return tuple(c for c in schema.columns if c.role != "weight" and c.kind != "ignored")


def _read(series: pd.Series, column: Column) -> np.ndarray:
    if column.is_number:
        values = np.clip(numeric_values(series, column), -LARGEST, LARGEST)
        if column.step is None:
            return values
        lattice = np.round(values / column.step)
        return np.where(np.abs(values / column.step - lattice) < ON, lattice * column.step, values)
    place = {level: i for i, level in enumerate(column.levels)}
    names = labels(series)
    codes = names.map(place).to_numpy(dtype=np.float64, na_value=np.nan)
    codes = np.where(np.isnan(codes), np.where(names.isna(), -1, len(column.levels)), codes)
    return codes.astype(np.int64)
