"""A mixture with K told beside scikit-learn's, from one start and from ten: rows of four shapes, drawn anew.

    python -m benchmarks.restarts [SHAPE ...] [--rows 10000 200000] [--seeds 10] [-o FOLDER]

Ten Gaussians of eight columns: `separated`, `overlapping`, `unbalanced` (weights fall by a third each) and `elongated`
(scales of a hundred to one, each turned its own way). Each seed draws its own process, its rows and 20,000 fresh ones
that judge; all sides see the same numbers, standardised. Full covariances, one thread; seconds of processor time are
those of all of a fit, zoo's with what it makes of a table. Every seed is reported: restarts.json and .md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.mixture import GaussianMixture

import zoo
from benchmarks.kept import Line, keep
from benchmarks.peers import spread

RESULTS = Path(__file__).parent / "results"
K, D, FRESH = 10, 8, 20_000
SHAPES = {"separated": 4.0, "overlapping": 1.2, "unbalanced": 2.5, "elongated": 3.0}
"""How far apart centres are, as standard deviation."""
EQUAL = 1e-3
"""Nats a row by which a fit is no worse than another."""


def process(shape: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights (K,), centres (K, D), factors of covariances (K, D, D))."""
    weights = (2 / 3) ** np.arange(K) if shape == "unbalanced" else np.ones(K)
    turn = np.linalg.qr(rng.normal(size=(K, D, D)))[0]
    reach = 1.0 if shape == "elongated" else 0.3
    factors = turn * 10 ** rng.uniform(-reach, reach, size=(K, 1, D))
    return weights / weights.sum(), SHAPES[shape] * rng.normal(size=(K, D)), factors


def rows(shape: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows to fit, fresh rows), standardised by the first."""
    rng = np.random.default_rng(seed)
    weights, centres, factors = process(shape, rng)
    which = rng.choice(K, size=n + FRESH, p=weights)
    x = centres[which]
    for k in range(K):
        mine = which == k
        x[mine] += rng.normal(size=(int(mine.sum()), D)) @ factors[k].T
    x = (x - x[:n].mean(0)) / x[:n].std(0)
    return x[:n], x[n:]


def by_zoo(x: np.ndarray, fresh: np.ndarray, seed: int) -> tuple[float, float]:
    names = [f"x{j}" for j in range(D)]
    frame, new = (pd.DataFrame(part, columns=names) for part in (x, fresh))
    started = time.process_time()
    model = zoo.Estimator("gmm", settings={"components": K}, seed=seed, device="cpu")
    model.fit_parts(frame, None, zoo.infer_schema(frame, kinds={"*": "continuous"}))
    seconds = time.process_time() - started
    return float(model.score_samples(new).mean()), seconds


def by_scikit_learn(x: np.ndarray, fresh: np.ndarray, seed: int, starts: int) -> tuple[float, float]:
    started = time.process_time()
    model = GaussianMixture(K, n_init=starts, random_state=seed).fit(x)
    seconds = time.process_time() - started
    return float(model.score(fresh)), seconds


SIDES: dict[str, Callable[[np.ndarray, np.ndarray, int], tuple[float, float]]] = {
    "zoo": by_zoo,
    "one": lambda x, fresh, seed: by_scikit_learn(x, fresh, seed, 1),
    "ten": lambda x, fresh, seed: by_scikit_learn(x, fresh, seed, 10),
}


def line(shape: str, n: int, seed: int) -> Line:
    x, fresh = rows(shape, n, seed)
    found = {side: fit(x, fresh, seed) for side, fit in SIDES.items()}
    values = {
        f"{side} {what}": number
        for side, pair in found.items()
        for what, number in zip(("nats", "s"), pair, strict=True)
    }
    return {"shape": shape, "rows": n, "seed": seed, **values}


def page(lines: list[Line]) -> str:
    table = pd.DataFrame(lines).sort_values(["rows", "shape", "seed"])
    gain, time_ = table["zoo nats"] - table["ten nats"], table["zoo s"]
    table = table.assign(gain=gain, one=time_ / table["one s"], ten=time_ / table["ten s"])
    out = [
        "# A mixture with K told, beside scikit-learn's", "",
        "`python -m benchmarks.restarts` says what is measured. Nats a row of fresh rows, zoo's less the best of",
        "scikit-learn's ten starts; zoo's seconds to those of one start and of ten: medians, in brackets the least",
        "and the most.", "",
        "| shape | rows | seeds | zoo's less ten's | worse | zoo, s | to one start | to ten |", "|---" * 8 + "|",
    ]  # fmt: skip
    for (n, shape), some in table.groupby(["rows", "shape"], sort=False):
        cells = [shape, f"{n:,}", len(some), spread(list(some["gain"]), "+.4f"), int((some["gain"] < -EQUAL).sum())]
        cells += [spread(list(some[key])) for key in ("zoo s", "one", "ten")]
        out.append("| " + " | ".join(map(str, cells)) + " |")
    out += ["", f"`worse`: seeds by more than {EQUAL} nats. Every seed:", ""]
    out += ["| shape | rows | seed | zoo | one start | ten starts | zoo, s | one, s | ten, s |", "|---" * 9 + "|"]
    for _, at in table.iterrows():
        nats = [f"{at[f'{side} nats']:.4f}" for side in ("zoo", "one", "ten")]
        seconds = [f"{at[f'{side} s']:.2f}" for side in ("zoo", "one", "ten")]
        out.append("| " + " | ".join([at["shape"], f"{at['rows']:,}", str(at["seed"]), *nats, *seconds]) + " |")
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 200_000])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for side in SIDES.values():  # what is loaded at first use is no part of a fit
        side(*rows("separated", 1000, 0), 0)
    for n in asked.rows:
        for seed in range(asked.seeds):
            for shape in asked.shapes:
                new = line(shape, n, seed)
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in new.items()}, flush=True)
                keep(asked.output / "restarts.json", [new], ("shape", "rows", "seed"), page)


if __name__ == "__main__":
    main()
