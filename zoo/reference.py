"""A small table on which any model can be made: what it can do is read from the model itself."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema


@functools.cache
def reference_codec(**roles: str) -> Codec:
    """The codec of three continuous columns without ties or missing cells, and of columns with these roles."""
    frame = pd.DataFrame({name: np.linspace(0.1, 1.7, 24) ** p for p, name in enumerate("abc", start=1)})
    more = frame.assign(**dict.fromkeys(roles.values(), ["one", "two"] * 12))
    asked: dict[str, Any] = {"kinds": {"[abc]": "continuous"}, **roles}
    return Codec.fit(infer_schema(more, **asked), more)


ROLES: tuple[dict[str, str], ...] = ({}, {"given": "label"}, {"group": "place"})


def built(recipe: Recipe) -> Model:
    """The recipe at its small size on the reference table, with a given or a group column where it needs one."""
    small = recipe.small()
    small = small.with_settings({key: values[0] for key, values in small.grid().items()})
    refused = []
    for roles in ROLES:
        try:
            return Model(small, reference_codec(**roles))
        except UserError as error:
            refused.append(error)
    raise refused[0]
