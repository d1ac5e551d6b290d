"""Recipes: everything that makes a run what it is, as one strict TOML file."""

from __future__ import annotations

import difflib
import importlib.resources
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ValidationError

from brainldm.encode_latents import LatentsConfig
from brainldm.errors import RecipeError
from brainldm.generate import ModelConfig
from brainldm.records import Precision
from brainldm.train_ldm import LdmTraining
from brainldm.train_vae import VaeTraining


class Recipe(ModelConfig):
    """A model and how it is trained."""

    name: str
    seed: int = 0
    precision: Precision | Literal["auto"] = "auto"
    """`auto` = bf16 where the processor computes in it, fp32 elsewhere; a run records what it was."""
    vae: VaeTraining
    latents: LatentsConfig = LatentsConfig()
    ldm: LdmTraining


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = importlib.resources.files("brainldm") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe by name, or from a TOML file, with `key=value` overrides.

    Args:
        name: such as `demo`, or a path that ends in `.toml`.
        overrides: such as `ldm.batch_size=16`; values are TOML, bare words are strings.

    Raises:
        RecipeError: no such recipe, an unknown key, a wrong value.
    """
    text, where = _read(str(name))
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: expected TOML, found {error}") from None
    content.setdefault("name", Path(str(name)).stem)
    for override in overrides:
        _set(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, Recipe)}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, every default written out."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def first_difference(one: Recipe, other: Recipe) -> str | None:
    """`key: value against value` of the first key that differs; None where none does."""
    ours, theirs = _flatten(one.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
    for key in ours:
        if ours[key] != theirs.get(key):
            return f"{key}: {theirs.get(key)} against {ours[key]}"
    return None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault in one line; an unknown key with the nearest known one."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {key}; {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    found = "" if isinstance(fault["input"], dict) else f", found {fault['input']!r}"
    return f"{key}: {message}{found}" if key else message


def _read(name: str) -> tuple[str, str]:
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise RecipeError(f"{path}: no such recipe file; recipes by name: {', '.join(recipe_names())}")
        return path.read_text(), str(path)
    if name not in recipe_names():
        near = difflib.get_close_matches(name, recipe_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "or give a file that ends in .toml"
        raise RecipeError(f"recipe {name}: expected one of {', '.join(recipe_names())}; {hint}")
    entry = importlib.resources.files("brainldm") / "recipes" / f"{name}.toml"
    return entry.read_text(), f"{name}.toml"


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}: expected key=value, for example --set ldm.batch_size=16")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *tables, last = key.split(".")
    place = content
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override}: {table} is a value, not a table")
    place[last] = parsed


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)


def _flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
