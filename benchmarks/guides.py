"""What a richer guide is worth: one VAE, its decoder frozen, guides exchanged and fitted anew.

    python -m benchmarks.guides [--tables NAME ...] [--seeds N] [--steps N] [--dim N] [--data FOLDER]

For each guide: the ELBO of held-out rows and what it leaves below their log-likelihood, which all guides are told
alike: that of the frozen decoder, by the most particles of the guide whose importance-weighted bound is highest. Then
the same guides with the decoder trained along, where a poor guide also teaches the decoder to need no better one
(Cremer et al. 2018). Continuous columns, so that nothing but the guide loosens the bound. Writes results/guides.json,
to which later calls add, and guides.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.defaults import hidden
from zoo.errors import ZooWarning
from zoo.evaluate.likelihood import Scores, score
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.split import split

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = {"magic04": "magic04.data.gz", "housing": "housing.csv"}
GUIDES = ("vae", "vae-planar", "vae-radial", "vae-householder", "vae-iaf", "vae-nsf")
PARTICLES, MOST = 100, 1000
HIDDEN = (128, 128)
"""Widths of every network, half of the entries' own: a guide is fitted twenty times for every table."""
ROWS = 2000
"""Held-out rows that are scored, at most."""


def recipe(name: str, dim: int, steps: int, seed: int) -> Recipe:
    # no cells hidden: what is asked is how near a guide comes to the posterior of complete rows
    settings = {"program.dim": dim, "fit.steps": steps, "fit.patience": 0, "fit.seed": seed, "objective.holes": 0.0}
    return Registry.load()[name].with_settings(settings | hidden(*HIDDEN))


def fitted(made: Recipe, codec: Codec, train: Rows, validation: Rows, decoder: Model | None = None) -> Model:
    """A model fitted whole, or only its guide, where the rest is another model's."""
    model = Model(made, codec)
    if decoder is not None:
        model.program.load_state_dict(decoder.program.state_dict())
        model.heads.load_state_dict(decoder.heads.state_dict())
        model.program.initialise = lambda rows: False
        for part in (model.program, model.heads):
            part.requires_grad_(False)
    fit(model, on(model, train), on(model, validation), FitSettings(**made.fit))
    return model


def on(model: Model, rows: Rows) -> Rows:
    """The same rows, as this model's."""
    return Rows(model.codec, model.heads, *(getattr(rows, name) for name in list(rows.__dataclass_fields__)[2:]))


def paired(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "se": float(values.std(ddof=1) / np.sqrt(len(values)))}


def lines(models: dict[str, Model], test: Rows, shared: bool) -> dict[str, Any]:
    """ELBO and gap of each guide; `shared`: all have one decoder, and so one log-likelihood."""
    scored: dict[str, Scores] = {name: score(model, on(model, test), PARTICLES) for name, model in models.items()}
    best = max(scored, key=lambda name: scored[name].mean)
    known = score(models[best], on(models[best], test), MOST).log_likelihood if shared else None
    out = {}
    for name, found in scored.items():
        truth = known if known is not None else score(models[name], on(models[name], test), MOST).log_likelihood
        out[name] = {
            "elbo": paired(found.elbo),
            "log_likelihood": paired(truth),
            "gap": paired(truth - found.elbo),
            "k_hat": found.high_k_hat,
        }
    return out


def study(frame: pd.DataFrame, dim: int, steps: int, seed: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        codec = Codec.fit(infer_schema(frame, kinds={"*": "continuous"}), frame)
        parts = split(len(frame), seed)
        first = Model(recipe("vae", dim, steps, seed), codec)
        train, validation, test = (
            Rows.of(codec, first.heads, codec.encode(frame.iloc[index]))
            for index in (parts.train, parts.validation, parts.test[:ROWS])
        )
        whole = {name: fitted(recipe(name, dim, steps, seed), codec, train, validation) for name in GUIDES}
        frozen = {
            name: fitted(recipe(name, dim, steps, seed), codec, train, validation, whole["vae"]) for name in GUIDES
        }
    return {"frozen": lines(frozen, test, shared=True), "along": lines(whole, test, shared=False)}


def page(found: dict[str, Any]) -> str:
    said = "Made by `python -m benchmarks.guides`. Nats a row; errors are over rows."
    out = ["# What a richer guide is worth", "", said, ""]
    for table, seeds in found.items():
        for way, said in (("frozen", "one decoder, frozen"), ("along", "the decoder trained along")):
            head = "| guide | seed | ELBO | log-likelihood - ELBO | log-likelihood | k-hat |"
            out += [f"## {table}: {said}", "", head, "|---|---|---|---|---|---|"]
            for name in GUIDES:
                for seed, ways in seeds.items():
                    line = ways[way][name]
                    elbo, gap, total = (
                        f"{line[key]['mean']:.3f} ± {line[key]['se']:.3f}" for key in ("elbo", "gap", "log_likelihood")
                    )
                    out.append(f"| {name} | {seed} | {elbo} | {gap} | {total} | {line['k_hat']:.2f} |")
            out.append("")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--dim", type=int, default=4)
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "guides.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for table in asked.tables:
        frame = pd.read_csv(asked.data / TABLES[table]).select_dtypes("number").dropna().astype(float)
        for seed in range(asked.seeds):
            started = time.perf_counter()
            found.setdefault(table, {})[str(seed)] = study(frame, asked.dim, asked.steps, seed)
            print(table, seed, f"{time.perf_counter() - started:.0f} s", flush=True)
            file.write_text(json.dumps(found, indent=1) + "\n")
            (RESULTS / "guides.md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
