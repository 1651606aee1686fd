"""What the numbers of a setting may be, over every built-in target."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from zoo.errors import UserError
from zoo.registry import Registry
from zoo.targets import PACKAGES, locate, settings_of


@pytest.mark.parametrize("axis", PACKAGES)
def test_no_setting_takes_a_number_that_it_cannot_use(axis: str) -> None:
    """A bare `int` or `float` takes -1. The strength of guidance may be, and a flow's floor is checked by the flow."""
    taken = {
        (use, name)
        for use in import_module(PACKAGES[axis]).NAMES
        for name, parameter in settings_of(locate(axis, use)).items()
        if any(fits(parameter.annotation, value) for value in (-1, -1.0, [-1], [-1.0, -1.0]))
    }
    assert taken <= {("diffusion", "guidance"), ("score", "guidance"), ("flow", "floor")}


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value passes for the annotation; one that is no plain data takes none."""
    try:
        TypeAdapter(annotation).validate_python(value, strict=isinstance(value, int | float))
    except (PydanticUserError, ValidationError):
        return False
    return True


@pytest.mark.parametrize(
    ("model", "setting", "value", "words"),
    [
        ("iwae", "objective.particles", 0, "greater than or equal to 1"),
        ("beta-vae", "objective.beta", -1, "greater than or equal to 0"),
        ("beta-vae", "objective.beta", math.nan, "greater than or equal to 0"),
        ("vae", "objective.anneal", 2, "less than or equal to 1"),
        ("vae", "program.network.hidden", [0], "greater than or equal to 1"),
        ("maf", "program.flow.layers", 0, "greater than or equal to 1"),
        ("sinkhorn-generator", "objective.blur", 0, "greater than 0"),
    ],
)
def test_numbers_that_a_setting_cannot_be(model: str, setting: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Registry.load().recipe(model, {setting: value}).check()
