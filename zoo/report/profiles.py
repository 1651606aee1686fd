"""What the clusters of a table are like, column by column, in the user's units and names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoo.evaluate.profiles import beyond, centre
from zoo.report.words import moment, quantity
from zoo.table.cells import labels as level_labels
from zoo.table.cells import numeric_values
from zoo.table.schema import Column, Schema

MOST_CLUSTERS = 16
MOST_COLUMNS = 24
LONGEST = 16


@dataclass(frozen=True)
class Line:
    """One column over the clusters: what to print, how far each cluster is from the whole, and how far they part.

    texts   (K,) mean of a number, most common level and its share otherwise
    away    (K,) in standard deviations of the column (of the level's indicator), NaN where nothing is seen
    parted  share of the column's variance between clusters, times the share of cells that are there, 0 to 1
    """

    column: str
    kind: str
    overall: str
    texts: list[str]
    away: list[float]
    parted: float


@dataclass(frozen=True)
class Profiles:
    """clusters: their numbers as `predict` gives them, the biggest first; left_out: how many clusters, columns are."""

    clusters: list[int]
    sizes: list[int]
    lines: list[Line]
    clusters_left_out: int
    columns_left_out: int


def profiles(frame: pd.DataFrame, assigned: np.ndarray, schema: Schema) -> Profiles:
    """Profiles of the biggest clusters; the columns that part the clusters most come first."""
    found, counts = np.unique(assigned, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = found[order][:MOST_CLUSTERS]
    lines = [_line(frame, assigned, kept, column) for column in schema.modelled]
    lines.sort(key=lambda line: -line.parted)
    return Profiles(
        [int(k) for k in kept],
        [int(n) for n in counts[order][:MOST_CLUSTERS]],
        lines[:MOST_COLUMNS],
        max(0, len(found) - MOST_CLUSTERS),
        max(0, len(lines) - MOST_COLUMNS),
    )


def _line(frame: pd.DataFrame, assigned: np.ndarray, kept: np.ndarray, column: Column) -> Line:
    return (_number if column.is_number else _level)(frame[column.name], assigned, kept, column)


def _number(series: pd.Series, assigned: np.ndarray, kept: np.ndarray, column: Column) -> Line:
    values = numeric_values(series, column)
    there = ~np.isnan(values)
    if not there.any():
        return _blank(column, len(kept))
    mean = centre(values[there], column)
    spread = float(np.sqrt(np.square(beyond(values[there], mean, column)).mean())) or 1.0
    means = [values[there & (assigned == k)] for k in kept]
    show = (lambda v: moment(v, column.step)) if column.kind == "time" else (lambda v: quantity(v, spread))
    texts = [show(centre(v, column)) if len(v) else "–" for v in means]
    away = [float(beyond(centre(v, column), mean, column)) / spread if len(v) else np.nan for v in means]
    angle = None if column.period is None else values * (2 * np.pi / column.period)
    parts = [values] if angle is None else [np.cos(angle), np.sin(angle)]
    parted = max(_parted(part, assigned, there) for part in parts)
    return Line(column.name, column.kind, show(mean), texts, away, parted)


def _level(series: pd.Series, assigned: np.ndarray, kept: np.ndarray, column: Column) -> Line:
    cells = level_labels(series)
    there = cells.notna().to_numpy()
    if not there.any():
        return _blank(column, len(kept))
    overall = cells[there].value_counts(normalize=True)
    texts, away = [], []
    for k in kept:
        here = cells[there & (assigned == k)].value_counts(normalize=True)
        if not len(here):
            texts.append("–")
            away.append(np.nan)
            continue
        level, share = str(here.index[0]), float(here.iloc[0])
        base = float(overall[level])
        texts.append(f"{_short(level)} {share:.0%}")
        away.append((share - base) / max(np.sqrt(base * (1 - base)), 1e-9) if base < 1 else 0.0)
    index = np.array(overall.index.get_indexer(pd.Index(cells)))
    parted = max(_parted((index == i).astype(float), assigned, there) for i in range(min(len(overall), 12)))
    return Line(column.name, column.kind, f"{_short(str(overall.index[0]))} {overall.iloc[0]:.0%}", texts, away, parted)


def _short(level: str) -> str:
    return level if len(level) <= LONGEST else level[: LONGEST - 1] + "…"


def _blank(column: Column, clusters: int) -> Line:
    return Line(column.name, column.kind, "–", ["–"] * clusters, [np.nan] * clusters, 0.0)


def _parted(values: np.ndarray, assigned: np.ndarray, there: np.ndarray) -> float:
    """Share of the variance that lies between the clusters, times the share of the cells that are there."""
    values, assigned = values[there], assigned[there]
    total = float(values.var())
    if total <= 0:
        return 0.0
    _, index = np.unique(assigned, return_inverse=True)
    counts = np.bincount(index)
    means = np.bincount(index, values) / counts
    return float((counts * (means - values.mean()) ** 2).sum() / len(values) / total * there.mean())
