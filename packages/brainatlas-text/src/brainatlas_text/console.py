"""What the terminal shows: progress bars where a person looks, one line a stage elsewhere, final tables."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from brainatlas_text.pipeline import BuildSummary


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
    table.add_row("slices kept", str(summary.slices_kept))
    table.add_row("slices dropped as empty", str(summary.slices_dropped))
    table.add_row("shards", f"{summary.shards} ({summary.num_bytes / 1e6:.1f} MB)")
    for stage, seconds in summary.seconds.items():
        table.add_row(f"seconds, {stage}", f"{seconds:.1f}")
    console.print(table)
    for note in summary.notes:
        console.print(f"note: {note}")
    console.print(f"a look at each scan: {summary.preparation_page}", soft_wrap=True)
    for rejection in summary.rejections:
        console.print(f"rejected in {rejection.stage}: {rejection.reason}: {rejection.detail}")
