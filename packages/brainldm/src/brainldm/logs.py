"""What a run tells while it trains: log.jsonl, TensorBoard, pictures, progress. Rank 0 only."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from brainldm.records import Stage

logger = logging.getLogger(__name__)

_LINE_SECONDS = 15.0
"""Where there is no terminal, one line of progress this often."""
_GAP = 2
_LABEL_HEIGHT = 18


class StageLog:
    """One stage's voice; silent where `enabled` is false. Use as a context manager."""

    def __init__(self, run: Path, stage: Stage, *, total: int, images_seen: int, enabled: bool) -> None:
        self._run, self._stage, self._total, self._enabled = run, stage, total, enabled
        self._start_images, self._start_time = images_seen, time.monotonic()
        self._last_line = self._start_time
        self._progress: Progress | None = None
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        _drop_lines_after(run / "log.jsonl", stage, images_seen)
        self._file = (run / "log.jsonl").open("a", buffering=1)
        self._board = SummaryWriter(str(run / "tensorboard" / stage), purge_step=images_seen)
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=console)
            self._task = self._progress.add_task(stage, total=total, completed=images_seen, note="")
            self._progress.start()

    def __enter__(self) -> StageLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._enabled:
            self._board.close()
            self._file.close()

    @property
    def seconds(self) -> float:
        """Since the stage began or was resumed."""
        return time.monotonic() - self._start_time

    def scalars(self, images_seen: int, values: Mapping[str, float]) -> None:
        """One line of log.jsonl and the curves; `values` by name, such as `loss`."""
        if not self._enabled:
            return
        rate = (images_seen - self._start_images) / max(self.seconds, 1e-9)
        line = {"stage": self._stage, "images": images_seen, **values, "images_per_second": rate}
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, images_seen)
        note = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if "loss" in name)
        self._show(images_seen, f"{note}  {rate:.0f} images/s")

    def picture(self, images_seen: int, name: str, grey: NDArray[np.uint8]) -> None:
        """A picture [H, W] as RUN/pictures/<name>.png, its newest state, and in TensorBoard."""
        if not self._enabled:
            return
        folder = self._run / "pictures"
        folder.mkdir(exist_ok=True)
        Image.fromarray(grey).save(folder / f"{name}.png")
        self._board.add_image(name, grey[None], images_seen)

    def _show(self, images_seen: int, note: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=images_seen, note=note)
        elif time.monotonic() - self._last_line > _LINE_SECONDS or images_seen >= self._total:
            self._last_line = time.monotonic()
            left = self.seconds * (self._total - images_seen) / max(images_seen - self._start_images, 1)
            words = (self._stage, images_seen, self._total, note, left / 60)
            logger.info("%s: %d of %d images, %s, %.1f min left", *words)


class Meter:
    """Means of what steps report between two lines of the log, and when something is due."""

    def __init__(self, log_every: int, picture_every: int, checkpoint_every: int) -> None:
        self._every = (log_every, picture_every, checkpoint_every)
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self.last: dict[str, float] = {}
        """The means that were given last."""

    def add(self, values: Mapping[str, Tensor]) -> None:
        """One step's values; they stay on their device until `means`."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def means(self) -> dict[str, float]:
        """Means since the last call."""
        self.last = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return self.last

    def due(self, images_seen: int, batch_size: int, *, last: bool) -> tuple[bool, bool, bool]:
        """Whether a multiple of log, picture, checkpoint interval was passed in this step."""
        log, picture, checkpoint = (
            last or images_seen // every > (images_seen - batch_size) // every for every in self._every
        )
        return log, picture, checkpoint


def montage(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of images [N, H, W], possibly of different N, as one picture with thin grey gaps."""
    size = rows[0].shape[-1]
    width = max(len(row) for row in rows) * (size + _GAP) - _GAP
    height = len(rows) * (size + _GAP) - _GAP
    sheet = np.full((height, width), 64, np.uint8)
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            top, left = number * (size + _GAP), column * (size + _GAP)
            sheet[top : top + size, left : left + size] = image
    return sheet


def labelled_grid(
    rows: list[NDArray[np.uint8]], row_labels: list[str], column_labels: list[str], cell: int
) -> Image.Image:
    """Rows of images [N, H, W] enlarged to cells of `cell` pixels, with labels above and at the left."""
    sheet = Image.new("L", (_LABEL_HEIGHT + len(rows[0]) * cell, _LABEL_HEIGHT + len(rows) * cell), 0)
    font = ImageFont.load_default(13)
    for column, label in enumerate(column_labels):
        place = (_LABEL_HEIGHT + column * cell + cell // 2, _LABEL_HEIGHT // 2)
        ImageDraw.Draw(sheet).text(place, label, fill=220, font=font, anchor="mm")
    for number, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
        strip = Image.new("L", (cell, _LABEL_HEIGHT), 0)
        ImageDraw.Draw(strip).text((cell // 2, _LABEL_HEIGHT // 2), label, fill=220, font=font, anchor="mm")
        sheet.paste(strip.rotate(90, expand=True), (0, _LABEL_HEIGHT + number * cell))
        for column, image in enumerate(row):
            enlarged = Image.fromarray(image).resize((cell, cell), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (_LABEL_HEIGHT + column * cell, _LABEL_HEIGHT + number * cell))
    return sheet


def _drop_lines_after(path: Path, stage: Stage, images_seen: int) -> None:
    """Forgets what a killed run logged after its last snapshot, since it will be logged again."""
    if not path.is_file():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not _is_after(line, stage, images_seen)]
    if len(kept) < len(lines):
        path.write_text("".join(line + "\n" for line in kept))


def _is_after(line: str, stage: Stage, images_seen: int) -> bool:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return True  # cut off by the kill
    return entry.get("stage") == stage and entry.get("images", 0) > images_seen
