"""Synthetic rows of five tables beside published figures: shape, trend, a boosted two-sample test, precision, recall.

    python -m benchmarks.synthetic_tables [TABLE ...] [--models ddpm,chain] [--seconds 600] [--data FOLDER] [-o FILE]

80% of the complete rows are fitted (a tenth of them set aside to choose by), as many rows are drawn as there are held
out, and both are compared. Shape, trend and recall are also told as they were published: of as many rows as were
fitted, beside those. Definitions as in `benchmarks.synthesis`; alpha-precision and beta-recall are Alaa et al. 2022's,
on one-hot levels and numbers that are standardised, at most `MOST` rows a side; as published, all rows and numbers
between 0 and 1. How many rows there are matters: the more are drawn, the nearer one lies.
`--seconds` is the processor time of a fit: what other processes take does not count. Published figures are means over
5 runs, arXiv 2603.23016, fitted in 38 to 57 minutes (TabSyn) or three to four hours (TabDiff); a second real sample is
the ceiling beside held-out rows. Writes
synthetic_tables.json, to which later calls add, and synthetic_tables.md. `use` is how well boosted trees that were
fitted to drawn rows, as many as were fitted, tell one column of the held-out ones: area under the curve, or R^2.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.neighbors import NearestNeighbors

import zoo
from benchmarks.kept import Line, keep
from benchmarks.synthesis import c2st, coded, shapes, trends
from zoo.errors import ZooWarning
from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.utility import utility
from zoo.table.schema import Schema

MOST = 8000
SECOND = "a second real sample"
READ: dict[str, tuple[str, dict[str, Any]]] = {
    "adult": ("adult-train.csv.gz", {"skipinitialspace": True, "na_values": ["?"]}),
    "default": ("UCI_Credit_Card.csv.gz", {}),
    "shoppers": ("online_shoppers_intention.csv", {"sep": ";"}),
    "magic": ("magic04.data.gz", {}),
    "beijing": ("PRSA_data_2010.1.1-2014.12.31.csv.gz", {}),
}
LEVELS = {
    "default": [
        "SEX",
        "EDUCATION",
        "MARRIAGE",
        "default.payment.next.month",
        *(f"PAY_{k}" for k in (0, 2, 3, 4, 5, 6)),
    ],
    "beijing": ["year", "month", "day", "hour"],
    "shoppers": ["OperatingSystems", "Browser", "Region", "TrafficType"],
}
LEFT_OUT = {"default": ["ID"], "beijing": ["No"]}
TARGETS = {
    "adult": "income",
    "default": "default.payment.next.month",
    "shoppers": "Revenue",
    "magic": "class",
    "beijing": "pm2.5",
}
PEERS = {"ctgan": "CTGAN", "tvae": "TVAE"}
"""Of the package ctgan, which comes with the extra `bench`; they are fitted for `--seconds`, all of them."""
PUBLISHED = {
    "TabSyn": {
        "adult": (0.992, 0.980, 0.794, 0.480), "beijing": (0.974, 0.955, 0.527, 0.522),
        "default": (0.987, 0.971, 0.402, 0.460), "magic": (0.990, 0.992, 0.760, 0.478),
        "shoppers": (0.985, 0.977, 0.655, 0.479),
    },
    "TabDiff": {
        "adult": (0.993, 0.985, 0.841, 0.526), "beijing": (0.990, 0.974, 0.772, 0.598),
        "default": (0.988, 0.973, 0.591, 0.515), "magic": (0.992, 0.992, 0.773, 0.480),
        "shoppers": (0.985, 0.981, 0.735, 0.511),
    },
    "CTGAN": {
        "adult": (0.809, 0.758, 0.0, 0.131), "beijing": (0.800, 0.743, 0.0, 0.385),
        "default": (0.831, 0.702, 0.0, 0.105), "magic": (0.944, 0.945, 0.103, 0.159),
        "shoppers": (0.741, 0.755, 0.0, 0.238),
    },
    "TVAE": {
        "adult": (0.762, 0.666, 0.0, 0.122), "beijing": (0.722, 0.702, 0.0, 0.054),
        "default": (0.913, 0.814, 0.002, 0.304), "magic": (0.954, 0.953, 0.298, 0.363),
        "shoppers": (0.751, 0.793, 0.0, 0.191),
    },
    "independent columns": {
        "adult": (0.996, 0.925, 0.016, 0.077), "beijing": (0.995, 0.910, 0.017, 0.439),
        "default": (0.995, 0.888, 0.0, 0.067), "magic": (0.994, 0.870, 0.005, 0.020),
        "shoppers": (0.993, 0.937, 0.0, 0.231),
    },
}  # fmt: skip


def load(name: str, folder: Path) -> tuple[pd.DataFrame, Schema]:
    file, arguments = READ[name]
    if name == "adult":
        arguments = arguments | {"names": json.loads((folder / "columns.json").read_text())[file], "header": None}
    frame = pd.read_csv(folder / file, **arguments).drop(columns=LEFT_OUT.get(name, []))
    kinds = dict.fromkeys(LEVELS.get(name, []), "categorical")
    schema = zoo.infer_schema(frame, kinds={k: v for k, v in kinds.items() if frame[k].nunique() > 2})
    return frame.dropna(subset=list(schema.names)).reset_index(drop=True), schema


def embedded(frames: list[pd.DataFrame], schema: Schema, standardised: bool = True) -> list[np.ndarray]:
    """Numbers standardised by the first frame, or between 0 and 1 in it; levels one-hot."""
    numbers = [c.name for c in schema.modelled if c.is_number]
    levels = [c.name for c in schema.modelled if not c.is_number]
    first = frames[0][numbers]
    mean, scale = (first.mean(), first.std()) if standardised else (first.min(), first.max() - first.min())
    scale = scale.replace(0, 1)
    known = {c: sorted(set(frames[0][c])) for c in levels}
    out = []
    for frame in frames:
        parts = [((frame[numbers] - mean) / scale).to_numpy(float)]
        parts += [(frame[c].to_numpy()[:, None] == np.array(known[c], dtype=object)).astype(float) for c in levels]
        out.append(np.concatenate(parts, 1))
    return out


def support(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """(alpha-precision, beta-recall), each 1 - its mean distance from the diagonal, relative."""
    shares = np.linspace(0, 1, 30)
    centre, drawn_centre = real.mean(0), drawn.mean(0)
    radii = np.quantile(np.linalg.norm(real - centre, axis=1), shares)
    precision = np.array([(np.linalg.norm(drawn - centre, axis=1) <= r).mean() for r in radii])
    own = NearestNeighbors(n_neighbors=2).fit(real).kneighbors(real)[0][:, 1]
    there, index = NearestNeighbors(n_neighbors=1).fit(drawn).kneighbors(real)
    out = np.linalg.norm(drawn[index[:, 0]] - drawn_centre, axis=1)
    covered = there[:, 0] <= own
    recall = np.array([(covered & (out <= r)).mean() for r in np.quantile(out, shares)])
    return tuple(1 - np.abs(shares - p).sum() / shares.sum() for p in (precision, recall))  # type: ignore[return-value]


def judged(real: pd.DataFrame, drawn: pd.DataFrame, schema: Schema, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    few = [f.iloc[rng.permutation(len(f))[:MOST]] for f in (real, drawn)]
    precision, recall = support(*embedded(few, schema))
    return {"shape": shapes(real, drawn, schema), "trend": trends(real, drawn, schema),
            "c2st": c2st(real, drawn, schema), "alpha_precision": precision, "beta_recall": recall}  # fmt: skip


def run(
    name: str, models: list[str], folder: Path, seconds: float, seed: int, sets: dict[str, Any]
) -> list[dict[str, Any]]:
    frame, schema = load(name, folder)
    order = np.random.default_rng(seed).permutation(len(frame))
    cut, inner = int(0.8 * len(frame)), int(0.72 * len(frame))
    train, validation, test = (frame.iloc[order[a:b]] for a, b in ((0, inner), (inner, cut), (cut, None)))
    real, lines = coded(test, schema), []
    both = pd.concat([train, validation])
    second = coded(both.sample(len(test), random_state=seed), schema)
    lines.append({"table": name, "model": SECOND, "seed": seed, **judged(real, second, schema, seed)})
    held, target = Sample.of(test, schema), TARGETS[name]
    lines[0] |= _use(both, held, target, schema, seed)
    for model in models:
        begun, started = time.process_time(), time.perf_counter()
        if model in PEERS:
            draw, steps = by_peer(PEERS[model], both, schema, seconds, seed)
        else:
            estimator = zoo.Estimator(model, settings=sets if model.startswith("dd") else {}, seed=seed)
            steps = estimator.fit_parts(train, validation, schema).fitted_.steps
            draw = estimator.sample
        fitted, wall = time.process_time() - begun, time.perf_counter() - started
        if fitted > seconds:
            print(f"{name}: {model} took {fitted:.0f} s of processor time, more than {seconds:.0f}", flush=True)
        begun = time.process_time()
        drawn = coded(draw(len(test), seed=seed), schema)
        line = {"table": name, "model": model, "seed": seed, **judged(real, drawn, schema, seed)}
        line |= {"fit_cpu_seconds": fitted, "fit_seconds": wall, "steps": steps}
        line |= {"draw_cpu_seconds": time.process_time() - begun, "rows": len(train)}
        rows = draw(len(both), seed=seed + 1)
        known, many = coded(both, schema), coded(rows, schema)
        line |= {"shape_fitted": shapes(known, many, schema), "trend_fitted": trends(known, many, schema)}
        line |= {"recall_fitted": support(*embedded([known, many], schema, standardised=False))[1]}
        line |= _use(rows, held, target, schema, seed)
        lines.append(line)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}, flush=True)
    return lines


def _use(rows: pd.DataFrame, held: Sample, target: str, schema: Schema, seed: int) -> dict[str, float]:
    """How well trees fitted to these rows tell the target of held-out ones: area under the curve, or R^2."""
    found = utility(Sample.of(rows, schema), held, target, seed)
    return {} if found is None else {"use": found.value}


def by_peer(
    kind: str, rows: pd.DataFrame, schema: Schema, seconds: float, seed: int
) -> tuple[Callable[..., pd.DataFrame], int]:
    """ctgan's CTGAN or TVAE, as it comes but for as many epochs as fit into `seconds` of processor time."""
    import ctgan

    plain = coded(rows, schema)
    levels = [c.name for c in schema.modelled if not c.is_number]
    torch.manual_seed(seed)
    np.random.seed(seed)

    def fit(epochs: int) -> tuple[Any, float]:
        begun = time.process_time()
        model = getattr(ctgan, kind)(epochs=epochs, enable_gpu=False)
        with joblib.parallel_config(backend="threading"):  # of this process, whose time is counted
            model.fit(plain, levels)
        return model, time.process_time() - begun

    few, more = fit(5)[1], fit(25)[1]  # what prepares the table is not paid for at every epoch
    each = max((more - few) / 20, 0.05)
    epochs = max(1, round((seconds - max(few - 5 * each, 0.0)) / each))
    model, _ = fit(epochs)

    def draw(n: int, seed: int) -> pd.DataFrame:
        torch.manual_seed(seed)
        np.random.seed(seed)
        out: pd.DataFrame = model.sample(n)
        return out

    return draw, epochs


COLUMNS = {
    "shape": "shape", "trend": "trend", "shape_fitted": "shape, fitted rows", "trend_fitted": "trend, fitted rows",
    "c2st": "C2ST", "alpha_precision": "precision", "beta_recall": "recall", "recall_fitted": "recall, fitted rows",
    "use": "use",
    "fit_cpu_seconds": "fit, CPU s", "fit_seconds": "fit, s",
}  # fmt: skip


HEAD = """# Synthetic rows of five tables

`python -m benchmarks.synthetic_tables` says what is measured. Means over seeds where there are several, in
brackets least and most. Beside held-out rows a second real sample is the ceiling; published figures are beside
fitted rows. C2ST here is beside held-out rows, a fifth of the table, of which a classifier learns less; numbers of
a trend are in ten bins of as many rows each, those of published ones in bins of equal width, which forgive more.
CPU s are the processor's, s those of a clock, beside other work. `chain`, `circuit` and `mixture` are likelihoods,
fitted in a fraction of `ddpm`'s time. Published recall of beijing is on another scale: what is published of
independent columns and CTGAN is to be held against the lines `independent` and `ctgan`.
"""


def page(lines: list[Line]) -> str:
    out = [
        HEAD,
        "| table | model | seeds | " + " | ".join(COLUMNS.values()) + " |", "|---" * (3 + len(COLUMNS)) + "|",
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["table", "model", *COLUMNS])
    for name, own in table.groupby("table", sort=False):
        for model, some in own.groupby("model", sort=False):
            cells = [spread(some[key].dropna(), ".0f" if "seconds" in key else ".3f") for key in COLUMNS]
            out.append(f"| {name} | {model} | {len(some)} | " + " | ".join(cells) + " |")
        for peer, figures in PUBLISHED.items():
            shape, trend, test, recall = (f"{figure:.3f}" for figure in figures[name])
            cells = ["-", "-", shape, trend, test, "-", "-", recall, "-", "-", "-"]
            out.append(f"| {name} | {peer}, published | 5 | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def spread(values: pd.Series, form: str) -> str:
    if values.empty:
        return "-"
    mean = f"{values.mean():{form}}"
    return mean if len(values) == 1 else f"{mean} ({values.min():{form}} to {values.max():{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(READ))
    parser.add_argument("--models", default="ddpm")
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--set", action="append", default=[], help="a setting of the diffusions, key=value")
    parser.add_argument("--data", type=Path, default=Path(zoo.__file__).parents[2] / "shared" / "data")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(__file__).parent / "results" / "synthetic_tables.json"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    sets = {key: json.loads(value) for key, value in (text.split("=", 1) for text in arguments.set)}
    for name in arguments.tables:
        for seed in arguments.seeds:
            new = run(name, arguments.models.split(","), arguments.data, arguments.seconds, seed, sets)
            keep(arguments.output, new, ("table", "model", "seed"), page)


if __name__ == "__main__":
    main()
