# %% [markdown]
# # How far is the ELBO from the log-likelihood?
#
# The ELBO is what a latent-variable model is fitted with, and what many papers rank models by. It lies below the
# log-likelihood by a gap that nobody sees, and the gap has no reason to be the same for two models. So: how wide is it,
# and does a ranking by ELBO put models in the order that their log-likelihoods do?
#
# 1. Every model of the registry is fitted to two tables of mixed columns and scored on held-out rows, by both numbers.
# 2. Probabilistic PCA on numeric columns has a log-likelihood in closed form. There an encoder's ELBO, and the ladder
#    of importance-weighted bounds above it, can be held against the truth.
#
# Every sentence of the conclusion is checked before it is printed; where one is false the script says so and exits 1.
#
#     python analyses/elbo_against_likelihood.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyro.poutine as poutine
import torch
from _study import DATA as TABLES
from _study import Study, listed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kendalltau
from torch.distributions import MultivariateNormal, kl_divergence

import zoo
from zoo.errors import UserError
from zoo.evaluate.likelihood import K_HAT_GOOD, Scores, score, standard_error
from zoo.line_up import LINE_UP
from zoo.log_weights import log_weights
from zoo.model import Model
from zoo.report.style import DATA, INK, MODEL, MUTED, PAPER, SECOND, styled
from zoo.scope import scope

study = Study.asked("elbo_against_likelihood", "How far is the ELBO from the log-likelihood?")
SEED, HELD_OUT = 0, 0.3
QUICK = ("independent", "mixture", "vae", "nsf")
LADDER = (1, 10, 100, 1000)
ERRORS = 4  # standard errors within which a rung may stray: there are many rungs
ROUNDING = 1e-4  # nats: more than the single precision of networks loses in a row, less than anybody cares for

particles = 100 if study.quick else LADDER[-1]
runs = dict(zip(LADDER, (10, 10, 10, 5) if study.quick else (100, 100, 100, 20), strict=True))


# %% [markdown]
# ## Two tables, and their held-out rows
#
# 30% of the rows judge and the rest fit, of which a tenth stops the fit and chooses settings.


# %%
def second_table() -> tuple[str, pd.DataFrame]:
    """Penguins, where the table lies beside this repository; iris, which comes with scikit-learn, where not."""
    file = TABLES / "penguins.csv"
    if not file.is_file():
        return "iris", zoo.example("iris")
    return "penguins", pd.read_csv(file).drop(columns=["rownames", "year"])


def parted(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that fit, and the rows that judge."""
    order = np.random.default_rng(SEED).permutation(len(table))
    judging, fitting = np.split(order, [round(HELD_OUT * len(table))])
    return table.iloc[np.sort(fitting)], table.iloc[np.sort(judging)]


tables = {"wine": zoo.example("wine"), **dict([second_table()])}
for name, table in tables.items():
    missing = int(table.isna().to_numpy().sum())
    print(f"{name}: {table.shape[0]} rows, {table.shape[1]} columns, {missing} missing cells")


# %% [markdown]
# ## 1. Every model, by both numbers
#
# The log-likelihood is exact where the model has no latent left to draw. Elsewhere it is the importance-weighted bound
# of many draws, whose k-hat says how far to trust it: up to 0.7 is good.


# %%
@dataclass
class Line:
    """One model on one table's held-out rows."""

    table: str
    model: str
    scores: Scores
    spread: float  # largest difference, over rows, of the log-weights of different draws
    gap_from: str

    @property
    def exact(self) -> bool:
        return self.scores.bound == "exact"

    @property
    def log_likelihood(self) -> float:
        """Rounded, so that two models that are one density (a mixture of one cluster) tie."""
        return round(self.scores.mean, 6)

    @property
    def elbo(self) -> float:
        return round(float(self.scores.elbo.mean()), 6)


def spread_of_draws(model: Model, table: pd.DataFrame, draws: int = 8) -> float:
    """Largest spread of a row's log-weights: zero where the ELBO is the log-likelihood, whatever is drawn."""
    with torch.no_grad(), scope(SEED):
        log_w = log_weights(model.program, model.guide, model.rows(table), draws).rows
    return float((log_w.amax(0) - log_w.amin(0)).max())


def measure(table_name: str, table: pd.DataFrame) -> tuple[list[Line], dict[str, str]]:
    """Fit and score the line-up; what has no log-likelihood, or cannot be fitted, is left out with its reason."""
    schema, registry = zoo.infer_schema(table), zoo.models()
    fitting, judging = parted(table)
    lines, left_out = [], {}
    for name in QUICK if study.quick else LINE_UP:
        settings = registry[name].small_sets if study.quick else {}
        try:
            estimator = zoo.Estimator(name, schema=schema, settings=settings, seed=SEED, device="cpu").fit(fitting)
            model = estimator.model_
            if model.bound() == "none":
                left_out[name] = "it has no log-likelihood"
                continue
            scores = estimator.log_likelihood(judging, particles)
        except UserError as error:
            left_out[name] = str(error)
            continue
        latent = bool(model.sites.continuous or model.sites.globals)
        gap_from = "-" if scores.bound == "exact" else "latents" if latent else "cells"
        lines.append(Line(table_name, name, scores, spread_of_draws(model, judging), gap_from))
        print(f"  {table_name:9} {name:16} {scores.mean:8.3f} {scores.bound}", flush=True)
    return sorted(lines, key=lambda line: -line.log_likelihood), left_out


lines: dict[str, list[Line]] = {}
for name, table in tables.items():
    lines[name], left_out = measure(name, table)
    for model_name, reason in left_out.items():
        print(f"  {name:9} {model_name:16} left out: {reason}")


# %%
def ranks(values: list[float]) -> list[int]:
    """1 for the highest."""
    return [1 + sum(other > value for other in values) for value in values]


def ranking(of: list[Line]) -> pd.DataFrame:
    """One row a model, best log-likelihood first. gap_from: what is drawn, latents or places inside rounded cells."""
    by_elbo, by_likelihood = ranks([x.elbo for x in of]), ranks([x.log_likelihood for x in of])
    return pd.DataFrame(
        {
            "table": [x.table for x in of],
            "model": [x.model for x in of],
            "bound": [x.scores.bound for x in of],
            "particles": [x.scores.particles for x in of],
            "log_likelihood": [x.log_likelihood for x in of],
            "standard_error": [x.scores.standard_error for x in of],
            "elbo": [x.elbo for x in of],
            "gap": [x.scores.gap for x in of],
            "monte_carlo_error": [x.scores.monte_carlo_error for x in of],
            "k_hat": [x.scores.high_k_hat for x in of],
            "gap_from": [x.gap_from for x in of],
            "rank": by_likelihood,
            "rank_by_elbo": by_elbo,
        }
    ).astype({"k_hat": float})


rankings = {name: ranking(of) for name, of in lines.items()}
for frame in rankings.values():
    print("\n" + frame.to_string(index=False, float_format=lambda v: f"{v:.3f}", na_rep="-"))


# %% [markdown]
# ## 2. Where the truth is known
#
# PPCA on numeric columns, taken as continuous: fitted once with its exact posterior as the guide, once with an encoder.
# The encoder's fit is then given the exact posterior, which leaves the density as it is and sums its latents out in
# closed form. What the ELBO lacks must be KL(q(z | x) || p(z | x)), which has a closed form here too.


# %%
@dataclass
class Climb:
    """Bounds of one density on held-out rows, nats per row; values and errors are over runs with seeds of their own.

    exact     its log-likelihood in closed form
    direct    the log-likelihood of the fit whose guide was the exact posterior
    spread    how far draws move a row of that fit
    bounds    (runs,) for each rung
    kl        mean divergence of the encoder's proposal from the posterior
    """

    dim: int
    exact: float
    direct: float
    spread: float
    bounds: list[np.ndarray]
    kl: float

    @property
    def values(self) -> np.ndarray:
        return np.array([each.mean() for each in self.bounds])

    @property
    def run_errors(self) -> np.ndarray:
        """Monte Carlo standard error of one run."""
        return np.array([each.std(ddof=1) for each in self.bounds])

    @property
    def errors(self) -> np.ndarray:
        """Of the mean over the runs."""
        return self.run_errors / np.sqrt([len(each) for each in self.bounds])


def with_exact_guide(model: Model) -> Model:
    """The same density, its latents summed out in closed form."""
    other = Model(model.recipe.set("guide", "exact"), model.codec)
    other.program.load_state_dict(model.program.state_dict())
    other.heads.load_state_dict(model.heads.state_dict())
    return other


def divergence(model: Model, table: pd.DataFrame) -> float:
    """Mean KL(q(z | x) || p(z | x)) over rows."""
    rows = model.rows(table)
    with torch.no_grad(), scope(SEED):
        q = poutine.trace(model.guide).get_trace(rows).nodes["z"]["fn"]
        program: Any = model.program
        normal = MultivariateNormal(q.mean.double(), scale_tril=torch.diag_embed(q.stddev.double()))
        return float(kl_divergence(normal, program.posterior(rows)).mean())


def bound(model: Model, table: pd.DataFrame, rung: int, seed: int) -> float:
    """Mean bound of `rung` particles; that of one particle is the ELBO, here a mean over 100 draws."""
    scores = score(model, model.rows(table), 100 if rung == 1 else rung, seed)
    return float(scores.elbo.mean()) if rung == 1 else scores.mean


def climb(table: pd.DataFrame) -> Climb:
    numbers = table.select_dtypes("number")
    fitting, judging = parted(numbers)
    common: dict[str, Any] = {"kinds": {"*": "continuous"}, "seed": SEED, "device": "cpu"}
    small: Mapping[str, Any] = zoo.models()["ppca"].small_sets if study.quick else {}
    dims = [dim for dim in (1, 2, 4, 8) if dim < numbers.shape[1]]
    exact = zoo.Estimator("ppca", settings={"program.dim": {"grid": dims}, **small}, **common).fit(fitting)
    dim: Any = exact.model_.program.dim
    network = {"guide.network": {"use": "mlp", "hidden": [32]}, "fit.steps": 300} if study.quick else {}
    settings = {"program.dim": dim, "guide": "encoder", **network}
    encoded = zoo.Estimator("ppca", settings=settings, **common).fit(fitting).model_
    seeds = itertools.count(SEED + 1)
    bounds = [np.array([bound(encoded, judging, rung, next(seeds)) for _ in range(runs[rung])]) for rung in LADDER]
    truth = with_exact_guide(encoded)
    assert truth.bound() == exact.model_.bound() == "exact"
    known = score(truth, truth.rows(judging)).mean
    spread = max(spread_of_draws(model, judging) for model in (exact.model_, truth))
    return Climb(dim, known, exact.score(judging), spread, bounds, divergence(encoded, judging))


climbs = {name: climb(table) for name, table in tables.items()}
ladder = pd.concat(
    pd.DataFrame(
        {
            "table": name,
            "model": "ppca, encoder",
            "bound": "lower",
            "particles": LADDER,
            "log_likelihood": c.values,
            "monte_carlo_error": c.run_errors,
            "exact": c.exact,
            "below_exact": c.exact - c.values,
        }
    )
    for name, c in climbs.items()
)
print("\n" + ladder.to_string(index=False, float_format=lambda v: f"{v:.4f}"))


# %% [markdown]
# ## What follows


# %%
def swapped(of: list[Line]) -> list[tuple[Line, Line]]:
    """Pairs whose first has the higher log-likelihood and the lower ELBO."""
    return [(a, b) for a, b in itertools.combinations(of, 2) if a.log_likelihood > b.log_likelihood and a.elbo < b.elbo]


def on_the_gap() -> None:
    every = [line for of in lines.values() for line in of]
    lowest = min(every, key=lambda x: x.scores.gap)
    study.say(
        lowest.scores.gap >= -ROUNDING,
        f"The ELBO is nowhere above the log-likelihood: {len(every)} fits, {len(tables)} tables.",
        "no ELBO above its log-likelihood",
        f"{lowest.model} on {lowest.table} has a gap of {lowest.scores.gap:.2g}",
    )
    exact = [line for line in every if line.exact]
    if exact:
        loosest = max(exact, key=lambda x: x.spread)
        names = listed(list(dict.fromkeys(line.model for line in exact)))
        study.say(
            all(x.spread <= ROUNDING and x.scores.gap == 0 for x in exact),
            f"Exact means no gap: whatever is drawn, the number of a row stays the same to {ROUNDING:g} nats "
            f"({len(exact)} fits, of {names}).",
            "no gap where the number is exact",
            f"draws move a row of {loosest.model} on {loosest.table} by {loosest.spread:.2g} nats",
        )
    for source, words in {"latents": "drawn latents", "cells": "rounded or missing cells"}.items():
        some = [line for line in every if line.gap_from == source]
        if some:
            gaps = [line.scores.gap for line in some]
            widest = max(some, key=lambda x: x.scores.gap)
            loose = [f"{x.model} on {x.table}" for x in some if (x.scores.high_k_hat or 0.0) > K_HAT_GOOD]
            trust = f"; k-hat is above {K_HAT_GOOD} for {listed(loose)}, so that gap may be wider" if loose else ""
            still = [f"{x.model} on {x.table}" for x in some if x.spread <= ROUNDING]
            study.say(
                not still,
                f"Gaps from {words} are {min(gaps):.3f} to {max(gaps):.3f} nats per row, the widest that of "
                f"{widest.model} on {widest.table}{trust}.",
                f"gaps from {words} are measured",
                f"no draw moves a row of {listed(still)}, which should be called exact",
            )


def on_the_order(name: str, of: list[Line]) -> None:
    tau = float(kendalltau([x.elbo for x in of], [x.log_likelihood for x in of]).statistic)
    pairs = swapped(of)
    agree = not pairs and list(rankings[name]["rank"]) == list(rankings[name]["rank_by_elbo"])
    if agree:
        text = f"On {name} both orders of {len(of)} models agree (Kendall's tau {tau:.2f})."
    else:
        told = []
        for a, b in pairs:
            paired = a.scores.log_likelihood - b.scores.log_likelihood
            told.append(f"{b.model} above {a.model} ({paired.mean():.3f} ± {standard_error(paired):.3f})")
        text = f"On {name} the orders of {len(of)} models differ (Kendall's tau {tau:.2f}). " + (
            f"The ELBO puts {listed(told)}, the wrong way round by the log-likelihoods, whose paired difference is in "
            "brackets."
            if told
            else "Models that tie in one do not in the other."
        )
    study.say(agree == bool(np.isclose(tau, 1)), text, f"orders on {name}", f"tau is {tau:.3f}, {len(pairs)} swaps")


def on_swaps() -> None:
    pairs = [pair for of in lines.values() for pair in swapped(of)]
    if not pairs:
        return
    beyond = [(a, b) for a, b in pairs if a.log_likelihood - b.log_likelihood > a.scores.gap + 4 * ROUNDING]
    study.say(
        not beyond,
        f"A swap takes two models that are nearer to each other than the better one's gap, and so it was in each of "
        f"{len(pairs)}: hold the gap against the differences in a ranking before trusting its order by ELBO.",
        "swaps are explained by gaps",
        listed([f"{a.model} and {b.model} on {a.table}" for a, b in beyond]),
    )
    certain = [f"{b.model} above {a.model} on {a.table}" for a, b in pairs if certainly_apart(a, b)]
    study.sentences.append(
        f"Swaps of models whose log-likelihoods are more than two standard errors apart: {listed(certain) or 'none'}."
    )


def certainly_apart(a: Line, b: Line) -> bool:
    paired = a.scores.log_likelihood - b.scores.log_likelihood
    return bool(abs(paired.mean()) > 2 * standard_error(paired))


def on_the_climb(name: str, c: Climb) -> None:
    below, error = c.exact - c.values, c.errors
    steps = np.diff(c.values) + ERRORS * np.hypot(error[1:], error[:-1])
    low = [rung for rung, b, e in zip(LADDER, below, error, strict=True) if b < -ERRORS * e]
    rungs = [f"{b:z.4f} ({k})" for k, b in zip(LADDER[1:], below[1:], strict=True)]
    study.say(
        c.spread <= ROUNDING,
        f"On the numeric columns of {name}, PPCA with {c.dim} latents: with the exact posterior as its guide no draw "
        f"moves a row; fitted so it has {c.direct:.4f} nats per row, fitted with an encoder {c.exact:.4f}.",
        f"the exact guide on {name} has no gap",
        f"draws move a row by {c.spread:.2g} nats",
    )
    study.say(
        bool((steps >= 0).all()) and not low,
        f"With the encoder the ELBO is {below[0]:.4f} nats below the exact value. More particles climb to it: "
        f"{listed(rungs)} below, never a step down nor above the exact value by more than {ERRORS} standard errors.",
        f"the ladder on {name} climbs and stays below",
        f"bounds {c.values.round(5).tolist()} ± {error.round(5).tolist()}, exact {c.exact:.5f}",
    )
    study.say(
        abs(below[-1]) <= 3 * c.run_errors[-1],
        f"The ladder arrives: {LADDER[-1]} particles end within three standard errors of one run "
        f"({c.run_errors[-1]:.4f} each) of the exact value.",
        f"the ladder on {name} arrives",
        f"{below[-1]:.5f} below the exact value, standard error of one run {c.run_errors[-1]:.5f}",
    )
    study.say(
        abs(below[0] - c.kl) <= ERRORS * error[0],
        f"What the ELBO lacks is what theory says, KL(q || posterior): {below[0]:.4f} measured by drawing, "
        f"{c.kl:.4f} in closed form.",
        f"the gap on {name} is the divergence of the guide",
        f"gap {below[0]:.5f} ± {error[0]:.5f}, divergence {c.kl:.5f}",
    )


on_the_gap()
for name, of in lines.items():
    if len(of) > 1:
        on_the_order(name, of)
on_swaps()
for name, c in climbs.items():
    on_the_climb(name, c)
study.check()


# %% [markdown]
# ## The figure


# %%
def draw_ranking(axes: Axes, of: list[Line]) -> None:
    """ELBO and log-likelihood of every model, the gap between them."""
    place, by_elbo = (rankings[of[0].table][column] for column in ("rank", "rank_by_elbo"))
    for y, line in enumerate(of):
        axes.plot([line.elbo, line.log_likelihood], [y, y], color=SECOND, lw=3.5, alpha=0.45, solid_capstyle="butt")
        if not line.exact:
            axes.plot(line.elbo, y, "o", ms=7, mfc=PAPER, mec=SECOND, mew=1.6, zorder=3)
        axes.plot(line.log_likelihood, y, "o" if line.exact else ">", ms=7, mfc=INK, mec=PAPER, zorder=4)
        text = "exact" if line.exact else f"gap {line.scores.gap:.3f}"
        moved = by_elbo[y] != place[y]
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "size": 8}
        axes.annotate(text, (1.02, y), color=MUTED, **where)
        axes.annotate(f"by ELBO {by_elbo[y]}." if moved else "", (1.23, y), color=SECOND, **where)
    axes.set_yticks(range(len(of)), [f"{x.model}  {rank}." for x, rank in zip(of, place, strict=True)], color=INK)
    axes.set_ylim(len(of) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("nats per held-out row")
    axes.set_title(of[0].table)


def draw_climb(axes: Axes, name: str, c: Climb) -> None:
    """Every run's bound against the exact value, and the mean over runs."""
    axes.axhline(0, color=INK, lw=1.2)
    axes.annotate("exact", (0.015, 0), xycoords=("axes fraction", "data"), va="bottom", ha="left", color=INK, size=8)
    for rung, each in zip(LADDER, c.bounds, strict=True):
        axes.plot([rung] * len(each), each - c.exact, "_", ms=9, color=DATA, mew=0.8, zorder=2)
    axes.plot(LADDER, c.values - c.exact, "-", color=MODEL, lw=1.6, zorder=3)
    axes.plot(LADDER[1:], c.values[1:] - c.exact, ">", ms=7, mfc=MODEL, mec=PAPER, zorder=4)
    axes.plot(LADDER[:1], c.values[:1] - c.exact, "o", ms=7, mfc=PAPER, mec=SECOND, mew=1.6, zorder=4)
    axes.set_xscale("log")
    axes.set_xticks(LADDER, ["1\n(ELBO)", *map(str, LADDER[1:])])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.grid(axis="x", visible=False)
    axes.margins(x=0.12, y=0.15)
    axes.set_xlabel("particles")
    axes.set_ylabel("nats per row from exact")
    axes.set_title(f"{name}: PPCA, encoder")


def draw() -> Figure:
    tall = [len(of) for of in lines.values()]
    figure = Figure(figsize=(9, 1.7 + 0.27 * sum(tall)), layout="constrained", dpi=110)
    grid = figure.add_gridspec(len(lines), 2, width_ratios=(1.5, 1), height_ratios=tall)
    for row, (name, of) in enumerate(lines.items()):
        draw_ranking(figure.add_subplot(grid[row, 0]), of)
        draw_climb(figure.add_subplot(grid[row, 1]), name, climbs[name])
    handles = figure.axes[0].plot([], [], "o", ms=7, mfc=PAPER, mec=SECOND, mew=1.6, label="ELBO")
    handles += figure.axes[0].plot([], [], "o", ms=7, mfc=INK, mec=PAPER, label="log-likelihood, exact")
    handles += figure.axes[0].plot([], [], ">", ms=7, mfc=INK, mec=PAPER, label="log-likelihood, lower bound")
    handles += figure.axes[0].plot([], [], "_", ms=9, color=DATA, label="one run")
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


# %%
rows = pd.concat([*rankings.values(), ladder], keys=[*["registry"] * len(rankings), "ladder"], names=["part", None])
rows = rows.reset_index("part").round(6).astype({"rank": "Int64", "rank_by_elbo": "Int64"})
with styled():
    study.write(rows, draw())
