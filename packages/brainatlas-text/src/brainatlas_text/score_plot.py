"""A plot of label scores: a row a structure; Dice, 95 % Hausdorff distance and volume error side by side.

Triangles point to the side they stand for, dots are of the midline. Colors tell the methods apart; of one
method alone they tell the sequences apart, which else differ by their filling. Matplotlib draws it (extra
`plots`); the ending of the file's name says in which format. Equal scores, equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from brainatlas_text.errors import InputError
from brainatlas_text.scores import GroupScores, MeanScore, mean_dice
from brainatlas_text.workspace import atomic_path

FORMATS = (".svg", ".png", ".pdf")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, which people with any color vision tell apart."""
_SIDES = {"left": "<", "right": ">"}
_FILLED = {"T1w": 1.0, "T2w": 0.0, "FLAIR": 0.4, "": 1.0}
_PANELS = (
    ("dice", "Dice"),
    ("hd95_mm", "95 % Hausdorff\ndistance (mm)"),
    ("volume_error", "volume\nerror (%)"),
)
_ROW_INCHES, _DODGE_INCHES = 0.16, 0.07


def check_plot(path: Path) -> str | None:
    """Why no plot can be drawn here, if so; raises InputError for an ending that cannot be written."""
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        return "matplotlib is not installed; pip install 'brainatlas-text[plots]'"
    return None


def write_plot(groups: Sequence[GroupScores], path: Path) -> None:
    """Draw the means of each group, where `check_plot` found nothing."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(_row(score)[0] for group in groups for score in group.structures))
    row_inches = _ROW_INCHES + _DODGE_INCHES * len(groups)
    settings: Any = {"font.size": 9, "svg.hashsalt": "scores", "axes.axisbelow": True, "axes.linewidth": 0.6}
    with matplotlib.rc_context(settings):
        figure = Figure(
            figsize=(6.6, 1.5 + 0.16 * (len(groups) + 2) + row_inches * len(rows)), layout="constrained"
        )
        axes = figure.subplots(1, len(_PANELS), sharey=True, width_ratios=(2.4, 1.2, 1.2))
        for panel, (figure_name, title) in zip(axes, _PANELS, strict=True):
            _draw_panel(panel, groups, rows, figure_name)
            panel.set_title(title, fontsize=9)
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        _set_ranges(axes, groups)
        figure.legend(handles=_legend(groups), loc="outside lower center", frameon=False)
        metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        with atomic_path(path) as part:
            figure.savefig(part, dpi=200, metadata=metadata[path.suffix])


def _draw_panel(panel: Any, groups: Sequence[GroupScores], rows: Sequence[str], name: str) -> None:
    for row in range(0, len(rows), 2):
        panel.axhspan(row - 0.5, row + 0.5, color="#f2f2f2", linewidth=0)
    panel.grid(axis="x", color="#cccccc", linewidth=0.5)
    panel.tick_params(axis="y", length=0)
    styles = _styles(groups)
    for place, (group, style) in enumerate(zip(groups, styles, strict=True)):
        shift = 0.7 * ((place + 0.5) / len(groups) - 0.5)
        for score in group.structures:
            structure, side = _row(score)
            if (value := getattr(score, name)) is not None:
                height = rows.index(structure) + shift
                panel.plot(value, height, marker=_SIDES.get(side, "o"), **style)


def _set_ranges(axes: Any, groups: Sequence[GroupScores]) -> None:
    scores = [score for group in groups for score in group.structures]
    least = min(score.dice for score in scores)
    axes[0].set_xlim(max(-0.02, min(0.48, least - 0.05)), 1.02)
    axes[1].set_xlim(0, 1.08 * max(score.hd95_mm or 0.0 for score in scores) or 1.0)
    most = max(0.1, *(abs(score.volume_error) for score in scores))
    axes[2].set_xlim(-1.1 * most, 1.1 * most)
    axes[2].axvline(0, color="#888888", linewidth=0.8)
    axes[2].xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}" if value else "0")
    axes[2].locator_params(axis="x", nbins=3)


def _legend(groups: Sequence[GroupScores]) -> list[Any]:
    """A group a line, with its mean Dice over the standard structures, or over all where there are none."""
    from matplotlib.lines import Line2D

    handles = []
    for group, style in zip(groups, _styles(groups), strict=True):
        mean = mean_dice(group.standard or group.structures)
        name = " ".join(filter(None, (group.method, group.sequence)))
        label = f"{name}: mean Dice {mean:.3f}, {group.scans} scan{'s' * (group.scans > 1)}"
        handles.append(Line2D([], [], marker="o", label=label, **style))
    sides: Any = {"color": "#555555", "markersize": 5, "linestyle": "none"}
    if any(_row(score)[1] for group in groups for score in group.structures):
        handles += [Line2D([], [], marker=mark, label=side, **sides) for side, mark in _SIDES.items()]
    return handles


def _styles(groups: Sequence[GroupScores]) -> list[dict[str, Any]]:
    methods = list(dict.fromkeys(group.method for group in groups))
    sequences = list(dict.fromkeys(group.sequence for group in groups))
    styles = []
    for group in groups:
        several = len(methods) > 1
        place = methods.index(group.method) if several else sequences.index(group.sequence)
        color = COLORS[place % len(COLORS)]
        filled = _FILLED[group.sequence] if several else 1.0
        styles.append(
            {
                "color": color,
                "markerfacecolor": (color, filled),
                "markeredgecolor": color,
                "markeredgewidth": 0.8,
                "markersize": 5,
                "linestyle": "none",
            }
        )
    return styles


def _row(score: MeanScore) -> tuple[str, str]:
    """A structure's name without its side, and the side."""
    first, _, rest = score.structure.partition(" ")
    return (rest, first) if first in _SIDES else (score.structure, "")
