"""Memory and temporary files of many registrations in one worker: flat, and none.

One scan is registered to the hub again and again; resident memory after the tenth is compared with that after
the last (`python benchmarks/registration_memory.py [TIMES]`, 100 unless told). Temporary files go into a
folder of their own, so that those of other programs do not count.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from brainatlas_text import prepare, register
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import PreparedScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.sources import Selection, find
from brainatlas_text.workspace import Workspace

WARM = 10
CONFIG = RegisterConfig(finest_mm=4.0)


def main() -> int:
    """Exit code 1 where memory grew by more than a tenth or a file was left."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        scan, workspace = one_scan(Path(folder))
        scratch, kept = Path(folder) / "scratch", []
        scratch.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        for number in range(1, times + 1):
            register.register_to_hub(scan, load_hub(), workspace, CONFIG)
            kept.append(resident_mb())
            if number % WARM == 0:
                print(f"{number:4} registrations: {kept[-1]:.0f} MB", file=sys.stderr, flush=True)
        left = os.listdir(scratch)
    warm, last = kept[min(WARM, times) - 1], kept[-1]
    print(
        f"resident after {min(WARM, times)}: {warm:.0f} MB, after {times}: {last:.0f} MB; {sorted(left)} left"
    )
    row = {
        "what": f"resident memory after {times} registrations in one process; {len(left)} files left",
        "unit": "MB",
        "ours": last,
        "plain": warm,
        "plain_is": f"after {min(WARM, times)} of them",
        "repeats": times,
    }
    print(json.dumps([row]))
    return int(last > 1.1 * warm or bool(left))


def one_scan(folder: Path) -> tuple[PreparedScan, Workspace]:
    """A prepared scan of the demo."""
    write_demo_sources(folder / "sources", people=4, seed=0, workers=1)
    workspace = Workspace(folder / "dataset")
    workspace.make()
    (scan, *_) = find(("ibsr",), folder / "sources", Selection()).scans
    prepared = prepare.prepare(scan, workspace, PrepareConfig(bias_correction=False))
    assert isinstance(prepared, PreparedScan)
    return prepared, workspace


def resident_mb() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
