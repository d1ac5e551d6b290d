"""A look at a scan: three planes of its own voxels with the outline of its brain mask, as one SVG.

The voxels are shown as they are stored, stretched to their size in mm; the outline runs along their edges, so
neither is resampled. The subject's left is on the picture's left; front is up in axial, up is up in coronal
and sagittal, front is right in sagittal. The outline has the class `outline`, so that a page can hide it.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainatlas_text.engines import resample
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.volumes import Volume

VERSION = 1
JPEG_QUALITY = 90
"""Half the bytes of PNG on real slices, no difference to the eye."""
OUTLINE = "#ff6f0f"
"""Shows on black, grey and white alike."""
MARGIN_MM, GAP_MM = 6.0, 4.0
LETTER_SHARE = 0.022
"""Height of the letters as a share of the picture's width."""
_AIR = 0.04
"""Share of the window's height below which a voxel shows nothing."""
_AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Columns, rows and normal of each plane, as axes of a closest-RAS array."""
_SIDES = {0: ("L", "R"), 1: ("P", "A")}
"""Letters at the left and right edge, by the axis that the columns follow."""


def draw_planes(image: Volume, mask: BoolArray | None = None) -> str:
    """The SVG of a closest-RAS volume: axial, coronal, sagittal side by side, 1 unit = 1 mm.

    The planes run through the mask's center of mass, or the middle of the grid where there is no mask. Air
    around what is shown is cropped away.
    """
    shown = mask if mask is not None and mask.any() else None
    low, high = _window(image.array, shown)
    start, shape = _box(image, shown, low + _AIR * (high - low))
    center = _center(image.shape, shown)
    sizes_mm = shape * image.zooms_mm
    width = float(sum(sizes_mm[columns] + GAP_MM for columns, _, _ in _AXES.values())) - GAP_MM
    height = max(sizes_mm[rows] for _, rows, _ in _AXES.values())
    panels, left = [], 0.0
    for columns, rows, normal in _AXES.values():
        cut: list[Any] = [slice(first, first + length) for first, length in zip(start, shape, strict=True)]
        cut[normal] = center[normal]
        grey = np.clip((image.array[*cut] - low) / (high - low), 0, 1) * 255
        edges = _outline(_page(shown[*cut])) if shown is not None else ""
        zooms = (float(image.zooms_mm[columns]), float(image.zooms_mm[rows]))
        corner = (left, float(height - sizes_mm[rows]) / 2)
        letters = _letters(_SIDES[columns], float(sizes_mm[columns]), LETTER_SHARE * width)
        place = f'<g transform="translate({corner[0]:.1f} {corner[1]:.1f})">'
        panels.append(place + _plane(_page(grey.astype(np.uint8)), edges, zooms) + letters + "</g>")
        left += float(sizes_mm[columns]) + GAP_MM
    back = f'<rect width="{width:.1f}" height="{height:.1f}"/>'
    box = f'viewBox="0 0 {width:.1f} {height:.1f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{back}{"".join(panels)}</svg>\n'


def _page(cut: NDArray[Any]) -> NDArray[Any]:
    """A slice of shape (columns, rows) as rows from the top: up and front are up, left is left."""
    return np.ascontiguousarray(cut.T[::-1])


def _window(array: NDArray[np.float32], mask: BoolArray | None) -> tuple[float, float]:
    """Intensities shown as black and white: the brain fills the scale, fat may saturate."""
    coarse = array[::2, ::2, ::2]
    low = float(np.percentile(coarse, 2.0))
    bright = array[mask] if mask is not None else coarse[coarse > low]
    high = float(np.percentile(bright, 99.8)) if bright.size else low
    return low, max(high, low + 1e-6)


def _box(image: Volume, mask: BoolArray | None, air: float) -> resample.Box:
    """The part of the grid that shows something or is in the mask, with a margin."""
    content = image.array > air
    start, shape = resample.box_of(content if mask is None else content | mask)
    margin = np.ceil(MARGIN_MM / image.zooms_mm).astype(int)
    first = np.maximum(np.array(start) - margin, 0)
    last = np.minimum(np.array(start) + shape + margin, image.shape)
    if not content.any():
        first, last = np.zeros(3, dtype=int), np.array(image.shape)
    i, j, k = (int(n) for n in first)
    a, b, c = (int(n) for n in last - first)
    return (i, j, k), (a, b, c)


def _center(shape: tuple[int, int, int], mask: BoolArray | None) -> tuple[int, ...]:
    if mask is None:
        return tuple(n // 2 for n in shape)
    total = int(mask.sum())
    sums = (mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
    return tuple(round(float((counts * np.arange(counts.size)).sum()) / total) for counts in sums)


def _plane(pixels: NDArray[np.uint8], edges: str, zooms_mm: tuple[float, float]) -> str:
    """Pixels and outline of one plane, stretched to mm."""
    rows, columns = pixels.shape
    path = (
        f'<path class="outline" d="{edges}" fill="none" stroke="{OUTLINE}" stroke-width="1" '
        'stroke-linecap="square" vector-effect="non-scaling-stroke"/>'
    )
    return (
        f'<g transform="scale({zooms_mm[0]:.5f} {zooms_mm[1]:.5f})">'
        f'<image width="{columns}" height="{rows}" preserveAspectRatio="none" href="{_data_uri(pixels)}"/>'
        f"{path if edges else ''}</g>"
    )


def _letters(sides: tuple[str, str], width_mm: float, height_mm: float) -> str:
    """The letters of the picture's left and right side, in its upper corners."""
    style = (
        f'y="{1.1 * height_mm:.1f}" font-family="sans-serif" font-weight="bold" '
        f'font-size="{height_mm:.1f}" fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke"'
    )
    left, right = f"{0.2 * height_mm:.1f}", f"{width_mm - 0.2 * height_mm:.1f}"
    return (
        f'<text x="{left}" {style}>{sides[0]}</text>'
        f'<text x="{right}" text-anchor="end" {style}>{sides[1]}</text>'
    )


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _outline(mask: BoolArray) -> str:
    """The edges between mask and rest as an SVG path, in pixels from the upper left corner."""
    padded = np.pad(mask, 1)
    flat = padded[1:, 1:-1] != padded[:-1, 1:-1]  # edges above each row and below the last
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]
    across = [f"M{first} {row}h{length}" for row, first, length in _runs(flat)]
    down = [f"M{column} {first}v{length}" for column, first, length in _runs(upright.T)]
    return "".join(across + down)


def _runs(lines: BoolArray) -> list[tuple[int, int, int]]:
    """(line, first, length) of each unbroken run of true values along the lines."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    line, first = np.nonzero(steps == 1)
    length = np.nonzero(steps == -1)[1] - first
    return list(zip(line.tolist(), first.tolist(), length.tolist(), strict=True))
