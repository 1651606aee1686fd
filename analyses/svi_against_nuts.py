# %% [markdown]
# # What does a variational posterior lose?
#
# A Bayesian mixture of two clusters that touch, fitted to a hundred rows drawn from a known one: by NUTS, whose draws
# are the posterior up to their number, and by five guides that are fitted in its place. Beside the sampler's lie the
# mean of each guide's posterior and the width of its 90% intervals, of the weight, the locations and the scales.
#
# A seed is another table.
#
#     python analyses/svi_against_nuts.py [--quick] [--output DIR]

# %%
from __future__ import annotations

import re
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from _study import Study
from _tables import on_seeds, told, verdict
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

import zoo
from zoo.report.style import CLUSTERS, DATA, INK, MODEL, MUTED, PAPER, SECOND, styled

study = Study.asked("svi_against_nuts", "What does a variational posterior lose?")
warnings.simplefilter("ignore")
ROWS, DRAWS = (40, 50) if study.quick else (100, 300)
NUTS = {"use": "nuts"} | (
    {"draws": 14, "warmup": 8, "depth": 2, "chains": 1} if study.quick else {"draws": 200, "warmup": 100}
)
GUIDES = ("map", "normal") if study.quick else ("map", "normal", "low-rank", "multivariate", "flow")
STEPS: dict[str, Any] = {"fit.steps": 60, "restarts": 2} if study.quick else {}
MEANS, SCALES, WEIGHT = np.array([[-1.5, -0.8], [1.5, 0.8]]), np.array([[0.9, 0.7], [0.7, 1.0]]), 0.6
NAMES = ("weight", *[f"{what} {k}{j}" for what in ("location", "scale") for k in "12" for j in "ab"])
TRUTH = np.concatenate([[WEIGHT], MEANS.ravel(), SCALES.ravel()])


# %% [markdown]
# ## One table, one posterior
#
# Components have no names: each is the one of the truth that it lies nearest to.


# %%
def simulate(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    k = (rng.random(ROWS) > WEIGHT).astype(int)
    return pd.DataFrame(MEANS[k] + SCALES[k] * rng.normal(size=(ROWS, 2)), columns=["a", "b"])


def posterior(frame: pd.DataFrame, guide: Any, seed: int) -> tuple[np.ndarray, float, str]:
    """Draws (draws, 9) of the parameters in the table's units, seconds, and how the fit ended."""
    started = time.process_time()
    schema = zoo.infer_schema(frame, kinds={"*": "continuous"})
    settings = {"components": 2, "guide": guide, **STEPS}
    fitted = zoo.Estimator("bayesian-gmm", settings=settings, seed=seed, device="cpu").fit_parts(frame, None, schema)
    seconds = time.process_time() - started
    codec, drawn = fitted.model_.codec, fitted.posterior(DRAWS)
    loc, scale = codec.loc.numpy(), codec.scale.numpy()
    places, spreads = drawn["loc"] * scale + loc, drawn["scale"] * scale
    first = ((places.mean(0) - MEANS[0]) ** 2).sum(-1).argmin()
    order = [first, 1 - first]
    parts = [drawn["weights"][:, order[:1]], *(x[:, order].reshape(DRAWS, 4) for x in (places, spreads))]
    return np.concatenate(parts, 1), seconds, fitted.fitted_.stopped


def interval(draws: np.ndarray) -> np.ndarray:
    """Ends of the 90% intervals (2, 9)."""
    return np.quantile(draws, [0.05, 0.95], axis=0)


lines, kept, r_hats = [], {}, []
for seed in study.seeds:
    frame = simulate(seed)
    for guide in ("nuts", *GUIDES):
        draws, seconds, ended = posterior(frame, NUTS if guide == "nuts" else guide, seed)
        if guide == "nuts":
            reference = draws
            r_hats.append(float(re.findall(r"r-hat (\S+)", ended)[0]))
        kept[guide, seed] = draws
        low, high = interval(draws)
        width = (high - low) / np.subtract(*interval(reference)[::-1])
        shift = (draws.mean(0) - reference.mean(0)) / reference.std(0)
        inside = (low <= TRUTH) & (high >= TRUTH)
        for name, *values in zip(NAMES, shift, width, inside, strict=True):
            line = dict(zip(("shift", "width", "holds_truth"), values, strict=True))
            lines.append({"seed": seed, "guide": guide, "quantity": name} | line | {"seconds": seconds})
        print(seed, guide, f"{np.sqrt((shift**2).mean()):.2f} {width.mean():.2f} {seconds:.1f} s; {ended}", flush=True)
table = pd.DataFrame(lines)
spread = [guide for guide in GUIDES if guide != "map"]
wide = table[table["guide"].isin(spread)].assign(log=lambda t: np.log(t["width"]))
logs = wide.pivot_table(index="seed", columns="guide", values="log")[spread]
squares = table.assign(square=table["shift"] ** 2).pivot_table(index="seed", columns="guide", values="square")
shifts = squares.pow(0.5)
seconds = table.pivot_table(index="seed", columns="guide", values="seconds")


# %% [markdown]
# ## What follows


# %%
def on_nuts() -> None:
    share = table[table["guide"] == "nuts"].groupby("seed")["holds_truth"].mean()
    study.say(
        max(r_hats) < 1.1,
        f"NUTS is the reference: {NUTS['draws']} draws, split r-hat at most {max(r_hats):.2f}, "
        f"{seconds['nuts'].mean():.0f} s of processor time a table; its 90% intervals hold {share.mean():.0%} of the "
        f"{len(NAMES) * len(share)} true values.",
        "the sampler has mixed",
        f"split r-hat {max(r_hats)}",
    )


def on_the_point() -> None:
    widest = max(float(np.ptp(kept["map", seed], axis=0).max()) for seed in study.seeds)
    study.say(
        widest < 1e-6,
        "map has no width: it is a point"
        + (
            "." if study.quick else f", {shifts['map'].mean():.2f} of the sampler's standard deviations from its means."
        ),
        "a point has no width",
        f"its draws differ by {widest:.2g}",
    )


def on_widths(guide: str) -> None:
    ratio = np.exp(logs[guide])
    narrow = list(ratio < 1)
    side = "narrower" if sum(narrow) * 2 > len(narrow) else "wider"
    some = wide[wide["guide"] == guide]
    by_name = np.exp(some.groupby("quantity")["log"].mean())
    share = some.groupby("seed")["holds_truth"].mean()
    study.say(
        bool(by_name.min() <= ratio.mean() <= by_name.max()),
        f"{guide}: intervals {ratio.mean():.2f} times as wide as the sampler's ({ratio.min():.2f} to {ratio.max():.2f} "
        f"over tables), {side} {on_seeds([n == (side == 'narrower') for n in narrow])}, least for {by_name.idxmin()} "
        f"({by_name.min():.2f}); means {shifts[guide].mean():.2f} standard deviations off; {share.mean():.0%} of true "
        f"values inside; {seconds[guide].mean() / seconds['nuts'].mean():.2f} of the sampler's time.",
        "the mean width lies between those of the quantities",
        f"{ratio.mean()} and {by_name.to_dict()}",
    )


def on_correlation() -> None:
    """Does it pay to let parameters correlate?"""
    for guide in spread[1:]:
        gap = logs[guide] - logs["normal"]
        found, more = verdict(gap), list(gap > 0)
        study.say(
            found not in ("ahead", "behind") or 2 * sum(m == (found == "ahead") for m in more) > len(more),
            f"{guide} less normal, in the log of the width: {told(gap)} over {len(gap)} tables, {found} at two "
            f"standard errors; the wider one {on_seeds(more)}.",
            "what is apart over tables is so on most of them",
            f"{told(gap)}, wider {on_seeds(more)}",
        )


on_the_point()
if not study.quick:  # some draws and some steps say nothing of widths
    on_nuts()
    for guide in spread:
        on_widths(guide)
    on_correlation()
study.check()

# %% [markdown]
# ## The figure

# %%
COLOURS = {"nuts": INK, **dict(zip(("normal", "low-rank", "multivariate", "flow"), CLUSTERS, strict=False))}
KINDS = {"weight": ("D", SECOND), "location": ("o", MODEL), "scale": ("s", DATA)}


def draw_widths(axes: Axes) -> None:
    """Every quantity of every table; the bar is the geometric mean."""
    axes.axhline(1, color=INK, lw=1.1)
    jitter = np.random.default_rng(0)
    for i, guide in enumerate(spread):
        for kind, (shape, colour) in KINDS.items():
            some = wide[(wide["guide"] == guide) & wide["quantity"].str.startswith(kind)]["width"]
            x = i + jitter.uniform(-0.16, 0.16, len(some))
            axes.plot(x, some, shape, ms=5, mfc=colour, mec=PAPER, mew=0.5, label=kind if i == 0 else None)
        axes.plot([i - 0.3, i + 0.3], [np.exp(logs[guide].mean())] * 2, color=COLOURS[guide], lw=2.4)
    axes.set_xticks(range(len(spread)), spread)
    axes.set_xlim(-0.6, len(spread) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("width of 90% interval over NUTS")
    axes.set_title("Width beside the sampler's")
    axes.legend(loc="upper left", ncols=3, handletextpad=0.1, columnspacing=0.8)
    axes.margins(y=0.2)


def draw_posteriors(axes: Axes) -> None:
    """The parameter that `normal` is narrowest for, on the first table."""
    some = wide[(wide["guide"] == "normal") & (wide["seed"] == study.seeds[0])]
    name = some.loc[some["width"].idxmin(), "quantity"]
    j = NAMES.index(name)
    ends = np.quantile(kept["nuts", study.seeds[0]][:, j], [0.002, 0.998])
    x = np.linspace(*(ends + np.array([-0.35, 0.35]) * np.ptp(ends)), 300)
    for guide in ("nuts", *spread):
        density = gaussian_kde(kept[guide, study.seeds[0]][:, j])(x)
        axes.plot(x, density, color=COLOURS[guide], lw=2 if guide == "nuts" else 1.4, label=guide)
        if guide == "nuts":
            axes.fill_between(x, density, color=COLOURS[guide], alpha=0.08)
    axes.axvline(float(kept["map", study.seeds[0]][0, j]), color=SECOND, lw=1.2, ls=(0, (4, 2)), label="map")
    axes.plot(TRUTH[j], 0, "^", ms=8, color=MUTED, clip_on=False, label="truth", ls="none")
    axes.set_ylim(0)
    axes.set_yticks([])
    axes.set_xlabel(name)
    axes.set_title(f"Posterior of {name}, first table")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


with styled():
    figure = Figure(figsize=(9, 3.7), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    draw_widths(left)
    draw_posteriors(right)
    study.write(table.round(4), figure)
