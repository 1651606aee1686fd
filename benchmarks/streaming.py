"""A table larger than memory would like: fit, score and draw part by part, with the peak memory of each process.

    python -m benchmarks.streaming [FOLDER] [--rows 20000000] [--equal 200000] [--only-equal] [-o benchmarks/results]

Makes `rows` x 12 mixed columns as Parquet in FOLDER (kept, and used again), then runs the command line in processes of
its own: one pass of `mixture` and of `vae`, the score of all rows, and as many draws. Beside it the same held-out rows
under a fit of a subsample in memory, of other rows and other steps.

Whether streaming costs anything is what `equal` rows tell: the same rows, read part by part and held in memory, under
the same codec, validation rows, batches in size and steps in number; held-out rows paired, three seeds. Its results
are a file of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.estimator import Estimator
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.split import split
from zoo.table.stream import SOME, Stream

GROUP = 500_000
# every process takes the machine for one with 2 GiB of free memory
MODELS = {
    "mixture": ["--set", "components=8", "--set", "fit.epochs=1", "--set", "fit.batch=4096", "--set", "fit.patience=0"],
    "vae": ["--set", "dim=4", "--set", "fit.epochs=1", "--set", "fit.batch=4096", "--set", "fit.patience=0"],
}
HELD = 50_000
STEPS = {"fit.steps": 1000, "fit.batch": 1024, "fit.patience": 0, "fit.keep": "last"}
EQUAL = {"mixture": {"components": 8, **STEPS}, "vae": {"dim": 4, **STEPS}}
SEEDS, EQUAL_GROUP, EQUAL_HELD, PARTICLES = (0, 1, 2), 20_000, 20_000, 20


def part(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """n rows of 12 columns: floats, rounded and counted numbers, zeros beside a density, levels, dates, holes."""
    k = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    z = rng.normal(size=(n, 3)) + np.array([[0, 0, 0], [3, -2, 1], [-3, 2, 2], [1, 4, -3]])[k]
    income = np.exp(8 + 0.4 * z[:, 0] + 0.3 * rng.normal(size=n))
    gain = np.where(rng.random(n) < 0.85, 0.0, np.exp(5 + z[:, 1]))
    shop = rng.integers(0, 50, n) * 4 + k
    frame = pd.DataFrame(
        {
            "income": income,
            "height": 170 + 8 * z[:, 1] + rng.normal(size=n),
            "score": z @ [0.5, 1.0, -0.7] + 0.2 * rng.normal(size=n),
            "age": np.clip(np.round(40 + 6 * z[:, 2] + 8 * rng.normal(size=n)), 0, 100),
            "visits": rng.poisson(np.exp(0.4 + 0.2 * z[:, 0])),
            "gain": gain,
            "weight": np.round(70 + 5 * z[:, 0] + 4 * rng.normal(size=n), 1),
            "member": rng.random(n) < 1 / (1 + np.exp(-z[:, 2])),
            "colour": np.array(["red", "green", "blue", "grey"])[(k + (rng.random(n) < 0.2)) % 4],
            "shop": np.char.add("shop", shop.astype(str)),
            "since": pd.Timestamp("2015-01-01") + pd.to_timedelta((1500 + 400 * z[:, 1]).astype(int), unit="D"),
            "noise": rng.normal(size=n),
        }
    )
    for name in ("income", "colour", "age"):
        frame.loc[rng.random(n) < 0.05, name] = None
    return frame


def make(path: Path, rows: int, group: int = GROUP) -> None:
    """Write the table, a row group at a time."""
    rng = np.random.default_rng(0)
    writer = None
    for begin in range(0, rows, group):
        table = pa.Table.from_pandas(part(rng, min(group, rows - begin)), preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table.cast(writer.schema))
    assert writer is not None
    writer.close()


def run(*arguments: str) -> dict[str, Any]:
    """A command in a process of its own: its document, seconds and peak memory in GiB."""
    started = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stderr}")
    peak = float(done.stderr.rsplit("peak ", 1)[1]) / 2**20
    return {"document": json.loads(done.stdout), "seconds": time.perf_counter() - started, "peak": peak}


PROGRAM = """
import atexit, resource, sys
import zoo.table.size
zoo.table.size.available = lambda: 2 << 30
atexit.register(lambda: print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
from zoo.cli import main
main()
"""


# ---- the same rows, streamed and in memory


def equal(model: str, table: Path, held: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of the held rows after a streamed fit and after one in memory."""
    stream, whole = Stream.of(table), pd.read_parquet(table)
    some = stream.some(SOME, seed)
    parts = split(len(some), seed, test=False)
    train, validation = some.iloc[parts.train], some.iloc[parts.validation]
    schema, rest = infer_schema(some), stream.leaving_out(validation.index.to_numpy())
    codec = Codec.fit(schema, train)
    fitted = [Estimator(model, settings=EQUAL[model], seed=seed, device="cpu") for _ in range(2)]
    fitted[0].fit_parts(train, validation, schema, codec, stream=rest)
    fitted[1].fit_parts(whole.drop(index=validation.index), validation, schema, codec)
    steps = [one.fitted_.steps for one in fitted]
    assert steps[0] == steps[1] == EQUAL[model]["fit.steps"], steps
    streamed, in_memory = (one.log_likelihood(held, PARTICLES).log_likelihood for one in fitted)
    return streamed, in_memory


def compare_equal(folder: Path, rows: int) -> list[str]:
    """The lines of the comparison; what was measured is kept in the folder, and not measured again."""
    table = folder / f"equal-{rows}.parquet"
    if not table.exists():
        make(table, rows, EQUAL_GROUP)
    held = part(np.random.default_rng(1), EQUAL_HELD)
    lines = [
        f"{rows:,} rows x 12 columns in row groups of {EQUAL_GROUP:,}: the same rows read part by part and held in",
        f"memory, {STEPS['fit.steps']} steps of {STEPS['fit.batch']} rows; {EQUAL_HELD:,} held-out rows. The standard",
        "error of a difference is that of its paired rows; that of the mean is between seeds, each with other batches.",
        "",
        "| model | seed | streamed | in memory | difference |",
        "|---|---|---|---|---|",
    ]
    for model in EQUAL:
        means = []
        for seed in SEEDS:
            kept = folder / f"equal-{rows}-{model}-{seed}.npy"
            if not kept.exists():
                np.save(kept, np.stack(equal(model, table, held, seed)))
            streamed, in_memory = np.load(kept)
            difference = streamed - in_memory
            means.append(difference.mean())
            number = f"{means[-1]:+.4f} ± {difference.std() / np.sqrt(len(held)):.4f}"
            lines.append(f"| {model} | {seed} | {streamed.mean():.4f} | {in_memory.mean():.4f} | {number} |")
            print(lines[-1], flush=True)
        error = np.std(means, ddof=1) / np.sqrt(len(means))
        lines.append(f"| {model} | mean | | | {np.mean(means):+.4f} ± {error:.4f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="runs/streaming", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--equal", type=int, default=200_000, help="rows of the comparison with equal steps")
    parser.add_argument("--only-equal", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    lines = compare_equal(asked.folder, asked.equal)
    if asked.output is not None:
        (asked.output / "streaming-equal.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not asked.only_equal:
        measure(asked)


def measure(asked: argparse.Namespace) -> None:
    """Seconds, peak memory and quality of the large table."""
    table, held = asked.folder / f"table-{asked.rows}.parquet", asked.folder / "held.parquet"
    if not table.exists():
        make(table, asked.rows)
    part(np.random.default_rng(1), HELD).to_parquet(held, index=False)
    small = asked.folder / "small.parquet"
    part(np.random.default_rng(2), 100_000).to_parquet(small, index=False)
    size = table.stat().st_size / 2**30
    lines = [f"{asked.rows:,} rows x 12 columns, {size:.2f} GiB as Parquet", ""]
    lines += ["| what | seconds | peak GiB | held-out nats per row |", "|---|---|---|---|"]

    def line(what: str, done: dict[str, Any], number: str = "") -> None:
        lines.append(f"| {what} | {done['seconds']:.0f} | {done['peak']:.2f} | {number} |")
        print(lines[-1], flush=True)

    for model, settings in MODELS.items():
        folder = str(asked.folder / model)
        fitted = run("fit", model, str(table), "-o", folder, *settings)
        fresh = run("score", folder, str(held), "--particles", "20")["document"]
        line(f"{model}: fit, one pass", fitted, f"{fresh['log_likelihood']:.3f} ± {fresh['standard_error']:.3f}")
        run("fit", model, str(small), "-o", f"{folder}-small", *settings[:2])
        other = run("score", f"{folder}-small", str(held), "--particles", "20")
        number = f"{other['document']['log_likelihood']:.3f} ± {other['document']['standard_error']:.3f}"
        line(f"{model}: 100,000 rows in memory", other, number)
        scored = run("score", folder, str(table), "-o", str(asked.folder / "scores.parquet"), "--particles", "1")
        line(f"{model}: score of all rows, 1 particle", scored, f"{scored['document']['log_likelihood']:.3f}")
    drawn = run(
        "sample", str(asked.folder / "mixture"), "-n", str(asked.rows), "-o", str(asked.folder / "drawn.parquet")
    )
    line("mixture: as many draws", drawn)
    if asked.output is not None:
        (asked.output / "streaming.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
