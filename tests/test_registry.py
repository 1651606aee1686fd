"""The registry's contract: inheritance, strict keys, settings, grids, TOML, overlays, and what a run may load."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from pydantic import BaseModel

import zoo.registry
from zoo.errors import UserError, ZooWarning
from zoo.recipe import Recipe
from zoo.registry import Registry, parse_set
from zoo.targets import Spec, resolve

TARGETS = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from nowhere import Rows

class Mlp:
    def __init__(self, n_in, n_out, *, hidden: list[int] = (32,), dropout: float = 0.0):
        self.n_in, self.n_out, self.hidden, self.dropout = n_in, n_out, list(hidden), dropout

class Residual:
    def __init__(self, n_in, n_out, *, blocks: int = 2, dim: int = 1):
        self.blocks = blocks

class Mixture:
    def __init__(self, schema, components: int = 10, share: bool = False, shape: dict[str, float] | None = None):
        self.schema, self.components, self.shape = schema, components, shape

class Latent:
    def __init__(self, schema, dim: int = 8, network=Mlp):
        self.dim, self.network = dim, network(dim, len(schema))

class NeedsRank:
    def __init__(self, schema, *, rank: int):
        self.rank = rank

class Encoder:
    def __init__(self, schema, program, sites, network=Mlp, samples: int = 1):
        self.network = network(len(schema), 2)

class Elbo:
    def __init__(self, anneal: float = 0.0, samples: int = 1):
        self.anneal = anneal

def none(schema, program, sites):
    return None

def bare(rows, network=None):
    return network

def loose(rows: Rows, *, factors=2, **others):
    return factors, others
"""

NAMES = {
    "programs": {
        "mixture": "Mixture",
        "latent": "Latent",
        "needs-rank": "NeedsRank",
        "loose": "loose",
        "bare-network": "bare",
    },
    "guides": {"none": "none", "encoder": "Encoder"},
    "objectives": {"elbo": "Elbo", "broken": "Missing"},
    "networks": {"mlp": "Mlp", "residual": "Residual"},
}

BUILTIN = """
[gmm]
summary = "A mixture"
reference = "Pearson 1894"
program = { use = "mixture", components = 8 }
small = { "program.components" = 3, "fit.epochs" = 2, "guide" = "none" }

[vae]
summary = "An autoencoder"
program = { use = "latent", dim = 8, network = { use = "mlp", hidden = [256, 256], dropout = 0.1 } }
guide = { use = "encoder", network = { use = "mlp", hidden = [64] } }
objective = { use = "elbo", anneal = 0.2 }
fit = { epochs = 100, batch = 64 }
small = { "program.dim" = 2, "program.network.hidden" = [4], "fit.epochs" = 2 }
"""

MINE = """
def line(rows, *, factors=2):
    return rows, factors
"""


class FitSettings(BaseModel):
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A zoo with small targets, its own models.toml, no installed plug-ins, and an empty working folder."""
    targets = types.ModuleType("fake_targets")
    exec(compile(TARGETS, "fake_targets.py", "exec"), targets.__dict__)
    monkeypatch.setitem(sys.modules, "fake_targets", targets)
    for package, names in NAMES.items():
        fake = types.ModuleType(f"zoo.{package}")
        fake.NAMES = {name: f"fake_targets:{target}" for name, target in names.items()}
        monkeypatch.setitem(sys.modules, f"zoo.{package}", fake)
    settings = types.ModuleType("zoo.fitting.settings")
    settings.FitSettings = FitSettings
    monkeypatch.setitem(sys.modules, "zoo.fitting.settings", settings)
    builtin = tmp_path / "builtin" / "models.toml"
    builtin.parent.mkdir()
    builtin.write_text(BUILTIN)
    monkeypatch.setattr(zoo.registry, "builtin_file", lambda: builtin)
    monkeypatch.setattr(zoo.registry, "entry_points", lambda group: [])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield tmp_path / "work"
    sys.modules.pop("mine", None)


def load(text: str = "") -> Registry:
    Path("models.toml").write_text(text)
    return Registry.load()


def refuses(*words: str):
    """A UserError whose one line holds all the words."""
    return pytest.raises(UserError, match="".join(f"(?=.*{word})" for word in words))


# ---------------------------------------------------------------------------------------------------- inheritance


def test_an_axis_without_use_or_with_the_same_one_merges():
    registry = load(
        """
        [a]
        like = "vae"
        program = { dim = 4, network = { hidden = [8] } }
        [b]
        like = "vae"
        program = { use = "latent", network = { use = "mlp", dropout = 0.5 } }
        """
    )
    network = Spec("mlp", {"hidden": [8], "dropout": 0.1})
    assert registry["a"].program == Spec("latent", {"dim": 4, "network": network})
    network = Spec("mlp", {"hidden": [256, 256], "dropout": 0.5})
    assert registry["b"].program == Spec("latent", {"dim": 8, "network": network})
    assert registry["a"].guide == registry["vae"].guide
    assert registry["vae"].program.settings["dim"] == 8


def test_an_axis_with_another_use_replaces_and_a_bare_name_of_the_same_keeps():
    registry = load(
        """
        [a]
        like = "vae"
        program = { use = "mixture" }
        guide = "none"
        objective = "elbo"
        [b]
        like = "vae"
        program = { network = "residual" }
        [c]
        like = "vae"
        program = { network = "mlp" }
        """
    )
    assert registry["a"].program == Spec("mixture")
    assert registry["a"].guide == Spec("none")
    assert registry["a"].objective == Spec("elbo", {"anneal": 0.2})
    assert registry["b"].program.settings["network"] == Spec("residual")
    assert registry["c"].program == registry["vae"].program


def test_texts_are_replaced_and_fit_and_small_are_laid_over():
    child = load('[a]\nlike = "vae"\nsummary = "Mine"\nfit = { epochs = 5 }\nsmall = { "fit.epochs" = 1 }')["a"]
    assert (child.model, child.summary) == ("a", "Mine")
    assert child.fit == {"epochs": 5, "batch": 64}
    assert child.small_sets == {"program.dim": 2, "program.network.hidden": [4], "fit.epochs": 1}


def test_small_of_the_parent_goes_with_the_part_that_was_replaced():
    registry = load('[a]\nlike = "vae"\nprogram = "mixture"\n[b]\nlike = "vae"\nprogram = { network = "residual" }')
    assert registry["a"].small_sets == {"fit.epochs": 2}
    assert registry["b"].small_sets == {"program.dim": 2, "fit.epochs": 2}
    registry["a"].small().check()
    registry["b"].small().check()


def test_grandparents_in_any_order():
    registry = load('[c]\nlike = "b"\nprogram = { dim = 3 }\n[b]\nlike = "vae"\nobjective = { anneal = 0.7 }')
    assert registry["c"].program.settings["dim"] == 3
    assert registry["c"].objective.settings == {"anneal": 0.7}


def test_circles_and_unknown_parents():
    with refuses("circle", "a -> b -> a"):
        load('[a]\nlike = "b"\n[b]\nlike = "a"')
    with refuses("'a'", "like 'vea'", "did you mean 'vae'", "models.toml"):
        load('[a]\nlike = "vea"')
    with refuses("'a'", "like 'a'"):
        load('[a]\nlike = "a"')


def test_guide_and_objective_have_defaults_and_program_has_none():
    recipe = load('[a]\nprogram = "mixture"')["a"]
    assert (recipe.guide, recipe.objective) == (Spec("none"), Spec("elbo"))
    with refuses("'a'", "no program"):
        load('[a]\nguide = "none"')


# ---------------------------------------------------------------------------------------------------- strict keys


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[a]\nprogam = "mixture"', ["'a'", "unknown key 'progam'", "did you mean 'program'"]),
        ("[a]\nprogram = 3", ["'a'", "program = 3", "neither a name nor a table"]),
        ('[a]\nprogram = { use = "latent", network = 3 }', ["network = 3", "neither a name nor a table"]),
        ("[a]\nprogram = { use = 3 }", ["'a'", "neither a name nor a table"]),
        ('[a]\nprogram = "mixture"\nfit = 3', ["fit = 3", "not a table"]),
        ('[a]\nprogram = "mixture"\nsummary = 3', ["summary = 3", "not text"]),
        ('[a]\nprogram = "mixture"\nsmall = { components = 3 }', ["small", "'components'", "dotted"]),
        ('[a]\nprogram = { use = "mixture", components = { grid = [] } }', ["components", "not a grid"]),
        ('[a]\nprogram = { use = "mixture", components = { grid = [1], more = 2 } }', ["components", "not a grid"]),
        ('[a]\nprogram = { use = "mixture", components = 2020-01-01 }', ["components", "cannot be written"]),
        ("a = 3", ["'a'", "not a table"]),
        ("[a", ["models.toml", "not TOML"]),
    ],
)
def test_entries_are_strict(text, words):
    with refuses(*words):
        load(text)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('program = { use = "mixture", componets = 3 }', ["'a'", "program 'mixture'", "'componets'", "'components'"]),
        ('program = { use = "mixture", schema = 3 }', ["no setting 'schema'"]),
        ('program = "mixtur"', ["'a'", "no program is called 'mixtur'", "did you mean 'mixture'", "module:Name"]),
        ('program = { use = "latent", network = "mpl" }', ["no network is called 'mpl'", "did you mean 'mlp'"]),
        (
            'program = { use = "latent", network = { hiden = [3] } }',
            ["program.network 'Mlp'", "'hiden'", "did you mean 'hidden'"],
        ),
        ('program = { use = "latent", network = { use = "mlp", n_in = 3 } }', ["program.network 'mlp'", "'n_in'"]),
        ('program = { use = "mixture", network = "mlp" }', ["program 'mixture'", "no setting 'network'"]),
        ('program = "needs-rank"', ["program 'needs-rank'", "needs rank"]),
        ('program = { use = "mixture", components = "ten" }', ["components = 'ten'", "valid integer"]),
        ('program = { use = "mixture", share = "yes" }', ["share = 'yes'", "valid boolean"]),
        ('program = { use = "mixture", components = { grid = [2, "many"] } }', ["components = 'many'"]),
        ('program = "mixture"\nguide = { use = "none", rank = 3 }', ["guide 'none'", "no setting 'rank'"]),
        ('program = "mixture"\nobjective = "broken"', ["objective 'broken'", "no 'Missing'"]),
        ('program = "mixture"\nfit = { epoch = 3 }', ["'a'", "fit has no setting 'epoch'", "did you mean 'epochs'"]),
        ('program = "mixture"\nfit = { epochs = "ten" }', ["'a'", "fit.epochs = 'ten'", "valid integer"]),
        ('program = "mixture"\nfit = { learning_rate = { grid = [0.1, "x"] } }', ["fit.learning_rate = 'x'"]),
        (
            'program = "absent_module:Name"',
            ["program 'absent_module:Name'", "importing 'absent_module' failed", "work"],
        ),
        ('program = ":Name"', ["no program is called ':Name'"]),
        ('program = "fake_targets:Mixtur"', ["no 'Mixtur'", "did you mean 'Mixture'"]),
        ('program = "fake_targets:__name__"', ["cannot be called"]),
        ('program = "builtins:dict"', ["builtins|dict", "cannot be read"]),
        ('program = { use = "bare-network", network = { hidden = [3] } }', ["network has no `use`", "legal: mlp"]),
    ],
)
def test_check_holds_settings_against_signatures(entry, words):
    recipe = load(f"[a]\n{entry}")["a"]
    with refuses(*words):
        recipe.check()


def test_check_passes_what_is_legal():
    entry = 'program = { use = "loose", factors = 3, anything = 4 }\nfit = { epochs = 3, learning_rate = 1 }'
    load(f"[a]\n{entry}")["a"].check()
    for recipe in load().values():
        assert recipe.check() is recipe


def test_unknown_model():
    with refuses("no model is called 'gmmm'", "did you mean 'gmm'", "vae"):
        load()["gmmm"]
    assert "gmmm" not in load()


# ------------------------------------------------------------------------------------------------------- settings


def test_dotted_sets():
    sets = ["program.network.hidden=[64,64]", "fit.epochs=20", "program.dim=3", "guide=none", "fit.learning_rate=1e-2"]
    recipe = load().recipe("vae", sets)
    network = Spec("mlp", {"hidden": [64, 64], "dropout": 0.1})
    assert recipe.program == Spec("latent", {"dim": 3, "network": network})
    assert recipe.guide == Spec("none")
    assert recipe.fit == {"epochs": 20, "batch": 64, "learning_rate": 0.01}
    assert load()["vae"].program.settings["dim"] == 8


def test_a_whole_part_is_set_before_what_is_in_it():
    recipe = load().recipe("vae", ["program.network.blocks=5", "program.network=residual"]).check()
    assert recipe.program.settings["network"] == Spec("residual", {"blocks": 5})
    recipe = load().recipe("vae", {"components": 4, "program": "mixture"})
    assert recipe.program == Spec("mixture", {"components": 4})


def test_bare_sets_find_their_axis():
    recipe = load().recipe("vae", ["dim=4", "anneal=0.5", "epochs=7"])
    assert recipe.program.settings["dim"] == 4
    assert recipe.objective.settings["anneal"] == 0.5
    assert recipe.fit["epochs"] == 7
    assert load()["gmm"].set("components", 5).program == Spec("mixture", {"components": 5})


def test_bare_sets_reach_a_nested_default_when_only_one_has_it():
    recipe = load('[a]\nprogram = "latent"')["a"].set("hidden", [5])
    assert recipe.program == Spec("latent", {"network": Spec("", {"hidden": [5]})})
    assert recipe.resolve("program")("abc").network.hidden == [5]


def test_bare_sets_mean_the_outermost_setting_of_that_name():
    recipe = load()["vae"].set("program.network", "residual").set("dim", 5)
    assert recipe.program == Spec("latent", {"dim": 5, "network": Spec("residual")})


def test_ambiguous_bare_sets_name_the_candidates():
    with refuses("'hidden'", "program.network.hidden, guide.network.hidden"):
        load()["vae"].set("hidden", [3])
    with refuses("'network'", "program.network, guide.network"):
        load()["vae"].set("network", "residual")
    with refuses("'samples'", "guide.samples, objective.samples"):
        load()["vae"].set("samples", 3)


def test_sets_that_mean_nothing():
    with refuses("no setting 'componets'", "did you mean 'components'"):
        load()["gmm"].set("componets", 3)
    with refuses("'progam.dim'", "did you mean 'program'"):
        load()["vae"].set("progam.dim", 3)
    with refuses("'program.'"):
        load()["vae"].set("program.", 3)
    with refuses("fit = 3", "not a table"):
        load()["vae"].set("fit", 3)
    with refuses("not key=value"):
        load().recipe("vae", ["dim"])
    with refuses("dim = None", "cannot be written"):
        load()["vae"].set("program.dim", None)


def test_a_table_valued_setting_is_changed_in_part():
    recipe = load('[a]\nprogram = { use = "mixture", shape = { scale = 1.0, df = 2.0 } }')["a"]
    assert recipe.set("program.shape.df", 5.0).program.settings["shape"] == {"scale": 1.0, "df": 5.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("True", True),
        ("[64, 64]", [64, 64]),
        ('"8"', "8"),
        ("mlp", "mlp"),
        ("a=b", "a=b"),
        ("", ""),
        ("2020-01-01", "2020-01-01"),
        ('{ use = "mlp", hidden = [3] }', {"use": "mlp", "hidden": [3]}),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_are_toml_literals_or_text(text, value):
    key, parsed = parse_set(f"program.x={text}")
    assert (key, parsed, type(parsed)) == ("program.x", value, type(value))


def test_values_become_plain_data():
    numpy = pytest.importorskip("numpy")
    hidden = numpy.array([3, 4])
    sets = {"program.network.hidden": hidden, "program.dim": numpy.int64(3), "objective.anneal": numpy.float64(0.1)}
    recipe = load().recipe("vae", sets)
    hidden[0] = 99
    assert json.loads(json.dumps(recipe.to_table()))["program"]["network"]["hidden"] == [3, 4]
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_small():
    recipe = load()["vae"].small()
    assert recipe.program.settings["dim"] == 2
    assert recipe.program.settings["network"] == Spec("mlp", {"hidden": [4], "dropout": 0.1})
    assert recipe.fit == {"epochs": 2, "batch": 64}


# ---------------------------------------------------------------------------------------------------------- grids


def test_grids_are_data_until_a_value_is_chosen():
    recipe = load(
        """
        [a]
        like = "vae"
        program = { dim = { grid = [2, 4] }, network = { grid = ["mlp", { use = "residual", blocks = 3 }] } }
        """
    )["a"].check()
    grid = recipe.grid()
    assert grid == {"program.dim": [2, 4], "program.network": ["mlp", {"use": "residual", "blocks": 3}]}
    with refuses("dim is a grid"):
        recipe.resolve("program")
    chosen = recipe.with_settings({"program.dim": 4, "program.network": grid["program.network"][1]})
    assert chosen.grid() == {}
    assert chosen.program == Spec("latent", {"dim": 4, "network": Spec("residual", {"blocks": 3})})


def test_a_grid_is_replaced_whole_and_may_be_set_and_nested():
    recipe = load()["vae"].with_settings({"program.network.hidden": {"grid": [[2], [3]]}, "fit.epochs": {"grid": [1]}})
    assert recipe.grid() == {"program.network.hidden": [[2], [3]], "fit.epochs": [1]}
    assert recipe.set("program.network.hidden", {"grid": [[9]]}).grid()["program.network.hidden"] == [[9]]


def test_a_grid_of_tables_replaces_a_table_and_is_replaced_by_its_choice():
    recipe = load('[a]\nprogram = { use = "mixture", shape = { df = 2.0 } }')["a"]
    recipe = recipe.set("program.shape", {"grid": [{"scale": 1.0}, {"scale": 2.0}]}).check()
    assert recipe.grid() == {"program.shape": [{"scale": 1.0}, {"scale": 2.0}]}
    assert recipe.set("program.shape", {"scale": 2.0}).program.settings["shape"] == {"scale": 2.0}


def test_three_grids_are_too_many():
    sets = {key: {"grid": [1, 2]} for key in ("program.dim", "fit.epochs", "guide.samples")}
    with refuses("3 grids", "program.dim, guide.samples, fit.epochs", "2 at most"):
        load()["vae"].with_settings(sets).check()


def test_every_choice_of_a_grid_is_checked():
    recipe = load()["vae"].set("program.network", {"grid": ["mlp", "nonesuch"]})
    with refuses("no network is called 'nonesuch'"):
        recipe.check()


# ----------------------------------------------------------------------------------------------------------- TOML


def test_round_trip():
    awkward = 'a "quoted" \\ line\nwith \x7f and é'
    recipe = load('["odd name.x"]\nlike = "vae"\nprogram = { dim = { grid = [2, 4] } }')["odd name.x"]
    recipe = recipe.with_settings({"program.x": awkward, "program.y": [1e-7, True, {"a b": -3}], "program.z": 1e300})
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    assert again.to_toml() == recipe.to_toml()
    assert again.program.settings["x"] == awkward
    assert tomllib.loads(recipe.to_toml()) == {"odd name.x": recipe.to_table()}


def test_a_printed_recipe_is_complete_and_is_a_legal_entry():
    recipe = load()["gmm"]
    text = recipe.to_toml()
    assert text.startswith("[gmm]\n")
    assert 'program = { use = "mixture", components = 8 }' in text
    assert 'guide = "none"' in text
    assert 'objective = "elbo"' in text
    assert load(text)["gmm"] == recipe


def test_from_toml_refuses_what_is_not_a_recipe():
    for text in ("[a", '[a]\nprogram = "x"\n[b]\nprogram = "x"', '[a]\nlike = "vae"', "a = 3", "[a]\nx = 3"):
        with pytest.raises(UserError):
            Recipe.from_toml(text)


# ------------------------------------------------------------------------------------------------------- resolving


def test_resolve_binds_settings_and_nested_specs():
    recipe = load()["vae"].set("program.network", "residual").set("program.network.blocks", 7)
    program = recipe.resolve("program")("abc")
    assert (program.dim, program.network.blocks) == (8, 7)
    guide = recipe.resolve("guide")("abc", program, ["z"])
    assert (guide.network.n_in, guide.network.hidden) == (3, [64])
    assert recipe.resolve("objective")().anneal == 0.2
    assert resolve("network", Spec("mlp", {"hidden": [5]}))(1, 2).hidden == [5]


def test_what_is_bound_is_a_copy():
    recipe = load()["vae"]
    recipe.resolve("program").keywords["network"].keywords["hidden"].append(1)
    assert recipe.program.settings["network"].settings["hidden"] == [256, 256]


# -------------------------------------------------------------------------------------------------------- overlays


def test_the_users_entry_replaces_a_builtin_unless_it_is_like_it():
    replaced = load('[vae]\nprogram = "mixture"')
    assert replaced["vae"].program == Spec("mixture")
    assert replaced["vae"].summary == ""
    inherited = load('[vae]\nlike = "vae"\nprogram = { dim = 3 }')
    assert inherited["vae"].program.settings["dim"] == 3
    assert inherited["vae"].summary == "An autoencoder"
    assert inherited.names == ["gmm", "vae"]


def test_a_users_entry_does_not_change_what_builtins_are_like(house):
    builtin = house.parent / "builtin" / "models.toml"
    builtin.write_text(BUILTIN + '[iwae]\nlike = "vae"\n')
    registry = load('[vae]\nlike = "iwae"\nprogram = { dim = 3 }\n[mine]\nlike = "vae"')
    assert registry["iwae"].program.settings["dim"] == 8
    assert registry["vae"].program.settings["dim"] == 3
    assert registry["mine"].program.settings["dim"] == 3


def test_where_the_users_file_is_looked_for(tmp_path):
    assert Registry.load().names == ["gmm", "vae"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "models.toml").write_text('[there]\nlike = "gmm"')
    (other / "named.toml").write_text('[named]\nlike = "gmm"')
    Path("models.toml").write_text('[here]\nlike = "gmm"')
    assert Registry.load().names == ["gmm", "vae", "here"]
    assert Registry.load(folder=other).names == ["gmm", "vae", "there"]
    assert Registry.load(models_file=other / "named.toml").names == ["gmm", "vae", "named"]
    assert Registry.load(folder=tmp_path / "builtin").names == ["gmm", "vae"]
    assert Registry.load()["here"].source == str(Path("models.toml").resolve())
    assert Registry.load()["gmm"].source == str(tmp_path / "builtin" / "models.toml")
    with refuses("cannot read", "absent.toml"):
        Registry.load(models_file="absent.toml")


def test_the_builtin_file_is_inside_the_package_or_beside_it(tmp_path, monkeypatch):
    monkeypatch.undo()
    package = tmp_path / "site" / "zoo"
    package.mkdir(parents=True)
    monkeypatch.setattr(zoo.registry, "HERE", package)
    with refuses("neither in"):
        zoo.registry.builtin_file()
    (package.parent / "models.toml").touch()
    assert zoo.registry.builtin_file() == package.parent / "models.toml"
    (package / "models.toml").touch()
    assert zoo.registry.builtin_file() == package / "models.toml"


class Point:
    """An entry point that brings what it is told to."""

    value = "plugin:models"

    def __init__(self, name, brings):
        self.name, self.brings = name, brings

    def load(self):
        if isinstance(self.brings, Exception):
            raise self.brings
        return self.brings


def test_entry_points(tmp_path, monkeypatch):
    file = tmp_path / "plugin.toml"
    file.write_text('[from-file]\nlike = "gmm"')
    points = [
        Point("b", {"from-dict": {"like": "from-file", "program": {"components": 2}}}),
        Point("a", str(file)),
        Point("c", ImportError("no such thing")),
        Point("d", {"wrong": {"progam": "x"}}),
    ]
    monkeypatch.setattr(zoo.registry, "entry_points", lambda group: points if group == "zoo.models" else [])
    with pytest.warns(ZooWarning) as warned:
        registry = load('[mine]\nlike = "from-dict"')
    assert registry.names == ["gmm", "vae", "from-file", "from-dict", "mine"]
    assert registry["mine"].program == Spec("mixture", {"components": 2})
    assert registry["from-file"].source == str(file)
    assert [("no such thing" in str(w.message), "progam" in str(w.message)) for w in warned] == [
        (True, False),
        (False, True),
    ]


# ------------------------------------------------------------------------------------------------- the user's code


def test_a_module_beside_the_users_models_is_importable_only_meanwhile(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "models.toml").write_text('[line]\nprogram = { use = "mine:line", factors = 3 }')
    before = list(sys.path)
    registry = Registry.load(models_file=folder / "models.toml")
    assert "mine" not in sys.modules
    assert registry["line"].check().resolve("program")("rows") == ("rows", 3)
    assert registry.recipe("line", ["factors=5"]).resolve("program")("rows") == ("rows", 5)
    assert sys.path == before
    with refuses("no setting 'factor'", "did you mean 'factors'"):
        registry["line"].set("program.factor", 1).check()


def test_a_broken_module_is_a_user_error(house):
    (house / "mine.py").write_text("1 / 0")
    before = list(sys.path)
    with refuses("program 'mine:line'", "ZeroDivisionError", str(house)):
        load('[line]\nprogram = "mine:line"')["line"].check()
    assert sys.path == before


def test_two_modules_of_one_name_are_not_mixed_up(house, tmp_path):
    (house / "mine.py").write_text(MINE)
    load('[line]\nprogram = "mine:line"')["line"].check()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text(MINE.replace("rows, factors\n", "None\n"))
    (other / "models.toml").write_text('[line]\nprogram = "mine:line"')
    with refuses("hidden by", "already loaded"):
        Registry.load(folder=other)["line"].check()


def test_a_run_may_not_bring_code(house, tmp_path):
    (house / "mine.py").write_text(MINE)
    known = load('[line]\nprogram = "mine:line"\n[other]\nlike = "line"\nprogram = { factors = 4 }')
    saved = known.recipe("other", {"program.factors": 9}).to_toml()
    known.allows(Recipe.from_toml(saved))
    assert known.admit(Recipe.from_toml(saved)).resolve("program")("rows") == ("rows", 9)
    stranger = load()
    with refuses("program 'mine:line'", "models.toml"):
        stranger.allows(Recipe.from_toml(saved))
    stranger.allows(Recipe.from_toml(stranger["vae"].set("program.dim", 3).to_toml()))


@pytest.mark.parametrize(
    "entry",
    [
        'guide = "os:system"',
        'program = { use = "latent", network = "os:system" }',
        'program = { use = "latent", network = { use = "os:system", command = "true" } }',
        'program = { use = "latent", network = { grid = ["mlp", "os:system"] } }',
        'guide = "mine:line"',
        'small = { "guide" = "os:system" }',
    ],
)
def test_a_run_may_not_bring_code_on_any_axis(entry):
    registry = load('[line]\nprogram = "mine:line"')
    program = "" if "program" in entry else 'program = "mixture"\n'
    with refuses("os:system|mine:line", "not zoo's own"):
        registry.allows(Recipe.from_toml(f"[x]\n{program}{entry}"))


def test_a_saved_recipe_does_not_say_where_code_is(house):
    (house / "mine.py").write_text(MINE)
    recipe = load('[line]\nprogram = "mine:line"')["line"]
    assert str(house) not in recipe.to_toml()
    with refuses("importing 'mine' failed"):
        Recipe.from_toml(recipe.to_toml(), source=str(house / "models.toml")).resolve("program")


def test_listing_models_imports_neither_torch_nor_any_target():
    root = Path(__file__).resolve().parent.parent
    code = "import sys, zoo.registry as r; r.Layer('x', {}); print({'torch', 'pyro', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
