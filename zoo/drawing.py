"""How a fitted model draws, changed for a while: settings that its fit knows nothing of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from zoo.errors import UserError
from zoo.model import Model


@contextmanager
def drawing(model: Model, settings: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, draws follow these settings, named as for `--set`: those that a program or a prior calls `of_draws`."""
    recipe = model.recipe.with_settings(settings or {})
    if settings:
        recipe.check()
    parts = model.program.named_modules(prefix="program")
    known = [f"{path}.{name}" for path, part in parts for name in getattr(part, "of_draws", ())]
    with ExitStack() as stack:
        for key, value in (settings or {}).items():
            dotted = recipe.dotted(key)
            if dotted not in known:
                remedy = f"settings of draws are {', '.join(known)}" if known else "fit again with it"
                raise UserError(f"{key} is no setting of {model.recipe.model!r} that draws alone depend on", remedy)
            path, _, name = dotted.rpartition(".")
            part = model.get_submodule(path)
            stack.callback(setattr, part, name, getattr(part, name))
            setattr(part, name, value)
        yield
