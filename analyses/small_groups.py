# %% [markdown]
# # When does partial pooling pay?
#
# Rows come in groups: shops, labs, neighbourhoods. A model may forget the groups (full pooling), fit each by itself (no
# pooling), or let groups differ as far as the table says that they do (partial pooling: `grouped-ppca`, `grouped-gmm`).
# Which is best should turn on how many rows a group has, so groups here have from 3 to 300. Two tables are drawn from a
# known density, so that a loss can be told from it; the third are houses in Ames by neighbourhood. `class-models` is
# no pooling with `program.shared=0`; as it comes it draws covariances of classes together, which is a little pooling.
#
# A seed is another table, and of Ames other rows to fit. Judged are rows that no fit saw.
#
#     python analyses/small_groups.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd
from _study import DATA as TABLES
from _study import Study
from _tables import mean_and_error, need_tables, on_seeds, told, verdict
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import zoo
from zoo.report.style import DATA, INK, MODEL, MUTED, PAPER, SECOND, styled

study = Study.asked("small_groups", "When does partial pooling pay?")
warnings.simplefilter("ignore")
SIZES = np.geomspace(3, 300, 20).round().astype(int)
FRESH, FEW, MANY, FITTING = 50, 15, 100, 1000
BINS = (0, 7, FEW, 40, MANY - 1, np.inf)
QUICK: dict[str, Any] = {"fit.steps": 300} if study.quick else {}


# %% [markdown]
# ## Tables with groups of many sizes
#
# Centres: a line in four columns, around a centre of each group. Weights: three clusters that all groups share, each
# group with shares of its own. A split is rows to fit, rows to judge and, where it is known, the density of the latter.

# %%
Split = tuple[pd.DataFrame, pd.DataFrame, np.ndarray | None]
LOADINGS, CLUSTERS = np.array([2.0, 1.0, -1.0, 0.5]), np.array([[0.0, 0.0], [3.0, 1.0], [0.0, 4.0]])


def centres(seed: int) -> Split:
    rng = np.random.default_rng(seed)
    middle, line = rng.normal(size=(len(SIZES), 4)), np.outer(LOADINGS, LOADINGS) + 0.16 * np.eye(4)
    g = np.repeat(np.arange(len(SIZES)), SIZES + FRESH)
    x = rng.multivariate_normal(np.zeros(4), line, len(g))
    return parted(x + middle[g], g, multivariate_normal(np.zeros(4), line).logpdf(x))


def weights(seed: int) -> Split:
    rng = np.random.default_rng(seed)
    share = np.exp(rng.normal(size=(len(SIZES), 3)))
    share /= share.sum(1, keepdims=True)
    g = np.repeat(np.arange(len(SIZES)), SIZES + FRESH)
    x = CLUSTERS[(rng.random((len(g), 1)) > share[g].cumsum(1)[:, :-1]).sum(1)] + 0.7 * rng.normal(size=(len(g), 2))
    parts = [multivariate_normal(m, 0.49).logpdf(x) for m in CLUSTERS]
    return parted(x, g, logsumexp(np.log(share[g]).T + np.array(parts), axis=0))


def parted(x: np.ndarray, g: np.ndarray, density: np.ndarray) -> Split:
    """The first rows of each group fit, its last FRESH judge."""
    frame = pd.DataFrame(x, columns=list("abcd")[: x.shape[1]]).assign(group=[f"g{i}" for i in g])
    last = frame.groupby("group").cumcount(ascending=False) < FRESH
    return frame[~last], frame[last], density[last]


def houses(seed: int) -> Split:
    """Logs of price and of areas, and the year; by neighbourhood, of which those that are fitted are judged."""
    frame = pd.read_csv(TABLES / "ames.csv")
    out = np.log(frame[["price", "area", "Lot.Area"]].astype(float))
    out = out.assign(year=frame["Year.Built"].astype(float), group=frame["Neighborhood"])
    out = out.sample(frac=1, random_state=seed, ignore_index=True)
    fitting, fresh = out.iloc[:FITTING], out.iloc[FITTING:]
    known = fitting["group"].value_counts()
    return fitting, fresh[fresh["group"].isin(known[known >= 3].index)], None


# %% [markdown]
# ## Three ways to treat a group, of the same size in all else

# %%
Way = tuple[str, dict[str, Any], str]
FULL, NONE, LITTLE, PARTIAL = "full pooling", "no pooling", "class-models as they come", "partial pooling"


def factors(dim: int) -> dict[str, Way]:
    alone = {"use": "factor-mixture", "components": 1, "dim": dim, "noise": "isotropic"}
    return {
        FULL: ("ppca", {"dim": dim}, "ignore"),
        NONE: ("class-models", {"program.program": alone, "program.shared": 0}, "given"),
        LITTLE: ("class-models", {"program.program": alone}, "given"),
        PARTIAL: ("grouped-ppca", {"dim": dim, **QUICK}, "group"),
    }


def mixtures(components: int) -> dict[str, Way]:
    return {
        FULL: ("gmm", {"components": components}, "ignore"),
        NONE: ("class-models", {"program.program.components": components, "program.shared": 0}, "given"),
        LITTLE: ("class-models", {"program.program.components": components}, "given"),
        PARTIAL: ("grouped-gmm", {"components": components}, "group"),
    }


def score(way: Way, fitting: pd.DataFrame, fresh: pd.DataFrame, seed: int) -> np.ndarray:
    model, settings, role = way
    asked: dict[str, Any] = {role: "group", "kinds": dict.fromkeys(fitting.columns.drop("group"), "continuous")}
    schema = zoo.infer_schema(fitting, **asked)
    estimator = zoo.Estimator(model, settings=settings, seed=seed, device="cpu").fit_parts(fitting, None, schema)
    return estimator.score_samples(fresh)


CASES = {"centres": (centres, factors(1))}
if not study.quick:
    need_tables()
    CASES |= {"weights": (weights, mixtures(3)), "houses": (houses, factors(2))}
parts = []
for name, (split, ways) in CASES.items():
    for seed in study.seeds:
        fitting, fresh, truth = split(seed)
        scores = pd.DataFrame({way: score(how, fitting, fresh, seed) for way, how in ways.items()})
        scores["truth"] = np.nan if truth is None else truth
        by_group = scores.groupby(fresh["group"].to_numpy()).mean().rename_axis("group").reset_index()
        rows = by_group["group"].map(fitting["group"].value_counts())
        parts.append(by_group.assign(table=name, seed=seed, rows=rows))
        print(name, seed, scores.mean().round(3).to_dict(), flush=True)
table = pd.concat(parts, ignore_index=True)


# %% [markdown]
# ## What follows
#
# A group counts once, however many rows of it are judged: rows of one group share its estimate.


# %%
def gap(name: str, other: str, least: float, most: float) -> pd.DataFrame:
    """Partial pooling less another way, of groups that have so many rows."""
    some = table[(table["table"] == name) & table["rows"].between(least, most)]
    return some.assign(gap=some[PARTIAL] - some[other])


def on_few(name: str) -> None:
    words, found = [], {}
    for other in (FULL,) if study.quick else (FULL, NONE, LITTLE):
        some = gap(name, other, 0, FEW)
        found[other] = verdict(some["gap"])
        times = on_seeds(list(some.groupby("seed")["gap"].mean() > 0))
        words.append(f"less {other} {told(some['gap'])} ({found[other]}; higher {times})")
    study.say(
        found[FULL if study.quick else NONE] == "ahead" or name == "houses",  # of which nobody knows the truth
        f"{name}, {len(some)} groups of at most {FEW} rows, nats per held-out row and two standard errors: partial "
        f"pooling {', '.join(words)}.",
        f"in small groups of {name} partial pooling is ahead of the other extreme",
        "; ".join(words),
    )


def on_many(name: str) -> None:
    """Where no pooling has caught up, by bins of sizes."""
    bins = [(low, gap(name, NONE, low + 1, high)["gap"]) for low, high in itertools.pairwise(BINS)]
    caught = [low for low, some in bins if len(some) > 1 and verdict(some) != "ahead"]
    some, full = gap(name, NONE, MANY, np.inf), gap(name, FULL, MANY, np.inf)
    small = gap(name, NONE, 0, FEW)
    worth = mean_and_error(small["gap"])[0]
    when = f"it is not behind by two standard errors from {caught[0] + 1:.0f} rows on" if caught else "it stays behind"
    study.say(
        mean_and_error(some["gap"])[0] < worth or name == "houses",
        f"{name}, {len(some)} groups of {MANY} rows and more: less no pooling {told(some['gap'], 3)}, less full "
        f"pooling {told(full['gap'], 3)}. Beside no pooling {when}.",
        f"pooling is worth less in the large groups of {name} than in the small ones",
        f"{told(some['gap'], 3)} beside {told(small['gap'], 3)}",
    )


def on_truth(name: str) -> None:
    some = table[(table["table"] == name) & (table["rows"] <= FEW)]
    loss = {way: mean_and_error(some["truth"] - some[way]) for way in (FULL, NONE, LITTLE, PARTIAL)}
    words = "; ".join(f"{way} {mean:.2f} ± {error:.2f}" for way, (mean, error) in loss.items())
    study.say(
        loss[PARTIAL][0] > -2 * loss[PARTIAL][1],
        f"{name}, the same groups, below the true density: {words}.",
        "nothing beats the truth by more than chance",
        words,
    )


for name in CASES:
    on_few(name)
    if study.quick:
        continue
    if name != "houses":
        on_truth(name)
    on_many(name)
study.check()

# %% [markdown]
# ## The figure

# %%
LOOKS = {FULL: ("s", DATA, MUTED), NONE: ("D", SECOND, SECOND), LITTLE: ("^", INK, INK), PARTIAL: ("o", MODEL, MODEL)}


def draw(axes: Axes, name: str) -> None:
    """Each group, and the mean of groups of like sizes: below the truth, or beside partial pooling."""
    some = table[table["table"] == name]
    known = some["truth"].notna().all()
    for way in (FULL, NONE, LITTLE, PARTIAL):
        shape, colour, line = LOOKS[way]
        y = some[way] - some["truth" if known else PARTIAL]
        axes.plot(some["rows"], y, shape, ms=3, mfc=colour, mec="none", alpha=0.35)
        bins = pd.cut(some["rows"], list(BINS))
        middle = y.groupby(bins, observed=True).mean()
        x = some["rows"].groupby(bins, observed=True).mean()
        axes.plot(x, middle, shape, ls="-", lw=1.7, ms=5.5, color=line, mfc=colour, mec=PAPER, label=way, zorder=3)
    axes.axhline(0, color=INK, lw=0.9)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=0.1, linscale=0.6)
    ticks = [-10, -3, -1, -0.3, -0.1, 0, *([] if known else [0.1, 0.3, 1])]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_ylim(-15, 0.15 if known else 1.5)
    axes.minorticks_off()
    axes.set_xticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
    axes.set_xlabel("rows of the group that were fitted")
    axes.set_title(f"{name}: less the true density" if known else f"{name}: less partial pooling")


with styled():
    figure = Figure(figsize=(9 if len(CASES) > 1 else 4, 3.6), layout="constrained", dpi=110)
    grid = figure.subplots(1, len(CASES), squeeze=False)[0]
    for axes, name in zip(grid, CASES, strict=True):
        draw(axes, name)
    grid[0].set_ylabel("nats per held-out row")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    study.write(table.round(4), figure)
