"""How close samples come to the table: column shapes, pair trends, and a boosted classifier's two-sample test.

    python -m benchmarks.synthesis TABLE [--columns FILE] [--models mixture,chain] [--output FILE]

Definitions as SDMetrics': shape is 1 - KS or 1 - total variation, averaged over columns; trend is 1 - |difference of
correlations| / 2 for two numeric columns and 1 - total variation of the two-way table otherwise (numbers in ten bins of
as many rows each, where SDMetrics' are of equal width), averaged over pairs; C2ST is 1 - (2 max(AUC, 1/2) - 1) of
gradient boosting in 3-fold cross-validation, 1 where samples cannot be told from held-out rows. Another real sample is
the ceiling, independent columns the floor.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import zoo
from zoo.errors import ZooWarning
from zoo.table.cells import labels, numeric_values
from zoo.table.schema import Schema
from zoo.table.split import split

BINS = 10


def coded(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Numbers as they are, levels as text; missing cells stay missing."""
    out = {}
    for c in schema.modelled:
        out[c.name] = numeric_values(frame[c.name], c) if c.is_number else labels(frame[c.name]).to_numpy(dtype=object)
    return pd.DataFrame(out)


def total_variation(a: pd.Series, b: pd.Series) -> float:
    p, q = a.value_counts(normalize=True), b.value_counts(normalize=True)
    return float(0.5 * p.sub(q, fill_value=0).abs().sum())


def shapes(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema) -> float:
    out = []
    for c in schema.modelled:
        a, b = real[c.name].dropna(), drawn[c.name].dropna()
        out.append(1 - (ks_2samp(a, b).statistic if c.is_number else total_variation(a, b)))
    return float(np.mean(out))


def trends(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema) -> float:
    binned = []
    edges = {c.name: np.unique(np.nanquantile(real[c.name], np.linspace(0, 1, BINS + 1)[1:-1])) for c in schema.numeric}
    for frame in (real, drawn):
        bins = {name: np.digitize(frame[name], e).astype(str) for name, e in edges.items()}
        binned.append(frame.assign(**bins).fillna("nan").astype(str))
    out = []
    for a, b in itertools.combinations(schema.modelled, 2):
        if a.is_number and b.is_number:
            gap = abs(real[a.name].corr(real[b.name]) - drawn[a.name].corr(drawn[b.name]))
            out.append(1 - gap / 2)
        else:
            out.append(1 - total_variation(*(f[a.name] + "|" + f[b.name] for f in binned)))
    return float(np.mean(out))


def c2st(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema) -> float:
    both = pd.concat([real, drawn], ignore_index=True)
    for c in schema.discrete:
        both[c.name] = both[c.name].astype("category").cat.codes
    y = np.repeat([0, 1], [len(real), len(drawn)])
    levels = [both.columns.get_loc(c.name) for c in schema.discrete if c.n_logits <= 250]
    model = HistGradientBoostingClassifier(categorical_features=levels, random_state=0)
    auc = roc_auc_score(y, cross_val_predict(model, both, y, cv=3, method="predict_proba")[:, 1])
    return float(1 - (2 * max(auc, 0.5) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--columns", type=Path)
    parser.add_argument("--models", default="independent,mixture,chain")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "synthesis.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    frame = zoo.read_table(arguments.table, columns=arguments.columns)
    schema = zoo.infer_schema(frame)
    # rows with missing cells are set aside, as the published figures do
    frame = frame.dropna(subset=list(schema.names)).reset_index(drop=True)
    parts = split(len(frame), 0)
    train, test = frame.iloc[parts.train], frame.iloc[np.concatenate([parts.validation, parts.test])]
    real, lines = coded(test, schema), []
    samples = {"a second real sample": (coded(train.sample(len(test), random_state=0), schema), 0.0, None)}
    for model in arguments.models.split(","):
        started = time.perf_counter()
        estimator = zoo.Estimator(model).fit_parts(train, frame.iloc[parts.validation], schema)
        seconds = time.perf_counter() - started
        score = estimator.score(frame.iloc[parts.test])
        samples[model] = (coded(estimator.sample(len(test)), schema), seconds, score)
    for name, (drawn, seconds, score) in samples.items():
        line = {"table": arguments.table.name, "model": name, "shape": shapes(real, drawn, schema)}
        line |= {"trend": trends(real, drawn, schema), "c2st": c2st(real, drawn, schema)}
        lines.append(line | {"log_likelihood": score, "seconds": seconds})
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in lines[-1].items()}, flush=True)
    arguments.output.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
