"""How good carried labels are: each labeled person labeled by all others, or any maps against any truth.

Leave-one-out takes a build's labeled scans, hides the labels of one person at a time, has them fused from
everybody else's exactly as the build's recipe does it, and scores them against the person's own. Everything
is a cached task below `work/evaluation` of the data set; nothing of the data set itself changes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from brainatlas_text import label_folders, scores, stages, volumes
from brainatlas_text.distribute import Engine, default_workers
from brainatlas_text.errors import LabelError, OutputError, RecipeError, SourceError
from brainatlas_text.label_folders import LabelPair, pair_folders
from brainatlas_text.progress import Progress, Silent
from brainatlas_text.recipe import Recipe, differing_keys, load_recipe, to_toml
from brainatlas_text.records import LabeledScan, PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform
from brainatlas_text.running import run_stage
from brainatlas_text.scores import GroupScores, ScanScores, group_scores
from brainatlas_text.stages import Outcome, Task
from brainatlas_text.workspace import Workspace, digest, write_text

OF_THE_RECIPE = "recipe"
"""Name of the method that the data set was built with."""
_COMPARABLE = ("register", "warp", "label")
"""Tables of a recipe whose settings can be compared on the same prepared scans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOneOutConfig:
    """Which data set, and what to compare on it."""

    out: Path
    """A data set folder whose scans are prepared: of a finished build, or of one that was stopped."""
    methods: tuple[str, ...] = ()
    """Beside the recipe's own: overrides of it, joined by commas, such as `label.method=majority`."""
    tissue: bool = False
    """Score CSF, grey and white matter instead of structures."""
    workers: int = field(default_factory=default_workers)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of every scan, and their means."""

    scans: tuple[ScanScores, ...]
    groups: tuple[GroupScores, ...]
    rejections: tuple[Rejection, ...] = ()
    """Labeled scans that a method could not register: neither scored nor voting there."""
    notes: tuple[str, ...] = ()


def leave_one_out(config: LeaveOneOutConfig, progress: Progress | None = None) -> Evaluation:
    """Score the labels that all other labeled people give to each; raises InputError where nobody is left."""
    base, methods = _methods(config)
    workspace = Workspace(config.out)
    with workspace.locked():
        labeled = _labeled_scans(workspace)
        run = _LeaveOneOut(workspace.root.resolve(), labeled, base, config, progress or Silent())
        try:
            found = [scan for name, recipe in methods.items() for scan in run.method(name, recipe)]
        finally:
            run.engine.close()
    return Evaluation(scans=tuple(found), groups=group_scores(found), rejections=tuple(run.rejections))


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


class _LeaveOneOut:
    """The stages from registration to scores for one method after the other."""

    def __init__(
        self,
        root: Path,
        labeled: Sequence[PreparedScan],
        base: Recipe,
        config: LeaveOneOutConfig,
        progress: Progress,
    ) -> None:
        self.root, self.base, self.tissue, self.progress = root, base, config.tissue, progress
        self.labeled = [_placed(scan, root) for scan in labeled]
        self.engine = Engine(config.workers)
        self.rejections: list[Rejection] = []

    def method(self, name: str, recipe: Recipe) -> list[ScanScores]:
        """Scores of all labeled scans by one method, which keeps its results in a folder of its own."""
        root = self.root / "work" / "evaluation" / digest([name, _compared(recipe)])[:12]
        transforms = self._register(root, recipe)
        usable = [scan for scan in self.labeled if scan.key in transforms]
        hidden = [replace(scan, dseg=None) for scan in usable]
        voters, refused = assign_voters(hidden, usable, self.splits, recipe.label.voters)
        self._note(refused)
        tasks = [
            stages.label_task(root, scan, voters[scan.key], transforms)
            for scan in hidden
            if scan.key in voters
        ]
        fused: dict[str, LabeledScan] = {result.key: result for result in self._stage("label", tasks)}
        targets = [scan for scan in usable if scan.key in fused]
        return self._stage("score", [self._score_task(root, name, s, fused[s.key]) for s in targets])

    def _register(self, root: Path, recipe: Recipe) -> dict[str, HubTransform]:
        """Those of the build, where the method registers as it does."""
        place = self.root if recipe.register_ == self.base.register_ else root
        tasks = [stages.register_task(place, scan, recipe.register_) for scan in self.labeled]
        return {transform.key: transform for transform in self._stage("register", tasks, of_scans=True)}

    def _score_task(self, root: Path, name: str, scan: PreparedScan, fused: LabeledScan) -> Task:
        return Task(
            stage="score-tissues" if self.tissue else "score",
            key=scan.key,
            inputs=digest([scores.VERSION, name, fused.digest, scan.digest]),
            root=root,
            result=ScanScores,
            work=partial(_score_scan, root, name, scan, fused, tissue=self.tissue),
        )

    def _stage(self, stage: str, tasks: Sequence[Task], *, of_scans: bool = False) -> list[Any]:
        done = run_stage(self.engine, self.progress, stage, tasks, of_scans=of_scans)
        self.rejections += [r for r in done.rejections if r not in self.rejections]
        return done.results


def _methods(config: LeaveOneOutConfig) -> tuple[Recipe, dict[str, Recipe]]:
    """The recipe of the data set, and those to compare by name, itself first."""
    path = config.out / "recipe.toml"
    if not path.is_file():
        raise OutputError(
            f"{config.out}: not a data set of brainatlas-text (no recipe.toml); give the --out of a build"
        )
    base = load_recipe(str(path))
    methods = {OF_THE_RECIPE: base}
    for overrides in config.methods:
        methods[overrides] = load_recipe(str(path), overrides.split(","))
        other = [
            key
            for key in differing_keys(to_toml(base), to_toml(methods[overrides]))
            if key.partition(".")[0] not in _COMPARABLE
        ]
        if other:
            raise RecipeError(
                f"--methods {overrides}: {other[0]} cannot be compared on the same prepared scans, only "
                f"{', '.join(_COMPARABLE)} can; build another data set with it"
            )
    return base, methods


def _compared(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model_dump(by_alias=True, mode="json")
    return {name: values.get(name) for name in _COMPARABLE}


def _labeled_scans(workspace: Workspace) -> list[PreparedScan]:
    """Prepared scans with labels of their own; of a finished build those that it used."""
    table = workspace.root / "scans.parquet"
    used = set(pq.read_table(table, columns=["key"])["key"].to_pylist()) if table.is_file() else None
    found = []
    for key, payload in workspace.recorded("prepare").items():
        try:
            scan = TypeAdapter(PreparedScan | Rejection).validate_python(payload["result"])
        except ValidationError as error:
            raise OutputError(
                f"{workspace.root}: prepared by another version of this package; run the same build again"
            ) from error
        if isinstance(scan, PreparedScan) and scan.dseg is not None and (used is None or key in used):
            found.append(scan)
    _check_people(workspace.root, found)
    return found


def _check_people(root: Path, labeled: Sequence[PreparedScan]) -> None:
    people = sorted({scan.subject for scan in labeled})
    if len(people) < 2:
        what = f"only one labeled person ({people[0]})" if people else "no labeled person"
        raise SourceError(
            f"{root}: {what}, so there is nobody to leave out; build it with more labeled people, or score "
            "its labels against others with --labels and --truth"
        )


def _placed(scan: PreparedScan, root: Path) -> PreparedScan:
    """With absolute paths, so that tasks below another root find its files."""
    return replace(
        scan,
        image=root / scan.image,
        mask=root / scan.mask,
        dseg=None if scan.dseg is None else root / scan.dseg,
    )


def _score_scan(root: Path, method: str, scan: PreparedScan, fused: LabeledScan, *, tissue: bool) -> Outcome:
    assert scan.dseg is not None
    truth = volumes.load_prepared(scan.dseg)
    labels = volumes.load_prepared(root / fused.dseg).array
    if tissue:
        brain = volumes.load_prepared(scan.mask).array > 0
        found = scores.score_tissues(labels, scores.tissue_map(truth.array), truth.zooms_mm, brain)
    else:
        found = scores.score_structures(labels, truth.array, truth.zooms_mm)
    result = ScanScores(method=method, scan=scan.key, sequence=scan.sequence, structures=found)
    return result, []


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
