"""Mixed tables with missing cells: chains and flows beside the mixture of independent columns.

    python -m benchmarks.mixed [TABLE ...] [--seeds 0 1 2] [--rows N] [--models chain,nsf,...] [--data FOLDER]

Held-out nats a row by `zoo.compare`, every model by its defaults, on rows that each seed splits 80/10/10 anew; the
difference from `mixture`, whose number of components the validation rows choose, is paired over test rows. Writes
mixed.json, to which later calls add, and mixed.md.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import pandas as pd
import torch

from benchmarks.circuit import load
from benchmarks.conditional import measured
from benchmarks.kept import Line, keep

TABLES = ("adult", "loans", "shoppers")
BESIDE = "mixture"
MODELS = ("chain", "nsf", "vae")
RESULTS = Path(__file__).parent / "results"


def page(lines: list[Line]) -> str:
    out = [
        "# Mixed tables",
        "",
        "Made by `python -m benchmarks.mixed`. Held-out nats a row, means over seeds; errors of the paired difference",
        "are over rows, brackets from the least seed to the most.",
        "",
        "| table | rows x columns | model | nats a row | above mixture | seeds | s |",
        "|" + "---|" * 7,
    ]
    for (name, rows, columns), some in pd.DataFrame(lines).groupby(["table", "rows", "columns"], sort=False):
        by_value = sorted(some.groupby("model"), key=lambda x: -x[1]["value"].mean())
        for model, these in by_value:
            value = f"{'at least ' * (these['bound'].iloc[0] == 'lower')}{these['value'].mean():.3f}"
            d = these["difference"]
            above = f"{d.mean():+.3f} ± {these['error'].mean():.3f} ({d.min():+.3f} to {d.max():+.3f})"
            above = "" if model == BESIDE else above
            many, seconds = len(these), these["seconds"].mean()
            out.append(f"| {name} | {rows} x {columns} | {model} | {value} | {above} | {many} | {seconds:.0f} |")
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in asked.tables:
        frame = load(name, asked.data, asked.rows)
        for seed in asked.seeds:
            new = measured(name, frame, [BESIDE, *asked.models.split(",")], seed, BESIDE)
            for line in new:
                print({key: line[key] for key in ("table", "seed", "model", "value", "difference", "error", "seconds")})
            keep(asked.output / "mixed.json", new, ("table", "model", "seed"), page)


if __name__ == "__main__":
    main()
