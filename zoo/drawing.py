"""How a fitted model draws, changed for a while: settings that its fit knows nothing of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import reduce
from typing import Any

from zoo.errors import UserError
from zoo.model import Model


@contextmanager
def drawing(model: Model, settings: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, draws follow these settings, named as for `--set`: those that a program or a prior calls `of_draws`."""
    recipe = model.recipe.with_settings(settings or {})
    if settings:
        recipe.check()
    with ExitStack() as stack:
        for key, value in (settings or {}).items():
            axis, *path, name = recipe.dotted(key).split(".")
            part = reduce(lambda at, step: getattr(at, step, None), path, getattr(model, axis, None))
            if name not in getattr(part, "of_draws", ()):
                known = [f"{'.'.join([a, *p])}.{n}" for a, p, one in _parts(model) for n in one.of_draws]
                remedy = f"settings of draws are {', '.join(known)}" if known else "fit again with it"
                raise UserError(f"{key} is no setting of {model.recipe.model!r} that draws alone depend on", remedy)
            stack.callback(setattr, part, name, getattr(part, name))
            setattr(part, name, value)
        yield


def _parts(model: Model) -> Iterator[tuple[str, list[str], Any]]:
    for path, part in model.program.named_modules():
        if hasattr(part, "of_draws"):
            yield "program", path.split(".") if path else [], part
