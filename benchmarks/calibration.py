"""Simulation-based calibration of posteriors over parameters, by guide.

    python -m benchmarks.calibration [--models bayesian-gmm ...] [--guides normal multivariate] [--simulations 40]

Each model draws its parameters from its prior, a table of the given one's rows and columns from them, and is fitted to
it (`zoo.sbc`); the ranks of the true values among the posterior's draws are even where the posterior is sound. A sound
one is refused in 1% of such tests, all quantities together. Writes calibration.json, to which later calls add, and .md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import zoo
from benchmarks.kept import Line, keep

RESULTS = Path(__file__).parent / "results"
ROWS, GROUPS = 50, 6
CASES: dict[str, tuple[int, dict[str, Any]]] = {  # columns, settings
    "bayesian-gmm": (2, {"components": 2, "program.restarts": 2}),
    "bayesian-ppca": (3, {"dim": 1}),
    "grouped-gmm": (2, {"components": 2, "program.restarts": 2}),
    "grouped-ppca": (3, {"dim": 1}),
}


def table(columns: int, grouped: bool) -> pd.DataFrame:
    """The rows, columns and groups that simulated tables have; what is in its cells sets the units alone."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, columns)), columns=list("abc")[:columns])
    return frame.assign(group=[f"g{i % GROUPS}" for i in range(ROWS)]) if grouped else frame


def measured(model: str, guide: str, simulations: int) -> Line:
    columns, settings = CASES[model]
    grouped = model.startswith("grouped")
    frame = table(columns, grouped)
    kinds = dict.fromkeys([c for c in frame if c != "group"], "continuous")
    started = time.process_time()
    (found,) = zoo.sbc(
        model, frame, simulations=simulations, settings={"guide": guide, **settings}, kinds=kinds,
        group="group" if grouped else None, device="cpu",
    )  # fmt: skip
    covered = {each.name: each.covered for each in found.quantities}
    least = min(found.quantities, key=lambda each: each.p_value)
    return {
        "model": model, "guide": guide, "simulations": simulations, "holds": found.holds, "failed": found.failed,
        "quantities": len(covered), "covered": float(np.mean(list(covered.values()))),
        "least covered": min(covered.values()), "least": min(covered, key=lambda name: covered[name]),
        "p": least.p_value, "of": least.name, "seconds": time.process_time() - started,
    }  # fmt: skip


def page(lines: list[Line]) -> str:
    out = [
        "# Are posteriors over parameters as wide as they say?",
        "",
        f"Made by `python -m benchmarks.calibration`: tables of {ROWS} rows drawn from the prior, fits by the entries'",
        "own settings. Covered: share of true values inside 90% intervals, the mean over quantities, and the quantity",
        "where it is least. A sound posterior is refused in 1% of such tests. Processor seconds, all fits.",
        "",
        "| model | guide | tables | quantities | covered | least | refused | least p | s |",
        "|" + "---|" * 9,
    ]
    for x in sorted(lines, key=lambda x: (x["model"], x["guide"])):
        out.append(
            f"| {x['model']} | {x['guide']} | {x['simulations']} | {x['quantities']} | {x['covered']:.3f} "
            f"| {x['least covered']:.2f} ({x['least']}) | {'no' if x['holds'] else 'yes'} | {x['p']:.2g} ({x['of']}) "
            f"| {x['seconds']:.0f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(CASES))
    parser.add_argument("--guides", nargs="*", default=["multivariate", "normal"])
    parser.add_argument("--simulations", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for model in asked.models:
        for guide in asked.guides:
            line = measured(model, guide, asked.simulations)
            print(line, flush=True)
            keep(asked.output / "calibration.json", [line], ("model", "guide"), page)


if __name__ == "__main__":
    main()
