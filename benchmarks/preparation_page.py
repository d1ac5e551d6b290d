"""The preparation page of 201 scans: its size, and what writing it costs once the pictures are cached."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from brainatlas_text.engines.pictures import draw_planes
from brainatlas_text.hub import load_hub
from brainatlas_text.pages.preparation import Found, write_preparation_page
from brainatlas_text.records import Facts, Preparation, PreparedScan, SourceScan
from brainatlas_text.volumes import Volume

SCANS, REPEATS = 201, 5


def noisy_scan(seed: int) -> tuple[Volume, np.ndarray]:
    """The template at 1 mm with noise (SNR 30) everywhere, as in the air around a head, and its mask."""
    template = load_hub().image
    rng = np.random.default_rng(seed)
    scale = float(template.array.max()) / 30
    real, imaginary = rng.normal(0, scale, (2, *template.shape))
    image = np.hypot(template.array + real, imaginary).astype(np.float32)
    return Volume(image, template.affine), template.array > 0


def png_bytes(svg: str) -> int:
    """Length of the same picture with its planes as PNG."""
    jpegs = re.findall(r"data:image/jpeg;base64,([^\"]+)", svg)
    total = len(svg) - sum(map(len, jpegs))
    for text in jpegs:
        data = io.BytesIO()
        Image.open(io.BytesIO(base64.b64decode(text))).save(data, "PNG", optimize=True)
        total += 4 * -(-len(data.getvalue()) // 3)
    return total


def records(number: int) -> tuple[SourceScan, PreparedScan]:
    """A made-up scan of that number."""
    key = f"ixi-{number:03d}-t1w"
    who = {"key": key, "subject": key[:7], "source": "ixi", "sequence": "T1w", "terms": "ixi"}
    facts, files = Facts(age_years=40.0, sex="F", healthy=True), Path("work/prepared")
    preparation = Preparation(
        stored_codes="PSR", stored_shape=(256, 256, 150), stored_zooms_mm=(0.94, 0.94, 1.2), oblique_deg=3.0,
        mask_method="embedded", mask_detail="version 1", brain_ml=1400.0, bias_correction="N4",
        intensity_range=(10.0, 500.0), histogram_before=tuple(range(64)), histogram_after=tuple(range(64)),
    )  # fmt: skip
    prepared = PreparedScan(
        **who, image=files / "i", mask=files / "m", dseg=None, look=files / f"{key}_look.svg", facts=facts,
        source_zooms_mm=(1.2, 0.94, 0.94), orientation_source="header", preparation=preparation, digest="",
    )  # fmt: skip
    return SourceScan(**who, image=Path(f"sources/ixi/{key}.nii.gz")), prepared


def median_cpu_s(call: Callable[[], object]) -> float:
    """Median CPU seconds of a call."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def measure(root: Path) -> list[dict[str, object]]:
    """Size and cost of a page whose pictures lie below `root`."""
    image, mask = noisy_scan(0)
    svg = draw_planes(image, mask)
    scans, prepared = zip(*map(records, range(SCANS)), strict=True)
    for scan in prepared:
        (root / scan.look).parent.mkdir(parents=True, exist_ok=True)
        (root / scan.look).write_text(svg)
    found = Found(scans=scans, prepared=prepared, rejections=(), root=Path("sources"), notes={})

    def write() -> Path:
        path = write_preparation_page(root, "dataset", "default", found)
        (root / path).rename(root / "last.html")
        return root / "last.html"

    megabytes = write().stat().st_size / 1e6
    as_png = megabytes + SCANS * (png_bytes(svg) - len(svg)) / 1e6
    drawing = SCANS * median_cpu_s(lambda: draw_planes(image, mask))
    return [
        line("page size", "MB", megabytes, as_png, "planes as PNG"),
        line("page written again", "CPU s", median_cpu_s(write), drawing, "drawing its pictures each time"),
    ]


def line(what: str, unit: str, ours: float, plain: float, plain_is: str) -> dict[str, object]:
    """One line of the table."""
    return {
        "what": f"{SCANS} scans, {what}", "unit": unit, "ours": ours, "plain": plain, "plain_is": plain_is,
        "repeats": REPEATS,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder))))
