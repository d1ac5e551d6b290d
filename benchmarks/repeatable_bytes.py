"""Encoders of pictures: do they give the same bytes whatever memory held before, how fast, how small?

The same noisy slices of the template, and label-like ones, are encoded in two processes in which the C
library fills fresh memory with different bytes (`MALLOC_PERTURB_`, glibc). Times are CPU time of the first.

    python benchmarks/repeatable_bytes.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from isal import isal_zlib
from zlib_ng import zlib_ng

from brainatlas_text.compression import deflated_runs
from brainatlas_text.hub import load_hub

OURS = "zlib-ng, runs (ours)"
ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    OURS: deflated_runs,
    "isal level 1": lambda lines: isal_zlib.compress(lines, 1),
    "isal level 3": lambda lines: isal_zlib.compress(lines, 3),
    "zlib-ng level 2": lambda lines: zlib_ng.compress(lines, 2),
    "zlib level 1": lambda lines: zlib.compress(lines, 1),
}
FILLS = ("0", "2")


def main() -> int:
    """Print a line an encoder, then the JSON of `run.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200, help="times over the template's slices")
    parser.add_argument("--encode", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        json.dump(encoded(arguments.rounds), sys.stdout)
        return 0
    first, second = (in_memory_of(fill, arguments.rounds) for fill in FILLS)
    found = {}
    for name, (micros, size, digests) in first.items():
        differ = sum(one != other for one, other in zip(digests, second[name][2], strict=True))
        found[name] = {"time, us": micros, "size, bytes": size, "pictures that differ": float(differ)}
        print(f"{name:22} {micros:6.0f} us {size:7.0f} bytes, {differ} of {len(digests)} differ")
    ours, count = found.pop(OURS), len(first[OURS][2])
    rows = [
        {"what": f"a picture: {what}", "unit": "", "ours": ours[what], "plain": value, "plain_is": name,
         "repeats": count}
        for name, figures in found.items()
        for what, value in figures.items()
    ]  # fmt: skip
    print(json.dumps(rows))
    return 0


def in_memory_of(fill: str, rounds: int) -> dict[str, tuple[float, float, list[str]]]:
    """What a process gives whose fresh memory is filled with a byte."""
    call = [sys.executable, __file__, "--encode", "--rounds", str(rounds)]
    done = subprocess.run(
        call, check=True, stdout=subprocess.PIPE, env=os.environ | {"MALLOC_PERTURB_": fill}
    )
    found: dict[str, tuple[float, float, list[str]]] = json.loads(done.stdout)
    return found


def encoded(rounds: int) -> dict[str, tuple[float, float, list[str]]]:
    """By encoder: microseconds and bytes a picture, and a digest of each."""
    seconds = dict.fromkeys(ENCODERS, 0.0)
    sizes: dict[str, list[int]] = {name: [] for name in ENCODERS}
    digests: dict[str, list[str]] = {name: [] for name in ENCODERS}
    for lines in filtered(rounds):
        for name, encode in ENCODERS.items():
            begin = time.process_time()
            data = encode(lines)
            seconds[name] += time.process_time() - begin
            sizes[name].append(len(data))
            digests[name].append(hashlib.blake2b(data, digest_size=6).hexdigest())
    count = len(sizes[OURS])
    return {
        name: (1e6 * seconds[name] / count, float(np.mean(sizes[name])), digests[name]) for name in ENCODERS
    }


def filtered(rounds: int) -> Iterator[np.ndarray]:
    """Pictures after the filter Up: in turn one with noise and one in few steps, as labels are."""
    image = load_hub().image.array
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for index in range(20, 170, 3):
            page = np.zeros((256, 256))
            page[11:244, 30:227] = image[:, :, index].T / 16
            noisy = np.where(page > 0, page + rng.normal(0, 6, page.shape), 0).clip(0, 255)
            for shown in (noisy, np.roll(page // 32 * 32, rng.integers(0, 20), axis=0)):
                lines = np.zeros((256, 257), dtype=np.uint8)
                lines[:, 0] = 2
                lines[:, 1:] = np.diff(shown.astype(np.uint8), axis=0, prepend=np.uint8(0))
                yield lines


if __name__ == "__main__":
    sys.exit(main())
