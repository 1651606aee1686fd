"""Modes that generators cover: a grid of 25 Gaussians and a ring of eight, of standard deviation 0.05.

    python -m benchmarks.modes [--models gan,wgan-gp] [--tables grid,ring] [--seeds 0,1] [--output FILE]

Each model has 4,500 rows to fit and 500 to look at, at its entry's settings but for SETTINGS. `covered` counts the
modes that hold at least a fifth of their share of 5,000 draws, `within` is the share of draws within 3 sigma of a mode
(0.989 of true ones), `balance` 1 minus the total variation between the modes' shares and equal ones. Generators begin
as a mixture: `started` says what that alone is worth, and as the last state is kept, not the best, a game cannot hide
behind its start (diffusions have none). `passes`: all modes, and at least 0.9 within. A table of the results is written
beside the JSON.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from benchmarks.kept import keep
from zoo.evaluate import posterior
from zoo.fitting.choose import fit_recipe
from zoo.recipe import Recipe
from zoo.registry import Registry, parse_set
from zoo.scope import scope
from zoo.table.codec import Codec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from generators import GaussianGrid, GaussianRing, Modes

TABLES = {"grid": GaussianGrid, "ring": GaussianRing}
MODELS = (
    "gan", "wgan-gp", "hinge-gan", "minibatch-gan", "infogan", "sinkhorn-generator", "gan-minimax", "wgan", "bigan",
    "mmd-generator", "energy-generator", "gumbel-gan", "aae", "vae-gan", "adversarial-vb",
    "flow-matching", "ddpm", "ddim", "score-vp", "score-ve", "latent-diffusion", "ebm", "nce",
)  # fmt: skip
LAST = {"fit.keep": "last"}
FINE = {**LAST, "objective.waves": 6}
"""Modes are 0.018 and 0.035 standard deviations wide: a critic that reads no shorter waves than one deviation, as the
entries' does for tables, does not see their shape."""
QUICK = {**LAST, "fit.steps": 3000, "fit.batch": 512, "fit.learning_rate": 4e-3, "program.network.width": 128}
"""A quarter of the entries' steps, and half of their network: two columns need no more."""
DENOISERS = ("flow-matching", "ddpm", "ddim", "score-vp", "score-ve")
FIT_OF = {"ddim": "ddpm"}
"""Two entries that differ in how they draw."""
SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("gan", "minibatch-gan", "gumbel-gan"), FINE),
    "infogan": {**FINE, "program.prior.components": 25, "objective.information": 0.1},
    "wgan-gp": {
        **FINE,
        "fit.steps": 2000,
        "fit.learning_rate": 2e-4,
        "objective.rate": 10.0,
        "objective.penalty": 0.03,
    },
    "hinge-gan": {**FINE, "fit.steps": 600, "fit.learning_rate": 1e-4, "objective.rate": 10.0, "objective.match": 5.0},
    **dict.fromkeys(DENOISERS, QUICK),
    # two latents for two columns, and waves as short as a mode among them is
    "latent-diffusion": {
        **LAST,
        "program.dim": 2,
        "program.prior.waves": 6,
        "fit.steps": 6000,
        "fit.batch": 512,
        "fit.learning_rate": 4e-3,
    },
    **dict.fromkeys(("gan-minimax", "mmd-generator", "energy-generator", "sinkhorn-generator"), LAST),
}


def judged(table: Modes, frame: Any) -> dict[str, float]:
    covered, within = table.covered(frame)
    distances = table.distances(frame)
    near = distances.argmin(1)[distances.min(1) <= 3]
    k = len(table.centres)
    shares = np.bincount(near, minlength=k) / max(len(near), 1)
    return {"covered": covered, "within": within, "balance": 1 - float(np.abs(shares - 1 / k).sum()) / 2}


@functools.lru_cache(maxsize=len(TABLES))
def fitted(name: str, table_name: str, seed: int, settings: tuple[tuple[str, Any], ...]) -> tuple[Recipe, Any, float]:
    """(the recipe, what its fit gave, processor seconds of it)."""
    frame = TABLES[table_name]().sample(5000, np.random.default_rng(seed))
    codec = Codec.fit(zoo.infer_schema(frame), frame[:4500])
    recipe = Registry.load().recipe(name, {"fit.seed": seed, **dict(settings)})
    if recipe.grid():
        recipe = recipe.with_settings({key: values[0] for key, values in recipe.grid().items()})
    began = time.process_time()
    done = fit_recipe(recipe, codec, codec.encode(frame[:4500]), codec.encode(frame[4500:]))
    return recipe, done, time.process_time() - began


def line(name: str, table_name: str, seed: int, sets: dict[str, Any]) -> dict[str, Any]:
    table = TABLES[table_name]()
    frame = table.sample(5000, np.random.default_rng(seed))
    schema = zoo.infer_schema(frame)
    codec = Codec.fit(schema, frame[:4500])
    settings = SETTINGS.get(name, {}) | sets
    recipe, done, seconds = fitted(FIT_OF.get(name, name), table_name, seed, tuple(settings.items()))
    if name in FIT_OF:
        done, own = copy.deepcopy(done), Registry.load().recipe(name).program.settings
        done.model.program.sampler, done.model.program.walk = own["sampler"], own["walk"]
    started = {}
    if name not in DENOISERS:
        model = type(done.model)(recipe, codec)
        with scope(seed):
            model.initialise(model.rows(frame[:4500]))
        started = judged(table, codec.decode(posterior.sample(model, 5000)))
    found = judged(table, codec.decode(posterior.sample(done.model, 5000)))
    found["passes"] = found["covered"] == len(table.centres) and found["within"] >= 0.9
    kept = done.fitted.kept
    watched = {key: kept[key] for key in ("coverage", "critic_accuracy") if key in kept}
    return {
        "model": name, "table": table_name, "modes": len(table.centres), "seed": seed, **found,
        "settings": settings, "started": started, **watched, "notes": done.fitted.notes,
        "steps": done.fitted.steps, "cpu_seconds": seconds,
    }  # fmt: skip


def written(lines: list[dict[str, Any]]) -> str:
    """The lines as a table."""
    out = ["| model | table | seed | covered | within | balance | start: within | coverage told | passes | CPU s |"]
    out.append("|" + "---|" * 10)
    for at in sorted(lines, key=lambda line: (line["table"], MODELS.index(line["model"]), line["seed"])):
        start = f"{at['started']['within']:.3f}" if at["started"] else "-"
        told = f"{at.get('coverage', 0):.2f}" + ", collapse" * any("collapsed" in note for note in at["notes"])
        out.append(
            f"| {at['model']} | {at['table']} | {at['seed']} | {at['covered']} of {at['modes']} | {at['within']:.3f} "
            f"| {at['balance']:.3f} | {start} | {told if 'coverage' in at else '-'} "
            f"| {'yes' if at['passes'] else 'no'} | {at['cpu_seconds']:.0f} |"
        )
    changed = {line["model"]: line["settings"] for line in lines if line["settings"]}
    said = [f"- {name}: {', '.join(f'{k} = {v}' for k, v in sets.items())}" for name, sets in changed.items()]
    head = "`python -m benchmarks.modes`; true rows are within 3 sigma at 0.989. Settings other than the entries':"
    return "\n".join([head, "", *said, "", *out, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tables", default="grid,ring")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings other than SETTINGS")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "modes.json")
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.models.split(","):
            for table in arguments.tables.split(","):
                found = line(name, table, seed, dict(map(parse_set, arguments.set)))
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
                keep(arguments.output, [found], ("model", "table", "seed"), written)


if __name__ == "__main__":
    main()
