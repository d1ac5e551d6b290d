"""Direct registrations as cached tasks: one an unordered pair of scans, in a folder for each fixed scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from brainatlas_text import register
from brainatlas_text.engines import itk
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import PairTransform, TransformRejection, pair_of
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.workspace import Workspace, atomic_path


def pair_tasks(
    root: Path, pairs: Iterable[tuple[str, str]], scans: Mapping[str, PreparedScan], config: RegisterConfig
) -> list[Task]:
    """A task for each unordered pair among these; a scan with itself needs none."""
    wanted = sorted({pair_of(one, other) for one, other in pairs if one != other})
    return [pair_task(root, scans[moving], scans[fixed], config) for moving, fixed in wanted]


def pair_task(root: Path, moving: PreparedScan, fixed: PreparedScan, config: RegisterConfig) -> Task:
    """Two prepared scans to their PairTransform."""
    return Task(
        stage="register",
        key=f"{moving.key}_{fixed.key}",
        folder=fixed.key,
        inputs=register.pair_digest(moving, fixed, config),
        root=root,
        result=PairTransform | TransformRejection | Rejection,
        work=partial(_register_pair, root, moving, fixed, config),
    )


def _register_pair(root: Path, moving: PreparedScan, fixed: PreparedScan, config: RegisterConfig) -> Outcome:
    result = register.register_pair(moving, fixed, Workspace(root), config)
    if isinstance(result, TransformRejection):
        return result, []
    path = root / "transforms" / "pairs" / fixed.key / f"{moving.key}_to-{fixed.key}.tfm"
    with atomic_path(path) as part:
        itk.write_transform(part, result.matrix)
    return result, [path]
