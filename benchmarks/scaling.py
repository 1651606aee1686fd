"""How time and memory grow: rows, columns, components and batch, zoo beside others.

    python -m benchmarks.scaling [PART ...] [--seeds 0 1 2] [--quick] [-o FOLDER]

rows, columns, components: seconds of processor time to fit a mixture of full covariances, of tables that are drawn
from one whose parts overlap, zoo's from ten starts on a part of the rows and scikit-learn's from one. Each of the three
grows while the others stay. batch: milliseconds of a VAE's captured step beside the twin by hand of `benchmarks.steps`.
memory: the most that a process of its own held while it fitted, less what it held when the table was there: what a fit
takes beside the table and the libraries. It is read from /proc, and left out where there is none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture

import zoo
from benchmarks import steps
from benchmarks.kept import Line, keep
from benchmarks.peers import spread
from benchmarks.twins import Vae
from zoo.recipe import Recipe
from zoo.scope import scope

RESULTS = Path(__file__).parent / "results"
ROWS, COLUMNS, K = 10_000, 8, 10
SIZES: dict[str, Sequence[int]] = {
    "rows": (1_000, 10_000, 100_000),
    "columns": (4, 16, 64),
    "components": (4, 16, 64),
    "batch": (64, 256, 1024, 4096),
    "memory": (20_000, 200_000),
}
STEPS = 30
MODELS = ("gmm", "factor-analysis")


def table(n: int, d: int, k: int, seed: int) -> pd.DataFrame:
    """A mixture of k Gaussians of d columns that overlap."""
    rng = np.random.default_rng(seed)
    which, mix = rng.integers(k, size=n), np.eye(d) + 0.4 * rng.normal(size=(k, d, d)) / d**0.5
    x = 1.2 * rng.normal(size=(k, d))[which]
    for j in range(k):
        x[which == j] += rng.normal(size=(int((which == j).sum()), d)) @ mix[j].T
    return pd.DataFrame((x - x.mean(0)) / x.std(0), columns=[f"x{j}" for j in range(d)])


def fit(side: str, model: str, frame: pd.DataFrame, k: int, seed: int) -> None:
    if side == "zoo":
        sets = {"components": k} if model == "gmm" else {"dim": 3}
        schema = zoo.infer_schema(frame, kinds={"*": "continuous"})
        zoo.Estimator(model, settings=sets, seed=seed, device="cpu").fit_parts(frame, None, schema)
    elif model == "gmm":
        GaussianMixture(k, random_state=seed).fit(frame.to_numpy())
    else:
        FactorAnalysis(3, random_state=seed).fit(frame.to_numpy())


def of_mixtures(axis: str, size: int, seed: int) -> Line:
    n, d, k = (size if name == axis else usual for name, usual in
               (("rows", ROWS), ("columns", COLUMNS), ("components", K)))  # fmt: skip
    frame, line = table(n, d, k, seed), {"part": axis, "case": "gmm", "size": size, "seed": seed, "unit": "s"}
    for side in ("zoo", "other"):
        fit(side, "gmm", frame[:300], 2, seed)  # what is loaded at first use is no part of a fit
        started = time.process_time()
        fit(side, "gmm", frame, k, seed)
        line[side] = time.process_time() - started
    return line


def of_batches(size: int, seed: int) -> Line:
    frame = steps.table()
    frame = pd.concat([frame] * max(1, size // len(frame) + 1), ignore_index=True)
    with scope(seed):
        mine = steps.zoo_step(Recipe.from_table("VAE", steps.CASES["VAE"][0]), frame, "graph", size)
    x = torch.from_numpy(((frame - frame.mean()) / frame.std()).to_numpy())
    other = steps.twin(Vae(), x)
    index, times = torch.randperm(len(x))[:size], {"zoo": [], "other": []}
    for _ in range(3 + STEPS):
        for side, step in (("zoo", mine), ("other", other)):
            with scope():
                started = time.thread_time()
                step(index)
                times[side].append(time.thread_time() - started)
    found: dict[str, Any] = {side: 1e3 * float(np.median(values[3:])) for side, values in times.items()}
    return {"part": "batch", "case": "VAE", "size": size, "seed": seed, "unit": "ms", **found}


STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(what: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most since the mark was last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def taken(side: str, model: str, n: int, seed: int) -> float:
    """MiB that a fit takes; run in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    fit(side, model, table(300, COLUMNS, 2, seed), 2, seed)
    frame = table(n, COLUMNS, K, seed)
    REFS.write_text("5")  # proc(5): the mark is what is held now
    before = held("VmRSS")
    fit(side, model, frame, K, seed)
    return held("VmHWM") - before


def of_memory(model: str, size: int, seed: int) -> Line:
    line = {"part": "memory", "case": model, "size": size, "seed": seed, "unit": "MiB"}
    for side in ("zoo", "other"):
        code = f"from benchmarks.scaling import taken; print(taken({side!r}, {model!r}, {size}, {seed}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        line[side] = float(done.stdout.split()[-1])
    return line


def exponent(lines: Sequence[Line], side: str) -> float:
    """Of the size, by which what is measured grows: the slope between logarithms."""
    size, value = (np.log([max(float(line[key]), 1e-9) for line in lines]) for key in ("size", side))
    return float(np.polyfit(size, value, 1)[0])


OTHERS = {"batch": "twin by hand"}


def page(lines: list[Line]) -> str:
    out = [
        "# How time and memory grow", "",
        "`python -m benchmarks.scaling` says what is measured. Medians over seeds, in brackets the least and the most;",
        "the exponent is that of the size by which what is measured grows, zoo's and the other's.", "",
        "| part | model | size | seeds | unit | zoo | beside | its | ratio | exponents |", "|---" * 10 + "|",
    ]  # fmt: skip
    groups = sorted({(line["part"], line["case"]) for line in lines}, key=lambda g: (list(SIZES).index(g[0]), g[1]))
    for part, case in groups:
        mine = [line for line in lines if (line["part"], line["case"]) == (part, case)]
        grows = f"{exponent(mine, 'zoo'):.2f}, {exponent(mine, 'other'):.2f}"
        for size in sorted({line["size"] for line in mine}):
            some = [line for line in mine if line["size"] == size]
            ratio = spread([line["zoo"] / max(line["other"], 1e-9) for line in some])
            cells = [part, case, f"{size:,}", len(some), some[0]["unit"], spread([line["zoo"] for line in some])]
            cells += [OTHERS.get(part, "scikit-learn"), spread([line["other"] for line in some]), ratio, grows]
            out.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(out) + "\n"


def measured(parts: Sequence[str], seeds: Sequence[int], quick: bool, output: Path) -> list[Line]:
    """Lines of these parts, kept beside those of earlier calls; `quick`: without the largest size."""
    lines: list[Line] = []
    for part in parts:
        if part == "memory" and not REFS.exists():
            print("there is no /proc to read memory from, and it is left out", flush=True)
            continue
        for size in SIZES[part][: -1 if quick else None]:
            for seed in seeds:
                if part == "memory":
                    new = [of_memory(model, size, seed) for model in MODELS]
                else:
                    new = [of_batches(size, seed) if part == "batch" else of_mixtures(part, size, seed)]
                for line in new:
                    print(line, flush=True)
                lines += new
                keep(output / "scaling.json", new, ("part", "case", "size", "seed"), page)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*SIZES, []])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="without the largest size")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked.output.mkdir(parents=True, exist_ok=True)
    measured(asked.parts or list(SIZES), asked.seeds, asked.quick, asked.output)


if __name__ == "__main__":
    main()
