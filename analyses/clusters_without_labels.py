# %% [markdown]
# # Are clusters found without being told how many?
#
# Ten tables whose rows have labels that no method sees. zoo's `clusters` chooses its own number of components and
# merges them; k-means and a Gaussian mixture of scikit-learn are told the number of labels, which nobody knows in
# earnest, or choose it by silhouette and by BIC. All are judged by the adjusted Rand index
# (ARI: 1 is the labels, 0 is chance).
#
# A seed is another random 80% of each table (600 rows at most), the same for every method; of tables wider than ten
# columns all get the first ten principal components.
#
#     python analyses/clusters_without_labels.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from _study import Study, listed
from _tables import labelled, need_tables, on_seeds, told, verdict
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture

import zoo
from zoo.report.style import DATA, INK, MODEL, PAPER, SECOND, styled

study = Study.asked("clusters_without_labels", "Are clusters found without being told how many?")
warnings.simplefilter("ignore")
ROWS, MOST = 600, 4 if study.quick else 24
TABLES = ["s2", "a1", "unbalance", "wheat-seeds", "ecoli", "glass", "segment", "dermatology", "vehicle", "penguins"]
SMALL = {"restarts": 3, "components": {"grid": [1, 2, 3]}, "fit.folds": 2}
US, TOLD, OPEN = "zoo clusters", ("k-means, told K", "GMM, told K"), ("k-means, silhouette", "GMM, BIC")
METHODS = (US, *TOLD, *OPEN)
HARD = 0.5

if study.quick:
    TABLES = ["iris", "wine"]
else:
    need_tables()


# %% [markdown]
# ## Five ways to labels


# %%
def mixture(k: int, seed: int, starts: int = 3) -> GaussianMixture:
    return GaussianMixture(k, n_init=starts, reg_covar=1e-3, random_state=seed)


def by_zoo(x: pd.DataFrame, k: int, seed: int) -> np.ndarray:
    settings = SMALL if study.quick else {}
    return zoo.Estimator("clusters", settings=settings, kinds={"*": "continuous"}, seed=seed, device="cpu").fit_predict(
        x
    )


def by_silhouette(x: pd.DataFrame, k: int, seed: int) -> np.ndarray:
    found = [KMeans(k, n_init=3, random_state=seed).fit_predict(x) for k in range(2, MOST + 1)]
    return max(found, key=lambda labels: silhouette_score(x, labels))


def by_bic(x: pd.DataFrame, k: int, seed: int) -> np.ndarray:
    found = [mixture(k, seed, 1).fit(x) for k in range(1, MOST + 1)]
    best: GaussianMixture = min(found, key=lambda each: each.bic(x))
    return best.predict(x)


Way = Callable[[pd.DataFrame, int, int], np.ndarray]
ways: tuple[Way, ...] = (
    by_zoo,
    lambda x, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(x),
    lambda x, k, seed: mixture(k, seed).fit_predict(x),
    by_silhouette,
    by_bic,
)
lines = []
for name in TABLES:
    for seed in study.seeds:
        x, labels = labelled(name, ROWS, seed)
        k = len(np.unique(labels))
        for method, way in zip(METHODS, ways, strict=True):
            found = way(x, k, seed)
            line = {"table": name, "seed": seed, "method": method, "rows": len(x), "labels": k}
            lines.append(line | {"clusters": len(np.unique(found)), "ari": adjusted_rand_score(labels, found)})
        print(name, seed, k, {x["method"]: (x["clusters"], round(x["ari"], 2)) for x in lines[-5:]}, flush=True)
table = pd.DataFrame(lines)
ari = table.pivot_table(index=["seed", "table"], columns="method", values="ari")
means = ari.groupby("seed").mean()
by_table = ari.groupby("table").mean().loc[TABLES]


# %% [markdown]
# ## What follows


# %%
def on_rivals(rivals: tuple[str, ...], what: str) -> None:
    """zoo less each, over tables, of which every one counts once."""
    for rival in rivals:
        gap, higher = by_table[US] - by_table[rival], list(means[US] > means[rival])
        found, times = verdict(gap), on_seeds(higher)
        study.say(
            found not in ("ahead", "behind") or 2 * sum(h == (found == "ahead") for h in higher) > len(higher),
            f"{US} less {rival} ({what}): {told(gap)} ARI over {len(gap)} tables, {found} at two standard errors, its "
            f"mean the higher one {times}; ahead by more than 0.01 on {int((gap > 0.01).sum())} tables, behind on "
            f"{int((gap < -0.01).sum())}.",
            "what is apart over tables is so on most seeds",
            f"{told(gap)}, higher {times}",
        )


def on_numbers() -> None:
    right = table[table["clusters"] == table["labels"]].groupby("method").size().reindex(METHODS, fill_value=0)
    ratio = (table["clusters"] / table["labels"]).groupby(table["method"]).median()
    runs = len(ari)
    words = [f"{m} {right[m]} times (median {ratio[m]:.2f} of the labels)" for m in (US, *OPEN)]
    study.say(
        bool(right[TOLD[0]] == runs),
        f"As many clusters as labels in {runs} runs: {'; '.join(words)}.",
        "k-means that is told K has K clusters",
        f"{dict(right)}",
    )


def on_the_hard() -> None:
    best = ari.max(axis=1).unstack("table")
    hard = [name for name in TABLES if (best[name] < HARD).all()]
    easy = len(TABLES) - len(hard)
    if hard:
        study.say(
            easy > 0,
            f"On {listed(hard)} no method reaches an ARI of {HARD} on any seed, told K or not: there labels are not "
            "the clusters that the columns have, and no way of choosing K can help.",
            "some table is not hard",
            "no table has clusters like its labels",
        )


summary = "; ".join(f"{method} {means[method].mean():.2f}" for method in METHODS)
study.say(len(table) == 5 * len(ari), f"Mean ARI of {len(TABLES)} tables: {summary}.", "five a table", f"{len(table)}")
on_rivals(TOLD, "which knows what it does not")
on_rivals(OPEN, "which chooses K too")
on_numbers()
if not study.quick:
    on_the_hard()
study.check()

# %% [markdown]
# ## The figure

# %%
MARKS = dict(
    zip(
        METHODS,
        [("o", MODEL, MODEL), ("s", PAPER, DATA), ("D", PAPER, DATA), ("s", SECOND, SECOND), ("D", SECOND, SECOND)],
        strict=True,
    )
)


def draw_scores(axes: Axes) -> None:
    """ARI of every method, its mean over the seeds and their range."""
    for j, method in enumerate(METHODS):
        shape, fill, edge = MARKS[method]
        y = np.arange(len(TABLES)) + 0.13 * (j - 2)
        every = ari[method].unstack("table")[TABLES]
        axes.hlines(y, every.min(), every.max(), color=edge, lw=1.2, alpha=0.6)
        axes.plot(every.mean(), y, shape, ms=6.5 if method == US else 5, mfc=fill, mec=edge, zorder=3, label=method)
    counts = table.groupby("table")["labels"].max()
    axes.set_yticks(range(len(TABLES)), [f"{name} ({counts[name]})" for name in TABLES], color=INK)
    axes.set_ylim(len(TABLES) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("adjusted Rand index, mean and range over seeds")
    axes.set_title("Against labels (how many)")


def draw_numbers(axes: Axes) -> None:
    """Clusters found against labels; the line is right."""
    most = max(table["clusters"].max(), table["labels"].max()) * 1.25
    axes.plot([1, most], [1, most], color=INK, lw=0.9)
    jitter = np.random.default_rng(0)
    for method in (*OPEN, US):
        some = table[table["method"] == method]
        shape, fill, _ = MARKS[method]
        spread = np.exp(jitter.normal(0, 0.025, len(some)))
        axes.plot(some["labels"] * spread, some["clusters"], shape, ms=5, mfc=fill, mec=PAPER, mew=0.6)
    axes.set(xscale="log", yscale="log", xlabel="labels", ylabel="clusters found")
    ticks = [t for t in (1, 2, 3, 5, 8, 12, 20) if t < most]
    axes.set_xticks(ticks, ticks)
    axes.set_yticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_title("Number of clusters")


with styled():
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(TABLES)), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    draw_scores(left)
    draw_numbers(right)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    study.write(table.round(4), figure)
