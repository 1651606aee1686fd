"""Diffusions, flows and energies on a table whose truth is known: how far their numbers are off.

    python -m benchmarks.diffusion [--models ddpm,flow-matching] [--steps 3000] [-o FILE]

A bent Gaussian, x ~ Normal(0, 1), y ~ Normal(x^2 / 2, 0.5^2), 5,000 rows: the number on 1,000 more rows less the truth,
with the standard error of that difference over rows, and the error that zoo states of the number: twice the Monte Carlo
error, and those that all rows share, of the solver or of log Z. What a fit lacks is below the truth and no error of its
number. Two things would show that the stated error is too small. A density is on average not above the truth; and it
integrates to one: `log_integral` is the log of the integral of the number, by the trapezoidal rule, where no Monte
Carlo noise is in it. A table of the results is written beside the JSON. (`benchmarks.modes` has the modes they cover.)
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm

import zoo
from benchmarks.kept import keep
from zoo.errors import ZooWarning

MODELS = ("ddpm", "score-vp", "score-ve", "flow-matching", "ebm", "nce", "nsf", "gmm")
SMALLER: dict[str, Any] = {"program.network.width": 128, "program.network.blocks": 2, "fit.batch": 256}
LATTICE = 5e-3
"""Of an integral, what the lattice leaves and what a model has outside of it: `nsf` alone a thousandth in its tail."""
STEP = 0.15
"""Of the lattice over which a density is integrated: a third of its narrowest standard deviation, or less."""
OF_THEIR_OWN = ("ebm", "nce", "nsf", "gmm")


def settings(model: str, steps: int) -> dict[str, Any]:
    return {"fit.steps": steps} | ({} if model in OF_THEIR_OWN else SMALLER)


def bent(n: int, rng: np.random.Generator) -> pd.DataFrame:
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": x**2 / 2 + 0.5 * rng.normal(size=n)})


def everywhere() -> tuple[pd.DataFrame, float]:
    """(points of a lattice over all of the bent Gaussian but 1e-5 of it, the area of its cells)."""
    x, y = np.arange(-4.5, 4.6, STEP), np.arange(-2.7, 13.0, STEP)
    a, b = np.meshgrid(x, y)
    return pd.DataFrame({"x": a.ravel(), "y": b.ravel()}), STEP**2


def truth(model: str, steps: int, seed: int, marginals: str = "codec") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    table, test = bent(5000, rng), bent(1000, rng)
    log = norm.logpdf(test["x"]) + norm.logpdf(test["y"], test["x"] ** 2 / 2, 0.5)
    own = {"program.marginals": marginals} if model not in ("nsf", "gmm") else {}
    begun = time.process_time()
    estimator = zoo.Estimator(model, settings=settings(model, steps) | own, seed=seed).fit(table)
    line: dict[str, Any] = {"table": "bent", "model": model, "fit_cpu_seconds": time.process_time() - begun}
    scores = estimator.log_likelihood(test)
    gap = scores.log_likelihood - log
    line |= {"bound": scores.bound, "gap": float(gap.mean()), "standard_error": float(gap.std() / np.sqrt(len(gap)))}
    line["monte_carlo"] = scores.monte_carlo_error
    line["shared"] = [one._asdict() for one in scores.shared]
    line["stated"] = 2 * line["monte_carlo"] + sum(one.error for one in scores.shared)
    points, area = everywhere()
    # the exponential of a number with Monte Carlo noise is too large on average
    line["log_integral"] = None
    if not scores.monte_carlo.any():
        line["log_integral"] = float(np.log(area) + logsumexp(estimator.log_likelihood(points).log_likelihood))
    line["covered"] = covers(line)
    return line


def covers(line: dict[str, Any]) -> bool:
    """Whether a number is above the truth, or off an integral of one, by no more than it states."""
    off = line["log_integral"] or 0.0
    above = off if line["bound"] == "lower" else abs(off)
    return bool(line["gap"] <= line["stated"] + 2 * line["standard_error"] and above <= line["stated"] + LATTICE)


def integral(line: dict[str, Any]) -> str:
    return "-" if line["log_integral"] is None else f"{line['log_integral']:+.4f}"


def written(lines: list[dict[str, Any]]) -> str:
    """The lines as tables."""
    lines = sorted(lines, key=lambda line: str(line["model"]))
    out = [
        "`python -m benchmarks.diffusion`",
        "",
        "A bent Gaussian, one seed, by smaller networks and fewer steps than the entries', numbers as they are. What a",
        "fit lacks makes the gap negative, and is no error of its number. Covered: the gap is above the truth, and the",
        "integral of a density off one, by no more than is stated, two standard errors over rows, and what a lattice",
        f"leaves ({LATTICE}).",
        "",
    ]
    out += [
        "| model | bound | gap to the truth | ± over rows | stated error | log of the integral | covered | fit, CPU s |"
    ]
    out += ["|" + "---|" * 8]
    out += [
        f"| {at['model']} | {at['bound']} | {at['gap']:+.4f} | {at['standard_error']:.4f} | {at['stated']:.4f} "
        f"| {integral(at)} | {'yes' if at['covered'] else 'no'} | {at['fit_cpu_seconds']:.0f} |"
        for at in lines
    ]  # fmt: skip
    return "\n".join([*out, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "diffusion.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    for model in arguments.models.split(",") if arguments.models else MODELS:
        line = truth(model, arguments.steps, arguments.seed)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}, flush=True)
        keep(arguments.output, [line], ("table", "model"), written)


if __name__ == "__main__":
    main()
