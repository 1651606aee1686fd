"""Held-out density of mixtures: zoo beside scikit-learn, and factored covariances beside full ones, on the same rows.

    python -m benchmarks.density [TABLE ...] [--seeds 0 1 2] [--models gmm,mfa,mppca] [--components K] [--data FOLDER]
                                [-o FOLDER]

Rows are split 80/10/10 (seed 0; bsds300 has parts of its own) into training, validation and test rows, columns
standardised by the training rows. A column on a lattice is dequantised once, for all sides: uniform noise of a cell.
Both sides add 1e-6 to the diagonal of a covariance, walk the same grid of components on the validation rows, and leave
it after two in a row that are worse; scikit-learn fits at least every K that zoo did. Seconds are of processor time, of
all fits, their scores on validation rows and the score on test rows. Factored covariances have the settings that
`FACTORS` names.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture

import zoo

GRID = (1, 2, 3, 5, 8, 12, 20, 32)
TABLES = ("magic04", "housing", "10_cover", "68983", "bsds300")
FACTORED = ("bsds300", "optdigits")
FACTORS: dict[str, dict[str, list[tuple[int, int]]]] = {  # components, dim
    "bsds300": {"mfa": [(12, 40), (16, 28), (20, 20)], "mppca": [(12, 40), (16, 28)]},
    "optdigits": {"mfa": [(10, 10), (20, 10), (30, 5), (30, 10)], "mppca": [(10, 25), (20, 15), (30, 10)]},
}
SPLIT_SEED = 0
Line = dict[str, Any]
TIED, BULK = 0.7, 0.25


@dataclass
class Parts:
    """Standardised rows (n, D), and what their log-density lacks to be that in the table's units."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    jacobian: float = 0.0

    @classmethod
    def of(cls, train: np.ndarray, validation: np.ndarray, test: np.ndarray, own_units: bool = False) -> Parts:
        mean, scale = train.mean(0), train.std(0)
        names = [f"x{j}" for j in range(train.shape[1])]
        frames = (pd.DataFrame((x - mean) / scale, columns=names) for x in (train, validation, test))
        return cls(*frames, jacobian=-float(np.log(scale).sum()) if own_units else 0.0)


def dequantised(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Columns whose values are shared by rows get uniform noise of one cell: the gap to the next value, in the bulk."""
    x = frame.to_numpy(float).copy()
    for j in range(x.shape[1]):
        values, counts = np.unique(x[:, j], return_counts=True)
        if len(values) < 2:
            x[:, j] += rng.random(len(x)) - 0.5
        elif len(values) < TIED * len(x):
            gaps = np.repeat(np.diff(values), counts[:-1])
            x[:, j] += float(np.quantile(gaps, BULK)) * (rng.random(len(x)) - 0.5)
    return x


def patches(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Papamakarios et al. 2017: uniform noise, the patch's mean taken off, the last pixel left out."""
    x = (x + rng.random(x.shape)) / 256
    return (x - x.mean(1, keepdims=True))[:, :-1]


def load(name: str, folder: Path) -> Parts:
    rng = np.random.default_rng(SPLIT_SEED)
    if name == "bsds300":
        arrays = np.load(folder / "bsds300_patches_8x8.npz")
        train, validation, test = (patches(arrays[part], rng) for part in ("train", "val", "test"))
        return Parts.of(train[:20_000], validation, test, own_units=True)
    if name == "10_cover":
        x = np.load(folder / "10_cover.npz")["X"]
        frame = pd.DataFrame(x[rng.permutation(len(x))[:60_000]].astype(float))
        frame.columns = [f"x{j}" for j in frame]
    else:
        file = {"magic04": "magic04.data.gz", "68983": "68983.csv.gz", "optdigits": "optdigits.csv.gz"}
        frame = pd.read_csv(folder / file.get(name, f"{name}.csv")).drop(columns="class", errors="ignore")
        frame = frame.select_dtypes("number").dropna().astype(float)
    if name == "68983":
        frame = frame[[c for c in frame if c.split("|")[0].endswith("-A")]]
    x = dequantised(frame, rng)
    if name == "68983":
        x = np.arcsinh(x / 150)
    index = rng.permutation(len(x))
    a, b = int(0.8 * len(x)), int(0.9 * len(x))
    return Parts.of(x[index[:a]], x[index[a:b]], x[index[b:]])


@dataclass
class Result:
    """Log-likelihood of each test row (n,), seconds of all of it, what was chosen, and its free parameters.

    tried: numbers of components that were fitted
    """

    rows: np.ndarray
    seconds: float
    chosen: str
    parameters: int
    tried: tuple[int, ...] = ()


def peer(parts: Parts, seed: int, least: tuple[int, ...], grid: tuple[int, ...] = GRID) -> Result:
    """scikit-learn, on the grid as far as at least `least`."""
    train, validation, test = (x.to_numpy() for x in (parts.train, parts.validation, parts.test))
    started = time.process_time()
    best, kept, worse = -np.inf, None, 0
    tried = []
    for k in grid:
        if worse >= 2 and k not in least:
            break
        tried.append(k)
        model = GaussianMixture(k, covariance_type="full", reg_covar=1e-6, random_state=seed).fit(train)
        value = model.score(validation)
        worse = 0 if value > best else worse + 1
        if value > best:
            best, kept = value, model
    assert kept is not None
    rows = kept.score_samples(test)
    seconds = time.process_time() - started
    k = kept.n_components
    return Result(rows, seconds, f"K={k}", free("gmm", k, test.shape[1]), tuple(tried))


def ours(model: str, parts: Parts, seed: int, settings: dict[str, Any]) -> Result:
    schema = zoo.infer_schema(parts.train, kinds={"*": "continuous"})
    started = time.process_time()
    fitted = zoo.Estimator(model, settings=settings, seed=seed, device="cpu").fit_parts(
        parts.train, parts.validation, schema
    )
    rows = fitted.score_samples(parts.test)
    seconds = time.process_time() - started
    program = fitted.model_.program
    k, dim = int(program.components), int(getattr(program, "dim", 0))
    chosen = f"K={k}" + (f", dim={dim}" if dim else "")
    tried = tuple(int(choice["settings"]["program.components"]) for choice in fitted.choices_)
    return Result(rows, seconds, chosen, free(model, k, parts.test.shape[1], dim), tried)


def free(model: str, k: int, d: int, dim: int = 0) -> int:
    """Free parameters of a mixture; loadings are known up to a rotation."""
    loadings = d * dim - dim * (dim - 1) // 2
    each = {"gmm": d * (d + 1) // 2, "mfa": loadings + d, "mppca": loadings + 1}[model]
    return k * (1 + d + each) - 1


def paired(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    difference = a - b
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(dict.fromkeys(TABLES + FACTORED)))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--models", default="gmm,mfa,mppca")
    parser.add_argument("--components", type=int, help="of gmm on both sides, in place of the grid")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = measured(asked.tables, asked.models.split(","), asked.seeds, asked.data, asked.output, asked.components)
    if asked.output is not None:
        (asked.output / "density.md").write_text(document(lines), encoding="utf-8")


def measured(
    tables: list[str], models: list[str], seeds: list[int], data: Path, output: Path | None, told: int | None
) -> list[Line]:
    """A line for each table, model and seed; those of earlier calls with this output folder are kept."""
    file = None if output is None else output / "density.json"
    lines: list[Line] = json.loads(file.read_text()) if file is not None and file.exists() else []
    for name in tables:
        parts = load(name, data)
        shape = "/".join(str(len(x)) for x in (parts.train, parts.validation, parts.test))
        ours(
            "gmm", Parts(*(x[:200] for x in (parts.train, parts.validation, parts.test))), 0, {"components": 2}
        )  # imports
        for seed in seeds:
            base: Result | None = None
            for model, settings in _asked(name, models, told):
                found = ours(model, parts, seed, settings)
                other, line = base, _line(found, parts.jacobian)
                if model == "gmm":
                    base = found
                    other = (
                        peer(parts, seed, found.tried, GRID if told is None else (told,)) if name in TABLES else None
                    )
                if other is not None:
                    line |= {f"other {key}": value for key, value in _line(other, parts.jacobian).items()}
                    line["difference"], line["error"] = paired(found.rows, other.rows)
                line |= {"table": name, "rows": shape, "columns": parts.test.shape[1], "model": model, "seed": seed}
                line |= {"told": told} if told is not None and model == "gmm" else {}
                print(line, flush=True)
                lines = [old for old in lines if _key(old) != _key(line)] + [line]
                if file is not None:
                    file.write_text(json.dumps(sorted(lines, key=_key), indent=1) + "\n", encoding="utf-8")
    return lines


def _asked(name: str, models: list[str], told: int | None) -> list[tuple[str, dict[str, Any]]]:
    """The models of a table with their settings."""
    out: list[tuple[str, dict[str, Any]]] = (
        [("gmm", {} if told is None else {"components": told})] if "gmm" in models else []
    )
    for model, pairs in FACTORS.get(name, {}).items():
        out += [(model, {"components": k, "dim": dim}) for k, dim in pairs if model in models]
    return out


def _key(line: Line) -> tuple[str, str, str, int, int]:
    """One of each is kept; that of a model that chooses for itself does not depend on what it chose."""
    return (
        line["table"],
        line["model"],
        "" if line["model"] == "gmm" else line["chosen"],
        line.get("told", 0),
        line["seed"],
    )


def _line(result: Result, jacobian: float) -> Line:
    value = float(result.rows.mean() + jacobian)
    return {"value": value, "seconds": result.seconds, "chosen": result.chosen, "parameters": result.parameters}


def document(lines: list[Line]) -> str:
    """Full covariances beside scikit-learn, then factored ones beside full ones, and what is met."""
    out = [
        "# Held-out density of mixtures",
        "",
        f"Nats a row, made by `python -m benchmarks.density`. Split seed {SPLIT_SEED}; the seed is the fit's. Both",
        "choose K on validation rows. Difference: zoo - scikit-learn on the same test rows, with its standard error.",
        "",
        "| table | rows fit/choose/judge x columns | seed | zoo gmm | scikit-learn | difference | s | its s | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    missed, seconds, others = [], 0.0, 0.0
    full = [line for line in lines if line["model"] == "gmm"]
    for name, told in sorted({(line["table"], line.get("told", 0)) for line in full}, key=lambda x: (x[1], x[0])):
        mine = [line for line in full if (line["table"], line.get("told", 0)) == (name, told)]
        mine = [line for line in mine if "difference" in line]
        where = f"{name}, K told" if told else name
        for line in sorted(mine, key=_seed):
            out.append(
                f"| {where} | {line['rows']} x {line['columns']} | {line['seed']} "
                f"| {line['value']:.3f} ({line['chosen']}) | {line['other value']:.3f} ({line['other chosen']}) "
                f"| {line['difference']:+.3f} ± {line['error']:.3f} "
                f"| {line['seconds']:.1f} | {line['other seconds']:.1f} "
                f"| {line['seconds'] / line['other seconds']:.2f} |"
            )
        if not mine:
            continue
        v, o, d, e, s, p = (
            float(np.mean([line[key] for line in mine]))
            for key in ("value", "other value", "difference", "error", "seconds", "other seconds")
        )
        seconds, others = seconds + s, others + p
        missed += [where] if d < -2 * e else []
        if len(mine) > 1:
            out.append(
                f"| {where} | | mean | {v:.3f} | {o:.3f} | {d:+.3f} ± {e:.3f} | {s:.1f} | {p:.1f} | {s / p:.2f} |"
            )
    below = f"More than two standard errors below: {', '.join(missed)}." if missed else "None is two errors below."
    out += [
        "",
        f"Means over seeds: {below} In all zoo takes {seconds:.0f} s of processor time a seed and scikit-learn",
        f"{others:.0f} s.",
        "",
        "Factored covariances, their settings told, beside zoo's `gmm` with its grid: difference to it, bold where it",
        "is above with no more parameters.",
        "",
        "| table | seed | model | nats a row | parameters | difference | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in sorted((line for line in lines if line["table"] in FACTORED), key=lambda x: (x["table"], _seed(x))):
        difference = ""
        if line["model"] != "gmm" and "difference" in line:
            difference = f"{line['difference']:+.2f} ± {line['error']:.2f}"
            above = line["difference"] > 2 * line["error"] and line["parameters"] <= line["other parameters"]
            difference = f"**{difference}**" if above else difference
        out.append(
            f"| {line['table']} | {line['seed']} | {line['model']} {line['chosen']} | {line['value']:.2f} "
            f"| {line['parameters']:,} | {difference} | {line['seconds']:.1f} |"
        )
    return "\n".join(out) + "\n"


def _seed(line: Line) -> int:
    return int(line["seed"])


if __name__ == "__main__":
    main()
