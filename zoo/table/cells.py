"""How the cells of a column are read: as labels, as numbers, and as what they seem to store."""

from __future__ import annotations

import datetime
import math
import re
import shlex
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning
from zoo.table.schema import Column

Family = Literal["number", "bool", "text", "category", "time", "other"]

EPOCH = pd.Timestamp("1970-01-01")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


# ---- cells as labels and as numbers


def label(value: object) -> str:
    """The level a cell stands for: True and False, 3 for 3.0, 0 for -0.0, ISO dates, else the cell as text."""
    if isinstance(value, float | np.floating) and abs(float(value)) < 2**63 and float(value).is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value is not pd.NaT:  # pandas' Timestamp is one
        midnight = value.tzinfo is None and value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def labels(series: pd.Series) -> pd.Series:
    """`label` of each cell (N,), as text, missing where the cell is missing or infinite; index and name are kept."""
    if isinstance(series.dtype, pd.StringDtype):
        return series.astype("str")
    if series.dtype.kind == "O" and not isinstance(series.dtype, pd.CategoricalDtype):
        # 1, 1.0 and True are one value to a hash table, and a list is none
        texts = [label(value) for value in series]
        cells = pd.Series(texts, dtype="str", index=series.index, name=series.name)
    else:
        codes, values = pd.factorize(series)
        texts = [label(value) for value in values]
        cells = pd.Series(pd.array([*texts, ""], dtype="str")[codes], index=series.index, name=series.name)
    return cells.mask(_missing(series))


def numeric_values(series: pd.Series, column: Column) -> np.ndarray:
    """The cells (N,) of a numeric column as float64 in table units, NaN where missing or infinite.

    A column of kind `time` is in days since 1970-01-01 (UTC where cells have a time zone).
    Raises UserError with the first rows and values that are not numbers (or not ISO dates).
    """
    values = _days(series) if column.kind == "time" else numbers(series)
    bad = np.isnan(values) & ~_missing(series)
    if bad.any():
        expected = "ISO dates" if column.kind == "time" else "numbers"
        named = tokens(series, bad)
        remedy = f"mend them, declare them missing ({named}), or use another kind" if named else "mend them"
        raise UserError(f"column {column.name!r} is {column.kind} and needs {expected}, not {at(series, bad)}", remedy)
    return values


def level_codes(series: pd.Series, column: Column) -> np.ndarray:
    """Index of each cell's level (N,) as float64, NaN where missing; a level never seen is the reserved last index.

    That is a ZooWarning. Raises UserError in a binary and in an ordinal column, which have no place for it.
    """
    known = {level: i for i, level in enumerate(column.levels)}
    names = labels(series)
    codes = names.map(known).to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    unseen = np.isnan(codes) & ~names.isna().to_numpy()
    if unseen.any():
        new = sorted(set(names[unseen]))
        text = ", ".join(map(repr, new[:3])) + (", ..." if len(new) > 3 else "")
        where = (
            f"column {column.name!r} holds {text}, never seen before (first in row {int(np.flatnonzero(unseen)[0])})"
        )
        if column.kind in ("binary", "ordinal"):
            levels = " and ".join(map(repr, column.levels)) if column.kind == "binary" else listed(column.levels, 5)
            raise UserError(
                f"{where}; it is {column.kind} with the levels {levels}",
                f"fit again with `--kind {column.name}=categorical`, or blank these cells",
            )
        if column.role != "group":
            warnings.warn(f"{where}; scored as the reserved unseen level", ZooWarning, stacklevel=4)
        codes[unseen] = len(column.levels)
    return codes


def numbers(series: pd.Series) -> np.ndarray:
    """Cells as float64, NaN where they are missing, infinite or no numbers."""
    stored = family(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        values = _through_levels(series, numbers)
    elif stored in ("number", "bool") and series.dtype != object:
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    elif stored in ("time", "other"):
        values = np.full(len(series), np.nan)
    else:
        values = pd.to_numeric(series.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan) + 0.0


def _days(series: pd.Series) -> np.ndarray:
    """Dates, times and ISO text as float64 days since 1970-01-01, NaN where they are missing or none of these."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _through_levels(series, _days)
    stored = family(series)
    if stored == "text":
        return _through_levels(series.astype("str").astype("category"), _iso_days)
    if stored != "time":
        return np.full(len(series), np.nan)
    return _iso_days(labels(series)) if series.dtype.kind == "O" else _since_epoch(pd.to_datetime(series, utc=True))


def _since_epoch(moments: pd.Series) -> np.ndarray:
    """Moments in UTC as days since 1970-01-01, NaN where there is none."""
    return ((moments.dt.tz_localize(None) - EPOCH) / pd.Timedelta(days=1)).to_numpy(np.float64, na_value=np.nan)


def _iso_days(series: pd.Series) -> np.ndarray:
    """ISO text as days since 1970-01-01, NaN where it is none."""
    iso = series.where(series.str.fullmatch(_ISO).fillna(False).astype(bool)).astype(object)
    return _since_epoch(pd.to_datetime(iso, format="ISO8601", errors="coerce", utc=True))


def _through_levels(series: pd.Series, read: Callable[[pd.Series], np.ndarray]) -> np.ndarray:
    """Read the categories instead of the cells."""
    categories = pd.Series(series.cat.categories)
    values = read(categories.astype("str") if read is _iso_days else categories)
    return np.append(values, np.nan)[series.cat.codes.to_numpy()]


def _missing(series: pd.Series) -> np.ndarray:
    """Where cells are missing or infinite."""
    missing = series.isna().to_numpy(dtype=bool)
    return missing | infinite(series)


def infinite(series: pd.Series) -> np.ndarray:
    """Where cells are infinite numbers."""
    if series.dtype == object:
        return np.array([isinstance(v, float | np.floating) and math.isinf(v) for v in series], dtype=bool)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return np.append(infinite(pd.Series(series.cat.categories)), False)[series.cat.codes.to_numpy()]
    if family(series) == "number":
        return np.isinf(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.zeros(len(series), dtype=bool)


# ---- cells


def family(series: pd.Series) -> Family:
    """What a column stores, whatever library's dtype it stores it in."""
    dtype, types = series.dtype, pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if types.is_bool_dtype(dtype):
        return "bool"
    if types.is_complex_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        return "other"
    if types.is_numeric_dtype(dtype):
        return "number"
    if types.is_datetime64_any_dtype(dtype):
        return "time"
    return _family_of_objects(series)


def _family_of_objects(series: pd.Series) -> Family:
    """The family of cells that are Python objects."""
    found = pd.api.types.infer_dtype(series.astype(object), skipna=True)
    if found in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return "number"
    if found == "boolean":
        return "bool"
    if found in ("date", "datetime", "datetime64"):
        return "time"
    if found in ("string", "mixed-integer"):
        return "text"
    plain = (str, int, float, bool, np.generic, datetime.date)
    mixed = found == "mixed" and all(isinstance(value, plain) for value in series.dropna())
    return "text" if mixed else "other"


@dataclass(frozen=True)
class Cells:
    """The cells of one column, read as often as they are asked for and no oftener."""

    series: pd.Series

    @property
    def name(self) -> str:
        return str(self.series.name)

    @cached_property
    def family(self) -> Family:
        """What the cells are; text that is ISO dates throughout is time."""
        stored = family(self.series)
        if stored != "text":
            return stored
        present = self.series[~self.missing]
        if not present.head(20).astype(str).str.fullmatch(_ISO).all() or np.isnan(_days(present)).any():
            return "text"
        return "time"

    @cached_property
    def missing(self) -> np.ndarray:
        return _missing(self.series)

    @cached_property
    def infinite(self) -> int:
        return int(infinite(self.series).sum())

    @cached_property
    def numbers(self) -> np.ndarray:
        """Numbers, or days, that are there."""
        values = _days(self.series) if self.family == "time" else numbers(self.series)
        return values[~np.isnan(values)]

    @cached_property
    def labels(self) -> pd.Series:
        """Labels that are there."""
        return labels(self.series)[~self.missing]

    @property
    def ordered(self) -> bool:
        return isinstance(self.series.dtype, pd.CategoricalDtype) and bool(self.series.dtype.ordered)

    @cached_property
    def distinct(self) -> int:
        """Number of distinct values."""
        if self.family in ("number", "time"):
            return len(np.unique(self.numbers))
        return int(self.labels.nunique())

    @property
    def ties(self) -> float:
        """Share of the values there that another one repeats."""
        present = int((~self.missing).sum())
        return 1 - self.distinct / present if present else 0.0

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Levels in order: that of the categories, of the numbers, or of the alphabet."""
        if self.ordered:
            return tuple(label(value) for value in self.series.cat.categories)
        return tuple(sorted_labels(self.labels.unique()))


def sorted_labels(texts: Iterable[str]) -> list[str]:
    """Labels by value where all are numbers, else by text."""
    texts = list(texts)
    try:
        value = {text: float(text) for text in texts}
    except ValueError:
        return sorted(texts)
    if not all(map(math.isfinite, value.values())):
        return sorted(texts)
    return sorted(texts, key=lambda text: (value[text], text))


# ---- for messages


def listed(names: Iterable[str], most: int = 10, quoted: bool = True) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    shown = ", ".join(repr(name) if quoted else name for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def at(series: pd.Series, where: np.ndarray, most: int = 3) -> str:
    """The first cells of a mask, with their rows counted from 0."""
    rows = np.flatnonzero(where)
    cells = ", ".join(f"{label(series.iloc[row])!r} in row {row}" for row in rows[:most])
    return cells + (f" and {len(rows) - most} more" if len(rows) > most else "")


def tokens(series: pd.Series, where: np.ndarray, most: int = 3) -> str:
    """The flag that declares the first distinct cells of a mask missing, for a shell; empty where it can name none."""
    found = dict.fromkeys(label(value) for value in series[where])
    named = ",".join([token for token in found if token.strip() and "," not in token][:most])
    return "--missing " + (shlex.quote(named) if "'" in named else f"'{named}'") if named else ""
