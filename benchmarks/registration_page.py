"""The registration page of 201 scans with warps: its size, and what its pictures cost."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from brainatlas_text import spaces
from brainatlas_text.engines.hub_pictures import draw_hub, draw_scan
from brainatlas_text.engines.label_pictures import draw_labels
from brainatlas_text.engines.pictures import WHITE
from brainatlas_text.hub import load_hub
from brainatlas_text.pages.labels import Labeled, write_labels_page
from brainatlas_text.pages.registration import Registered, write_registration_page
from brainatlas_text.records import Facts, LabeledScan, Preparation, PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, TransformQuality
from brainatlas_text.volumes import Volume

SCANS, REPEATS = 201, 5


def brain() -> tuple[Volume, Volume]:
    """The template as a prepared scan with noise (SNR 30), and its mask."""
    hub = load_hub()
    noise = np.random.default_rng(0).normal(0, 1 / 30, hub.image.shape)
    values = (hub.image.array / hub.image.array.max() + noise).clip(0.001, 1) * WHITE
    image = np.where(hub.mask.array > 0, values, 0).astype(np.uint16)
    return Volume(image, hub.image.affine), hub.mask


def sides(mask: Volume) -> np.ndarray:
    """Eight made-up structures on each side of a mask, in cells of 9 mm: about the edges of a label map."""
    index = np.indices(mask.shape)
    numbers = np.array([2, 3, 4, 8, 10, 11, 12, 17, 41, 42, 43, 47, 49, 50, 51, 53], dtype=np.uint8)
    left = index[0] < mask.shape[0] // 2
    cell = (index[0] // 9 + index[1] // 9 + index[2] // 9) % 8
    return np.where(mask.array > 0, numbers[cell + np.where(left, 0, 8)], 0).astype(np.uint8)


def records(number: int) -> tuple[PreparedScan, HubTransform, HubWarp, LabeledScan]:
    """A made-up scan of that number, registered, bent and labeled."""
    key, rng = f"ixi-{number:03d}-t1w", np.random.default_rng(number)
    preparation = Preparation(
        stored_codes="RAS", stored_shape=(1, 1, 1), stored_zooms_mm=(1.0, 1.0, 1.0), oblique_deg=0.0,
        mask_method="embedded", mask_detail="", brain_ml=1400.0, bias_correction=None,
        intensity_range=(0.0, 1.0), histogram_before=(1,), histogram_after=(1,),
    )  # fmt: skip
    scan = PreparedScan(
        key=key, subject=key[:7], source=("ibsr", "ixi", "kirby", "oasis")[number % 4], sequence="T1w",
        image=Path("i"), mask=Path("m"), dseg=None, look=Path("l"), facts=Facts(), terms="ixi",
        source_zooms_mm=(1.0, 1.0, 1.0), orientation_source="header", preparation=preparation, digest="",
    )  # fmt: skip
    quality = TransformQuality(
        similarity=rng.normal(0.2, 0.01), overlap=rng.normal(0.95, 0.01), determinant=rng.normal(1.4, 0.1),
        scales=(1.05, 1.1, 1.2), shear_deg=rng.normal(3, 0.5), jacobian=(0.3, 4.0),
    )  # fmt: skip
    rows = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    affine, warp, labels = (Path("work") / kind / f"{key}.svg" for kind in ("affine", "warp", "labels"))
    return (
        scan,
        HubTransform(key=key, hub_from_scan=rows, quality=quality, look=affine, digest=""),
        HubWarp(
            key=key, bent_from_hub=Path("b"), hub_from_bent=Path("h"), quality=quality, look=warp, digest=""
        ),
        LabeledScan(
            key=key, dseg=Path("d"), agreement=Path("a"), label_method="majority", voters=("ibsr-01-t1w",),
            terms="ibsr", digest="", mean_agreement=0.9, labeled_share=0.92, look=labels,
        ),
    )  # fmt: skip


def median_cpu_s(call: Callable[[], object]) -> float:
    """Median CPU seconds of a call."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def measure(root: Path) -> list[dict[str, object]]:
    """Sizes and costs of pages whose pictures lie below `root`."""
    (image, mask), hub = brain(), load_hub()
    labels = sides(mask)
    draw = partial(draw_scan, hub, image, mask, partial(spaces.apply, np.eye(4)))
    color = partial(draw_labels, image, labels, np.zeros(3))
    made = [records(number) for number in range(SCANS)]
    scans, affines, warps, maps = zip(*made, strict=True)
    for looks, svg in ((affines, draw()), (warps, draw()), (maps, color())):
        for result in looks:
            (root / result.look).parent.mkdir(parents=True, exist_ok=True)
            (root / result.look).write_text(svg)
    registered = Registered(
        scans=scans, affines={t.key: t for t in affines}, warps={t.key: t for t in warps}, rejections=(),
        limits={}, hub=hub,
    )  # fmt: skip
    labeled = Labeled(scans=scans, labels={result.key: result for result in maps}, rejections=())

    def write(page: Callable[[], Path]) -> Path:
        return page().rename(root / "last.html")

    pages = {
        "registration page": partial(write_registration_page, root, "dataset", "default", registered),
        "page of labels": partial(write_labels_page, root, "dataset", "default", labeled),
    }
    draw_hub(hub)
    drawing = {
        "registration page": 2 * SCANS * median_cpu_s(draw),
        "page of labels": SCANS * median_cpu_s(color),
    }
    sizes = {name: write(page).stat().st_size / 1e6 for name, page in pages.items()}
    whole = sizes["registration page"] + 2 * SCANS * len(draw_hub(hub)) / 1e6
    both = sum(sizes.values())
    rows = [
        line("registration page, size", "MB", sizes["registration page"], whole, "template in each picture"),
        line("page of labels, size", "MB", sizes["page of labels"], both, "one page for both"),
    ]
    for name, page in pages.items():
        again = median_cpu_s(partial(write, page))
        rows.append(line(f"{name} written again", "CPU s", again, drawing[name], "drawing its pictures"))
    return rows


def line(what: str, unit: str, ours: float, plain: float, plain_is: str) -> dict[str, object]:
    """One line of the table."""
    return {
        "what": f"{SCANS} scans, {what}", "unit": unit, "ours": ours, "plain": plain, "plain_is": plain_is,
        "repeats": REPEATS,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder))))
