"""The report on a data set of full size: CPU seconds and memory, beside reading all of it.

A full block (32 pairs at 1 mm in three planes) is made up once and linked many times: its table of slices has
as many rows as a real one, its shards as many samples as are read of one. What one table costs is measured;
what all would cost is that times their number.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from brainatlas_text import caption, wording
from brainatlas_text.engines import pictures
from brainatlas_text.engines.label_pictures import colors
from brainatlas_text.engines.png import encode_grey
from brainatlas_text.hub import load_hub
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, Plane, Sample, Shard, SliceFacts, StructureMeasure
from brainatlas_text.report.measures import prevalence
from brainatlas_text.report.reading import MAX_SAMPLES, some_samples
from brainatlas_text.report.survey import survey
from brainatlas_text.shards import write_shard
from brainatlas_text.workspace import Workspace

BLOCKS = 1263
"""Of 40,401 pairs, 32 a block: the paper's counts."""
PAIRS, SLICES, STRUCTURES, SAMPLES = 32, 150, 25, 60
"""Of a block, of a pair and plane, of a slice, and of a shard here."""
WORDS = wording.load(wording.CaptionConfig())


def cpu_s(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def slice_rows() -> pa.Table:
    """The table of slices of one block."""
    names = list(dict.fromkeys(s.name for s in canonical_table().values() if s.named))
    slices = [
        (f"ixi-{p:03d}-t2w_ixi-000-t2w_{plane}-{n:03d}", plane)
        for p in range(PAIRS)
        for plane in PLANES
        for n in range(SLICES)
    ]
    draw = np.random.default_rng(0)
    return pa.table(
        {
            "key": np.repeat([key for key, _ in slices], STRUCTURES),
            "plane": np.repeat([plane for _, plane in slices], STRUCTURES),
            "name": draw.choice(names, len(slices) * STRUCTURES),
        }
    )


def samples(plane: Plane) -> Iterator[Sample]:
    """Samples of one shard, noise in a circle, each structure a stripe."""
    draw = np.random.default_rng(1)
    rows, columns = np.indices((256, 256)) - 128
    inside = np.hypot(rows, columns * 1.2) < 85
    numbers = [n for n, structure in canonical_table().items() if structure.named][:STRUCTURES]
    seg = (np.array(numbers)[(columns + 128) * STRUCTURES // 256] * inside).astype(np.uint8)
    measured = tuple(
        StructureMeasure(
            label=n, name=canonical_table()[n].name, side=canonical_table()[n].side, area_mm2=900.0,
            volume_ml=9.0, centroid_mm=(0.0, 0.0, 0.0), agreement=0.9,
        )
        for n in numbers
    )  # fmt: skip
    for number in range(SAMPLES):
        key = f"ixi-{number % 20:03d}-t2w_ixi-000-t2w_{plane}-{number:03d}"
        facts = SliceFacts(
            sequence="T2w", plane=plane, index=number, position_mm=1.0, position_fraction=0.5,
            age_years=40.0, juvenile=False, sex="F", structures=measured,
        )  # fmt: skip
        written = caption.write(facts, seed=7, key=key)
        yield Sample(
            key=key,
            image_png=encode_grey((draw.integers(40, 220, (256, 256)) * inside).astype(np.uint8)),
            label_png=encode_grey(seg),
            text=written[0].text,
            facts={
                "key": key, "source": "ixi", "sequence": "T2w", "plane": plane, "subject": key[:7],
                "moving": key[:11], "fixed": "ixi-000-t2w", "position_mm": 1.0, "spacing_mm": [1.0, 1.0],
                "age_years": 40.0, "juvenile": False, "sex": "F", "split": "train", "terms": "ixi",
                "structures": [
                    {name: getattr(m, name) for name in ("label", "name", "side", "area_mm2", "agreement")}
                    for m in measured
                ],
                "captions": [{"style": c.style, "language": c.language, "text": c.text} for c in written],
            },
        )  # fmt: skip


def make(root: Path) -> list[Shard]:
    """A data set of that size below `root`; its shards."""
    (root / "slices").mkdir()
    first = root / "slices" / "train-ixi-00000.parquet"
    pq.write_table(slice_rows(), first, compression="zstd")
    written = [write_shard(Workspace(root), "train", "ixi", plane, 0, samples(plane)) for plane in PLANES]
    for block in range(1, BLOCKS):
        (root / "slices" / f"train-ixi-{block:05d}.parquet").hardlink_to(first)
    return [shard for shard in written for _ in range(BLOCKS)]


def label_kilobytes() -> tuple[float, float]:
    """The labels of a slice as the page has them, and as an SVG outline a structure; tissues by side."""
    hub = load_hub().image
    cut = pictures.page(hub.array[:, :, hub.array.shape[2] // 2])
    tissue = np.digitize(cut, np.quantile(cut[cut > 0], (0.1, 0.5))) * (cut > 0)
    right = np.arange(cut.shape[1]) > cut.shape[1] // 2
    seg = np.array([0, 24, 3, 24, 42])[(tissue + 2 * right) * (tissue > 0)].astype(np.uint8)
    png = pictures.color_image(seg, colors(), 0.5, "labels")
    outlines = "".join(pictures.outline(seg == label) for label in np.unique(seg)[1:])
    return len(png) / 1000, len(outlines) / 1000


def counting(root: Path, shards: list[Shard]) -> tuple[float, float]:
    """CPU seconds and MB that counting the tables of slices takes."""
    before = most_mb()
    seconds = cpu_s(lambda: prevalence(root, shards))
    return seconds, most_mb() - before


def most_mb() -> float:
    """The most memory that this process has held (Linux; getrusage would count its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(root: Path) -> list[dict[str, object]]:
    """The lines of the table."""
    shards = make(root)
    part = root / "slices" / "train-ixi-00000.parquet"
    with get_context("spawn").Pool(1) as fresh:  # this process has held a whole table already
        seconds, grown_mb = fresh.apply(counting, (root, shards))
    whole_s = BLOCKS * cpu_s(lambda: pq.read_table(part).group_by(["plane", "name"]).aggregate([]))
    whole_mb = BLOCKS * pq.read_table(part).nbytes / 1e6
    read_s = cpu_s(lambda: survey(some_samples(root, shards), 7, WORDS, lambda sample: True))
    all_s = read_s * len(shards) * PAIRS * SLICES / MAX_SAMPLES
    png, outlines = label_kilobytes()
    return [
        line("tables of slices counted", "CPU s", seconds, whole_s, "all parts, one by one"),
        line("memory it takes", "MB", grown_mb, whole_mb, "all parts at once"),
        line("samples surveyed", "CPU s", read_s, all_s, "all samples"),
        line("labels of a slice", "kB", png, outlines, "an SVG outline a structure"),
    ]


def line(what: str, unit: str, ours: float, plain: float, plain_is: str) -> dict[str, object]:
    """One line of the table."""
    return {
        "what": f"40,401 volumes, {what}", "unit": unit, "ours": ours, "plain": plain, "plain_is": plain_is,
        "repeats": 1,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder))))
