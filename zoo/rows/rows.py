"""One batch of rows, and how data enters a program."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.rows.chain import Chain
from zoo.rows.dense import Dense
from zoo.rows.heads import ColumnDensity, Heads
from zoo.rows.joint import Joint
from zoo.rows.tree import Tree
from zoo.table.codec import FAR, Cells, Codec, Encoded, one_hot
from zoo.table.schema import Schema

OBSERVED = {"all": "x", "numeric": "numeric", "discrete": "discrete"}


@dataclass(frozen=True)
class Rows:
    """What a program and a guide are called with.

    n         rows in the batch
    total     rows in the table (the N of the N/B scale)
    cells     the data, or None where the program is to draw rows
    complete  True when no cell is missing
    given     (n, G) features conditioned upon; G = 0 where there are none
    group     (n,) index of the group; one group where there is no group column
    weight    (n,) weight of the row, mean one; applied by the objective
    until     time.perf_counter() at which a start from data should end, or None
    copies    how often the same rows follow one another
    """

    codec: Codec
    heads: Heads
    n: int
    total: float
    cells: Cells | None
    complete: bool
    given: Tensor
    group: Tensor
    weight: Tensor
    until: float | None = None
    copies: int = 1

    @classmethod
    def of(cls, codec: Codec, heads: Heads, data: Encoded) -> Rows:
        n = len(data.weight)
        device = codec.loc.device
        cells = Cells(*(t.to(device) for t in data.cells))
        return cls(
            codec, heads, n, float(max(n, 1)), cells, bool(cells.seen.all()),
            data.given.to(device), data.group.to(device), data.weight.to(device),
        )  # fmt: skip

    # ---- for authors of programs and guides

    @property
    def schema(self) -> Schema:
        return self.codec.schema

    @property
    def width(self) -> int:
        """Length of a predictor."""
        return self.schema.width

    @property
    def full(self) -> int:
        """Length of a predictor with scales."""
        return self.schema.full

    def plate(self) -> Any:
        """The plate of rows. Its scale, N / batch, is zoo's to own."""
        return pyro.plate("rows", int(self.total), subsample=torch.arange(self.n, device=self.given.device))

    def observe(
        self, thing: Any, columns: str = "all", proposal: Any = None, df: Tensor | None = None, floor: float = 0.0
    ) -> Tensor:
        """Say how columns are distributed; returns the data, or a draw where there is none.

        thing     a predictor (n, schema.width) or (n, schema.full): one location or logit for each numeric or binary
                  column, one for each level, as in a generalised linear model;
                  a distribution over the numeric columns (n, Dn);
                  a function of the row so far, `rows -> predictor`: an autoregressive chain;
                  a Tree of hidden states; or a Joint of levels and then numbers
        columns   "all", "numeric" or "discrete" (levels, and which numeric cells are atoms: `schema.rest` logits)
        proposal  for a joint density that is neither Gaussian nor a t: a MultivariateNormal that proposes missing cells
        df        beside a predictor: numeric columns are Student's t with these degrees of freedom (..., Dn)
        floor     beside a predictor: share of a wide Cauchy in each numeric cell, so that no cell costs without limit
        """
        if columns not in OBSERVED:
            raise ValueError(f"rows.observe: columns must be one of {', '.join(OBSERVED)}, got {columns!r}")
        n = len(self.schema.numeric)
        span = {"all": slice(None), "numeric": slice(0, n), "discrete": slice(n, None)}[columns]
        if not {"all": True, "numeric": n, "discrete": self.schema.rest}[columns]:
            return torch.zeros(self.n, 0, dtype=torch.float64, device=self.given.device)
        density = self._density(thing, columns, proposal, df, floor)
        value: Tensor = pyro.sample(
            OBSERVED[columns], density, obs=None if self.cells is None else self.cells.x[:, span]
        )
        return value

    def _density(self, thing: Any, columns: str, proposal: Any, df: Tensor | None, floor: float) -> Any:
        if isinstance(thing, ColumnDensity | Tree | Joint):
            return thing
        if isinstance(thing, Tensor):
            if thing.dim() <= 2:  # one predictor for all rows is one for each, so that each has a draw of its own
                thing = thing.expand(self.n, -1)
            if columns == "numeric":
                raise ValueError('rows.observe: a predictor is for columns="all" or "discrete"; give a distribution')
            if columns == "all":
                return self.heads(thing, self.cells, df, floor)
            return self.heads.density(None, thing, self.cells)
        if isinstance(thing, torch.distributions.Distribution):
            if columns == "all" and self.schema.rest:
                raise UserError(
                    "rows.observe got a distribution for all columns, and the table has levels or atoms",
                    'observe it with columns="numeric", and a predictor of schema.rest logits with columns="discrete"',
                )
            return Dense(self.codec, thing, self.cells, self.complete, proposal)
        if isinstance(thing, Callable):  # type: ignore[arg-type]
            return Chain(thing, self)
        raise ValueError(f"rows.observe takes a predictor, a distribution or a function of the row, got {type(thing)}")

    def features(self, visible: Tensor | None = None) -> Tensor:
        """What a network may read of a row (n, schema.n_features), float32.

        Numeric and binary values, one-hot levels and atoms, then a flag for each column: seen or not. Cells not seen,
        or not `visible` (n, D), are zero.
        """
        if self.cells is None:
            raise ValueError("rows.features needs data: these rows are blank")
        schema, cells = self.schema, self.cells
        seen = cells.seen if visible is None else cells.seen & visible
        plain = len(schema.numeric) + len(schema.binary)
        flags = seen.float()
        values = [cells.x[:, :plain].float().clamp(-FAR, FAR) * flags[:, :plain]]
        for j, column in enumerate(schema.categorical, start=plain):
            values.append(one_hot(cells.x[:, j], column.n_logits) * flags[:, j : j + 1])
        for j in schema.spiked:
            values.append(one_hot(cells.atom[:, j], len(schema.numeric[j].atoms) + 1) * flags[:, j : j + 1])
        return torch.cat([*values, flags], -1)

    # ---- for zoo

    def shown(self, share: float) -> Tensor:
        """Which cells (n, D) are shown while fitting: in a share of the rows some are hidden, each row's own part."""
        device = self.given.device
        part = torch.rand(self.n, 1, device=device) * (torch.rand(self.n, 1, device=device) < share)
        return torch.rand(self.n, len(self.schema.modelled), device=device) >= part

    def thinned(self, share: float) -> Rows:
        """These rows, with the cells missing that are not `shown`."""
        if not share:
            return self
        assert self.cells is not None
        return replace(self, cells=self.cells._replace(seen=self.cells.seen & self.shown(share)), complete=False)

    def take(self, index: Tensor) -> Rows:
        """The rows at these positions; `total` stays."""
        cells = None if self.cells is None else Cells(*(t.index_select(0, index) for t in self.cells))
        given, group, weight = (t.index_select(0, index) for t in (self.given, self.group, self.weight))
        return replace(self, n=len(index), cells=cells, given=given, group=group, weight=weight, copies=1)

    def cpu(self) -> Rows:
        """These rows, with likelihoods of their own, on the CPU."""
        if self.given.device.type == "cpu":
            return self
        heads = deepcopy(self.heads).cpu()
        cells = None if self.cells is None else Cells(*(t.cpu() for t in self.cells))
        given, group, weight = self.given.cpu(), self.group.cpu(), self.weight.cpu()
        return replace(self, codec=heads.codec, heads=heads, cells=cells, given=given, group=group, weight=weight)

    def repeat(self, k: int) -> Rows:
        """k copies one after another: particles are repeated rows, so an author sees one batch dimension."""
        if k == 1:
            return self
        cells = None if self.cells is None else Cells(*(t.repeat(k, 1) for t in self.cells))
        return replace(
            self,
            n=self.n * k,
            total=self.total * k,
            cells=cells,
            given=self.given.repeat(k, 1),
            group=self.group.repeat(k),
            weight=self.weight.repeat(k),
            copies=self.copies * k,
        )

    @property
    def once(self) -> Rows:
        """These rows without their copies."""
        return self if self.copies == 1 else self.take(torch.arange(self.n // self.copies, device=self.given.device))

    def blank(self, n: int | None = None) -> Rows:
        """Rows without data, for drawing: n of them, or as many as here with their `given` and `group`."""
        if n is None:
            return replace(self, cells=None, complete=True)
        ones = torch.ones(n, dtype=torch.long, device=self.given.device)
        given = torch.zeros(n, self.schema.given, device=self.given.device)
        return replace(
            self,
            n=n,
            total=float(n),
            cells=None,
            complete=True,
            given=given,
            group=self.schema.groups * ones,
            weight=ones.double(),
            copies=1,
        )

    def filled(self, x: Tensor, seen: Tensor | None = None) -> Rows:
        """These rows with other cells: x (n, D) in codec units, all seen unless `seen` says otherwise."""
        cells = self.codec.cells(x)
        if seen is not None:
            cells = cells._replace(seen=seen)
        return replace(self, n=len(x), cells=cells, complete=seen is None, copies=1)
