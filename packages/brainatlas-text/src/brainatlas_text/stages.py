"""A scan's own stages as cached tasks: prepared, registered to the hub, bent into it.

What several scans share is in `pair_stages`, `label_stages`, `atlas_stages` and `block_stages`; `tasks` runs
them all.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from brainatlas_text import prepare, register, warp
from brainatlas_text.engines import itk
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import PreparedScan, Rejection, SourceScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import HubTransform, HubWarp, TransformRejection
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.workspace import Workspace, atomic_path


def prepare_task(root: Path, scan: SourceScan, config: PrepareConfig) -> Task:
    """Source files to a PreparedScan."""
    return Task(
        stage="prepare",
        key=scan.key,
        inputs=prepare.inputs_digest(scan, config),
        root=root,
        result=PreparedScan | Rejection,
        work=partial(_prepare, root, scan, config),
    )


def register_task(root: Path, scan: PreparedScan, config: RegisterConfig) -> Task:
    """A prepared scan to its HubTransform."""
    return Task(
        stage="register",
        key=scan.key,
        inputs=register.inputs_digest(scan, load_hub(*config.hub_files), config),
        root=root,
        result=HubTransform | TransformRejection | Rejection,
        work=partial(_register, root, scan, config),
    )


def warp_task(
    root: Path,
    scan: PreparedScan,
    transform: HubTransform,
    config: warp.WarpConfig,
    hub_files: tuple[str, str],
) -> Task:
    """A scan in the hub to its HubWarp; `hub_files` are the recipe's template and mask."""
    return Task(
        stage="warp",
        key=scan.key,
        inputs=warp.inputs_digest(scan, transform, load_hub(*hub_files), config),
        root=root,
        result=HubWarp | TransformRejection | Rejection,
        work=partial(_warp, root, scan, transform, config, hub_files),
    )


def _prepare(root: Path, scan: SourceScan, config: PrepareConfig) -> Outcome:
    result = prepare.prepare(scan, Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    files = (result.image, result.mask, result.dseg, result.look)
    return result, [root / path for path in files if path is not None]


def _register(root: Path, scan: PreparedScan, config: RegisterConfig) -> Outcome:
    hub = load_hub(*config.hub_files)
    result = register.register_to_hub(scan, hub, Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    path = root / "transforms" / f"{scan.key}_to-hub.tfm"
    with atomic_path(path) as part:
        itk.write_transform(part, result.matrix)
    return result, [path, root / result.look]


def _warp(
    root: Path,
    scan: PreparedScan,
    transform: HubTransform,
    config: warp.WarpConfig,
    hub_files: tuple[str, str],
) -> Outcome:
    result = warp.warp_to_hub(scan, transform, load_hub(*hub_files), Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    return result, [root / path for path in (result.bent_from_hub, result.hub_from_bent, result.look)]
