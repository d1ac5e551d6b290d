"""Recipes: the settings of all stages as one strict TOML file.

`recipes/*.toml` in the package are the named ones; a path loads the user's own. A key that is not known is
refused with the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainatlas_text import prepare
from brainatlas_text.errors import RecipeError
from brainatlas_text.fuse import LabelConfig
from brainatlas_text.measure_tables import MeasureConfig
from brainatlas_text.plan import PlanConfig
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.render import RenderConfig
from brainatlas_text.warp import WarpConfig
from brainatlas_text.wording import CaptionConfig


class Recipe(BaseModel):
    """All settings that change the data set; the command line only adds places and resources."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Shown in card and provenance."""
    seed: int = Field(7, ge=0)
    """Of all chance: splits, blocks, order, phrase choice."""
    prepare: PrepareConfig = PrepareConfig()
    register_: RegisterConfig = Field(RegisterConfig(), alias="register")
    warp: WarpConfig = WarpConfig()
    label: LabelConfig = LabelConfig()
    plan: PlanConfig = PlanConfig()
    render: RenderConfig = RenderConfig()
    measure: MeasureConfig = MeasureConfig()
    caption: CaptionConfig = CaptionConfig()


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a named recipe or a TOML file, with `key=value` overrides such as `render.slice_step=2`."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"{path}: no such recipe file")
        where, text = str(path), path.read_text(encoding="utf-8")
    else:
        where, text = f"{name_or_path}.toml", _packaged(name_or_path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not valid TOML: {error}") from error
    _find_phrases(values, path.absolute().parent)
    for override in overrides:
        _override(values, override)
    return _checked(values, where)


def names() -> tuple[str, ...]:
    """Names of the recipes that the package carries."""
    folder = resources.files("brainatlas_text") / "recipes"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe: every key, defaults included."""
    values = recipe.model_dump(by_alias=True, mode="json", exclude_none=True)
    return tomli_w.dumps(values)


def freeze(recipe: Recipe, begun_toml: str | None) -> Recipe:
    """Replace what is chosen automatically by the choice a data set was begun with, or by today's.

    Raises RecipeError for a choice that is not available here (any more).
    """
    chosen = _flat(tomllib.loads(begun_toml)).get("prepare.mask") if begun_toml else None
    frozen: dict[str, object] = {"prepare": prepare.freeze(recipe.prepare, chosen)}
    if recipe.register_.method == "direct":  # its affines carry the labels too
        frozen["warp"] = recipe.warp.model_copy(update={"method": "none"})
    return recipe.model_copy(update=frozen)


def differing_keys(old_toml: str, new_toml: str) -> list[str]:
    """Dotted keys whose values differ between two resolved recipes."""
    old, new = _flat(tomllib.loads(old_toml)), _flat(tomllib.loads(new_toml))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _packaged(name: str) -> str:
    if name not in names():
        close = get_close_matches(name, names(), n=1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"known: {', '.join(names())}, or a path to a .toml file"
        )
        raise RecipeError(f"unknown recipe {name!r}; {hint}")
    return (resources.files("brainatlas_text") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def _find_phrases(values: dict[str, Any], folder: Path) -> None:
    """Let phrase files that a recipe names lie relative to itself."""
    words = values.get("caption")
    if isinstance(words, dict) and isinstance(words.get("phrases"), list):
        words["phrases"] = [str(folder / str(file)) for file in words["phrases"]]


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override}: expected key=value, such as render.slice_step=2")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"--set {override}: {parent} is a value, not a table")
    values[last] = value


def _checked(values: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] != "extra_forbidden":
            raise RecipeError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from error
        known = _flat(Recipe(name="").model_dump(by_alias=True))
        close = get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise RecipeError(f"{where}: unknown key {key}{hint}") from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
