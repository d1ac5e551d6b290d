"""A look at a label map: three planes of the scan with its structures in translucent color, as one SVG.

Everything on the person's left is warm (red to yellow), everything on the right cold (green to violet), and
what lies in the middle is pink, so that exchanged sides show at a glance. The two sides of a structure are
equally bright. The labels have the class `labels`, so that a page can hide them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.engines import pictures, resample
from brainatlas_text.engines.pictures import AXES, Color, Layout
from brainatlas_text.labels import canonical_table
from brainatlas_text.spaces import Affine, apply, invert
from brainatlas_text.volumes import Volume

VERSION = 1
OPACITY, QUALITY, MARGIN_MM = 0.5, 80, 4.0
_WARM, _COLD = (-0.04, 0.17), (0.36, 0.76)
"""Hues, as shares of the circle, of the left and the right side."""
_STEP, _FIRST = 5, 14
"""Of the hues taken one after the other: white matter and cortex stand far apart."""
_LIGHTNESS = (0.62, 0.5, 0.7, 0.42)
"""Taken in turn, so that structures of neighboring hues differ."""
_PALE = {"white matter": 0.5, "fluid": 0.25}
"""Saturation of groups that would drown all others."""


def draw_labels(image: Volume, labels: NDArray[np.uint8], point_mm: NDArray[np.float64]) -> str:
    """The SVG of a prepared scan (0 to 4095) and its labels (canonical numbers) on one closest-RAS grid.

    The planes run through a point of the scan, RAS+ mm, or the middle of what the scan shows where the point
    lies beside it.
    """
    shown = image.array > 0
    start, shape = _with_margin(resample.box_of(shown), image)
    center = _index(invert(image.affine), point_mm, start, shape)
    x, y, z = image.zooms_mm.tolist()
    layout, panels = Layout(shape=shape, zooms_mm=(x, y, z)), []
    for plane, (_, _, normal) in AXES.items():
        cut: list[Any] = [slice(first, first + length) for first, length in zip(start, shape, strict=True)]
        cut[normal] = center[normal]
        grey = np.clip(image.array[*cut] * (255 / pictures.WHITE), 0, 255).astype(np.uint8)
        content = pictures.grey_image(pictures.page(grey), QUALITY)
        content += pictures.color_image(pictures.page(labels[*cut]), colors(), OPACITY, "labels")
        panels.append(layout.panel(plane, content, lettered=True))
    return layout.svg("".join(panels))


@cache
def colors() -> Mapping[int, Color]:
    """Red, green and blue, 0 to 255, of each canonical number."""
    table = canonical_table()
    names = {
        side: [s.name for s in table.values() if s.side == side] for side in ("left", "right", "midline")
    }
    sided = list(dict.fromkeys(names["left"] + names["right"]))
    found: dict[int, Color] = {}
    for number, structure in table.items():
        if structure.side == "midline":
            place = names["midline"].index(structure.name)
            hue, lightness, saturation = 0.87, 0.45 + 0.45 * place / len(names["midline"]), 0.35
        else:
            place, (low, high) = sided.index(structure.name), _WARM if structure.side == "left" else _COLD
            hue = low + (high - low) * ((place * _STEP + _FIRST) % len(sided)) / len(sided)
            lightness, saturation = _LIGHTNESS[place % len(_LIGHTNESS)], _PALE.get(structure.group, 0.9)
        red, green, blue = (round(255 * c) for c in colorsys.hls_to_rgb(hue % 1, lightness, saturation))
        found[number] = red, green, blue
    return found


def _with_margin(box: resample.Box, image: Volume) -> resample.Box:
    """The box and a margin around it; the whole grid for an empty box."""
    start, shape = (np.array(part) for part in box)
    margin = np.ceil(MARGIN_MM / image.zooms_mm).astype(int)
    first, last = np.maximum(start - margin, 0), np.minimum(start + shape + margin, image.shape)
    if not shape.all():
        first, last = np.zeros(3, dtype=int), np.array(image.shape)
    i, j, k = (int(n) for n in first)
    a, b, c = (int(n) for n in last - first)
    return (i, j, k), (a, b, c)


def _index(
    vox_from_scan: Affine, point_mm: NDArray[np.float64], start: tuple[int, ...], shape: tuple[int, ...]
) -> list[int]:
    index = np.rint(apply(vox_from_scan, point_mm)).astype(int)
    inside = (index >= start) & (index < np.add(start, shape))
    if not inside.all():
        index = np.add(start, np.array(shape) // 2)
    return [int(n) for n in index]
