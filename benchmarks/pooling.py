"""What partial pooling is worth: held-out nats per row in groups of few and of many rows.

    python -m benchmarks.pooling [--tables NAME ...] [--guides GUIDE ...] [--seeds N] [--data FOLDER]

Full pooling leaves the group out; no pooling fits every group on its own (`class-models`) or gives each its own
weights or centre, shrunk towards nothing it shares with others (given=group); partial pooling are the grouped models.
All with the same number of components or latents. Writes results/pooling.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import zoo
from zoo.errors import ZooWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from generators import Grouped, GroupedCentres

RESULTS = Path(__file__).parent / "results" / "pooling.json"
DATA = Path(__file__).parents[2] / "shared" / "data"
FEW = 15
"""Training rows of a small group, at most."""
FRESH = 50
SIZES = np.geomspace(3, 300, 20).round().astype(int)
GUIDES = ("normal", "low-rank", "multivariate")


class Split(NamedTuple):
    train: pd.DataFrame
    fresh: pd.DataFrame
    truth: np.ndarray | None


class Way(NamedTuple):
    """One way to treat the group: a model, its settings, and the role of the group column (or none)."""

    name: str
    model: str
    settings: dict[str, Any]
    role: str | None


def simulated(generator: Any) -> Callable[[int, Path], Split]:
    def split(seed: int, data: Path) -> Split:
        rng = np.random.default_rng(seed)
        sizes = rng.permutation(SIZES)
        train, fresh = generator.sample(0, rng, sizes), generator.sample(0, rng, np.full(len(sizes), FRESH))
        return Split(train, fresh, generator.log_density(fresh))

    return split


def ames(seed: int, data: Path) -> Split:
    """Houses by neighbourhood: half of the rows to fit."""
    frame = pd.read_csv(data / "ames.csv")
    out = np.log(frame[["price", "area", "Lot.Area"]].astype(float)).assign(year=frame["Year.Built"].astype(float))
    out = out.assign(group=frame["Neighborhood"]).sample(frac=1, random_state=seed, ignore_index=True)
    half = len(out) // 2
    train, fresh = out.iloc[:half], out.iloc[half:]
    return Split(train, fresh[fresh["group"].isin(train["group"])], None)


def _mixtures(components: int) -> list[Way]:
    k = {"components": components}
    return [
        Way("full: gmm", "gmm", k, None),
        Way("none: class-models", "class-models", {"program.program.components": components}, "given"),
        Way("none: gmm given group", "gmm", k, "given"),
        Way("partial: grouped-gmm", "grouped-gmm", k, "group"),
    ]


def _factors(dim: int) -> list[Way]:
    each = {"use": "factor-mixture", "components": 1, "dim": dim, "noise": "isotropic"}
    return [
        Way("full: ppca", "ppca", {"dim": dim}, None),
        Way("none: class-models", "class-models", {"program.program": each}, "given"),
        Way("none: ppca given group", "ppca", {"dim": dim}, "given"),
        Way("partial: grouped-ppca", "grouped-ppca", {"dim": dim}, "group"),
    ]


TABLES: dict[str, tuple[Callable[[int, Path], Split], list[Way]]] = {
    "weights by group": (simulated(Grouped()), _mixtures(3)),
    "centres by group": (simulated(GroupedCentres()), _factors(1)),
    "ames, mixtures": (ames, _mixtures(5)),
    "ames, factors": (ames, _factors(2)),
}


def scored(way: Way, split: Split, seed: int, guide: str | None) -> tuple[np.ndarray, float]:
    """Log-likelihood of the fresh rows, and seconds."""
    train, fresh = split.train, split.fresh
    role: dict[str, Any] = {way.role: "group"} if way.role else {"ignore": "group"}
    numbers = [c for c in train if c != "group"]
    schema = zoo.infer_schema(train, kinds=dict.fromkeys(numbers, "continuous"), **role)
    settings = {**way.settings, "fit.seed": seed}
    if guide:
        settings["guide"] = {"use": guide, "guide": "exact"} if "ppca" in way.model else guide
    started = time.perf_counter()
    model = zoo.Estimator(way.model, settings=settings, seed=seed, device="cpu").fit_parts(train, None, schema)
    seconds = time.perf_counter() - started
    return model.score_samples(fresh), seconds


def mean_and_error(values: pd.Series) -> tuple[float, float]:
    """Over the groups of all seeds, each counted once: rows of one group share its estimate."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--guides", nargs="*", default=list(GUIDES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    lines: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    for name in arguments.tables:
        split_of, ways = TABLES[name]
        parts, seconds = [], {}
        for seed in range(arguments.seeds):
            split = split_of(seed, arguments.data)
            rows = pd.Series(split.train["group"]).value_counts()
            out = pd.DataFrame({"group": split.fresh["group"].to_numpy(), "seed": seed})
            out["rows"] = rows[out["group"]].to_numpy()
            if split.truth is not None:
                out["truth"] = split.truth
            for way in ways:
                for guide in arguments.guides if way.role == "group" else (None,):
                    label = f"{way.name}, {guide}" if guide else way.name
                    out[label], took = scored(way, split, seed, guide)
                    seconds.setdefault(label, []).append(took)
                    print(name, seed, label, round(out[label].mean(), 4), f"{took:.1f} s", flush=True)
            parts.append(out)
        table = pd.concat(parts)
        labels = [c for c in table if c not in ("group", "seed", "rows")]
        best = f"{ways[-1].name}, {arguments.guides[0]}"
        for which, chosen in (("small", table[table["rows"] <= FEW]), ("all", table)):
            for label in labels:
                gap = (chosen[best] - chosen[label]).groupby([chosen["seed"], chosen["group"]]).mean()
                mean, error = mean_and_error(gap)
                line = {"table": name, "groups": which, "way": label, "nats": float(chosen[label].mean())}
                line |= {"partial less this": mean, "error": error, "of groups": len(gap)}
                lines.append(line | {"seconds": float(np.mean(seconds.get(label, [np.nan])))})
                print(json.dumps(lines[-1]), flush=True)
        arguments.output.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
