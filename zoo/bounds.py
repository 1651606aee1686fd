"""Numbers that a setting may be: said in a signature, checked where a recipe is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Le

Natural = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Widths = Sequence[Count]
Weight = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
