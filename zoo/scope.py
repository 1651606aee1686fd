"""The one place that sets Pyro's and torch's switches, and sets them back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro
import torch


@contextlib.contextmanager
def scope(seed: int | None = None) -> Iterator[None]:
    """Run with parameters that live in modules, without argument checks in the inner loop, and with a seed of its own.

    The caller's random state, validation switches and parameter store are as before afterwards.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    checks = torch.distributions.Distribution._validate_args
    with (
        torch.random.fork_rng(devices, enabled=seed is not None),
        pyro.settings.context(module_local_params=True),
        pyro.validation_enabled(False),
    ):
        torch.distributions.Distribution.set_default_validate_args(False)
        try:
            if seed is not None:
                torch.manual_seed(seed)
            yield
        finally:
            torch.distributions.Distribution.set_default_validate_args(checks)
