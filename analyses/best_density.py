# %% [markdown]
# # Which family has the best density on ten real tables?
#
# Ten tables of several kinds (numbers alone, levels alone, both, heavy tails, missing cells), at most 1,000 rows of
# each; nine families of models by `zoo.compare`, three fits each, ranked by the log-likelihood of the same held-out
# rows. Who is best how often, and, for those who will fit one model only, who is never far from the best?
#
# Budgets are small, and the same on all tables: no fit takes more than 400 steps, and few sizes are tried. A family
# that needs more rows or steps than that is not shown at its best.
#
#     python analyses/best_density.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from _study import Study, listed, real, tally
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import zoo
from zoo.comparison import Comparison
from zoo.evaluate.paired import Paired, paired
from zoo.report.style import INK, MUTED, SECOND, styled, tint

study = Study.asked("best_density", "Which family has the best density on ten real tables?")
ROWS = 1000
FEWEST_NUMBERS = {"gmm": 2, "nsf": 2, "factor-analysis": 3, "mfa": 3}
"""Numeric columns below which a family is not asked."""
SMALL = "network.hidden=[64]"
MODELS = {
    "independent": "fit.steps=400",
    "factor-analysis": "program.dim={grid=[2,6]}; fit.steps=300",
    "mfa": "program.components=5; program.dim=2; program.restarts=3",
    "gmm": "program.components={grid=[3,8]}; program.restarts=3",
    "mixture": "program.components={grid=[8,24]}; program.restarts=3; fit.steps=400",
    "vae": f"program.dim=4; program.{SMALL}; guide.{SMALL}; fit.steps=400",
    "circuit": "program.states=12; fit.steps=250",
    "chain": "program.hidden=[64,64]; fit.steps=400",
    "nsf": "program.flow.bins=8; fit.steps=400",
}
"""The settings of each family that are not its entry's."""
if study.quick:
    MODELS = {
        "independent": "fit.steps=40",
        "mixture": "program.components=3; program.restarts=2; fit.steps=40",
        "gmm": "program.components=3; program.restarts=2",
    }


# %% [markdown]
# ## Tables


# %%
def ten_tables() -> dict[str, pd.DataFrame]:
    """Of varied kind, at most ROWS rows of each; in the quick study two that ship with scikit-learn."""
    if study.quick:
        return {name: zoo.example(name) for name in ("wine", "iris")}
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "magic04": ("magic04.data.gz", {}),
        "wine, white": ("winequality-white.csv", {}),
        "abalone": ("abalone.csv", {}),
        "housing": ("housing.csv", {}),
        "s1": ("s1.data.gz", {"sep": r"\s+", "header": None}),
        "diamonds": ("diamonds.csv.gz", {}),
        "insurance": ("AutoClaims.csv", {}),
        "adult": ("adult-train.csv.gz", {"skipinitialspace": True, "na_values": ["?"]}),
        "german": ("german.csv", {}),
        "mushroom": ("mushroom.csv", {"na_values": ["?"]}),
    }
    return {name: real(file, ROWS, **options) for name, (file, options) in asked.items()}


def compared(name: str, table: pd.DataFrame) -> Comparison:
    """Every family that the table's columns allow, one fit for each seed, on the same parts of the rows."""
    numeric = len(zoo.infer_schema(table).numeric)
    asked = [f"{m}[{sets}]" for m, sets in MODELS.items() if numeric >= FEWEST_NUMBERS.get(m, 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zoo.ZooWarning)
        return zoo.compare(table, asked, repeats=len(study.seeds), samples=False, device="cpu", name=name)


# %%
every: dict[str, dict[str, np.ndarray]] = {}
"""By table and family, the log-likelihood of the held-out rows (seeds, rows)."""
gaps: dict[tuple[str, str], float] = {}
failures: list[str] = []
for name, table in ten_tables().items():
    comparison = compared(name, table)
    found = {entry.model.partition("[")[0]: entry for entry in comparison.scored}
    every[name] = {m: found[m].every for m in MODELS if m in found}
    gaps |= {
        (name, m): entry.scores.gap for m, entry in found.items() if entry.scores and entry.scores.bound != "exact"
    }
    failures += [f"{entry.model.partition('[')[0]} on {name}" for entry in comparison.entries if entry.failure]
    means = "  ".join(f"{m} {each.mean():.2f}" for m, each in every[name].items())
    print(f"  {name:12} {table.shape[0]} x {table.shape[1]}: {means}", flush=True)


# %% [markdown]
# ## What follows
#
# Differences are paired by held-out row and by seed. What a family lacks is its difference from the best of a table,
# which is picked on the same rows and so is a little lucky.


# %%
best = {name: max(of, key=lambda m, of=of: of[m].mean()) for name, of in every.items()}
lacks = {name: {m: paired(of[best[name]] - each) for m, each in of.items()} for name, of in every.items()}
common = [m for m in MODELS if all(m in of for of in every.values())]
"""Families that every table allows."""


def worst(model: str) -> tuple[float, str]:
    """The table on which a family lacks most, and how much."""
    return max((of[model].mean, name) for name, of in lacks.items() if model in of)


def runner_up(name: str) -> tuple[str, Paired]:
    return min(((m, d) for m, d in lacks[name].items() if m != best[name]), key=lambda pair: pair[1].mean)


def on_the_best() -> None:
    wins = pd.Series(best).value_counts()
    told = [f"{m} on {n}" for m, n in sorted(wins.items(), key=lambda pair: (-pair[1], list(MODELS).index(pair[0])))]
    ahead = [lacks[n]["independent"].mean > 2 * lacks[n]["independent"].standard_error for n in every]
    study.say(
        sum(ahead) * 2 > len(ahead),
        f"Best of {len(MODELS)} families on {len(every)} tables: {listed(told)}. Independent columns are behind "
        f"by more than two standard errors on {tally(ahead)}.",
        "structure is worth something",
        f"on {tally(ahead)} tables",
    )
    sure = [d.mean > 2 * d.standard_error for _, d in map(runner_up, every)]
    close = [f"{n} ({best[n]} over {runner_up(n)[0]})" for n, apart in zip(every, sure, strict=True) if not apart]
    winners = [{max(of, key=lambda m, r=r: of[m][r].mean()) for r in range(len(study.seeds))} for of in every.values()]
    same = [len(of) == 1 for of in winners]
    study.sentences.append(
        f"The best is more than two standard errors above the second on {tally(sure)} tables"
        + (f"; too near to tell are {listed(close)}" if close else "")
        + f". Each seed alone names the same best on {tally(same)}."
    )


def on_safety() -> None:
    order = sorted(common, key=worst)
    told = [f"{m} {worst(m)[0]:.2f} ({worst(m)[1]})" for m in order]
    d = lacks[worst(order[0])[1]][order[0]]
    study.sentences.append(
        f"The safest of those that fit every table is {order[0]}: never more than {worst(order[0])[0]:.2f} ± "
        f"{d.standard_error:.2f} nats per row from the best. The most that each lacks anywhere: {listed(told)}."
    )
    means = {m: np.mean([of[m].mean for of in lacks.values()]) for m in common}
    nearest = min(means, key=means.__getitem__)
    study.sentences.append(
        f"On average over tables the least is lacked by {nearest}, {means[nearest]:.2f} nats; independent columns lack "
        f"{means['independent']:.2f}."
    )
    partly = [m for m in MODELS if m not in common]
    if partly:
        said = [f"{m} {worst(m)[0]:.2f} ({worst(m)[1]}, of {sum(m in of for of in every.values())})" for m in partly]
        study.sentences.append(f"Of families for some tables only, the most lacked on these: {listed(said)}.")


def on_numbers() -> None:
    if gaps:
        (name, model), gap = max(gaps.items(), key=lambda pair: pair[1])
        study.sentences.append(
            f"{len(gaps)} of {sum(map(len, every.values()))} numbers are bounds, by draws of what is latent; the "
            f"widest gap from the ELBO is {gap:.2f}, of {model} on {name}."
        )
    study.sentences.append(f"Families that could not be fitted: {listed(failures) or 'none'}.")


on_the_best()
on_safety()
on_numbers()
study.check()


# %% [markdown]
# ## The figure


# %%
def draw_lacks(axes: Axes) -> None:
    """Nats per row below the best of each table; families in the order of what they lack at worst."""
    rows = sorted(common, key=worst) + sorted((m for m in MODELS if m not in common), key=worst)
    values = np.array([[of[m].mean if m in of else np.nan for of in lacks.values()] for m in rows])
    axes.imshow(tint(SECOND, 0.85 * np.nan_to_num(np.log1p(values) / np.log(11))), aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        name = list(lacks)[x]
        if np.isnan(value):
            text, look = "·", {"color": MUTED}
        elif rows[y] == best[name]:
            text, look = "best", {"weight": "bold"}
        else:
            d = lacks[name][rows[y]]
            text, look = f"{value:.2f}" if value < 10 else f"{value:.0f}", {"color": INK}
            text += "" if d.mean > 2 * d.standard_error else " ="
        axes.text(x, y, text, ha="center", va="center", size=8, **look)
    axes.set_yticks(range(len(rows)), rows, color=INK)
    axes.set_xticks(range(len(lacks)), list(lacks), color=INK)
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel('nats per held-out row below the best of the table; "=": by less than two standard errors')


def draw() -> Figure:
    figure = Figure(figsize=(10, 0.8 + 0.34 * len(MODELS)), layout="constrained", dpi=110)
    draw_lacks(figure.subplots())
    return figure


# %%
rows = pd.DataFrame(
    {
        "table": n, "model": m, "rows": each.shape[1], "log_likelihood": each.mean(), "below_best": lacks[n][m].mean,
        "standard_error": lacks[n][m].standard_error, "gap": gaps.get((n, m), 0.0),
        **{f"seed_{seed}": of_seed.mean() for seed, of_seed in zip(study.seeds, each, strict=True)},
    }
    for n, of in every.items()
    for m, each in of.items()
).round(5)  # fmt: skip
with styled():
    study.write(rows, draw())
