"""Memory of a worker over many deformable registrations, and what they leave in its folders.

A coarse bend of the template is registered to it again and again in one process, as a worker of a build does.

Example:
    python benchmarks/warp_memory.py --repeats 100
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainatlas_text import volumes
from brainatlas_text.engines import syn
from brainatlas_text.hub import load_hub
from brainatlas_text.volumes import Volume

SETTLED = 10
"""Registrations after which memory is compared: compilers and allocators have had their share."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=100)
    repeats = max(parser.parse_args().repeats, SETTLED + 1)
    fixed, moving, where = phantom()
    settings = syn.SynSettings(iterations=(10, 5))
    resident_mib, begin = [], time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # whatever is written to the temporary folder is seen here
        for _ in range(repeats):
            syn.register_syn(fixed, moving, where, settings, Path(folder))
            resident_mib.append(resident_now_mib())
        left = len(list(Path(folder).rglob("*")))
        tempfile.tempdir = None
    first, last = resident_mib[SETTLED - 1], resident_mib[-1]
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(child.ru_utime + child.ru_stime + time.process_time() - begin) / repeats:.1f} CPU s each")
    print(f"a child's memory at most {child.ru_maxrss / 1024:.0f} MiB")
    rows = [
        ("memory of the worker, last registration against the tenth", "MiB", last, first, "the tenth"),
        ("files left behind", "files", left, 0, "none"),
    ]
    print(
        json.dumps(
            [
                {
                    "what": what,
                    "unit": unit,
                    "ours": ours,
                    "plain": plain,
                    "plain_is": is_,
                    "repeats": repeats,
                }
                for what, unit, ours, plain, is_ in rows
            ]
        )
    )


def phantom() -> tuple[Volume, Volume, Volume]:
    """The template at 8 mm, a smooth bend of it, and the region of both."""
    fixed = volumes.thin(load_hub().image, (8, 8, 8))
    rng = np.random.default_rng(0)
    bend = [ndimage.gaussian_filter(rng.normal(size=fixed.shape), 3) * 15 for _ in range(3)]
    points = [axis + shift for axis, shift in zip(np.indices(fixed.shape), bend, strict=True)]
    moving = ndimage.map_coordinates(fixed.array, points, order=1).astype(np.float32)
    where = ndimage.binary_dilation((fixed.array > 0) | (moving > 0), iterations=2)
    return fixed, Volume(moving, fixed.affine), Volume(where.astype(np.uint8), fixed.affine)


def resident_now_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
