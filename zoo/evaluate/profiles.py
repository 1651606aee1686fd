"""Clusters in the user's own units and category names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import circmean

from zoo.table.cells import EPOCH, label, labels, numeric_values
from zoo.table.schema import Column, Schema

UNSURE = 0.8


def cluster_table(probabilities: np.ndarray, index: pd.Index) -> pd.DataFrame:
    """Label, whether the row is unsure (no cluster above 80%), and each cluster's probability."""
    label = probabilities.argmax(1)
    out = pd.DataFrame({"cluster": label, "unsure": ~(probabilities.max(1) >= UNSURE)}, index=index)
    names = [f"p{k}" for k in range(probabilities.shape[1])]
    return pd.concat([out, pd.DataFrame(probabilities, columns=names, index=index)], axis=1)


def profiles(frame: pd.DataFrame, cluster: pd.Series, schema: Schema) -> pd.DataFrame:
    """One line a cluster, largest first: its rows and each column's mean, or most common level with its share."""
    lines = []
    for k in sorted(set(cluster)):
        rows = frame[cluster.to_numpy() == k]
        line: dict[str, object] = {"cluster": int(k), "rows": len(rows)}
        for column in schema.modelled:
            cells = rows[column.name]
            shown = f"column {column.name}" if column.name in ("cluster", "rows") else column.name
            if column.is_number:
                values = numeric_values(cells, column)
                line[shown] = _mean(values[np.isfinite(values)], column)
            else:
                counts = labels(cells).value_counts(normalize=True)
                line[shown] = f"{counts.index[0]} {counts.iloc[0]:.0%}" if len(counts) else None
        lines.append(line)
    return pd.DataFrame(lines).sort_values("rows", ascending=False).set_index("cluster")


def centre(values: np.ndarray, column: Column) -> float:
    """Mean of values (n,); where they are cyclic the direction of their mean on the circle: of 23 and 1 hours it is 0,
    not 12."""
    if column.period is None:
        return float(values.mean())
    first = column.lower or 0.0
    return float(circmean(values, high=first + column.period, low=first))


def beyond(values: Any, where: float, column: Column) -> Any:
    """How far values lie beyond one, the shorter way round where they are cyclic."""
    if column.period is None:
        return values - where
    return (values - where + column.period / 2) % column.period - column.period / 2


def _mean(values: np.ndarray, column: Column) -> float | str | None:
    """Mean of the values there; of days and times as ISO text."""
    if not len(values):
        return None
    mean = centre(values, column)
    if column.kind != "time":
        return mean
    return label((EPOCH + pd.Timedelta(days=mean)).round("D" if column.step == 1 else "s"))
