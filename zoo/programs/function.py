"""A plain Pyro function as a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Function(nn.Module):
    """Owns the `pyro.param` of a function of `rows`, which so train, save and load like any module's parameters."""

    def __init__(self, schema: Schema, function: Callable[..., Tensor], **settings: Any):
        super().__init__()
        self.function, self.settings = function, settings
        self.store = nn.ParameterDict()

    def forward(self, rows: Rows) -> Tensor:
        with _Params(self.store):
            return self.function(rows, **self.settings)


class _Params(Messenger):
    """Answers `pyro.param(name, init, constraint)` from a ParameterDict of unconstrained tensors."""

    def __init__(self, store: nn.ParameterDict):
        super().__init__()
        self.store = store

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        name, init, constraint = (*msg["args"], None, None)[:3]
        constraint = constraint or msg["kwargs"].get("constraint") or constraints.real
        transform, key = transform_to(constraint), name.replace(".", "__")
        if key not in self.store:
            init = msg["kwargs"].get("init_tensor") if init is None else init
            if init is None:
                raise ValueError(f"pyro.param({name!r}) needs an initial value")
            start = init() if callable(init) else init
            self.store[key] = nn.Parameter(transform.inv(torch.as_tensor(start).detach()).clone())
        msg["value"], msg["done"], msg["stop"] = transform(self.store[key]), True, True
