from pathlib import Path

import pytest

from brainldm.errors import RecipeError
from brainldm.recipe import dump_recipe, first_difference, load_recipe, recipe_names

pytestmark = pytest.mark.unit


def test_every_recipe_of_the_package_loads_and_survives_being_written(tmp_path: Path):
    assert recipe_names() == ["demo", "paper", "small"]
    for name in recipe_names():
        recipe = load_recipe(name)
        (tmp_path / "recipe.toml").write_text(dump_recipe(recipe))
        again = load_recipe(tmp_path / "recipe.toml")
        assert again == recipe and recipe.name == name and first_difference(recipe, again) is None


def test_the_paper_is_the_papers():
    paper = load_recipe("paper")
    assert paper.latent_shape == (1, 64, 64)
    assert paper.vae.images == paper.ldm.images == 100 * 24_000
    assert (paper.vae.batch_size, paper.ldm.batch_size) == (26, 40)
    assert paper.unet.attention == (False, False, True, True)


def test_overrides_reach_nested_keys_and_take_toml_or_words():
    recipe = load_recipe(
        "demo", ["ldm.batch_size=8", "text.encoder=./my encoder", 'data.planes=["axial"]', "vae.loss.kl=1e-3"]
    )
    assert (recipe.ldm.batch_size, recipe.text.encoder) == (8, "./my encoder")
    assert recipe.data.planes == ("axial",) and recipe.vae.loss.kl == 1e-3
    assert first_difference(recipe, load_recipe("demo")) is not None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vae.loss.adverserial=1", "demo.toml: unknown key vae.loss.adverserial; did you mean adversarial"),
        ("sampling.stepss=1", "unknown key sampling.stepss; did you mean steps?"),
        ("ldm.batch_size=0", "ldm.batch_size: Input should be greater than 0, found 0"),
        ("diffusion.schedule=cosine", "diffusion: objective flow needs schedule straight, got cosine"),
        ("data.image_size=60", "crop must be even and a multiple of image_size, got 192 and 60"),
        ("autoencoder.patch=32", "data.image_size must be a multiple of 128"),
        ("ldm.batch_size", "expected key=value, for example"),
        ("name.of=1", "name is a value, not a table"),
    ],
)
def test_a_wrong_key_or_value_says_where_and_what(override: str, message: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", [override])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_recipe_names_those_there_are(tmp_path: Path):
    with pytest.raises(
        RecipeError, match=r"recipe papr: expected one of demo, paper, small; did you mean paper\?"
    ):
        load_recipe("papr")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(RecipeError, match=r"bad\.toml: expected TOML"):
        load_recipe(tmp_path / "bad.toml")
