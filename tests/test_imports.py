"""The floors of the house, and what importing it costs and changes: little, and nothing."""

from __future__ import annotations

import ast
import graphlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo

PACKAGE = Path(zoo.__file__).parent

# ground first: a room imports from floors below its own, and rooms of one floor know nothing of each other
FLOORS = (
    ("errors", "launch", "bounds", "shared"),
    ("folder", "arguments"),
    ("table", "networks", "targets", "scope"),
    ("rows", "recipe", "flows"),
    ("sites", "em", "registry"),
    ("log_weights", "priors", "sweep"),
    ("programs", "guides"),
    ("objectives",),
    ("model", "evaluate"),
    ("fitting", "stacked", "drawing"),
    ("run", "reference", "line_up"),
    ("catalogue",),
    ("estimator",),
    ("report", "streaming", "sampled", "distilled", "laws", "between", "stacks", "simulation", "recovery"),
    ("comparison",),
    ("terminal",),
    ("options",),
    ("trust",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "zoo."))


def room(module: str) -> str:
    return module.split(".")[1]


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(n, ast.Name | ast.Attribute) and "TYPE_CHECKING" in ast.dump(n) for n in ast.walk(node.test)
    )


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module of zoo that a file imports, at its head or later, `if TYPE_CHECKING` left out."""
    for node in ast.iter_child_nodes(tree):
        if only_for_types(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("zoo."))
        elif isinstance(node, ast.ImportFrom) and node.module == "zoo":
            yield from (f"zoo.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoo."):
            yield str(node.module)
        yield from imports(node)


def source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_every_room_has_its_floor() -> None:
    assert {room(m) for m in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_from_floors_below(module: str) -> None:
    for imported in imports(ast.parse(source(module).read_text(encoding="utf-8"))):
        if room(imported) != room(module):
            assert FLOOR[room(imported)] < FLOOR[room(module)], f"{module} imports {imported}"


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_zoo_imports_nothing_heavy() -> None:
    code = "import sys, zoo, zoo.errors, zoo.registry; zoo.models(); print(*sys.modules)"
    loaded = set(python(code).split())
    assert not loaded & {"torch", "pyro", "numpy", "pandas", "sklearn", "scipy", "zuko", "matplotlib", "pydantic"}


def test_the_help_imports_no_torch() -> None:
    code = "import sys; sys.argv = ['zoo', '--help']; from zoo.cli import main; main(); print(*sys.modules)"
    assert "torch" not in python(code).split()


def at_the_head(tree: ast.AST) -> Iterator[ast.AST]:
    """What importing a file runs: its statements, and not those of its functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not only_for_types(node):
            yield node
            yield from at_the_head(node)


def needs(module: str) -> set[str]:
    """The modules of zoo that importing one runs: those it names, and the submodules it takes from a package."""
    out: set[str] = set()
    for node in at_the_head(ast.parse(source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            out |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    # a package runs before what lies in it, so that a package which imports its own modules is no circle
    packages = {name.rpartition(".")[0] for name in out & set(MODULES)}
    inside = module.rpartition(".")[0]
    return (out | packages) & set(MODULES) - {module, inside}


def test_no_circle_of_imports() -> None:
    """So that every module can be the first to be imported."""
    tuple(graphlib.TopologicalSorter({module: needs(module) for module in MODULES}).static_order())


SWITCHES = """
import importlib, json, sys, warnings
import numpy, pyro, torch

def switches():
    return {
        "pyro settings": {k: str(v) for k, v in pyro.settings.get().items()},
        "pyro parameters": sorted(pyro.get_param_store().keys()),
        "torch validation": torch.distributions.Distribution._validate_args,
        "default dtype": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "torch state": torch.get_rng_state().tolist(),
        "numpy state": numpy.random.get_state()[1].tolist(),
        "numpy errors": numpy.geterr(),
        "warnings": [str(f) for f in warnings.filters],
    }

torch.distributions.Distribution.set_default_validate_args(True)
before = switches()
for module in sys.argv[1:]:
    importlib.import_module(module)
assert "zuko" in sys.modules
after = switches()
print(json.dumps({k: [str(before[k]), str(after[k])] for k in before if before[k] != after[k]}))
"""


@pytest.mark.slow
def test_importing_changes_no_switch() -> None:
    changed = json.loads(python(SWITCHES, *MODULES).splitlines()[-1])
    changed.pop("warnings", None)  # libraries add their own when they are loaded
    assert changed == {}


def test_the_public_face() -> None:
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert set(dir(zoo)) >= set(zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


def test_no_module_stands_before_a_public_name() -> None:
    """A module that bears the name of a function takes its place in the package once it is imported."""
    names = {module.split(".")[1] for module in MODULES}
    assert not names & set(zoo.__all__)


BENCHMARKS = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module("benchmarks." + name)
"""


@pytest.mark.slow
def test_every_benchmark_can_be_imported() -> None:
    """What one takes from zoo is still where it looks for it; in a process of its own, since zuko changes switches."""
    names = [file.stem for file in sorted((PACKAGE.parent / "benchmarks").glob("[a-z]*.py"))]
    python(BENCHMARKS, *names, "__main__")
