# %% [markdown]
# # What do beta, annealing and particles do to the bound?
#
# A VAE has three knobs that its tuner turns most: beta, the price of a nat in the latents; annealing, the share of the
# fit over which that price grows from nothing; and the particles of the importance-weighted bound. Each changes what is
# fitted, so that the ELBO of the result says two things at once: how good the density is, and how far below it the
# bound lies. Here they are told apart: every fit is scored on the same held-out rows by its ELBO, the two parts of that
# (reconstruction and divergence), and its log-likelihood by many draws.
#
# Columns are taken as continuous, so that nothing but the latents loosens the bound.
#
#     python analyses/bounds_and_settings.py [--quick] [--output DIR]

# %%
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from _study import Study, listed, real, tally
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import zoo
from zoo.evaluate.latents import held
from zoo.evaluate.likelihood import K_HAT_GOOD, Scores
from zoo.evaluate.paired import Paired, paired
from zoo.report.style import INK, MODEL, MUTED, PAPER, SECOND, styled

study = Study.asked("bounds_and_settings", "What do beta, annealing and particles do to the bound?")
FITTED, JUDGED, PARTICLES = (120, 50, 50) if study.quick else (1500, 1000, 200)
BETAS = (1.0, 4.0) if study.quick else (0.25, 0.5, 1.0, 2.0, 4.0)
ANNEALS, COUNTS = ((0.0, 0.25), (1, 5)) if study.quick else ((0.0, 0.025, 0.25), (1, 5, 20))
WIDE, STEPS = ([16], 100) if study.quick else ([64, 64], 800)

BOTH = ("log_likelihood", "elbo")
KNOBS: dict[str, list[tuple[float, str, dict[str, Any]]]] = {
    "beta": [(b, "beta-vae", {"objective.beta": b}) for b in BETAS],
    "annealing": [(a, "vae", {"objective.anneal": a}) for a in ANNEALS],
    "particles": [(k, "iwae", {"objective.particles": k}) for k in COUNTS],
}
"""Of each knob its values, and the model and setting of each; beta 1 and annealing over 0.025 are one fit, `vae`."""


# %% [markdown]
# ## Fits
#
# The held-out rows are the same for all seeds; a seed draws other rows to fit, and starts the fit.


# %%
@dataclass
class Fit:
    """Scores of the held-out rows, and KL(q || p) of each latent, mean over these rows, nats."""

    scores: Scores
    nats: list[float]
    active: int


def fitted(table: pd.DataFrame, model: str, sets: dict[str, Any], seed: int) -> Fit:
    order = np.random.default_rng(0).permutation(len(table))
    judging, rest = table.iloc[order[:JUDGED]], table.iloc[order[JUDGED:]]
    networks = {"program.network.hidden": WIDE, "guide.network.hidden": WIDE}
    settings = {"program.dim": 8, "fit.steps": STEPS, **networks, **sets}
    estimator = zoo.Estimator(model, settings=settings, kinds={"*": "continuous"}, seed=seed, device="cpu")
    estimator.fit(rest.sample(min(FITTED, len(rest)), random_state=seed))
    (latent,) = held(estimator.model_, estimator.model_.rows(judging), seed)
    active = len(latent.nats) - len(latent.silent)
    return Fit(estimator.log_likelihood(judging, PARTICLES), latent.nats, active)


if study.quick:
    tables = {"wine": zoo.example("wine").select_dtypes("number")}
else:
    tables = {"magic04": real("magic04.data.gz").select_dtypes("number")}
    tables["housing"] = real("housing.csv").select_dtypes("number").dropna()


# %%
fits: dict[tuple[str, str, float, int], Fit] = {}
for name, table in tables.items():
    for knob, values in KNOBS.items():
        for value, model, sets in values:
            for seed in study.seeds:
                again = fits.get((name, "beta", 1.0, seed)) if (knob, value) == ("annealing", 0.025) else None
                fits[name, knob, value, seed] = one = again or fitted(table, model, sets, seed)
                print(f"  {name:8} {knob:9} {value:<5g} seed {seed} {one.scores.mean:9.3f}", flush=True)


# %% [markdown]
# ## What follows
#
# A difference is paired by held-out row and by seed; its standard error counts both, other rows and other fits.


# %%
numbers = pd.DataFrame(
    {
        "log_likelihood": one.scores.mean, "standard_error": one.scores.standard_error, "elbo": one.scores.elbo.mean(),
        "gap": one.scores.gap, "reconstruction": one.scores.elbo.mean() + sum(one.nats), "kl": sum(one.nats),
        "active": one.active, "k_hat": one.scores.high_k_hat, "particles": one.scores.particles,
    }
    for one in fits.values()
)  # fmt: skip
numbers.index = pd.MultiIndex.from_tuples(fits, names=["table", "knob", "value", "seed"])
places = [(name, seed) for name in tables for seed in study.seeds]


def values_of(what: str, name: str, knob: str, value: float) -> np.ndarray:
    """One number a seed."""
    return np.array([numbers.at[(name, knob, value, seed), what] for seed in study.seeds], dtype=float)


def difference(name: str, one: tuple[str, float], other: tuple[str, float], what: str = "log_likelihood") -> Paired:
    """Of two settings, nats per row of `what`: log_likelihood or elbo."""
    of = [np.stack([getattr(fits[name, *at, seed].scores, what) for seed in study.seeds]) for at in (one, other)]
    return paired(of[0] - of[1])


def ends(what: str, name: str, knob: str, digits: int = 2, joined: str = " to ") -> str:
    """The means over seeds at the first and the last value of a knob."""
    at = (KNOBS[knob][0][0], KNOBS[knob][-1][0])
    return joined.join(f"{values_of(what, name, knob, value).mean():.{digits}f}" for value in at)


def each(what: str, name: str, knob: str) -> str:
    """The means over seeds at every value of a knob."""
    return listed([f"{values_of(what, name, knob, value).mean():.2f} ({value:g})" for value, *_ in KNOBS[knob]])


def over(found: dict[str, Paired]) -> str:
    return listed([f"{d.mean:+.3f} ± {d.standard_error:.3f} on {name}" for name, d in found.items()])


def on_beta() -> None:
    low, high = BETAS[0], BETAS[-1]
    falls = [bool((np.diff([numbers.at[(n, "beta", b, s), "kl"] for b in BETAS]) < 0).all()) for n, s in places]
    parts = [
        f"from {ends('kl', n, 'beta')} nats on {n} (latents in use: {ends('active', n, 'beta', 1)})" for n in tables
    ]
    study.say(
        sum(falls) * 2 > len(falls),
        f"Beta is a price: the divergence falls with every step of beta, {low:g} to {high:g}, in {tally(falls)} fits, "
        f"{listed(parts)}.",
        "the divergence falls as beta grows",
        f"in {tally(falls)}",
    )
    named = []
    for what in reversed(BOTH):
        winners = [max(BETAS, key=lambda b, n=n, s=s: numbers.at[(n, "beta", b, s), what]) for n, s in places]
        named.append(listed([f"{b:g} ({tally([b == w for w in winners])})" for b in sorted(set(winners))]))
    study.sentences.append(f"The best held-out ELBO is that of beta {named[0]}; the best log-likelihood, {named[1]}.")
    worse = {n: difference(n, ("beta", high), ("beta", 1.0)) for n in tables}
    study.say(
        all(d.mean < -2 * d.standard_error for d in worse.values()),
        f"Beta {high:g} costs density and not the bound alone: {over(worse)} in log-likelihood beside beta 1.",
        f"beta {high:g} costs log-likelihood",
        over(worse),
    )
    gaps = [f"{each('gap', n, 'beta')} on {n}" for n in tables]
    study.sentences.append(f"What the ELBO lacks of the log-likelihood, by beta: {'; '.join(gaps)}.")


def on_annealing() -> None:
    off, long = ANNEALS[0], ANNEALS[-1]
    found = {n: difference(n, ("annealing", long), ("annealing", off)) for n in tables}
    sure = [abs(d.mean) > 2 * d.standard_error for d in found.values()]
    latents = listed([f"{ends('active', n, 'annealing', 1, ' and ')} on {n}" for n in tables])
    study.sentences.append(
        f"Annealing over {long:.0%} of the fit moves the log-likelihood by {over(found)} beside none, more than two "
        f"standard errors on {tally(sure)}; latents in use without and with it: {latents}."
    )


def on_particles() -> None:
    one, many = ("particles", COUNTS[0]), ("particles", COUNTS[-1])
    density = {n: difference(n, many, one) for n in tables}
    bound = {n: difference(n, many, one, "elbo") for n in tables}
    change = {w: [numbers.at[(n, *many, s), w] - numbers.at[(n, *one, s), w] for n, s in places] for w in BOTH}
    better, lower = [d > 0 for d in change["log_likelihood"]], [d < 0 for d in change["elbo"]]
    study.say(
        sum(lower) * 2 > len(lower) and sum(better) * 2 > len(better),
        f"Particles move the two numbers apart: with {COUNTS[-1]} for 1 the log-likelihood is higher in "
        f"{tally(better)} fits ({over(density)}) and the ELBO lower in {tally(lower)} ({over(bound)}). Whoever ranks "
        "by ELBO sees a loss where density was gained.",
        "many particles raise the log-likelihood and lower the ELBO",
        f"higher in {tally(better)}, lower in {tally(lower)}",
    )
    shapes = [f"{each('k_hat', n, 'particles')} on {n}" for n in tables]
    study.sentences.append(
        f"k-hat of the guides, which 95% of rows lie below, by particles: {'; '.join(shapes)}. Above {K_HAT_GOOD} the "
        f"{PARTICLES} draws may end below the log-likelihood, so it may be higher than said here."
    )


on_beta()
on_annealing()
on_particles()
study.check()


# %% [markdown]
# ## The figure


# %%
def draw_knob(axes: Axes, name: str, knob: str) -> None:
    """Log-likelihood and ELBO by value of a knob, what lies between them shaded; points are seeds."""
    values = [value for value, *_ in KNOBS[knob]]
    x = np.arange(len(values))
    of = {what: np.stack([values_of(what, name, knob, v) for v in values]) for what in BOTH}
    axes.fill_between(x, of["elbo"].mean(1), of["log_likelihood"].mean(1), color=SECOND, alpha=0.13, lw=0)
    for y, label, colour in zip(of.values(), ("log-likelihood", "ELBO"), (INK, SECOND), strict=True):
        axes.plot(np.repeat(x, y.shape[1]), y.ravel(), "o", ms=3, mec="none", color=colour, alpha=0.5)
        axes.plot(x, y.mean(1), "-o", ms=6, mec=PAPER, lw=1.6, color=colour, label=label)
    parts = [(values_of("kl", name, knob, v).mean(), values_of("active", name, knob, v).mean()) for v in values]
    axes.set_xticks(x, [f"{v:g}" for v in values], color=INK)
    for at, (kl, active) in zip(x, parts, strict=True):
        axes.annotate(
            f"KL {kl:.1f}\n{active:.0f} of 8", (at, 0), (0, -18), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="top", size=7, color=MODEL,
        )  # fmt: skip
    axes.grid(axis="x", visible=False)
    axes.margins(x=0.14)
    axes.set_title(f"{name}: {knob}", loc="left")


def draw() -> Figure:
    figure = Figure(figsize=(9, 0.6 + 2.7 * len(tables)), layout="constrained", dpi=110)
    wide = [1 + len(values) for values in KNOBS.values()]
    grid = figure.subplots(len(tables), len(KNOBS), squeeze=False, gridspec_kw={"width_ratios": wide})
    for row, name in zip(grid, tables, strict=True):
        for axes, knob in zip(row, KNOBS, strict=True):
            draw_knob(axes, name, knob)
        row[0].set_ylabel("nats per held-out row")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    figure.text(0.995, 0.985, "below: divergence, and latents in use", ha="right", va="top", size=8, color=MUTED)
    return figure


# %%
with styled():
    study.write(numbers.round(5).reset_index(), draw())
