"""How good any label maps are: those of folders against the truth about the same scans, paired by name."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from brainatlas_text import label_folders, scores
from brainatlas_text.distribute import Engine, default_workers
from brainatlas_text.errors import LabelError
from brainatlas_text.label_folders import LabelPair, pair_folders
from brainatlas_text.progress import Progress, Silent
from brainatlas_text.scores import Evaluation, ScanScores, group_scores
from brainatlas_text.workspace import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthConfig:
    """Which label maps to score against which truth."""

    labels: tuple[Path, ...]
    """Folders; each counts as a method."""
    truth: Path
    suffix: str = label_folders.SUFFIX
    truth_suffix: str | None = None
    """Where it differs from `suffix`."""
    masks: Path | None = None
    """Brain masks (`NAME_mask.nii.gz`), with which tissues are scored filled too."""
    tissue: bool = False
    workers: int = field(default_factory=default_workers)


def against_truth(config: TruthConfig, progress: Progress | None = None) -> Evaluation:
    """Score the label maps of folders; raises InputError for names, grids and numbers that do not fit."""
    pairings = {str(folder): _pair(config, folder) for folder in config.labels}
    tasks = [(name, pair) for name, pairing in pairings.items() for pair in pairing.pairs]
    progress, engine = progress or Silent(), Engine(config.workers)
    found: list[Any] = [None] * len(tasks)
    progress.start("score", len(tasks), 0)
    try:
        for place, result in engine.run(partial(_score_pair, tissue=config.tissue), tasks):
            found[place] = result
            progress.advance()
    finally:
        engine.close()
    progress.finish(f"{len(found)} done")
    notes = tuple(
        f"{name}: {len(pairing.left_out)} maps without a truth are left out, such as {pairing.left_out[0]}"
        for name, pairing in pairings.items()
        if pairing.left_out
    )
    return Evaluation(scans=tuple(found), groups=group_scores(found), notes=notes)


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """A row a scan and structure, by method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "scan", "sequence", "structure", "dice", "hd95_mm", "volume_error"))
    for scan in evaluation.scans:
        for s in scan.structures:
            figures = (s.dice, "" if s.hd95_mm is None else s.hd95_mm, s.volume_error)
            writer.writerow((scan.method, scan.scan, scan.sequence, s.structure, *figures))
    write_text(path, text.getvalue())


def _pair(config: TruthConfig, folder: Path) -> label_folders.Pairing:
    return pair_folders(folder, config.truth, config.suffix, config.truth_suffix, config.masks)


def _score_pair(task: tuple[str, LabelPair], *, tissue: bool) -> ScanScores:
    method, pair = task
    labels, truth, brain = label_folders.read_pair(pair, tissue=tissue)
    if tissue:
        found = scores.score_tissues(labels, truth.array, truth.zooms_mm, brain)
    else:
        found = scores.score_structures(labels, truth.array, truth.zooms_mm)
    if not found:
        raise LabelError(f"{pair.truth.path}: holds no structure that is scored; is it the truth?")
    return ScanScores(method=method, scan=pair.scan, sequence=pair.sequence, structures=found)
