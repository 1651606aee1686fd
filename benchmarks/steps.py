"""Time of one step of fitting: zoo's tiers, the same algorithm by hand in PyTorch, and stock Pyro.

    python -m benchmarks.steps [--cases CASE ...] [--rounds N] [--no-compiler]

A step is a batch of 256 of 4096 rows with 8 columns of floats, its loss and gradient, the gradient's clipping and
Adam's move. The twins by hand use the same networks, numbers of latents and components and the same types of numbers
(single precision in networks, double in linear maps and mixtures), torch's fused Adam and nothing of zoo; `twin
compiled` is `torch.compile` of the twin's loss; `stock` is Pyro's `SVI.step` as it comes. Rounds of steps of all are
interleaved on one thread, times are those of the thread, and ratios are taken inside a round. Writes
results/steps.json and results/steps.md.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import zuko
from torch import Tensor, nn

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
ROWS, COLUMNS, BATCH = 4096, 8, 256
RATE, CLIP = 1e-4, 20.0
WARM, STEPS = 12, 6  # before the clock starts, and in a round
HIDDEN, DIM, K = (128, 128), 4, 10

Step = Callable[[Tensor], Any]
Loss = Callable[[Tensor], Tensor]


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS)) + 2 * rng.integers(3, size=(ROWS, 1))
    return pd.DataFrame(x, columns=list("abcdefgh"))


# ------------------------------------------------------------------------------------------------------------- by hand


def mlp(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, HIDDEN[0]), nn.SiLU(), nn.Linear(*HIDDEN), nn.SiLU(), nn.Linear(HIDDEN[1], n_out)
    )


def encoded(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    loc, raw = encoder(x.float()).chunk(2, -1)
    return loc, nn.functional.softplus(raw) + 1e-4


def divergence(loc: Tensor, scale: Tensor) -> Tensor:
    return 0.5 * (scale.square() + loc.square() - 1 - 2 * scale.log()).sum(-1)


def log_normal(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(COLUMNS, 2 * DIM), mlp(DIM, 2 * COLUMNS)

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = encoded(self.encoder, x)
        z = loc + scale * torch.randn_like(loc)
        mean, log_scale = self.decoder(z).double().chunk(2, -1)
        return -(log_normal(x, mean, log_scale.exp()) - divergence(loc, scale)).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            mean, log_scale = self.decoder(z).double().chunk(2, -1)
            pyro.sample("x", dist.Normal(mean, log_scale.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("rows", len(x)):
            loc, scale = encoded(self.encoder, x)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Ppca(Vae):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(DIM, COLUMNS).double()
        self.log_noise = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = encoded(self.encoder, x)
        z = loc + scale * torch.randn_like(loc)
        likelihood = log_normal(x, self.decoder(z.double()), self.log_noise.exp().expand(COLUMNS))
        return -(likelihood - divergence(loc, scale)).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("ppca", self)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z.double()), self.log_noise.exp()).to_event(1), obs=x)


class Gmm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(K, dtype=torch.float64))
        self.loc = nn.Parameter(torch.randn(K, COLUMNS, dtype=torch.float64))
        self.raw = nn.Parameter(torch.zeros(K, COLUMNS, COLUMNS, dtype=torch.float64))

    def tril(self) -> Tensor:
        return self.raw.tril(-1) + torch.diag_embed(self.raw.diagonal(dim1=-2, dim2=-1).exp())

    def forward(self, x: Tensor) -> Tensor:
        tril = self.tril()
        white = torch.linalg.solve_triangular(tril, (x - self.loc[:, None]).mT, upper=False)
        log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        log = -0.5 * white.square().sum(-2) - log_det - 0.5 * COLUMNS * math.log(2 * math.pi)
        return -(self.logits.log_softmax(0)[:, None] + log).logsumexp(0).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("gmm", self)
        with pyro.plate("rows", len(x)):
            k = pyro.sample("cluster", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.MultivariateNormal(self.loc[k], scale_tril=self.tril()[k]), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


class Flow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flow = zuko.flows.NSF(COLUMNS, transforms=3, hidden_features=(64, 64), bins=8)

    def forward(self, x: Tensor) -> Tensor:
        return -self.flow().log_prob(x.float()).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("flow", self.flow)
        pyro.factor("x", self.flow().log_prob(x.float()).sum())

    def guide(self, x: Tensor) -> None:
        pass


# --------------------------------------------------------------------------------------------------------------- cases

ENCODER = {"use": "encoder", "network": {"use": "mlp", "hidden": list(HIDDEN)}}
DECODER = {"use": "latent", "dim": DIM}
CASES: dict[str, tuple[dict[str, Any], type[Any], str]] = {
    "VAE": (
        {"program": {**DECODER, "noise": "row", "network": ENCODER["network"]}, "guide": ENCODER},
        Vae, "TraceMeanField_ELBO",
    ),
    "PPCA, encoder": (
        {"program": {**DECODER, "noise": "isotropic", "network": "linear"}, "guide": ENCODER},
        Ppca, "TraceMeanField_ELBO",
    ),
    "GMM": (
        {"program": {"use": "mixture", "covariance": "full", "components": K, "restarts": 1}}, Gmm, "TraceEnum_ELBO",
    ),
    "spline flow": (
        {"program": {"use": "spline-flow", "transforms": 3, "hidden": [64, 64], "bins": 8}}, Flow, "Trace_ELBO",
    ),
}  # fmt: skip


def zoo_step(recipe: Recipe, frame: pd.DataFrame, tier: str) -> Step:
    model = Model(recipe, Codec.fit(infer_schema(frame), frame))
    rows = model.rows(frame)
    model.initialise(rows)
    model.train()
    eager = EagerStep(next(iter(model.objective.turns(model))), RATE, CLIP)
    step = eager if tier == "eager" else CapturedStep(model, eager, tier)
    batches = InMemory(rows).batches(BATCH, 10**9)  # as a fit takes them
    return lambda _: step(next(batches)[1])


def twin(loss: Loss, module: nn.Module, x: Tensor) -> Step:
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)

    def step(index: Tensor) -> None:
        optimiser.zero_grad()
        loss(x[index]).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimiser.step()

    return step


def stock(module: Any, elbo: str, x: Tensor) -> Step:
    options = {"max_plate_nesting": 1} if elbo == "TraceEnum_ELBO" else {}
    svi = pyro.infer.SVI(
        module.model, module.guide, pyro.optim.Adam({"lr": RATE}), getattr(pyro.infer, elbo)(**options)
    )
    return lambda index: svi.step(x[index])


def contestants(case: str, compile_: bool) -> dict[str, Step]:
    document, twin_class, elbo = CASES[case]
    frame, recipe = table(), Recipe.from_table(case, document)
    tiers = ["eager", "graph", *(["compiled"] if compile_ else [])]
    with scope(0):
        steps = {f"zoo {tier}": zoo_step(recipe, frame, tier) for tier in tiers}
    x = torch.from_numpy(((frame - frame.mean()) / frame.std()).to_numpy())
    torch.manual_seed(0)
    module = twin_class()
    steps["twin"] = twin(module, module, x)
    if compile_:
        module = twin_class()
        steps["twin compiled"] = twin(torch.compile(module), module, x)
    steps["stock"] = stock(twin_class(), elbo, x)
    return steps


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


def markdown(results: list[dict[str, Any]], machine: str) -> str:
    lines = [
        "# Time of one step", "", f"{machine}. `python -m benchmarks.steps` says what is measured.", "",
        "| case | step | ms | ratio to the twin | to the compiled twin | to stock | first step, s |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for result in results:
        times = {name: np.array(values) for name, values in result["seconds"].items()}

        def ratio(name: str, to: str, times: dict[str, np.ndarray] = times) -> str:
            if to not in times or name == to:
                return "-"
            values = times[name] / times[to]
            low, high = np.quantile(values, [0.1, 0.9])
            return f"{np.median(values):.2f} ({low:.2f} to {high:.2f})"

        for name, values in times.items():
            cells = [ratio(name, to) for to in ("twin", "twin compiled", "stock")]
            first = result["first_step"][name]["seconds"]
            lines.append(
                f"| {result['case']} | {name} | {1e3 * np.median(values):.2f} | {' | '.join(cells)} | {first:.1f} |"
            )
        lines += [f"| {result['case']} | {name} | {why} | | | | |" for name, why in result["failed"].items()]
    lines += ["", "Ratios: median of the rounds, in brackets their first and last deciles."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-compiler", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    compile_ = not arguments.no_compiler and compiler() is not None
    machine = f"{platform.machine()}, one thread, torch {torch.__version__}, Pyro {pyro.__version__}, batch {BATCH}"
    results = []
    for case in arguments.cases:
        results.append(measure(case, arguments.rounds, compile_))
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "steps.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
        (RESULTS / "steps.md").write_text(markdown(results, machine))
        print(markdown(results[-1:], machine), flush=True)


if __name__ == "__main__":
    main()
