"""How the command `plan` shows an estimate: counted figures to the unit, estimated ones to two digits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from brainatlas_text.estimate import Estimate

PAPER_VOLUMES, PAPER_SLICES = 40_600, 25_600_000
"""What the paper states (section 2), the slices as "about 25.6 million"."""


def print_estimate(estimate: Estimate) -> None:
    """Tables of sources, atlases and costs, then what there is to note, to standard output."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    for table in (_sources, _atlases, _volumes, _slices, _costs):
        console.print(table(estimate))
    if estimate.is_the_papers:
        console.print(_beside_the_paper(estimate))
    console.print(
        "Volumes and slices cut are counted; slices kept, bytes and CPU-hours are estimates, from scans of "
        f"ordinary size measured on: {estimate.costs_measured_on}."
    )
    for note in estimate.notes:
        console.print(f"note: {note}")


def _sources(estimate: Estimate) -> Table:
    headings = ("source", "scans", "people", "train", "validation", "test", "slices stored", "slices cut")
    table = _table(f"recipe {estimate.recipe}: sources, people by split, slices of a volume", headings)
    for name, found in estimate.sources.items():
        stored = "unknown" if found.stored_slices is None else _count(found.stored_slices)
        people = [_count(found.people[split]) for split in ("train", "validation", "test")]
        table.add_row(
            name,
            _count(found.scans),
            _count(sum(found.people.values())),
            *people,
            stored,
            _count(found.framed_slices),
        )
    return table


def _atlases(estimate: Estimate) -> Table:
    """A row an atlas and generation, a column a data set, as in the card."""
    data_sets = sorted({cell.data_set for cell in estimate.atlases})
    table = _table("volumes by atlas (rows) and data set", ("atlas", "generation", *data_sets, "all"))
    rows: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
    for cell in estimate.atlases:
        rows.setdefault((cell.atlas, cell.generation), {})[cell.data_set] = (cell.kept, cell.planned)
    for (atlas, generation), cells in rows.items():
        total = (sum(kept for kept, _ in cells.values()), sum(planned for _, planned in cells.values()))
        table.add_row(atlas, str(generation), *(_of(*cells[name]) for name in data_sets), _of(*total))
    return table


def _volumes(estimate: Estimate) -> Table:
    table = _table("volumes", ("", ""))
    volumes = estimate.volumes
    table.add_row("planned", _count(volumes["planned"]))
    table.add_row("dropped: their two people are in different splits", _count(volumes["dropped"]))
    for split in ("train", "validation", "test"):
        table.add_row(f"kept, {split}", _count(volumes[split]))
    table.add_row("kept", _count(volumes["planned"] - volumes["dropped"]))
    table.add_row("blocks of them, the units of retry and resume", _count(estimate.blocks))
    return table


def _slices(estimate: Estimate) -> Table:
    table = _table("slices of the volumes kept", ("plane", "cut", "not empty, about"))
    kept = estimate.slices_kept
    for plane, number in estimate.slices_cut.items():
        table.add_row(plane, _count(number), _about(kept[plane]))
    table.add_row("all", _count(sum(estimate.slices_cut.values())), _about(sum(kept.values())))
    return table


def _costs(estimate: Estimate) -> Table:
    table = _table("costs, about", ("", ""))
    for stage, hours in (*estimate.cpu_hours.items(), ("all", sum(estimate.cpu_hours.values()))):
        table.add_row(f"CPU-hours, {stage}", _about(hours))
    table.add_row("GB, data set", _about(estimate.num_bytes["data set"] / 1e9))
    table.add_row("GB, its folder work", _about(estimate.num_bytes["work"] / 1e9))
    return table


def _beside_the_paper(estimate: Estimate) -> str:
    """Why the paper's numbers are others."""
    planned, scans = estimate.volumes["planned"], sum(s.scans for s in estimate.sources.values())
    text = (
        f"The paper states {PAPER_VOLUMES:,} volumes and about {PAPER_SLICES / 1e6:.1f} million slices, "
        f"{PAPER_SLICES / PAPER_VOLUMES:.0f} a volume. Its {scans} scans give {scans} x {scans - 1} ordered "
        f"pairs and {scans} natives: {planned:,} volumes."
    )
    stored, fewest = estimate.own_grid_slices, estimate.fewest_own_grid_slices
    if stored is None or fewest is None:
        return text
    own = ", ".join(f"{name} {found.stored_slices}" for name, found in estimate.sources.items())
    return (
        f"{text} In the grids given ({own}) these have {stored:,} slices, {stored / planned:.0f} a volume; "
        f"in those of the forms with fewest slices {fewest:,}, {fewest / planned:.0f} a volume. The paper "
        "does not say which forms it took, nor on which grid the FLAIR scans lay; --grids takes others."
    )


def _table(title: str, headings: tuple[str, ...]) -> Table:
    """Texts to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", show_header=any(headings))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _of(part: int, whole: int) -> str:
    return _count(whole) if part == whole else f"{_count(part)} of {_count(whole)}"


def _count(number: int) -> str:
    return f"{number:,}"


def _about(number: float) -> str:
    """Two significant digits, without an exponent."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
