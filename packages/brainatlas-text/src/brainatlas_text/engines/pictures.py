"""A look at a scan: three planes of its own voxels with the outline of its brain mask, as one SVG.

The voxels are shown as they are stored, stretched to their size in mm; the outline runs along their edges, so
neither is resampled. The subject's left is on the picture's left; front is up in axial, up is up in coronal
and sagittal, front is right in sagittal. The outline has the class `outline`, so that a page can hide it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainatlas_text.engines import resample
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.records import Plane
from brainatlas_text.volumes import Volume

VERSION = 1
JPEG_QUALITY = 90
"""Half the bytes of PNG on real slices, no difference to the eye."""
OUTLINE = "#ff6f0f"
"""Shows on black, grey and white alike."""
MARGIN_MM, GAP_MM = 6.0, 4.0
WHITE = 4095.0
"""Brightest value of a prepared image."""
LETTER_SHARE = 0.022
"""Height of the letters as a share of the picture's width."""
_AIR = 0.04
"""Share of the window's height below which a voxel shows nothing."""
AXES: Mapping[Plane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Columns, rows and normal of each plane, as axes of a closest-RAS array."""
Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
_SIDES = {0: ("L", "R"), 1: ("P", "A")}
"""Letters at the left and right edge, by the axis that the columns follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Axial, coronal and sagittal plane of one closest-RAS grid side by side; 1 unit = 1 mm."""

    shape: tuple[int, int, int]
    """Voxels of the part that is shown."""
    zooms_mm: tuple[float, float, float]

    @property
    def sizes_mm(self) -> tuple[float, float, float]:
        """Extent of what is shown along the grid's axes."""
        i, j, k = (n * zoom for n, zoom in zip(self.shape, self.zooms_mm, strict=True))
        return i, j, k

    @property
    def width(self) -> float:
        """Of the whole picture."""
        return sum(self.sizes_mm[columns] + GAP_MM for columns, _, _ in AXES.values()) - GAP_MM

    @property
    def height(self) -> float:
        """Of the whole picture."""
        return max(self.sizes_mm[rows] for _, rows, _ in AXES.values())

    def panel(self, plane: Plane, content: str, *, lettered: bool = False) -> str:
        """What a plane shows, drawn in its pixels from the upper left corner, put in its place."""
        columns, rows, _ = AXES[plane]
        before = [AXES[other][0] for other in AXES][: list(AXES).index(plane)]
        left = sum(self.sizes_mm[axis] + GAP_MM for axis in before)
        top = (self.height - self.sizes_mm[rows]) / 2
        letters = _letters(_SIDES[columns], self.sizes_mm[columns], LETTER_SHARE * self.width)
        return (
            f'<g transform="translate({left:.1f} {top:.1f})">'
            f'<g transform="scale({self.zooms_mm[columns]:.5f} {self.zooms_mm[rows]:.5f})">{content}</g>'
            f"{letters if lettered else ''}</g>"
        )

    def svg(self, content: str) -> str:
        """The picture, on black."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.1f} {self.height:.1f}">'
            f'<rect width="{self.width:.1f}" height="{self.height:.1f}"/>{content}</svg>\n'
        )


def draw_planes(image: Volume, mask: BoolArray | None = None) -> str:
    """The SVG of a closest-RAS volume, with the outline of its mask.

    The planes run through the mask's center of mass, or the middle of the grid where there is no mask. Air
    around what is shown is cropped away.
    """
    shown = mask if mask is not None and mask.any() else None
    low, high = _window(image.array, shown)
    start, shape = _box(image, shown, low + _AIR * (high - low))
    center = _center(image.shape, shown)
    x, y, z = image.zooms_mm.tolist()
    layout, panels = Layout(shape=shape, zooms_mm=(x, y, z)), []
    for plane, (_, _, normal) in AXES.items():
        cut: list[Any] = [slice(first, first + length) for first, length in zip(start, shape, strict=True)]
        cut[normal] = center[normal]
        grey = np.clip((image.array[*cut] - low) / (high - low), 0, 1) * 255
        content = grey_image(page(grey.astype(np.uint8)))
        if shown is not None:
            content += outline(page(shown[*cut]))
        panels.append(layout.panel(plane, content, lettered=True))
    return layout.svg("".join(panels))


def page(cut: NDArray[Any]) -> NDArray[Any]:
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


def grey_image(pixels: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> str:
    """A grey picture of shape (rows, columns), one unit a pixel."""
    return _image(pixels.shape, "image/jpeg", _encoded(Image.fromarray(pixels), "JPEG", quality=quality))


def color_image(labels: NDArray[np.uint8], colors: Mapping[int, Color], opacity: float, kind: str) -> str:
    """A label image of shape (rows, columns) in the colors of its numbers, nothing where it is 0."""
    present, places = np.unique(np.append(0, labels), return_inverse=True)  # 0 is always the first
    picture = Image.fromarray(places[1:].reshape(labels.shape).astype(np.uint8), "P")
    picture.putpalette([part for number in present for part in colors.get(int(number), (0, 0, 0))])
    data = _encoded(picture, "PNG", optimize=True, transparency=0)
    return f'<g class="{kind}" opacity="{opacity:g}">{_image(labels.shape, "image/png", data)}</g>'


def outline(mask: BoolArray, kind: str = "outline", color: str = OUTLINE) -> str:
    """The edges between mask and rest as a line one screen pixel wide; nothing for an empty mask."""
    edges = _edges(mask)
    return edges and (
        f'<path class="{kind}" d="{edges}" fill="none" stroke="{color}" stroke-width="1" '
        'stroke-linecap="square" vector-effect="non-scaling-stroke"/>'
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


def _image(shape: tuple[int, ...], kind: str, data: bytes) -> str:
    rows, columns = shape
    uri = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return f'<image width="{columns}" height="{rows}" preserveAspectRatio="none" href="{uri}"/>'


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, form, **options)
    return data.getvalue()


def _edges(mask: BoolArray) -> str:
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
