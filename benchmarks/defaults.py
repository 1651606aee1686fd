"""Are the defaults good ones? Each setting of a model changed alone, on tables of many kinds.

    python -m benchmarks.defaults [MODEL ...] [--tables TABLE ...] [--seeds 0 1] [--rows 3000] [--data FOLDER]

At most `--rows` rows of a table, mixed and with missing cells as they come, are split as `zoo compare` splits them.
Each line is the mean over test rows of log p under the changed setting less that under the defaults (for a VAE the
importance-weighted bound; `nsf` is a chain of splines on tables of levels and rounded numbers, as these are), in nats
a row, with its paired standard error; a page gives them by table, and counts where a change is two standard errors
better and worse. Writes defaults.json, to which later calls add, and defaults.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import zoo
from benchmarks.density import paired
from benchmarks.kept import Line, keep
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
CHANGES: dict[str, dict[str, Settings]] = {
    "vae": {
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
        "no annealing": {"objective.anneal": 0.0},
        "longer": {"fit.steps": 8000},
        **FITTING,
    },
    "nsf": {
        "rate .002": {"fit.learning_rate": 2e-3},
        "rate .01": {"fit.learning_rate": 1e-2},
        "hidden 32": {"program.hidden": [32, 32]},
        "hidden 256": {"program.hidden": [256, 256]},
        "longer": {"fit.steps": 10000},
        **FITTING,
    },
}


def load(name: str, rows: int, data: Path) -> pd.DataFrame:
    frame = zoo.read_table(data / TABLES[name])
    return frame.sample(min(rows, len(frame)), random_state=0).reset_index(drop=True)


def scored(model: str, changed: Settings, frame: pd.DataFrame, seed: int) -> tuple[np.ndarray, float]:
    """Log-density of each test row, and processor seconds of fit and score."""
    train, validation, test = (frame.iloc[part] for part in split(len(frame), seed))
    started = time.process_time()
    kept = zoo.Estimator(model, settings=changed, seed=seed, device="cpu").fit_parts(
        train, validation, zoo.infer_schema(frame)
    )
    rows = kept.score_samples(test)
    return rows, time.process_time() - started


def measured(model: str, name: str, frame: pd.DataFrame, seed: int, changes: dict[str, Settings]) -> Iterator[Line]:
    """The defaults, then every change beside them."""
    base = None
    for change, settings in ({DEFAULT: {}} | changes).items():
        rows, seconds = scored(model, settings, frame, seed)
        base = rows if base is None else base
        difference, error = paired(rows, base)
        yield {"model": model, "table": name, "seed": seed, "rows": len(frame), "change": change,
               "value": float(rows.mean()), "difference": difference, "error": error, "seconds": seconds}  # fmt: skip


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
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
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
        for name in asked.tables:
            frame = load(name, asked.rows, asked.data)
            for seed in asked.seeds:
                for line in measured(model, name, frame, seed, changes):
                    print(line, flush=True)
                    keep(asked.output / "defaults.json", [line], KEY, page)


if __name__ == "__main__":
    main()
