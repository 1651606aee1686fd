"""By what a look at a fit without a likelihood is best chosen: on validation rows, and found on held-out ones.

    python -m benchmarks.looks [--models gan,aae] [--tables wine,housing] [--set KEY=VALUE] [--data FOLDER] [-o FILE]

Of each fit eight looks, even in steps, the start among them. Statistics are of at most 500 validation rows: `loss`,
less what is minimised, where that is one number; `discrepancy`, less the maximum mean discrepancy of one draw of each
row; `coverage` of one draw; `agreement`, what zoo takes (of six draws here; where they are dear it makes three).
Figures are of as many draws as there are held-out rows. Told is by how much the look that a statistic chooses falls
short of the best of the eight, in the mean over fits; `first` takes the start, `last` the last look, `equals` the
last of those whose agreement is as good as the best but for noise, as zoo does where draws are dear. looks.md is
written beside the JSON.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import zoo
from benchmarks.kept import Line, keep
from zoo.errors import ZooWarning
from zoo.evaluate.quality.judge import judge
from zoo.fitting import loop
from zoo.model import Model
from zoo.objectives.two_sample import DearlySampled, Sampled, beside, coverage, discrepancy
from zoo.registry import parse_set
from zoo.rows.rows import Rows
from zoo.scope import scope

TABLES = {"wine": "winequality-white.csv", "housing": "housing.csv", "abalone": "abalone.csv", "titanic": "titanic.csv"}
MODELS = ("gan", "wgan-gp", "hinge-gan", "aae")
MOST, HELD, CHOSEN, LOOKS = 5000, 0.25, 500, 8
FIGURES = {"c2st": 1, "beta_recall": 1, "trend": 1, "energy": -1}
STATISTICS = ("loss", "discrepancy", "coverage", "agreement")


def statistics(model: Model, rows: Rows) -> dict[str, float]:
    own = getattr(model.objective, "loss", None)
    with torch.no_grad(), scope(0):
        x, y, weight = beside(model, rows)
        out = {"discrepancy": -float(discrepancy(x, y, weight)), "coverage": float(coverage(x, y))}
        out["agreement"] = float(Sampled().agreement(model, rows))
        if own is not None:
            out["loss"] = -float(torch.stack([own(model, rows) for _ in range(8)]).mean())
    return out


def looks(
    name: str, train: pd.DataFrame, choose: pd.DataFrame, schema: Any, sets: dict[str, Any]
) -> tuple[zoo.Estimator, list[Any]]:
    """The estimator, and its parameters at the start and at every look."""
    states: list[Any] = []
    validate, start = loop._Loop._validate, loop._Loop._validate_start

    def seen(own: Any, *look: Any) -> None:
        (validate if look else start)(own, *look)
        states.append({key: value.detach().clone() for key, value in own.model.state_dict().items()})

    loop._Loop._validate, loop._Loop._validate_start = seen, seen  # type: ignore[method-assign]
    try:
        sets = {"fit.keep": "last", "fit.patience": 0} | sets
        estimator = zoo.Estimator(name, settings=sets, seed=0, device="cpu").fit_parts(train, choose, schema)
    finally:
        loop._Loop._validate, loop._Loop._validate_start = validate, start  # type: ignore[method-assign]
    return estimator, states


def lines(name: str, table: str, frame: pd.DataFrame, sets: dict[str, Any]) -> list[Line]:
    frame = frame.sample(min(MOST, len(frame)), random_state=0)
    n, m = int(HELD * len(frame)), min(CHOSEN, len(frame) // 8)
    test, choose, train = frame[:n], frame[n : n + m], frame[n + m :]
    schema = zoo.infer_schema(frame)
    estimator, states = looks(name, train, choose, schema, sets)
    model, out = estimator.model_, []
    for i in sorted({int(i) for i in np.linspace(0, len(states) - 1, LOOKS)}):
        model.load_state_dict(states[i])
        model.eval()
        found = judge(
            test, estimator.sample(n, seed=0), schema, train=train, only=("columns", "classifier", "clouds", "support")
        )
        figures = {f"held_{key}": float(found[key].value) for key in FIGURES}
        out.append({"table": table, "model": name, "look": i, **statistics(model, model.rows(choose)), **figures})
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in out[-1].items()}, flush=True)
    return out


def chosen(fit: pd.DataFrame, by: str) -> int:
    """Which of a fit's looks."""
    if by == "equals":
        agreement = fit["agreement"].to_numpy()
        return int(np.flatnonzero(agreement > agreement.max() + DearlySampled.gain)[-1])
    return {"last": len(fit) - 1, "first": 0}[by] if by not in fit else int(fit[by].to_numpy().argmax())


def page(lines: list[Line]) -> str:
    table = pd.DataFrame(lines)
    out = ["# By what a look is chosen", "", "`python -m benchmarks.looks` says what is measured.", ""]
    for what, some in table.groupby(table.get("loss", pd.Series(np.nan, table.index)).notna()):
        fits = [one.sort_values("look") for _, one in some.groupby(["table", "model"])]
        out += [
            f"{', '.join(dict.fromkeys(some['model']))}, {len(fits)} fits: what the chosen look lacks of the best one.",
            "",
        ]
        out += ["| chosen by | " + " | ".join(FIGURES) + " |", "|---" * (1 + len(FIGURES)) + "|"]
        for by in [*(s for s in STATISTICS if what or s != "loss"), "equals", "last", "first"]:
            short = []
            for fit in fits:
                at = chosen(fit, by)
                short.append(
                    [(sign * fit[f"held_{k}"]).max() - sign * fit[f"held_{k}"].iloc[at] for k, sign in FIGURES.items()]
                )
            out.append(f"| {by} | " + " | ".join(f"{value:.4f}" for value in np.mean(short, 0)) + " |")
        out.append("")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every model")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "looks.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    sets = dict(map(parse_set, arguments.set))
    for table in arguments.tables.split(","):
        frame = pd.read_csv(arguments.data / TABLES[table])
        for name in arguments.models.split(","):
            keep(arguments.output, lines(name, table, frame, sets), ("table", "model", "look"), page)


if __name__ == "__main__":
    main()
