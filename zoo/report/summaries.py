"""What the figures and tables of a report show: bins, shares, dependence, coordinates."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoo.table.cells import labels, numeric_values
from zoo.table.schema import Column, Schema

LEVELS = 12
OTHER = "other"
QUANTILE_BINS = 8
MOST_BINS = 42
EVERY_POINT = 30


# ---- one column


def finite(frame: pd.DataFrame, column: Column) -> np.ndarray:
    """The numbers of a numeric column that are there, in table units (days for time)."""
    values = numeric_values(frame[column.name], column)
    return values[~np.isnan(values)]


def bin_edges(values: np.ndarray, column: Column) -> tuple[np.ndarray, bool]:
    """Edges of a histogram of a numeric column, and whether it wants a logarithmic axis.

    They leave out the far ends of long tails, and lie between the points of a lattice.
    """
    if not len(values):
        return np.array([0.0, 1.0]), False
    low, high = _central(values)
    count = int(np.clip(2.5 * len(values) ** (1 / 3), 10, MOST_BINS))
    log = column.transform == "log" and low > 0 and high > 20 * low
    if log:
        edges = np.geomspace(low, high, count + 1)
        return (_on_lattice(edges, column.step) if column.step else edges), True
    if column.step:
        return _lattice_edges(low, high, column.step, count), False
    spread = high - low or abs(low) or 1.0
    return np.linspace(low - 0.01 * spread, high + 0.01 * spread, count + 1), False


def _central(values: np.ndarray) -> tuple[float, float]:
    """Range of the values, without an end that lies far beyond all but half a percent of them."""
    low, high = float(values.min()), float(values.max())
    inner = np.quantile(values, [0.005, 0.995])
    spread = float(inner[1] - inner[0])
    if spread > 0:
        low = low if low >= inner[0] - 0.5 * spread else float(inner[0])
        high = high if high <= inner[1] + 0.5 * spread else float(inner[1])
    return low, high


def _lattice_edges(low: float, high: float, step: float, count: int) -> np.ndarray:
    """A bin for each point of the lattice where they are few, else for 2, 5, 10 ... points."""
    first, last = round(low / step), round(high / step)
    points = last - first + 1
    strides = (digit * 10**power for power in range(18) for digit in (1, 2, 5))
    stride = next(s for s in strides if points <= max(count, EVERY_POINT if s == 1 else 0) * s)
    first = first // stride * stride
    return (first - 0.5 + stride * np.arange((last - first) // stride + 2)) * step


def _on_lattice(edges: np.ndarray, step: float) -> np.ndarray:
    snapped = (np.floor(edges / step) + 0.5) * step
    snapped[0] = (np.ceil(edges[0] / step) - 0.5) * step
    out: np.ndarray = np.unique(snapped[snapped > 0])
    return out if len(out) > 1 else np.array([edges[0] - step / 2, edges[-1] + step / 2])


def shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the values in each bin; what lies outside counts in the whole."""
    counts: np.ndarray = np.histogram(values, edges)[0] / max(len(values), 1)
    return counts


def level_shares(frame: pd.DataFrame, names: list[str], column: Column) -> np.ndarray:
    """Share of each level of `names` among the cells that are there; the last may be `OTHER`, what is left."""
    cells = labels(frame[column.name]).dropna()
    counts = cells.value_counts().reindex(names, fill_value=0).to_numpy(float)
    if has_other(names, column):
        counts[-1] = len(cells) - counts[:-1].sum()
    return counts / max(len(cells), 1)


def top_levels(frame: pd.DataFrame, column: Column, most: int = LEVELS) -> list[str]:
    """The most frequent levels in the schema's order, and `OTHER` where there are more."""
    counts = labels(frame[column.name]).value_counts()
    if len(column.levels) <= most + 1:
        return list(column.levels)
    kept = set(counts.index[:most])
    kept |= set([level for level in column.levels if level not in kept][: most - len(kept)])
    return [*(level for level in column.levels if level in kept), OTHER]


def has_other(names: list[str], column: Column) -> bool:
    """True where the last of `top_levels` stands for the levels that are not among them."""
    return len(names) < len(column.levels)


def level_index(series: pd.Series, names: list[str], column: Column) -> np.ndarray:
    """Place of each cell among `names` (n,); -1 where it is missing, or not there and no `OTHER` is."""
    place = {name: i for i, name in enumerate(names)}
    other = len(names) - 1 if has_other(names, column) else -1
    return np.array([-1 if pd.isna(cell) else place.get(cell, other) for cell in labels(series)], dtype=int)


# ---- two columns


def codes(frame: pd.DataFrame, column: Column) -> np.ndarray:
    """A column as a few classes (n,): quantile bins of numbers, levels otherwise; -1 where missing."""
    if column.is_number:
        values = numeric_values(frame[column.name], column)
        seen = values[~np.isnan(values)]
        edges = np.unique(np.quantile(seen, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1])) if len(seen) else seen
        return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
    return level_index(frame[column.name], top_levels(frame, column), column)


def dependence(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised mutual information of two columns of `codes`, bias taken off: 0 independent, 1 the same."""
    both = (a >= 0) & (b >= 0)
    n = int(both.sum())
    if n < 10:
        return 0.0
    a, b = a[both], b[both]
    joint = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1)).reshape(a.max() + 1, -1) / n
    left, right = joint.sum(1), joint.sum(0)
    bias = ((left > 0).sum() - 1) * ((right > 0).sum() - 1) / (2 * n)
    least = np.sqrt(_entropy(left) * _entropy(right))
    information = _entropy(left) + _entropy(right) - _entropy(joint.ravel()) - bias
    return float(max(information, 0.0) / least) if least > 1e-9 else 0.0


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return max(0.0, float(-(p * np.log(p)).sum()))


def dependent_pairs(frame: pd.DataFrame, schema: Schema, k: int, each: int = 2) -> list[tuple[Column, Column]]:
    """The k most dependent pairs of columns, no column in more than `each` of them."""
    coded = [(column, codes(frame, column)) for column in schema.modelled]
    ranked = sorted(
        ((dependence(x, y), i, a, b) for i, ((a, x), (b, y)) in enumerate(itertools.combinations(coded, 2))),
        key=lambda item: (-item[0], item[1]),
    )
    used: dict[str, int] = {}
    out: list[tuple[Column, Column]] = []
    for strength, _, a, b in ranked:
        if strength <= 0 or len(out) == k:
            break
        if max(used.get(a.name, 0), used.get(b.name, 0)) < each:
            out.append((a, b))
            used |= {c.name: used.get(c.name, 0) + 1 for c in (a, b)}
    return out


# ---- all columns


def standardised(frame: pd.DataFrame, schema: Schema) -> np.ndarray:
    """Numbers standardised on their transform's scale, levels one-hot (n, D); missing cells at the mean."""
    parts = [np.zeros((len(frame), 0))]
    for column in schema.modelled:
        if column.is_number:
            values = _transformed(numeric_values(frame[column.name], column), column)
            block = _centred(values[:, None])
            spread = block.std()
            parts.append(np.clip(block / spread, -6, 6) if spread > 1e-12 else block)
        else:
            names, coded = top_levels(frame, column), codes(frame, column)
            hot = (coded[:, None] == np.arange(len(names))).astype(float)
            hot[coded < 0] = np.nan
            parts.append(_centred(hot) / np.sqrt(2))
    return np.concatenate(parts, 1)


def _transformed(values: np.ndarray, column: Column) -> np.ndarray:
    if column.transform == "log" and np.nanmin(values, initial=np.inf) > 0:
        return np.log(values)
    if column.transform == "arcsinh" and not np.isnan(values).all():
        quarter = np.nanquantile(np.abs(values), 0.5) or 1.0
        return np.arcsinh(values / quarter)
    return values


def _centred(block: np.ndarray) -> np.ndarray:
    """Columns less the mean of what is there, zero where nothing is."""
    there = ~np.isnan(block)
    mean = np.where(there, block, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    return np.where(there, block - mean, 0.0)


@dataclass(frozen=True)
class Plane:
    """Rows on a plane. xy (n, 2); share (2,) of the variance on each axis; of: what was projected."""

    xy: np.ndarray
    share: tuple[float, float]
    of: str


def plane(points: np.ndarray, of: str) -> Plane:
    """The two principal axes of points (n, d); fewer than two dimensions are filled with zeros."""
    centred = points - points.mean(0, keepdims=True) if len(points) else points
    centred = np.concatenate([centred, np.zeros((len(points), max(0, 2 - points.shape[1])))], 1)
    values, axes = np.linalg.eigh(centred.T @ centred)
    first = axes[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(0), np.arange(2)])
    total = float(values.sum()) or 1.0
    return Plane(centred @ first, (float(values[-1]) / total, float(values[-2]) / total), of)
