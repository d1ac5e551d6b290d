"""The frame of every page: templates in, one self-contained HTML text out.

Everything that comes from outside is escaped; only pictures drawn by this package go in as they are. A
content security policy in the page itself forbids any request.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brainatlas_text.workspace import write_text


def render(template: str, **values: object) -> str:
    """The page that a template of `templates/` makes of the values; an unknown name in it is an error."""
    text = _environment().get_template(template).render(values)
    return text.encode("utf-8", "replace").decode("utf-8")  # file names may hold bytes that are no UTF-8


def picture(path: Path) -> Markup | None:
    """An SVG of this package's own making, to be set into a page as it is; None where the file is gone."""
    return Markup(path.read_text(encoding="utf-8")) if path.is_file() else None


def write(path: Path, page: str) -> Path:
    """Write a page unless it stands there already; its path."""
    if not path.is_file() or path.read_text(encoding="utf-8") != page:
        write_text(path, page)
    return path


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("brainatlas_text.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
