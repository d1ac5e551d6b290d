"""What a build costs: how often it does what, times what that cost when it was measured.

`benchmarks/plan_costs.py` measures the figures of `tables/costs.toml`; another processor has others.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from brainatlas_text import plan, voters
from brainatlas_text.cohort import Member
from brainatlas_text.recipe import Recipe
from brainatlas_text.records import Plane


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Figures of `tables/costs.toml`."""

    measured_on: str
    cpu_s: Mapping[str, float]
    """By what is done."""
    bytes: Mapping[str, float]
    """By what is written."""
    shown_mm: Mapping[Plane, float]
    """How far the slices that are kept of a volume reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How often a build does each thing."""

    scans: int
    registered_pairs: int
    """Directly, each once for both directions."""
    warps: int
    labeled: int
    """Scans that others vote for."""
    votes: int
    """Label maps carried to a scan, of all scans."""
    pairs: int
    """Volumes rendered."""
    slices: int


def load_costs() -> Costs:
    """The measured figures that the package carries."""
    table = resources.files("brainatlas_text") / "tables" / "costs.toml"
    return Costs(**tomllib.loads(table.read_text(encoding="utf-8")))


def work_of(
    members: Sequence[Member],
    splits: Mapping[str, str],
    recipe: Recipe,
    *,
    num_pairs: int,
    num_slices: int,
) -> Work:
    """Count what a build of these members does; pairs and slices are those that it renders."""
    voting = {m.subject for m in members if m.labeled}
    voting_splits = Counter(splits[subject] for subject in voting)
    targets = [m for m in members if not m.labeled]
    names, scheme = {name: name for name in plan.SPLITS}, recipe.plan.splits
    votes = carried_across = 0
    for target in targets:
        own = splits[target.subject]
        for split, number in voting_splits.items():
            if voters.may_vote(split, own, names, recipe.label.voters):
                able = number - (target.subject in voting and split == own)
                votes += able
                carried_across += able if plan.pair_split(own, split, scheme) is None else 0
    sizes = Counter(splits[m.subject] for m in members)
    together = sum(
        sizes[a] * (sizes[a] - 1) // 2 if a == b else sizes[a] * sizes[b]
        for i, a in enumerate(plan.SPLITS)
        for b in plan.SPLITS[i:]
        if plan.pair_split(a, b, scheme) is not None
    )
    bends = recipe.register_.method == "hub" and recipe.warp.method != "none" and votes > 0
    return Work(
        scans=len(members),
        registered_pairs=together + carried_across if recipe.register_.method == "direct" else 0,
        warps=len(targets) + len(voting) if bends else 0,
        labeled=len(targets) if votes else 0,
        votes=votes,
        pairs=num_pairs,
        slices=num_slices,
    )


def cpu_hours(work: Work, recipe: Recipe, costs: Costs) -> dict[str, float]:
    """CPU-hours by stage."""
    frame, method, cpu_s = recipe.render.frame, recipe.label.method, costs.cpu_s
    seconds = {
        "prepare": work.scans * cpu_s["prepare_scan"],
        "register": work.scans * cpu_s["register_scan"] + work.registered_pairs * cpu_s["register_pair"],
        "warp": work.warps * cpu_s["warp_scan"],
        "label": work.labeled * cpu_s[f"label_{method}"] + work.votes * cpu_s[f"vote_{method}"],
        "render": work.pairs * cpu_s[f"pair_{frame}"] + work.slices * cpu_s[f"slice_{frame}"],
    }
    return {stage: round(value / 3600, 3) for stage, value in seconds.items()}


def num_bytes(work: Work, recipe: Recipe, costs: Costs) -> dict[str, int]:
    """Bytes of the data set and of its folder `work/`."""
    return {
        "data set": round(work.slices * costs.bytes[f"slice_{recipe.render.frame}"]),
        "work": round(work.scans * costs.bytes["scan"] + work.warps * costs.bytes["warp"]),
    }
