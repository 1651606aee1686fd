"""Posteriors by variational inference beside those by the No-U-Turn sampler, and how often they hold the truth.

    python -m benchmarks.against_nuts [--programs PROGRAM ...] [--guides GUIDE ...] [--coverage TABLES] [--no-nuts]

Tables are drawn from a known truth and taken as plain densities, every row fitted. Quantities are those that no
symmetry of the program changes: clusters are told apart by where the truth has them, factors enter as the covariance
that they imply. Writes results/against_nuts.json, to which later calls add the tables that are not there yet, and
results/against_nuts.md.
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
CLAIM = 0.9
FIRST = 1000
"""The seed of the first table that coverage is measured on; the sampler's own has seed 0."""
Line = dict[str, Any]
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
    low, high = np.quantile(draws, [(1 - CLAIM) / 2, (1 + CLAIM) / 2], axis=0)
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


def beside(name: str, guides: list[str], more: dict[str, Any], add: Callable[..., None]) -> None:
    """One table: the sampler, and the guides beside it."""
    case = CASES[name]
    frame, truth = case.simulate(np.random.default_rng(0))
    reference, said = posterior(case, frame, "nuts", {})
    add(program=name, guide="nuts", table=0, covered=covered(reference, truth), **said)
    for guide in guides:
        ours, said = posterior(case, frame, guide, more)
        add(program=name, guide=guide, table=0, beside=compared(ours, reference), covered=covered(ours, truth), **said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="*", default=list(CASES))
    parser.add_argument("--guides", nargs="*", default=["normal", "low-rank", "multivariate"])
    parser.add_argument("--coverage", type=int, default=40, help="tables")
    parser.add_argument("--no-nuts", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], help="KEY=NUMBER of the variational fits")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    more = {k: float(v) if "." in v else int(v) for k, v in (text.split("=") for text in arguments.set)}

    def add(**line: Any) -> None:
        line = line | ({"set": more} if more else {})
        print(json.dumps(line), flush=True)
        lines = there()  # another call may have written in the meantime
        lines = [old for old in lines if _key(old) != _key(line)] + [line]
        arguments.output.write_text("[\n" + ",\n".join(json.dumps(x) for x in sorted(lines, key=_key)) + "\n]\n")
        arguments.output.with_suffix(".md").write_text(document(lines))

    def there() -> list[Line]:
        lines: list[Line] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
        return lines

    for name in arguments.programs:
        if not arguments.no_nuts:
            beside(name, arguments.guides, more, add)
        for guide in arguments.guides if arguments.coverage else ():
            done = {_key(old) for old in there()}
            for seed in range(FIRST, FIRST + arguments.coverage):
                if _key({"program": name, "guide": guide, "table": seed, "set": more}) in done:
                    continue
                frame, truth = CASES[name].simulate(np.random.default_rng(seed))
                draws, said = posterior(CASES[name], frame, guide, more)
                add(program=name, guide=guide, table=seed, covered=covered(draws, truth), **said)


def _key(line: Line) -> tuple[str, str, str, int]:
    return line["program"], line["guide"], json.dumps(line.get("set", {})), line["table"]


def document(lines: list[Line]) -> str:
    """Intervals beside the sampler's on one table, then coverage over tables."""
    out = [
        "# Variational posteriors beside the No-U-Turn sampler",
        "",
        "Made by `python -m benchmarks.against_nuts`, one thread of a busy machine. *Shift*: distance of the posterior",
        "means from the sampler's, in its standard deviations, root mean square. *Width*: of the 90% intervals over",
        f"the sampler's, geometric mean (least). NUTS: {NUTS['draws']} draws in two chains after {NUTS['warmup']} of",
        "warmup each, right to some 5% in width. Covered: share of true values inside the 90% intervals.",
        "",
        "| program | guide | quantity | shift | width | covered | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in sorted(
        (line for line in lines if line["table"] == 0), key=lambda x: (x["program"], x["guide"] != "nuts")
    ):
        for i, (what, share) in enumerate(line["covered"].items()):
            found = line.get("beside", {}).get(what)
            shift, width = ("", "") if found is None else (f"{found['shift']:.2f}", _width(found))
            first = f"| {line['program']} | {line['guide']}{_settings(line)} " if i == 0 else "| | "
            out.append(f"{first}| {what} | {shift} | {width} | {share:.2f} | {line['seconds']:.0f} |")
    out += [
        "",
        *(f"- {line['program']}: NUTS {line['stopped']}" for line in lines if line["guide"] == "nuts"),
        "",
        f"## Share of true values inside {CLAIM:.0%} intervals",
        "",
        "Mean over tables, each drawn anew from the truth, with its standard error over tables; how many of those it",
        "is from what it claims.",
        "",
        "| program | guide | tables | quantity | covered | from the claim |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        if line["table"] >= FIRST:
            groups.setdefault(_key(line)[:3], []).append(line)
    for (program, guide, _), found in sorted(groups.items()):
        for what in found[0]["covered"]:
            shares = np.array([line["covered"][what] for line in found])
            error = float(shares.std(ddof=1) / len(shares) ** 0.5) if len(shares) > 1 else float("nan")
            apart = f"{(shares.mean() - CLAIM) / error:+.1f}" if error > 0 else ""
            out.append(
                f"| {program} | {guide}{_settings(found[0])} | {len(shares)} | {what} "
                f"| {shares.mean():.3f} ± {error:.3f} | {apart} |"
            )
    return "\n".join(out) + "\n"


def _width(found: dict[str, float]) -> str:
    return f"{found['width']:.2f} ({found['least width']:.2f})"


def _settings(line: Line) -> str:
    return "".join(f", {key} = {value}" for key, value in line.get("set", {}).items())


if __name__ == "__main__":
    main()
