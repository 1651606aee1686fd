"""What a program's latents are, read from one dry trace on blank rows: never declared twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from zoo.errors import UserError, line_of
from zoo.rows.rows import OBSERVED, Rows

TRIED = 7
"""Rows of a second run: a number that no shape of a program is likely to have."""
SHAPES = ("hape", "size", "expects a predictor", "dimension", "Multiple sample sites")
"""What errors say that are the program's own."""


@dataclass(frozen=True)
class Site:
    """One latent: `row` where it sits in the plate of rows; its plates otherwise (groups)."""

    name: str
    row: bool
    discrete: bool
    event_shape: torch.Size
    support: Any
    value: Tensor
    plates: tuple[Any, ...]


@dataclass(frozen=True)
class Sites:
    """The latents of a program, and what it observes."""

    latents: tuple[Site, ...]
    observed: dict[str, Any]

    @property
    def continuous(self) -> tuple[Site, ...]:
        """Row latents that a guide must name."""
        return tuple(s for s in self.latents if s.row and not s.discrete)

    @property
    def summed(self) -> tuple[Site, ...]:
        """Row latents that are summed out unless the guide names them."""
        return tuple(s for s in self.latents if s.row and s.discrete)

    @property
    def globals(self) -> tuple[Site, ...]:
        return tuple(s for s in self.latents if not s.row)

    @property
    def clusters(self) -> bool:
        return any(s.name == "cluster" for s in self.summed)

    @property
    def embeds(self) -> bool:
        return bool(self.continuous)

    @staticmethod
    def need_real(sites: tuple[Site, ...], guide: str) -> None:
        """Refuse latents whose support is not the whole real line."""
        for site in sites:
            if not torch.all(site.support.check(torch.full_like(site.value, -1e3))):
                raise UserError(
                    f"guide {guide} proposes real numbers; the row latent {site.name!r} has the support {site.support}",
                    "let the program sample a real number and transform it",
                )


def is_row(site: dict[str, Any]) -> bool:
    return any(frame.name == "rows" for frame in site["cond_indep_stack"])


@contextlib.contextmanager
def _told(n: int) -> Iterator[None]:
    """Say what is wrong with the shapes of a program."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        what = line_of(error)
        if not any(word in what for word in SHAPES):
            raise
        remedy = "a site is (rows, ...), and what a row has several of ends with .to_event(1); --debug shows the line"
        if "Multiple sample sites" in what:
            remedy = "give each site a name of its own, and observe each column once"
        raise UserError(f"the program does not run on {n} rows: {what}", remedy) from error


def samples(trace: Any) -> dict[str, dict[str, Any]]:
    """The sample sites of a trace, plates left out."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    }


def discover(program: Callable[[Rows], Any], rows: Rows) -> Sites:
    """Run the program once on blank rows and read its sites. Also makes parameters that are made lazily."""
    with torch.no_grad(), _told(2):
        trace = poutine.trace(program).get_trace(rows.blank(2))
    # a shape of two may have been taken for the rows; what else fails on more of them, does so where it is fitted
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _told(TRIED):
            poutine.trace(program).get_trace(rows.blank(TRIED))
    except UserError:
        raise
    except Exception:
        pass
    latents, observed = [], {}
    for name, site in samples(trace).items():
        if name in OBSERVED.values():
            observed[name] = site["fn"]
            if not is_row(site):
                raise UserError(
                    "the program observes data outside the plate of rows",
                    "put `rows.observe(...)` inside `with rows.plate():`",
                )
            continue
        latents.append(
            Site(
                name,
                is_row(site),
                site["fn"].has_enumerate_support,
                site["fn"].event_shape,
                site["fn"].support,
                site["value"],
                tuple(f for f in site["cond_indep_stack"] if f.name != "rows"),
            )
        )
    if not observed:
        raise UserError("the program observes nothing", "end it with `rows.observe(...)` inside `with rows.plate():`")
    _whole(observed, rows)
    return Sites(tuple(latents), observed)


def drawn_cells(sites: dict[str, dict[str, Any]], rows: Rows) -> Tensor:
    """Every cell (n, D) of a trace on blank rows; numeric draws of a joint density with the atoms drawn beside them."""
    parts = [sites[name]["value"].double() for name in OBSERVED.values() if name in sites]
    x = torch.cat([p.expand(rows.n, p.shape[-1]) for p in parts], -1)
    n = len(rows.schema.numeric)
    return torch.cat([with_atoms(sites, x[:, :n]), x[:, n:]], -1)


def with_atoms(sites: dict[str, dict[str, Any]], numeric: Tensor) -> Tensor:
    """Numeric draws of a joint density, with the atoms that the columns beside it draw."""
    beside = sites.get("discrete")
    if beside is None:
        return numeric
    out: Tensor = beside["fn"].with_atoms(numeric)
    return out


def _whole(observed: dict[str, Any], rows: Rows) -> None:
    """Refuse a program that leaves columns out: its number would not be one of the whole row."""
    if "x" in observed:
        return
    for name, there in (("numeric", len(rows.schema.numeric)), ("discrete", rows.schema.rest)):
        if there and name not in observed:
            raise UserError(
                f"the program does not observe the {name} part of a row ({there} predictor entries)",
                f'add `rows.observe(..., columns="{name}")` inside `with rows.plate():`',
            )
