"""Clusters in the user's own units and category names."""

from __future__ import annotations

import numpy as np
import pandas as pd

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


def _mean(values: np.ndarray, column: Column) -> float | str | None:
    """Mean of the values there; of days and times as ISO text."""
    if not len(values):
        return None
    mean = float(values.mean())
    if column.kind != "time":
        return mean
    return label((EPOCH + pd.Timedelta(days=mean)).round("D" if column.step == 1 else "s"))
