"""Cells hidden at random and filled in again: zoo beside scikit-learn's iterative imputer and a forest imputer.

    python -m benchmarks.imputation TABLE [--columns FILE] [--rows 5000] [--hide 0.2] [--seed 0] [-m mixture,chain,vae]
                                          [--ignore GLOB] [-o FILE.md]

Numbers: root mean squared error of the hidden cells over their standard deviation. Levels: errors over those of the
most frequent level. Both are 1 for a guess that knows nothing of the row; the last line is their mean over columns.
Draws: randomised probability integral transform of the hidden numbers among 50 draws, and its p-value by column.

The peers: IterativeImputer with BayesianRidge on standardised numbers, with one-hot levels (the largest wins; levels of
one column explain each other, so that it stays near the most frequent) and with levels as rounded codes; and
missForest's scheme (Stekhoven & Buehlmann 2012): forests of 100 trees, a column at a time, from the fullest on, for
at most 5 rounds or until the change grows.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import BayesianRidge

from zoo import fit, read_table
from zoo.table.infer import infer_schema
from zoo.table.schema import Schema

ROUNDS, TREES, DRAWS = 5, 100, 50


def hide(frame: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with a share of its cells hidden, and where they were."""
    rng = np.random.default_rng(seed)
    where = pd.DataFrame(rng.random(frame.shape) < share, columns=frame.columns, index=frame.index) & frame.notna()
    return frame.mask(where), where


def coded(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Numbers as floats, levels as codes, missing cells NaN."""
    out = {}
    for column in schema.modelled:
        if column.is_number:
            out[column.name] = pd.to_numeric(frame[column.name]).astype(float)
        else:
            levels = {level: i for i, level in enumerate(column.levels)}
            out[column.name] = (
                frame[column.name].map(lambda v, levels=levels: levels.get(_text(v), np.nan)).astype(float)
            )
    return pd.DataFrame(out, index=frame.index)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- peers


def ridge_on_codes(codes: pd.DataFrame, schema: Schema, seed: int) -> pd.DataFrame:
    """scikit-learn's iterative imputer: everything standardised, levels as their codes, rounded afterwards."""
    mean, spread = codes.mean(), codes.std(ddof=0).replace(0, 1)
    imputer = IterativeImputer(BayesianRidge(), random_state=seed, max_iter=10, keep_empty_features=True)
    out = (
        pd.DataFrame(imputer.fit_transform(((codes - mean) / spread).to_numpy(copy=True)), columns=codes.columns)
        * spread
        + mean
    )
    for column in schema.modelled:
        if not column.is_number:
            out[column.name] = out[column.name].round().clip(0, len(column.levels) - 1)
    return out.where(codes.isna(), codes)


def ridge(codes: pd.DataFrame, schema: Schema, seed: int) -> pd.DataFrame:
    """scikit-learn's iterative imputer: numbers standardised, levels one-hot."""
    parts, owner = [], []
    for column in schema.modelled:
        values = codes[column.name].to_numpy()
        if column.is_number:
            parts.append(((values - np.nanmean(values)) / (np.nanstd(values) or 1.0))[:, None])
        else:
            parts.append(np.where(np.isnan(values)[:, None], np.nan, values[:, None] == np.arange(len(column.levels))))
        owner += [column.name] * parts[-1].shape[1]
    imputer = IterativeImputer(BayesianRidge(), random_state=seed, max_iter=10, keep_empty_features=True)
    filled = pd.DataFrame(imputer.fit_transform(np.concatenate(parts, 1)))
    out = codes.copy()
    for column in schema.modelled:
        block = filled.loc[:, [name == column.name for name in owner]].to_numpy()
        values = codes[column.name].to_numpy()
        if column.is_number:
            out[column.name] = block[:, 0] * (np.nanstd(values) or 1.0) + np.nanmean(values)
        else:
            out[column.name] = block.argmax(1)
    return out.where(codes.isna(), codes)


def forest(codes: pd.DataFrame, schema: Schema, seed: int) -> pd.DataFrame:
    """missForest's scheme."""
    kinds = {c.name: c.is_number for c in schema.modelled}
    x = codes.copy()
    for name, number in kinds.items():
        x[name] = x[name].fillna(x[name].mean() if number else x[name].mode().iloc[0])
    order = [name for name in codes.isna().sum().sort_values().index if codes[name].isna().any()]
    last, before = np.inf, x
    for _ in range(ROUNDS):
        before = x.copy()
        for name in order:
            missing = codes[name].isna()
            kind = RandomForestRegressor if kinds[name] else RandomForestClassifier
            model = kind(TREES, n_jobs=1, random_state=seed, max_features="sqrt", min_samples_leaf=1)
            others = x.drop(columns=name)
            model.fit(others[~missing], codes.loc[~missing, name])
            x.loc[missing, name] = model.predict(others[missing])
        spread = codes.std().replace(0, 1)
        change = float((((x - before) / spread) ** 2).to_numpy().mean())
        if change > last:
            return before
        last = change
    return x


# ---- measures


def errors(truth: pd.DataFrame, guess: pd.DataFrame, where: pd.DataFrame, schema: Schema) -> pd.Series:
    """Standardised error of each column's hidden cells."""
    out = {}
    for column in schema.modelled:
        hidden = where[column.name].to_numpy()
        if hidden.sum() < 2:
            continue
        t, g = truth.loc[hidden, column.name].to_numpy(), guess.loc[hidden, column.name].to_numpy()
        if column.is_number:
            out[column.name] = float(np.sqrt(np.mean((t - g) ** 2)) / (t.std() or 1.0))
        else:
            mode = truth.loc[~hidden, column.name].mode().iloc[0]
            out[column.name] = float((t != g).mean() / max((t != mode).mean(), 1e-9))
    return pd.Series(out)


def calibration(
    truth: pd.DataFrame, draws: list[pd.DataFrame], where: pd.DataFrame, schema: Schema, seed: int
) -> pd.Series:
    """p-value of each number's randomised rank among its draws being uniform."""
    rng, out = np.random.default_rng(seed), {}
    for column in schema.modelled:
        hidden = where[column.name].to_numpy()
        if not column.is_number or hidden.sum() < 20:
            continue
        t = truth.loc[hidden, column.name].to_numpy()
        drawn = np.stack([d.loc[hidden, column.name].to_numpy() for d in draws])
        tolerance = 1e-9 * (np.abs(t) + 1)
        below, ties = (drawn < t - tolerance).sum(0), (np.abs(drawn - t) <= tolerance).sum(0)
        rank = (below + rng.random(len(t)) * (ties + 1)) / (len(draws) + 1)
        out[column.name] = float(stats.kstest(rank, "uniform").pvalue)
    return pd.Series(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--columns")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--hide", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-m", "--models", default="mixture,chain,vae")
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = read_table(asked.table, columns=asked.columns)
    frame = frame.sample(min(asked.rows, len(frame)), random_state=asked.seed).reset_index(drop=True)
    schema = infer_schema(frame, ignore=asked.ignore)
    frame = frame[list(schema.names)]
    schema = infer_schema(frame)
    holes, where = hide(frame, asked.hide, asked.seed)
    truth, codes = coded(frame, schema), coded(holes, schema)
    results: dict[str, pd.Series] = {}
    lines: list[str] = []

    def judge(name: str, run: Callable[[], pd.DataFrame]) -> None:
        started = time.perf_counter()
        results[name] = errors(truth, run(), where, schema)
        seconds = time.perf_counter() - started
        lines.append(f"{name}: mean {results[name].mean():.3f}, {seconds:.0f} s")
        print(lines[-1], flush=True)

    judge("ridge, one-hot", lambda: ridge(codes, schema, asked.seed))
    judge("ridge, codes", lambda: ridge_on_codes(codes, schema, asked.seed))
    judge("forest", lambda: forest(codes, schema, asked.seed))
    for model in asked.models.split(","):
        fitted = fit(model, holes, schema=infer_schema(holes, kinds=_kinds(schema)), seed=asked.seed)
        judge(model, lambda fitted=fitted: coded(fitted.impute(holes), schema))
        draws = [coded(d, schema) for d in fitted.impute(holes, draws=DRAWS)]
        p = calibration(truth, draws, where, schema, asked.seed)
        lines.append(f"{model}: calibrated at 1% in {(p > 0.01).sum()} of {len(p)} numbers (p {p.round(3).to_dict()})")
        print(lines[-1], flush=True)
    table = pd.DataFrame(results)
    table.loc["mean"] = table.mean()
    print(table.round(3).to_string())
    if asked.output is not None:
        title = f"{Path(asked.table).name}: {len(frame)} rows, {asked.hide:.0%} of the cells hidden, seed {asked.seed}"
        asked.output.write_text("\n".join([title, "", *lines, "", table.round(3).to_string(), ""]), encoding="utf-8")


def _kinds(schema: Schema) -> dict[str, str]:
    """Levels stay levels when cells are hidden."""
    return {c.name: c.kind for c in schema.modelled if not c.is_number}


if __name__ == "__main__":
    main()
