"""Four sources of synthetic people, in the exact on-disk forms of IBSR, OASIS-1, IXI and Kirby21.

`write_demo_sources` makes the base anatomy from real MNI152 templates (`templates`, `brain`, `head`,
`anatomy`), bends it into people (`people`), scans them (`contrast`, `camera`) and lays the scans out as
the sources do (`layouts`, `files`). What is true of each scan lies beside them (`truth`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

from brainatlas_text.demo import truth
from brainatlas_text.demo.anatomy import build_anatomy
from brainatlas_text.demo.camera import Camera
from brainatlas_text.demo.layouts import ibsr, ixi, kirby, oasis
from brainatlas_text.demo.people import Identity
from brainatlas_text.errors import InputError, OutputError
from brainatlas_text.workspace import write_text

__all__ = ["MAX_PEOPLE", "MIN_PEOPLE", "DemoSummary", "write_demo_sources"]

MIN_PEOPLE, MAX_PEOPLE = 4, 48
"""Four show every form of every source; Kirby21 has two digits for its scan numbers."""
_MARK = ".brainatlas-demo.json"
_VERSION = 1
"""Raised whenever the same people and seed give other files."""


class _Layout(Protocol):
    """What each module of `layouts` offers."""

    def identity(self, number: int, seed: int) -> Identity:
        """Who the person of that number, from 0, is."""

    def write_person(self, folder: Path, truths: Path, camera: Camera, who: Identity) -> list[truth.TruthRow]:
        """Write the scans of a person below `folder` and the truth about them into `truths`."""

    def write_tables(self, folder: Path, people: list[Identity], seed: int) -> None:
        """Write the spreadsheets."""


_LAYOUTS: dict[str, _Layout] = {"ibsr": ibsr, "oasis": oasis, "ixi": ixi, "kirby": kirby}
_TRUTH = "truth"
_TABLE = "scans.tsv"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """What lies in the folder now."""

    folder: Path
    people: int
    """In each source."""
    num_images: int
    written: tuple[str, ...]
    """Sources written by this call; the others were whole already."""


def write_demo_sources(
    out: Path,
    *,
    people: int = MIN_PEOPLE,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemoSummary:
    """Write `people` synthetic people a source below `out`, with the truth about them in `out/truth`.

    The same people and seed give the same bytes whatever the number of workers (threads); more people
    leave the first ones as they are. A source appears under its name only when it is whole, so that the
    same call after an interruption writes what is missing, and nothing when all is there.

    Raises InputError for a number of people out of range or a missing package, and OutputError for a
    folder that holds anything this function did not write.
    """
    if not MIN_PEOPLE <= people <= MAX_PEOPLE:
        raise InputError(f"--people: expected {MIN_PEOPLE} to {MAX_PEOPLE} people a source, got {people}")
    if seed < 0:
        raise InputError(f"--seed: expected 0 or more, got {seed}")
    say = progress or (lambda line: None)
    _claim(out, people, seed)
    missing = [name for name in _LAYOUTS if not (out / name).is_dir()]
    if missing:
        say("anatomy: from the MNI152 template and label map")
        _write_sources(out, missing, people, Camera(anatomy=build_anatomy(), seed=seed), workers, say)
    rows = [row for name in _LAYOUTS for row in truth.read_rows(out / _TRUTH / name / _TABLE)]
    truth.write_rows(out / _TRUTH / "truth.tsv", rows)
    return DemoSummary(folder=out, people=people, num_images=len(rows), written=tuple(missing))


def _claim(out: Path, people: int, seed: int) -> None:
    """Make sure that the folder is ours; what an earlier call wrote with other settings goes."""
    mark = out / _MARK
    settings = json.dumps({"version": _VERSION, "people": people, "seed": seed}) + "\n"
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: expected a folder, found a file; give another folder")
    if not mark.is_file() and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            f"{out}: expected an empty folder or one that demo-sources wrote; give another folder"
        )
    if mark.is_file() and mark.read_text(encoding="utf-8") != settings:
        for name in (*_LAYOUTS, _TRUTH):
            shutil.rmtree(out / name, ignore_errors=True)
    for name in _LAYOUTS:
        shutil.rmtree(_aside(out, name), ignore_errors=True)
    write_text(mark, settings)


def _aside(out: Path, source: str) -> Path:
    """Where a source lies until it is whole."""
    return out / f".{source}.part"


def _write_sources(
    out: Path,
    sources: list[str],
    people: int,
    camera: Camera,
    workers: int | None,
    say: Callable[[str], None],
) -> None:
    """Write each person in a thread of its own and each source once its people are there."""
    with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
        waiting: dict[str, list[Future[list[truth.TruthRow]]]] = {}
        cast = {name: _people(name, people, camera.seed) for name in sources}
        for name in sources:
            files, truths = _aside(out, name) / "files", _aside(out, name) / _TRUTH
            write_person = _LAYOUTS[name].write_person
            waiting[name] = [pool.submit(write_person, files, truths, camera, who) for who in cast[name]]
        try:
            for name in sources:
                rows = [row for future in waiting[name] for row in future.result()]
                _finish(out, name, cast[name], camera.seed, rows)
                say(f"{name}: {len(rows)} images of {len(cast[name])} people")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _people(source: str, people: int, seed: int) -> list[Identity]:
    """Those asked for and, in OASIS, one more who must be left out."""
    numbers = [*range(people), *([oasis.UNHEALTHY] if source == oasis.SOURCE else [])]
    return [_LAYOUTS[source].identity(number, seed) for number in numbers]


def _finish(out: Path, source: str, cast: list[Identity], seed: int, rows: list[truth.TruthRow]) -> None:
    """Add tables and README, then give truth and source their names: truth first, the source means done."""
    aside, truths = _aside(out, source), out / _TRUTH / source
    _LAYOUTS[source].write_tables(aside / "files", cast, seed)
    readme = resources.files("brainatlas_text.demo").joinpath(f"readmes/{source}.txt")
    write_text(aside / "files" / "README.txt", readme.read_text(encoding="utf-8"))
    truth.write_rows(aside / _TRUTH / _TABLE, rows)
    shutil.rmtree(truths, ignore_errors=True)
    truths.parent.mkdir(exist_ok=True)
    os.replace(aside / _TRUTH, truths)
    os.replace(aside / "files", out / source)
    aside.rmdir()
