"""A model: program, guide and objective of one recipe, on the columns of one schema."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pandas as pd
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.objectives.function import Loss
from zoo.programs.function import Function
from zoo.recipe import Recipe
from zoo.rows.chain import Chain
from zoo.rows.dense import Dense
from zoo.rows.heads import Heads
from zoo.rows.joint import Joint
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import Sites, discover, samples
from zoo.table.codec import Codec
from zoo.table.schema import Schema

Bound = Literal["exact", "lower", "estimate", "none"]
VERBS = ("score", "cluster", "embed", "sample", "impute", "translate")


class Model(nn.Module):
    """Built from a recipe and a codec; what it can do is read from its sites, never declared.

    codec      table units <-> codec units
    heads      the columns' likelihoods
    program    the generative process
    guide      the variational posterior over its latents
    objective  what fitting minimises
    """

    def __init__(self, recipe: Recipe, codec: Codec):
        super().__init__()
        self.recipe, self.codec, self.heads = recipe, codec, Heads(codec)
        seed = int(recipe.fit.get("seed", 0))
        with scope(seed), warnings.catch_warnings():
            # a network of width-0 `given` is just its bias
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.program: Any = _program(recipe.resolve("program"), codec.schema)
            blank = self.blank()
            # the heads' own scales are parameters only of programs that leave the scales to them
            self.heads.used = self.heads.called = False
            self.sites = Sites((), {}) if self.direct else discover(self.program, blank)
            self.heads.log_scale.requires_grad_(self.heads.used)
            if self.heads.log_df is not None:
                self.heads.log_df.requires_grad_(self.heads.called)
            self.guide = recipe.resolve("guide")(codec.schema, self.program, self.sites)
            getattr(self.program, "met", lambda guide: None)(self.guide)
            self.objective: Any = _objective(recipe.resolve("objective"))
            getattr(self.objective, "prepare", lambda model: None)(self)
            self._check_guide()
        self.eval()

    # ---- rows

    @property
    def schema(self) -> Schema:
        return self.codec.schema

    @property
    def device(self) -> torch.device:
        return self.codec.loc.device

    def rows(self, frame: pd.DataFrame) -> Rows:
        """A table as rows of this model."""
        return Rows.of(self.codec, self.heads, self.codec.encode(frame))

    def blank(self, n: int = 2) -> Rows:
        """Rows without data, for drawing: of a group never seen where there are groups."""
        ones = torch.ones(n, dtype=torch.long, device=self.device)
        given = torch.zeros(n, self.schema.given, device=self.device)
        return Rows(self.codec, self.heads, n, float(n), None, True, given, self.schema.groups * ones, ones.double())

    # ---- fitting

    def initialise(self, rows: Rows) -> tuple[str, str] | None:
        """Start from data where the program knows how. Where that is the fit: (the method, how it ended)."""
        start: Callable[[Rows], bool | Mapping[str, Tensor]] = getattr(self.program, "initialise", lambda rows: False)
        with torch.no_grad():
            begun = start(rows)
            if isinstance(begun, Mapping) and hasattr(self.guide, "start_at"):
                self.guide.start_at(begun)
            if hasattr(self.guide, "whiten"):
                self.guide.whiten(self.program, rows)
            if hasattr(self.guide, "draw_posterior"):
                ended: tuple[str, str] = self.guide.draw_posterior(self.program, rows)
                return ended
        return ("closed form", "the start is the maximum") if begun is True else None

    def fitted_parameters(self) -> list[nn.Parameter]:
        """What the likelihood side's objectives fit: program, guide and heads, as far as they are not frozen."""
        parts: tuple[nn.Module, ...] = (self.program, self.guide, self.heads)
        unique = {id(p): p for part in parts for p in part.parameters() if p.requires_grad and p.numel()}
        return list(unique.values())

    def guide_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.guide.parameters() if p.numel()]

    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.fitted_parameters())

    # ---- what it is

    def bound(self, complete: bool = True) -> Bound:
        """What this model's number on a table is; `complete`: no cell of that table is missing."""
        if "score" in self.withdrawn:
            return "none"
        if hasattr(self.program, "log_prob"):
            claimed: Bound = self.program.bound(complete)
            return claimed
        return "estimate" if self.averages else self.bound_of_rows(complete)

    @property
    def averages(self) -> bool:
        """Whether the density of a row is a mean over draws of global latents."""
        return bool(self.sites.globals) and not getattr(self.guide, "point", False)

    def bound_of_rows(self, complete: bool = True) -> Bound:
        """What the number is once the global latents have values."""
        if self.sites.continuous and not self.exact_rows:
            return "lower"
        bounds = [d.bound(complete) for d in self.sites.observed.values() if isinstance(d, Dense | Joint)]
        return next((bound for bound in ("estimate", "lower") if bound in bounds), "exact")

    @property
    def exact_rows(self) -> bool:
        """Whether the guide proposes the latents of rows from their exact posterior."""
        return bool(getattr(getattr(self.guide, "rows", None) or self.guide, "exact", False))

    @property
    def pattern_wise(self) -> bool:
        """True where rows with missing cells get a density for each pattern, not the marginal of one joint."""
        return self.chained or getattr(self.program, "pattern_wise", False)

    @property
    def chained(self) -> bool:
        """Whether the program observes columns one given those before it, and leaves out those that are missing."""
        return any(isinstance(density, Chain | Joint) for density in self.sites.observed.values())

    @property
    def direct(self) -> bool:
        """Whether the program makes rows itself, and a trace of it is not how."""
        return hasattr(self.program, "sample") or hasattr(self.program, "translate")

    @property
    def verbs(self) -> list[str]:
        direct = self.direct
        named = None if self._weighs else _named(self.guide, self.blank())
        able = {
            "score": not direct or hasattr(self.program, "log_prob"),
            "cluster": self.sites.clusters and (named is None or "cluster" in named),
            "embed": any(named is None or site.name in named for site in self.sites.continuous),
            "sample": not direct or hasattr(self.program, "sample"),
            "impute": not direct or hasattr(self.program, "complete"),
            "translate": hasattr(self.program, "translate"),
        }
        return [verb for verb in VERBS if able.get(verb, True) and verb not in self.withdrawn]

    @property
    def withdrawn(self) -> tuple[str, ...]:
        """Verbs that the objective makes no claim to."""
        verbs: tuple[str, ...] = getattr(self.objective, "withdraws", ())
        return verbs

    @property
    def _weighs(self) -> bool:
        """Whether latents are inferred by log-weights; else the guide alone says what they are, if it does."""
        return not {"score", "impute"} <= set(self.withdrawn)

    def _check_guide(self) -> None:
        """The guide must name every continuous latent, and only latents that there are; none where none is inferred."""
        if not self._weighs:
            return
        named = _named(self.guide, self.blank())
        where = f"model {self.recipe.model!r}: guide {self.recipe.guide.use!r}"
        for site in (*self.sites.continuous, *self.sites.globals):
            if named is not None and site.name not in named:
                legal = "encoder" if site.row else "normal"
                kind = "row" if site.row else "global"
                raise UserError(
                    f"{where} does not infer the {kind} latent {site.name!r} of program {self.recipe.program.use!r}",
                    f"the nearest legal combination is guide = {legal!r}",
                )


def _named(guide: nn.Module, rows: Rows) -> set[str] | None:
    """Latents that the guide samples, read from one dry run on rows of zeros."""
    zeros = torch.zeros(rows.n, len(rows.schema.modelled), dtype=torch.float64)
    with torch.no_grad():
        return set(samples(poutine.trace(guide).get_trace(rows.filled(zeros))))


def _program(target: Callable[..., Any], schema: Schema) -> nn.Module:
    """A program class or builder takes the schema; a plain Pyro function takes rows, and is wrapped."""
    first = next(iter(inspect.signature(target).parameters), None)
    program: nn.Module = Function(schema, target) if first == "rows" else target(schema)
    return program


def _objective(target: Callable[..., Any]) -> nn.Module:
    """An objective's class takes its settings alone; a plain loss takes (model, rows), and is wrapped."""
    names = list(inspect.signature(target).parameters)
    objective: nn.Module = Loss(target) if names[:2] == ["model", "rows"] else target()
    return objective
