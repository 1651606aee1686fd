"""Clusters of digits in the space of latents: a VAE with a mixture for its prior, beside the same in two steps.

    python -m benchmarks.deep_clusters [optdigits mnist] [--seeds 5] [--rows N] [--steps N] [--data FOLDER] [-o FOLDER]

Adjusted Rand index on all rows, no label seen, every method told ten clusters: `vade`; `vae` of as many latents, whose
embedding scikit-learn's GaussianMixture (full, 3 starts) then clusters; zoo's `gmm` and k-means of 20 principal
components. Pixels are continuous columns of one unit, those that hardly change left out. Writes
deep_clusters.json and .md.
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
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import zoo
from benchmarks.defaults import hidden
from benchmarks.kept import Line, keep

RESULTS = Path(__file__).parent / "results"
DIGITS, DIM, COMPONENTS = 10, 10, 20


def load(name: str, folder: Path, rows: int | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Pixels between 0 and 1, and the digits."""
    if name == "optdigits":
        frame = pd.read_csv(folder / "optdigits.csv.gz")
        labels, x = frame.pop("class").to_numpy(), frame.to_numpy(float) / 16
    else:
        x = zoo.read_table(folder / "t10k-images-idx3-ubyte.gz").to_numpy(float) / 255
        labels = zoo.read_table(folder / "t10k-labels-idx1-ubyte.gz").iloc[:, 0].to_numpy()
    some = np.random.default_rng(0).permutation(len(x))[:rows]
    x = x[some][:, x.std(0) > 0.05]
    return pd.DataFrame(x, columns=[f"p{j}" for j in range(x.shape[1])]), labels[some]


def clusters(frame: pd.DataFrame, seed: int, steps: int) -> dict[str, tuple[np.ndarray, float]]:
    """Clusters of each method and its seconds."""
    reduced = PCA(COMPONENTS, random_state=0).fit_transform(frame)
    plain = pd.DataFrame(reduced, columns=[f"c{j}" for j in range(COMPONENTS)])
    options: dict[str, Any] = {"kinds": {"*": "continuous"}, "seed": seed, "device": "cpu"}
    pixels = options | {"units": {"*": "grey"}}
    learned = {"program.dim": DIM, "fit.steps": steps}

    def vade() -> np.ndarray:
        settings = learned | {"program.prior.components": DIGITS}
        return np.asarray(zoo.Estimator("vade", settings=settings, **pixels).fit(frame).predict(frame))

    def vae() -> np.ndarray:
        settings = learned | hidden(128, 128)  # as vade's
        found = np.asarray(zoo.Estimator("vae", settings=settings, **pixels).fit(frame).transform(frame))
        return np.asarray(GaussianMixture(DIGITS, n_init=3, reg_covar=1e-4, random_state=seed).fit_predict(found))

    def gmm() -> np.ndarray:
        return np.asarray(zoo.Estimator("gmm", settings={"components": DIGITS}, **options).fit(plain).predict(plain))

    def k_means() -> np.ndarray:
        return np.asarray(KMeans(DIGITS, n_init=10, random_state=seed).fit_predict(reduced))

    out = {}
    for name, method in {"vade": vade, "vae, then GMM": vae, "gmm": gmm, "k-means": k_means}.items():
        started = time.perf_counter()
        out[name] = (method(), time.perf_counter() - started)
    return out


def page(lines: list[Line]) -> str:
    table = pd.DataFrame(lines)
    said = "Made by `python -m benchmarks.deep_clusters`. Adjusted Rand index: mean (least to most), seeds; seconds."
    out = [
        "# Clusters of digits",
        "",
        said,
        "",
        "| table | rows | method | ARI | seeds | s |",
        "|---|---|---|---|---|---|",
    ]
    for (name, rows, method), some in table.groupby(["table", "rows", "method"], sort=False):
        ari = some["ari"]
        out.append(
            f"| {name} | {rows} | {method} | {ari.mean():.3f} ({ari.min():.3f} to {ari.max():.3f}) | {len(some)} "
            f"| {some['seconds'].mean():.0f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=["optdigits", "mnist"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    file = asked.output / "deep_clusters.json"
    for name in asked.tables:
        frame, labels = load(name, asked.data, asked.rows)
        for seed in range(asked.seeds):
            new = [
                {"table": name, "rows": len(frame), "method": method, "seed": seed, "seconds": seconds,
                 "ari": float(adjusted_rand_score(labels, found))}
                for method, (found, seconds) in clusters(frame, seed, asked.steps).items()
            ]  # fmt: skip
            print(name, seed, {line["method"]: round(line["ari"], 3) for line in new}, flush=True)
            keep(file, new, ("table", "method", "seed"), page)


if __name__ == "__main__":
    main()
