"""Brain scans of healthy people, turned into image/label/text samples in which every number is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainatlas_text.dataset import BrainAtlas
    from brainatlas_text.download import FetchConfig, FetchSummary, fetch
    from brainatlas_text.errors import BrainAtlasError, InputError
    from brainatlas_text.pipeline import BuildConfig, BuildSummary, build
    from brainatlas_text.recipe import Recipe, load_recipe
    from brainatlas_text.sources import Selection

__all__ = [
    "BrainAtlas", "BrainAtlasError", "BuildConfig", "BuildSummary", "FetchConfig", "FetchSummary",
    "InputError", "Recipe", "Selection", "build", "fetch", "load_recipe",
]  # fmt: skip
_HOMES = {
    "BrainAtlas": "dataset",
    "BrainAtlasError": "errors",
    "BuildConfig": "pipeline",
    "BuildSummary": "pipeline",
    "FetchConfig": "download",
    "FetchSummary": "download",
    "InputError": "errors",
    "Recipe": "recipe",
    "Selection": "sources",
    "build": "pipeline",
    "fetch": "download",
    "load_recipe": "recipe",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line's `--help` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
