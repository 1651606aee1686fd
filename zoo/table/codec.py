"""The user's cells as numbers a model can use, and back, with the log-Jacobian of every map on the way."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from zoo.errors import UserError, ZooWarning, nearest
from zoo.table.cells import labels, numeric_values
from zoo.table.lattice import spread
from zoo.table.schema import UNSEEN, Column, Schema


class Cells(NamedTuple):
    """The modelled cells of n rows in codec units, columns in the schema's row order (D of them, Dn numeric).

    x     (n, D)   standardised number, or index of the level; 0 where missing
    seen  (n, D)   True where observed
    lo    (n, Dn)  lower end of the lattice cell; equal to x for a density
    hi    (n, Dn)  upper end
    unit  (n, Dn)  what turns an average density over [lo, hi] in codec units into one in the table's units
    """

    x: Tensor
    seen: Tensor
    lo: Tensor
    hi: Tensor
    unit: Tensor


class Encoded(NamedTuple):
    """A table as tensors: its cells, and what comes beside them."""

    cells: Cells
    weight: Tensor  # (n,) mean one
    group: Tensor  # (n,) index of the group; the last index is the unseen group
    given: Tensor  # (n, G) features of the columns conditioned upon, float32


class Codec(nn.Module):
    """Table units <-> codec units.

    A numeric column is mapped by y = (T(v) - loc) / scale with T its schema's transform; its log-Jacobian is
    log|dy/dv|. A rounded column keeps its cell [T(v - step/2), T(v + step/2)]: its likelihood is the average density
    over the cell, mass / step. Everything here is float64.
    """

    loc: Tensor
    scale: Tensor
    cofactor: Tensor
    given_loc: Tensor
    given_scale: Tensor
    rows: Tensor
    step: Tensor

    def __init__(self, schema: Schema):
        super().__init__()
        if not schema.modelled:
            raise UserError(
                "no column is left to model: "
                + "; ".join(f"{c.name}: {c.note or c.kind}" for c in schema.columns if c.role == "model"),
                "see `zoo inspect TABLE`",
            )
        self.schema = schema
        numeric, given = len(schema.numeric), len(schema.given_columns)
        for name, size in (("loc", numeric), ("scale", numeric), ("cofactor", numeric)):
            self.register_buffer(name, torch.ones(size, dtype=torch.float64) * (name != "loc"))
        self.register_buffer("given_loc", torch.zeros(given, dtype=torch.float64))
        self.register_buffer("given_scale", torch.ones(given, dtype=torch.float64))
        self.register_buffer("rows", torch.tensor(0.0, dtype=torch.float64))
        step = [c.step or 0.0 for c in schema.numeric]
        self.register_buffer("step", torch.tensor(step, dtype=torch.float64), persistent=False)
        self._known: dict[str, Any] = {}  # what follows from the buffers, computed once

    @classmethod
    def fit(cls, schema: Schema, frame: pd.DataFrame) -> Codec:
        """A codec whose locations and scales are those of these (training) rows."""
        codec = cls(schema)
        values = codec._numeric(frame, schema.numeric)
        for j, column in enumerate(schema.numeric):
            v = values[:, j][~np.isnan(values[:, j])]
            if column.transform == "arcsinh":
                codec.cofactor[j] = (spread(v) if len(v) else 0.0) or 1.0
            y = codec._transform(torch.from_numpy(v)[:, None], slice(j, j + 1)).numpy()[:, 0]
            codec.loc[j], codec.scale[j] = _moments(y)
        for j, column in enumerate(schema.given_columns):
            if column.is_numeric:
                v = numeric_values(_column(frame, column.name), column)
                codec.given_loc[j], codec.given_scale[j] = _moments(v[~np.isnan(v)])
        codec.rows.fill_(len(frame))
        codec._known.clear()
        return codec

    # ---- encode

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """The table's rows as tensors. Column order does not matter; columns the schema does not know are ignored.

        A missing column, text where numbers were, or a third value in a binary column is a UserError. A level never
        seen takes its column's reserved level, with a ZooWarning.
        """
        schema, n = self.schema, len(frame)
        numeric = torch.from_numpy(self._numeric(frame, schema.numeric)).to(self.loc.device)
        codes = [torch.tensor(_codes(_column(frame, c.name), c)) for c in schema.discrete]
        discrete = (torch.stack(codes, -1) if codes else torch.zeros(n, 0, dtype=torch.float64)).to(self.loc.device)
        seen = torch.cat([~numeric.isnan(), ~discrete.isnan()], -1)
        cells = self._cells(numeric.nan_to_num(0.0) if n else numeric, seen, discrete.nan_to_num(0.0))
        return Encoded(cells, self._weight(frame), self._group(frame), self._given(frame))

    def cells(self, x: Tensor) -> Cells:
        """The cells that values in codec units (n, D), all observed, fall into."""
        k = len(self.schema.numeric)
        seen = torch.ones_like(x, dtype=torch.bool)
        return self._cells(self.inverse(x[:, :k]), seen, x[:, k:].to(torch.float64))

    def _cells(self, v: Tensor, seen: Tensor, discrete: Tensor) -> Cells:
        """v: (n, Dn) in table units, any value where it was not seen."""
        k = v.shape[-1]
        there, zero = seen[:, :k], torch.zeros((), dtype=torch.float64, device=v.device)
        # a missing cell takes the column's centre, where every transform is defined
        v = torch.where(there, self._round(v), self._round(self.inverse(torch.zeros_like(v))))
        y, lo, hi = (self.forward(u) for u in (v, v - self.step / 2, v + self.step / 2))
        lattice = self.step > 0
        width = torch.where(lattice, self.step, 1.0)
        unit = torch.where(lattice, ((hi - lo).clamp_min(1e-300) / width).log(), self._log_slope(v) - self.scale.log())
        y, lo, hi, unit = (torch.where(there, t, zero) for t in (y, lo, hi, unit))
        return Cells(torch.cat([y, discrete], -1), seen, torch.where(lattice, lo, y), torch.where(lattice, hi, y), unit)

    def _numeric(self, frame: pd.DataFrame, columns: tuple[Column, ...]) -> np.ndarray:
        values = [numeric_values(_column(frame, c.name), c) for c in columns]
        for column, v in zip(columns, values, strict=True):
            if column.transform == "log" and (bad := np.flatnonzero(v <= (column.step or 0.0) / 2)).size:
                raise UserError(
                    f"column {column.name!r} has the transform log and holds {v[bad[0]]:g} in row {bad[0]}",
                    "use transform = 'none' or 'arcsinh' for it",
                )
        return np.stack(values, -1).astype(np.float64) if values else np.zeros((len(frame), 0))

    def _weight(self, frame: pd.DataFrame) -> Tensor:
        column = self.schema.role("weight")
        if column is None or column.name not in frame:
            return torch.ones(len(frame), dtype=torch.float64)
        w = numeric_values(_column(frame, column.name), column)
        if np.isnan(w).any() or (w < 0).any() or w.sum() == 0:
            bad = np.flatnonzero(np.isnan(w) | (w < 0))
            raise UserError(f"weights in {column.name!r} must be numbers >= 0, not all zero", f"see rows {bad[:5]}")
        return torch.from_numpy(w / w.mean())

    def _group(self, frame: pd.DataFrame) -> Tensor:
        column = self.schema.role("group")
        if column is None:
            return torch.zeros(len(frame), dtype=torch.long)
        codes = _codes(_column(frame, column.name), column)
        return torch.from_numpy(np.where(np.isnan(codes), len(column.levels), codes)).long()

    def _given(self, frame: pd.DataFrame) -> Tensor:
        features = [torch.zeros(len(frame), 0)]
        for j, column in enumerate(self.schema.given_columns):
            series = _column(frame, column.name)
            v = torch.tensor(numeric_values(series, column) if column.is_numeric else _codes(series, column))
            seen = ~v.isnan()
            if column.n_logits > 1:
                value = one_hot(v.nan_to_num(0.0), column.n_logits)
            else:
                value = ((v.nan_to_num(0.0) - self.given_loc[j]) / self.given_scale[j])[:, None]
            features += [(value * seen[:, None]).float(), seen[:, None].float()]
        return torch.cat(features, -1)

    # ---- decode

    def snap(self, x: Tensor) -> Tensor:
        """Draws (n, D) in codec units with rounded columns moved to the lattice point of the cell they fall into."""
        k = len(self.schema.numeric)
        v = self.forward(self._round(self.inverse(x[:, :k])))
        return torch.cat([torch.where(self.step > 0, v, x[:, :k].to(torch.float64)), x[:, k:].to(torch.float64)], -1)

    def decode(self, x: Tensor, seen: Tensor | None = None) -> pd.DataFrame:
        """Rows (n, D) in codec units as a table: rounded columns on their lattice, levels as labels, dtypes restored.

        Cells not seen (n, D) come back missing. Columns are in the order of the table, not of the row.
        """
        k = len(self.schema.numeric)
        values = self._round(self.inverse(x[:, :k].to(torch.float64))).cpu().numpy()
        codes = x[:, k:].round().long().cpu().numpy()
        hidden = np.zeros(x.shape, dtype=bool) if seen is None else ~seen.cpu().numpy()
        out = {}
        for j, column in enumerate(self.schema.modelled):
            cells = _restore_numbers(values[:, j], column) if j < k else _restore_levels(codes[:, j - k], column)
            cells = _restore_dtype(cells, column)
            out[column.name] = cells.mask(hidden[:, j]) if hidden[:, j].any() else cells
        return pd.DataFrame({c.name: out[c.name] for c in self.schema.columns if c.name in out})

    # ---- the map, one numeric column a coordinate

    def forward(self, v: Tensor) -> Tensor:
        """Table units to codec units, numeric columns (n, Dn)."""
        return (self._transform(v, slice(None)) - self.loc) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Codec units to table units, numeric columns (n, Dn)."""
        t = y.to(torch.float64) * self.scale + self.loc
        out = t
        for name, inverse in (("log", lambda u, c: u.clamp(max=700).exp()), ("arcsinh", _sinh)):
            mask = self._has(name)
            if mask.any():
                out = torch.where(mask, inverse(t, self.cofactor), out)
        return out

    def _has(self, transform: str) -> Tensor:
        return torch.tensor(
            [c.transform == transform for c in self.schema.numeric], dtype=torch.bool, device=self.loc.device
        )

    def _transform(self, v: Tensor, columns: slice) -> Tensor:
        log, arcsinh = self._has("log")[columns], self._has("arcsinh")[columns]
        safe = torch.where(log, v, 1.0).clamp_min(1e-300)
        return torch.where(log, safe.log(), torch.where(arcsinh, torch.asinh(v / self.cofactor[columns]), v))

    def _log_slope(self, v: Tensor) -> Tensor:
        log, arcsinh = self._has("log"), self._has("arcsinh")
        safe = torch.where(log, v, 1.0).clamp_min(1e-300)
        return torch.where(log, -safe.log(), torch.where(arcsinh, -torch.hypot(v, self.cofactor).log(), 0.0))

    def _round(self, v: Tensor) -> Tensor:
        step = torch.where(self.step > 0, self.step, 1.0)
        return torch.where(self.step > 0, (v / step).round() * step, v)

    # ---- floors that keep a likelihood from spiking

    @property
    def min_scale(self) -> Tensor:
        """(Dn,) smallest scale a head may take, in codec units: a tenth of a cell, or 1e-3 standard deviations."""
        if "min_scale" not in self._known:
            self._known["min_scale"] = self._min_scale()
        known: Tensor = self._known["min_scale"]
        return known

    def _min_scale(self) -> Tensor:
        centre = self._round(self.inverse(torch.zeros(1, len(self.loc), dtype=torch.float64, device=self.loc.device)))
        width = self.forward(centre + self.step / 2) - self.forward(centre - self.step / 2)
        return torch.where(self.step > 0, 0.1 * width[0], 1e-3)

    def smoothing(self, levels: int) -> float:
        """Share of a column's mass spread evenly over its levels: a tenth of a row for each."""
        if "rows" not in self._known:
            self._known["rows"] = float(self.rows)
        pseudo = 0.1 * levels
        return pseudo / (float(self._known["rows"]) + pseudo)

    def _apply(self, fn: Any, recurse: bool = True) -> Codec:
        self._known.clear()  # the buffers move to another device
        super()._apply(fn, recurse)
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        self._known.clear()
        super()._load_from_state_dict(*args)


def one_hot(codes: Tensor, levels: int) -> Tensor:
    """(...,) indices to (..., levels), float32, without reading the data on the host."""
    return (codes.round().long()[..., None] == torch.arange(levels, device=codes.device)).float()


def _sinh(t: Tensor, cofactor: Tensor) -> Tensor:
    return torch.sinh(t.clamp(-700, 700)) * cofactor


def _moments(v: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation that do not overflow; a spread of zero becomes one."""
    if not len(v):
        return 0.0, 1.0
    largest = max(float(np.abs(v).max()), 1e-300)
    scaled = v / largest
    spread = float(scaled.std())
    return float(scaled.mean()) * largest, spread * largest if spread > 1e-12 else 1.0


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        raise UserError(
            f"the table has no column {name!r}, which the model was fitted on", nearest(name, map(str, frame.columns))
        )
    return frame[name]


def _codes(series: pd.Series, column: Column) -> np.ndarray:
    """Index of each cell's level as float64, NaN where missing; a level never seen is the reserved last index."""
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
        if column.kind == "binary":
            raise UserError(
                f"{where}; it is binary with the levels {column.levels[0]!r} and {column.levels[1]!r}",
                f"fit again with `--kind {column.name}=categorical`, or blank these cells",
            )
        if column.role != "group":
            warnings.warn(f"{where}; scored as the reserved unseen level", ZooWarning, stacklevel=4)
        codes[unseen] = len(column.levels)
    return codes


def _restore_numbers(values: np.ndarray, column: Column) -> pd.Series:
    if column.kind == "time":
        seconds = np.round(values * 86400).astype("int64")
        return pd.Series(pd.to_datetime(seconds, unit="s"))
    # a lattice point has few digits: 0.102, not 0.10200000000000001
    return pd.Series(np.round(values, 9) if column.step else values)


def _restore_levels(codes: np.ndarray, column: Column) -> pd.Series:
    return pd.Series(np.array([*column.levels, UNSEEN], dtype=object)[codes])


def _restore_dtype(cells: pd.Series, column: Column) -> pd.Series:
    """The cells in the dtype the column was read with, where they fit it."""
    dtype = column.dtype
    try:
        if "bool" in dtype.lower() or (dtype == "object" and set(column.levels) == {"True", "False"}):
            return cells.map({"True": True, "False": False}).astype(dtype)  # type: ignore[call-overload]
        if column.kind == "time" and dtype == "object":
            dates = cells.dt.date if column.step == 1 else cells
            return dates.astype(object)
        if column.kind == "time" and "," in dtype:  # datetime64[us, Europe/Berlin]
            return cells.dt.tz_localize("UTC").astype(dtype)
        if dtype == "category":
            unseen = [UNSEEN] if (cells == UNSEEN).any() else []
            return cells.astype(pd.CategoricalDtype([*column.levels, *unseen], ordered=column.kind == "ordinal"))
        if cells.dtype == object and any(t in dtype.lower() for t in ("int", "float")):
            cells = pd.to_numeric(cells)
        if "int" in dtype.lower():
            cells = cells.round()
        return cells.astype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return cells.infer_objects()
