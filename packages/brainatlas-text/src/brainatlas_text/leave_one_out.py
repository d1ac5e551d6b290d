"""How good carried labels are: each labeled person of a build labeled by all others.

A build's labeled scans have their own labels hidden, one person at a time, and fused from everybody else's
exactly as the build's recipe does it; then these are scored against their own. Everything is a cached task
below `work/evaluation` of the data set, of which nothing else changes; transforms of the recipe that it still
lacks are made where a build would make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from brainatlas_text import label_stages, pair_stages, plan, scores, stages, volumes, warp
from brainatlas_text.distribute import Engine, default_workers
from brainatlas_text.errors import OutputError, RecipeError, SourceError
from brainatlas_text.progress import Progress, Silent
from brainatlas_text.recipe import Recipe, differing_keys, load_recipe, to_toml
from brainatlas_text.records import ATLAS_KEY, LabeledScan, PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines
from brainatlas_text.running import run_stage
from brainatlas_text.scores import Evaluation, ScanScores, group_scores
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.voters import assign_voters, keep_registered
from brainatlas_text.workspace import Workspace, digest

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


def leave_one_out(config: LeaveOneOutConfig, progress: Progress | None = None) -> Evaluation:
    """Score the labels that all other labeled people give to each; raises InputError where nobody is left."""
    base, methods = _methods(config)
    for recipe in methods.values():
        if recipe.register_.method == "hub":
            warp.check_available(recipe.warp)
    workspace = Workspace(config.out)
    with workspace.locked():
        people = _people(workspace, base)
        run = _LeaveOneOut(workspace.root.resolve(), people, base, config, progress or Silent())
        try:
            found = [scan for name, recipe in methods.items() for scan in run.method(name, recipe)]
        finally:
            run.engine.close()
    if not found:
        why = run.rejections[0].detail
        raise SourceError(f"{config.out}: no labeled scan could be scored, the first one because {why}")
    return Evaluation(scans=tuple(found), groups=group_scores(found), rejections=tuple(run.rejections))


class _LeaveOneOut:
    """The stages from registration to scores for one method after the other."""

    def __init__(
        self,
        root: Path,
        people: _People,
        base: Recipe,
        config: LeaveOneOutConfig,
        progress: Progress,
    ) -> None:
        self.root, self.base, self.tissue, self.progress = root, base, config.tissue, progress
        self.labeled = [_placed(scan, root) for scan in people.labeled]
        self.splits = people.splits
        self.engine = Engine(config.workers)
        self.rejections: list[Rejection] = []

    def method(self, name: str, recipe: Recipe) -> list[ScanScores]:
        """Scores of all labeled scans by one method, which keeps its results in a folder of its own."""
        root = self._folder([name, *(_table(recipe, table) for table in _COMPARABLE)])
        transforms = self._register(recipe)
        warps = self._warp(recipe, transforms)
        placed = transforms if warps is None else warps
        usable = [scan for scan in self.labeled if scan.key in placed]
        hidden = [replace(scan, dseg=None) for scan in usable if not scan.key.startswith(ATLAS_KEY)]
        voters, refused = assign_voters(hidden, usable, self.splits, recipe.label.voters)
        affines = self._affines(recipe, transforms, voters)
        voters, without = keep_registered(voters, hidden, affines.knows)
        self._note((*refused, *without))
        tasks = [
            label_stages.label_task(
                root, scan, voters[scan.key], transforms, warps or {}, recipe.label, affines
            )
            for scan in hidden
            if scan.key in voters
        ]
        fused: dict[str, LabeledScan] = {result.key: result for result in self._stage("label", tasks)}
        targets = [scan for scan in usable if scan.key in fused]
        return self._stage("score", [self._score_task(root, name, s, fused[s.key]) for s in targets])

    def _register(self, recipe: Recipe) -> dict[str, HubTransform]:
        place = self._place(recipe, "register")
        tasks = [stages.register_task(place, scan, recipe.register_) for scan in self.labeled]
        return {transform.key: transform for transform in self._stage("register", tasks, of_scans=True)}

    def _affines(
        self,
        recipe: Recipe,
        transforms: dict[str, HubTransform],
        voters: Mapping[str, tuple[PreparedScan, ...]],
    ) -> PairAffines:
        """Those that carry labels, where the method registers directly."""
        if recipe.register_.method == "hub":
            return PairAffines(to_hub=transforms)
        wanted = [(voter.key, target) for target, found in voters.items() for voter in found]
        scans = {scan.key: scan for scan in self.labeled}
        tasks = pair_stages.pair_tasks(self._place(recipe, "register"), wanted, scans, recipe.register_)
        pairs = self._stage("pairs", tasks, of_scans=True)
        return PairAffines(to_hub=transforms, direct={(pair.moving, pair.fixed): pair for pair in pairs})

    def _warp(self, recipe: Recipe, transforms: dict[str, HubTransform]) -> dict[str, HubWarp] | None:
        """None where labels are carried by affines alone."""
        if recipe.warp.method == "none" or recipe.register_.method == "direct":
            return None
        place = self._place(recipe, "register", "warp")
        registered = [scan for scan in self.labeled if scan.key in transforms]
        files = recipe.register_.hub_files
        tasks = [
            stages.warp_task(place, scan, transforms[scan.key], recipe.warp, files) for scan in registered
        ]
        return {
            warped.key: replace(
                warped, bent_from_hub=place / warped.bent_from_hub, hub_from_bent=place / warped.hub_from_bent
            )
            for warped in self._stage("warp", tasks, of_scans=True)
        }

    def _place(self, recipe: Recipe, *tables: str) -> Path:
        """The build's own folder where these tables are the build's, else one for all methods with them."""
        wanted = [_table(recipe, table) for table in tables]
        as_built = wanted == [_table(self.base, table) for table in tables]
        return self.root if as_built else self._folder(wanted)

    def _folder(self, settings: list[Any]) -> Path:
        return self.root / "work" / "evaluation" / digest(settings)[:12]

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
        self._note(done.rejections)
        return done.results

    def _note(self, rejections: Iterable[Rejection]) -> None:
        """Once, not once a method."""
        self.rejections += [rejection for rejection in rejections if rejection not in self.rejections]


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


def _table(recipe: Recipe, name: str) -> Any:
    return recipe.model_dump(by_alias=True, mode="json")[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _People:
    """Whom a data set holds."""

    labeled: list[PreparedScan]
    """Those that an atlas lends, who only vote, among them."""
    splits: dict[str, str]


def _people(workspace: Workspace, recipe: Recipe) -> _People:
    """Scans with labels of their own and everybody's split: those of a finished build, else as it will be."""
    prepared = {scan.key: scan for scan in _prepared(workspace)}
    lent = [scan for key, scan in prepared.items() if key.startswith(ATLAS_KEY)]
    own = {key: scan for key, scan in prepared.items() if not key.startswith(ATLAS_KEY)}
    table = workspace.root / "scans.parquet"
    if table.is_file():
        rows = pq.read_table(table, columns=["key", "subject", "split"]).to_pylist()
        own = {row["key"]: own[row["key"]] for row in rows if row["key"] in own}
        splits = {row["subject"]: row["split"] for row in rows}
    else:
        splits = plan.draw_splits(own.values(), recipe.seed, recipe.plan)
    labeled = [scan for scan in own.values() if scan.dseg is not None]
    _check_people(workspace.root, labeled, lent)
    return _People(labeled=labeled + lent, splits=splits)


def _prepared(workspace: Workspace) -> Iterator[PreparedScan]:
    for payload in workspace.recorded("prepare").values():
        try:
            scan = TypeAdapter(PreparedScan | Rejection).validate_python(payload["result"])
        except ValidationError as error:
            raise OutputError(
                f"{workspace.root}: prepared by another version of this package; run the same build again"
            ) from error
        if isinstance(scan, PreparedScan):
            yield scan


def _check_people(root: Path, labeled: Sequence[PreparedScan], lent: Sequence[PreparedScan]) -> None:
    people = sorted({scan.subject for scan in labeled})
    if not people or len({*people, *(scan.subject for scan in lent)}) < 2:
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
