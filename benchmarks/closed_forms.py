"""Maximum likelihood against the closed form (PPCA) and scikit-learn (factor analysis, Gaussian mixtures).

    python -m benchmarks.closed_forms [--data FOLDER] [--output FILE]

All on the same training rows, standardised numeric columns taken as densities, the same floor on variances (1e-6).
Prints nats per row on the training rows; `ours - theirs` must be at least -0.01 (PPCA) and -0.02 (the others).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture

import zoo
from zoo.errors import ZooWarning

DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = {
    "wine": 3,
    "iris": 3,
    "breast-cancer": 5,
    "housing.csv": 20,
    "magic04.data.gz": 20,
    "68983.csv.gz": 10,
    "s1.data.gz": 15,
}


def numeric(name: str, data: Path) -> pd.DataFrame:
    """Complete numeric columns of a table; marker channels of the cytometry table under arcsinh(x / 150)."""
    frame = zoo.read_table(data / name) if "." in name else zoo.example(name)
    frame = frame.select_dtypes("number").dropna().astype(float)
    if name.startswith("68983"):
        frame = np.arcsinh(frame.drop(columns=["Time"], errors="ignore") / 150)
    return frame.loc[:, frame.nunique() > 2]


def fitted(model: str, frame: pd.DataFrame, seed: int = 0, **settings: object) -> tuple[float, float]:
    """Mean training log-likelihood of standardised rows, and seconds, of a zoo model."""
    schema = zoo.infer_schema(frame, kinds=dict.fromkeys(frame, "continuous"))
    started = time.perf_counter()
    estimator = zoo.Estimator(model, settings=settings, seed=seed).fit_parts(frame, None, schema)
    return estimator.score(frame), time.perf_counter() - started


def closed_form_ppca(z: np.ndarray, dim: int) -> float:
    """Mean log-likelihood at the maximum. Tipping & Bishop 1999, eq. 8."""
    values = np.linalg.eigvalsh(np.cov(z.T, bias=True))[::-1]
    noise = values[dim:].mean()
    d = z.shape[1]
    return float(-0.5 * (d * np.log(2 * np.pi) + np.log(values[:dim]).sum() + (d - dim) * np.log(noise) + d))


def rows(name: str, components: int, data: Path) -> list[dict[str, object]]:
    frame = numeric(name, data)
    scale = frame.std(ddof=0)
    z = ((frame - frame.mean()) / scale).to_numpy()
    jacobian = float(np.log(scale).sum())
    dim = min(4, z.shape[1] - 1)
    out = []

    def add(model: str, ours: tuple[float, float], theirs: float, seconds: float, peer: str) -> None:
        value = ours[0] + jacobian
        line = {"table": name, "rows": len(z), "columns": z.shape[1], "model": model, "ours": value, "peer": peer}
        out.append(
            line | {"theirs": theirs, "ours - theirs": value - theirs, "seconds": ours[1], "peer seconds": seconds}
        )
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in out[-1].items()}, flush=True)

    add("ppca", fitted("ppca", frame, dim=dim), closed_form_ppca(z, dim), 0.0, "closed form")
    assert abs(PCA(dim).fit(z).score(z) - closed_form_ppca(z, dim)) < 0.05
    started = time.perf_counter()
    peer = FactorAnalysis(dim, tol=1e-6, max_iter=5000).fit(z).score(z)
    add(
        "factor-analysis",
        fitted("factor-analysis", frame, dim=dim),
        peer,
        time.perf_counter() - started,
        "scikit-learn",
    )
    started = time.perf_counter()
    best = GaussianMixture(components, n_init=10, reg_covar=1e-6, max_iter=500, random_state=0).fit(z).score(z)
    seconds = time.perf_counter() - started
    for seed in range(3):
        add(
            f"gmm K={components} seed {seed}",
            fitted("gmm", frame, seed, components=components),
            best,
            seconds,
            "scikit-learn, 10 starts",
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "closed_forms.json")
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    lines = [line for name in arguments.tables for line in rows(name, TABLES[name], arguments.data)]
    arguments.output.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
