"""What the terminal shows: progress bars where a person looks, one line a stage elsewhere, final tables."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from brainatlas_text.download import FetchSummary
    from brainatlas_text.pipeline import BuildSummary
    from brainatlas_text.records import Sample
    from brainatlas_text.scores import Evaluation, GroupScores


class TerminalProgress:
    """A bar a stage on a terminal, one line a stage otherwise; both go to standard error."""

    def __init__(self) -> None:
        """Look at standard error once."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: Bars | None = None
        self._stage = ""

    def start(self, stage: str, total: int, reused: int) -> None:
        """Show a new bar."""
        self._stage = stage
        if self._console.is_terminal:
            columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self._bars = Bars(*columns, *times, console=self._console, transient=True)
            self._bars.start()
            self._bars.add_task(stage, total=total, completed=reused)

    def advance(self) -> None:
        """Move the bar."""
        if self._bars:
            self._bars.advance(self._bars.task_ids[0])

    def finish(self, line: str) -> None:
        """Replace the bar by one line."""
        if self._bars:
            self._bars.stop()
            self._bars = None
        self._console.print(f"{self._stage:10} {line}")


class TransferBars:
    """A bar a file on a terminal, one line a file otherwise; both go to standard error."""

    def __init__(self) -> None:
        """Look at standard error once."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._bars: Bars | None = None

    def start(self, what: str, num_bytes: int | None, have_bytes: int) -> None:
        """Show a new bar."""
        self.close()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description:24}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
            )
            self._bars = Bars(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._bars.start()
            self._bars.add_task(what, total=num_bytes, completed=have_bytes)

    def advance(self, num_bytes: int) -> None:
        """Move the bar."""
        if self._bars:
            self._bars.advance(self._bars.task_ids[0], num_bytes)

    def finish(self, line: str) -> None:
        """Replace the bar by one line."""
        self.close()
        self._console.print(line)

    def close(self) -> None:
        """Take the bar away."""
        if self._bars:
            self._bars.stop()
            self._bars = None


def ask_terms(source: str, text: str) -> bool:
    """Show the terms of a source, and ask where a person can answer."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    console.print(f"\n{text}\n")
    if not sys.stdin.isatty():
        return False
    answer = console.input(f"Do you accept these terms of {source}? [y/N] ", markup=False)
    return answer.strip().lower() in ("y", "yes")


def print_outcomes(summary: FetchSummary) -> None:
    """What a fetch did and what it leaves to do, to standard output."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for outcome in summary.outcomes:
        if outcome.file and sys.stdout.isatty():
            continue  # its line stands there already
        name = " ".join(part for part in (outcome.source, outcome.file) if part)
        if outcome.status == "by hand":
            console.print(f"{name}: has to be fetched by hand:\n{outcome.detail}")
        else:
            console.print(f"{name}: {outcome.status}" + (f" ({outcome.detail})" if outcome.detail else ""))


def print_summary(summary: BuildSummary, out: str) -> None:
    """The table at the end of a build, to standard output."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    table = Table(title=out, show_header=False, title_justify="left")
    for source, number in summary.scans_found.items():
        table.add_row(f"scans found, {source}", str(number))
    table.add_row("scans rejected", str(len(summary.rejections)))
    for name, number in summary.pairs.items():
        table.add_row(
            f"volumes {name}" if name in ("planned", "dropped") else f"volumes in {name}", str(number)
        )
    for generation, number in summary.generations.items():
        carried = {"1": "their source's labels", "2": "labels voted here"}[generation]
        table.add_row(f"volumes with {carried}", str(number))
    table.add_row("volumes with at least one slice", str(summary.volumes_shown))
    if summary.volumes_cropped:
        table.add_row("volumes with brain outside of the frame", str(summary.volumes_cropped))
    table.add_row("slices kept", str(summary.slices_kept))
    table.add_row("slices dropped as empty", str(summary.slices_dropped))
    table.add_row("shards", f"{summary.shards} ({summary.num_bytes / 1e6:.1f} MB)")
    for stage, seconds in summary.seconds.items():
        table.add_row(f"seconds, {stage}", f"{seconds:.1f}")
    console.print(table)
    for note in summary.notes:
        console.print(f"note: {note}")
    console.print(f"a look at each scan: {summary.preparation_page}", soft_wrap=True)
    console.print(f"a look at each registration: {summary.registration_page}", soft_wrap=True)
    console.print(f"a look at each label map: {summary.labels_page}", soft_wrap=True)
    console.print(f"a page about all of it: brainatlas-text report {shlex.quote(out)}", soft_wrap=True)
    for rejection in summary.rejections:
        line = f"rejected in {rejection.stage}: {rejection.reason}: {rejection.detail}"
        console.print(line, markup=False)  # a path may hold [brackets]


def print_sample(sample: Sample, picture: Path) -> None:
    """Facts, structures and captions of a sample, to standard output."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    facts: dict[str, Any] = sample.facts
    table = Table(title=sample.key, show_header=False, title_justify="left")
    for name, value in facts.items():
        if name not in ("key", "structures", "captions"):
            table.add_row(name, _said(value))
    console.print(table)
    if facts["structures"]:
        console.print(_measure_table(facts["structures"]))
    for caption in facts["captions"]:
        console.print(f"{caption['style']}, {caption['language']}: {caption['text']}", soft_wrap=True)
    console.print(f"written: {picture}", soft_wrap=True)


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, float):
        return f"{round(value, 4):g}"
    words = {None: "not known", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _measure_table(structures: Sequence[dict[str, Any]]) -> Table:
    """A row a structure of the slice."""
    table = Table(title="structures", title_justify="left")
    for heading in ("label", "structure", "side"):
        table.add_column(heading)
    for heading in ("area mm²", "volume ml", "right mm", "front mm", "up mm", "agreement"):
        table.add_column(heading, justify="right")
    for row in structures:
        share = row["agreement"]
        table.add_row(
            str(row["label"]),
            row["name"],
            row["side"],
            f"{row['area_mm2']:.1f}",
            f"{row['volume_ml']:.2f}",
            *(f"{place:.1f}" for place in row["centroid_mm"]),
            "-" if share is None else f"{share:.2f}",
        )
    return table


def print_scores(evaluation: Evaluation, notes: Sequence[str], written: Sequence[Path]) -> None:
    """Means by method and sequence, then a table a method with its structures, to standard output."""
    width = None if sys.stdout.isatty() else 120
    console = Console(highlight=False, markup=False, width=width)
    console.print(_mean_table(evaluation))
    for method in dict.fromkeys(group.method for group in evaluation.groups):
        console.print(_structure_table([g for g in evaluation.groups if g.method == method], method))
    for note in (*evaluation.notes, *notes):
        console.print(f"note: {note}")
    for path in written:
        console.print(f"written: {path}", soft_wrap=True)
    for rejection in evaluation.rejections:
        console.print(f"rejected in {rejection.stage}: {rejection.reason}: {rejection.detail}")


def _mean_table(evaluation: Evaluation) -> Table:
    from brainatlas_text.scores import mean_dice

    table = Table(title="mean over structures", title_justify="left")
    for heading in ("method", "sequence"):
        table.add_column(heading)
    for heading in ("scans", "Dice, standard", "Dice, all", "worst standard structure"):
        table.add_column(heading, justify="right")
    for group in evaluation.groups:
        means = (mean_dice(group.standard), mean_dice(group.structures))
        worst = min(group.standard or group.structures, key=lambda score: score.dice)
        table.add_row(
            group.method,
            group.sequence or "-",
            str(group.scans),
            *("-" if mean is None else f"{mean:.3f}" for mean in means),
            f"{worst.structure} {worst.dice:.3f}",
        )
    return table


def _structure_table(groups: Sequence[GroupScores], method: str) -> Table:
    """A row a structure: Dice, distance and error of volume for each sequence."""
    table = Table(
        title=f"{method}: Dice, 95 % Hausdorff distance (mm), volume error (%)", title_justify="left"
    )
    table.add_column("structure")
    for group in groups:
        table.add_column(group.sequence or "all", justify="right", no_wrap=True)
    names = dict.fromkeys(score.structure for group in groups for score in group.structures)
    found = [{score.structure: score for score in group.structures} for group in groups]
    for name in names:
        cells = []
        for scores in found:
            if (score := scores.get(name)) is None:
                cells.append("-")
                continue
            distance = "   -" if score.hd95_mm is None else f"{score.hd95_mm:4.1f}"
            cells.append(f"{score.dice:.3f} {distance} {round(100 * score.volume_error):+4d}")
        table.add_row(name, *cells)
    return table
