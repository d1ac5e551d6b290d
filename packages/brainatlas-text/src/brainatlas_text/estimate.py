"""What a data set would hold and cost, counted before anything is computed.

Input: its members (`cohort`) and a recipe. Volumes and splits are those that the plan gives, counted by
groups instead of pair by pair. Slices kept, bytes and CPU seconds are products with measured figures
(`costs`), for scans of ordinary size, and no better than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from brainatlas_text import plan, render
from brainatlas_text.cohort import PEOPLE, Forms, Grid, Member, nearest_source
from brainatlas_text.costs import Costs, cpu_hours, num_bytes, work_of
from brainatlas_text.errors import InputError
from brainatlas_text.recipe import Recipe, differing_keys, load_recipe, to_toml
from brainatlas_text.records import Plane
from brainatlas_text.sources.selection import PAPER

_ISOTROPIC = Grid(shape=(render.SIZE, render.SIZE, render.SIZE), zooms_mm=(1.0, 1.0, 1.0))
_PRICED = (
    "prepare.mask", "prepare.bias", "prepare.finest_mm", "register.finest_mm", "register.hub", "warp.grid_mm",
    "warp.iterations", "warp.metric", "measure.", "caption.", "render.min_brain_mm2",
)  # fmt: skip
"""Beginnings of the keys that change what `costs.toml` says and are not counted with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEstimate:
    """The scans of one source."""

    scans: int
    people: dict[str, int]
    """By split."""
    stored_slices: int | None
    """Of a volume in its own grid as it is stored, three planes, the mean; None where no grid is known."""
    framed_slices: int
    """Of a volume in the recipe's frame, the recipe's planes, the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasEstimate:
    """The volumes that one atlas gives in the frames of one data set."""

    atlas: str
    generation: int
    data_set: str
    planned: int
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a data set would hold and cost."""

    recipe: str
    is_the_papers: bool
    """The numbers of scans are those of the paper."""
    sources: dict[str, SourceEstimate]
    volumes: dict[str, int]
    """Planned, by split, and dropped."""
    atlases: tuple[AtlasEstimate, ...]
    blocks: int
    own_grid_slices: int | None
    """Of all planned volumes in their fixed scans' grids as stored, three planes."""
    fewest_own_grid_slices: int | None
    """The same with that form of each source that has the fewest slices."""
    slices_cut: dict[Plane, int]
    slices_kept: dict[Plane, int]
    num_bytes: dict[str, int]
    """Of the data set and of its folder `work/`."""
    cpu_hours: dict[str, float]
    """By stage."""
    costs_measured_on: str
    notes: tuple[str, ...]


def estimate(members: Sequence[Member], recipe: Recipe, forms: Forms, costs: Costs) -> Estimate:
    """Count what a build of these members would plan, and estimate what it would make and cost.

    Raises InputError for a recipe that cuts slices from the grid of a source of which none is known.
    """
    splits = plan.draw_splits(members, recipe.seed, recipe.plan)
    frames = _Frames(recipe=recipe, shown_mm=costs.shown_mm)
    cells = _cells(members, splits, recipe)
    volumes = {name: 0 for name in ("planned", *plan.SPLITS, "dropped")}
    for (_, _, _, split), number in cells.items():
        volumes["planned"] += number
        volumes[split or "dropped"] += number
    cut, kept = _slices(members, splits, frames)
    work = work_of(
        members,
        splits,
        recipe,
        num_pairs=volumes["planned"] - volumes["dropped"],
        num_slices=sum(kept.values()),
    )
    return Estimate(
        recipe=recipe.name,
        is_the_papers=Counter(m.source for m in members) == {name: q.scans for name, q in PAPER.items()},
        sources=_sources(members, splits, frames),
        volumes=volumes,
        atlases=_atlases(cells),
        blocks=_num_blocks(cells, recipe.plan.block_pairs),
        own_grid_slices=_own_grid_slices(m.grid for m in members),
        fewest_own_grid_slices=_own_grid_slices(_fewest(m, forms) for m in members),
        slices_cut=cut,
        slices_kept=kept,
        num_bytes=num_bytes(work, recipe, costs),
        cpu_hours=cpu_hours(work, recipe, costs),
        costs_measured_on=costs.measured_on,
        notes=(*plan.split_notes(members, splits), *_notes(members, recipe, forms)),
    )


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """Slices of a volume by plane, in the frame of a fixed scan's grid."""

    recipe: Recipe
    shown_mm: Mapping[Plane, float]

    def cut(self, member: Member, *, step: int | None = None) -> dict[Plane, int]:
        """Candidates, of every `step` slices one; by default as the recipe has it."""
        every = step or self.recipe.render.slice_step
        return {p: len(range(0, self._axis(member, p)[0], every)) for p in self.recipe.render.planes}

    def kept(self, member: Member) -> dict[Plane, float]:
        """Those that show enough brain."""
        found = {}
        for plane, number in self.cut(member).items():
            zoom_mm = self._axis(member, plane)[1]
            found[plane] = min(self.shown_mm[plane] / zoom_mm / self.recipe.render.slice_step, number)
        return found

    def _axis(self, member: Member, plane: Plane) -> tuple[int, float]:
        """Slices of the frame along the plane's normal, and their distance in mm."""
        if self.recipe.render.frame == "isotropic":
            return _framed(_ISOTROPIC, plane, self.shown_mm[plane])
        if member.grid is None:
            raise InputError(
                f"{member.source}: no grid of its scans is known, from which the frame `fixed` cuts slices; "
                "give one with --grids FILE, or choose --set render.frame=isotropic"
            )
        thinned = _thinned(member.grid, self.recipe.prepare.finest_mm)
        return _framed(thinned, plane, self.shown_mm[plane])


@cache
def _thinned(grid: Grid, finest_mm: float) -> Grid:
    return grid.thinned(finest_mm)


@cache
def _framed(grid: Grid, plane: Plane, shown_mm: float) -> tuple[int, float]:
    """An axis as `render` takes it for a brain of ordinary size."""
    axis = render.NORMAL_AXIS[plane]
    brain = min(math.ceil(shown_mm / grid.zooms_mm[axis]), grid.shape[axis])
    slices, _, step = render.own_axis(grid.shape[axis], 0, brain)
    return slices, grid.zooms_mm[axis] * step


_Cell = tuple[str, int, str, str | None]
"""Atlas, generation of its labels, data set, split of the volumes."""


def _cells(members: Iterable[Member], splits: Mapping[str, str], recipe: Recipe) -> Counter[_Cell]:
    """Ordered pairs and natives by cell, those dropped with no split."""
    groups = Counter((m.source, 1 if m.labeled else 2, splits[m.subject]) for m in members)
    cells: Counter[_Cell] = Counter()
    for (atlas, generation, moving), num_moving in groups.items():
        for (data_set, _, fixed), num_fixed in groups.items():
            split = plan.pair_split(moving, fixed, recipe.plan.splits)
            cells[atlas, generation, data_set, split] += num_moving * num_fixed
    return cells


def _atlases(cells: Mapping[_Cell, int]) -> tuple[AtlasEstimate, ...]:
    planned: Counter[tuple[int, str, str]] = Counter()
    kept: Counter[tuple[int, str, str]] = Counter()
    for (atlas, generation, data_set, split), number in cells.items():
        planned[generation, atlas, data_set] += number
        kept[generation, atlas, data_set] += number if split is not None else 0
    return tuple(
        AtlasEstimate(
            atlas=atlas, generation=generation, data_set=data_set, planned=planned[key], kept=kept[key]
        )
        for key in sorted(planned)
        for generation, atlas, data_set in (key,)
    )


def _num_blocks(cells: Mapping[_Cell, int], block_pairs: int) -> int:
    """Blocks are of one split and one moving source."""
    kept: Counter[tuple[str, str]] = Counter()
    for (atlas, _, _, split), number in cells.items():
        if split is not None:
            kept[split, atlas] += number
    return sum(math.ceil(number / block_pairs) for number in kept.values())


def _slices(
    members: Iterable[Member], splits: Mapping[str, str], frames: _Frames
) -> tuple[dict[Plane, int], dict[Plane, int]]:
    """Candidates and kept ones by plane, of all kept volumes."""
    scheme, planes = frames.recipe.plan.splits, frames.recipe.render.planes
    moving = Counter(splits[m.subject] for m in members)
    cut, kept = dict.fromkeys(planes, 0), dict.fromkeys(planes, 0.0)
    for member in members:
        fixed = splits[member.subject]
        times = sum(n for split, n in moving.items() if plan.pair_split(split, fixed, scheme) is not None)
        candidates, shown = frames.cut(member), frames.kept(member)
        for plane in planes:
            cut[plane] += times * candidates[plane]
            kept[plane] += times * shown[plane]
    return cut, {plane: round(number) for plane, number in kept.items()}


def _sources(
    members: Sequence[Member], splits: Mapping[str, str], frames: _Frames
) -> dict[str, SourceEstimate]:
    found = {}
    for source in dict.fromkeys(m.source for m in members):
        own = [m for m in members if m.source == source]
        people = Counter(splits[subject] for subject in {m.subject for m in own})
        stored = [sum(m.grid.shape) for m in own if m.grid is not None]
        found[source] = SourceEstimate(
            scans=len(own),
            people={split: people[split] for split in plan.SPLITS},
            stored_slices=_mean(stored) if stored else None,
            framed_slices=_mean([sum(frames.cut(m, step=1).values()) for m in own]),
        )
    return found


def _mean(numbers: Sequence[int]) -> int:
    return round(sum(numbers) / len(numbers))


def _own_grid_slices(grids: Iterable[Grid | None]) -> int | None:
    """Of every pair among scans on these grids; None where one is not known."""
    known = list(grids)
    slices = [sum(grid.shape) for grid in known if grid is not None]
    return len(slices) * sum(slices) if len(slices) == len(known) else None


def _fewest(member: Member, forms: Forms) -> Grid | None:
    grids = (*forms.get(member.source, ()), *((member.grid,) if member.grid else ()))
    return min(grids, key=lambda grid: sum(grid.shape), default=None)


def _notes(members: Sequence[Member], recipe: Recipe, forms: Forms) -> tuple[str, ...]:
    notes = []
    if not any(m.labeled for m in members):
        notes.append("labels: nobody has any to carry to the others; a build would need --atlas PATH")
    people = Counter(plan.people_of(members).values())
    scans = Counter(m.source for m in members)
    notes += [
        f"{source}: counted as {people[source]} people, but {name} has {known}; "
        f"{source}={scans[source]}/{known} says that several scans are of one person"
        for source, (name, known) in PEOPLE.items()
        if people[source] > known
    ]
    for source in sorted({m.source for m in members if m.grid is None}):
        near = nearest_source(source, forms)
        hint = f"did you mean {near}?" if near else "--grids FILE gives one"
        notes.append(f"{source}: no grid of its scans is known; {hint}")
    default = to_toml(load_recipe("default"))
    if differing := [k for k in differing_keys(default, to_toml(recipe)) if k.startswith(_PRICED)]:
        notes.append(f"CPU-hours and bytes: measured with other values of {', '.join(differing)}")
    return tuple(notes)
