"""Flows against the truth, against zuko's own, and against mixtures; and what one stray row costs them.

    python -m benchmarks.flows truth  [--models nsf,maf,...] [--shapes rings,...] [--seeds 0 1 2]
    python -m benchmarks.flows tables [TABLE ...] [--seeds 0 1 2] [--models nsf,maf] [--data FOLDER]
    python -m benchmarks.flows tails  [--models nsf,maf,...] [--seeds 0 1 2]

Lines go to flows_truth.json, flows_tables.json and flows_tails.json of the folder named by -o, beside those that are
there, and their means over seeds to flows_truth.md and so on.

truth: densities of the plane in closed form, 20,000 rows to fit (a tenth of them to stop by) and 20,000 fresh ones to
judge: log p of the truth less that of the model, in nats a row, is the divergence left.

tables: rows split 80/10/10 as in `benchmarks.density`, tied columns dequantised once for all sides, standardised by
the training rows. zuko's NSF and MAF get the same layers, networks, bins, rows, order of batches, learning rate, number
of steps and early stop, as its documentation trains them: Adam, no floor. `gmm` chooses K on the validation rows. Each
difference is paired, by test row, with its standard error.

tails: tables with heavy tails, the training rows without the worst row of all, which is judged: what it alone does to
the mean of the test rows.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import zuko
from scipy import stats
from scipy.special import logsumexp

import zoo
from benchmarks.density import Parts, dequantised, load, paired
from benchmarks.kept import Line, keep
from zoo.registry import Registry, parse_set

ROWS = 20_000
TABLES = ("magic04", "housing", "10_cover", "68983", "winequality-white", "adult")
FLOWS = (
    "linear-flow", "elementwise-flow", "nice", "realnvp", "residual-flow", "multiscale-flow", "glow", "nsf-coupling",
    "maf", "naf", "nsf", "iresnet", "cnf", "flow-mixture",
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- truth


@dataclass
class Shape:
    """A density of the plane: n draws of it (n, 2), and its logarithm at points (n, 2)."""

    draw: Callable[[np.random.Generator, int], np.ndarray]
    log_p: Callable[[np.ndarray], np.ndarray]


RADII, WIDTH = (1.0, 2.0, 3.0), 0.1


def draw_rings(rng: np.random.Generator, n: int) -> np.ndarray:
    r = rng.choice(RADII, n) + WIDTH * rng.normal(size=n)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], 1)


def log_rings(x: np.ndarray) -> np.ndarray:
    r = np.hypot(*x.T)[:, None]
    return logsumexp(stats.norm(RADII, WIDTH).logpdf(r), 1) - math.log(len(RADII)) - np.log(2 * np.pi * r[:, 0])


MOON_NOISE, NODES = 0.1, 400


def _arcs(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    upper = np.stack([np.cos(angle), np.sin(angle)], -1)
    return upper, np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], -1)


def draw_moons(rng: np.random.Generator, n: int) -> np.ndarray:
    upper, lower = _arcs(rng.uniform(0, np.pi, n))
    return np.where(rng.random((n, 1)) < 0.5, upper, lower) + MOON_NOISE * rng.normal(size=(n, 2))


def log_moons(x: np.ndarray) -> np.ndarray:
    """The integral over each arc by Gauss and Legendre: to the last digit, its integrand being smooth."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    centres = np.concatenate(_arcs(np.pi * (nodes + 1) / 2))
    log_weight = np.log(np.tile(weights / 4, 2))
    out = np.empty(len(x))
    for part in np.array_split(np.arange(len(x)), max(1, len(x) // 1000)):
        distance = np.square(x[part, None] - centres).sum(-1)
        out[part] = logsumexp(log_weight - distance / (2 * MOON_NOISE**2), 1)
    return out - math.log(2 * np.pi * MOON_NOISE**2)


def draw_checkerboard(rng: np.random.Generator, n: int) -> np.ndarray:
    column, row = rng.integers(0, 4, n), rng.integers(0, 2, n)
    corner = np.stack([column, 2 * row + column % 2], 1) - 2.0
    return 2 * (corner + rng.random((n, 2)))


def log_checkerboard(x: np.ndarray) -> np.ndarray:
    return np.full(len(x), -math.log(32.0))


ARMS, TWIST = 5, 1.0


def _turned(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)


def draw_pinwheel(rng: np.random.Generator, n: int) -> np.ndarray:
    """Arms (1 + 0.3 e, 0.1 e'), each turned by its place and by its distance from the centre: which keeps areas."""
    arm = np.stack([1 + 0.3 * rng.normal(size=n), 0.1 * rng.normal(size=n)], 1)
    return _turned(arm, 2 * np.pi * rng.integers(0, ARMS, n) / ARMS + TWIST * np.hypot(*arm.T))


def log_pinwheel(x: np.ndarray) -> np.ndarray:
    back = TWIST * np.hypot(*x.T)
    arms = (_turned(x, -back - 2 * np.pi * k / ARMS) for k in range(ARMS))
    each = [stats.norm(1, 0.3).logpdf(arm[:, 0]) + stats.norm(0, 0.1).logpdf(arm[:, 1]) for arm in arms]
    return logsumexp(each, 0) - math.log(ARMS)


SHAPES = {
    "rings": Shape(draw_rings, log_rings),
    "moons": Shape(draw_moons, log_moons),
    "checkerboard": Shape(draw_checkerboard, log_checkerboard),
    "pinwheel": Shape(draw_pinwheel, log_pinwheel),
}


def truth_line(name: str, model: str, seed: int, settings: dict[str, Any] | None = None) -> Line:
    rng = np.random.default_rng(seed)
    shape = SHAPES[name]
    train, fresh = (pd.DataFrame(shape.draw(rng, ROWS), columns=["x", "y"]) for _ in range(2))
    cut = ROWS * 9 // 10
    rows, seconds, steps = fitted(model, Parts(train[:cut], train[cut:], fresh), seed, settings)
    gap, error = paired(shape.log_p(fresh.to_numpy()), rows)
    return {"shape": name, "model": model, "seed": seed, "gap": gap, "error": error, "seconds": seconds, "steps": steps}


def fitted(
    model: str, parts: Parts, seed: int, settings: dict[str, Any] | None = None
) -> tuple[np.ndarray, float, int]:
    """Log-density of each test row, seconds to fit, and steps that it took."""
    schema = zoo.infer_schema(parts.train, kinds={"*": "continuous"})
    started = time.perf_counter()
    kept = zoo.Estimator(model, settings=settings or {}, seed=seed, device="cpu").fit_parts(
        parts.train, parts.validation, schema
    )
    seconds = time.perf_counter() - started
    return kept.score_samples(parts.test), seconds, kept.fitted_.steps


# --------------------------------------------------------------------------------------------------------- tables


def table(name: str, folder: Path) -> Parts:
    """As `benchmarks.density` has it; of adult, the numeric columns."""
    if name != "adult":
        return load(name, folder)
    # without a header; of its fifteen columns these are numbers
    numbers = [0, 2, 4, 10, 11, 12]
    frame = pd.read_csv(folder / "adult-train.csv.gz", header=None, usecols=numbers).astype(float)
    rng = np.random.default_rng(0)
    x = dequantised(frame, rng)
    index = rng.permutation(len(x))
    a, b = int(0.8 * len(x)), int(0.9 * len(x))
    return Parts.of(x[index[:a]], x[index[a:b]], x[index[b:]])


def peer(model: str, parts: Parts, seed: int, recipe: Any) -> tuple[np.ndarray, float, int]:
    """zuko's own flow of the same size, on the same rows, at the same budget."""
    settings, fit = recipe.program.settings["flow"].settings, recipe.fit
    torch.manual_seed(seed)
    train, validation, test = (torch.tensor(x.to_numpy(), dtype=torch.float32) for x in
                               (parts.train, parts.validation, parts.test))  # fmt: skip
    options = {"transforms": settings.get("layers", 3), "hidden_features": settings.get("hidden", (64, 64))}
    kind = zuko.flows.NSF if model == "nsf" else zuko.flows.MAF
    flow = kind(train.shape[1], **options, **({"bins": settings.get("bins", 8)} if model == "nsf" else {}))
    optimiser = torch.optim.Adam(flow.parameters(), lr=fit["learning_rate"])
    batch, steps, patience = fit.get("batch", 256), fit["steps"], fit.get("patience", 15)
    every = min(max(math.ceil(len(train) / batch), 25), 500)
    cool = math.ceil(fit.get("cool", 0.1) * steps)
    started, step, waited, best, state = time.perf_counter(), 0, 0, math.inf, flow.state_dict()
    turned = last = steps  # the step at which validation rows have gained nothing for long, and the last one
    while step < last:
        for index in torch.randperm(len(train)).split(batch):
            share = min(step, turned) / steps
            share += (1 - share) * (step - turned) / (last - turned) if step > turned else 0
            for group in optimiser.param_groups:
                group["lr"] = 0.5 * fit["learning_rate"] * (1 + math.cos(math.pi * share))
            optimiser.zero_grad()
            loss = -flow().log_prob(train[index]).mean()
            loss.backward()
            optimiser.step()
            step += 1
            if step % every == 0 or step == last:
                with torch.no_grad():
                    value = -float(flow().log_prob(validation).mean())
                if value < best - 1e-4:
                    best, waited = value, 0
                    state = {k: v.clone() for k, v in flow.state_dict().items()}
                else:
                    waited += 1
            if patience and waited >= patience and turned == steps:
                turned, last = step, min(step + cool, steps)
            if step == last:
                break
    flow.load_state_dict(state)
    with torch.no_grad():
        rows = torch.cat([flow().log_prob(x) for x in test.split(4096)]).double().numpy()
    return rows, time.perf_counter() - started, step


def table_lines(name: str, models: list[str], seed: int, data: Path, settings: dict[str, Any]) -> list[Line]:
    parts = table(name, data)
    shape = "/".join(str(len(x)) for x in (parts.train, parts.validation, parts.test))
    about = {"table": name, "rows": shape, "columns": parts.test.shape[1], "seed": seed}
    mixture, seconds, _ = fitted("gmm", parts, seed)
    lines = [about | {"model": "gmm", "value": float(mixture.mean()), "seconds": seconds}]
    for model in models:
        rows, seconds, steps = fitted(model, parts, seed, settings)
        line = about | {"model": model, "value": float(rows.mean()), "seconds": seconds, "steps": steps}
        line["over gmm"], line["over gmm error"] = paired(rows, mixture)
        if model in ("nsf", "maf"):
            recipe = Registry.load().recipe(model, settings)
            other, seconds, steps = peer(model, parts, seed, recipe)
            line |= {"zuko": float(other.mean()), "zuko median": float(np.median(other)), "zuko seconds": seconds}
            line["over zuko"], line["over zuko error"] = paired(rows, other)
            line["zuko steps"], line["median"] = steps, float(np.median(rows))
        lines.append(line)
    return lines


# ---------------------------------------------------------------------------------------------------------- tails


def heavy(name: str, rng: np.random.Generator) -> np.ndarray:
    """3,000 rows of three columns that hang together and have no variance, or hardly one."""
    z = rng.standard_t({"cauchy": 1, "t2": 2, "t3": 3}[name], size=(3000, 3))
    z[:, 1] += 0.5 * z[:, 0]
    z[:, 2] -= 0.3 * z[:, 1]
    return z


def tail_line(name: str, model: str, seed: int) -> Line:
    """Without the worst test row, and with it."""
    x = heavy(name, np.random.default_rng(seed))
    worst = np.abs(x).max(1).argmax()
    rest = np.delete(x, worst, 0)
    train, validation, test = rest[:2200], rest[2200:2500], np.vstack([rest[2500:], x[worst]])
    rows, seconds, _ = fitted(model, Parts.of(train, validation, test), seed)
    return {
        "table": name, "model": model, "seed": seed, "value": float(rows.mean()), "median": float(np.median(rows)),
        "worst row": float(rows.min()), "pull": float(rows[:-1].mean() - rows.mean()), "seconds": seconds,
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- main


HEADS = {
    "truth": ("Against the truth", "Divergence left, in nats a row, of 20,000 fresh rows of a density in closed form.",
              ("gap",)),
    "tables": ("Beside mixtures and zuko's own", "Held-out nats a row of standardised columns, every one continuous; "
               "`gmm` with K chosen on the validation rows; zuko with the same layers, networks, rows, rate, steps and "
               "early stop.", ("value", "over gmm", "over zuko", "seconds", "zuko seconds")),
    "tails": ("Heavy tails", "Held-out nats a row with the worst row of all among them, the median, and what that one "
              "row alone costs the mean (pull).", ("value", "median", "worst row", "pull")),
}  # fmt: skip


def page(what: str) -> Callable[[list[Line]], str]:
    """What makes a page of lines: means over seeds, in brackets the least and the most where there are several."""
    title, said, columns = HEADS[what]

    def of(lines: list[Line]) -> str:
        table = pd.DataFrame(lines).rename(columns={"shape": "table"})
        out = [f"# {title}", "", f"Made by `python -m benchmarks.flows {what}`, one thread. {said}", ""]
        out += ["Means over seeds; errors are over rows, brackets from the least seed to the most.", ""]
        out += ["| table | model | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
        table["model"] += table.get("set", pd.Series("", table.index)).fillna("").map(lambda sets: sets and f", {sets}")
        for (name, model), some in sorted(table.groupby(["table", "model"]), key=lambda x: x[0]):
            cells = [cell(some, column) for column in columns]
            out.append(f"| {name} | {model} | {len(some)} | " + " | ".join(cells) + " |")
        return "\n".join(out) + "\n"

    return of


def cell(some: pd.DataFrame, column: str) -> str:
    if column not in some or some[column].isna().all():
        return ""
    values, error = some[column], f"{column} error" if column != "gap" else "error"
    if "seconds" in column:
        return f"{values.mean():.0f}"
    text = f"{values.mean():.3f}" + (f" ± {some[error].mean():.3f}" if error in some else "")
    return text + (f" ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else "")


def said(lines: list[Line], output: Path, what: str, sets: str) -> None:
    """Settings that are not the model's own are part of its name."""
    for line in lines:
        line |= {"set": sets} if sets and line["model"] != "gmm" else {}
        print(line, flush=True)
    keep(output / f"flows_{what}.json", lines, ("shape", "table", "model", "seed", "set"), page(what))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["truth", "tables", "tails"])
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--models")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    settings = dict(parse_set(text) for text in asked.sets)
    models = asked.models.split(",") if asked.models else None
    for seed in asked.seeds:
        if asked.what == "truth":
            for shape in asked.shapes.split(","):
                for model in models or [*FLOWS, "gmm"]:
                    said([truth_line(shape, model, seed, settings)], asked.output, "truth", ", ".join(asked.sets))
        elif asked.what == "tables":
            for name in asked.tables:
                said(
                    table_lines(name, models or ["nsf", "maf"], seed, asked.data, settings),
                    asked.output,
                    "tables",
                    ", ".join(asked.sets),
                )
        else:
            for name in ("t3", "t2", "cauchy"):
                for model in models or ["gmm", "chain", *FLOWS]:
                    said([tail_line(name, model, seed)], asked.output, "tails", "")


if __name__ == "__main__":
    main()
