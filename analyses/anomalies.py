# %% [markdown]
# # Does a low density find anomalies?
#
# Models are fitted to normal rows alone, and score others, among which anomalies keep the share that the table has:
# forest cover of a rare kind, states of the shuttle other than the usual one, and, hard, hadrons among the gammas of
# magic04. The higher -log p, the more a row is called an anomaly. Beside four densities stands scikit-learn's isolation
# forest. And is an outlier's p-value (`tail_probability`) below 0.05 for 5% of the normal rows that no fit saw?
#
# A seed is other rows. Densities are fitted for some hundred steps: enough to rank rows, not for their best likelihood.
#
#     python analyses/anomalies.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from _study import DATA as TABLES
from _study import Study, listed
from _tables import mean_and_error, need_tables, on_seeds, told
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

import zoo
from zoo.report.style import CLUSTERS, DATA, INK, MODEL, PAPER, SECOND, styled

study = Study.asked("anomalies", "Does a low density find anomalies?")
warnings.simplefilter("ignore")
FITTING, JUDGING, DRAWS = (200, 250, 200) if study.quick else (1000, 2000, 1000)
LEVEL, CHANCE = 0.05, 0.01
FOREST = "isolation forest"
MODELS: dict[str, dict[str, Any]] = {"gmm": {"components": 3 if study.quick else {"grid": [1, 3, 8]}, "restarts": 3}}
if not study.quick:
    need_tables()
    MODELS["nsf"] = {
        "program.flow.hidden": [32, 32],
        "program.flow.layers": 2,
        "program.flow.bins": 8,
        "fit.steps": 500,
    }
    MODELS["circuit"] = {"states": 8, "fit.steps": 400}
    MODELS["vae"] = {"dim": 4, "fit.steps": 500}


# %% [markdown]
# ## Three tables, and their anomalies


# %%
class Parts(NamedTuple):
    """Normal rows to fit; rows to judge, and which of them are anomalies."""

    fitting: pd.DataFrame
    judging: pd.DataFrame
    odd: np.ndarray


def read(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A table (N, D) of numbers, and which rows are anomalies."""
    if name == "breast-cancer":
        frame = zoo.example(name)
        return frame.iloc[:, :5], (frame.iloc[:, -1] == "malignant").to_numpy()
    if name == "magic04":
        frame = pd.read_csv(TABLES / "magic04.data.gz")
        return frame.iloc[:, :-1], (frame.iloc[:, -1].str.strip() == "h").to_numpy()
    with np.load(TABLES / f"{name}.npz") as file:
        x, y = file["X"], file["y"]
    return pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])]), y == 1


def part(frame: pd.DataFrame, odd: np.ndarray, seed: int) -> Parts:
    rng = np.random.default_rng(seed)
    normal, strange = rng.permutation(np.flatnonzero(~odd)), rng.permutation(np.flatnonzero(odd))
    anomalies = max(10, round(JUDGING * odd.mean()))
    judged = np.concatenate([normal[FITTING : FITTING + JUDGING - anomalies], strange[:anomalies]])
    return Parts(frame.iloc[normal[:FITTING]], frame.iloc[judged], odd[judged])


def forest(parts: Parts, seed: int) -> dict[str, float]:
    fitted = IsolationForest(random_state=seed).fit(parts.fitting)
    return ranks(parts, -fitted.score_samples(parts.judging))


def ranks(parts: Parts, score: np.ndarray) -> dict[str, float]:
    auc, precision = roc_auc_score(parts.odd, score), average_precision_score(parts.odd, score)
    return {"auc": float(auc), "average_precision": float(precision)}


def density(model: str, parts: Parts, seed: int) -> dict[str, float]:
    """How well -log p ranks, and how many normal rows, of how many, have p-values below LEVEL."""
    fitted = zoo.Estimator(model, settings=MODELS[model], seed=seed, device="cpu").fit(parts.fitting)
    out = ranks(parts, -fitted.score_samples(parts.judging))
    p = fitted.tail_probability(parts.judging[~parts.odd], DRAWS)
    return out | {"normal": len(p), "below": int((p < LEVEL).sum())}


NAMES = ["breast-cancer"] if study.quick else ["32_shuttle", "10_cover", "magic04"]
lines = []
for name in NAMES:
    frame, odd = read(name)
    for seed in study.seeds:
        parts = part(frame, odd, seed)
        common = {"table": name, "seed": seed, "share": parts.odd.mean()}
        lines.append(common | {"model": FOREST} | forest(parts, seed))
        for model in MODELS:
            lines.append(common | {"model": model} | density(model, parts, seed))
        print(name, seed, {x["model"]: (round(x["auc"], 3), x.get("below")) for x in lines[-5:]}, flush=True)
table = pd.DataFrame(lines).assign(below_share=lambda t: t["below"] / t["normal"])
auc, precision = (
    table.pivot_table(index=["table", "seed"], columns="model", values=v) for v in ("auc", "average_precision")
)


# %% [markdown]
# ## What follows


# %%
def on_table(name: str) -> None:
    means, aps = auc.loc[name].mean().sort_values(ascending=False), precision.loc[name].mean()
    best = means.index.drop(FOREST)[0]
    gap = auc.loc[name, best] - auc.loc[name, FOREST]
    order = ", ".join(f"{model} {value:.3f} ({aps[model]:.2f})" for model, value in means.items())
    versus = f"{told(gap, 3)}, the higher one" if len(gap) > 1 else f"{gap.iloc[0]:+.3f}, the higher one"
    share = table.loc[table["table"] == name, "share"].iloc[0]
    study.say(
        bool((auc.loc[name].max(axis=1) > 0.5).all()),
        f"{name}, {share:.1%} anomalies: AUC (average precision) {order}. The best density, {best}, less the forest: "
        f"{versus} {on_seeds(list(gap > 0))}.",
        f"something is better than chance on {name}",
        f"{auc.loc[name]}",
    )


def on_the_hard() -> None:
    """Does the density that ranks best rank best everywhere?"""
    means = auc.groupby("table").mean()
    winners = means.idxmax(axis=1)
    lows = means[list(MODELS)].min()
    low = lows.idxmin()
    study.say(
        bool(means.loc["magic04"].max() < means.drop("magic04").max().max()),
        f"The best by AUC: {listed([f'{winners[name]} on {name}' for name in NAMES])}. The lowest "
        f"AUC of a density is {lows[low]:.3f}, of {low} on {means[low].idxmin()}; the highest of all on the hard "
        f"magic04 is {means.loc['magic04'].max():.3f}.",
        "the hard table is harder than another",
        f"{means}",
    )


def on_p_values() -> None:
    """A run is as it should be where its count lies within the binomial's 99%."""
    for model in MODELS:
        some = table[table["model"] == model]
        low, high = (binom.ppf(q, some["normal"], LEVEL) for q in (CHANCE / 2, 1 - CHANCE / 2))
        over, under = int((some["below"] > high).sum()), int((some["below"] < low).sum())
        inside = int(some["below"].between(low, high).sum())
        shares = some.groupby("table")["below_share"].mean()[NAMES]
        what = ", ".join(f"{share:.1%} on {name}" for name, share in shares.items())
        mean, error = mean_and_error(some["below_share"]) if len(some) > 1 else (float(shares.iloc[0]), float("nan"))
        study.say(
            inside + over + under == len(some),
            f"{model}: p-values of normal rows are below {LEVEL} for {what}"
            + ("" if study.quick else f" (mean {mean:.1%} ± {error:.1%})")
            + f"; of {len(some)} runs the share is within the binomial's {1 - CHANCE:.0%} of {LEVEL:.0%} in {inside}, "
            f"above it, with too many false alarms, in {over}, below it in {under}.",
            "a run is in one of three places",
            f"{inside}, {over} and {under} of {len(some)}",
        )


for name in NAMES:
    on_table(name)
if not study.quick:
    on_the_hard()
on_p_values()
study.check()

# %% [markdown]
# ## The figure

# %%
EVERY = (*MODELS, FOREST)
COLOURS = dict(zip(EVERY, (*(MODEL, SECOND, CLUSTERS[4], CLUSTERS[2])[: len(MODELS)], DATA), strict=True))


def draw(axes: Axes, values: pd.DataFrame, models: tuple[str, ...], legend: bool) -> None:
    """A mark a seed, a line their mean."""
    for j, model in enumerate(models):
        y = np.arange(len(NAMES)) + 0.15 * (j - (len(models) - 1) / 2)
        each = values[model].unstack("table")[NAMES]
        for _, seed in each.iterrows():
            axes.plot(seed, y, "o", ms=5.5, mfc=COLOURS[model], mec=PAPER, mew=0.5, alpha=0.85, zorder=3)
        axes.vlines(each.mean(), y - 0.065, y + 0.065, color=COLOURS[model], lw=2.2)
        if legend:
            axes.plot([], [], "o", ms=6, mfc=COLOURS[model], mec=PAPER, label=model)
    axes.set_yticks(range(len(NAMES)), NAMES, color=INK)
    axes.set_ylim(len(NAMES) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


with styled():
    figure = Figure(figsize=(9, 1.5 + 0.75 * len(NAMES)), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    draw(left, auc, EVERY, legend=True)
    draw(middle, precision, EVERY, legend=False)
    shares = table.dropna(subset="below").pivot_table(index=["table", "seed"], columns="model", values="below_share")
    draw(right, shares, tuple(MODELS), legend=False)
    n = round(table["normal"].mean())
    right.axvspan(*(binom.ppf(q, n, LEVEL) / n for q in (CHANCE / 2, 1 - CHANCE / 2)), color=DATA, alpha=0.3, lw=0)
    right.axvline(LEVEL, color=INK, lw=0.9)
    right.set_xlim(0)
    left.set_xlim(min(0.5, auc.min().min() - 0.02), 1.01)
    middle.set_xlim(0, 1.02)
    for axes, title, what in (
        (left, "Anomalies before normal rows", "AUC (0.5 is chance)"),
        (middle, "Precision", "average precision"),
        (right, "p-values of normal rows", f"share below {LEVEL}; grey: binomial {1 - CHANCE:.0%}"),
    ):
        axes.set_title(title)
        axes.set_xlabel(what)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    study.write(table.round(4), figure)
