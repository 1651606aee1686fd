"""Whether fits without a likelihood stay finite: every such entry, 20 seeds of 200 steps, on rows of two real tables.

    python -m benchmarks.finite [--models gan,cgan] [--tables adult,loans] [--seeds 0,1] [--whole] [--data FOLDER]

--whole fits with the steps and the early stop of the entry itself, 3 seeds.

Each fit has 1,800 rows drawn at the seed, and 200 that choose, all columns with their missing cells, but for the one
of loans (emp_title) in which two rows of three have a level of their own. It holds where no step met a number that is
not finite (a fit that did goes back and says so: here it has failed), and where all parameters and 500 drawn, or 500
translated, rows are finite. Entries that need a given column are given one of two levels. `ddim` is `ddpm` drawn in
another way, and takes its fit where that was the last. What the JSON holds is not run again; the table is written
beside it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import zoo
from benchmarks.kept import keep
from zoo.drawing import drawing
from zoo.errors import UserError, ZooWarning
from zoo.evaluate import posterior
from zoo.evaluate.translation import translated
from zoo.fitting.choose import fit_recipe
from zoo.model import Model
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.schema import Schema

ROWS, CHOOSE, STEPS, DRAWS = 2000, 200, 200, 500
SEEDS, WHOLE_SEEDS = 20, 3
READ: dict[str, tuple[str, dict[str, Any], str]] = {
    "adult": ("adult-train.csv.gz", {"skipinitialspace": True, "na_values": ["?"], "header": None}, "sex"),
    "loans": ("loans_full_schema.csv.gz", {"usecols": lambda name: name != "emp_title"}, "term"),
}
"""File, how it is read, and the column of two levels that is given where one must be."""


def load(name: str, folder: Path) -> pd.DataFrame:
    file, arguments, _ = READ[name]
    if name == "adult":
        arguments = arguments | {"names": json.loads((folder / "columns.json").read_text())[file]}
    return pd.read_csv(folder / file, **arguments)


def likelihood_free() -> list[str]:
    """The entries that are fitted by something else than their likelihood."""
    return [name for name, recipe in Registry.load().items() if recipe.objective.use not in ("elbo", "iwae")]


FIT_OF = {"ddim": "ddpm"}
LAST: dict[str, Any] = {}
"""The last fit, and of what."""


def line(key: dict[str, Any], frame: pd.DataFrame, schemas: dict[str, Schema]) -> dict[str, Any]:
    name, seed = key["model"], key["seed"]
    recipe = Registry.load().recipe(name, {"fit.seed": seed} | ({"fit.steps": STEPS} if key["steps"] else {}))
    recipe = recipe.with_settings({key: values[0] for key, values in recipe.grid().items()})
    some = frame.sample(ROWS, random_state=seed)
    train, choose = some[:-CHOOSE], some[-CHOOSE:]
    codec = Codec.fit(schemas["plain"], train)
    try:
        Model(recipe, codec)
    except UserError:
        codec = Codec.fit(schemas["given"], train)
    began = time.process_time()
    of = key | {"model": FIT_OF.get(name, name)}
    if LAST.get("of") != of:
        LAST.update(of=of, done=fit_recipe(recipe, codec, codec.encode(train), codec.encode(choose)))
    done = LAST["done"]
    model, faults = done.model, []
    sampling = {key: recipe.program.settings[key] for key in ("sampler", "walk")} if name in FIT_OF else {}
    if any("broke off" in note for note in done.fitted.notes):
        faults.append(done.fitted.stopped)
    faults += [f"parameter {key}" for key, t in model.named_parameters() if not t.isfinite().all()]
    rows = model.rows(choose)
    if "sample" in model.verbs:
        with drawing(model, sampling):
            drawn = posterior.sample(model, DRAWS, rows if model.schema.conditions else None, seed)
        faults += [] if drawn.isfinite().all() else ["draws"]
    if "translate" in model.verbs:
        column = model.program.column
        out = translated(model, some[:DRAWS], column.levels[1], seed)
        faults += [] if out.isna().equals(some[:DRAWS].isna()) else ["translations"]
    if "embed" in model.verbs:
        faults += [] if posterior.embedding(model, rows, seed).isfinite().all() else ["embedding"]
    seconds = time.process_time() - began
    return key | {"faults": faults, "cpu_seconds": round(seconds, 1)}


def written(lines: list[dict[str, Any]]) -> str:
    """The lines as a table: of each entry, how many seeds were run, how many of them failed, and by what."""
    frame = pd.DataFrame(lines)
    frame["steps"] = frame["steps"].map(lambda steps: "all" if pd.isna(steps) else int(steps))
    out = ["| entry | table | steps | seeds | failed | CPU seconds a fit | what |", "|---|---|---|---|---|---|---|"]
    for (model, table, steps), part in frame.groupby(["model", "table", "steps"], sort=False):
        what = "; ".join(dict.fromkeys(fault for faults in part["faults"] for fault in faults)) or "-"
        failed = int((part["faults"].str.len() > 0).sum())
        out.append(
            f"| {model} | {table} | {steps} | {len(part)} | {failed} | {part['cpu_seconds'].median():.0f} | {what} |"
        )
    head = f"Fits to {ROWS - CHOOSE} rows; `python -m benchmarks.finite`. Failed: a number that is not finite."
    return "\n".join([head, "", *out, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models")
    parser.add_argument("--tables", default="adult,loans")
    parser.add_argument("--seeds")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "finite.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    torch.set_num_threads(1)
    models = arguments.models.split(",") if arguments.models else likelihood_free()
    frames = {name: load(name, arguments.data) for name in arguments.tables.split(",")}
    schemas = {
        name: {
            "plain": zoo.infer_schema(frame.sample(ROWS, random_state=0)),
            "given": zoo.infer_schema(frame.sample(ROWS, random_state=0), given=READ[name][2]),
        }
        for name, frame in frames.items()
    }
    steps = None if arguments.whole else STEPS
    seeds = arguments.seeds.split(",") if arguments.seeds else range(WHOLE_SEEDS if arguments.whole else SEEDS)
    keys = [
        {"model": name, "table": table, "steps": steps, "seed": int(seed)}
        for seed in seeds
        for table in frames
        for name in models
    ]
    done = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.is_file() else []
    for key in keys:
        if not any(key.items() <= old.items() for old in done):
            found = line(key, frames[key["table"]], schemas[key["table"]])
            print(found, flush=True)
            keep(arguments.output, [found], tuple(key), written)


if __name__ == "__main__":
    main()
