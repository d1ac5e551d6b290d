"""Resampling a volume and encoding its slices, beside the library calls one would write by hand."""

from __future__ import annotations

import io
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.engines import png, resample
from brainatlas_text.hub import load_hub

REPEATS = 5
SLICES = 32


def alternate(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    """Median CPU seconds of both, measured in turn; one call each goes ahead uncounted."""
    ours(), plain()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for call, found in zip((ours, plain), times, strict=True):
            begin = time.process_time()
            call()
            found.append(time.process_time() - begin)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, count: int, unit: str, plain_is: str, seconds: tuple[float, float]) -> dict[str, object]:
    """One line of the table: rates from seconds."""
    ours, plain = (count / value for value in seconds)
    return {
        "what": what,
        "unit": unit,
        "ours": ours,
        "plain": plain,
        "plain_is": plain_is,
        "repeats": REPEATS,
    }


def main() -> None:
    """Print the rows as JSON."""
    image = load_hub().image.array.astype(np.uint16) * 16
    labels = (image // 512).astype(np.uint8)
    matrix = spaces.translation((3.2, -1.7, 2.4))
    matrix[:2, :2] = [[0.995, -0.1], [0.1, 0.995]]
    box = ((0, 0, 0), image.shape)
    linear = alternate(
        lambda: resample.linear(image, matrix, box),
        lambda: ndimage.affine_transform(image.astype(np.float32), matrix, order=1),
    )
    nearest = alternate(
        lambda: resample.nearest(labels, matrix, box),
        lambda: ndimage.affine_transform(labels, matrix, order=0),
    )
    noise = np.random.default_rng(0).normal(0, 6, (SLICES, 256, 256))
    pages = np.zeros((SLICES, 256, 256))
    pages[:, 11:244, 30:227] = image.transpose(2, 1, 0)[60 : 60 + SLICES] / 16
    pages = np.where(pages > 0, (pages + noise).clip(1, 255), 0).astype(np.uint8)
    encoding = alternate(
        lambda: [png.encode_grey(page) for page in pages], lambda: [pillow(page) for page in pages]
    )
    num_axial = image.shape[2]
    scipy_is = "scipy.ndimage.affine_transform"
    print(
        json.dumps(
            [
                row("resample an image, linear", num_axial, "slices/s", scipy_is, linear),
                row("resample labels, nearest", num_axial, "slices/s", scipy_is, nearest),
                row("encode a slice as PNG", SLICES, "slices/s", "Pillow, compress_level=1", encoding),
            ]
        )
    )


def pillow(page: np.ndarray) -> bytes:
    """PNG bytes by Pillow's fastest setting."""
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
