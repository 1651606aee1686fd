# %% [markdown]
# # Missing cells: what does summing out gain over filling in first?
#
# A table with holes is often filled before it is modelled, by the mean and the most frequent level, or by a regression
# of each number on the others. A density can do without: cells that nobody saw are summed out of the likelihood. What
# is that worth? Cells of real tables with numbers and levels are hidden at random, in the rows that fit alone; the same
# model is fitted to the table as it is, filled by mean and mode, and filled by scikit-learn's `IterativeImputer`
# (levels by their mode); all are scored on the same complete rows.
#
#     python analyses/missing_and_mixed.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from _study import Study, listed, real, tally
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

import zoo
from zoo.evaluate.paired import Paired, paired
from zoo.report.style import DATA_POINT, INK, MODEL, PAPER, SECOND, styled
from zoo.table.schema import Schema

study = Study.asked("missing_and_mixed", "What does summing missing cells out gain over filling them in first?")
FITTED, JUDGED = (100, 50) if study.quick else (800, 500)
SHARES = (0.3,) if study.quick else (0.1, 0.3, 0.5)
WAYS = ("summed out", "mean and mode", "iterative")
FILLED = WAYS[1:]
VAE = {"program.dim": 4, "program.network.hidden": [64], "guide.network.hidden": [64], "fit.steps": 400}
MODELS: dict[str, dict[str, Any]] = {
    "mixture": {
        "program.components": 3 if study.quick else 12,
        "program.restarts": 3,
        "fit.steps": 60 if study.quick else 800,
    },
    **({} if study.quick else {"vae": VAE}),
}


# %% [markdown]
# ## Tables, holes and fillings
#
# The rows that judge are the same for all seeds; a seed draws the rows that fit, hides their cells and starts the fit.
# A filled number takes the nearest value that its column has elsewhere, so that no filling leaves the column's grid.


# %%
def mixed_tables() -> dict[str, pd.DataFrame]:
    if study.quick:
        return {"iris": zoo.example("iris")}
    adult = real("adult-train.csv.gz", skipinitialspace=True, na_values=["?"]).drop(columns=["fnlwgt", "education"])
    tables = {"adult": adult, "housing": real("housing.csv"), "penguins": real("penguins.csv").drop(columns="year")}
    return {name: table.dropna() for name, table in tables.items()}


def hidden(frame: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The table with this share of its cells missing, completely at random."""
    where = np.random.default_rng(seed).random(frame.shape) < share
    return frame.astype(dict.fromkeys(frame.select_dtypes("number"), float)).mask(where)


def filled(frame: pd.DataFrame, way: str) -> pd.DataFrame:
    """The table without holes; numbers by their mean, or by regressions on one another, and levels by their mode."""
    numbers = frame.select_dtypes("number")
    guess = numbers.fillna(numbers.mean())
    if way == "iterative":
        scale = numbers.std().replace(0, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            made = IterativeImputer(random_state=0).fit_transform((numbers - numbers.mean()) / scale)
        guess = pd.DataFrame(made, numbers.index, numbers.columns) * scale + numbers.mean()
    out = frame.copy()
    for name in frame:
        missing = frame[name].isna()
        if name in guess:
            has, wanted = np.sort(frame[name].dropna().unique()), guess.loc[missing, name].to_numpy()
            above = np.searchsorted(has, wanted).clip(1, len(has) - 1)
            out.loc[missing, name] = np.where(wanted - has[above - 1] < has[above] - wanted, has[above - 1], has[above])
        else:
            out.loc[missing, name] = frame[name].mode().iloc[0]
    return out


def scored(model: str, frame: pd.DataFrame, judging: pd.DataFrame, schema: Schema, seed: int) -> np.ndarray:
    """Log-likelihood of each held-out row, nats."""
    estimator = zoo.Estimator(model, settings=MODELS[model], schema=schema, seed=seed, device="cpu").fit(frame)
    return estimator.log_likelihood(judging, 100).log_likelihood


# %%
found: dict[tuple[str, str, float, str], np.ndarray] = {}
"""(seeds, rows) by model, table, share hidden and way; of no hidden cells the way is "summed out"."""
tables = mixed_tables()
for name, table in tables.items():
    judged = min(JUDGED, round(0.3 * len(table)))
    some = table.sample(min(6 * judged, len(table)), random_state=0)
    judging, rest, schema = some.iloc[:judged], some.iloc[judged:], zoo.infer_schema(some)
    for model in MODELS:
        for share, way in [(0.0, WAYS[0]), *((share, way) for share in SHARES for way in WAYS)]:
            each = []
            for seed in study.seeds:
                holes = hidden(rest.sample(min(FITTED, len(rest)), random_state=seed), share, seed)
                frame = holes if way == WAYS[0] else filled(holes, way)
                each.append(scored(model, frame, judging, schema, seed))
            found[model, name, share, way] = np.stack(each)
            print(f"  {model:8} {name:9} {share:4.0%} {way:14} {np.mean(each):9.3f}", flush=True)


# %% [markdown]
# ## What follows


# %%
def gain(model: str, name: str, share: float, way: str) -> Paired:
    """Of summing out over this filling, paired by row and seed."""
    return paired(found[model, name, share, WAYS[0]] - found[model, name, share, way])


def lost(model: str, name: str, share: float, way: str) -> Paired:
    """Of the holes, beside the same rows without any."""
    return paired(found[model, name, share, way] - found[model, name, 0.0, WAYS[0]])


def ahead(one: str, other: str, models: list[str]) -> list[bool]:
    """Whether one way is better than another, of every table, share and seed."""
    places = [(m, n, s) for m in models for n in tables for s in SHARES]
    return [bool(d > 0) for at in places for d in (found[*at, one] - found[*at, other]).mean(1)]


def on_gains(model: str) -> None:
    most = SHARES[-1]
    for way in FILLED:
        each = {(n, s): gain(model, n, s, way) for n in tables for s in SHARES}
        said = {at: f"{d.mean:+.2f} ± {d.standard_error:.2f}" for at, d in each.items()}
        unsure = [f"{n} at {s:.0%}, {said[n, s]}" for (n, s), d in each.items() if d.mean < 2 * d.standard_error]
        study.sentences.append(
            f"{model}: summing out is ahead of filling by {way} in {tally(ahead(WAYS[0], way, [model]))} fits, with "
            f"{most:.0%} hidden by {listed([f'{said[n, most]} on {n}' for n in tables])} nats per complete row. Not by "
            f"two standard errors: {listed(unsure) or 'nowhere'}."
        )
    costs = [f"{listed([f'{lost(model, n, most, w).mean:+.2f} ({w})' for w in WAYS])} on {n}" for n in tables]
    study.sentences.append(f"{model}: what {most:.0%} of cells hidden cost, beside none: {'; '.join(costs)}.")


for model in MODELS:
    on_gains(model)
study.sentences.append(
    "A better guess of the cells, by regression and not by the mean, makes the better density in "
    f"{tally(ahead(*reversed(FILLED), list(MODELS)))} fits."
)
won = [one for way in FILLED for one in ahead(WAYS[0], way, list(MODELS))]
study.say(sum(won) * 2 > len(won), f"In all, summing out is ahead in {tally(won)}.", "summing out", tally(won))
study.check()


# %% [markdown]
# ## The figure


# %%
def draw_panel(axes: Axes, model: str, name: str) -> None:
    """What hidden cells cost, by their share and by what is done about them; bars are two standard errors."""
    colours = dict(zip(WAYS, (MODEL, DATA_POINT, SECOND), strict=True))
    axes.axhline(0, color=INK, lw=0.9)
    for way in WAYS:
        each = [lost(model, name, s, way) for s in SHARES]
        x, y = [0.0, *SHARES], [0.0, *(d.mean for d in each)]
        bars = [0.0, *(2 * d.standard_error for d in each)]
        axes.errorbar(x, y, bars, fmt="-o", ms=5, mec=PAPER, lw=1.6, elinewidth=1, color=colours[way], label=way)
    axes.set_xticks([0, *SHARES], [f"{s:.0%}" for s in (0, *SHARES)])
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{name}: {model}")


def draw() -> Figure:
    figure = Figure(figsize=(9, 0.7 + 2.3 * len(MODELS)), layout="constrained", dpi=110)
    grid = figure.subplots(len(MODELS), len(tables), squeeze=False)
    for row, model in zip(grid, MODELS, strict=True):
        for axes, name in zip(row, tables, strict=True):
            draw_panel(axes, model, name)
        row[0].set_ylabel("nats per row from no holes")
    for axes in grid[-1]:
        axes.set_xlabel("cells hidden in the rows that fit")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


# %%
rows = pd.DataFrame(
    {"model": m, "table": n, "hidden": s, "way": w, "seed": seed, "log_likelihood": one.mean(), "rows": one.size}
    for (m, n, s, w), each in found.items()
    for seed, one in zip(study.seeds, each, strict=True)
).round(5)
with styled():
    study.write(rows, draw())
