"""Modes that generators cover: a grid of 25 Gaussians and a ring of eight, of standard deviation 0.05.

    python -m benchmarks.modes [--models gan,wgan-gp] [--seeds 0,1] [--output FILE]

Each model has 4,500 rows to fit and 500 to be chosen by, at its own settings. `covered` counts the modes that hold at
least a fifth of their share of 5,000 draws, `within` is the share of draws within 3 sigma of a mode (0.989 of true
ones), `balance` 1 minus the total variation between the modes' shares and equal ones. The generators begin as a
mixture, and `started` says what that alone is worth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.evaluate import posterior
from zoo.fitting.choose import fit_recipe
from zoo.registry import Registry
from zoo.scope import scope
from zoo.table.codec import Codec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from generators import GaussianGrid, GaussianRing, Modes

TABLES = {"grid": GaussianGrid, "ring": GaussianRing}
MODELS = (
    "gan", "wgan", "wgan-gp", "hinge-gan", "minibatch-gan", "infogan", "bigan", "gan-minimax",
    "mmd-generator", "energy-generator", "sinkhorn-generator", "aae", "vae-gan", "adversarial-vb",
)  # fmt: skip


def judged(table: Modes, frame: Any) -> dict[str, float]:
    covered, within = table.covered(frame)
    distances = table.distances(frame)
    near = distances.argmin(1)[distances.min(1) <= 3]
    k = len(table.centres)
    shares = np.bincount(near, minlength=k) / max(len(near), 1)
    return {"covered": covered, "within": within, "balance": 1 - float(np.abs(shares - 1 / k).sum()) / 2}


def line(name: str, table_name: str, seed: int) -> dict[str, Any]:
    table = TABLES[table_name]()
    frame = table.sample(5000, np.random.default_rng(seed))
    schema = zoo.infer_schema(frame)
    codec = Codec.fit(schema, frame[:4500])
    recipe = Registry.load().recipe(name, {"fit.seed": seed})
    if recipe.grid():
        recipe = recipe.with_settings({key: values[0] for key, values in recipe.grid().items()})
    began = time.process_time()
    done = fit_recipe(recipe, codec, codec.encode(frame[:4500]), codec.encode(frame[4500:]))
    seconds = time.process_time() - began
    model = type(done.model)(recipe, codec)
    with scope(seed):
        model.initialise(model.rows(frame[:4500]))
    started = judged(table, codec.decode(posterior.sample(model, 5000)))
    found = judged(table, codec.decode(posterior.sample(done.model, 5000)))
    look = max(done.fitted.history, key=lambda h: h["validation"])
    watched = {key: look[key] for key in ("coverage", "critic_accuracy") if key in look}
    return {
        "model": name, "table": table_name, "modes": len(table.centres), "seed": seed, **found,
        "started": started, **watched, "notes": done.fitted.notes, "steps": done.fitted.steps, "cpu_seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tables", default="grid,ring")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "modes.json")
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.models.split(","):
            for table in arguments.tables.split(","):
                found = line(name, table, seed)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
                known = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
                key = ("model", "table", "seed")
                known = [other for other in known if any(other[k] != found[k] for k in key)]
                arguments.output.write_text(json.dumps([*known, found], indent=1) + "\n")


if __name__ == "__main__":
    main()
