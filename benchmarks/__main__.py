"""What zoo promises of speed, measured: one command, one table.

    python -m benchmarks [PART ...] [--quick] [--seeds 0 1 2] [--rounds N] [--no-compiler] [-o FOLDER]

steps    one step beside the same by hand in PyTorch and stock Pyro         benchmarks.steps
peers    time to equal held-out density beside other libraries              benchmarks.peers
scaling  time by rows, columns, components and batch, and peak memory       benchmarks.scaling

Each part writes a JSON file and a page of its own; all of what lies in the folder is put together in speed.md and
speed.json, one line a measurement: what zoo takes, what the other takes, their ratio and its spread. `--quick` takes a
few minutes: one seed, few rounds, small tables. Other libraries come with the extra `bench`; those that are not
installed are left out. For figures that mean something, nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import peers, scaling, steps
from benchmarks.kept import Line
from zoo.fitting.compiled import compiler

PARTS = ("steps", "peers", "scaling")


def measurement(what: tuple[str, str, str, str], zoo: list[float], other: list[float], said: str = "") -> Line:
    """One line of speed.json, of pairs of what both take: medians, the ratio's deciles, and what else is to be said.

    what: the part, the case, what zoo stands beside, and the unit
    """
    ratios = np.array(zoo) / np.maximum(other, 1e-9)
    low, middle, high = map(float, np.quantile(ratios, [0.1, 0.5, 0.9]))
    numbers = {
        "zoo": float(np.median(zoo)),
        "other": float(np.median(other)),
        "ratio": middle,
        "low": low,
        "high": high,
    }
    return dict(zip(("part", "case", "beside", "unit"), what, strict=True)) | numbers | {"of": len(zoo), "said": said}


def of_steps(line: Line) -> Iterator[Line]:
    times = {name: [1e3 * t for t in values] for name, values in line["seconds"].items()}
    for mine in ("zoo graph", "zoo compiled"):
        for other in ("twin", "twin compiled", "stock"):
            if mine in times and other in times and (mine == "zoo compiled" or other != "twin compiled"):
                yield measurement(("step", f"{line['case']}, {mine[4:]}", other, "ms"), times[mine], times[other])


def of_peers(lines: list[Line]) -> Iterator[Line]:
    for name, quick in sorted({(line["contest"], line["quick"]) for line in lines if "difference" in line}):
        some = [line for line in lines if (line["contest"], line["quick"]) == (name, quick)]
        model, library = name.split(", ")
        mine, others = ([line[key] for line in some] for key in ("seconds", "other seconds"))
        difference, error = (np.mean([line[key] for line in some]) for key in ("difference", "error"))
        said = f"{difference:+.3f} ± {error:.3f} nats" + (", quick" if quick else "")
        yield measurement(("fit", model, library, "s"), mine, others, said)
        equal = [line for line in some if line["to equal"] is not None]
        if equal:
            mine, others = ([line[key] for line in equal] for key in ("to equal", "other seconds"))
            never = f"never in {len(some) - len(equal)} of {len(some)}" if len(equal) < len(some) else ""
            said = ", ".join(filter(None, (never, "quick" if quick else "")))
            yield measurement(("to equal density", model, library, "s"), mine, others, said)


def of_rows(lines: list[Line]) -> Iterator[Line]:
    """Models without a density that is compared: seconds to fit, and the C2ST of the rows of both."""
    judged = [line for line in lines if "c2st" in line]
    by_ctgan = {(line["seed"], line["quick"]): line for line in judged if line["model"] == "ctgan"}
    for model, quick in sorted({(line["model"], line["quick"]) for line in judged if line["model"] != "ctgan"}):
        some = [line for line in judged if (line["model"], line["quick"]) == (model, quick)]
        others = [by_ctgan[line["seed"], quick] for line in some]
        mine, other = (float(np.median([line["c2st"] for line in side])) for side in (some, others))
        said = f"C2ST {mine:.2f} beside {other:.2f}" + (", quick" if quick else "")
        seconds = ([line["seconds"] for line in side] for side in (some, others))
        yield measurement(("fit", model, "ctgan", "s"), *seconds, said)


def of_scaling(lines: list[Line]) -> Iterator[Line]:
    for part, case, size in sorted({(line["part"], line["case"], line["size"]) for line in lines}):
        some = [line for line in lines if (line["part"], line["case"], line["size"]) == (part, case, size)]
        what = (part, f"{case}, {size:,}", scaling.OTHERS.get(part, "scikit-learn"), some[0]["unit"])
        yield measurement(what, [line["zoo"] for line in some], [line["other"] for line in some])


def gathered(folder: Path) -> list[Line]:
    """One line a measurement, of all files of a folder."""

    def lines_of(name: str) -> list[Line]:
        file = folder / f"{name}.json"
        lines: list[Line] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        return lines

    out = [each for line in lines_of("steps") for each in of_steps(line)]
    return [*out, *of_peers(lines_of("peers")), *of_rows(lines_of("peers")), *of_scaling(lines_of("scaling"))]


def page(lines: list[Line]) -> str:
    out = [
        "# Speed", "",
        "Made by `python -m benchmarks`, which says what is measured. Medians; the ratio is zoo's to the other's, in",
        "brackets its first and last deciles over rounds or seeds. Below 1 zoo takes less.", "",
        "| | case | beside | zoo | its | unit | ratio | of | |", "|---" * 9 + "|",
    ]  # fmt: skip
    for line in lines:
        ratio = f"{line['ratio']:.2f} ({line['low']:.2f} to {line['high']:.2f})"
        cells = [line["part"], line["case"], line["beside"], f"{line['zoo']:.2f}", f"{line['other']:.2f}", line["unit"]]
        out.append("| " + " | ".join(map(str, [*cells, ratio, line["of"], line["said"]])) + " |")
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="one seed, few rounds, small tables: some minutes")
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--no-compiler", action="store_true")
    parser.add_argument("-o", "--output", type=Path, help="by default results/, or runs/speed with --quick")
    asked = parser.parse_args()
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; take {', '.join(PARTS)}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    output = asked.output or (Path("runs/speed") if asked.quick else steps.RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    seeds = asked.seeds or ([0] if asked.quick else [0, 1, 2])
    rounds = asked.rounds or (3 if asked.quick else 15)
    compile_ = not (asked.no_compiler or asked.quick) and compiler() is not None
    run: dict[str, Callable[[], object]] = {
        "steps": lambda: steps.measured(list(steps.CASES), rounds, compile_, output),
        "peers": lambda: peers.measured([*peers.CONTESTS, "rows, ctgan"], seeds, asked.quick, output),
        "scaling": lambda: scaling.measured(list(scaling.SIZES), seeds, asked.quick, output),
    }
    for part in asked.parts or PARTS:
        run[part]()
        lines = gathered(output)
        (output / "speed.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
        (output / "speed.md").write_text(page(lines), encoding="utf-8")
    print(page(gathered(output)))


if __name__ == "__main__":
    main()
