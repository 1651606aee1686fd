"""The user's cells as numbers a model can use, and back, with the log-Jacobian of every map on the way."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from zoo.errors import UserError, ZooWarning
from zoo.table.cells import level_codes, numeric_values
from zoo.table.check import cells_of, warn_infinite, within
from zoo.table.restore import restored
from zoo.table.schema import Column, Schema
from zoo.table.transforms import KNOTS, MAPS, WIDTH, Walls, choose

FAR, BEYOND = 8.0, 1e100
"""Standard deviations at which what a network reads is held (an outlier must not fire it far outside what it was fitted
on, and an atom may have no place of its own), and at which everything is."""


APART = 200.0
"""Times by which scales may differ in a unit: the least scale of a head is a thousandth of what they share."""


class Cells(NamedTuple):
    """The modelled cells of n rows in codec units, columns in the schema's row order (D of them, Dn numeric).

    x     (n, D)   standardised number, or index of the level; 0 where missing
    seen  (n, D)   True where observed
    lo    (n, Dn)  lower end of the lattice cell; equal to x for a density
    hi    (n, Dn)  upper end
    unit  (n, Dn)  what turns an average density over [lo, hi] in codec units into one in the table's units
    atom  (n, Dn)  which of the column's atoms the cell is, counted from 1; 0 where it is none
    """

    x: Tensor
    seen: Tensor
    lo: Tensor
    hi: Tensor
    unit: Tensor
    atom: Tensor


class Encoded(NamedTuple):
    """A table as tensors: its cells, and what comes beside them."""

    cells: Cells
    weight: Tensor  # (n,) mean one over the training rows
    group: Tensor  # (n,) index of the group; the last index is the unseen group
    given: Tensor  # (n, G) features of the columns conditioned upon, float32


class Codec(nn.Module):
    """Table units <-> codec units.

    A numeric column is mapped by y = (T(v) - loc) / scale with T its schema's ends and transform; its log-Jacobian is
    log|dy/dv|. A rounded column keeps its cell [T(v - step/2), T(v + step/2)]: its likelihood is the average density
    over the cell, mass / step. Everything here is float64.
    """

    loc: Tensor
    scale: Tensor
    shape: Tensor
    walls: Tensor
    shown: Tensor
    given_loc: Tensor
    given_scale: Tensor
    rows: Tensor
    weight_mean: Tensor
    step: Tensor
    ends: Tensor
    period: Tensor
    atoms: Tensor

    def __init__(self, schema: Schema):
        super().__init__()
        if not schema.modelled:
            raise UserError(
                "no column is left to model: "
                + "; ".join(f"{c.name}: {c.note or c.kind}" for c in schema.columns if c.role == "model"),
                "see `zoo inspect TABLE`",
            )
        self.schema = schema
        columns, given = schema.numeric, len(schema.given_columns)

        def keep(name: str, value: Tensor, persistent: bool = True) -> None:
            self.register_buffer(name, value.double(), persistent)

        keep("loc", torch.zeros(len(columns)))
        keep("scale", torch.ones(len(columns)))
        shape = torch.ones(len(columns), WIDTH)
        shape[[c.transform == "quantile" for c in columns]] = torch.linspace(-3, 3, KNOTS).repeat(2)
        keep("shape", shape)
        keep("walls", torch.zeros(len(columns), 4))
        keep("shown", torch.tensor([[-math.inf], [math.inf]]).expand(2, len(columns)).clone())
        keep("given_loc", torch.zeros(given))
        keep("given_scale", torch.ones(given))
        keep("rows", torch.tensor(0.0))
        keep("weight_mean", torch.tensor(1.0))
        # what follows from the schema alone
        keep("step", torch.tensor([c.resolution or 0.0 for c in columns], dtype=torch.float64), False)
        lower = [-math.inf if c.ends[0] is None else c.ends[0] for c in columns]
        upper = [math.inf if c.ends[1] is None else c.ends[1] for c in columns]
        keep("ends", torch.tensor([lower, upper], dtype=torch.float64), False)
        keep("period", torch.tensor([c.period or 0.0 for c in columns], dtype=torch.float64), False)
        most = max([0, *(len(c.atoms) for c in columns)])
        atoms = torch.full((len(columns), most), torch.nan, dtype=torch.float64)
        for j, column in enumerate(columns):
            atoms[j, : len(column.atoms)] = torch.tensor(column.atoms, dtype=torch.float64)
        keep("atoms", atoms, False)
        self._known: dict[str, Any] = {}  # what follows from the buffers, computed once

    @classmethod
    def fit(cls, schema: Schema, frame: pd.DataFrame) -> Codec:
        """A codec whose locations, scales and transforms are those of these (training) rows."""
        values = {c.name: _values(frame, c) for c in schema.numeric}
        schema = schema.with_transforms(
            {
                c.name: "none" if c.unit else _chosen(_beside_atoms(values[c.name], c), c)
                for c in schema.numeric
                if c.transform == "auto"
            }
        )
        codec = cls(schema)
        for j, column in enumerate(schema.numeric):
            v = _beside_atoms(values[column.name], column)
            if not len(v):
                continue
            parameters = torch.tensor(MAPS[column.transform].fit(v, column), dtype=torch.float64)
            codec.shape[j, : len(parameters)] = parameters
            if column.resolution is None and column.period is None:
                lower = None if column.transform == "log" else column.lower
                codec.walls[j] = torch.tensor(Walls.fit(v, lower, column.upper), dtype=torch.float64)
            there = values[column.name][~np.isnan(values[column.name])]
            codec.shown[:, j] = torch.tensor([there.min(), there.max()], dtype=torch.float64)
            y = codec._transform(torch.from_numpy(v)[:, None], [j]).numpy()[:, 0]
            codec.loc[j], codec.scale[j] = _moments(y)
        for j, column in enumerate(schema.given_columns):
            if column.is_number:
                v = _values(frame, column)
                codec.given_loc[j], codec.given_scale[j] = _moments(v[~np.isnan(v)])
        _share(codec.scale, schema.numeric)
        _share(codec.given_scale, schema.given_columns)
        codec.rows.fill_(len(frame))
        codec.weight_mean.fill_(codec._weight(frame).mean())
        codec._known.clear()
        return codec

    # ---- encode

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """The table's rows as tensors. Column order does not matter; columns the schema does not know are ignored.

        A missing column, text where numbers were, a number beyond the end of a density, or a third value in a binary
        column is a UserError. A level never seen takes its column's reserved level, a number beyond the end or beside
        the lattice of a rounded column a cell of it, an infinite one counts as missing: each with a ZooWarning.
        """
        schema, n = self.schema, len(frame)
        for column in (*schema.modelled, *schema.given_columns):
            warn_infinite(cells_of(frame, column.name))
        numeric = torch.from_numpy(self._numeric(frame)).to(self.loc.device)
        codes = [torch.tensor(level_codes(cells_of(frame, c.name), c)) for c in schema.discrete]
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
        atom = torch.where(there, self._which_atom(v), 0)
        y, lo, hi = (self.forward(u) for u in (v, v - self.step / 2, v + self.step / 2))
        lattice = self.step > 0
        width = torch.where(lattice, self.step, 1.0)
        unit = torch.where(lattice, ((hi - lo).clamp_min(1e-300) / width).log(), self._log_slope(v) - self.scale.log())
        # an atom beside a density may lie where the transform has no end: a place where a network can read it will do
        y = torch.where(lattice | (atom == 0), y, y.clamp(-FAR, FAR))
        y, lo, hi, unit = (torch.where(there, t, zero) for t in (y, lo, hi, unit))
        lo, hi = (torch.where(lattice, t, y) for t in (lo, hi))
        return Cells(torch.cat([y, discrete], -1), seen, lo, hi, unit, atom)

    def _which_atom(self, v: Tensor) -> Tensor:
        """(n, Dn) which atom of its column a value is, counted from 1; 0 for none."""
        near = (v[..., None] - self.atoms).abs() <= torch.where(self.step > 0, self.step / 4, 0.0)[:, None]
        number = torch.arange(1, self.atoms.shape[-1] + 1, device=v.device)
        return (near * number).sum(-1)

    def _numeric(self, frame: pd.DataFrame) -> np.ndarray:
        values = [within(_values(frame, c), c) for c in self.schema.numeric]
        return np.stack(values, -1).astype(np.float64) if values else np.zeros((len(frame), 0))

    def _weight(self, frame: pd.DataFrame) -> Tensor:
        column = self.schema.role("weight")
        if column is None or column.name not in frame:
            return torch.ones(len(frame), dtype=torch.float64)
        w = numeric_values(cells_of(frame, column.name), column)
        bad = np.flatnonzero(np.isnan(w) | (w < 0))
        if len(bad):
            raise UserError(f"weights in {column.name!r} must be numbers >= 0", f"see rows {bad[:5]}")
        # a fit refuses a part without any weight; elsewhere rows of no weight at all are rows alike
        return torch.from_numpy(w if w.any() else np.ones_like(w)) / self.weight_mean.cpu()

    def _group(self, frame: pd.DataFrame) -> Tensor:
        column = self.schema.role("group")
        if column is None:
            return torch.zeros(len(frame), dtype=torch.long)
        codes = level_codes(cells_of(frame, column.name), column)
        return torch.from_numpy(np.where(np.isnan(codes), len(column.levels), codes)).long()

    def _given(self, frame: pd.DataFrame) -> Tensor:
        features = [torch.zeros(len(frame), 0)]
        for j, column in enumerate(self.schema.given_columns):
            series = cells_of(frame, column.name)
            v = torch.tensor(numeric_values(series, column) if column.is_number else level_codes(series, column))
            seen = ~v.isnan()
            if column.n_given > 2:
                value = one_hot(v.nan_to_num(0.0), column.n_given - 1)
            else:
                value = ((v.nan_to_num(0.0) - self.given_loc[j]) / self.given_scale[j]).clamp(-FAR, FAR)[:, None]
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
            cells = restored(values[:, j] if j < k else codes[:, j - k], column)
            out[column.name] = cells.mask(hidden[:, j]) if hidden[:, j].any() else cells
        return pd.DataFrame({c.name: out[c.name] for c in self.schema.columns if c.name in out})

    # ---- the map, one numeric column a coordinate

    def forward(self, v: Tensor) -> Tensor:
        """Table units to codec units, numeric columns (n, Dn); held at `BEYOND`, whose square is still a number."""
        return ((self._transform(v) - self.loc) / self.scale).clamp(-BEYOND, BEYOND)

    def inverse(self, y: Tensor) -> Tensor:
        """Codec units to table units, numeric columns (n, Dn); what lies on an atom's place is that atom."""
        out = y.to(torch.float64) * self.scale + self.loc
        for name, columns in self._maps().items():
            part = MAPS[name].inverse(out[..., columns], self.shape[columns])
            out = out.index_copy(-1, self._at(columns), Walls.inverse(part, self.walls[columns]))
        for k in range(self.atoms.shape[-1]):
            out = torch.where((y - self.atom_places[:, k]).abs() < 1e-9, self.atoms[:, k], out)
        return out

    @property
    def atom_places(self) -> Tensor:
        """(Dn, A) where the atoms lie in codec units; not a number where a column has fewer."""
        if "atom_places" not in self._known:
            y = self.forward(self.atoms.T).T
            places = torch.where(self.step[:, None] > 0, y, y.clamp(-FAR, FAR))
            self._known["atom_places"] = torch.where(self.atoms.isnan(), torch.nan, places)
        places = self._known["atom_places"]
        return places

    @property
    def edges(self) -> Tensor:
        """(2, Dn) codec units below (above) which a rounded value is the first (last) of its column; else infinite."""
        if "edges" not in self._known:
            inner = self.ends + torch.tensor([[0.5], [-0.5]], device=self.step.device) * self.step
            there = (self.step > 0) & self.ends.isfinite() & (self.period == 0)
            outside = torch.tensor([[-torch.inf], [torch.inf]], device=self.step.device)
            self._known["edges"] = torch.where(there, self.forward(inner.nan_to_num(0.0, 0.0, 0.0)), outside)
        edges = self._known["edges"]
        return edges

    def _maps(self) -> dict[str, list[int]]:
        """The numeric columns of every transform."""
        names = [c.transform for c in self.schema.numeric]
        return {name: [j for j, n in enumerate(names) if n == name] for name in dict.fromkeys(names)}

    def _at(self, columns: list[int]) -> Tensor:
        return torch.tensor(columns, device=self.loc.device)

    def _transform(self, v: Tensor, only: list[int] | None = None) -> Tensor:
        """Ends, then transform: of all numeric columns, or of `only` these, side by side."""
        chosen = list(range(len(self.loc))) if only is None else only
        out = v
        for name, columns in self._maps().items():
            place = [i for i, j in enumerate(chosen) if j in columns]
            if not place:
                continue
            here = [chosen[i] for i in place]
            inside = Walls.forward(v[..., place], self.walls[here])
            out = out.index_copy(-1, self._at(place), MAPS[name].forward(inside, self.shape[here]))
        return out

    def _log_slope(self, v: Tensor) -> Tensor:
        out = torch.zeros_like(v)
        for name, columns in self._maps().items():
            inside = Walls.forward(v[..., columns], self.walls[columns])
            slope = Walls.log_slope(v[..., columns], self.walls[columns])
            out = out.index_copy(-1, self._at(columns), slope + MAPS[name].log_slope(inside, self.shape[columns]))
        return out

    def _round(self, v: Tensor) -> Tensor:
        """Rounded columns on their lattice and between their ends, cyclic ones in their first cycle."""
        step = torch.where(self.step > 0, self.step, 1.0)
        v = torch.where(self.step > 0, (v / step).round() * step, v)
        cyclic = self.period > 0
        first, period = torch.where(cyclic, self.ends[0], 0.0), torch.where(cyclic, self.period, 1.0)
        v = torch.where(cyclic, first + (v - first).remainder(period), v)
        closed = (self.step > 0) & ~cyclic
        return torch.where(closed, torch.minimum(torch.maximum(v, self.ends[0]), self.ends[1]), v)

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
    return (codes.double().round().long()[..., None] == torch.arange(levels, device=codes.device)).float()


def _moments(v: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation that do not overflow; a spread of zero becomes one."""
    if not len(v):
        return 0.0, 1.0
    largest = max(float(np.abs(v).max()), 1e-300)
    scaled = v / largest
    spread = float(scaled.std())
    return float(scaled.mean()) * largest, spread * largest if spread > 1e-12 else 1.0


def _share(scale: Tensor, columns: Sequence[Column]) -> None:
    """One scale for all columns of a unit: the root mean square of theirs, a constant column's (one) aside."""
    for unit in {c.unit for c in columns if c.unit}:
        own = torch.tensor([c.unit == unit for c in columns])
        varied = own & (scale != 1)
        if varied.any():
            largest = scale[varied].max()
            if largest > APART * scale[varied].min():
                narrow = columns[int(torch.where(varied, scale, torch.inf).argmin())].name
                message = f"columns of unit {unit!r} differ {largest / scale[varied].min():.0f} times in scale: "
                message += f"{narrow!r}, the narrowest, is held wider than it is; give it a unit of its own"
                warnings.warn(message, ZooWarning, stacklevel=3)
            scale[own] = largest * (scale[varied] / largest).square().mean().sqrt()


def _values(frame: pd.DataFrame, column: Column) -> np.ndarray:
    """The cells of a numeric column in table units, ranks of an ordinal one; NaN where missing."""
    series = cells_of(frame, column.name)
    return numeric_values(series, column) if column.is_number else level_codes(series, column)


def _chosen(values: np.ndarray, column: Column) -> str:
    return choose(values, column) if len(values) else "none"


def _beside_atoms(values: np.ndarray, column: Column) -> np.ndarray:
    """The values there that are no atom, on which transforms, locations and scales rest; all where all are atoms."""
    there = values[~np.isnan(values)]
    near = (column.resolution or 0.0) / 4
    plain = np.ones(len(there), dtype=bool)
    for atom in column.atoms:
        plain &= np.abs(there - atom) > near
    return there[plain] if plain.any() else there
