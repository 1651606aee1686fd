"""The run folder of a comparison: the ranking, every fitted model, the rows that judged, the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zoo import run

if TYPE_CHECKING:
    from zoo.comparison.result import Comparison

SHOWN_ROWS = 2000


def write(folder: Path, comparison: Comparison) -> None:
    """Write a comparison into a folder that is there."""
    run.write_json(folder / "comparison.json", comparison.to_json())
    (folder / "schema.toml").write_text(comparison.schema.to_toml(), encoding="utf-8")
    comparison.scores.to_parquet(folder / "scores.parquet")
    _parquet(comparison.frame.iloc[comparison.judges], folder / "held_out.parquet")
    if not comparison.folds:  # else all rows were held out
        shown = np.random.default_rng(comparison.seed).permutation(comparison.parts.train)[:SHOWN_ROWS]
        _parquet(comparison.frame.iloc[np.sort(shown)], folder / "rows.parquet")
    for entry in comparison.fitted:
        assert entry.estimator is not None
        entry.estimator.reading_ = comparison.reading
        score = entry.scores.to_json() if entry.scores else None
        entry.estimator.write(folder / "models" / entry.model, score=score)
    run.write_manifest(
        folder, run.manifest("comparison", comparison.seed, table=comparison.name, reading=comparison.reading)
    )
    from zoo.report.page import write_report

    write_report(folder, estimators={e.model: e.estimator for e in comparison.fitted if e.estimator})


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    from zoo.table.writer import write_table

    write_table(frame, path)


def load_comparison(path: str | Path) -> dict[str, Any]:
    """The ranking of a comparison's run folder."""
    path = Path(path)
    manifest = run.read_manifest(path, "comparison")
    with run.reading(path):
        return run.read_ranking(path, manifest)
