"""Posteriors by variational inference beside those by the No-U-Turn sampler, and how often they hold the truth.

    python -m benchmarks.against_nuts [--guides GUIDE ...] [--programs PROGRAM ...] [--coverage TABLES] [--no-nuts]

Tables are drawn from a known truth and taken as plain densities, every row fitted. Quantities are those that no
symmetry of the program changes, in standard deviations of the columns: clusters are told apart by where the truth has
them, factors enter as the covariance that they imply. Writes results/against_nuts.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import zoo
from zoo.errors import ZooWarning

RESULTS = Path(__file__).parent / "results" / "against_nuts.json"
NUTS = {"draws": 300, "warmup": 200}
DRAWS = 1000
GROUPS, EACH = 8, 30


class Case(NamedTuple):
    """simulate(rng) gives a table and the true values by name, in its units; read(draws, loc, scale, truth) gives draws
    of the same (draws, ...), in the table's units."""

    model: str
    settings: dict[str, Any]
    rows: str | None
    simulate: Callable[[np.random.Generator], tuple[pd.DataFrame, dict[str, np.ndarray]]]
    read: Callable[..., dict[str, np.ndarray]]


# ---- clusters: two, well apart

MEANS = np.array([[-2.0, -1.0], [2.0, 1.0]])
COVARIANCES = np.array([[[1.0, 0.4], [0.4, 0.6]], [[0.5, -0.2], [-0.2, 1.0]]])


def _clusters(rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    weights = np.array([0.65, 0.35])
    k = rng.choice(2, 200, p=weights)
    x = MEANS[k] + np.einsum("nij,nj->ni", np.linalg.cholesky(COVARIANCES)[k], rng.normal(size=(200, 2)))
    scale = np.sqrt(np.array([np.diag(c) for c in COVARIANCES]))
    return pd.DataFrame(x, columns=["a", "b"]), {"weight": weights, "location": MEANS, "scale": scale}


def _ordered(draws: dict[str, np.ndarray], loc: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Locations in the table's units, and for each draw which of its components is the truth's first, second, ..."""
    places = draws["loc"] * scale + loc
    average = places.mean(0)
    order = np.array([((average - m) ** 2).sum(-1).argmin() for m in MEANS])
    return places, order


def _read_clusters(draws: dict[str, np.ndarray], loc: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    places, order = _ordered(draws, loc, scale)
    sigma = draws["scale"] * scale
    return {"weight": draws["weights"][:, order], "location": places[:, order], "scale": sigma[:, order]}


# ---- factors: one in four columns (two can be rotated into one another, and the sampler goes round and round)

LOADINGS = np.array([[1.5, 1.0, -1.0, 0.5]])
NOISE = 0.5
UPPER = np.triu_indices(4)


def _factors(rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    x = rng.normal(size=(150, 1)) @ LOADINGS + NOISE * rng.normal(size=(150, 4))
    covariance = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(4)
    return pd.DataFrame(x, columns=list("abcd")), {"location": np.zeros(4), "covariance": covariance[UPPER]}


def _read_factors(draws: dict[str, np.ndarray], loc: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    w, sd = draws["loadings"] * scale, draws["noise"] * scale
    covariance = np.einsum("dkj,dkl->djl", w, w) + np.einsum("dj,jl->djl", sd**2, np.eye(len(scale)))
    return {"location": draws["loc"] * scale + loc, "covariance": covariance[:, UPPER[0], UPPER[1]]}


# ---- groups


def _group_weights(rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    weights = 1 / (1 + np.exp(-rng.normal(0.5, 1.0, GROUPS)))
    g = np.repeat(np.arange(GROUPS), EACH)
    k = (rng.random(len(g)) > weights[g]).astype(int)
    x = MEANS[k] + np.einsum("nij,nj->ni", np.linalg.cholesky(COVARIANCES)[k], rng.normal(size=(len(g), 2)))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "group": [f"g{i}" for i in g]})
    return frame, {"group weight": weights, "location": MEANS}


def _read_group_weights(draws: dict[str, np.ndarray], loc: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    places, order = _ordered(draws, loc, scale)
    offsets = draws["weights_offset"] * draws["weights_spread"][:, None]
    logits = np.log(draws["weights"].clip(1e-12))[:, None] + offsets
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return {"group weight": share[:, :GROUPS, order[0]], "location": places[:, order]}


def _group_centres(rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    centres = rng.normal(size=(GROUPS, 4))
    g = np.repeat(np.arange(GROUPS), EACH)
    x = (
        centres[g]
        + rng.normal(size=(len(g), 1)) * np.array([1.2, 0.8, -0.8, 0.4])
        + NOISE * rng.normal(size=(len(g), 4))
    )
    frame = pd.DataFrame(x, columns=list("abcd")).assign(group=[f"g{i}" for i in g])
    return frame, {"group centre": centres}


def _read_group_centres(draws: dict[str, np.ndarray], loc: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    shift = draws["means_offset"] * draws["means_spread"][:, None]
    return {"group centre": (draws["loc"][:, None] + shift)[:, :GROUPS] * scale + loc}


CASES = {
    "bayesian-gmm": Case("bayesian-gmm", {"components": 2}, None, _clusters, _read_clusters),
    "bayesian-ppca": Case("bayesian-ppca", {"dim": 1, "program.noise": "column"}, "exact", _factors, _read_factors),
    "grouped-gmm": Case("grouped-gmm", {"components": 2}, None, _group_weights, _read_group_weights),
    "grouped-ppca": Case(
        "grouped-ppca", {"dim": 1, "program.noise": "column"}, "exact", _group_centres, _read_group_centres
    ),
}


def posterior(
    case: Case, frame: pd.DataFrame, guide: str, more: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Draws of each quantity, and what the fit says of itself."""
    numbers = [c for c in frame if c != "group"]
    schema = zoo.infer_schema(
        frame, kinds=dict.fromkeys(numbers, "continuous"), group="group" if "group" in frame else None
    )
    axis: dict[str, Any] = {
        "use": guide,
        **(NUTS if guide == "nuts" else {}),
        **({"guide": case.rows} if case.rows else {}),
    }
    started = time.perf_counter()
    settings = {**case.settings, "guide": axis, **more}
    model = zoo.Estimator(case.model, settings=settings, device="cpu").fit_parts(frame, None, schema)
    seconds = time.perf_counter() - started
    codec = model.model_.codec
    loc, scale = codec.loc.numpy(), codec.scale.numpy()
    assert np.allclose(loc, frame[numbers].mean(), atol=1e-6)
    draws = case.read(model.posterior(DRAWS), loc, scale)
    history = [round(look["loss"], 4) for look in model.fitted_.history[-2:]]
    return draws, {"seconds": seconds, "stopped": model.fitted_.stopped, "loss": history}


def interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return low, high


def compared(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> dict[str, Any]:
    """For each quantity: the shift of its means in posterior standard deviations, root mean square, and the ratio of
    the widths of its 90% intervals, the geometric mean and the least."""
    out = {}
    for name, values in ours.items():
        other = reference[name]
        shift = (values.mean(0) - other.mean(0)) / other.std(0)
        widths = [np.subtract(*interval(v)[::-1]).ravel() for v in (values, other)]
        ratio = widths[0] / widths[1]
        out[name] = {
            "shift": float(np.sqrt((shift**2).mean())),
            "width": float(np.exp(np.log(ratio).mean())),
            "least width": float(ratio.min()),
        }
    return out


def covered(draws: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of the true values inside their 90% intervals."""
    out = {}
    for name, values in draws.items():
        low, high = interval(values)
        out[name] = float(((low <= truth[name]) & (truth[name] <= high)).mean())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", nargs="*", default=list(CASES))
    parser.add_argument("--guides", nargs="*", default=["normal", "low-rank", "multivariate"])
    parser.add_argument("--coverage", type=int, default=40)
    parser.add_argument("--no-nuts", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], help="KEY=NUMBER of the variational fits")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    more = {k: float(v) if "." in v else int(v) for k, v in (text.split("=") for text in arguments.set)}
    lines: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []

    def add(**line: Any) -> None:
        lines.append(line | ({"set": more} if more else {}))
        print(json.dumps(lines[-1]), flush=True)
        arguments.output.write_text(json.dumps(lines, indent=1) + "\n")

    for name in arguments.programs:
        case = CASES[name]
        if not arguments.no_nuts:
            frame, truth = case.simulate(np.random.default_rng(0))
            reference, said = posterior(case, frame, "nuts", {})
            add(program=name, guide="nuts", covered=covered(reference, truth), **said)
            for guide in arguments.guides:
                ours, said = posterior(case, frame, guide, more)
                add(program=name, guide=guide, beside_nuts=compared(ours, reference), **said)
        for guide in arguments.guides if arguments.coverage else ():
            shares: dict[str, list[float]] = {}
            for seed in range(arguments.coverage):
                frame, truth = case.simulate(np.random.default_rng(1000 + seed))
                one = covered(posterior(case, frame, guide, more)[0], truth)
                print(name, guide, seed, one, flush=True)
                for what, share in one.items():
                    shares.setdefault(what, []).append(share)
            cover = {k: [float(np.mean(v)), float(np.std(v, ddof=1) / len(v) ** 0.5)] for k, v in shares.items()}
            add(program=name, guide=guide, tables=arguments.coverage, coverage=cover)


if __name__ == "__main__":
    main()
