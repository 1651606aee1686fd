# %% [markdown]
# # Which way of choosing K finds the clusters?
#
# A mixture of K full Gaussians, for a ladder of K, on tables whose labels no fit sees. K is then chosen by BIC, by ICL
# (BIC that pays for rows in doubt), by the likelihood of held-out rows, by stability (do random halves of the rows give
# the same labels?), and by held-out likelihood with the components merged that share rows, which is what zoo does.
#
# A seed is other rows of each table (600 at most), of which a fifth is held out.
#
#     python analyses/choosing_k.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from _study import Study
from _tables import labelled, need_tables, told, verdict
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import xlogy
from sklearn.metrics import adjusted_rand_score

import zoo
from zoo.evaluate.clusters import Clusters
from zoo.report.style import CLUSTERS, DATA, INK, MODEL, PAPER, styled

study = Study.asked("choosing_k", "Which way of choosing K finds the clusters?")
warnings.simplefilter("ignore")
ROWS, HELD_OUT = 600, 0.2
TABLES = ["wine"] if study.quick else ["s2", "a1", "wheat-seeds", "ecoli", "68983"]
LADDER = (1, 2, 3, 5) if study.quick else (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25)
HALVES = 2
BIC, ICL, HELD, STABLE, MERGED = WAYS = ("BIC", "ICL", "held-out", "stability", "held-out, merged")
if not study.quick:
    need_tables()


# %% [markdown]
# ## The ladder
#
# p parameters, log-likelihood L of n rows, responsibilities t: BIC = p log n - 2 L and ICL = BIC - 2 sum t log t. One
# component is always stable, so stability begins with two.


# %%
class Rung(NamedTuple):
    """One K: its criteria, all such that the highest is chosen, and its labels of all rows, merged or not."""

    k: int
    criteria: dict[str, float]
    labels: np.ndarray
    merged: np.ndarray


def rung(x: pd.DataFrame, held: np.ndarray, k: int, seed: int) -> Rung:
    fitting = x[~held]
    n, d = fitting.shape
    schema = zoo.infer_schema(x, kinds={"*": "continuous"})
    settings = {"components": k, "restarts": 3}
    model = zoo.Estimator("gmm", settings=settings, seed=seed, device="cpu").fit_parts(fitting, None, schema)
    t = model.predict_proba(fitting, components=True)
    parameters = k - 1 + k * d + k * d * (d + 1) / 2
    bic = 2 * model.score_samples(fitting).sum() - parameters * np.log(n)
    steady = model.stability(fitting, resamples=HALVES).ari.mean() if k > 1 else -np.inf
    criteria = {BIC: bic, ICL: bic + 2 * xlogy(t, t).sum(), HELD: model.score(x[held]), STABLE: float(steady)}
    every = model.predict_proba(x, components=True)
    return Rung(k, criteria, every.argmax(1), Clusters.of(t).merge(every).argmax(1))


lines, curves = [], []
for name in TABLES:
    for seed in study.seeds:
        x, truth = labelled(name, ROWS, seed)
        held = np.random.default_rng(seed + 100).random(len(x)) < HELD_OUT
        ladder = [rung(x, held, k, seed) for k in LADDER]
        scores = [float(adjusted_rand_score(truth, r.labels)) for r in ladder]
        for r, score in zip(ladder, scores, strict=True):
            curves.append({"table": name, "seed": seed, "k": r.k, "ari": score, "held_out": r.criteria[HELD]})
        for way in WAYS:
            best = max(ladder, key=lambda r: r.criteria[HELD if way == MERGED else way])
            found = best.merged if way == MERGED else best.labels
            line = {"table": name, "seed": seed, "way": way, "labels": len(np.unique(truth)), "components": best.k}
            line |= {"clusters": len(np.unique(found)), "ari": adjusted_rand_score(truth, found)}
            lines.append(line | {"ari_in_hindsight": max(scores)})
        print(name, seed, {x["way"]: (x["clusters"], round(x["ari"], 2)) for x in lines[-len(WAYS) :]}, flush=True)
table, curve = pd.DataFrame(lines), pd.DataFrame(curves)
ari = table.pivot_table(index=["table", "seed"], columns="way", values="ari")
number = table.pivot_table(index=["table", "seed"], columns="way", values="clusters").astype(int)
labels = table.groupby(["table", "seed"])["labels"].first()
runs = len(labels)


# %% [markdown]
# ## What follows


# %%
def on_ways() -> None:
    parts = []
    for way in WAYS:
        over, under = int((number[way] > labels).sum()), int((number[way] < labels).sum())
        parts.append(f"{way} {ari[way].mean():.2f} ({over} times more clusters than labels, {under} times fewer)")
    best = table.groupby(["table", "seed"])["ari_in_hindsight"].first()
    loss = (best - ari.drop(columns=MERGED).max(axis=1)).min()
    study.say(
        loss > -1e-9,
        f"Mean ARI over {len(TABLES)} tables and {runs} runs: {'; '.join(parts)}. The best K in hindsight has "
        f"{best.mean():.2f}.",
        "no unmerged choice is above the best K in hindsight",
        f"one is, by {-loss}",
    )


def on_held_out() -> None:
    more, less = int((number[HELD] > number[BIC]).sum()), int((number[HELD] < number[BIC]).sum())
    over = int((number[HELD] > labels).sum())
    study.say(
        bool((number[HELD].median() > number[BIC].median()) <= (more > 0)),
        f"Held-out likelihood wants more components than BIC in {more} of {runs} runs and fewer in {less}; it wants "
        f"more than there are labels in {over}.",
        "a higher median needs a run that is higher",
        f"more in {more}, fewer in {less}",
    )


def on_tables() -> None:
    for name in TABLES:
        means = ari.loc[name].mean()
        first, last = means.idxmax(), means.idxmin()
        many = ", ".join(f"{way} {'/'.join(map(str, number.loc[name, way]))}" for way in WAYS)
        gap = told(ari.loc[name, first] - ari.loc[name, last])
        study.say(
            bool(number.loc[name].to_numpy().max() <= max(LADDER)),
            f"{name}, {labels.loc[name].max()} labels: {many}. The highest mean ARI is that of {first}, "
            f"{means[first]:.2f}, the lowest that of {last}, {means[last]:.2f} (paired difference over seeds {gap}).",
            "nobody has more clusters than the ladder",
            f"{number.loc[name]}",
        )


def against(first: str, second: str) -> None:
    """A table counts once: the seeds of one are rows of one table."""
    gap = (ari[first] - ari[second]).groupby("table").mean()
    found, up, down = verdict(gap), int((gap > 0.01).sum()), int((gap < -0.01).sum())
    study.say(
        {"ahead": up > down, "behind": down > up}.get(found, True),
        f"{first} less {second}: {told(gap)} ARI over {len(gap)} tables, {found} at two standard errors; ahead by "
        f"more than 0.01 on {up} tables, behind on {down}.",
        "a difference is not that of one table",
        f"{told(gap)}, ahead on {up}, behind on {down}",
    )


on_ways()
if not study.quick:
    on_held_out()
    for pair in ((MERGED, HELD), (MERGED, BIC), (ICL, BIC), (STABLE, BIC)):
        against(*pair)
    on_tables()
study.check()

# %% [markdown]
# ## The figure

# %%
SHAPES = dict(zip(WAYS, "sDv^o", strict=True))
COLOURS = {**dict(zip(WAYS, (CLUSTERS[1], CLUSTERS[4], DATA, CLUSTERS[2]), strict=False)), MERGED: MODEL}


def draw(above: Axes, below: Axes, name: str) -> None:
    """Against K: ARI of every seed with what each way chose, and the likelihood of held-out rows."""
    some, picked = curve[curve["table"] == name], table[table["table"] == name]
    for _, each in some.groupby("seed"):
        above.plot(each["k"], each["ari"], color=INK, lw=0.9, alpha=0.45)
        below.plot(each["k"], each["held_out"] - each["held_out"].max(), color=INK, lw=0.9, alpha=0.45)
    for j, way in enumerate(WAYS):
        aside = np.exp(0.045 * (j - 2))  # so that ways that agree are all seen
        mine = picked[picked["way"] == way]
        look = {"ls": "none", "marker": SHAPES[way], "ms": 6, "mfc": COLOURS[way], "mec": PAPER, "mew": 0.7}
        above.plot(mine["clusters"] * aside, mine["ari"], label=way, zorder=3, **look)
        at = some.merge(mine[["seed", "components"]], left_on=["seed", "k"], right_on=["seed", "components"])
        drop = at["held_out"] - at["seed"].map(some.groupby("seed")["held_out"].max())
        if way != MERGED:
            below.plot(at["k"] * aside, drop, zorder=3, **look)
    for axes in (above, below):
        axes.axvline(picked["labels"].max(), color=MODEL, lw=1, ls=(0, (4, 2)), zorder=1)
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axes.minorticks_off()
    above.set_title(f"{name} ({picked['labels'].max()})")
    above.set_ylim(-0.05, 1.05)
    below.set_ylim(-2.2, 0.15)
    below.set_xlabel("clusters")


with styled():
    figure = Figure(figsize=(9 if len(TABLES) > 1 else 4, 4.4), layout="constrained", dpi=110)
    grid = figure.subplots(2, len(TABLES), squeeze=False, sharex="col", sharey="row")
    for column, name in enumerate(TABLES):
        draw(grid[0, column], grid[1, column], name)
    grid[0, 0].set_ylabel("adjusted Rand index")
    grid[1, 0].set_ylabel("held-out nats per row\nless the best K")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    study.write(table.round(4), figure)
