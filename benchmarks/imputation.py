"""Cells hidden at random and filled in again: zoo beside scikit-learn's iterative imputer and a forest imputer.

    python -m benchmarks.imputation TABLE [--columns FILE] [--rows 5000] [--hide 0.2] [--seeds 0,1,2]
        [-m mixture,chain,vae] [--calibrate mixture] [--forest 0] [--keep FOLDER] [--ignore GLOB] [-o FILE.md]

A model may come with settings, `vae:dim=8`; without them its own grid is decided on its own validation rows. A seed
draws the rows, hides the cells and starts every fit. Models are fitted to the table with its holes and know nothing of
what was hidden. Peers and models are scored on the same cells.

Numbers: root mean squared error of the hidden cells over their standard deviation. Levels: errors over those of the
most frequent level. Both are 1 for a guess that knows nothing of the row; the last line is their mean over columns,
and a difference is paired by seed.

Draws: randomised probability integral transform of the hidden cells among 50 draws, numbers by their value and levels
by their code, ties in any order: uniform where a cell and its draws are exchangeable. One Kolmogorov-Smirnov test for
each column, so that of k columns of a model whose draws are right k/100 fail at 1%; the smallest p-value times k is the
test of all of them together (Bonferroni). Beside each column that fails: where its ranks lie (0 in the middle; above it
the draws are too low) and how spread they are (1; below it the draws are too wide, above it too narrow).

The peers: IterativeImputer with BayesianRidge on standardised numbers, with one-hot levels (the largest wins; levels of
one column explain each other, so that it stays near the most frequent) and with levels as rounded codes; and
missForest's scheme (Stekhoven & Buehlmann 2012): forests of 100 trees, a column at a time, from the fullest on, for
at most 5 rounds or until the change grows; for the seeds that `--forest` names.
"""

from __future__ import annotations

import argparse
import json
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

from zoo import Estimator, load, read_table
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
) -> pd.DataFrame:
    """By column, of the randomised ranks of the hidden cells among their draws: p-value of their being uniform, where
    they lie, and how spread they are."""
    rng, out = np.random.default_rng(seed), {}
    for column in schema.modelled:
        hidden = where[column.name].to_numpy()
        if hidden.sum() < 20:
            continue
        t = truth.loc[hidden, column.name].to_numpy()
        drawn = np.stack([d.loc[hidden, column.name].to_numpy() for d in draws])
        tolerance = 1e-9 * (np.abs(t) + 1)
        below, ties = (drawn < t - tolerance).sum(0), (np.abs(drawn - t) <= tolerance).sum(0)
        rank = (below + rng.random(len(t)) * (ties + 1)) / (len(draws) + 1)
        p = float(stats.kstest(rank, "uniform").pvalue)
        out[column.name] = {
            "number": column.is_number, "p": p, "place": rank.mean() - 0.5, "spread": rank.std() * np.sqrt(12)
        }  # fmt: skip
    return pd.DataFrame(out).T


def told(found: pd.DataFrame) -> list[str]:
    """What is said of the draws of a model."""
    p, number = found["p"].astype(float), found["number"].astype(bool)
    lines = [
        f"draws pass at 1% in {(p[number] > 0.01).sum()} of {number.sum()} numbers and {(p[~number] > 0.01).sum()} of "
        f"{(~number).sum()} columns of levels; smallest p x {len(p)} = {min(1.0, p.min() * len(p)):.2g}; "
        f"mean spread {found['spread'].astype(float).mean():.2f}"
    ]
    failed = found[p <= 0.01].sort_values("p")
    lines += [f"  {c}: p {r.p:.2g}, place {r.place:+.3f}, spread {r.spread:.2f}" for c, r in failed.iterrows()]
    return lines


def one_seed(whole: pd.DataFrame, asked: argparse.Namespace, seed: int) -> tuple[dict[str, pd.Series], list[str]]:
    """Errors of every peer and model on the cells of a seed, and what is said of them."""
    frame = whole.sample(min(asked.rows, len(whole)), random_state=seed).reset_index(drop=True)
    schema = infer_schema(frame, ignore=asked.ignore)
    frame = frame[list(schema.names)]
    schema = infer_schema(frame)
    holes, where = hide(frame, asked.hide, seed)
    left = infer_schema(holes, kinds=_kinds(schema))  # a column of which one value is left has nothing to be learnt
    kept = [c.name for c in schema.modelled if left[c.name] in left.modelled]
    frame, holes, where = frame[kept], holes[kept], where[kept]
    schema = infer_schema(frame)
    truth, codes = coded(frame, schema), coded(holes, schema)
    results: dict[str, pd.Series] = {}
    lines: list[str] = [f"{len(frame)} rows, seed {seed}"]

    def judge(name: str, run: Callable[[], tuple[pd.DataFrame, list[str]]]) -> None:
        kept = asked.keep / f"{seed} {name}.json" if asked.keep else None
        if kept is not None and kept.exists():
            found = json.loads(kept.read_text(encoding="utf-8"))
        else:
            started = time.perf_counter()
            guess, said = run()
            error = errors(truth, guess, where, schema)
            first = f"{name}: mean {error.mean():.3f}, {time.perf_counter() - started:.0f} s in all"
            found = {"errors": error.to_dict(), "lines": [first, *said]}
            if kept is not None:
                kept.write_text(json.dumps(found), encoding="utf-8")
        results[name] = pd.Series(found["errors"])
        lines.extend(found["lines"])
        print(*found["lines"], sep="\n", flush=True)

    def fitted(model: str) -> Estimator:
        kept = asked.keep / f"{seed} {model}" if asked.keep else None
        if kept is not None and kept.exists():
            return load(kept)
        name, *settings = model.split(":")
        given = {key: float(value) if "." in value else int(value) for key, value in (s.split("=") for s in settings)}
        found = Estimator(name, settings=given, schema=infer_schema(holes, kinds=_kinds(schema)), seed=seed).fit(holes)
        if kept is not None:
            found.save(kept)
        return found

    def filled(model: str, calibrate: bool) -> tuple[pd.DataFrame, list[str]]:
        found = fitted(model)
        guess = coded(found.impute(holes, calibrate=calibrate), schema)
        draws = [coded(d, schema) for d in found.impute(holes, draws=DRAWS, calibrate=calibrate)]
        chosen = [", ".join(f"{name} = {value}" for name, value in found.chosen_.items())] if found.chosen_ else []
        return guess, ["    " + line for line in [*chosen, *told(calibration(truth, draws, where, schema, seed))]]

    if seed in asked.one_hot:
        judge("ridge, one-hot", lambda: (ridge(codes, schema, seed), []))
    judge("ridge, codes", lambda: (ridge_on_codes(codes, schema, seed), []))
    if seed in asked.forest:
        judge("forest", lambda: (forest(codes, schema, seed), []))
    for model in asked.models:
        judge(model, lambda model=model: filled(model, False))
        if model in asked.calibrate:
            judge(f"{model}, calibrated", lambda model=model: filled(model, True))
    return results, lines


def summary(results: dict[int, dict[str, pd.Series]]) -> list[str]:
    """The mean error of everything over the seeds, and how far each model is below the best of the first peer."""
    means = pd.DataFrame({seed: {name: e.mean() for name, e in found.items()} for seed, found in results.items()})
    peer = means.loc[[name for name in means.index if name.startswith("ridge")]].min()
    lines = ["mean over columns, by seed:", "", means.round(3).to_string(na_rep="-"), ""]
    for name in means.index:
        if name.startswith(("ridge", "forest")) or len(peer) < 2:
            continue
        d = (means.loc[name] - peer).dropna()
        lines.append(f"{name} less the better ridge: {d.mean():+.4f} ± {d.std() / np.sqrt(len(d)):.4f}")
    return lines


def main() -> None:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    def seeds(text: str) -> list[int]:
        return [int(seed) for seed in names(text)]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--columns")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--hide", type=float, default=0.2)
    parser.add_argument("--seeds", type=seeds, default=[0])
    parser.add_argument("-m", "--models", type=names, default=["mixture", "chain", "vae"])
    parser.add_argument("--calibrate", type=names, default=[], help="models whose draws are calibrated too")
    parser.add_argument("--forest", type=seeds, default=[0], help="seeds with the forest imputer")
    parser.add_argument("--one-hot", type=seeds, default=[0], help="seeds with the ridge of one-hot levels")
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("--keep", type=Path, help="a folder for what was fitted and measured, which is not done again")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    whole = read_table(asked.table, columns=asked.columns)
    results: dict[int, dict[str, pd.Series]] = {}
    text = [f"{Path(asked.table).name}: {asked.hide:.0%} of the cells hidden", ""]
    for seed in asked.seeds:
        results[seed], lines = one_seed(whole, asked, seed)
        text += [*lines, ""]
        table = pd.concat([pd.DataFrame(found) for found in results.values()]).groupby(level=0, sort=False).mean()
        table.loc["mean"] = table.mean()
        over = f"by column, mean of {len(results)} seeds:" if len(results) > 1 else "by column:"
        end = [*summary(results), "", over, "", table.round(3).to_string(), ""]
        if asked.output is not None:  # after every seed, so that an end in between loses little
            asked.output.write_text("\n".join([*text, *end]), encoding="utf-8")
    print("\n".join(end))


def _kinds(schema: Schema) -> dict[str, str]:
    """Levels stay levels when cells are hidden."""
    return {c.name: c.kind for c in schema.modelled if not c.is_number}


if __name__ == "__main__":
    main()
