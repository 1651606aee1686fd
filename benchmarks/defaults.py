"""Are the defaults good ones? Each setting of a model changed alone, on tables of many kinds.

    python -m benchmarks.defaults [MODEL ...] [--tables TABLE ...] [--seeds 0 1] [--rows 3000] [--data FOLDER]

At most `--rows` rows of a table are split as `zoo compare` splits them: a VAE's and the chain's of splines mixed and
with missing cells as they come; a flow's own networks are in use where every column is continuous, so its tables are
the numbers of `benchmarks.density`, dequantised ("all rows": however many a table has). Each line is the mean over
test rows of log p under the changed setting less that under the defaults (for a VAE the importance-weighted bound), in
nats a row, with its paired standard error; a page gives them by table, and counts where a change is two standard
errors better and worse. Writes defaults.json, to which later calls add, and defaults.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import zoo
from benchmarks import flows
from benchmarks.density import paired
from benchmarks.kept import Line, keep
from zoo.table.schema import Schema
from zoo.table.split import split

Settings = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
TABLES = {
    "wine": "winequality-white.csv",
    "magic": "magic04.data.gz",
    "housing": "housing.csv",
    "abalone": "abalone.csv",
    "student": "student-mat.csv",
    "claims": "AutoClaims.csv",
    "credit": "UCI_Credit_Card.csv.gz",
    "titanic": "titanic.csv",
}
CONTINUOUS = ("winequality-white", "housing", "magic04", "adult", "10_cover")
FLOWS = ("nsf", "nsf, all rows", "maf")
DEFAULT = "default"
KEY = ("model", "table", "seed", "change")


def hidden(*widths: int) -> Settings:
    return {"program.network.hidden": list(widths), "guide.network.hidden": list(widths)}


FITTING: dict[str, Settings] = {
    "batch 64": {"fit.batch": 64},
    "batch 1024": {"fit.batch": 1024},
    "no early stop": {"fit.patience": 0},
    "patience 5": {"fit.patience": 5},
}
RATES: dict[str, Settings] = {"rate .002": {"fit.learning_rate": 2e-3}, "rate .01": {"fit.learning_rate": 1e-2}}
CHANGES: dict[str, dict[str, Settings]] = {
    "vae": {
        "dim 16": {"program.dim": 16},
        "rate .01": {"fit.learning_rate": 1e-2},
        "hidden 128": hidden(128, 128),
        "hidden 512": hidden(512, 512),
    },
    "vae, networks of 128": {
        "dim 2": {"program.dim": 2},
        "dim 4": {"program.dim": 4},
        "dim 8": {"program.dim": 8},
        "dim 16": {"program.dim": 16},
        "rate .001": {"fit.learning_rate": 1e-3},
        "rate .01": {"fit.learning_rate": 1e-2},
        "hidden 64": hidden(64, 64),
        "hidden 256": hidden(256, 256),
        "one layer": hidden(128),
        "noise of columns": {"program.noise": "column"},
        "heavy tails": {"program.tails": "student-t"},
        "no floor": {"program.floor": 0.0},
        "no holes": {"objective.holes": 0.0},
        "no annealing": {"objective.anneal": 0.0},
        "longer": {"fit.steps": 8000},
        **FITTING,
    },
    "nsf, mixed": {
        "hidden 32": {"program.hidden": [32, 32]},
        "hidden 256": {"program.hidden": [256, 256]},
        **RATES,
        **FITTING,
    },
    "nsf": {
        "two layers": {"program.flow.layers": 2},
        "five layers": {"program.flow.layers": 5},
        "hidden 32": {"program.flow.hidden": [32, 32]},
        "hidden 128": {"program.flow.hidden": [128, 128]},
        "8 bins": {"program.flow.bins": 8},
        "floor 1e-6": {"program.floor": 1e-6},
        **RATES,
        **FITTING,
    },
    "nsf, all rows": {"hidden 32": {"program.flow.hidden": [32, 32]}, "batch 64": {"fit.batch": 64}},
    "maf": {
        "three layers": {"program.flow.layers": 3},
        "eight layers": {"program.flow.layers": 8},
        "hidden 32": {"program.flow.hidden": [32, 32]},
        "hidden 128": {"program.flow.hidden": [128, 128]},
        "floor 1e-9": {"program.floor": 1e-9},
        **RATES,
        **FITTING,
    },
}


BASES = {"vae, networks of 128": hidden(128, 128)}
"""What a case sets before anything is changed; the page calls it the defaults all the same."""


def load(name: str, rows: int, data: Path, continuous: bool) -> tuple[pd.DataFrame, Schema]:
    if continuous:
        parts = flows.table(name, data)
        frame = pd.concat([parts.train, parts.validation, parts.test])
    else:
        frame = zoo.read_table(data / TABLES[name])
    kinds = {"*": "continuous"} if continuous else {}
    some = frame.sample(min(rows, len(frame)), random_state=0).reset_index(drop=True)
    return some, zoo.infer_schema(some, kinds=kinds)


def scored(model: str, changed: Settings, frame: pd.DataFrame, schema: Schema, seed: int) -> tuple[np.ndarray, float]:
    """Log-density of each test row, and processor seconds of fit and score."""
    train, validation, test = (frame.iloc[part] for part in split(len(frame), seed))
    started = time.process_time()
    kept = zoo.Estimator(model, settings=changed, seed=seed, device="cpu").fit_parts(train, validation, schema)
    rows = kept.score_samples(test)
    return rows, time.process_time() - started


def measured(case: str, name: str, rows: int, data: Path, seed: int, changes: dict[str, Settings]) -> Iterator[Line]:
    """The defaults, then every change beside them."""
    model, base = case.split(",")[0], None
    frame, schema = load(name, rows, data, case in FLOWS)
    everything: dict[str, Settings] = {DEFAULT: {}} | changes
    for change, settings in everything.items():
        scores, seconds = scored(model, BASES.get(case, {}) | settings, frame, schema, seed)
        base = scores if base is None else base
        difference, error = paired(scores, base)
        yield {"model": case, "table": name, "seed": seed, "rows": len(frame), "change": change,
               "value": float(scores.mean()), "difference": difference, "error": error, "seconds": seconds}  # fmt: skip


def page(lines: list[Line]) -> str:
    out = [
        "# Are the defaults good ones?",
        "",
        "Made by `python -m benchmarks.defaults`: a setting changed alone, held-out nats a row above the defaults'",
        "(mean over seeds), better and worse by more than two standard errors, and processor seconds over theirs.",
    ]
    table = pd.DataFrame(lines)
    for model, all_of in table.groupby("model", sort=False):
        own = all_of[all_of["change"] == DEFAULT].set_index(["table", "seed"])["seconds"]
        names = list(dict.fromkeys(all_of["table"]))
        out += ["", f"## {model}", "", f"| change | {' | '.join(names)} | better | worse | time |"]
        out += ["|---" * (len(names) + 4) + "|"]
        for change, some in all_of[all_of["change"] != DEFAULT].groupby("change", sort=False):
            cells = [cell(some[some["table"] == name]) for name in names]
            sure = some["difference"].abs() > 2 * some["error"]
            better, worse = int((sure & (some["difference"] > 0)).sum()), int((sure & (some["difference"] < 0)).sum())
            ratio = (some.set_index(["table", "seed"])["seconds"] / own).median()
            out.append(f"| {change} | {' | '.join(cells)} | {better} | {worse} | {ratio:.1f} |")
    return "\n".join(out) + "\n"


def cell(some: pd.DataFrame) -> str:
    return "" if some.empty else f"{some['difference'].mean():+.2f} ± {some['error'].mean():.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(CHANGES))
    parser.add_argument("--tables", nargs="*", help="as named in this file, else all of a model's kind")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--changes", help="only these, by comma")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for model in asked.models:
        changes = CHANGES[model]
        if asked.changes:
            changes = {change: changes[change] for change in asked.changes.split(",")}
        for name in asked.tables or (CONTINUOUS if model in FLOWS else TABLES):
            for seed in asked.seeds:
                rows = sys.maxsize if model.endswith("all rows") else asked.rows
                for line in measured(model, name, rows, asked.data, seed, changes):
                    print(line, flush=True)
                    keep(asked.output / "defaults.json", [line], KEY, page)


if __name__ == "__main__":
    main()
