"""Time of one step of fitting: zoo's tiers, the same algorithm by hand in PyTorch, and stock Pyro.

    python -m benchmarks.steps [--cases CASE ...] [--rounds N] [--no-compiler]

A step is a batch of 256 of 4096 rows with 8 columns of floats, its loss and gradient, the gradient's clipping and
Adam's move. The twins by hand use the same networks, numbers of latents and components and the same types of numbers
(single precision in networks, double in linear maps and mixtures), torch's fused Adam and nothing of zoo; `twin
compiled` is `torch.compile` of the twin's losses; `stock` is Pyro's `SVI.step`, where Pyro has the algorithm. A
step of a GAN is a move of each player. Rounds of steps of all are interleaved on one thread, times are those of the
thread, and ratios are taken inside a round. Writes results/steps.json and results/steps.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from benchmarks import twins
from benchmarks.kept import Line, keep
from benchmarks.twins import BATCH, COLUMNS, DIM, HIDDEN, MASKED, ROWS, K, Twin
from zoo.fitting.captured import CapturedStep
from zoo.fitting.compiled import compiler
from zoo.fitting.source import InMemory
from zoo.fitting.step import EagerStep
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema

RESULTS = Path(__file__).parent / "results"
RATE, CLIP = 1e-4, 20.0
WARM, STEPS = 12, 6  # before the clock starts, and in a round

Step = Callable[[Tensor], Any]


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS)) + 2 * rng.integers(3, size=(ROWS, 1))
    return pd.DataFrame(x, columns=list("abcdefgh"))


# --------------------------------------------------------------------------------------------------------------- cases

ENCODER = {"use": "encoder", "network": {"use": "mlp", "hidden": list(HIDDEN)}}
DECODER = {"use": "latent", "dim": DIM}
NETWORK = ENCODER["network"]
CASES: dict[str, tuple[dict[str, Any], type[Twin]]] = {
    "VAE": ({"program": {**DECODER, "noise": "row", "network": NETWORK}, "guide": ENCODER}, twins.Vae),
    "PPCA, encoder": (
        {"program": {**DECODER, "noise": "isotropic", "network": "linear"}, "guide": ENCODER}, twins.Ppca,
    ),
    "GMM": ({"program": {"use": "mixture", "covariance": "full", "components": K, "restarts": 1}}, twins.Gmm),
    "Bayesian GMM": (
        {"program": {"use": "bayesian-mixture", "covariance": "full", "components": K, "restarts": 1},
         "guide": "normal"}, twins.BayesianGmm,
    ),
    "VAE, IAF guide": (
        {"program": {**DECODER, "noise": "row", "network": NETWORK},
         "guide": {**ENCODER, "flow": {"use": "iaf", "layers": 2, "hidden": list(MASKED)}},
         "objective": {"use": "elbo", "kl": "sample"}}, twins.Iaf,
    ),
    "spline flow": (
        {"program": {"use": "flow", "whiten": False,
                     "flow": {"use": "nsf", "layers": 3, "hidden": list(MASKED), "bins": 8}}}, twins.Flow,
    ),
    "GAN": (
        {"program": {**DECODER, "noise": "row", "network": NETWORK}, "guide": "none",
         "objective": {"use": "adversarial", "lead": 0.0, "network": NETWORK}}, twins.Gan,
    ),
    "DDPM": (
        {"program": {"use": "diffusion", "marginals": "codec", "hide": 0.0, "network": NETWORK},
         "objective": "denoising"}, twins.Ddpm,
    ),
}  # fmt: skip


def zoo_step(recipe: Recipe, frame: pd.DataFrame, tier: str, size: int = BATCH) -> Step:
    model = Model(recipe, Codec.fit(infer_schema(frame), frame))
    rows = model.rows(frame)
    model.initialise(rows)
    model.train()
    eager = [EagerStep(turn, RATE, CLIP) for turn in model.objective.turns(model)]
    steps = [each if tier == "eager" else CapturedStep(model, each, tier) for each in eager]
    batches = InMemory(rows).batches(size, 10**9)  # as a fit takes them

    def step(_: Tensor) -> None:
        batch = next(batches)[1]
        for each in steps:
            each(batch)
            if each.tier != tier and tier != "compiled":
                raise RuntimeError(f"was run as {each.tier}: {each.why}")

    return step


def twin(module: Twin, x: Tensor, compile_: bool = False) -> Step:
    options = {"lr": RATE, "betas": module.betas, "fused": True}
    players = [
        (torch.compile(loss) if compile_ else loss, each, torch.optim.Adam(each, **options))
        for loss, each in module.players()
    ]

    def step(index: Tensor) -> None:
        batch = x[index]
        for loss, each, optimiser in players:
            optimiser.zero_grad()
            loss(batch).backward(inputs=each)
            torch.nn.utils.clip_grad_norm_(each, CLIP)
            optimiser.step()

    return step


def stock(module: Twin, x: Tensor) -> Step | None:
    pair = module.stock()
    if pair is None:
        return None
    options = {"max_plate_nesting": 1} if module.elbo == "TraceEnum_ELBO" else {}
    svi = pyro.infer.SVI(*pair, pyro.optim.Adam({"lr": RATE}), getattr(pyro.infer, module.elbo)(**options))
    return lambda index: svi.step(x[index])


def contestants(case: str, compile_: bool) -> dict[str, Step]:
    document, twin_class = CASES[case]
    frame, recipe = table(), Recipe.from_table(case, document)
    tiers = ["eager", "graph", *(["compiled"] if compile_ else [])]
    with scope(0):
        steps = {f"zoo {tier}": zoo_step(recipe, frame, tier) for tier in tiers}
    x = torch.from_numpy(((frame - frame.mean()) / frame.std()).to_numpy())
    torch.manual_seed(0)
    steps["twin"] = twin(twin_class(), x)
    if compile_:
        steps["twin compiled"] = twin(twin_class(), x, True)
    by_pyro = stock(twin_class(), x)
    return steps if by_pyro is None else steps | {"stock": by_pyro}


def measure(case: str, rounds: int, compile_: bool) -> dict[str, Any]:
    pyro.clear_param_store()
    steps, first, failed = contestants(case, compile_), {}, {}
    batches = torch.stack([torch.randperm(ROWS)[:BATCH] for _ in range(STEPS)])
    for name, step in list(steps.items()):
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            with scope() if name.startswith("zoo") else warnings.catch_warnings():
                step(batches[0])
                first[name] = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu}
                for i in range(WARM):
                    step(batches[i % STEPS])
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            del steps[name]
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            with scope() if name.startswith("zoo") else warnings.catch_warnings():
                begin = time.thread_time()
                for index in batches:
                    step(index)
                times[name].append((time.thread_time() - begin) / STEPS)
    return {"case": case, "first_step": first, "failed": failed, "seconds": times}


def ratios(line: Line, name: str, to: str) -> np.ndarray:
    """Of one step's time to another's, round by round."""
    times: np.ndarray = np.array(line["seconds"][name]) / np.array(line["seconds"][to])
    return times


def shown(values: np.ndarray) -> str:
    """The median, in brackets the first and the last decile."""
    low, high = np.quantile(values, [0.1, 0.9])
    return f"{np.median(values):.2f} ({low:.2f} to {high:.2f})"


def markdown(lines: list[Line]) -> str:
    out = [
        "# Time of one step", "", f"{lines[-1]['machine']}. `python -m benchmarks.steps` says what is measured.", "",
        "| case | step | ms | ratio to the twin | to the compiled twin | to stock | first step, s |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for line in sorted(lines, key=lambda line: list(CASES).index(line["case"])):
        for name, values in line["seconds"].items():
            cells = [
                shown(ratios(line, name, to)) if to in line["seconds"] and name != to else "-"
                for to in ("twin", "twin compiled", "stock")
            ]
            first = line["first_step"][name]["seconds"]
            cells = [line["case"], name, f"{1e3 * np.median(values):.2f}", *cells, f"{first:.1f}"]
            out.append("| " + " | ".join(cells) + " |")
        out += [f"| {line['case']} | {name} | {why} | | | | |" for name, why in line["failed"].items()]
    out += ["", "Ratios: median of the rounds, in brackets their first and last deciles."]
    busy = sorted({line["busy"] for line in lines if line.get("busy")})
    out += [
        "",
        f"Measured on {'; '.join(busy)}: above one a core, times and spreads are those of a shared machine.",
    ] * bool(busy)
    return "\n".join(out) + "\n"


def measured(cases: Sequence[str], rounds: int, compile_: bool, output: Path) -> list[Line]:
    """A line for each case, kept beside those of earlier calls."""
    machine = f"{platform.machine()}, one thread, torch {torch.__version__}, Pyro {pyro.__version__}, batch {BATCH}"
    lines = []
    for case in cases:
        busy = f"{os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        lines.append({**measure(case, rounds, compile_), "machine": machine, "busy": busy})
        keep(output / "steps.json", lines[-1:], ("case",), markdown)
        print(markdown(lines[-1:]), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-compiler", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked.output.mkdir(parents=True, exist_ok=True)
    measured(asked.cases, asked.rounds, not asked.no_compiler and compiler() is not None, asked.output)


if __name__ == "__main__":
    main()
