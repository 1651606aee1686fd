"""Normalizing flows as densities: one program for every flow, on any table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from pyro.distributions import MultivariateNormal, MultivariateStudentT
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import StudentT, constraints

from zoo.bounds import Share, Widths
from zoo.em import fit as em
from zoo.errors import UserError
from zoo.flows.autoregressive import Spline
from zoo.networks.zuko_parts import masked_mlp
from zoo.programs.chain import Chain
from zoo.rows.columns import ColumnDensity
from zoo.rows.dense import Dense
from zoo.rows.floor import TAIL_SHARE
from zoo.rows.joint import Joint
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

FLOOR_DF = 1.0
"""Degrees of freedom of the floor: the heavier, the less a row far from all others costs."""
FAR = 1e15
"""In single precision, squares of numbers further out than this are none; there the floor decides anyway."""
START_DF = 8.0


def flow(
    schema: Schema,
    flow: Callable[[int, int], nn.Module] = Spline,
    tails: Literal["normal", "student-t"] = "normal",
    hidden: Widths = (64, 64),
    hide: Share = 0.3,
    whiten: bool = True,
    mixed: Literal["joint", "chain"] = "joint",
    floor: float = 1e-9,
) -> nn.Module:
    """A flow over the numbers given the levels and atoms; with `mixed = "chain"`, on a table that has levels, atoms or
    missing cells, the chain of one-dimensional splines instead, which has exact masses and needs no proposals; `flow`,
    `tails`, `whiten` and `floor` then say nothing."""
    if not 0 < floor < 1:
        raise UserError(f"floor = {floor:g} is no share", "set program.floor between 0 and 1, as 1e-9")
    if mixed == "chain" and (schema.rest or schema.has_missing):
        chain = Chain(schema, hidden=hidden, family="spline", hide=hide)
        chain.unused = ("flow", "tails", "whiten", "floor")
        return chain
    return Flow(schema, flow, tails, hidden, hide, whiten, floor)


class Flow(nn.Module):
    """A normalizing flow over the numeric columns, given the levels and atoms of a row, which come by a chain.

    levels    ~ chain(given)                           # each given those before it; which cells are atoms, last
    u         ~ Normal(0, I), or Student's t           # `tails`
    x_numeric = loc + frame T(u; given, levels)        # T: the inverse of `flow`

    loc and frame are of the training rows: the Cholesky factor of their covariance, so that correlation is the
    Gaussian's part and shape is the flow's; or, not to `whiten`, the columns' own scales, which leaves columns of a few
    values, or with gaps, as sharp as they are. A share of a thousandth of the density is a multivariate Cauchy of the
    rows' covariance, so that a row far from all others costs some nats and no more.

    hidden  layers of the chain's network
    hide    share of the rows whose levels are hidden in part from what follows, so that missing ones cost little
    floor   the Cauchy's share while fitting. A row that it explains has no gradient, and the flow gives it up: on the
            numbers of adult a thousandth costs `maf` 1.3 nats. Next to none makes far rows steer the fit: on magic04 it
            costs `nsf` 0.1
    """

    def __init__(
        self,
        schema: Schema,
        flow: Callable[[int, int], nn.Module] = Spline,
        tails: Literal["normal", "student-t"] = "normal",
        hidden: Sequence[int] = (64, 64),
        hide: float = 0.3,
        whiten: bool = True,
        floor: float = 1e-9,
    ):
        super().__init__()
        n = len(schema.numeric)
        self.levels = Levels(schema, hidden, hide) if schema.rest else None
        context = schema.given + (self.levels.width if self.levels is not None else 0)
        self.numbers = Numbers(n, context, flow, tails, whiten, floor) if n else None
        self.proposal = Proposal(schema, context) if n else None

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            if self.levels is None:
                assert self.numbers is not None
                assert self.proposal is not None
                return rows.observe(self.numbers(rows.given), columns="numeric", proposal=self.proposal(rows.given))
            return rows.observe(Joint(rows, self.levels, None if self.numbers is None else self._then, self.order))

    @property
    def order(self) -> list[int]:
        """The columns that come first."""
        return [0] if self.levels is None else self.levels.order

    def _then(self, rows: Rows) -> Dense:
        assert self.levels is not None
        assert self.numbers is not None
        assert self.proposal is not None
        context = torch.cat([rows.given, self.levels.read(rows)], -1)
        return Dense(rows.codec, self.numbers(context), rows.cells, rows.complete, self.proposal(context))

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, components=1, covariance="full")
        if self.levels is not None:
            self.levels.bias.copy_(start.rest[0])
        if self.numbers is not None:
            assert self.proposal is not None
            self.numbers.start_at(start, 0)
            self.proposal.start_at(start, 0)
        return False


class Gaussian(nn.Module):
    """loc and tril of the numeric columns."""

    loc: Tensor
    tril: Tensor

    def __init__(self, n: int):
        super().__init__()
        self.register_buffer("loc", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("tril", torch.eye(n, dtype=torch.float64))

    def start_at(self, start: em.Start, k: int) -> None:
        self.loc.copy_(start.loc[k])
        self.tril.copy_(torch.linalg.cholesky(start.covariance(k)))


class Numbers(Gaussian):
    """The joint density of the numeric columns given a context (n, C): a flow about a Gaussian."""

    frame: Tensor

    def __init__(
        self,
        n: int,
        context: int,
        flow: Callable[[int, int], nn.Module],
        tails: str,
        whiten: bool = True,
        floor: float = 1e-9,
    ):
        super().__init__(n)
        self.whiten, self.floor = whiten, floor
        self.register_buffer("frame", torch.eye(n, dtype=torch.float64))
        self.flow = flow(n, context)
        self.log_df = nn.Parameter(torch.full((n,), math.log(START_DF))) if tails == "student-t" else None

    def start_at(self, start: em.Start, k: int) -> None:
        super().start_at(start, k)
        own = start.covariance(k).diagonal().sqrt()
        self.frame.copy_(self.tril if self.whiten else torch.diag(own))

    def forward(self, context: Tensor) -> FlowDensity:
        df = None if self.log_df is None else 1.0 + self.log_df.clamp(-5, 8).exp().double()
        floor = MultivariateStudentT(self.loc.new_full((), FLOOR_DF), self.loc, self.tril)
        share = self.floor if self.training else TAIL_SHARE
        return FlowDensity(self.flow, context, self.loc, self.frame, floor, share, df)


class Proposal(Gaussian):
    """What missing cells and atoms are proposed from: the Gaussian of the columns, moved by what the context says."""

    def __init__(self, schema: Schema, context: int):
        super().__init__(len(schema.numeric))
        self.moved = nn.Linear(context, len(self.loc)) if context and (schema.has_missing or schema.spiked) else None
        if self.moved is not None:
            nn.init.zeros_(self.moved.weight)
            nn.init.zeros_(self.moved.bias)

    def forward(self, context: Tensor) -> MultivariateNormal:
        loc = self.loc if self.moved is None else self.loc + self.moved(context).double() @ self.tril.mT
        return MultivariateNormal(loc, scale_tril=self.tril)


class FlowDensity(TorchDistribution):
    """(1 - share) flow + share floor, over (n, Dn). Draws are the flow's (see `zoo.rows.floor`).

    flow(context) maps (x - loc) / frame -> u in single precision, frame (Dn, Dn) lower triangular; u has independent
    coordinates, Normal, or t with df (Dn,).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        flow: Any,
        context: Tensor,
        loc: Tensor,
        frame: Tensor,
        floor: Any,
        share: float = TAIL_SHARE,
        df: Tensor | None = None,
    ):
        self.flow, self.context, self.loc, self.frame, self.floor = flow, context, loc, frame, floor
        self.share, self.df = share, df
        self.transform = flow(context if context.shape[-1] else None)
        super().__init__(torch.Size([len(context)]), loc.shape, validate_args=False)

    @property
    def exact(self) -> bool:
        """Whether the flow's log-determinant is computed, not estimated."""
        return bool(getattr(self.flow, "exact", True))

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDensity:
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"a flow of {self.batch_shape[0]} rows cannot stand for {tuple(batch_shape)}")
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        white = torch.linalg.solve_triangular(self.frame, (value - self.loc).mT, upper=False).mT
        u, ladj = self.transform.call_and_ladj(white.clamp(-FAR, FAR).float())
        log = self._log_base(u.double()).sum(-1) + ladj - self.frame.diagonal().log().sum()
        floor = self.floor.log_prob(value)
        return torch.logaddexp(log + math.log1p(-self.share), floor + math.log(self.share))

    def _log_base(self, u: Tensor) -> Tensor:
        if self.df is None:
            return -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
        log: Tensor = StudentT(self.df).log_prob(u)
        return log

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = (self.batch_shape[0], self.loc.shape[-1])
        u = torch.randn(shape, dtype=torch.float64, device=self.loc.device)
        if self.df is not None:
            u = u * (self.df / (2 * torch._standard_gamma((self.df / 2).expand(shape)))).sqrt()
        return self.loc + self.transform.inv(u.float()).double() @ self.frame.mT


class Levels(nn.Module):
    """The chain over the levels of a row and over which numeric cells are atoms: rows -> their likelihood.

    order  positions in the row: columns of levels, then numeric columns with atoms
    width  what `read(rows)` gives the numbers: those levels and atoms, and whether each was seen
    """

    inputs: Tensor

    def __init__(self, schema: Schema, hidden: Sequence[int], hide: float):
        super().__init__()
        n, total = len(schema.numeric), len(schema.modelled)
        self.order, self.hide = [*range(n, total), *schema.spiked], hide
        rank = torch.full((total,), -1)
        rank[self.order] = torch.arange(len(self.order))
        spiked = list(schema.spiked)
        widths = torch.tensor([1] * len(schema.binary) + list(schema.blocks), dtype=torch.long)
        outputs = torch.cat([rank[n:], rank[spiked]]).repeat_interleave(widths)
        # what `rows.features` has beside the numbers: levels and atoms, then a flag for each column
        first = torch.tensor([*range(n, schema.n_features - total)], dtype=torch.long)
        flags = torch.tensor([schema.n_features - total + j for j in self.order], dtype=torch.long)
        self.register_buffer("inputs", torch.cat([first, flags]), persistent=False)
        self.width = len(self.inputs)
        inputs = torch.cat([torch.full((schema.given,), -1), outputs, rank[self.order]])
        self.network = masked_mlp(outputs[:, None] > inputs[None], hidden)
        self.bias = nn.Parameter(torch.zeros(len(outputs)))

    def forward(self, rows: Rows) -> ColumnDensity:
        features = torch.cat([rows.given, self.read(rows)], -1)
        return rows.heads.density(None, (self.network(features) + self.bias).double(), rows.cells)

    def read(self, rows: Rows) -> Tensor:
        visible = rows.shown(self.hide) if self.training and self.hide else None
        return rows.features(visible)[:, self.inputs]
