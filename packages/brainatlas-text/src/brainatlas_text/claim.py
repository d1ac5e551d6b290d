"""Whose a data set folder is: `recipe.toml` holds the resolved recipe and the call that began it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brainatlas_text.errors import OutputError
from brainatlas_text.recipe import Recipe, differing_keys, to_toml
from brainatlas_text.workspace import Workspace, write_text


def begun(workspace: Workspace) -> str | None:
    """The resolved recipe with which a data set was begun."""
    path = workspace.root / "recipe.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def claim(workspace: Workspace, recipe: Recipe, call: Sequence[str], phrases: Mapping[str, str]) -> None:
    """Make the folder ours, or raise OutputError for one that holds something else.

    `call` is what besides the recipe makes the data set this one, a line for each flag; `phrases` are the
    files that the recipe names, path -> text, which are kept beside it.
    """
    path, text, found = workspace.root / "recipe.toml", to_toml(recipe), begun(workspace)
    if found is None:
        if workspace.root.is_dir() and any(workspace.root.iterdir()):
            raise OutputError(
                f"{workspace.root}: not empty and not a data set of brainatlas-text; choose another --out"
            )
        workspace.make()
        write_text(path, "".join(f"# {line}\n" for line in call) + text)
        _keep(workspace, phrases)
        return
    differing = differing_keys(found, text)
    before = [line.removeprefix("# ") for line in found.splitlines() if line.startswith("# ")]
    differing += sorted({_flag(line) for line in set(before) ^ set(call)})
    kept = {name: workspace.root / name for name in phrases}
    differing += [n for n, p in kept.items() if p.is_file() and p.read_text(encoding="utf-8") != phrases[n]]
    if differing:
        raise OutputError(
            f"{workspace.root}: built with another configuration (differs in {', '.join(differing)}); "
            "choose another --out, or remove the folder to build anew"
        )
    _keep(workspace, phrases)


def _keep(workspace: Workspace, phrases: Mapping[str, str]) -> None:
    for name, text in phrases.items():
        write_text(workspace.root / name, text)


def _flag(line: str) -> str:
    return next(word for word in line.split() if word.startswith("--"))
