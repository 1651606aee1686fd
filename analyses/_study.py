"""What every study shares: its options, its tables, sentences that are checked, and the three files it writes."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
"""Where real tables lie beside this repository, if they do."""


@dataclass
class Study:
    """One question: how it was asked for, and what may be said in the end.

    quick    small models and few rows, as the tests run it; its numbers do not belong among the results
    output   the folder for NAME.csv, NAME.png and NAME.txt
    seeds    of splits and fits: a sentence must hold on all of them, or say on how many it does
    """

    name: str
    quick: bool
    output: Path
    seeds: tuple[int, ...]
    sentences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def asked(cls, name: str, question: str) -> Study:
        """From the command line; in a notebook, the full study."""
        options = argparse.ArgumentParser(description=question)
        options.add_argument("--quick", action="store_true", help="small models and few steps, for the tests")
        options.add_argument("--output", type=Path, help="folder for the table, figure and conclusion")
        given = options.parse_args([] if "ipykernel" in sys.modules else None)
        if given.quick and given.output is None:
            options.error("quick numbers do not belong among the results: give --output DIR")
        return cls(name, given.quick, given.output or HERE / "results", (0,) if given.quick else (0, 1, 2))

    def say(self, holds: bool, sentence: str, claim: str, otherwise: str) -> None:
        """A sentence of the conclusion where it holds; where not, the claim it makes and what was found instead."""
        if holds:
            self.sentences.append(sentence)
        else:
            self.failures.append(f"{claim}: {otherwise}")

    def check(self) -> None:
        """Stop where a sentence does not hold: before a figure is drawn of it."""
        if self.failures:
            sys.exit("\n".join(["", "These do not hold:", *self.failures]))

    def write(self, table: pd.DataFrame, figure: Figure) -> None:
        """The table, the figure and the conclusion, which is printed too."""
        self.check()
        text = "\n\n".join(textwrap.fill(s, 118, break_on_hyphens=False) for s in self.sentences)
        self.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.output / f"{self.name}.csv", index=False)
        (self.output / f"{self.name}.txt").write_text(text + "\n", encoding="utf-8")
        figure.savefig(self.output / f"{self.name}.png")
        print(f"\n{text}\n\nwritten to {self.output}")


def listed(words: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def real(file: str, rows: int | None = None, seed: int = 0, **options: Any) -> pd.DataFrame:
    """A table of `DATA`, or so many rows of it drawn at random, in their order; where there is none, the end.

    Tables without a header have their columns' names in columns.json beside them.
    """
    if not (DATA / file).is_file():
        sys.exit(f"this study reads {file} and looked for it in {DATA}: put it there, or give --quick --output DIR")
    names = json.loads((DATA / "columns.json").read_text(encoding="utf-8")).get(file)
    frame = pd.read_csv(DATA / file, names=names, **options)
    frame = frame.drop(columns=[name for name in frame if name == "rownames"])
    if rows is not None and rows < len(frame):
        frame = frame.sample(rows, random_state=seed).sort_index()
    return frame.reset_index(drop=True)


def tally(flags: Sequence[bool]) -> str:
    """In how many of so many it holds: "all 6", "4 of 6" or "none of 6"."""
    some, every = sum(map(bool, flags)), len(flags)
    return f"all {every}" if some == every > 1 else f"{some or 'none'} of {every}"
