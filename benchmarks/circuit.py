"""The circuit beside the mixture of independent columns, on mixed tables: held-out nats a row on the same rows.

    python -m benchmarks.circuit [TABLE ...] [--seeds 0 1 2] [--rows N] [--data FOLDER] [-o FOLDER]

Each seed splits the rows 80/10/10 anew (`zoo.compare`) and is that of the fits; both models walk their own grids on the
validation rows. Differences are paired over test rows. Writes circuit.json, to which later calls add, and circuit.md.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import zoo
from zoo.errors import ZooWarning

READING: dict[str, tuple[str, dict[str, Any]]] = {
    "adult": ("adult-train.csv.gz", {"header": None, "skipinitialspace": True, "na_values": ["?"]}),
    "loans": ("loans_full_schema.csv.gz", {}),
    "shoppers": ("online_shoppers_intention.csv", {"sep": ";"}),
}
TABLES = ("adult", "shoppers")
RESULTS = Path(__file__).parent / "results"
Line = dict[str, Any]


def load(name: str, folder: Path, rows: int | None) -> pd.DataFrame:
    file, options = READING[name]
    frame = pd.read_csv(folder / file, **options).drop(columns="rownames", errors="ignore")
    frame.columns = [str(column) for column in frame.columns]
    return frame if rows is None or rows >= len(frame) else frame.sample(rows, random_state=0)


def measured(name: str, frame: pd.DataFrame, seed: int) -> Line:
    compared = zoo.compare(frame, ["mixture", "circuit"], seed=seed, device="cpu", samples=False)
    difference, error = compared.difference("circuit", "mixture")
    lines = {line["model"]: line for line in compared.to_json()["models"]}
    kept = ("log_likelihood", "standard_error", "seconds", "parameters", "settings")
    return {
        "table": name,
        "rows": compared.to_json()["rows"],
        "columns": len(compared.schema.modelled),
        "seed": seed,
        "difference": difference,
        "error": error,
        **{model: {key: lines[model][key] for key in kept} for model in ("independent", "mixture", "circuit")},
    }


def document(lines: list[Line]) -> str:
    out = [
        "# The circuit beside the mixture",
        "",
        "Held-out nats a row, made by `python -m benchmarks.circuit`: rows split anew by every seed, alike for both.",
        "",
        "| table | rows fit/choose/judge x columns | seed | independent | mixture | circuit | difference | s | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(line["table"] for line in lines):
        mine = [line for line in lines if line["table"] == name]
        for line in mine:
            values = " | ".join(
                f"{line[model]['log_likelihood']:.3f}{_chosen(line[model])}"
                for model in ("independent", "mixture", "circuit")
            )
            rows = "/".join(str(n) for n in line["rows"].values())
            seconds = " | ".join(f"{line[model]['seconds']:.0f}" for model in ("mixture", "circuit"))
            out.append(
                f"| {name} | {rows} x {line['columns']} | {line['seed']} | {values} "
                f"| {line['difference']:+.3f} ± {line['error']:.3f} | {seconds} |"
            )
        if len(mine) > 1:
            d = np.array([line["difference"] for line in mine])
            out.append(f"| {name} | | mean | | | | {d.mean():+.3f} (least {d.min():+.3f}) | | |")
    said = (
        "Difference: circuit - mixture. Seconds: mixture, then circuit, one thread of a machine shared with other work."
    )
    return "\n".join([*out, "", said, ""])


def _chosen(line: Line) -> str:
    chosen = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in line["settings"].items())
    return f" ({chosen})" if chosen else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, help="at most so many of a table")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ZooWarning)
    file = asked.output / "circuit.json"
    for name in asked.tables:
        frame = load(name, asked.data, asked.rows)
        for seed in asked.seeds:
            line = measured(name, frame, seed)
            print(json.dumps(line), flush=True)
            lines: list[Line] = json.loads(file.read_text()) if file.exists() else []
            lines = [old for old in lines if (old["table"], old["seed"]) != (name, seed)] + [line]
            lines.sort(key=lambda x: (x["table"], x["seed"]))
            file.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
            (asked.output / "circuit.md").write_text(document(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
