"""Clusters against labels that no fit sees: zoo beside scikit-learn, with the number of clusters told and unknown.

    python -m benchmarks.clustering [--data FOLDER] [--tables s1,seeds] [--models clusters,gmm] [--seeds 3] [--told]
                                    [-o FILE.md]

Adjusted Rand index on all rows of a table; every method fits the same rows. K is the number of labels.

    unknown   zoo with its own grid of components, merged into clusters
    told      zoo with components = K
    k-means, GMM, DP-GMM   KMeans (10 starts), GaussianMixture (full, 3 starts, 1e-3 on the diagonal) and
                           BayesianGaussianMixture (full, truncated at 2 K): the first two are told K, the last 2 K

Columns are standardised; optdigits is its first 20 principal components, not scaled; 68983 (flow cytometry) is the
cells inside a gate and the ten columns with a marker, as arcsinh(x / 150).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from zoo.estimator import Estimator

TABLES = ("s1", "s2", "a1", "unbalance", "seeds", "ecoli", "optdigits", "68983")
PAIRED = ("s1", "s2", "a1", "unbalance")


def load(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, D) as every method gets them, and their labels (n,)."""
    if name == "optdigits":
        frame = pd.read_csv(folder / "optdigits.csv.gz")
        labels = frame.pop("class").to_numpy()
        return PCA(20, random_state=0).fit_transform(frame.to_numpy(float)), labels
    if name in PAIRED:
        x = pd.read_csv(folder / f"{name}.data.gz", sep=r"\s+", header=None).to_numpy(float)
        labels = pd.read_csv(folder / f"{name}.labels0.gz", header=None)[0].to_numpy()
    elif name == "68983":
        frame = pd.read_csv(folder / "68983.csv.gz")
        frame = frame[frame["cell_type"] != "Unlabeled"]
        labels = frame["cell_type"].to_numpy()
        x = np.arcsinh(frame[[column for column in frame if "|" in column]].to_numpy(float) / 150)
    else:
        frame = pd.read_csv(folder / {"seeds": "wheat-seeds.csv"}.get(name, f"{name}.csv"), header=None)
        x, labels = frame.iloc[:, :-1].to_numpy(float), frame.iloc[:, -1].to_numpy()
    return (x - x.mean(0)) / x.std(0), labels


def peers(k: int, seed: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    plain = GaussianMixture(k, n_init=3, reg_covar=1e-3, random_state=seed)
    bayes = BayesianGaussianMixture(n_components=2 * k, reg_covar=1e-3, max_iter=300, random_state=seed)
    return {
        "k-means": KMeans(k, n_init=10, random_state=seed).fit_predict,
        "GMM": plain.fit_predict,
        "DP-GMM": bayes.fit_predict,
    }


def measure(name: str, model: str, x: np.ndarray, labels: np.ndarray, seed: int, told: bool) -> list[dict[str, object]]:
    """A line for each number of clusters asked of a model of zoo: unknown, and told."""
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])])
    k, lines = len(np.unique(labels)), []
    for asked, settings in (("unknown", {}), ("told", {"components": k}))[told:]:
        started = time.perf_counter()
        fitted = Estimator(model, settings=settings, kinds={"*": "continuous"}, seed=seed, device="cpu").fit(frame)
        found = fitted.predict(frame)
        seconds = time.perf_counter() - started
        score = adjusted_rand_score(labels, found)
        method = f"zoo {model}, {asked}"
        line = {"table": name, "method": method, "seed": seed, "ari": score, "seconds": seconds}
        lines.append(line | {"clusters": len(np.unique(found)), "components": fitted.clusters_.components})
    return lines


def against(name: str, x: np.ndarray, labels: np.ndarray, seed: int) -> list[dict[str, object]]:
    lines = []
    for method, predict in peers(len(np.unique(labels)), seed).items():
        started = time.perf_counter()
        found = predict(x)
        line = {"table": name, "method": method, "seed": seed, "ari": adjusted_rand_score(labels, found)}
        lines.append(line | {"seconds": time.perf_counter() - started, "clusters": len(np.unique(found))})
    return lines


def document(lines: list[dict[str, object]]) -> str:
    """Mean ARI (least to most) over seeds, with the clusters that were found; then seconds."""
    table = pd.DataFrame(lines)
    methods, tables = (list(dict.fromkeys(table[key])) for key in ("method", "table"))
    out = ["| table | " + " | ".join(methods) + " |", "|---" * (1 + len(methods)) + "|"]
    for name in tables:
        cells = []
        for method in methods:
            found = table[(table["table"] == name) & (table["method"] == method)]
            if not len(found):
                cells.append("")
                continue
            spread = f"{found['ari'].mean():.3f} ({found['ari'].min():.3f} to {found['ari'].max():.3f})"
            counts = ", ".join(str(k) for k in found["clusters"])
            cells.append(f"{spread}; {counts}" if "told" not in method and method not in ("k-means", "GMM") else spread)
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    seconds = table.groupby(["table", "method"], sort=False)["seconds"].mean().unstack(sort=False)
    return "\n".join([*out, "", "Seconds a fit:", "", "```", seconds.round(1).to_string(), "```", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--models", default="clusters,gmm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--told", action="store_true", help="only with the number of clusters told")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    lines: list[dict[str, object]] = []
    for name in asked.tables.split(","):
        x, labels = load(name, asked.data)
        for seed in range(asked.seeds):
            new = [
                line for model in asked.models.split(",") for line in measure(name, model, x, labels, seed, asked.told)
            ]
            lines += new + against(name, x, labels, seed)
            print(
                name,
                seed,
                {line["method"]: round(float(line["ari"]), 3) for line in lines[-3 - len(new) :]},
                flush=True,
            )
        if asked.output is not None:
            title = "Adjusted Rand index: mean (least to most) over seeds; number of clusters found where it was open"
            asked.output.write_text(f"{title}\n\n{document(lines)}", encoding="utf-8")


if __name__ == "__main__":
    main()
