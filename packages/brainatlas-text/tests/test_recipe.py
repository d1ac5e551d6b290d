import tomllib

import pytest

from brainatlas_text import recipe
from brainatlas_text.errors import RecipeError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", recipe.names())
def test_every_packaged_recipe_loads_and_survives_its_own_resolved_form(name, tmp_path):
    loaded = recipe.load_recipe(name)
    assert loaded.name == name
    path = tmp_path / "resolved.toml"
    path.write_text(recipe.to_toml(loaded))
    assert recipe.load_recipe(str(path)) == loaded


def test_overrides_reach_their_key():
    loaded = recipe.load_recipe("demo", ["render.slice_step=2", "plan.splits=paper", "seed=11"])
    assert (loaded.render.slice_step, loaded.plan.splits, loaded.seed) == (2, "paper", 11)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("register.min_overlp=0.8", "unknown key register.min_overlp; did you mean register.min_overlap"),
        ("register.min_overlap=2.0", "register.min_overlap"),
        ("seed", "key=value"),
        ("name.x=1", "name is a value"),
    ],
)
def test_mistakes_name_the_key(override, words):
    with pytest.raises(RecipeError, match=words):
        recipe.load_recipe("demo", [override])


def test_broken_toml_names_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"mine\.toml: not valid TOML"):
        recipe.load_recipe(str(tmp_path / "mine.toml"))
    with pytest.raises(RecipeError, match="no such recipe"):
        recipe.load_recipe(str(tmp_path / "gone.toml"))


def test_differing_keys_are_named():
    demo, other = (recipe.to_toml(recipe.load_recipe("demo", o)) for o in ([], ["render.slice_step=2"]))
    assert recipe.differing_keys(demo, other) == ["render.slice_step"]
    assert tomllib.loads(demo)["render"]["slice_step"] == 4
