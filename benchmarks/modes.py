"""Modes that generators cover: a grid of 25 Gaussians and a ring of eight, of standard deviation 0.05.

    python -m benchmarks.modes [--models gan,wgan-gp] [--tables grid,ring] [--seeds 0,1] [--own] [--output FILE]

Each model has 4,500 rows to fit and 500 to look at, at its entry's settings but for SETTINGS; --own takes the entry as
it is. `covered` counts the modes that hold at least a fifth of their share of 5,000 draws, `within` is the share of
draws within 3 sigma of a mode (0.989 of true ones), `balance` 1 minus the total variation between the modes' shares and
equal ones. Most generators begin as a mixture: `started` says what that alone is worth, and as the last state is kept,
not the best, a game cannot hide behind its start (diffusions have none); of an entry as it is `kept` says which is.
`passes`: all modes, and at least 0.9 within. Entries that need a given column are given the side of the first axis. A
table of the results is written beside the JSON.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import zoo
from benchmarks.kept import keep
from zoo.drawing import drawing
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
    "mmd-generator", "energy-generator", "gumbel-gan", "cgan", "acgan", "aae", "vae-gan", "adversarial-vb",
    "flow-matching", "ddpm", "ddim", "score-vp", "score-ve", "latent-diffusion", "ebm", "nce",
)  # fmt: skip
LAST = {"fit.keep": "last", "fit.patience": 0}
FINE = {"objective.waves": 6}
"""Modes are 0.018 and 0.035 standard deviations wide: a critic that reads no shorter waves than one deviation, as the
entries' does for tables, does not see their shape."""
QUICK = {"fit.steps": 3000, "fit.batch": 512, "fit.learning_rate": 4e-3, "program.network.width": 128}
"""A quarter of the entries' steps, and half of their network: two columns need no more."""
DENOISERS = ("flow-matching", "ddpm", "ddim", "score-vp", "score-ve")
FIT_OF = {"ddim": "ddpm"}
"""Two entries that differ in how they draw."""
SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("gan", "minibatch-gan", "gumbel-gan", "cgan", "acgan"), FINE),
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
        "program.dim": 2,
        "program.prior.waves": 6,
        "fit.steps": 6000,
        "fit.batch": 512,
        "fit.learning_rate": 4e-3,
    },
}
GIVEN = ("cgan", "acgan")


def rows_of(name: str, table: Modes, seed: int) -> tuple[pd.DataFrame, Codec]:
    """5,000 rows, and the codec of those that are fitted."""
    frame = table.sample(5000, np.random.default_rng(seed))
    if name in GIVEN:
        frame["side"] = np.where(frame.iloc[:, 0] > 0, "right", "left")
    given = ["side"] if name in GIVEN else []
    return frame, Codec.fit(zoo.infer_schema(frame, given=given), frame[:4500])


def drawn(model: Any, frame: pd.DataFrame) -> pd.DataFrame:
    like = model.rows(frame) if model.schema.given_columns else None
    out: pd.DataFrame = model.codec.decode(posterior.sample(model, 5000, like))
    return out


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
    frame, codec = rows_of(name, TABLES[table_name](), seed)
    recipe = Registry.load().recipe(name, {"fit.seed": seed, **dict(settings)})
    if recipe.grid():
        recipe = recipe.with_settings({key: values[0] for key, values in recipe.grid().items()})
    began = time.process_time()
    done = fit_recipe(recipe, codec, codec.encode(frame[:4500]), codec.encode(frame[4500:]))
    return recipe, done, time.process_time() - began


def line(name: str, table_name: str, seed: int, sets: dict[str, Any], own: bool = False) -> dict[str, Any]:
    table = TABLES[table_name]()
    frame, codec = rows_of(name, table, seed)
    settings = sets if own else LAST | SETTINGS.get(name, {}) | sets
    recipe, done, seconds = fitted(FIT_OF.get(name, name), table_name, seed, tuple(settings.items()))
    own_draws = Registry.load().recipe(name).program.settings if name in FIT_OF else {}
    sampling = {key: own_draws[key] for key in ("sampler", "walk") if key in own_draws}
    started = {}
    if name not in DENOISERS:
        model = type(done.model)(recipe, codec)
        with scope(seed):
            model.initialise(model.rows(frame[:4500]))
        started = judged(table, drawn(model, frame))
    with drawing(done.model, sampling):
        found = judged(table, drawn(done.model, frame))
    found["passes"] = found["covered"] == len(table.centres) and found["within"] >= 0.9
    kept = done.fitted.kept
    watched = {key: kept[key] for key in ("coverage", "precision", "critic_accuracy") if key in kept}
    return {
        "model": name, "table": table_name, "modes": len(table.centres), "seed": seed, "own": own, **found,
        "settings": settings, "started": started, **watched, "notes": done.fitted.notes,
        "steps": done.fitted.steps, "kept": kept.get("step"), "cpu_seconds": seconds,
    }  # fmt: skip


def written(lines: list[dict[str, Any]]) -> str:
    """The lines as two tables: with settings for these tables, and of the entries as they are."""
    tuned, own = ([line for line in lines if bool(line.get("own")) == which] for which in (False, True))
    changed = {line["model"]: {k: v for k, v in line["settings"].items() if k not in LAST} for line in tuned}
    said = [f"- {name}: {', '.join(f'{k} = {v}' for k, v in sets.items())}" for name, sets in changed.items() if sets]
    head = "`python -m benchmarks.modes`; true rows are within 3 sigma at 0.989. The last state is kept."
    out = [head, "Settings other than the entries':", "", *said, "", *_table(tuned), ""]
    if own:
        out += ["The entries as they are (`--own`), which keep the look whose draws agree best, or the start:", ""]
        out += [*_table(own), ""]
    return "\n".join(out)


def _table(lines: list[dict[str, Any]]) -> list[str]:
    out = ["| model | table | seed | covered | within | balance | start: within | kept, of | told | passes | CPU s |"]
    out.append("|" + "---|" * 11)
    for at in sorted(lines, key=lambda line: (line["table"], MODELS.index(line["model"]), line["seed"])):
        start = f"{at['started']['within']:.3f}" if at["started"] else "-"
        told = f"{at['coverage']:.2f}" if "coverage" in at else "-"
        told += next((f", {word}" for word in ("collapsed", "beside") if any(word in note for note in at["notes"])), "")
        kept = f"{at['kept']:.0f}, {at['steps']}" if at.get("kept") is not None else "-"
        out.append(
            f"| {at['model']} | {at['table']} | {at['seed']} | {at['covered']} of {at['modes']} | {at['within']:.3f} "
            f"| {at['balance']:.3f} | {start} | {kept} | {told} | {'yes' if at['passes'] else 'no'} "
            f"| {at['cpu_seconds']:.0f} |"
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tables", default="grid,ring")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings other than SETTINGS")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "modes.json")
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        for name in arguments.models.split(","):
            for table in arguments.tables.split(","):
                found = line(name, table, seed, dict(map(parse_set, arguments.set)), arguments.own)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
                keep(arguments.output, [found], ("model", "table", "seed", "own"), written)


if __name__ == "__main__":
    main()
