"""Charts by matplotlib as SVG inside a page: colors follow the page's theme, letters its font.

matplotlib (extra `plots`) writes fixed colors; it is given ones that stand for the page's variables, which
take their places in the text it wrote. Equal data, equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from markupsafe import Markup, escape

from brainatlas_text.errors import InputError

INK, SOFT, LINE, FIRST, SECOND, THIRD = (f"#0a0b0{n}" for n in range(1, 7))
"""Stand-ins, in no chart by chance."""
_ON_THE_PAGE = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
}
_UNITS_PER_INCH = 72
_SETTINGS: Any = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "none",  # letters stay letters: the page's font, readable aloud
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def check_plots() -> None:
    """Raise InputError where no chart can be drawn."""
    if find_spec("matplotlib") is None:
        raise InputError(
            "report: charts need matplotlib, which is not installed; pip install 'brainatlas-text[plots]'"
        )


def draw(name: str, words: str, width: float, height: float, content: Callable[[Any], None]) -> Markup:
    """The SVG, `width` by `height` units (11 to a line of text), of what `content` draws on axes.

    `name` keeps its inner names apart from other charts'; `words` are read aloud instead of it.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        size = (width / _UNITS_PER_INCH, height / _UNITS_PER_INCH)
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        axes = figure.subplots()
        axes.set_facecolor("none")
        content(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_a_page(text.getvalue(), re.sub(r"[^\w-]", "-", name), words)  # a style may have any name


def _for_a_page(svg: str, name: str, words: str) -> Markup:
    """The picture alone, without what a file of its own needs."""
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="[^"]+"', svg)
    inside = svg[svg.index(">") + 1 :]
    inside = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", inside)
    inside = re.sub(r"font-family: [^;\"]+;? ?", "", inside)
    for stand_in, color in _ON_THE_PAGE.items():
        inside = inside.replace(stand_in, color)
    inside = re.sub(r"\n\s*", "\n", inside)
    head = f'<svg class="chart" {box[0] if box else ""} role="img" aria-label="{escape(words)}">'
    return Markup(head + _own_names(inside, name))


def _own_names(inside: str, name: str) -> str:
    """Keep the ids that something refers to, apart from those of other charts on the page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', inside))
    inside = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", inside)
    return re.sub(r'(url\(#|href="#)([^")]+)', rf"\g<1>{name}-\g<2>", inside)
