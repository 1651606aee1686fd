"""Rows given a label: models that are told it, beside one model for every label.

    python -m benchmarks.conditional [TABLE ...] [--seeds 0 1 2] [--rows N] [--models cvae,nsf,...] [--data FOLDER]

Held-out conditional log-likelihood, nats a row of `zoo.compare` on the same rows (a lower bound for `cvae`); its
difference from `class-models` is paired over test rows. Writes conditional.json, to which later calls add, and .md.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import zoo
from benchmarks.kept import Line, keep

READING: dict[str, tuple[str, dict[str, Any], str]] = {  # file, reading, given
    "adult": ("adult-train.csv.gz", {"header": None, "skipinitialspace": True, "na_values": ["?"]}, "14"),
    "housing": ("housing.csv", {}, "ocean_proximity"),
    "shoppers": ("online_shoppers_intention.csv", {"sep": ";"}, "Revenue"),
}
BESIDE = "class-models"
MODELS = (BESIDE, "cvae", "nsf", "gmm", "maf")
RESULTS = Path(__file__).parent / "results"


def load(name: str, folder: Path, rows: int | None) -> tuple[pd.DataFrame, str]:
    file, options, given = READING[name]
    frame = pd.read_csv(folder / file, **options)
    frame.columns = [str(column) for column in frame.columns]
    given = given if given in frame else str(next(c for c in frame if c.lower() == given.lower()))
    return (frame if rows is None or rows >= len(frame) else frame.sample(rows, random_state=0)), given


def measured(
    name: str, frame: pd.DataFrame, models: list[str], seed: int, beside: str, given: str | tuple[str, ...] = ()
) -> list[Line]:
    """Every model on the same rows, and how far it is above the one that it is set beside."""
    compared = zoo.compare(frame, models, given=given, seed=seed, device="cpu", samples=False)
    lines = []
    for entry in compared.scored:
        assert entry.scores is not None
        difference, error = compared.difference(entry.model, beside)
        lines.append(
            {"table": name, "rows": len(frame), "columns": len(compared.schema.modelled), "seed": seed,
             "model": entry.model, "value": entry.scores.mean, "bound": entry.scores.bound,
             "difference": difference, "error": error, "seconds": entry.seconds}
        )  # fmt: skip
    return lines


def page(lines: list[Line]) -> str:
    said = "Made by `python -m benchmarks.conditional`. Held-out nats a row given a label; means over seeds."
    out = ["# Rows given a label", "", said, ""]
    out += ["| table | given | rows | model | nats a row | above class-models | seeds | s |", "|---" * 8 + "|"]
    table = pd.DataFrame(lines)
    for (name, given, rows), some in table.groupby(["table", "given", "rows"], sort=False):
        means = some.groupby("model").agg(
            {
                "value": "mean",
                "bound": "first",
                "difference": "mean",
                "error": "mean",
                "seconds": "mean",
                "seed": "count",
            }
        )
        for model, line in means.sort_values("value", ascending=False).iterrows():
            value = f"{'at least ' * (line['bound'] == 'lower')}{line['value']:.3f}"
            above = "" if model == "class-models" else f"{line['difference']:+.3f} ± {line['error']:.3f}"
            out.append(
                f"| {name} | {given} | {rows} | {model} | {value} | {above} | {line['seed']} | {line['seconds']:.0f} |"
            )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(READING))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    file = asked.output / "conditional.json"
    for name in asked.tables:
        frame, given = load(name, asked.data, asked.rows)
        for seed in asked.seeds:
            lines = measured(name, frame, asked.models.split(","), seed, BESIDE, given)
            new = [{"given": given} | line for line in lines]
            for line in new:
                print(
                    {key: line[key] for key in ("table", "seed", "model", "value", "difference", "error")}, flush=True
                )
            keep(file, new, ("table", "rows", "model", "seed"), page)


if __name__ == "__main__":
    main()
