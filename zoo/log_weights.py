"""The one function the likelihood side rests on: log-weights per row, with their parts by site.

    log w_k(x) = log p(x | z_k) + log p(z_k) - log q(z_k | x),    z_k ~ q(. | x)

Their mean over particles is the ELBO, the log of the mean of their exponentials the importance-weighted bound, their
spread the diagnostics. Particles are repeated rows, so a program sees one batch dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from zoo.rows.rows import Rows
from zoo.sites import is_row, samples


class SumDiscrete(Messenger):
    """Gives every discrete row latent that the guide does not name all its values, each site in a dimension of its own.

    The first enumerated site takes dimension -2, the next -3; the rows stay at -1.
    """

    def __init__(self, named: set[str]):
        super().__init__()
        self.named = named
        self.dims: dict[str, int] = {}

    def __enter__(self) -> Any:
        self.dims = {}
        return super().__enter__()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or msg["done"] or msg["name"] in self.named or not is_row(msg):
            return
        if not getattr(msg["fn"], "has_enumerate_support", False):
            return
        values = msg["fn"].enumerate_support(expand=False)
        dim = len(self.dims) + 2
        self.dims[msg["name"]] = -dim
        msg["value"] = values.reshape((-1,) + (1,) * (dim - 1))
        msg["done"] = True


@dataclass
class LogWeights:
    """Parts of the log-weights, each (particles, rows) in nats.

    likelihood  log p(x | latents), discrete latents summed out
    prior       log p(z) by site, guide: log q(z | x) by site
    kl          KL(q || p) by site where it has a closed form, else log q - log p at the draw; log q alone where the
                prior depends on a summed latent, since it is then part of `likelihood`
    each        the closed forms among `kl`, by coordinate of the site: (particles, rows, dim)
    joint       (enumerated dims ..., particles * rows) before the sum: which cluster a row belongs to
    dims        dimension of each enumerated site in `joint`
    globals     log p - log q of the latents that belong to no row, a scalar: apart, since it is counted once
    """

    likelihood: Tensor
    prior: dict[str, Tensor]
    guide: dict[str, Tensor]
    kl: dict[str, Tensor]
    each: dict[str, Tensor]
    joint: Tensor
    dims: dict[str, int]
    globals: Tensor
    trace: Any

    @property
    def rows(self) -> Tensor:
        """log w, (particles, rows)."""
        return self.likelihood + sum(self.prior.values()) - sum(self.guide.values())


def log_weights(
    program: Callable[[Rows], Any], guide: Callable[[Rows], Any], rows: Rows, particles: int = 1
) -> LogWeights:
    """Run guide and program on `particles` copies of the rows. No host sync, so that a step can be captured.

    Where the program says that rows must be run apart, so they are, and the result has no trace.
    """
    parts = parts_of(program, rows)
    if len(parts) > 1:
        each = [_log_weights(program, guide, rows.take(part), particles) for part in parts]
        return _merged(each, torch.cat(parts).argsort(), particles)
    return _log_weights(program, guide, rows, particles)


def parts_of(program: Any, rows: Rows) -> list[Tensor]:
    """Positions of the rows that are run together: all, unless the program has `parts`."""
    split: Callable[[Rows], list[Tensor]] | None = getattr(program, "parts", None)
    return [torch.arange(rows.n, device=rows.given.device)] if split is None or not rows.n else split(rows)


def _merged(each: list[LogWeights], order: Tensor, particles: int) -> LogWeights:
    """Parts of some rows as parts of all of them, `order` the place of each row among the parts side by side."""

    def beside(values: list[Tensor]) -> Tensor:
        return torch.cat(values, -1)[..., order]

    def named(values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: beside([value[name] for value in values]) for name in values[0]}

    joint = [w.joint.reshape(*w.joint.shape[:-1], particles, -1) for w in each]
    return LogWeights(
        beside([w.likelihood for w in each]),
        named([w.prior for w in each]),
        named([w.guide for w in each]),
        named([w.kl for w in each]),
        {name: torch.cat([w.each[name] for w in each], 1)[:, order] for name in each[0].each},
        beside(joint).flatten(-2),
        each[0].dims,
        each[0].globals,
        None,
    )


def _log_weights(
    program: Callable[[Rows], Any], guide: Callable[[Rows], Any], rows: Rows, particles: int
) -> LogWeights:
    n, many = rows.n, rows.repeat(particles)
    q = samples(guide_trace := poutine.trace(guide).get_trace(many))
    summing = SumDiscrete(set(q))
    trace = poutine.trace(poutine.replay(summing(program), trace=guide_trace)).get_trace(many)
    zero = torch.zeros(many.n, dtype=torch.float64, device=many.given.device)
    joint, prior, globals_ = zero, {}, zero.sum()
    p = samples(trace)
    for name, site in p.items():
        log = site["fn"].log_prob(site["value"])
        if not is_row(site):
            globals_ = globals_ + log.sum()
        elif name in q and log.dim() == 1:
            prior[name] = log
        else:  # observed, enumerated, or with a prior that depends on an enumerated site
            joint = joint + log
    guided = {}
    for name, site in q.items():
        log = site["fn"].log_prob(site["value"])
        if is_row(site):
            guided[name] = log
        else:
            globals_ = globals_ - log.sum()
    shape = (particles, n)
    summed = joint.flatten(0, -2).logsumexp(0) if joint.dim() > 1 else joint
    each = {name: _kl(q[name]["fn"], p[name]["fn"], many.n) for name in prior if name in guided}
    known = {name: value for name, value in each.items() if value is not None}
    kl = {
        name: known[name].sum(-1) if name in known else log - prior[name] if name in prior else log
        for name, log in guided.items()
    }
    return LogWeights(
        summed.expand(many.n).reshape(shape),
        {k: v.expand(many.n).reshape(shape) for k, v in prior.items()},
        {k: v.expand(many.n).reshape(shape) for k, v in guided.items()},
        {k: v.expand(many.n).reshape(shape) for k, v in kl.items()},
        {k: v.reshape(*shape, -1) for k, v in known.items()},
        joint,
        summing.dims,
        globals_,
        trace,
    )


def _kl(q: Any, p: Any, n: int) -> Tensor | None:
    """KL(q || p) of each row by coordinate (n, dim) where torch knows a closed form; dim is 1 where they hang
    together."""
    apart = isinstance(q, Independent) and isinstance(p, Independent) and len(q.event_shape) == len(p.event_shape) == 1
    try:
        value: Tensor = kl_divergence(q.base_dist, p.base_dist) if apart else kl_divergence(q, p)[..., None]
    except NotImplementedError:
        return None
    return value.expand(n, -1) if value.dim() <= 2 else None


def log_mean(log_w: Tensor) -> Tensor:
    """log of the mean of exp over particles (dim 0)."""
    return log_w.logsumexp(0) - math.log(len(log_w))
