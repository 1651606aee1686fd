"""Which entries' steps are captured, what capturing costs, and what it gains; and why one is not.

    python -m benchmarks.captured [MODEL ...] [--rows N] [--steps N] [--data FOLDER] [-o FOLDER]

Every entry by its own settings (the first choice of each grid), all its turns: a batch of 256 rows of adult, or of
magic04 where levels are not taken, one thread. Seconds to capture are what the first step by a graph takes more than a
step by Python, writing down and checks included. Writes captured.json and captured.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.kept import Line, keep
from zoo import infer_schema
from zoo.errors import UserError
from zoo.fitting.captured import step_of
from zoo.fitting.settings import FitSettings
from zoo.fitting.step import Step
from zoo.model import Model
from zoo.objectives.turn import Turn
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.table.codec import Codec

BATCH, PLANNED = 256, 1000
ROLES: tuple[dict[str, str], ...] = ({}, {"given": "14"}, {"group": "5"})
RESULTS = Path(__file__).parent / "results"


def tables(folder: Path, rows: int) -> dict[str, pd.DataFrame]:
    adult = pd.read_csv(folder / "adult-train.csv.gz", header=None, skipinitialspace=True, na_values=["?"], nrows=rows)
    magic = pd.read_csv(folder / "magic04.data.gz", nrows=rows).iloc[:, :-1]
    return {"adult": adult.rename(columns=str), "magic04": magic}


def made(name: str, known: dict[str, pd.DataFrame]) -> tuple[str, Model, Rows] | None:
    """The entry started on the first table, and with the first roles of its columns, that it takes."""
    recipe = Registry.load()[name]
    recipe = recipe.with_settings({key: choices[0] for key, choices in recipe.grid().items()})
    for (table, frame), roles in itertools.product(known.items(), ROLES):
        try:
            schema = infer_schema(frame, **{role: c for role, c in roles.items() if c in frame})
            model = Model(recipe, Codec.fit(schema, frame))
            rows = model.rows(frame)
            with scope(0):
                model.initialise(rows)
        except UserError:
            continue
        return table, model, rows
    return None


def stages(turns: list[Turn], moves: list[Step], rows: Rows, part: Rows, steps: int) -> np.ndarray:
    """Seconds of each step (steps,), every turn in it taken; a turn of a later stage begins when others are done."""
    total = np.zeros(steps)
    for turn, move in zip(turns, moves, strict=True):
        if turn.begin is not None:
            with torch.no_grad():
                turn.begin(rows)
        for i in range(steps):
            started = time.perf_counter()
            move(part)
            total[i] += time.perf_counter() - started
    return total


def line(name: str, table: str, model: Model, rows: Rows, steps: int) -> Line | None:
    part = rows.take(torch.arange(min(BATCH, rows.n)))
    model.train()
    start = {key: value.clone() for key, value in model.state_dict().items()}
    times: dict[str, np.ndarray] = {}
    out: dict[str, list[Step]] = {}
    for tier in ("eager", "graph"):
        settings = FitSettings(**{**model.recipe.fit, "tier": tier})
        with scope(0):
            turns = [turn for turn in model.objective.turns(model) if turn.parameters]
            out[tier] = [step_of(model, turn, settings, PLANNED * turn.every) for turn in turns]
            if not out[tier]:
                return None
            if tier == "eager":
                stages(turns, out[tier], rows, part, 1)  # whatever is made or imported once
                model.load_state_dict(start)
            times[tier] = stages(turns, out[tier], rows, part, steps + 1)
            model.load_state_dict(start)
    eager, graph = (float(np.median(times[tier][1:])) for tier in ("eager", "graph"))
    moves = out["graph"]
    return {
        "model": name, "table": table, "turns": len(moves), "tiers": [move.tier for move in moves],
        "why": "; ".join(dict.fromkeys(move.why for move in moves if move.why)),
        "capture": max(0.0, float(times["graph"][0]) - eager), "eager ms": 1e3 * eager, "graph ms": 1e3 * graph,
    }  # fmt: skip


def page(lines: list[Line]) -> str:
    costs = np.array([line["capture"] for line in lines])
    gains = [line["eager ms"] / line["graph ms"] for line in lines if set(line["tiers"]) == {"graph"}]
    out = ["# Captured steps", "", "Made by `python -m benchmarks.captured`: a batch of 256 rows, one thread.", ""]
    out += [
        f"{len(gains)} of {len(lines)} entries have every turn captured. Capturing costs {np.median(costs):.2f} s in "
        f"the median, {costs.max():.2f} s at most; a captured step is {np.median(gains):.1f} times as fast as "
        f"Python's in the median ({min(gains):.1f} to {max(gains):.1f}).",
        "",
        "| entry | table | turns | tier | to capture, s | Python, ms | captured, ms | why not |",
        "|---" * 8 + "|",
    ]
    for one in sorted(lines, key=lambda one: one["model"]):
        tiers = ", ".join(dict.fromkeys(one["tiers"]))
        out.append(
            f"| {one['model']} | {one['table']} | {one['turns']} | {tiers} | {one['capture']:.2f} "
            f"| {one['eager ms']:.1f} | {one['graph ms']:.1f} | {one['why']} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=Registry.load().names)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    known = tables(asked.data, asked.rows)
    for name in asked.models:
        found = made(name, known)
        one = None if found is None else line(name, *found, asked.steps)
        if one is None:
            print(f"{name} has no step, or takes neither table", flush=True)
            continue
        print(one, flush=True)
        keep(asked.output / "captured.json", [one], ("model",), page)


if __name__ == "__main__":
    main()
