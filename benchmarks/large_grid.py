"""Peak memory and CPU seconds of reading a very large scan thinned, beside loading it whole and thinning it.

The scan is synthetic, on the grid of Kirby21's native FLAIR: 576 x 576 x 327 voxels of float32, gzipped.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from brainatlas_text import volumes

REPEATS = 3
SHAPE, ZOOMS_MM, FACTORS = (576, 576, 327), (0.417, 0.417, 0.55), (2, 2, 2)
PLAIN_IS = "nibabel.as_closest_canonical, get_fdata(float32), means of blocks"


def write_scan(path: Path) -> None:
    """A noisy slab of numbers that compress as scans do."""
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.diag([*ZOOMS_MM, 1.0]), 1)
    plane = np.random.default_rng(0).normal(500, 30, SHAPE[:2]).astype(np.float32).round(1)
    with igzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for index in range(SHAPE[2]):
            file.write(np.roll(plane, 7 * index, axis=0).tobytes(order="F"))


def read(how: str, path: Path) -> np.ndarray:
    """The thinned scan, our way or the plain one."""
    if how == "ours":
        return volumes.read(volumes.open_scan(path), FACTORS).array
    whole = nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32)
    i, j, k = (n // factor for n, factor in zip(SHAPE, FACTORS, strict=True))
    return whole[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))


def measure(path: Path) -> list[dict[str, object]]:
    """Alternate in fresh processes, each of which says what it used."""
    used: dict[str, list[list[float]]] = {"ours": [], "plain": []}
    for _ in range(REPEATS):
        for how, rows in used.items():
            done = subprocess.run(
                [sys.executable, __file__, how, path], check=True, capture_output=True, text=True
            )
            rows.append(json.loads(done.stdout))
    return [
        {
            "what": f"reading {' x '.join(map(str, SHAPE))} voxels thinned by 2, {name}",
            "unit": unit,
            **{how: statistics.median(row[column] for row in rows) for how, rows in used.items()},
            "plain_is": PLAIN_IS,
            "repeats": REPEATS,
        }
        for column, (name, unit) in enumerate((("peak memory", "GB"), ("time", "CPU s")))
    ]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        begin = time.process_time()
        read(sys.argv[1], Path(sys.argv[2]))
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([peak_kb / 1e6, time.process_time() - begin]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            scan = Path(folder) / "flair.nii.gz"
            write_scan(scan)
            print(json.dumps(measure(scan)))
