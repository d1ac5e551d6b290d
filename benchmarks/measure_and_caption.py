"""Microseconds a slice of measuring and captioning, beside doing it by hand and beside rendering.

A synthetic person is rendered into their own frame by the default recipe, as a build does it. By hand, every
label of every slice is looked for with NumPy, and the text is put together by one f-string that knows no
grammar and no budget.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from brainatlas_text import block_stages, measure, prepare, register, render, samples, volumes, wording
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.hub import load_hub
from brainatlas_text.labels import canonical_table
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.recipe import load_recipe
from brainatlas_text.records import LabeledScan, Plane, PlannedPair, PreparedScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import HubTransform
from brainatlas_text.samples import MeasuredPair, ReadyScan, SampleSettings
from brainatlas_text.sources import Selection, find
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, write_volume

REPEATS = 5
TABLE = canonical_table()


def main() -> None:
    """Print the rows as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        scan = synthetic(Path(folder), Workspace(root))
        settings = block_stages.settings_of(root, load_recipe("default"))
        pair = native(scan)

        def rendered() -> MeasuredPair:
            return samples.measure_pair(root, pair, scan, scan, np.eye(4), settings)

        made = rendered()
        slices = [(plane, index) for plane, indices in made.kept.items() for index in indices]
        ours, by_hand, whole = alternate(
            lambda: words_of(made, slices, settings),
            lambda: by_numpy(made, slices),
            lambda: [samples.sample_of(again, *at, settings) for again in [rendered()] for at in slices],
        )
    microseconds = [1e6 * seconds / len(slices) for seconds in (ours, by_hand, whole)]
    print(f"{len(slices)} slices, a sample in all {microseconds[2]:.0f} microseconds", file=sys.stderr)
    rest = "rendering, measuring, captioning and encoding it"
    print(
        json.dumps(
            [
                row("measure and caption a slice", microseconds[0], microseconds[1], "NumPy and an f-string"),
                row("measure and caption, of a whole sample", microseconds[0], microseconds[2], rest),
            ]
        )
    )


def alternate(*calls: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each, measured in turn; one call each goes ahead uncounted."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(REPEATS):
        for call, found in zip(calls, times, strict=True):
            begin = time.process_time()
            call()
            found.append(time.process_time() - begin)
    return [statistics.median(found) for found in times]


def words_of(made: MeasuredPair, slices: list[tuple[Plane, int]], settings: SampleSettings) -> list[str]:
    """All that a build does between rendering and encoding."""
    rendered = made.rendered
    measures = measure.measure_slices(
        rendered.labels,
        rendered.agreement,
        zooms_mm=rendered.zooms_mm,
        origin_index=rendered.origin_index - np.array(rendered.start),
        table=TABLE,
    )
    made = replace(made, measures=measures)
    texts: list[str] = []
    for plane, index in slices:
        facts = samples.facts_of(made, plane, index)
        key = samples.sample_key(made.pair.pair, plane, index)
        texts += [c.text for c in wording.load(settings.caption).write(facts, settings.seed, key)]
    return texts


def by_numpy(made: MeasuredPair, slices: list[tuple[Plane, int]]) -> list[str]:
    """Areas, centroids and agreement label by label; one text a slice."""
    rendered = made.rendered
    assert rendered.agreement is not None
    texts = []
    for plane, index in slices:
        axis = render.NORMAL_AXIS[plane]
        labels = np.take(rendered.labels, index - rendered.start[axis], axis=axis)
        votes = np.take(rendered.agreement, index - rendered.start[axis], axis=axis)
        found = []
        for number in np.unique(labels):
            if number in TABLE and TABLE[number].named:
                here = labels == number
                structure = TABLE[number]
                centroid, agreement = np.argwhere(here).mean(axis=0), votes[here].mean()
                found.append((int(here.sum()), f"{structure.side} {structure.name}", centroid, agreement))
        found.sort(key=lambda entry: -entry[0])
        parts = ", ".join(f"{name} ({area} mm²)" for area, name, _, _ in found)
        texts.append(f"A {plane} slice at {index} mm. It shows {parts}.")
    return texts


def synthetic(folder: Path, workspace: Workspace) -> ReadyScan:
    """A person of the demo, prepared and registered as in a build, with labels that carry an agreement."""
    write_demo_sources(folder / "sources", people=4, seed=0, workers=1)
    workspace.make()
    (scan, *_) = find(("ibsr",), folder / "sources", Selection()).scans
    prepared = prepare.prepare(scan, workspace, PrepareConfig(bias_correction=False))
    assert isinstance(prepared, PreparedScan) and prepared.dseg is not None
    transform = register.register_to_hub(prepared, load_hub(), workspace, RegisterConfig(finest_mm=4.0))
    assert isinstance(transform, HubTransform)
    labels = volumes.load_prepared(workspace.root / prepared.dseg)
    votes = np.random.default_rng(0).integers(50, 101, labels.shape).astype(np.uint8)
    agreement = Path("work/agreement.nii.gz")
    write_volume(workspace.root / agreement, Volume(votes * (labels.array > 0), labels.affine), np.uint8)
    labeled = LabeledScan(
        key=prepared.key,
        dseg=prepared.dseg,
        agreement=agreement,
        label_method="matching",
        voters=("ibsr-02-t1w",),
        terms=prepared.terms,
        digest="of a benchmark",
    )
    return ReadyScan(prepared=prepared, transform=transform, labeled=labeled)


def native(scan: ReadyScan) -> PlannedPair:
    """The scan in its own frame."""
    key, subject = scan.prepared.key, scan.prepared.subject
    return PlannedPair(
        pair=f"{key}_{key}",
        moving=key,
        fixed=key,
        moving_subject=subject,
        fixed_subject=subject,
        source=scan.prepared.source,
        split="train",
        block=0,
        order=0,
    )


def row(what: str, ours: float, plain: float, plain_is: str) -> dict[str, object]:
    """One line of the table."""
    return {
        "what": what,
        "unit": "us",
        "ours": ours,
        "plain": plain,
        "plain_is": plain_is,
        "repeats": REPEATS,
    }


if __name__ == "__main__":
    main()
